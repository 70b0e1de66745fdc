from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from agfedge.targets import DeployError, open_target
from agfedge.targets.ssh.target import SshTarget
from agfedge_runtime.errors import InputError
from deployed import contents, writable_by_others
from ssh_server import SshServer

pytestmark = pytest.mark.slow


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def test_a_copy_is_exact(target: SshTarget, device: Path, source: Path) -> None:
    there = device / "in" / "box"
    (source / "inner" / "empty").mkdir(parents=True)
    (source / "one").write_bytes(b"1" * 3000)
    (source / "inner" / "it's two").write_bytes(b"2")
    script = """
        mkdir -p in/box/inner in/box/stale
        touch in/box/stale/file in/box/.one.partial
        head -c 3000 /dev/zero >in/box/one
        ln -s /etc/passwd "in/box/inner/it's two"
        chmod -R a+w in
    """
    assert target.run(["sh", "-c", script]).returncode == 0

    target.put(source, PurePosixPath("in/box"))

    assert contents(there) == contents(source)
    assert not list(writable_by_others(there))


def test_a_link_in_the_source_is_refused(target: SshTarget, source: Path) -> None:
    (source / "link").symlink_to("/etc/passwd")

    with pytest.raises(InputError, match="link is a symbolic link"):
        target.put(source, PurePosixPath("in"))


@pytest.mark.usefixtures("rsync")
def test_a_file_that_was_cut_off_continues_where_it_stopped(server: SshServer, device: Path, source: Path) -> None:
    target = SshTarget.connect(f"device:{device}")
    (source / "file").write_bytes(os.urandom(4_000_000))
    server.cut_after(3_000_000)
    with pytest.raises(DeployError, match="cannot copy to in: "):
        target.put(source, PurePosixPath("in"))
    assert not (device / "in" / "file").exists()
    server.mend()

    target.put(source, PurePosixPath("in"))

    assert contents(device / "in") == contents(source)
    assert server.sent < 2_000_000


def test_a_tar_that_was_cut_off_continues_with_the_file_that_is_missing(
    server: SshServer, device: Path, source: Path
) -> None:
    target = SshTarget.connect(f"device:{device}")
    target.has_rsync = False
    for name in ("one", "two"):
        (source / name).write_bytes(os.urandom(1_000_000))
    server.cut_after(1_500_000)
    with pytest.raises(DeployError, match="cannot copy to in: "):
        target.put(source, PurePosixPath("in"))
    assert (device / "in" / "one").exists()
    assert not (device / "in" / "two").exists()
    server.mend()

    target.put(source, PurePosixPath("in"))

    assert contents(device / "in") == contents(source)
    assert server.sent < 1_200_000


def test_a_full_disk_is_told(small_disk: Path, source: Path) -> None:
    (source / "file").write_bytes(os.urandom(6_000_000))

    with pytest.raises(DeployError, match="no space is left on its disk: free some and deploy again"):
        open_target(f"device:{small_disk}").put(source, PurePosixPath("in"))


@pytest.fixture
def silent_rsync(tmp_path: Path, server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An rsync that ends without a word."""
    program = tmp_path / "bin" / "rsync"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = --version ] || cat >/dev/null\nexit 11\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize("fills", [False, True])
def test_an_rsync_that_ends_without_a_word_is_explained(
    silent_rsync: None, small_disk: Path, source: Path, fills: bool
) -> None:
    target = SshTarget.connect(f"device:{small_disk}")
    target.has_rsync = True
    (source / "file").write_bytes(bytes(20_000_000 if fills else 1))

    with pytest.raises(DeployError, match="no space is left" if fills else "rsync ended with exit code 11"):
        target.put(source, PurePosixPath("in"))
