"""`torchrun --nproc-per-node 2`: two processes share the data, and get the scores of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agfedge.base.distributed import Team
from agfedge.cli import main
from agfedge.scores import score_many
from nets import Residual, case, stripes
from workshop import NETS

pytestmark = pytest.mark.slow

# Kernels round alike in both: each batch is the same in either, and its sums are float64.
TOLERANCE = 1e-9
SCORES = "agf,taylor,fisher,wanda,ria,flap,l1,random"


def command(out: Path, data: Path) -> list[str]:
    model = f"{NETS}:Residual"
    return ["score", "--model", model, "--data", str(data), "--score", SCORES, "--out", str(out), "--batch-size", "7"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y = stripes(100)
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    np.savez(path, x=x, y=y)
    return path


# 60 training inputs: 9 batches, the last one smaller, so that one process has more of them.
def test_two_processes_give_the_scores_of_one(data: Path, tmp_path: Path) -> None:
    assert main(command(tmp_path / "1.npz", data)) == 0
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "agfedge"]
    done = subprocess.run(
        [sys.executable, *launcher, *command(tmp_path / "2.npz", data), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "2.npz") as two:
        assert one.files == two.files
        for name in one.files:
            np.testing.assert_allclose(two[name], one[name], rtol=TOLERANCE, atol=0, err_msg=name)
    assert json.loads(done.stdout)["samples"] == 60  # one document: only the first process prints


def test_a_process_without_a_batch_adds_nothing() -> None:
    sent: list[dict[str, np.ndarray]] = []

    class Busy(Team):
        def sum(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            sent.append(dict(arrays))
            return dict(arrays)

    class Idle(Team):
        def sum(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            theirs = sent.pop(0)
            assert theirs.keys() == arrays.keys()
            return {name: theirs[name] + value for name, value in arrays.items()}

    names = ["agf", "fisher", "wanda", "flap"]
    inputs = replace(case(Residual).inputs, batch_size=12)
    busy, idle = (score_many(names, replace(inputs, team=team)) for team in (Busy(0, 2), Idle(1, 2)))
    for name in names:
        for group, values in score_many([name], inputs)[name].items():
            np.testing.assert_array_equal(idle[name][group], busy[name][group])
            np.testing.assert_allclose(busy[name][group], values, rtol=1e-12)
