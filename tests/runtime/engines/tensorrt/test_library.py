"""Which TensorRT serves, what it can, and what it said."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from agfedge_runtime.engines.tensorrt.build.library import Library, open_library
from agfedge_runtime.errors import BackendError, MissingPackageError
from fake_tensorrt import VERSIONS, FakeTensorRt
from tensorrt_graphs import fake_library, skip_without_rtx

OLD = [version for version in VERSIONS if version != "11.1"]


def say(library: Library, severity: str, message: str) -> None:
    library.logger.log(getattr(library.module.ILogger.Severity, severity), message)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_opens(version, monkeypatch):
    _, library = fake_library(version, monkeypatch)
    assert library.name == "tensorrt"
    assert library.full_version == f"{version}.0"
    assert library.version[0] == int(version.split(".")[0])
    assert library.title == f"TensorRT {version}.0"


@pytest.mark.parametrize("version", VERSIONS)
def test_from_11_on_the_types_of_the_graph_are_the_precision(version, monkeypatch):
    _, library = fake_library(version, monkeypatch)
    assert library.takes_precision_from_types is (version not in OLD)


def test_its_plugins_are_registered_once(monkeypatch):
    fake, calls = FakeTensorRt("8.5.2"), []
    monkeypatch.setattr(fake.module, "init_libnvinfer_plugins", lambda *given: calls.append(given) or True)
    fake.install(monkeypatch)
    library = open_library("tensorrt")
    assert open_library("tensorrt") is library
    assert calls == [(library.logger, "")]


def test_it_looks_for_names_and_not_at_versions(monkeypatch):
    _, library = fake_library("8.5.2", monkeypatch)
    assert library.has("BuilderFlag.FP16")
    assert library.has("Builder")
    assert not library.has("IProgressMonitor")
    assert not library.has("IBuilderConfig.builder_optimization_level")


def test_a_process_has_one_logger(monkeypatch):
    _, library = fake_library("10.3.0", monkeypatch)
    assert open_library("tensorrt") is library


def test_another_module_is_another_library(monkeypatch):
    _, first = fake_library("10.3.0", monkeypatch)
    _, second = fake_library("11.1", monkeypatch)
    assert first.version != second.version


def test_the_logger_keeps_warnings_and_errors(monkeypatch):
    _, library = fake_library("8.6.1", monkeypatch)
    for severity in ("INFO", "WARNING", "VERBOSE", "ERROR", "INTERNAL_ERROR"):
        say(library, severity, severity.lower())
    assert library.logger.messages() == ["warning", "error", "internal_error"]
    assert library.logger.errors() == ["error", "internal_error"]
    library.logger.clear()
    assert library.logger.messages() == []


def test_the_reason_is_the_first_error_in_one_line(monkeypatch):
    _, library = fake_library("10.16", monkeypatch)
    say(library, "WARNING", "by the way")
    say(library, "ERROR", "the\nfirst  thing")
    say(library, "ERROR", "what followed")
    assert library.reason() == "the first thing"


def test_the_reason_is_not_that_there_is_no_gpu_where_something_else_is_wrong(monkeypatch):
    _, library = fake_library("11.1", monkeypatch)
    say(library, "ERROR", "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime")
    assert "catchCudaError" in library.reason()
    say(library, "ERROR", "an invalid profile")
    assert library.reason() == "an invalid profile"


def test_a_silent_library_gave_no_reason(monkeypatch):
    _, library = fake_library("11.1", monkeypatch)
    assert library.reason() == "it gave no reason"


@pytest.mark.parametrize(("name", "command"), [("tensorrt", "apt install"), ("tensorrt_rtx", "pip install")])
def test_a_missing_library_is_told_with_its_command(name, command, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=f"{name} cannot be imported .*{command}"):
        open_library(name)


def test_a_broken_binary_is_a_missing_package(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(MissingPackageError, match=r"libnvinfer\.so\.10"):
        open_library("tensorrt")


def test_what_an_incomplete_removal_left_is_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(MissingPackageError, match="without a version"):
        open_library("tensorrt")


def test_a_version_before_8_5_is_refused(monkeypatch):
    fake = FakeTensorRt("8.5.2")
    fake.module.__version__ = "8.4.1.5"
    fake.install(monkeypatch)
    with pytest.raises(BackendError, match=r"got TensorRT 8\.4\.1\.5, expected 8\.5 or later"):
        open_library("tensorrt")


def test_an_unknown_library_is_refused():
    with pytest.raises(BackendError, match="expected one of tensorrt, tensorrt_rtx"):
        open_library("onnxruntime")


def test_tensorrt_rtx_opens():
    skip_without_rtx()
    library = open_library("tensorrt_rtx")
    assert library.title.startswith("TensorRT-RTX 1.")
    assert library.takes_precision_from_types
    assert library.has("IProgressMonitor")
