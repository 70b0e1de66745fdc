"""`agfedge-runtime run --source`: a folder's inputs, one decision after the other."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agfedge_runtime import cli
from agfedge_runtime.bundle.manifest import InputSpec, Preprocessing
from agfedge_runtime.errors import InputError
from agfedge_runtime.stream.sources import read_items

BRANCHES = ["early", "light", "late", "light", "late", "early"]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "inputs" / "below").mkdir(parents=True)
    return tmp_path / "inputs"


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_of_json_a_decision(tiny, folder, capsys):
    np.savez(folder / "a.npz", x=tiny.mixed()[:3])
    np.save(folder / "below" / "b.npy", tiny.mixed()[3:5])
    np.save(folder / "below" / "c.npy", tiny.mixed()[5])
    (folder / "notes.txt").write_text("passed over")
    (folder / ".hidden.npy").write_bytes(b"passed over")

    assert run("run", tiny.bundle().path, "--source", folder, "--json") == 0

    rows = lines(capsys)
    assert [row["branch"] for row in rows] == BRANCHES
    assert [(row["source"], row["row"]) for row in rows] == [
        ("a.npz", 0), ("a.npz", 1), ("a.npz", 2), ("below/b.npy", 0), ("below/b.npy", 1), ("below/c.npy", 0),
    ]  # fmt: skip
    assert rows[0].keys() == {
        "time", "source", "row", "label", "class", "probability", "branch", "prior", "confidence", "latency_us",
    }  # fmt: skip
    assert datetime.fromisoformat(rows[0]["time"].replace("Z", "+00:00")).utcoffset() == timedelta(0)


def test_one_by_one_decides_as_the_batch_does(tiny, folder, capsys):
    np.savez(folder / "all.npz", x=tiny.mixed())
    bundle = tiny.bundle().path
    assert run("run", bundle, folder / "all.npz", "--json") == 0
    batch = json.loads(capsys.readouterr().out)

    assert run("run", bundle, "--source", folder, "--json") == 0

    assert [row["label"] for row in lines(capsys)] == [row["label"] for row in batch]


def test_images_are_decided_as_their_pixels(tiny, folder, capsys):
    for index, pixels in enumerate(tiny.mixed()):
        Image.fromarray(pixels[:, :, 0]).save(folder / f"{index}.png")

    assert run("run", tiny.bundle().path, "--source", folder) == 0

    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["row", "branch", "probability", "class", "source"]
    assert [row.split()[1] for row in rows] == BRANCHES
    assert rows[0].split()[-1] == "0.png"


def test_images_without_pillow_name_the_command_and_arrays_need_none(tiny, folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    np.save(folder / "a.npy", tiny.mixed())
    (folder / "b.png").write_bytes(b"")

    assert run("run", tiny.bundle().path, "--source", folder, "--json") == 1

    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 6
    assert err.startswith("agfedge-runtime: ")
    assert "pip install pillow" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"no image", "a.png: cannot be read as an image"),
        ("a.npy", b"no array", "a.npy: cannot be read"),
        ("a.npz", b"no archive", "expected an .npz file with an array x"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tiny, folder, capsys, name, content, message):
    (folder / name).write_bytes(content)
    assert run("run", tiny.bundle().path, "--source", folder) == 1
    assert message in capsys.readouterr().err


def test_pickles_are_never_read(tiny, folder, capsys):
    np.save(folder / "a.npy", np.array([None]), allow_pickle=True)
    assert run("run", tiny.bundle().path, "--source", folder) == 1
    assert "Object arrays cannot be loaded" in capsys.readouterr().err


def test_an_image_of_another_size_is_refused(tiny, folder, capsys):
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(folder / "a.png")
    assert run("run", tiny.bundle().path, "--source", folder) == 1
    assert "a.png: is 3x2, expected 2x2 (width x height); resize it" in capsys.readouterr().err


def test_an_array_of_another_shape_is_refused(tiny, folder, capsys):
    np.save(folder / "a.npy", np.zeros((4, 3, 3, 1), np.uint8))
    assert run("run", tiny.bundle().path, "--source", folder) == 1
    assert "a.npy: got uint8 (4, 3, 3, 1), expected uint8 (N, 2, 2, 1)" in capsys.readouterr().err


def test_a_folder_without_inputs_is_refused(tiny, folder, tmp_path, capsys):
    assert run("run", tiny.bundle().path, "--source", folder) == 1
    assert "holds no input" in capsys.readouterr().err
    assert run("run", tiny.bundle().path, "--source", tmp_path / "nowhere") == 1
    assert "is no folder, video or camera" in capsys.readouterr().err


def test_one_file_of_a_folder_is_a_source_too(tiny, folder, capsys):
    np.save(folder / "a.npy", tiny.mixed())
    np.save(folder / "b.npy", tiny.mixed())

    assert run("run", tiny.bundle().path, "--source", folder / "b.npy", "--json") == 0

    assert [(row["source"], row["branch"]) for row in lines(capsys)] == [("b.npy", branch) for branch in BRANCHES]


def test_it_stops_after_as_many_decisions_as_were_asked_for(tiny, folder, capsys):
    np.save(folder / "a.npy", tiny.mixed())

    assert run("run", tiny.bundle().path, "--source", folder, "--json", "--decisions", 2) == 0
    assert len(lines(capsys)) == 2

    assert run("run", tiny.bundle().path, "--source", folder, "--decisions", 0) == 1
    assert "got 0 decisions to stop after, expected 1 or more" in capsys.readouterr().err


def test_what_a_folder_is_called_never_reaches_the_terminal_raw(tiny, folder, capsys):
    np.save(folder / "a\x1b[2J\n.npy", tiny.mixed()[:1])

    assert run("run", tiny.bundle().path, "--source", folder) == 0

    _, row = capsys.readouterr().out.splitlines()
    assert row.endswith("  a?[2J?.npy")


@pytest.mark.parametrize("option", ["--decisions", "--log", "--health", "--service"])
def test_what_is_for_a_stream_is_refused_for_a_file(tiny, folder, capsys, option):
    np.savez(folder / "a.npz", x=tiny.mixed())
    assert run("run", tiny.bundle().path, folder / "a.npz", option, "3") == 1
    assert f"got {option} with a file that is decided at once; expected --source" in capsys.readouterr().err


@pytest.mark.parametrize("extra", [[], ["data.npz", "--source", "inputs"]])
def test_a_file_or_a_folder_is_given(extra, capsys):
    with pytest.raises(SystemExit) as caught:
        run("run", "bundle", *extra)
    assert caught.value.code == 2


def spec(shape, dtype="uint8", layout="NCHW") -> InputSpec:
    return InputSpec("x", (None, *shape), dtype, layout, Preprocessing(dtype == "uint8", 1.0, (0.0,), (1.0,)))


def test_channels_come_first_where_the_bundle_says_so(folder):
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    Image.fromarray(pixels).save(folder / "a.png")

    (item,) = read_items(folder / "a.png", spec((3, 2, 4)))

    np.testing.assert_array_equal(item.x, pixels.transpose(2, 0, 1)[np.newaxis])


@pytest.mark.parametrize(
    "wrong", [spec((3, 2, 4), "float32"), spec((2, 4, 3), layout="any"), spec((8,)), spec((5, 2, 4))]
)
def test_a_bundle_that_takes_no_images_says_so(folder, wrong):
    with pytest.raises(InputError, match=r"which no image file or camera has; give \.npy or \.npz files"):
        list(read_items(folder / "a.png", wrong))
