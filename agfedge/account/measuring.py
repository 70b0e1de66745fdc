"""Raw samples of a bundle: measured here or where it was deployed, kept when cut short, and read again."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.progress import bar
from agfedge.targets.status import read_status
from agfedge.targets.target import Completed, DeployError, Target
from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.atomic import write_text
from agfedge_runtime.errors import AgfedgeError, BackendError, InputError
from agfedge_runtime.profile.command import confirm, locking, words_of
from agfedge_runtime.profile.profiling import Asked, profile
from agfedge_runtime.profile.record import HEAD, Reader, read_samples
from agfedge_runtime.profile.recorder import SideFile, side_path
from agfedge_runtime.profile.samples import Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Samples

INBOX = PurePosixPath("profile-inputs")
# Where the target keeps what it measured last: should the connection be lost, all of it is there.
KEPT_THERE = "profile-samples.json"
FLUSH_S = 1.0
# Prints the digest of the bundle that a target runs.
DIGEST = """
import hashlib, sys
with open("current/bundle/manifest.json", "rb") as file:
    sys.stdout.write(hashlib.sha256(file.read()).hexdigest())
"""
_ENV = {"PYTHONPATH": "current/runtime", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}

Writer = Callable[[str], object]


class CutShortError(AgfedgeError):
    """A measurement on a target ended early.

    Attributes:
        samples: what came until then, not `complete`.
    """

    def __init__(self, message: str, samples: Samples) -> None:
        super().__init__(message)
        self.samples = samples


@dataclass(frozen=True)
class Measurement:
    """What to measure, and how.

    Attributes:
        target: where the bundle was deployed, or None for this process.
        inputs: (N, ...) as the bundle's input says, or None for its golden inputs.
        decisions: None for 600, or every input once where there are more.
        threads: CPU threads of the backend.
        asked: what else; its `decisions` do not count.
        backend: None for what was deployed, or here for the best that is there.
        precision: of the graphs; None for what was deployed, or here for fp32.
        yes: whether clocks are locked without being asked about.
    """

    target: Target | None
    inputs: NDArray[np.generic] | None
    decisions: int | None
    threads: int
    asked: Asked = field(default_factory=lambda: Asked(seconds=0.0))
    backend: str | None = None
    precision: str | None = None
    yes: bool = False


def measure_bundle(bundle: Bundle, measurement: Measurement, writers: Sequence[Writer] = ()) -> Samples:
    """Measures a bundle.

    Args:
        bundle: that is meant.
        measurement: what to measure, and where.
        writers: what takes the lines of the record about once a second, see `agfedge_runtime.profile.record`.

    Returns:
        The samples; not `complete` where the measurement was interrupted.

    Raises:
        InputError: the target runs another bundle, or something does not fit.
        BackendError: the measurement fails on the target.
        CutShortError: the target, or the connection to it, was lost on the way.
        DeployError: the same before the first decision.
        KeyboardInterrupt: it was interrupted before the first decision.
    """
    asked = replace(measurement.asked, decisions=measurement.decisions)
    if measurement.threads < 1:
        raise InputError(f"--threads is {measurement.threads}: expected 1 or more")
    inputs = measurement.inputs
    if inputs is not None:
        _check_inputs(bundle, inputs)
    total = asked.least_decisions(0 if inputs is None else len(inputs))
    with bar(total=total, title="profile", unit="decision") as shown:
        if measurement.target is not None:
            return _on_target(bundle, measurement.target, measurement, asked, writers, shown.update)
        backend, precision = measurement.backend or "auto", measurement.precision or "fp32"
        with (
            Cascade.open(bundle, backend, measurement.threads, monitor=False, precision=precision) as cascade,
            locking(asked, measurement.yes),
        ):
            return profile(bundle, cascade, inputs, asked, writers, shown.update)


def _check_inputs(bundle: Bundle, inputs: NDArray[np.generic]) -> None:
    spec = bundle.manifest.input
    if inputs.dtype != spec.dtype or inputs.shape[1:] != spec.row_shape:
        raise InputError(
            f"the data is {inputs.dtype} of shape {inputs.shape[1:]}: this bundle takes {spec.dtype} of shape "
            f"{spec.row_shape}; give the data that it was exported with"
        )


def _on_target(
    bundle: Bundle,
    target: Target,
    measurement: Measurement,
    asked: Asked,
    writers: Sequence[Writer],
    progress: Callable[[int], object],
) -> Samples:
    _check_deployed(bundle, target)
    argv = [target.python, "-m", "agfedge_runtime", "profile", "current/bundle", "--stream", "--out", KEPT_THERE]
    argv += [*words_of(asked), "--threads", str(measurement.threads), *_as_deployed(target, measurement)]
    if asked.lock_clocks:
        _confirm_locking(target, measurement.yes)
        argv.append("--yes")
    if measurement.inputs is not None:
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "inputs.npz", x=measurement.inputs)
            target.put(Path(folder), INBOX)
        argv += ["--data", str(INBOX / "inputs.npz")]
    lines = _RecordLines(writers, progress)
    try:
        done = target.stream(argv, lines.take, env=_ENV)
    except DeployError as error:
        samples = lines.samples()
        if samples is None:
            raise DeployError(f"{target.name}: {error}") from error
        raise CutShortError(f"the measurement on {target.name} was cut short: {error}", samples) from error
    except KeyboardInterrupt:
        samples = lines.samples()
        if samples is None:
            raise
        return samples
    finally:
        lines.flush()
    return _result(bundle, target, done, lines.samples())


def _result(bundle: Bundle, target: Target, done: Completed, samples: Samples | None) -> Samples:
    if samples is None or not samples.complete or done.returncode != 0:
        reason = f"profile on {target.name} failed: {_last_line(done)}"
        if "unrecognized arguments" in done.stderr:
            reason += "; what was deployed is older than this: deploy the bundle again"
        if samples is None or samples.complete:
            raise BackendError(reason)
        raise CutShortError(reason, samples)
    _check_digest(bundle, target.name, samples.bundle_digest)
    return samples


class _RecordLines:
    """Takes a record's lines as they come: into a record, and about once a second to whoever writes them."""

    def __init__(self, writers: Sequence[Writer], progress: Callable[[int], object]) -> None:
        self._writers, self._progress = writers, progress
        self._reader = Reader()
        self._waiting: list[str] = []
        self._next_flush = time.monotonic() + FLUSH_S

    def take(self, line: str) -> None:
        # What is imported there may print lines of its own first.
        if self._reader.record is None and not line.startswith(HEAD):
            return
        if self._reader.add(line):
            self._progress(1)
        self._waiting.append(f"{line}\n")
        if time.monotonic() >= self._next_flush:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = "".join(self._waiting), []
        for writer in self._writers if waiting else ():
            writer(waiting)
        self._next_flush = time.monotonic() + FLUSH_S

    def samples(self) -> Samples | None:
        """What came, None where no decision did."""
        record = self._reader.record
        return None if record is None or record.decisions == 0 else record.samples()


def _as_deployed(target: Target, measurement: Measurement) -> list[str]:
    """Backend and precision as given, else as the deploy of what runs there noted them."""
    backend, precision = measurement.backend, measurement.precision
    if backend is None or precision is None:
        running = read_status(target).current
        if running is not None:
            # With its version behind it.
            backend = backend or (running.backend or "").partition(" ")[0]
            precision = precision or running.precision
    given = {"--backend": backend, "--precision": precision}
    return [word for name, value in given.items() if value for word in (name, value)]


def _confirm_locking(target: Target, yes: bool) -> None:
    question = (
        f"This runs jetson_clocks on {target.name}, which holds its clocks at the highest of the power mode. "
        "They are put back after the measurement. Go on?"
    )
    if not yes and not confirm(question):
        raise InputError("the clocks were not locked, as was answered; leave out --lock-clocks to measure without")


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


def _check_digest(bundle: Bundle, name: str, digest: str) -> None:
    if digest != bundle.digest:
        raise InputError(f"{name} runs bundle {digest[:12]}, asked for {bundle.digest[:12]}: deploy it there first")


def _last_line(done: Completed) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {done.returncode}"


@dataclass(frozen=True)
class Keeper:
    """Keeps samples where the user wants them, or else beside the bundle.

    Attributes:
        bundle: that is measured.
        out: the file; until it is whole, FILE.partial. None for a file beside the bundle, of a run that is cut short.
    """

    bundle: Bundle
    out: Path | None

    def measure(self, measurement: Measurement) -> Samples:
        """Measures, and writes the samples.

        Raises:
            KeyboardInterrupt: somebody interrupted; it says where the samples are that came until then.
            AgfedgeError: something does not fit, or the measurement fails. What came until then is kept, and named.
        """
        with contextlib.ExitStack() as opened:
            side = None if self.out is None else opened.enter_context(SideFile(side_path(self.out)))
            try:
                samples = measure_bundle(self.bundle, measurement, () if side is None else (side.write,))
            except CutShortError as error:
                raise DeployError(f"{error}; {self._keep(error.samples, side)}") from error
            if not samples.complete:
                raise KeyboardInterrupt(self._keep(samples, side))
            if self.out is not None:
                self._keep(samples, side)
        return samples

    def _keep(self, samples: Samples, side: SideFile | None) -> str:
        """Writes samples; says where."""
        path = self.out or self.bundle.path.with_name(f"{self.bundle.path.name}.profile.json")
        write_text(path, samples.to_json())
        if side is not None:
            side.remove()
        return (
            f"{len(samples)} decisions are in {path}, marked incomplete: agfedge profile {self.bundle.path} "
            f"--from-samples {path}"
        )


def read_before(path: Path, bundle: Bundle, inputs: int | None) -> Samples:
    """Reads what was measured before.

    Args:
        path: of the samples.
        bundle: that is meant.
        inputs: how many there are now; None for the bundle's own.

    Raises:
        InputError: the file cannot be read, or is of another bundle or other inputs.
    """
    samples = read_samples(path)
    if samples.bundle_digest != bundle.digest:
        raise InputError(
            f"{path}: measured on bundle {samples.bundle_digest[:12]}, asked for {bundle.digest[:12]}; give that bundle"
        )
    measured = int(samples.input_index.max()) + 1
    if inputs is not None and measured > inputs:
        raise InputError(f"{path}: measured on {measured} inputs or more, --data has {inputs}; give the same --data")
    return samples
