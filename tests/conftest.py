"""One thread for the small networks of the tests, no GPU for `auto`, and one small export that they share."""

from __future__ import annotations

import contextlib
import io
import json
import os

import pytest

from agfedge_runtime.machine.gpus import GpuSearch
from workshop import Workshop

# Before torch is imported; commands that tests start inherit it. More threads only wait for each other here, above all
# on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def no_gpu_for_auto(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test does not ask for must not decide what it sees: where there is a GPU, `auto` would build engines."""
    if request.node.get_closest_marker("gpu") is None:
        hidden = GpuSearch((), "", "tests without the marker gpu see none")
        monkeypatch.setattr("agfedge_runtime.engines.choice.find_gpus", lambda: hidden)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    import numpy as np
    import torch

    from agfedge.cli import main
    from nets import Residual, learned, stripes

    folder = tmp_path_factory.mktemp("workshop")
    x, y = stripes(600)
    parts = {"train": slice(0, 300), "calibration": slice(300, 450), "test": slice(450, 600)}
    arrays = {f"{name}_{part}": each[rows] for part, rows in parts.items() for name, each in (("x", x), ("y", y))}
    np.savez(folder / "stripes.npz", **arrays)
    torch.save(learned(Residual).state_dict(), folder / "weights.pt")
    made = Workshop(folder, {})
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*made.export(made.bundle, epochs=2), "--json"]) == 0
    return Workshop(folder, json.loads(out.getvalue()))
