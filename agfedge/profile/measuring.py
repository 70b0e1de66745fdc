"""Raw samples of a bundle: measured here, or where it was deployed, by the runtime that was shipped."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from agfedge.deploy.errors import DeployError
from agfedge.deploy.target import Completed, Target
from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.errors import BackendError, InputError
from agfedge_runtime.golden import load_golden
from agfedge_runtime.measure import measure
from agfedge_runtime.samples import Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECISIONS = 600
INBOX = PurePosixPath("profile-inputs")
# Prints the digest of the bundle that a target runs.
DIGEST = """
import hashlib, sys
with open("current/bundle/manifest.json", "rb") as file:
    sys.stdout.write(hashlib.sha256(file.read()).hexdigest())
"""


@dataclass(frozen=True)
class Measurement:
    """What to measure.

    Attributes:
        target: where the bundle was deployed, or None for this process.
        inputs: (N, ...) as the bundle's input says, or None for its golden inputs.
        decisions: None for 600, or every input once where there are more.
        threads: CPU threads of the backend.
    """

    target: Target | None
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
    _check_inputs(bundle, inputs)
    decisions = max(DECISIONS, len(inputs)) if asked.decisions is None else asked.decisions
    for name, value in (("--decisions", decisions), ("--threads", asked.threads)):
        if value < 1:
            raise InputError(f"{name} is {value}: expected 1 or more")
    if asked.target is not None:
        return _on_target(bundle, asked.target, inputs, decisions, asked.threads)
    with (
        Cascade.open(bundle, threads=asked.threads, monitor=False) as cascade,
        tqdm(total=decisions, desc="profile", unit="decision", disable=None, leave=False) as bar,
    ):
        return measure(cascade, inputs, decisions=decisions, progress=bar.update)


def _check_inputs(bundle: Bundle, inputs: NDArray[np.generic]) -> None:
    spec = bundle.manifest.input
    if inputs.dtype != spec.dtype or inputs.shape[1:] != spec.row_shape:
        raise InputError(
            f"the data is {inputs.dtype} of shape {inputs.shape[1:]}: this bundle takes {spec.dtype} of shape "
            f"{spec.row_shape}; give the data that it was exported with"
        )


def _on_target(bundle: Bundle, target: Target, inputs: NDArray[np.generic], decisions: int, threads: int) -> Samples:
    _check_deployed(bundle, target)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "inputs.npz", x=inputs)
        target.put(Path(folder), INBOX)
    argv = [target.python, "-m", "agfedge_runtime", "profile", "current/bundle"]
    argv += ["--data", str(INBOX / "inputs.npz"), "--decisions", str(decisions), "--threads", str(threads)]
    done = target.run(
        argv, env={"PYTHONPATH": "current/runtime", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
    )
    if done.returncode != 0:
        raise BackendError(f"profile on {target.name} failed: {_last_line(done)}")
    samples = Samples.from_json(done.stdout)
    _check_digest(bundle, target.name, samples.bundle_digest)
    return samples


def _check_deployed(bundle: Bundle, target: Target) -> None:
    """Asks the target which bundle it runs, before it works for minutes on another one.

    Raises:
        InputError: none, or another one.
    """
    try:
        done = target.run([target.python, "-I", "-c", DIGEST])
    except DeployError as error:
        raise InputError(f"{target.name}: {error}: deploy the bundle there first") from error
    if done.returncode != 0:
        raise InputError(f"nothing is deployed to {target.name} ({_last_line(done)}): deploy the bundle there first")
    _check_digest(bundle, target.name, done.stdout.strip())


def _check_digest(bundle: Bundle, name: str, found: str) -> None:
    if found != bundle.digest:
        raise InputError(f"{name} runs bundle {found[:12]}, asked for {bundle.digest[:12]}: deploy it there first")


def _last_line(done: Completed) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {done.returncode}"
