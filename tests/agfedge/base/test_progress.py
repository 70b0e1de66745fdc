"""Progress: bars on a terminal; elsewhere a line a stage, and within a stage at most one in 30 s."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from agfedge.base import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands for `time.monotonic`: every look at it takes a while."""

    def __init__(self, step_s: float) -> None:
        self.now, self._step = 0.0, step_s

    def __call__(self) -> float:
        self.now += self._step
        return self.now


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress._LineBar, "_last", 0.0)


def test_each_stage_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agfedge.progress")
    with progress.stages("export", ("load", "score")) as step:
        step()
        step()
    assert caplog.messages == ["export: load (1 of 2)", "export: score (2 of 2)"]


def test_what_is_quick_needs_no_lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "agfedge.progress")
    monkeypatch.setattr("agfedge.base.progress.time.monotonic", Clock(3.0))
    with progress.stages("prune", ("read", "plan", "check"), quick_s=5.0) as step:
        for _ in range(3):
            step()
    assert caplog.messages == ["prune: plan (2 of 3)", "prune: check (3 of 3)"]


def test_a_long_stage_says_how_far_it_is_at_most_every_30_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "agfedge.progress")
    clock = Clock(0.0)
    monkeypatch.setattr("agfedge.base.progress.time.monotonic", clock)
    shown = progress.bar(title="recover", unit="batch", total=100)
    for _ in range(100):
        clock.now += 1.0
        shown.update()
        shown.refresh()
    shown.close()
    assert caplog.messages == [
        "recover: 30 of 100 batches, 30 s so far",
        "recover: 60 of 100 batches, 60 s so far",
        "recover: 90 of 100 batches, 90 s so far",
    ]


def test_two_bars_share_the_30_seconds(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "agfedge.progress")
    clock = Clock(0.0)
    monkeypatch.setattr("agfedge.base.progress.time.monotonic", clock)
    outer, inner = (progress.bar(title=title, unit="point", total=9) for title in ("outer", "inner"))
    clock.now = 31.0
    outer.refresh()
    inner.refresh()
    assert caplog.messages == ["outer: 0 of 9 points, 31 s so far"]


def test_a_terminal_gets_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "agfedge.progress")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(progress.bar(range(3), title="score", unit="batch"))
    assert "score" in terminal.getvalue()
    assert caplog.messages == []


def test_nobody_who_did_not_ask_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.stages("export", ("load",)) as step:
        step()
    assert list(progress.bar(range(3), title="score", unit="batch")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_quiet_takes_the_bar_from_a_terminal(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "agfedge.progress")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress.bar(range(3), title="score", unit="batch")) == [0, 1, 2]
    assert terminal.getvalue() == ""
