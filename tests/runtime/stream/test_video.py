"""`agfedge-runtime run --source`: frames of a video, and of a camera that may go away."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from agfedge_runtime import cli
from agfedge_runtime.bundle.manifest import InputSpec, Preprocessing
from agfedge_runtime.errors import InputError, MissingPackageError
from agfedge_runtime.stream import video
from agfedge_runtime.stream.sources import is_camera, open_source
from fake_opencv import FakeOpenCV

SIZE = (64, 48)
GRAYS = (0, 60, 120, 180, 240)


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def spec(shape, layout="NHWC", dtype="uint8") -> InputSpec:
    return InputSpec("x", (None, *shape), dtype, layout, Preprocessing(dtype == "uint8", 1.0, (0.0,), (1.0,)))


def gray(value: int) -> np.ndarray:
    return np.full((2, 2), value, np.uint8)


def opencv() -> ModuleType:
    try:
        return video.opencv("this test")
    except MissingPackageError as error:
        pytest.skip(str(error))


def write_video(path: Path, frames) -> Path:
    cv2 = opencv()
    # Motion JPEG in AVI is written by OpenCV itself, whatever it was built with.
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, SIZE)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def plain(blue: int, green: int, red: int) -> np.ndarray:
    return np.broadcast_to(np.array([blue, green, red], np.uint8), (SIZE[1], SIZE[0], 3)).copy()


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_video(tmp_path / "clip.avi", [plain(value, value, value) for value in GRAYS])


@pytest.fixture
def camera(monkeypatch) -> FakeOpenCV:
    fake = FakeOpenCV()
    monkeypatch.setitem(sys.modules, "cv2", fake)
    monkeypatch.setattr(video, "SILENCE_S", 0.5)
    return fake


def test_every_frame_of_a_video_is_decided_in_its_order(tiny, clip, capsys):
    assert run("run", tiny.bundle(prior=0.9).path, "--source", clip, "--json") == 0

    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["source"], row["row"]) for row in rows] == [("clip.avi", index) for index in range(len(GRAYS))]
    # A gray level goes in as a byte; both experts give class 0 its share of 255. JPEG may be off by one.
    given = [row["probability"] if row["label"] == 0 else 1 - row["probability"] for row in rows]
    np.testing.assert_allclose(given, np.array(GRAYS) / 255, atol=2 / 255)
    assert err == ""


def test_a_video_is_known_by_its_content_whatever_it_is_called(tiny, clip, capsys):
    path = clip.rename(clip.with_name("recording"))
    assert run("run", tiny.bundle().path, "--source", path, "--decisions", 2) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]] == ["recording"] * 2


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_frames_become_rgb_at_the_bundles_size(tmp_path, layout):
    path = write_video(tmp_path / "clip.avi", [plain(blue=20, green=120, red=220)])
    shape = (6, 8, 3) if layout == "NHWC" else (3, 6, 8)

    with open_source(str(path), spec(shape, layout)) as items:
        (item,) = items

    assert item.x.shape == (1, *shape)
    assert item.x.flags.c_contiguous
    pixels = item.x[0] if layout == "NHWC" else item.x[0].transpose(1, 2, 0)
    np.testing.assert_allclose(pixels.reshape(-1, 3).mean(0), [220, 120, 20], atol=5)


def test_shrinking_takes_means_and_not_samples(tmp_path):
    frame = plain(0, 0, 0)
    frame[:, ::2] = 255
    with open_source(str(write_video(tmp_path / "clip.avi", [frame])), spec((6, 8, 1))) as items:
        (item,) = items
    assert abs(int(item.x.min()) - 127) < 12
    assert abs(int(item.x.max()) - 127) < 12


def test_small_frames_are_enlarged(clip):
    with open_source(str(clip), spec((96, 128, 1))) as items:
        assert next(items).x.shape == (1, 96, 128, 1)


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_a_file_that_is_no_video_is_one_line(tiny, tmp_path, capfd, content):
    opencv()
    (tmp_path / "clip.mp4").write_bytes(content)

    assert run("run", tiny.bundle().path, "--source", tmp_path / "clip.mp4") == 1

    # OpenCV's own messages would be written past Python.
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "clip.mp4: cannot be read as a video by OpenCV" in err


def test_a_video_that_was_cut_off_ends_where_it_ends(tiny, tmp_path, capfd):
    noise = np.random.default_rng(0).integers(0, 256, (8, SIZE[1], SIZE[0], 3), np.uint8)
    clip = write_video(tmp_path / "clip.avi", noise)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert run("run", tiny.bundle().path, "--source", clip, "--json") == 0
    out, err = capfd.readouterr()
    assert 1 < len(out.splitlines()) < len(noise)
    assert err == ""


def test_without_opencv_one_line_says_how_to_get_it(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (tmp_path / "clip.mp4").write_bytes(b"")
    for source in (tmp_path / "clip.mp4", 0):
        assert run("run", tiny.bundle().path, "--source", source) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "sudo apt-get install python3-opencv" in err
        assert "pip install opencv-python-headless" in err


def test_an_opencv_for_another_numpy_is_one_line(tiny, tmp_path, capfd, monkeypatch):
    (tmp_path / "cv2.py").write_text(
        "import sys; sys.stderr.write('pages'); raise ImportError('numpy.core.multiarray failed to import')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    assert run("run", tiny.bundle().path, "--source", 0) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "pages" not in err
    assert "pip install 'numpy<2'" in err


def test_a_bundle_that_takes_no_images_says_so_before_a_camera_is_opened(camera):
    with (
        pytest.raises(InputError, match="camera 0: this bundle takes float32"),
        open_source("0", spec((2, 2, 1), dtype="float32")),
    ):
        pass
    assert camera.opened == []


def test_the_latest_frame_of_a_camera_is_decided_and_none_twice(camera):
    with open_source("0", spec((2, 2, 1))) as items:
        camera.frames.put(gray(1))
        assert next(items).x.max() == 1
        for value in (2, 3, 4, 5):
            camera.frames.put(gray(value))
        while not camera.frames.empty():
            camera.wanted.get()
        while camera.wanted.qsize():
            camera.wanted.get()
        camera.wanted.get()  # the next read has begun: frame 5 is there
        item = next(items)
        assert (item.row, item.x.max(), item.source) == (4, 5, "camera 0")
        camera.frames.put(gray(6))
        item = next(items)
        assert (item.row, item.x.max()) == (5, 6)
    assert camera.released == 1
    assert camera.settings == {FakeOpenCV.CAP_PROP_BUFFERSIZE: 1}


def test_a_camera_that_falters_goes_on(camera):
    with open_source("0", spec((2, 2, 1))) as items:
        for frame in (None, gray(1)):
            camera.frames.put(frame)
        assert next(items).row == 0


def test_a_camera_that_is_unplugged_is_one_line(tiny, camera, capsys):
    camera.frames.put(gray(3))

    assert run("run", tiny.bundle().path, "--source", 0, "--json") == 1

    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err == "agfedge-runtime: camera 0: gave no frame for 0.5 seconds; is it still plugged in?\n"
    assert camera.released == 1


def test_a_camera_that_fails_to_decode_is_one_line(camera, monkeypatch):
    def fail(self: object) -> None:
        raise RuntimeError("OpenCV's own error")

    monkeypatch.setattr("fake_opencv._Capture.read", fail)
    with open_source("0", spec((2, 2, 1))) as items, pytest.raises(InputError, match="gave no frame"):
        next(items)


@pytest.mark.parametrize("frame", [np.zeros((2, 2), np.uint16), np.zeros((2, 2, 4), np.uint8), np.zeros(4, np.uint8)])
def test_frames_of_another_kind_are_refused(camera, frame):
    camera.frames.put(frame)
    with open_source("0", spec((2, 2, 1))) as items, pytest.raises(InputError, match="expected uint8 in BGR or gray"):
        next(items)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (7, "camera 7: cannot be opened; there is no /dev/video7; "),
        ("/dev/video77", "/dev/video77: cannot be opened; there is no /dev/video77; "),
        ("/dev/null", "/dev/null: cannot be opened; is /dev/null a camera that gives images"),
        ("nvarguscamerasrc ! fakesink", "must run with gst-launch-1.0 and end in appsink"),
    ],
)
def test_a_camera_that_cannot_be_opened_is_one_line(tiny, camera, capsys, source, told):
    if str(source) in told and Path(f"/dev/video{source}").exists():
        pytest.skip("this machine has so many cameras")
    assert run("run", tiny.bundle().path, "--source", source) == 1
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_the_real_opencv_says_nothing_of_its_own(tiny, capfd):
    opencv()
    assert run("run", tiny.bundle().path, "--source", "/dev/null") == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_a_pipeline_goes_to_gstreamer(camera):
    pipeline = "nvarguscamerasrc ! appsink"
    camera.cameras = (pipeline,)
    with open_source(pipeline, spec((2, 2, 1))):
        pass
    assert camera.opened == [(pipeline, FakeOpenCV.CAP_GSTREAMER)]


def test_numbers_and_devices_are_cameras_and_paths_are_not(tmp_path):
    assert all(map(is_camera, ("0", "12", "/dev/video0", "/dev/v4l/by-id/usb-camera", "a ! b")))
    shared = Path("/dev/shm") / f"{os.getpid()}.mp4"  # noqa: S108 -- a folder among the devices
    if shared.parent.is_dir():
        shared.write_bytes(b"")
        try:
            assert not is_camera(str(shared))
        finally:
            shared.unlink()
    assert not any(map(is_camera, ("./0", "1234", "-1", "\u00b2", "", "clip.mp4", "bang!", str(tmp_path))))
