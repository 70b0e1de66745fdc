"""A bundle's experts in other precisions: graphs, thresholds of their own, and what they answer otherwise than fp32.

Ranges of int8 are taken from inputs that also choose the router, never from those that certify it. The guarantee of a
precision bounds what its cascade loses against the heavy expert of that precision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.onnx_run import OnnxRun
from agfedge.base.statistics import Share, share_of
from agfedge.bundles.golden_inputs import choose_golden
from agfedge.bundles.report import with_variants
from agfedge.bundles.rerouting import observe, reroute
from agfedge.router.guarantee import check_samples
from agfedge_export.precision.precision import FP16, FP32, INT8, PRECISIONS, to_fp16, to_int8
from agfedge_runtime import Bundle
from agfedge_runtime.bundle import manifest
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.golden import golden_bytes
from agfedge_runtime.errors import InputError
from agfedge_runtime.verify import TOLERANCES

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.bundles.evaluate import Evaluation
    from agfedge.data import Arrays
    from agfedge_export.precision.half import Clamped

# Inputs that the ranges of int8 are taken from, spread over those that are there.
RANGE_INPUTS = 512
# Share of the test split that an expert may lose before a warning says so, and the inputs that are no evidence.
TOLERATED = {FP16: 0.001, INT8: 0.005}
CHANCE = 2


@dataclass(frozen=True)
class PrecisionReport:
    """What a bundle answers in a precision, on inputs that chose nothing.

    Attributes:
        precision: fp16 or int8.
        light: accuracy of the light expert alone.
        heavy: accuracy of the heavy expert alone.
        cascade: accuracy of the cascade under its own thresholds.
        flips: share of inputs that the cascade names otherwise than in fp32.
        threshold: of the confidence; above 1 the heavy expert answers everything.
        size_bytes: of the graphs' files.
        clamped: weights that float16 does not hold.
    """

    precision: str
    light: Share
    heavy: Share
    cascade: Share
    flips: Share
    threshold: float
    size_bytes: int
    clamped: tuple[Clamped, ...] = ()


def check_precisions(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the precisions beside fp32, in order.

    Raises:
        InputError: there is no such precision.
    """
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown:
        raise InputError(f"--precision {unknown[0]}: expected of {', '.join(PRECISIONS)}")
    return tuple(name for name in PRECISIONS if name in names and name != FP32)


def precision_warnings(full: Evaluation, reports: Sequence[PrecisionReport]) -> tuple[str, ...]:
    """Returns what a reader must know of the precisions, a sentence each."""
    found = []
    for each in reports:
        if each.clamped:
            count, names = sum(one.beyond for one in each.clamped), ", ".join(one.name for one in each.clamped[:3])
            found.append(f"{each.precision}: {count} weights beyond what float16 holds were clamped ({names})")
        for name, before, after in (("heavy", full.heavy, each.heavy), ("light", full.light, each.light)):
            lost = (before.count - after.count) / before.samples
            # Whatever the size of the test split, two inputs are no evidence.
            if lost > TOLERATED[each.precision] and before.count - after.count > CHANCE:
                found.append(
                    f"{each.precision}: the {name} expert loses {lost:.2%} of the test split, more than "
                    f"{TOLERATED[each.precision]:.1%}: use another precision, or calibrate on more inputs"
                )
    return tuple(found)


def with_precisions(
    bundle: Bundle, precisions: Sequence[str], parts: Sequence[Arrays], seed: int, out: Path | None = None
) -> tuple[Bundle, tuple[PrecisionReport, ...]]:
    """Adds precisions to a bundle; the new one is written whole.

    Args:
        bundle: with fp32 graphs.
        precisions: fp16, int8 or both.
        parts: raw inputs that choose, others that certify, and others that are reported on.
        seed: of what is drawn.
        out: folder of the new bundle; by default that of the old one.

    Raises:
        AgfedgeError: a graph cannot be converted, or too few samples; the bundle stays as it is.
    """
    guarantee = bundle.manifest.router.guarantee
    check_samples(len(parts[1]), guarantee.epsilon, guarantee.delta)
    names = observe(bundle, parts[2]).labels(bundle.manifest.router)
    files: dict[str, bytes | Path] = {name: bundle.file(name) for name in bundle.manifest.files}
    variants: dict[str, manifest.Variant] = {}
    reports = []
    bounds = (guarantee.epsilon, guarantee.delta)
    with tempfile.TemporaryDirectory() as folder:
        for precision in precisions:
            graphs, clamped = _graphs(bundle, precision, parts[0].x)
            converted = _draft(Path(folder) / precision, bundle, graphs, precision)
            files.update({name: converted.file(name) for name in converted.manifest.files})
            variants[precision] = rerouted(converted, precision, parts, names, *bounds, seed)
            size = sum(len(data) for data in graphs.values())
            reports.append(_report(precision, variants[precision], size, clamped))
            files.update(_golden(converted, precision, variants[precision], parts[2].x))
        files.update(_page(bundle, variants))
        made = write_bundle(bundle.path if out is None else out, replace(bundle.manifest, variants=variants), files)
    return made, tuple(reports)


def _page(bundle: Bundle, variants: Mapping[str, manifest.Variant]) -> dict[str, bytes]:
    """Returns the bundle's page with its precisions, where it has a page."""
    if "report.html" not in bundle.manifest.files:
        return {}
    page = bundle.file("report.html").read_text(encoding="utf-8")
    return {"report.html": with_variants(page, bundle.manifest, variants).encode()}


def precision_golden(bundle: Bundle, x: NDArray[np.generic]) -> dict[str, bytes]:
    """Returns the files of golden answers of each precision beside fp32; `x` are raw inputs to choose from."""
    made: dict[str, bytes] = {}
    for precision, variant in bundle.manifest.variants.items():
        made.update(_golden(bundle, precision, variant, x))
    return made


def _golden(bundle: Bundle, precision: str, variant: manifest.Variant, x: NDArray[np.generic]) -> dict[str, bytes]:
    described = replace(bundle.manifest, variants={precision: variant}).in_precision(precision)
    golden = choose_golden(replace(bundle, manifest=described), x, TOLERANCES[precision])
    return {variant.golden: golden_bytes(golden)}


def rerouted(
    bundle: Bundle,
    precision: str,
    parts: Sequence[Arrays],
    labels: NDArray[np.int64],
    epsilon: float,
    delta: float,
    seed: int,
) -> manifest.Variant:
    """Chooses the thresholds of a bundle's graphs anew.

    Args:
        bundle: has graphs of that precision, as a variant or as its own.
        precision: fp16 or int8.
        parts: as of `with_precisions`.
        labels: what the cascade answers in fp32 on the last part.
        epsilon: bound on what the cascade loses against its heavy expert.
        delta: probability with which it may fail.
        seed: of what is drawn.
    """
    bundle = bundle.in_precision(precision) if precision in bundle.manifest.variants else bundle
    fitting, certifying, test = (observe(bundle, part) for part in parts)
    router, _, _ = reroute(bundle.manifest, fitting, certifying, epsilon, delta, seed)
    answers = test.labels(router)
    light, heavy, cascade = (
        float(np.mean(right)) for right in (test.light_right, test.heavy_right, answers == parts[2].y)
    )
    experts = bundle.manifest.experts
    return manifest.Variant(
        light=experts.light.file,
        heavy=experts.heavy.file,
        trunk=None if experts.trunk is None else experts.trunk.file,
        golden=f"golden.{precision}.npz",
        router=router,
        accuracy=manifest.Accuracy(light, heavy, cascade, len(answers)),
        flip_rate=float(np.mean(answers != labels)),
    )


def _parts_of(bundle: Bundle) -> dict[str, str]:
    """Returns the files of a bundle's graphs by what they are, the trunk first."""
    experts = bundle.manifest.experts
    shared = {} if experts.trunk is None else {"trunk": experts.trunk.file}
    return {**shared, "light": experts.light.file, "heavy": experts.heavy.file}


def _file_name(bundle: Bundle, part: str, precision: str) -> str:
    return f"{_parts_of(bundle)[part].removesuffix('.onnx')}.{precision}.onnx"


def _graphs(bundle: Bundle, precision: str, x: NDArray[np.generic]) -> tuple[dict[str, bytes], tuple[Clamped, ...]]:
    """Converts every graph of a bundle; `x` are real inputs."""
    import onnx

    models = {part: onnx.load(bundle.file(name)) for part, name in _parts_of(bundle).items()}
    feeds = _feeds(bundle, models, x[_spread(len(x))])
    if precision == FP16:
        converted = {part: to_fp16(model, feeds[part]) for part, model in models.items()}
    else:
        converted = {part: to_int8(model, feeds[part]) for part, model in models.items()}
    clamped = tuple(each for made in converted.values() for each in made.clamped)
    data = {part: made.model.SerializeToString(deterministic=True) for part, made in converted.items()}
    return data, clamped


def _spread(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, RANGE_INPUTS)).astype(np.int64))


def _feeds(
    bundle: Bundle, models: dict[str, onnx.ModelProto], x: NDArray[np.generic]
) -> dict[str, dict[str, NDArray[np.generic]]]:
    """Returns what each graph is fed when the bundle is fed `x`."""
    raw: dict[str, NDArray[np.generic]] = {bundle.manifest.input.name: x}
    trunk = bundle.manifest.experts.trunk
    if trunk is None:
        return dict.fromkeys(models, raw)
    features = dict(zip(trunk.outputs, OnnxRun(models["trunk"]).outputs(x, trunk.outputs), strict=True))
    return {"trunk": raw, "light": {**features}, "heavy": {**features}}


def _draft(folder: Path, bundle: Bundle, graphs: dict[str, bytes], precision: str) -> Bundle:
    """Writes a bundle of converted graphs, with the thresholds as they were."""
    names = {part: _file_name(bundle, part, precision) for part in graphs}
    experts = bundle.manifest.experts
    renamed = manifest.Experts(
        light=replace(experts.light, file=names["light"]),
        heavy=replace(experts.heavy, file=names["heavy"]),
        trunk=None if experts.trunk is None else replace(experts.trunk, file=names["trunk"]),
    )
    described = replace(bundle.manifest, experts=renamed, variants={})
    return write_bundle(folder, described, {names[part]: data for part, data in graphs.items()})


def _report(
    precision: str, variant: manifest.Variant, size_bytes: int, clamped: tuple[Clamped, ...]
) -> PrecisionReport:
    seen = variant.accuracy

    def share(rate: float) -> Share:
        return share_of(np.arange(seen.samples) < round(rate * seen.samples))

    return PrecisionReport(
        precision=precision,
        light=share(seen.light),
        heavy=share(seen.heavy),
        cascade=share(seen.cascade),
        flips=share(variant.flip_rate),
        threshold=variant.router.confidence.threshold,
        size_bytes=size_bytes,
        clamped=clamped,
    )
