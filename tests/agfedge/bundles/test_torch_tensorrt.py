"""torch-tensorrt is refused where it cannot work; the light expert's module is what its graph is."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from agfedge.allocate import AllocationRequest
from agfedge.base.onnx_run import OnnxRun
from agfedge.bundles.torch_tensorrt_engine import INSTALL, light_module, require_torch_tensorrt
from agfedge.light.light import LightExpert, make_light, score_subject
from agfedge.recover import Recovery
from agfedge.subject.origin import Origin
from agfedge.subject.subject import Subject, load_subject
from agfedge_runtime.errors import BackendError, InputError, MissingPackageError
from workshop import NETS, Workshop

PYPROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_refused_with_the_command_that_installs_it() -> None:
    with pytest.raises(BackendError, match=r"sees no GPU; on a workstation .*: pip install 'torch-tensorrt>="):
        require_torch_tensorrt()


def test_without_the_package_it_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise OSError("libnvinfer.so.10:\nno such file")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"no such file\): pip install 'torch-tensorrt>=") as caught:
        require_torch_tensorrt()
    assert len(str(caught.value).splitlines()) == 1


def test_the_command_installs_what_the_extra_allows() -> None:
    requirement = INSTALL.split("'")[1]
    assert f'torch-tensorrt = ["{requirement}"]' in PYPROJECT.read_text()


@pytest.fixture(scope="module")
def subject(workshop: Workshop) -> Subject:
    data = str(workshop.folder / "stripes.npz")
    return load_subject(Origin(f"{NETS}:Residual", data, str(workshop.folder / "weights.pt")), 0)


@pytest.mark.parametrize("epochs", [0, 2])
def test_the_module_of_a_light_expert_answers_as_its_graph(subject: Subject, epochs: int) -> None:
    scores = score_subject(subject, "l1", 0)
    expert = make_light(subject, scores, AllocationRequest(keep=0.5), Recovery(epochs=epochs))
    module = light_module(subject, expert)
    with torch.no_grad():
        ours = module(torch.from_numpy(subject.x[:20])).numpy()
    np.testing.assert_allclose(ours, OnnxRun(expert.model).outputs(subject.x[:20])[0], atol=1e-4)


def test_a_graph_of_another_origin_is_refused(subject: Subject) -> None:
    with pytest.raises(InputError, match="compiles modules: a light expert of --light is a graph"):
        light_module(subject, LightExpert(subject.exported.model))
