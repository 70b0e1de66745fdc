"""What two experts say of labelled inputs: the one table that routers are chosen, certified, judged and told from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Answers:
    """What both experts say of a part of the data, a row an input.

    Attributes:
        light: logits of the light expert, (N, classes); its probabilities where its graph gives no logits.
        heavy: likewise of the heavy expert.
        labels: int64 (N,).
        priors: values (N,) by kind, float32 as graphs hold them.
        features: pooled features of the trunk (N, F), for a linear probe; None where there are none.
        confidence: of the light expert's final graph, float64 (N,); None before there is one.
        light_probabilities: of the graph that answered, (N, classes); None where only logits are known.
        heavy_probabilities: likewise.
    """

    light: NDArray[np.floating]
    heavy: NDArray[np.floating]
    labels: NDArray[np.int64]
    priors: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    features: NDArray[np.floating] | None = None
    confidence: NDArray[np.float64] | None = None
    light_probabilities: NDArray[np.floating] | None = None
    heavy_probabilities: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def light_labels(self) -> NDArray[np.int64]:
        """What the light expert names, (N,)."""
        labels: NDArray[np.int64] = _known(self.light_probabilities, self.light).argmax(axis=1)
        return labels

    @property
    def heavy_labels(self) -> NDArray[np.int64]:
        """What the heavy expert names, (N,)."""
        labels: NDArray[np.int64] = _known(self.heavy_probabilities, self.heavy).argmax(axis=1)
        return labels

    @property
    def light_right(self) -> NDArray[np.bool_]:
        """Whether the light expert's label is correct, (N,)."""
        right: NDArray[np.bool_] = self.light_labels == self.labels
        return right

    @property
    def heavy_right(self) -> NDArray[np.bool_]:
        """Whether the heavy expert's label is correct, (N,)."""
        right: NDArray[np.bool_] = self.heavy_labels == self.labels
        return right

    def take(self, rows: NDArray[np.intp]) -> Answers:
        """Returns the given rows in the given order."""
        columns = {name: column for name, column in vars(self).items() if name != "priors" and column is not None}
        priors = {kind: values[rows] for kind, values in self.priors.items()}
        return replace(self, priors=priors, **{name: column[rows] for name, column in columns.items()})

    def ordered(self) -> Answers:
        """Returns the rows in an order of their own, by digest: then the order in which they came plays no part."""
        columns = [self.light, self.heavy, self.labels[:, None], *(values[:, None] for values in self.priors.values())]
        table = np.concatenate([*columns, *([] if self.features is None else [self.features])], axis=1)
        digests = [blake2b(row.tobytes(), digest_size=16).digest() for row in table.astype(np.float64)]
        return self.take(np.array(sorted(range(len(self)), key=digests.__getitem__), dtype=np.intp))


def _known(first: NDArray[np.floating] | None, second: NDArray[np.floating]) -> NDArray[np.floating]:
    return second if first is None else first


@dataclass(frozen=True, eq=False)
class Evidence:
    """Rows that choose a router, and others that certify it.

    Attributes:
        fitting: choose temperature, measure of confidence, prior and its threshold.
        certifying: certify the confidence threshold; they must have chosen nothing.
        prior_costs: by kind, `trunk_probe` for the probe, relative to the heavy expert; 0 where missing.
    """

    fitting: Answers
    certifying: Answers
    prior_costs: Mapping[str, float] = field(default_factory=dict)


def check_evidence(evidence: Evidence) -> None:
    """Refuses evidence that does not fit together.

    Raises:
        InputError: no rows, different numbers of classes or rows, different priors, or a value that is not finite.
    """
    for part, rows in (("fitting", evidence.fitting), ("certifying", evidence.certifying)):
        check_rows(rows, part)
    one, other = evidence.fitting, evidence.certifying
    if one.light.shape[1] != other.light.shape[1]:
        raise InputError(
            f"the fitting rows have {one.light.shape[1]} classes, the certifying rows {other.light.shape[1]}: "
            "give outputs of the same experts"
        )
    if set(one.priors) != set(other.priors) or (one.features is None) != (other.features is None):
        raise InputError("the fitting and the certifying rows have different priors: give the same for both")


def check_rows(rows: Answers, part: str) -> None:
    """Refuses rows that do not fit together; raises as `check_evidence`."""
    if len(rows) == 0:
        raise InputError(f"there are no {part} rows: give more data")
    if rows.light.shape != rows.heavy.shape:
        raise InputError(
            f"the {part} rows hold logits of shape {rows.light.shape} of the light expert and {rows.heavy.shape} of the"
            " heavy: both experts must answer the same rows with the same classes"
        )
    named = {"light expert's logits": rows.light, "heavy expert's logits": rows.heavy, **rows.priors}
    named |= {} if rows.features is None else {"features": rows.features}
    for name, values in named.items():
        if len(values) != len(rows):
            raise InputError(
                f"the {part} rows have {len(rows)} labels and {len(values)} rows of {name}: expected equal"
            )
        if not np.isfinite(values).all():
            raise InputError(f"the {part} rows' {name} hold NaN or infinity: check the weights and the data")
