"""The device's own times on a fake GPU, whose clock moves by known steps: 2 us a copy, 100 us a run."""

from __future__ import annotations

import numpy as np
import pytest

from agfedge_runtime import Branch
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.errors import BackendError, InputError
from agfedge_runtime.profile.batches import check_batch
from agfedge_runtime.profile.measure import measure
from agfedge_runtime.profile.stopwatch import Stopwatch, layer_times
from fake_machine import FakeMachine
from fake_pycuda import LogicError
from fake_tensorrt import VERSIONS
from sized_bundle import SHARED, images_of, sized_bundle

COPY_US, RUN_US = 2.0, 100.0
NAN = float("nan")


def cascade_of(machine: FakeMachine, tiny, **options) -> Cascade:
    bundle = tiny.bundle()
    files = {name: bundle.file(f"{name}.onnx").read_bytes() for name in ("light", "heavy", "prior")}
    engines = {name: machine.engine(graph, f"{name}.onnx", **options) for name, graph in files.items()}
    return Cascade(bundle.manifest, **engines)


@pytest.mark.parametrize("version", VERSIONS)
def test_copies_and_runs_are_told_for_every_stage_that_ran(monkeypatch, tmp_path, tiny, version):
    machine = FakeMachine(monkeypatch, tmp_path, version)
    with cascade_of(machine, tiny) as cascade:
        samples = measure(cascade, tiny.mixed(), decisions=18, warmup=6)
    light, heavy = samples.branches != Branch.EARLY, samples.branches != Branch.LIGHT
    # The input goes to the GPU once, for the prior.
    wanted = {
        "prior.copy_in": np.full(18, COPY_US),
        "prior.compute": np.full(18, RUN_US),
        "prior.copy_out": np.full(18, COPY_US),
        "light.copy_in": np.where(light, 0.0, NAN),
        "light.compute": np.where(light, RUN_US, NAN),
        "light.copy_out": np.where(light, 2 * COPY_US, NAN),
        "heavy.copy_in": np.where(heavy, 0.0, NAN),
        "heavy.compute": np.where(heavy, RUN_US, NAN),
        "heavy.copy_out": np.where(heavy, COPY_US, NAN),
    }
    assert tuple(samples.device_us) == tuple(wanted)
    for name, times_us in wanted.items():
        np.testing.assert_allclose(samples.device_us[name], times_us, err_msg=name)
    assert machine.gpu.left_over() == {}


def test_mapped_memory_is_not_copied(monkeypatch, tmp_path, tiny):
    machine = FakeMachine(monkeypatch, tmp_path, integrated=True)
    with cascade_of(machine, tiny, memory="mapped") as cascade:
        samples = measure(cascade, tiny.mixed(), decisions=6, warmup=0)
    assert (samples.device_us["prior.copy_in"] == 0).all()
    assert (samples.device_us["prior.copy_out"] == 0).all()
    assert machine.gpu.left_over() == {}


def test_a_trunk_is_told_as_a_stage_of_its_own(machine, tmp_path):
    bundle = sized_bundle(tmp_path / "shared", 8, SHARED)
    engines = {
        name: machine.engine(bundle.file(f"{name}.onnx").read_bytes(), f"{name}.onnx")
        for name in ("trunk", "light", "heavy", "prior")
    }
    with Cascade(bundle.manifest, **engines) as cascade:
        samples = measure(cascade, np.concatenate(list(images_of(8).values())), decisions=12, warmup=6)
    assert tuple(samples.stage_us) == ("trunk", "prior", "light", "heavy")
    np.testing.assert_allclose(samples.device_us["trunk.compute"], RUN_US)
    np.testing.assert_allclose(samples.device_us["prior.copy_out"], COPY_US)
    ran = samples.branches != Branch.LIGHT
    np.testing.assert_allclose(samples.device_us["heavy.compute"], np.where(ran, RUN_US, NAN))
    assert machine.gpu.left_over() == {}


def test_a_time_that_is_asked_for_before_the_device_has_come_to_it_fails(machine, tiny):
    """What the fake must notice: an event that was recorded, and not waited for."""
    with cascade_of(machine, tiny) as cascade, cascade.engines["light"]._cuda.active():
        cuda = cascade.engines["light"]._cuda
        begin, end = cuda.event(), cuda.event()
        cuda.record(begin)
        cuda.record(end)
        with pytest.raises(LogicError, match="device not ready"):
            begin.us_until(end)
        end.wait()
        assert begin.us_until(end) == 0
        with pytest.raises(LogicError, match="invalid resource handle"):
            begin.us_until(cuda.event())


def test_unmeasured_runs_record_no_events(machine, tiny):
    with cascade_of(machine, tiny) as cascade:
        with Stopwatch(cascade) as stopwatch:
            stopwatch.cascade(tiny.mixed()[:1])
            assert machine.gpu.live["event"] > 0
        assert machine.gpu.live["event"] == 0
        cascade(tiny.mixed()[:1])
        assert machine.gpu.live["event"] == 0
        with Stopwatch(cascade), pytest.raises(BackendError, match="it is timed already"):
            Stopwatch(cascade)


def test_events_are_used_again(machine, tiny):
    with cascade_of(machine, tiny) as cascade, Stopwatch(cascade) as stopwatch:
        alive = set()
        for _ in range(30):
            stopwatch.cascade(tiny.mixed()[2:3])
            stopwatch.take()
            alive.add(machine.gpu.live["event"])
        assert len(alive) == 1


def test_a_measurement_that_fails_gives_its_events_back(machine, tiny):
    with cascade_of(machine, tiny) as cascade:
        with pytest.raises(InputError), Stopwatch(cascade) as stopwatch:
            stopwatch.cascade(tiny.mixed()[:1])
            stopwatch.cascade(tiny.mixed()[:, :1])
        assert machine.gpu.live["event"] == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_layers_are_the_mean_of_what_the_profiler_is_told(monkeypatch, tmp_path, tiny, version):
    machine = FakeMachine(monkeypatch, tmp_path, version)
    machine.tensorrt.layer_ms = [("conv + relu", 0.05), ("fc", 0.02), ("fc", 0.01)]
    with cascade_of(machine, tiny) as cascade:
        found = layer_times(cascade, tiny.mixed()[:1], runs=4)
        x = tiny.mixed()[:1]
        before = cascade(x).probabilities
        np.testing.assert_array_equal(cascade(x).probabilities, before)
    assert set(found) == {"prior", "light", "heavy"}
    for layers in found.values():
        assert [layer["name"] for layer in layers] == ["conv + relu", "fc"]
        np.testing.assert_allclose([layer["us"] for layer in layers], [50.0, 30.0])
    assert machine.gpu.left_over() == {}
    assert machine.tensorrt.live_contexts == 0


def test_a_batch_beyond_what_engines_were_built_for_is_told(machine, tiny):
    with cascade_of(machine, tiny, batch=(1, 1, 8)) as cascade:
        check_batch(cascade, 8)
        with pytest.raises(InputError, match="--batch is 9: expected at most 8, which the engines here take at once"):
            check_batch(cascade, 9)


def test_layers_do_not_disturb_what_was_shared_before(machine, tiny):
    x, other = tiny.mixed()[:1], tiny.mixed()[1:2]
    with cascade_of(machine, tiny) as cascade:
        light, heavy = cascade.engines["light"], cascade.engines["heavy"]
        shared = light.share({"x": x})
        (wanted,) = heavy.run(shared, ("probabilities",))
        heavy.layers({"x": other}, ("probabilities",), 2)
        np.testing.assert_array_equal(heavy.run(shared, ("probabilities",))[0], wanted)


def test_an_engine_that_is_closed_while_it_is_timed_leaves_nothing(machine, tiny):
    cascade = cascade_of(machine, tiny)
    stopwatch = Stopwatch(cascade)
    stopwatch.cascade(tiny.mixed()[:1])
    cascade.close()
    stopwatch.stop()
    assert machine.gpu.left_over() == {}


def test_a_clock_that_cannot_be_started_everywhere_is_started_nowhere(machine, tiny, monkeypatch):
    with cascade_of(machine, tiny) as cascade:

        def refuse(clock: object) -> None:
            raise BackendError("no")

        monkeypatch.setattr(cascade.engines["heavy"], "start_clock", refuse)
        with pytest.raises(BackendError, match="no"):
            Stopwatch(cascade)
        cascade(tiny.mixed()[:1])
        assert machine.gpu.live["event"] == 0


def test_a_tensorrt_without_a_profiler_tells_no_layers(machine, tiny, monkeypatch):
    monkeypatch.delattr(machine.tensorrt.module, "IProfiler")
    with cascade_of(machine, tiny) as cascade:
        assert layer_times(cascade, tiny.mixed()[:1]) == {}
