"""Engines are built once, by one process at a time, and never run when they may not fit."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agfedge_runtime.engines.tensorrt.build import child
from agfedge_runtime.engines.tensorrt.build import folder as folder_module
from agfedge_runtime.engines.tensorrt.build.builder import BuildOptions
from agfedge_runtime.engines.tensorrt.build.device import Device
from agfedge_runtime.engines.tensorrt.build.folder import engines_folder
from agfedge_runtime.engines.tensorrt.build.library import open_library
from agfedge_runtime.engines.tensorrt.build.process import BuildRequest, BuildResult, build_in_child
from agfedge_runtime.engines.tensorrt.build.store import EnginePlan, EngineStore
from agfedge_runtime.errors import BackendError, InputError, MissingPackageError
from tensorrt_graphs import fake_library, skip_without_rtx, write_graph


class Shelf:
    """A store whose builds are done in this process, by a fake, and counted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "engines"
        self.graph = write_graph(folder)
        self.builds: list[BuildRequest] = []
        self._monkeypatch = monkeypatch

    def store(self, version: str = "10.3.0", device: Device | None = None) -> EngineStore:
        self.fake, library = fake_library(version, self._monkeypatch)
        return EngineStore(library, self.folder, Device() if device is None else device, self._build)

    def plan(
        self, version: str = "10.3.0", device: Device | None = None, rebuild: bool = False, **options
    ) -> EnginePlan:
        return self.store(version, device).plan(self.graph, BuildOptions(**options), rebuild)

    def _build(self, request: BuildRequest) -> BuildResult:
        self.builds.append(request)
        return child.build(request)


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Shelf:
    return Shelf(tmp_path, monkeypatch)


def test_an_engine_is_built_once(shelf):
    first, second = shelf.plan(), shelf.plan()
    assert (first.is_new, second.is_new) == (True, False)
    assert first.data == second.data
    assert first.key == second.key
    assert len(shelf.builds) == 1


def test_a_plan_and_its_record_are_named_by_the_key(shelf):
    plan = shelf.plan()
    assert plan.path == shelf.folder / f"{plan.key.digest}.plan"
    assert plan.path.read_bytes() == plan.data
    record = json.loads(plan.path.with_suffix(".json").read_text())
    assert record["key"] == json.loads(plan.key.to_json())
    assert record["precision"] == plan.precision == "fp16"


@pytest.mark.parametrize(
    "other",
    [
        {"version": "10.13.3"},
        {"version": "11.1"},
        {"device": Device(multiprocessors=4)},
        {"device": Device(module="NVIDIA Jetson AGX Orin")},
        {"device": Device(l4t="36.4.4")},
        {"precision": "fp32"},
        {"batch": (1, 1, 4)},
    ],
    ids=str,
)
def test_what_the_plan_does_not_fit_has_a_plan_of_its_own(other, shelf):
    first = shelf.plan()
    assert shelf.plan(**other).is_new
    assert not shelf.plan().is_new
    assert first.path.exists()


def test_another_graph_has_a_plan_of_its_own(shelf):
    first = shelf.plan()
    write_graph(shelf.graph.parent, "int8")
    assert shelf.plan().path != first.path


def test_another_workspace_is_no_other_engine(shelf):
    shelf.plan()
    assert not shelf.plan(workspace=64).is_new


def damage_plan(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:-1])


def damage_record(plan: Path) -> None:
    plan.with_suffix(".json").write_text("{")


def lose_record(plan: Path) -> None:
    plan.with_suffix(".json").unlink()


def lose_plan(plan: Path) -> None:
    plan.unlink()


def enlarge_record(plan: Path) -> None:
    plan.with_suffix(".json").write_text(" " * 70_000)


@pytest.mark.parametrize("harm", [damage_plan, damage_record, lose_record, lose_plan, enlarge_record])
def test_what_its_record_does_not_vouch_for_is_built_anew(harm, shelf):
    plan = shelf.plan()
    harm(plan.path)
    again = shelf.plan()
    assert again.is_new
    assert again.data == plan.data
    assert not shelf.plan().is_new


@pytest.mark.parametrize(
    ("version", "device", "told"),
    [("8.6.1", None, "version '8.6.1.0' instead of '10.3.0.0'"), ("10.3.0", Device(module="Thor"), "module 'Thor'")],
)
def test_a_plan_under_a_name_that_is_not_its_own_is_built_anew(version, device, told, shelf, caplog):
    foreign, own = shelf.plan(version, device), shelf.plan()
    for suffix in (".plan", ".json"):
        shutil.copy(foreign.path.with_suffix(suffix), own.path.with_suffix(suffix))
    assert shelf.plan().is_new
    assert told in caplog.text


def test_a_plan_is_built_anew_on_request(shelf):
    shelf.plan()
    assert shelf.plan(rebuild=True).is_new


def test_a_failed_build_leaves_what_was_there(shelf):
    plan = shelf.plan()
    store = shelf.store()
    shelf.fake.build_failures = ["no implementation"]
    with pytest.raises(BackendError, match="no implementation"):
        store.plan(shelf.graph, rebuild=True)
    assert not shelf.plan().is_new
    assert plan.path.read_bytes() == plan.data


def test_warnings_are_said_whenever_the_plan_is_used(shelf, caplog):
    store = shelf.store()
    store._build = lambda request: BuildResult(child.build(request).sha256, "fp32", 1.0, None, ("it is slower",))
    assert store.plan(shelf.graph).precision == "fp32"
    assert shelf.plan().warnings == ("it is slower",)
    assert caplog.text.count("it is slower") == 2


def test_what_was_prepared_is_what_a_precision_alone_gives(shelf):
    wanted = BuildOptions("fp16", (1, 2, 4), optimization_level=2)
    prepared = shelf.store().prepare(shelf.graph, wanted)
    assert shelf.plan(precision="fp16").path == prepared.path
    assert shelf.plan(precision="fp16", batch=(1, 1, 2)).path != prepared.path
    assert shelf.plan(precision="fp32").key.batch == (1, 1, 8)
    plain = shelf.store().prepare(shelf.graph, BuildOptions("fp16"))
    assert shelf.plan(precision="fp16").path == plain.path


@pytest.mark.parametrize("text", ["", '{"batch": [1, 1], "dla": null, "optimization_level": null}',
    '{"batch": [8, 1, 1], "dla": null, "optimization_level": null}'])  # fmt: skip
def test_damaged_options_are_left_out_of_account(text, shelf, caplog):
    shelf.store().prepare(shelf.graph, BuildOptions("fp16", (1, 2, 4)))
    (path,) = shelf.folder.glob("*.options.json")
    path.write_text(text)
    assert shelf.plan(precision="fp16").key.batch == (1, 1, 8)
    assert "is left out of account" in caplog.text


def test_a_plan_in_a_folder_that_cannot_be_written_is_used(shelf, monkeypatch):
    shelf.plan()
    monkeypatch.setattr(os, "open", refuse(errno.EROFS))
    assert not shelf.plan().is_new


def refuse(code: int):
    def fail(*arguments: object, **named: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_one_error_before_any_build(code, shelf, monkeypatch):
    store = shelf.store()
    monkeypatch.setattr(os, "open", refuse(code))
    with pytest.raises(InputError, match=f"engines cannot be kept there: {os.strerror(code)}; make it writable, set"):
        store.plan(shelf.graph)
    assert shelf.builds == []


def test_a_folder_that_cannot_be_made_is_one_error(shelf):
    shelf.folder.write_text("a file is in its place")
    with pytest.raises(InputError, match="engines cannot be kept there"):
        shelf.plan()


def test_a_folder_that_everybody_may_write_to_is_refused(shelf):
    plan = shelf.plan()
    shelf.folder.chmod(0o777)
    with pytest.raises(InputError, match="everybody may write to it"):
        shelf.plan()
    assert plan.path.exists()


def test_the_folder_is_the_users_own(shelf):
    shelf.plan()
    assert stat.S_IMODE(shelf.folder.stat().st_mode) == 0o700


def test_engines_lie_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert engines_folder(tmp_path / "bundle/light.onnx") == tmp_path / "cache/agfedge/engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert engines_folder(tmp_path / "bundle/light.onnx") == tmp_path / "home/.cache/agfedge/engines"


def test_a_folder_beside_the_bundle_is_preferred(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "bundle.engines").mkdir()
    assert engines_folder(tmp_path / "bundle/light.onnx") == tmp_path / "bundle.engines"


def test_a_user_without_a_home_keeps_engines_beside_the_bundle(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(folder_module.os.path, "expanduser", lambda path: path)
    assert engines_folder(tmp_path / "bundle/light.onnx") == tmp_path / "bundle.engines"


def test_who_waits_for_the_lock_uses_what_was_built_meanwhile(shelf, monkeypatch, caplog):
    """While the first store asks for the lock, another process holds it and builds."""
    import fcntl

    store, real = shelf.store(), fcntl.flock
    asked: list[int] = []

    def flock(descriptor: int, how: int) -> None:
        asked.append(how)
        if how & fcntl.LOCK_NB:
            with monkeypatch.context() as patch:
                patch.setattr(fcntl, "flock", real)
                assert store.plan(shelf.graph).is_new
            raise BlockingIOError(errno.EWOULDBLOCK, "held")

    monkeypatch.setattr(fcntl, "flock", flock)
    with caplog.at_level(logging.INFO):
        assert not store.plan(shelf.graph).is_new
    assert asked == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX]
    assert "waiting for another process" in caplog.text
    assert len(shelf.builds) == 1


def request_of(folder: Path, precision: str = "fp32", **options) -> BuildRequest:
    graph = write_graph(folder, precision)
    return BuildRequest("tensorrt_rtx", graph, BuildOptions(**options), Device(), folder / "a.plan")


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def test_a_request_survives_its_journey(tmp_path):
    request = request_of(tmp_path, batch=(1, 2, 4), workspace=64)
    assert BuildRequest.from_json(request.to_json()) == request


def test_a_crash_of_the_builder_is_an_error_here(tmp_path):
    crash = script("import os, sys; sys.stderr.write('tactic 7'); sys.stderr.flush(); os.abort()")
    with pytest.raises(
        BackendError, match=r"light\.onnx: the builder crashed \(SIGABRT\), after saying: tactic 7; it is"
    ):
        build_in_child(request_of(tmp_path), crash)
    assert not (tmp_path / "a.plan").exists()


def test_a_crash_leaves_the_cache_whole(shelf):
    plan = shelf.plan()
    store = shelf.store()
    store._build = lambda request: build_in_child(request, script("import os; os.abort()"))
    with pytest.raises(BackendError, match="crashed"):
        store.plan(shelf.graph, rebuild=True)
    assert shelf.plan().data == plan.data


def test_a_killed_builder_is_tried_again_with_less_workspace(tmp_path, caplog):
    seen = tmp_path / "seen"
    text = f"""
import json, os, signal, sys
workspace = json.load(sys.stdin)["options"]["workspace"]
open({str(seen)!r}, "a").write(f"{{workspace}} ")
if workspace is None or workspace > 300:
    os.kill(os.getpid(), signal.SIGKILL)
print(json.dumps(dict(sha256="00", precision="fp32", seconds=1.0, workspace=workspace, warnings=[])))
"""
    assert build_in_child(request_of(tmp_path), script(text)).workspace == 256
    assert seen.read_text() == "None 1024 512 256 "
    assert "the builder was killed, most likely for want of memory" in caplog.text


def test_a_builder_that_is_killed_every_time_is_an_error(tmp_path):
    killed = script(f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    with pytest.raises(BackendError, match="also with a workspace of 16 MiB; close other programs"):
        build_in_child(request_of(tmp_path, workspace=32), killed)


def test_an_error_of_the_child_is_raised_here(tmp_path):
    raising = script('import sys; print(\'{"error": "InputError", "message": "no room"}\'); sys.exit(1)')
    with pytest.raises(InputError, match="no room"):
        build_in_child(request_of(tmp_path), raising)


@pytest.mark.parametrize("text", ["import sys; sys.exit(3)", "import sys; print('[]'); sys.exit(3)"])
def test_a_child_that_ends_strangely_is_an_error(text, tmp_path):
    with pytest.raises(BackendError, match=r"light\.onnx: the builder ended with code 3"):
        build_in_child(request_of(tmp_path), script(text))


def test_a_process_that_cannot_start_is_an_error(tmp_path):
    with pytest.raises(BackendError, match="the builder's process cannot start"):
        build_in_child(request_of(tmp_path), (str(tmp_path / "nothing"),))


def test_an_answer_that_is_none_is_an_error(tmp_path):
    with pytest.raises(BackendError, match="the builder's answer"):
        build_in_child(request_of(tmp_path), script("print('built!')"))


def test_a_library_that_the_child_cannot_import_is_told(tmp_path):
    text = """
import sys
from agfedge_runtime.engines.tensorrt.build.child import main
sys.modules["tensorrt_rtx"] = None
sys.exit(main())
"""
    with pytest.raises(MissingPackageError, match="tensorrt_rtx cannot be imported"):
        build_in_child(request_of(tmp_path), script(text))


@pytest.fixture(scope="module")
def rtx():
    skip_without_rtx()
    return open_library("tensorrt_rtx")


def test_tensorrt_rtx_builds_in_a_child(rtx, tmp_path):
    graph = write_graph(tmp_path)
    store = EngineStore(rtx, tmp_path / "engines", Device())
    plan = store.plan(graph)
    assert (plan.is_new, plan.precision) == (True, "fp32")
    assert not store.plan(graph).is_new


def test_a_refused_node_is_named_across_the_processes(rtx, tmp_path):
    (tmp_path / "light.onnx").write_bytes(write_graph(tmp_path).read_bytes().replace(b"Softmax", b"Softmix"))
    with pytest.raises(BackendError, match=r"light\.onnx: TensorRT-RTX .* cannot take .*node 2 'last' \(Softmix\)"):
        EngineStore(rtx, tmp_path / "engines", Device()).plan(tmp_path / "light.onnx")


def test_two_processes_at_once_build_one_engine(rtx, tmp_path):
    program = """
import sys
from pathlib import Path
from agfedge_runtime.engines.tensorrt import EngineStore, open_library
from agfedge_runtime.engines.tensorrt.build.device import Device
plan = EngineStore(open_library("tensorrt_rtx"), Path(sys.argv[2]), Device()).plan(Path(sys.argv[1]))
print(plan.is_new, plan.key.digest, len(plan.data))
"""
    command = [sys.executable, "-c", program, str(write_graph(tmp_path)), str(tmp_path / "engines")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [each.communicate()[0].split() for each in running]
    assert [each.returncode for each in running] == [0, 0]
    assert sorted(answer[0] for answer in answers) == ["False", "True"]
    assert answers[0][1:] == answers[1][1:]


def test_the_child_finds_this_very_package_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError, match="got the library 'another', expected one of tensorrt, tensorrt_rtx"):
        build_in_child(dataclasses.replace(request_of(tmp_path), library="another"))
