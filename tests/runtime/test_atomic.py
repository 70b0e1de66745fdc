"""Files and folders are written whole or not at all, also under kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agfedge_runtime import atomic
from agfedge_runtime.atomic import replace_folder, staging_folder, write_bytes, write_chunks, write_text
from agfedge_runtime.errors import InputError

MARKER = "manifest.json"

# Each says when it has come half-way, and blocks on a pipe that nobody ever writes to.
FILLING = """
import sys
from pathlib import Path
from agfedge_runtime.atomic import staging_folder
with staging_folder(Path(sys.argv[1]), "manifest.json") as folder:
    (folder / "half").write_text("half")
    print("half-way", flush=True)
    sys.stdin.read()
"""
REMOVING_THE_OLD = """
import shutil, sys
from pathlib import Path
from agfedge_runtime.atomic import staging_folder
def blocked(*path, **options):
    print("half-way", flush=True)
    sys.stdin.read()
shutil.rmtree = blocked
with staging_folder(Path(sys.argv[1]), "manifest.json") as folder:
    (folder / "manifest.json").write_text("new")
"""


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def fill(target: Path, text: str) -> None:
    with staging_folder(target, MARKER) as folder:
        (folder / MARKER).write_text(text)


def interrupted_fill(target: Path) -> None:
    with staging_folder(target, MARKER) as folder:
        (folder / MARKER).write_text("new")
        raise KeyboardInterrupt


def kill_half_way(target: Path, script: str = FILLING) -> int:
    """Kill -9 a process in the middle of replacing `target`; answers its process id."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "half-way\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    return child.pid


@pytest.fixture(params=["exchange", "two renames"])
def way(request, monkeypatch):
    """Both ways in which a folder takes the place of another."""
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "_exchange", lambda first, second: False)


@pytest.mark.usefixtures("way")
def test_a_file_written_in_pieces_is_whole_or_as_it_was(tmp_path):
    def broken():
        yield b"half"
        raise RuntimeError

    write_chunks(tmp_path / "file", (b"one ", b"two"))
    with pytest.raises(RuntimeError):
        write_chunks(tmp_path / "file", broken())
    assert (tmp_path / "file").read_bytes() == b"one two"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_staged_folder_takes_its_place(tmp_path):
    target = tmp_path / "deep" / "target"
    fill(target, "old")
    fill(target, "new")
    assert contents(target) == {MARKER: "new"}
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_an_exception_leaves_the_old_folder_and_nothing_else(tmp_path):
    target = tmp_path / "target"
    fill(target, "old")
    with pytest.raises(KeyboardInterrupt):
        interrupted_fill(target)
    assert contents(target) == {MARKER: "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_kill_9_leaves_the_old_folder_whole(tmp_path):
    target = tmp_path / "target"
    fill(target, "old")
    kill_half_way(target)
    assert contents(target) == {MARKER: "old"}


def test_kill_9_while_the_old_folder_is_removed_leaves_the_new_one_whole(tmp_path):
    target = tmp_path / "target"
    fill(target, "old")
    kill_half_way(target, REMOVING_THE_OLD)
    assert contents(target) == {MARKER: "new"}
    fill(target, "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_kill_9_before_the_first_folder_leaves_none(tmp_path):
    target = tmp_path / "target"
    kill_half_way(target)
    assert not target.exists()


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    target = tmp_path / "target"
    kill_half_way(target)
    assert len(list(tmp_path.iterdir())) == 1
    fill(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_a_living_run_is_writing_stays(tmp_path):
    target = tmp_path / "target"
    with staging_folder(target, MARKER) as outer:
        (outer / MARKER).write_text("outer")
        fill(target, "inner")
    assert contents(target) == {MARKER: "outer"}


def test_a_run_killed_between_two_renames_is_mended(tmp_path):
    target = tmp_path / "target"
    fill(target, "old")
    pid = kill_half_way(tmp_path / "other")
    target.rename(tmp_path / f".target.agfedge-old-{pid}-0123abcd")
    with pytest.raises(KeyboardInterrupt):
        interrupted_fill(target)
    assert contents(target) == {MARKER: "old"}


def test_a_second_rename_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "target"
    fill(target, "old")
    rename = os.rename

    def refuse_new(source: Path, destination: Path) -> None:
        if "-new-" in source.name:
            raise OSError(28, "No space left on device")
        rename(source, destination)

    monkeypatch.setattr(atomic, "_exchange", lambda first, second: False)
    monkeypatch.setattr(os, "rename", refuse_new)
    with pytest.raises(InputError, match="No space left on device"):
        fill(target, "new")
    assert contents(target) == {MARKER: "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.usefixtures("way")
def test_an_empty_folder_may_be_replaced(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    fill(target, "new")
    assert contents(target) == {MARKER: "new"}


def test_a_folder_that_is_not_ours_is_kept(tmp_path):
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(InputError, match=r"not empty and holds no manifest\.json"),
        staging_folder(tmp_path, MARKER),
    ):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_replacing_checks_again(tmp_path):
    new, target = tmp_path / "new", tmp_path / "target"
    new.mkdir()
    target.mkdir()
    (target / "file").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        replace_folder(new, target, MARKER)
    assert contents(target) == {"file": "mine"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_link_is_not_replaced_by_a_folder(tmp_path, kind):
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path)
    with pytest.raises(InputError, match="got a link or a file"), staging_folder(target, MARKER):
        pass


def test_a_folder_below_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot be written"),
        staging_folder(tmp_path / "file" / "target", MARKER),
    ):
        pass


def test_a_file_is_written_whole_with_the_usual_permissions(tmp_path):
    path = tmp_path / "file"
    write_text(path, "first\r\n")
    write_text(path, "second\n")
    assert path.read_bytes() == b"second\n"
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "plain"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_bytes(path, b"new")
    assert contents(tmp_path) == {"file": "old"}


def test_a_file_cannot_take_the_place_of_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_bytes(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
