"""One row alone goes the way that the router says, whatever the values and the thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from agfedge_runtime import Branch, Cascade
from tiny import Tiny

UNIT = st.floats(0.0, 1.0, width=32)
PROBABILITIES = {"light": (0.75, 0.25), "heavy": (0.25, 0.75)}


@dataclass
class Answering:
    """An engine that answers the same for every row, and counts its runs."""

    outputs: Mapping[str, Sequence[float] | float]
    name: str = "answering"
    version: str = "1"
    threads: int = 1
    input_names: tuple[str, ...] = ("x",)
    runs: int = 0

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(self.outputs)

    def run(self, inputs: Mapping[str, npt.NDArray[np.uint8]], outputs: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        self.runs += 1
        return [np.array([self.outputs[name]] * len(inputs["x"]), np.float32) for name in outputs]

    def close(self) -> None:
        """Nothing is held."""


def thresholds_around(value: float) -> st.SearchStrategy[float]:
    """At a float32 value, right beside it in double precision and in single, anywhere, and at the ends."""
    single = np.float32(value)
    beside = [np.nextafter(value, -1), np.nextafter(value, 2), np.nextafter(single, -1), np.nextafter(single, 2)]
    near = [value, *(float(at) for at in beside if at >= 0), 0.0, 1.0]
    return st.sampled_from(near) | st.floats(0.0, 1.0)


@st.composite
def cases(draw):
    """A confidence and its threshold, a prior and its threshold; the latter None where it does not escalate."""
    confidence, prior = draw(UNIT), draw(UNIT)
    sure_from = draw(thresholds_around(confidence) | st.sampled_from([float(np.nextafter(1.0, 2.0)), 1.5]))
    return confidence, sure_from, prior, draw(st.none() | thresholds_around(prior)), draw(st.booleans())


@given(cases())
def test_one_row_goes_the_way_that_the_router_says(case):
    confidence, sure_from, prior, escalates_above, has_prior = case
    manifest = Tiny.manifest(sure_from, escalates_above, has_prior)
    router = manifest.in_precision("fp32").router
    light = Answering({"probabilities": PROBABILITIES["light"], "confidence": confidence})
    heavy = Answering({"probabilities": PROBABILITIES["heavy"]})
    cascade = Cascade(manifest, light, heavy, prior=Answering({"prior": prior}) if router.asks_prior else None)
    asked_before = light.runs, heavy.runs
    decisions = cascade(np.zeros((1, 2, 2, 1), np.uint8))
    asked = light.runs - asked_before[0], heavy.runs - asked_before[1]

    priors = np.array([prior], np.float32) if has_prior else None
    branch = Branch(router.route(priors, np.array([confidence], np.float32))[0])
    assert decisions.branches.tolist() == [branch]
    assert router.route(decisions.prior, decisions.confidence).tolist() == [branch]
    assert asked == {Branch.LIGHT: (1, 0), Branch.LATE: (1, 1), Branch.EARLY: (0, 1)}[branch]
    expert = PROBABILITIES["light" if branch == Branch.LIGHT else "heavy"]
    np.testing.assert_array_equal(decisions.probabilities, np.array([expert], np.float32))


@given(cases())
def test_a_batch_of_equal_rows_goes_as_one_row_does(case):
    confidence, sure_from, prior, escalates_above, has_prior = case
    manifest = Tiny.manifest(sure_from, escalates_above, has_prior)
    asks_prior = manifest.in_precision("fp32").router.asks_prior
    cascade = Cascade(
        manifest,
        Answering({"probabilities": PROBABILITIES["light"], "confidence": confidence}),
        Answering({"probabilities": PROBABILITIES["heavy"]}),
        prior=Answering({"prior": prior}) if asks_prior else None,
    )
    x = np.zeros((3, 2, 2, 1), np.uint8)
    assert cascade(x).branches.tolist() == cascade(x[:1]).branches.tolist() * 3
