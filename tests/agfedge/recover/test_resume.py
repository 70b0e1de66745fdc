"""Long recoveries: resumed from a checkpoint, shared by processes, stopped early, and what they refuse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from agfedge.recover import Recovery, Student, make_student, recover
from agfedge.recover.checkpoint import load_course
from agfedge.recover.lessons import Changes, change
from agfedge.recover.train import learning_rate
from agfedge_export import Plan
from agfedge_runtime.errors import InputError
from nets import Residual, light, samples, seeded, stripes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
HOW = Recovery(epochs=4, batch_size=16, learning_rate=1e-2, augment="flip-crop")


def fresh() -> tuple[Student, nn.Module]:
    made = light(Residual)
    return make_student(made.heavy, made.plan, made.graph, samples()[0]), made.heavy


def save(folder: Path) -> None:
    """Writes what `opened` reads: another process would export it anew."""
    made = light(Residual)
    (folder / "plan.json").write_text(made.plan.to_json())
    onnx.save(made.graph, folder / "light.onnx")


def opened(folder: Path) -> tuple[Student, nn.Module]:
    """What `fresh` makes, in another process."""
    heavy, plan = seeded(Residual), Plan.from_json((folder / "plan.json").read_text())
    return make_student(heavy, plan, onnx.load(folder / "light.onnx"), samples()[0]), heavy


def same(one: Student, other: Student) -> bool:
    return all(np.array_equal(value, other.state()[name]) for name, value in one.state().items())


class StoppedError(Exception):
    pass


def test_a_recovery_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch) -> None:
    from agfedge.recover import train

    (whole, teacher), (x, y) = fresh(), stripes(80)
    expected = recover(whole, teacher, x, y, HOW)
    save = train.save_course

    def stops(path: Path, course: train.Course, mark: dict[str, str]) -> None:
        save(path, course, mark)
        if course.epoch == 2:
            raise StoppedError

    monkeypatch.setattr(train, "save_course", stops)
    with pytest.raises(StoppedError):
        recover(fresh()[0], teacher, x, y, HOW, checkpoint=tmp_path / "c")
    monkeypatch.setattr(train, "save_course", save)
    student, _ = fresh()
    assert recover(student, teacher, x, y, HOW, checkpoint=tmp_path / "c") == expected
    assert same(student, whole)


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from test_resume import HOW, opened, stripes
from agfedge.recover import recover, train
save = train.save_course
def dies(path, course, mark):
    save(path, course, mark)
    if course.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
train.save_course = dies
folder = Path(sys.argv[1])
student, teacher = opened(folder)
recover(student, teacher, *stripes(80), HOW, checkpoint=folder / "c")
"""


def test_a_killed_recovery_loses_nothing_that_an_epoch_had_finished(tmp_path: Path) -> None:
    script = KILLED.format(paths=[str(ROOT / "tests/helpers"), str(ROOT / "tests/agfedge/recover")])
    save(tmp_path)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-500:]
    (whole, teacher), (student, _), (x, y) = fresh(), fresh(), stripes(80)
    assert recover(whole, teacher, x, y, HOW) == recover(student, teacher, x, y, HOW, checkpoint=tmp_path / "c")
    assert same(student, whole)


def test_the_checkpoint_of_another_recovery_is_refused_and_left(tmp_path: Path) -> None:
    (student, teacher), (x, y), path = fresh(), stripes(60), tmp_path / "c"
    recover(student, teacher, x, y, Recovery(epochs=1), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"checkpoint of another recovery \(not the same: options\): delete it"):
        recover(fresh()[0], teacher, x, y, Recovery(epochs=2), checkpoint=path)
    with pytest.raises(InputError, match=r"\(not the same: data\)"):
        recover(fresh()[0], teacher, x + 1, y, Recovery(epochs=1), checkpoint=path)
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="is not a checkpoint of a recovery: delete it"):
        load_course(tmp_path / "c", {})


SHARED = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import numpy as np
from test_resume import opened, stripes
from agfedge.base.distributed import team
from agfedge.recover import Recovery, recover
with team() as us:
    student, teacher = opened(Path(sys.argv[1]))
    recover(student, teacher, *stripes(80), Recovery(epochs=2, batch_size=32), team=us)
    np.savez(Path(sys.argv[1], "rank" + str(us.rank)), **student.state())
"""


def test_two_processes_end_with_the_same_weights_near_those_of_one(tmp_path: Path) -> None:
    save(tmp_path)
    script = tmp_path / "train.py"
    script.write_text(SHARED.format(paths=[str(ROOT / "tests/helpers"), str(ROOT / "tests/agfedge/recover")]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)],
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-800:]
    first, second = (np.load(tmp_path / f"rank{rank}.npz") for rank in (0, 1))
    (student, teacher), (x, y) = fresh(), stripes(80)
    recover(student, teacher, x, y, Recovery(epochs=2, batch_size=32))
    for name, alone in student.state().items():
        np.testing.assert_array_equal(first[name], second[name])
        assert np.isfinite(first[name]).all()
        if alone.dtype == np.float32:
            np.testing.assert_allclose(first[name], alone, atol=0.05)


def test_it_stops_when_no_epoch_was_better_for_long() -> None:
    (student, teacher), (x, y) = fresh(), stripes(60)
    report = recover(student, teacher, x, y, Recovery(epochs=20, learning_rate=0.0, patience=3))
    assert len(report.validation_accuracy) == 4
    assert len(report.loss) == 3


def test_labels_outside_the_head_are_named() -> None:
    (student, teacher), (x, y) = fresh(), samples(40)
    with pytest.raises(InputError, match="a label is 3: the model's head has 3 classes"):
        recover(student, teacher, x, np.where(y == 2, 3, y), Recovery(epochs=1))


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    how = Recovery(learning_rate=1.0, warm_up=0.1)
    rates = [learning_rate(how, step, 100) for step in range(100)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_change_mirrors_and_shifts_each_image_by_its_own() -> None:
    x = torch.arange(2 * 16.0).reshape(2, 1, 4, 4)
    changes = Changes(np.array([True, False]), np.array([1, 2]), np.array([1, 0]), (1, 1))
    mirrored, moved = change(x, changes)
    assert torch.equal(mirrored, x[0].flip(-1))
    assert torch.equal(moved, nn.functional.pad(x[1], (1, 0, 0, 1))[:, 1:, :4])


@pytest.mark.parametrize("asks", [False, True])
def test_augmented_training_stays_finite_and_follows_the_seed(asks: bool) -> None:
    (x, y), states = stripes(60), []
    for _ in range(2):
        student, teacher = fresh()
        recover(student, teacher, x, y, Recovery(epochs=1, batch_size=16, augment="flip", teach_augmented=asks))
        states.append(student)
    assert same(*states)
    assert all(np.isfinite(value).all() for value in states[0].state().values())
