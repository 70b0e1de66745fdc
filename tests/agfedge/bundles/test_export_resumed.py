"""An export that was stopped in its recovery continues there; several processes make one bundle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agfedge.bundles.exporting import checkpoint_of
from agfedge.cli import main
from agfedge.recover import train
from agfedge_runtime import Bundle
from workshop import Workshop

pytestmark = pytest.mark.slow

EPOCHS = 3


def stop_after(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    save = train.save_course

    def saved_then_stopped(path: Path, course: object, mark: object) -> None:
        save(path, course, mark)
        if course.epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "save_course", saved_then_stopped)


def test_a_stopped_export_ends_as_if_it_had_not_been(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(workshop.export(whole, epochs=EPOCHS)) == 0
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        assert main(workshop.export(stopped, epochs=EPOCHS)) == 130
    assert checkpoint_of(stopped).is_file()
    assert not stopped.exists()
    assert main(workshop.export(stopped, epochs=EPOCHS)) == 0
    assert Bundle.open(stopped).digest == Bundle.open(whole).digest
    assert not checkpoint_of(stopped).exists()


def test_the_progress_of_another_recovery_is_not_overwritten(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        assert main(workshop.export(out, epochs=EPOCHS)) == 130
    capsys.readouterr()
    assert main(workshop.export(out, epochs=EPOCHS, keep=0.25)) == 1
    assert str(checkpoint_of(out)) in capsys.readouterr().err


def test_two_processes_write_one_bundle(workshop: Workshop, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "agfedge"]
    done = subprocess.run(
        [*torchrun, *workshop.export(out, epochs=1)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("guarantee:") == 1
    assert Bundle.open(out).manifest.experts.light.macs == Bundle.open(workshop.bundle).manifest.experts.light.macs
