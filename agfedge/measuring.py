"""Raw samples of a bundle: measured here, or where it was deployed, by the runtime that was shipped."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from agfedge.deploy.target import Completed, open_target
from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.errors import BackendError, InputError
from agfedge_runtime.golden import load_golden
from agfedge_runtime.measure import measure
from agfedge_runtime.samples import Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECISIONS = 600
INBOX = PurePosixPath("profile-inputs")


@dataclass(frozen=True)
class Measurement:
    """What to measure.

    Attributes:
        target: where the bundle was deployed, or None for this process.
        inputs: (N, ...) as the bundle's input says, or None for its golden inputs.
        decisions: None for 600, or every input once where there are more.
        threads: CPU threads of the backend.
    """

    target: str | None
    inputs: NDArray[np.generic] | None
    decisions: int | None
    threads: int


def measure_bundle(bundle: Bundle, asked: Measurement) -> Samples:
    """Measures a bundle.

    Raises:
        InputError: the target runs another bundle, or the inputs do not fit.
        BackendError: the measurement fails on the target.
    """
    inputs = load_golden(bundle).inputs if asked.inputs is None else asked.inputs
    decisions = max(DECISIONS, len(inputs)) if asked.decisions is None else asked.decisions
    if decisions < 1:
        raise InputError(f"--decisions is {decisions}: expected 1 or more")
    if asked.target is not None:
        return _on_target(bundle, asked.target, inputs, decisions, asked.threads)
    with (
        Cascade.open(bundle, threads=asked.threads) as cascade,
        tqdm(total=decisions, desc="profile", unit="decision", disable=None, leave=False) as bar,
    ):
        return measure(cascade, inputs, decisions=decisions, progress=bar.update)


def _on_target(bundle: Bundle, spec: str, inputs: NDArray[np.generic], decisions: int, threads: int) -> Samples:
    target = open_target(spec)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "inputs.npz", x=inputs)
        target.put(Path(folder), INBOX)
    argv = [target.python, "-m", "agfedge_runtime", "profile", "current/bundle"]
    argv += ["--data", str(INBOX / "inputs.npz"), "--decisions", str(decisions), "--threads", str(threads)]
    done = target.run(
        argv, env={"PYTHONPATH": "current/runtime", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
    )
    if done.returncode != 0:
        raise BackendError(f"profile on {spec} failed: {_last_line(done)}; deploy the bundle there first")
    samples = Samples.from_json(done.stdout)
    if samples.bundle_digest != bundle.digest:
        raise InputError(
            f"{spec} runs bundle {samples.bundle_digest[:12]}, asked for {bundle.digest[:12]}: deploy it there first"
        )
    return samples


def _last_line(done: Completed) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
