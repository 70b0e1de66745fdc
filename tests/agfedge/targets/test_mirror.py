from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agfedge.targets.local import mirror
from agfedge_runtime.errors import InputError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "inner").mkdir(parents=True)
    (folder / "one").write_bytes(b"1" * 3000)
    (folder / "inner" / "two").write_bytes(b"2")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "far" / "away"


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def test_the_copy_is_exact(source: Path, destination: Path) -> None:
    mirror(source, destination)

    assert contents(destination) == contents(source)


def test_equal_files_are_left_as_they_are(source: Path, destination: Path) -> None:
    mirror(source, destination)
    before = (destination / "one").stat().st_ino
    mirror(source, destination)

    assert (destination / "one").stat().st_ino == before


def test_a_file_of_the_same_size_but_other_content_is_replaced(source: Path, destination: Path) -> None:
    mirror(source, destination)
    (destination / "one").write_bytes(b"x" * 3000)
    mirror(source, destination)

    assert contents(destination) == contents(source)


def test_whatever_the_source_does_not_have_is_removed(source: Path, destination: Path) -> None:
    mirror(source, destination)
    (destination / "inner" / "__pycache__").mkdir()
    (destination / "inner" / "__pycache__" / "two.pyc").write_bytes(b"stale")
    (destination / ".one.partial").write_bytes(b"left by a killed copy")
    (destination / "link").symlink_to(source)
    mirror(source, destination)

    assert contents(destination) == contents(source)


def test_a_file_where_a_folder_belongs_and_the_reverse_are_replaced(source: Path, destination: Path) -> None:
    destination.mkdir(parents=True)
    (destination / "inner").write_bytes(b"file")
    (destination / "one").mkdir()
    mirror(source, destination)

    assert contents(destination) == contents(source)


def test_a_link_in_the_destination_is_replaced_and_not_followed(
    source: Path, destination: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "two").write_bytes(b"precious")
    destination.mkdir(parents=True)
    (destination / "inner").symlink_to(outside)
    mirror(source, destination)

    assert (outside / "two").read_bytes() == b"precious"
    assert contents(destination) == contents(source)


def test_a_link_in_the_source_is_refused(source: Path, destination: Path) -> None:
    (source / "inner" / "link").symlink_to("/etc/passwd")

    with pytest.raises(InputError, match="link is a symbolic link"):
        mirror(source, destination)


def test_a_special_file_in_the_source_is_refused(source: Path, destination: Path) -> None:
    os.mkfifo(source / "pipe")

    with pytest.raises(InputError, match="pipe is a special file"):
        mirror(source, destination)


def test_nothing_is_writable_by_others_whatever_the_umask_and_the_source(source: Path, destination: Path) -> None:
    (source / "one").chmod(0o666)
    (source / "inner").chmod(0o777)
    umask = os.umask(0)
    try:
        mirror(source, destination)
    finally:
        os.umask(umask)

    for path in (destination.parent, destination, *destination.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o022, path


def test_modes_that_were_opened_up_are_closed_again(source: Path, destination: Path) -> None:
    mirror(source, destination)
    (destination / "one").chmod(0o666)
    (destination / "inner").chmod(0o777)
    mirror(source, destination)

    assert stat.S_IMODE((destination / "one").stat().st_mode) == 0o644
    assert stat.S_IMODE((destination / "inner").stat().st_mode) == 0o755
