"""Stats as a text file for the textfile collector of Prometheus's node exporter.

Text format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Iterator, Mapping

from agfedge_runtime.atomic import write_text
from agfedge_runtime.errors import InputError
from agfedge_runtime.monitor.stats import Stats

_LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_OWN_LABELS = frozenset({"branch", "bound", "le"})


def write_prometheus(stats: Stats, path: str | os.PathLike[str], labels: Mapping[str, str] | None = None) -> None:
    """Write the file whole: the collector sees the old one or the new one. Its name must end in ``.prom``.

    Args:
        stats: what to write.
        path: the file, in the folder that ``--collector.textfile.directory`` names.
        labels: of every sample; needed where several cascades write files into one folder.

    Raises:
        InputError: another name, a label that Prometheus refuses, or the file cannot be written there.
    """
    path = Path(path)
    if path.suffix != ".prom":
        raise InputError(f"{path}: the collector reads only files that end in .prom; choose such a name")
    write_text(path, prometheus_text(stats, labels))


def prometheus_text(stats: Stats, labels: Mapping[str, str] | None = None) -> str:
    """The file's content; see `write_prometheus`.

    Raises:
        InputError: a label that Prometheus refuses.
    """
    common = dict(labels or {})
    for name in common:
        if not _LABEL.fullmatch(name) or name.startswith("__") or name in _OWN_LABELS:
            raise InputError(f"got the label {name!r}, expected a letter, then letters, digits and _; rename it")
    return "".join(f"{line}\n" for line in _lines(stats, common))


def _lines(stats: Stats, labels: Mapping[str, str]) -> Iterator[str]:
    yield from _head("agfedge_decisions_total", "counter", "Decisions by who answered and how it came to it.")
    for branch in ("light", "early", "late"):
        yield _sample("agfedge_decisions_total", {**labels, "branch": branch}, getattr(stats, branch))
    yield from _confidence(stats, labels)
    for name, text, value in _gauges(stats):
        yield from _head(name, "gauge", text)
        yield _sample(name, labels, value)
    name = "agfedge_escalation_rate_bound"
    yield from _head(name, "gauge", "Wilson's 95% interval of the escalation rate.")
    for bound, value in zip(("lower", "upper"), stats.escalation_interval):
        yield _sample(name, {**labels, "bound": bound}, value)


def _gauges(stats: Stats) -> tuple[tuple[str, str, float], ...]:
    return (
        ("agfedge_escalation_rate", "Share of decisions made by the heavy expert.", stats.escalation_rate),
        ("agfedge_calibration_escalation_rate", "The same on the calibration split.", stats.calibration_rate),
        ("agfedge_drift", "1 if drift was found, else 0.", int(stats.drift)),
        ("agfedge_drift_evidence", "E-value of the drift test, 1 at first.", stats.evidence),
        ("agfedge_drift_alarm_evidence", "The evidence at which drift is found.", stats.alarm_at),
    )


def _confidence(stats: Stats, labels: Mapping[str, str]) -> Iterator[str]:
    name = "agfedge_confidence"
    yield from _head(name, "histogram", "Confidence of the light expert where it ran.")
    count = len(stats.confidence)
    for index, total in enumerate(itertools.accumulate(stats.confidence), 1):
        yield _sample(f"{name}_bucket", {**labels, "le": _number(index / count)}, total)
    total = sum(stats.confidence)
    yield _sample(f"{name}_bucket", {**labels, "le": "+Inf"}, total)
    yield _sample(f"{name}_sum", labels, stats.confidence_sum)
    yield _sample(f"{name}_count", labels, total)


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _number(value: float) -> str:
    return "NaN" if value != value else repr(value)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
