"""A bundle that was altered on its way is refused before it leaves, and by the target when it was altered after."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

from agfedge.cli import main
from agfedge.targets.local import LocalTarget, mirror
from agfedge.targets.release import Release, make_release
from agfedge_runtime import cli as runtime_cli
from agfedge_runtime.bundle.bundle import SIGNATURE_NAME, Bundle
from agfedge_runtime.bundle.manifest import MANIFEST_NAME
from agfedge_runtime.errors import BundleError
from agfedge_runtime.releases import releases

pytestmark = pytest.mark.slow

WriteBundle = Callable[..., Bundle]
FILES = ("light.onnx", "heavy.onnx", "golden.npz")


@pytest.fixture(scope="module")
def written(write_tiny_bundle: WriteBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("written") / "bundle").path


@pytest.fixture(scope="module")
def arrived(written: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Release]:
    """A target's folder with a release as it arrived; also with a signature, which nobody looks at here."""
    device = tmp_path_factory.mktemp("arrived")
    shutil.copytree(written, device / "signed")
    (device / "signed" / SIGNATURE_NAME).write_bytes(b"-----BEGIN SSH SIGNATURE-----\n")
    release = make_release(Bundle.open(device / "signed"))
    mirror(release.bundle.path, device / release.folder / "bundle")
    with release.runtime_folder() as runtime:
        mirror(runtime, device / release.folder / "runtime")
    return device, release


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "bundle"))


@pytest.fixture
def shipped(arrived: tuple[Path, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """The release, in a folder to alter it in, which is the working folder as on a target."""
    shutil.copytree(arrived[0] / "releases", tmp_path / "device" / "releases")
    monkeypatch.chdir(tmp_path / "device")
    return arrived[1]


def offsets(size: int) -> tuple[int, ...]:
    return tuple(sorted({0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size))))


def flipped(path: Path) -> Iterator[int]:
    """Flips a byte at an offset after the other, mended before the next."""
    whole = path.read_bytes()
    for offset in offsets(len(whole)):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ (1 << offset % 8)]) + whole[offset + 1 :])
        yield offset
    path.write_bytes(whole)


def target_problems(release: Release) -> tuple[list[str], list[str]]:
    """What the stage verify of a deploy and the audit of a rollback find, each of them on the target."""
    on_arrival = releases.verify(release.name, dict(release.files))
    return list(on_arrival), list(releases.audit(release.name).problems)


def refusal(argv: list[str], run: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command refuses with."""
    assert run(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def test_what_arrived_whole_is_refused_by_nobody(shipped: Release) -> None:
    assert target_problems(shipped) == ([], [])


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_refused_before_anything_leaves(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for offset in flipped(bundle / name):
        line = refusal(["deploy", str(bundle), str(tmp_path / "device")], main, capsys)
        assert f"{name}: got sha256" in line, offset
    assert not (tmp_path / "device").exists()


def test_a_flipped_byte_in_the_manifest_is_refused_or_makes_another_bundle(bundle: Path) -> None:
    """By itself a manifest cannot tell that it is not the one that was written: that is what a signature is for."""
    whole, digest = (bundle / MANIFEST_NAME).read_bytes(), Bundle.open(bundle).digest
    refused = 0
    for offset in range(0, len(whole), 3):
        (bundle / MANIFEST_NAME).write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])
        try:
            assert Bundle.open(bundle).digest != digest
        except BundleError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert refused > len(whole) // 3 // 2


def test_a_flipped_byte_in_any_file_of_a_release_is_refused_by_its_target(shipped: Release) -> None:
    for name in shipped.files:
        for offset in flipped(Path("releases", shipped.name, name)):
            on_arrival, on_rollback = target_problems(shipped)
            assert len(on_arrival) == 1, (name, offset)
            assert on_arrival[0].startswith(f"{name}: got "), (name, offset)
            assert on_rollback, (name, offset)
    assert target_problems(shipped) == ([], [])


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_refused_by_the_runtime_on_the_target(
    shipped: Release, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = Path("releases", shipped.name, "bundle")
    for offset in flipped(folder / name):
        assert f"{name}: got sha256" in refusal(["verify", str(folder)], runtime_cli.main, capsys), offset


def make_device_node(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))  # /dev/null
    except PermissionError as error:
        pytest.skip(f"a device node cannot be made here: {error.strerror}")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        # A socket's path must be short.
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            listening.bind(path.name)
        finally:
            os.chdir(here)


def link_folder(path: Path) -> None:
    elsewhere = path.parent.parent.parent / "elsewhere"
    elsewhere.mkdir(parents=True, exist_ok=True)
    path.symlink_to(elsewhere)


FOREIGN = {
    "a link to a file": lambda path: path.symlink_to("light.onnx"),
    "a link to an absolute path": lambda path: path.symlink_to("/etc/passwd"),
    "a link that leaves": lambda path: path.symlink_to("../../../../../etc/passwd"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a folder": link_folder,
    "a pipe": os.mkfifo,
    "a socket": make_socket,
    "a device node": make_device_node,
}
# In the place of a file, of the manifest, of the signature; beside them; in a folder that is new.
PLACES = ("heavy.onnx", MANIFEST_NAME, SIGNATURE_NAME, "more.onnx", "folder/more.onnx")


def put(folder: Path, name: str, make: Callable[[Path], object]) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    make(folder / name)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_plain_file_is_refused_before_anything_leaves(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, make: Callable[[Path], object]
) -> None:
    put(bundle, place, make)

    line = refusal(["deploy", str(bundle), str(tmp_path / "device")], main, capsys)

    assert place in line
    assert "link or special file" in line
    assert not (tmp_path / "device").exists()


@pytest.mark.parametrize(
    ("place", "make"),
    [
        pytest.param(place, make, id=f"{place}-{what}")
        for place in (*PLACES, "../runtime/agfedge_runtime/cascade/cascade.py", "../runtime/agfedge_runtime/more")
        for what, make in FOREIGN.items()
        if (place, make) != (MANIFEST_NAME, os.mkfifo)  # has a test of its own
    ],
)
def test_what_is_no_plain_file_is_refused_by_its_target(
    shipped: Release, capsys: pytest.CaptureFixture[str], place: str, make: Callable[[Path], object]
) -> None:
    folder = Path("releases", shipped.name, "bundle").absolute()
    put(folder, place, make)

    on_arrival, on_rollback = target_problems(shipped)

    name = os.path.normpath(f"bundle/{place}")
    why = "not a plain file" if name in shipped.files else "not part of the release"
    assert on_arrival == [f"{name}: {why}"]
    assert f"{name}: not a plain file" in on_rollback
    if not place.startswith(".."):
        assert "link or special file" in refusal(["verify", str(folder)], runtime_cli.main, capsys)


def test_a_pipe_in_place_of_the_manifest_is_refused_without_waiting(shipped: Release) -> None:
    path = Path("releases", shipped.name, "bundle", MANIFEST_NAME)
    put(path.parent, MANIFEST_NAME, os.mkfifo)
    found: list[tuple[list[str], list[str]]] = []
    asking = threading.Thread(target=lambda: found.append(target_problems(shipped)))
    asking.start()
    asking.join(5)
    waits = asking.is_alive()
    if waits:
        os.close(os.open(path, os.O_WRONLY))
        asking.join()

    assert not waits
    assert found[0][0] == [f"bundle/{MANIFEST_NAME}: not a plain file"]
    assert f"bundle/{MANIFEST_NAME}: not a plain file" in found[0][1]


def test_a_folder_that_is_a_link_is_refused_by_its_target(shipped: Release, tmp_path: Path) -> None:
    runtime = Path("releases", shipped.name, "runtime")
    (runtime / "agfedge_runtime").rename(tmp_path / "elsewhere")
    (runtime / "agfedge_runtime").symlink_to(tmp_path / "elsewhere")

    on_arrival, on_rollback = target_problems(shipped)

    assert "runtime/agfedge_runtime: not part of the release" in on_arrival
    assert "runtime/agfedge_runtime/__init__.py: missing" in on_arrival
    assert "runtime/agfedge_runtime: not a plain file" in on_rollback


@pytest.mark.parametrize("make", [os.mkfifo, make_device_node, FOREIGN["a link to an absolute path"]])
def test_what_is_no_plain_file_ends_a_deploy_and_a_rollback_with_a_line(
    bundle: Path,
    write_tiny_bundle: WriteBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], object],
) -> None:
    device, other = tmp_path / "device", write_tiny_bundle(tmp_path / "other", confidence=0.9).path
    assert main(["deploy", str(bundle), str(device)]) == 0
    first = os.readlink(device / "current")
    whole_put = LocalTarget.put

    def altering_put(target: LocalTarget, source: Path, destination: PurePosixPath, *rest: object) -> None:
        whole_put(target, source, destination, *rest)
        if destination.name == "bundle":
            put(device / destination, "heavy.onnx", make)

    with monkeypatch.context() as patched:
        patched.setattr(LocalTarget, "put", altering_put)
        assert main(["deploy", str(other), str(device)]) == 1
    assert "verify failed: bundle/heavy.onnx: not a plain file" in capsys.readouterr().err
    assert os.readlink(device / "current") == first

    assert main(["deploy", str(other), str(device)]) == 0
    put(device / first / "bundle", "heavy.onnx", make)
    assert main(["rollback", str(device)]) == 1
    assert "bundle/heavy.onnx: not a plain file" in capsys.readouterr().err
    assert os.readlink(device / "current") != first


NAMES = {
    "/etc/hostname": "an absolute path",
    "../outside.onnx": "a path that leaves",
    "folder/../../outside.onnx": "a path that leaves by a folder",
    "folder/../light.onnx": "a way round",
    "./light.onnx": "the same file by another name",
    "..": "the folder above",
    "..\\outside.onnx": "another system's separator",
    MANIFEST_NAME: "the manifest itself",
    SIGNATURE_NAME: "the signature",
}


@pytest.mark.parametrize("name", NAMES, ids=NAMES.values())
def test_a_name_that_leaves_the_folder_is_refused_on_both_sides(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """All is there and as listed: it is for its name alone that it is refused."""
    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    record: Mapping[str, object] = manifest["files"]["heavy.onnx"]
    shutil.copy(bundle / "heavy.onnx", tmp_path / "outside.onnx")
    (bundle / "folder").mkdir()
    if name == SIGNATURE_NAME:
        shutil.copy(bundle / "heavy.onnx", bundle / SIGNATURE_NAME)
    manifest["files"][name] = record
    manifest["precisions"]["fp32"]["experts"]["heavy"]["file"] = name
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))

    here = refusal(["deploy", str(bundle), str(tmp_path / "device")], main, capsys)
    there = refusal(["verify", str(bundle)], runtime_cli.main, capsys)

    assert "files: got" in here
    assert here.partition(": ")[2] == there.partition(": ")[2]
    assert not (tmp_path / "device").exists()
