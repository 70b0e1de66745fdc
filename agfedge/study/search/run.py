"""The search: candidates are tried, cheapest first, each leaves a point in a folder, and one can be accepted."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.progress import bar
from agfedge.base.requests import check_bundle_place
from agfedge.base.store import Store
from agfedge.bundles.assembling import Assembly, assemble
from agfedge.bundles.experts import experts_of
from agfedge.data.dataset import shares, stratified
from agfedge.light.foreign import foreign_light
from agfedge.light.light import LightExpert
from agfedge.recover import RecoveryReport
from agfedge.study.search.candidates import Candidate, candidates
from agfedge.study.search.charges import MACS, charges_of
from agfedge.study.search.points import DONE, FAILED, REJECTED, SearchPoint, best, point_of
from agfedge.study.search.report import SearchResult
from agfedge.study.search.request import SearchRequest, check_request
from agfedge.study.search.trial import CandidateTrial, Tried, point_of_costs
from agfedge.subject.subject import load_subject
from agfedge_export import Plan
from agfedge_export.graph.model_io import load_model
from agfedge_profiles.cost import TABLE_SUFFIX
from agfedge_runtime.atomic import write_bytes, write_text
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.errors import AgfedgeError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agfedge.bundles.export_result import ExportResult

logger = logging.getLogger("agfedge.progress")

BEST = "best"
# Parts of the calibration split, in percent: what chooses among candidates, and what certifies the accepted one.
PARTS = (20, 80)


class Search:
    """One search, in its folder: what was tried there already is not tried again."""

    def __init__(self, request: SearchRequest) -> None:
        """Loads the model and the data, and opens the folder.

        Raises:
            AgfedgeError: the model, the data or an option does not fit, or the folder holds another search.
        """
        check_request(request)
        self._request = request
        self._subject = load_subject(request.origin, request.seed, prunes=not request.lights)
        calibration = self._subject.data.calibration
        sizes = shares(len(calibration), PARTS)
        request.bound.check_samples(sizes[1])
        self._choosing, self._certifying = (
            calibration.take(rows) for rows in stratified(calibration.y, sizes, request.seed)
        )
        self._trial = CandidateTrial(self._subject, request, self._choosing, sizes[1])
        self._store: Store[SearchPoint] = Store(Path(request.out), "search", self._identity(), point_of)
        self._artefacts = Path(request.out) / "experts"
        self._artefacts.mkdir(exist_ok=True)

    @cached_property
    def _lights(self) -> dict[Path, LightExpert]:
        paths = [Path(each) for each in dict.fromkeys(self._request.lights)]
        return {path: foreign_light(path, self._subject) for path in paths}

    @cached_property
    def _candidates(self) -> list[Candidate]:
        request, heavy = self._request, self._subject.exported.model
        lights = [(path, light.model) for path, light in self._lights.items()]
        branches = any(group.may_vanish for group in self._subject.groups.groups)
        return candidates(heavy, request.amounts_for(branches), request.trunks, lights)

    def run(self) -> SearchResult:
        """Tries what was not tried yet, cheapest first, as long as the time lasts.

        A candidate that costs as much as the best cascade so far, even if its light expert answered everything, is
        rejected before it is trained. One that would likely take longer than there is time is left out. One that fails
        is noted, and the others go on.

        Raises:
            AgfedgeError: an option or a file does not fit.
        """
        started = time.monotonic()
        missing = [each for each in self._candidates if not _settled(self._store.get(each.name))]
        # Only what they cost is kept of all candidates: their graphs together may be larger than memory.
        ready = [(costs, each) for each in missing if (costs := self._costs(each)) is not None]
        ready.sort(key=lambda each: (each[0].trunk + each[0].light, each[1].name))
        left_out = []
        for number, (costs, candidate) in enumerate(bar(ready, title="search", unit="candidate"), 1):
            logger.info("search: %s (%d of %d)", candidate.name, number, len(ready))
            tried = self._trial.pruned(candidate, self._foreign(candidate), costs)
            spent = time.monotonic() - started
            if self._request.time_limit_s is not None and spent + self._foreseen(tried) > self._request.time_limit_s:
                left_out.append(candidate.name)
                continue
            self._store.put(self._point(tried))
        return self._result(left_out)

    def result(self) -> SearchResult:
        """Returns what is known by now, and tries nothing."""
        return self._result(())

    def is_done(self, name: str, bundle: str) -> bool:
        """Whether a point can be accepted as it is; "best" cannot, before everything was tried.

        Raises:
            InputError: there is no such candidate, or the bundle cannot be written there; told before hours of work.
        """
        check_bundle_place("--bundle", Path(bundle))
        if name == BEST:
            return False
        names = [each.name for each in self._candidates]
        if name not in names:
            raise InputError(f"--accept {name}: no such point; choose {BEST} or one of {', '.join(names)}")
        point = self._store.get(name)
        return point is not None and point.state == DONE

    def accept(self, name: str, bundle: str) -> ExportResult:
        """Makes the bundle of a point: its router is certified on rows that no point was chosen by.

        Args:
            name: of the point, or "best".
            bundle: folder of the bundle.

        Raises:
            InputError: there is no such point, or none that is cheaper than the heavy expert.
            AgfedgeError: the bundle cannot be made.
        """
        point, candidate = self._chosen(name)
        expert = self._kept(candidate, point)
        core = self._subject.exported.model
        experts = experts_of(expert.model, core, self._subject.preprocessing, candidate.cut)
        request = self._request
        assembly = Assembly(
            out=Path(bundle),
            fitting=self._choosing,
            certifying=self._certifying,
            costs=Costs(
                point.light,
                trunk=point.trunk_cost,
                heavy=point.heavy,
                unit=MACS if request.costs == MACS else "latency",
            ),
            bound=request.bound,
            seed=request.seed,
            provenance=self._provenance(point),
        )
        return assemble(self._subject, expert, experts, assembly)

    def _result(self, left_out: Sequence[str]) -> SearchResult:
        points = tuple(self._store.all())
        note, _ = charges_of(self._request.costs, self._request.target)
        return SearchResult(self._request, points, note, self._warnings(left_out))

    def _foreign(self, candidate: Candidate) -> LightExpert | None:
        return None if candidate.foreign is None else self._lights[candidate.foreign]

    def _costs(self, candidate: Candidate) -> Costs | None:
        """Prunes and measures; what fails is noted."""
        try:
            return self._trial.pruned(candidate, self._foreign(candidate)).costs
        except AgfedgeError as error:
            self._store.put(_failed(candidate, error))
            return None

    def _point(self, tried: Tried) -> SearchPoint:
        beaten = best(self._store.all(), self._request.bound.epsilon)
        if tried.floor >= 1:
            reason = f"costs {tried.floor:.3f} even if its light expert answers everything: as much as the heavy expert"
            return point_of_costs(tried, REJECTED, reason)
        if beaten is not None and beaten.expected is not None and tried.floor >= beaten.expected.value:
            reason = f"costs {tried.floor:.3f} even if its light expert answers everything, more than {beaten.name}"
            return point_of_costs(tried, REJECTED, reason)
        started, candidate = time.monotonic(), tried.candidate
        checkpoint = self._artefacts / f".{candidate.name}.recovery.safetensors"
        try:
            recovered = self._trial.recovered(tried, checkpoint)
            point = self._trial.judged(recovered)
        except AgfedgeError as error:
            return _failed(candidate, error)
        self._keep(candidate, recovered.expert)
        checkpoint.unlink(missing_ok=True)
        return replace(point, seconds=round(time.monotonic() - started, 1))

    def _foreseen(self, tried: Tried) -> float:
        """Returns the seconds that a candidate will likely take, as those before it took for their size; 0 at first."""
        if tried.expert.plan is None:
            return 0.0
        paces = [point.seconds / point.macs for point in self._store.all() if point.state == DONE and point.amount]
        return tried.experts.light_costs.macs * float(np.mean(paces)) if paces else 0.0

    def _keep(self, candidate: Candidate, expert: LightExpert) -> None:
        stem = self._artefacts / candidate.name
        write_bytes(stem.with_name(f"{stem.name}.onnx"), expert.model.SerializeToString(deterministic=True))
        if expert.plan is not None:
            write_text(stem.with_name(f"{stem.name}.plan.json"), expert.plan.to_json())

    def _kept(self, candidate: Candidate, point: SearchPoint) -> LightExpert:
        stem = self._artefacts / candidate.name
        model = load_model(stem.with_name(f"{stem.name}.onnx"))
        plan = stem.with_name(f"{stem.name}.plan.json")
        removed = Plan.from_json(plan.read_text(encoding="utf-8")) if plan.exists() else None
        recovery = RecoveryReport(point.training or "none", point.epochs, (), point.training_reason)
        return LightExpert(model, removed, recovery=recovery)

    def _chosen(self, name: str) -> tuple[SearchPoint, Candidate]:
        points = self._store.all()
        point = (
            best(points, self._request.bound.epsilon)
            if name == BEST
            else next((each for each in points if each.name == name), None)
        )
        if point is None and name == BEST:
            raise InputError(
                f"--accept best: no cascade of the {len(points)} tried is cheaper than the heavy expert; recover "
                "longer, try other amounts, or allow a larger --epsilon"
            )
        names = [each.name for each in points if each.state == DONE]
        if point is None or point.state != DONE:
            raise InputError(f"--accept {name}: no such point that is done; choose best or one of {', '.join(names)}")
        candidate = next((each for each in self._candidates if each.name == point.name), None)
        if candidate is None:  # it is the best of a folder that was searched with other amounts
            raise InputError(f"--accept {point.name}: give the options again that it was tried with")
        return point, candidate

    def _warnings(self, left_out: Sequence[str]) -> tuple[str, ...]:
        warnings = [self._subject.data.warning] if self._subject.data.warning else []
        if left_out:
            warnings.append(
                f"{len(left_out)} candidates were left out for lack of time ({', '.join(left_out)}): the same command "
                "goes on with them"
            )
        return tuple(warnings)

    def _identity(self) -> dict[str, object]:
        """Names what points depend on, and do not say."""
        request = self._request
        data = hashlib.sha256()
        for part in (self._subject.data.train, self._subject.data.calibration):
            data.update(np.ascontiguousarray(part.x).tobytes() + part.y.tobytes())
        per_layer = None if request.choice.per_layer is None else Path(request.choice.per_layer).read_bytes()
        return {
            "model_sha256": self._subject.groups.model_sha256,
            "data_sha256": data.hexdigest(),
            "score": request.score,
            "exclude": list(request.choice.exclude),
            "per_layer_sha256": None if per_layer is None else hashlib.sha256(per_layer).hexdigest(),
            "recovery": asdict(request.recovery),
            "costs": request.costs,
            "target": request.target,
            **self._tables(),
            "epsilon": request.bound.epsilon,
            "delta": request.bound.delta,
        }

    def _tables(self) -> dict[str, object]:
        """Names the contents of tables of measured layers: the same file may hold others another time."""
        names = {self._request.target, *(amount.target for amount in self._request.amounts)}
        tables = sorted(name for name in names if name is not None and name.endswith(TABLE_SUFFIX))
        return (
            {"tables_sha256": [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in tables]}
            if tables
            else {}
        )

    def _provenance(self, point: SearchPoint) -> dict[str, str | int | float | bool | None]:
        from agfedge.base import __version__

        request = self._request
        made: dict[str, str | int | float | bool | None] = {
            "agfedge": __version__,
            "model": request.origin.name,
            "search": point.name,
            "seed": request.seed,
        }
        if point.amount:
            made |= {"score": request.score, "amount": point.amount, "epochs": request.recovery.epochs}
        return made


def _settled(point: SearchPoint | None) -> bool:
    return point is not None and point.state != FAILED


def _failed(candidate: Candidate, error: AgfedgeError) -> SearchPoint:
    return SearchPoint(candidate.name, candidate.options, candidate.trunk, FAILED, " ".join(str(error).split()))
