"""The file for Prometheus follows text format 0.0.4 and is written whole."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

from agfedge_runtime.cascade.decisions import Decisions
from agfedge_runtime.errors import InputError
from agfedge_runtime.monitor.monitor import Monitor
from agfedge_runtime.monitor.prometheus import prometheus_text, write_prometheus
from agfedge_runtime.monitor.stats import Stats

NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
STATS = Stats(
    decisions=10, light=5, early=2, late=3, confidence=(1, *[0] * 18, 7), confidence_sum=6.75,
    calibration_rate=0.25, drift=False, evidence=0.5, alarm_at=200.0,
)  # fmt: skip
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> tuple[dict[str, str], Samples]:
    """Types and samples of a file, after every rule of the format: order, one group a name, no sample twice."""
    assert text.endswith("\n")
    types: dict[str, str] = {}
    samples: Samples = {}
    helped = current = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped, description = line[7:].split(" ", 1)
            assert re.fullmatch(NAME, helped)
            assert description
            assert helped not in types
        elif line.startswith("# TYPE "):
            current, kind = line[7:].split(" ")
            assert current == helped
            assert kind in {"counter", "gauge", "histogram"}
            types[current] = kind
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            suffixes = ("_bucket", "_sum", "_count") if types[current] == "histogram" else ("",)
            assert name in {current + suffix for suffix in suffixes}
            key = (name, parse_labels(labels or ""))
            assert key not in samples
            samples[key] = float(value)
    return types, samples


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    found, position = [], 0
    while position < len(text):
        match = LABEL.match(text, position)
        assert match, text
        found.append((match[1], match[2]))
        position = match.end()
    assert len({name for name, _value in found}) == len(found)
    return tuple(found)


def one_early() -> Decisions:
    empty = np.full(1, np.nan, np.float32)
    return Decisions(np.zeros(1, np.int64), np.ones((1, 2), np.float32), np.ones(1, np.uint8), empty, empty, 1.0)


@pytest.fixture
def monitor() -> Monitor:
    return Monitor(samples=100, early=0.1, late=0.2, confidence=[4] * 20)


def test_the_text_parses_and_holds_the_counts():
    types, samples = parse(prometheus_text(STATS))
    assert types["agfedge_decisions_total"] == "counter"
    counts = {
        branch: samples["agfedge_decisions_total", (("branch", branch),)] for branch in ("light", "early", "late")
    }
    assert counts == {"light": 5, "early": 2, "late": 3}
    assert samples["agfedge_escalation_rate", ()] == 0.5
    assert samples["agfedge_calibration_escalation_rate", ()] == 0.25
    assert samples["agfedge_drift", ()] == 0
    assert samples["agfedge_drift_evidence", ()] == 0.5


def test_the_confidence_is_a_cumulative_histogram():
    types, samples = parse(prometheus_text(STATS))
    assert types["agfedge_confidence"] == "histogram"
    buckets = [
        (labels[0][1], value) for (name, labels), value in samples.items() if name == "agfedge_confidence_bucket"
    ]
    edges = [float(edge) for edge, _count in buckets]
    assert edges == pytest.approx([*(np.arange(1, 21) / 20), np.inf])
    assert [count for _edge, count in buckets] == [1] * 19 + [8, 8]
    assert samples["agfedge_confidence_count", ()] == 8
    assert samples["agfedge_confidence_sum", ()] == 6.75


def test_before_the_first_decision_it_parses_too(monitor):
    _types, samples = parse(prometheus_text(monitor.stats()))
    assert np.isnan(samples["agfedge_escalation_rate", ()])


def test_labels_are_escaped_and_on_every_sample():
    _types, samples = parse(prometheus_text(STATS, {"bundle": 'a "b" \\ \n c'}))
    assert all(labels[0] == ("bundle", r"a \"b\" \\ \n c") for _name, labels in samples)


@pytest.mark.parametrize("name", ["le", "branch", "1st", "a-b", "", "__x"])
def test_a_label_that_prometheus_refuses_is_refused(name):
    with pytest.raises(InputError, match="label"):
        prometheus_text(STATS, {name: "x"})


def test_the_file_is_whole_and_alone(tmp_path):
    path = tmp_path / "agfedge.prom"
    path.write_text("old")
    write_prometheus(STATS, path)
    assert path.read_text() == prometheus_text(STATS)
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_the_collector_would_not_read_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.prom"):
        write_prometheus(STATS, tmp_path / "agfedge.txt")


def test_a_folder_that_is_not_there_is_refused_at_once(tmp_path, monitor):
    with pytest.raises(InputError, match="cannot be written"):
        monitor.write_to(tmp_path / "none" / "a.prom")


def test_a_monitor_writes_its_file_as_it_goes(tmp_path, monitor):
    path = tmp_path / "a.prom"
    monitor.write_to(path, every_s=0.0)
    monitor.observe(one_early())
    _types, samples = parse(path.read_text())
    assert samples["agfedge_decisions_total", (("branch", "early"),)] == 1


def test_a_monitor_leaves_its_file_alone_until_the_time_has_come(tmp_path, monitor):
    path = tmp_path / "a.prom"
    monitor.write_to(path, every_s=3600.0)
    monitor.observe(one_early())
    assert path.read_text() == prometheus_text(Monitor(100, 0.1, 0.2, [4] * 20).stats())


def test_a_file_that_cannot_be_written_later_never_costs_an_answer(tmp_path, monitor, caplog):
    folder = tmp_path / "metrics"
    folder.mkdir()
    monitor.write_to(folder / "a.prom", every_s=0.0)
    (folder / "a.prom").unlink()
    folder.rmdir()
    with caplog.at_level(logging.WARNING):
        monitor.observe(one_early())
        monitor.observe(one_early())
    assert monitor.stats().decisions == 2
    assert len(caplog.records) == 1
