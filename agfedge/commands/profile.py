"""`agfedge.profile`: what a bundle really costs, beside what was promised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agfedge.base.requests import check_file
from agfedge.commands import options as o
from agfedge.commands.arguments import command_line
from agfedge.pages.tables import Result, Table, plain
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.profiling import Asked

if TYPE_CHECKING:
    from agfedge.account.account import Account
    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Samples

_MEASURE = {"group": "What is measured"}


@dataclass(frozen=True, eq=False, repr=False)
class ProfileResult(Result):
    """A bundle, measured.

    Attributes:
        bundle: that was measured.
        samples: every decision.
        account: what follows from them; findings that speak against the run come first.
    """

    bundle: Bundle
    samples: Samples
    account: Account

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge profile --json` prints."""
        return {**plain(vars(self.account)), "explanation": self.account.costs.explanation}

    def blocks(self) -> Iterator[str | Table]:
        """Gives the findings, the experts, branches and stages, and measured against expected."""
        from agfedge.reports.runs import MeasuredRun
        from agfedge.reports.tables import blocks

        return blocks(MeasuredRun(self.bundle.manifest.name, self.samples, self.account, self.bundle, None, None))


@o.documented
def profile(
    bundle: o.Bundle,
    *,
    on: Annotated[
        o.HostLike | None,
        Parameter(help="Where it was deployed: [user@]host[:path], or a folder (default: measure in this process)."),
    ] = None,
    data: o.MeasuredData = None,
    decisions: Annotated[
        int | None,
        Parameter(
            help="Decisions at least (default: 600, or every input once where there are more).", **o.WHOLE, **_MEASURE
        ),
    ] = None,
    time: Annotated[
        o.Duration | None,
        Parameter(help="Measure for so long at least: 5s, 2m (default: 5s, or what --decisions takes).", **_MEASURE),
    ] = None,
    warmup: Annotated[
        int, Parameter(help="Decisions that are left out at first.", **o.WHOLE, **_MEASURE)
    ] = Asked.warmup,
    rate: Annotated[
        float | None,
        Parameter(
            help="Then also feed inputs at this fixed rate a second, as a camera does: waiting counts, and what finds "
            "no room is dropped.",
            **_MEASURE,
        ),
    ] = None,
    queue: Annotated[int | None, Parameter(help="Inputs that may wait at --rate.", **o.WHOLE, **_MEASURE)] = None,
    batch: Annotated[
        int | None, Parameter(help="Then also time calls with so many inputs each.", **o.WHOLE, **_MEASURE)
    ] = None,
    layers: Annotated[
        bool, Parameter(help="Then also time layers, by the backend's own profiler.", **o.FLAG, **_MEASURE)
    ] = False,
    state: Annotated[bool, Parameter(help="Watch clocks, temperatures and power.", **_MEASURE)] = True,
    lock_clocks: Annotated[
        bool,
        Parameter(help="Hold a Jetson's clocks at their highest meanwhile; asks before it does.", **o.FLAG, **_MEASURE),
    ] = False,
    yes: Annotated[bool, Parameter(help="Answer yes to what is asked.", **o.FLAG, **_MEASURE)] = False,
    backend: Annotated[
        str | None, Parameter(help="What runs the graphs (default: what was deployed; here the best that can).")
    ] = None,
    precision: Annotated[
        str | None, Parameter(help="Precision of the graphs that run (default: what was deployed; here fp32).")
    ] = None,
    threads: Annotated[int, Parameter(help="CPU threads inside one run.", **o.WHOLE)] = 1,
    target: o.Target = None,
    out: Annotated[
        o.PathLike | None, Parameter(help="Write the raw samples here; until then they are in FILE.partial.")
    ] = None,
    from_samples: Annotated[
        o.PathLike | None,
        Parameter(help="Measure nothing: take what --out wrote before, or the FILE.partial of a run that was killed."),
    ] = None,
    save_table: Annotated[
        o.PathLike | None,
        Parameter(help="Write the measured latencies of layers to this .json file, for --target; implies --layers."),
    ] = None,
    report: o.Page = None,
    seed: Annotated[int, Parameter(help="Seed of the order of inputs.", **o.WHOLE)] = 0,
) -> ProfileResult:
    """Measure latency, accuracy and cost of a bundle, beside the estimates.

    Each branch and each engine is measured apart, and the mixture; what speaks against the run is said first. What was
    measured before an interrupt, a reboot or a lost connection is kept.

    Returns:
        The samples, and what follows from them.

    Raises:
        AgfedgeError: The bundle, the host or an option does not fit, or the measurement fails.
        KeyboardInterrupt: It was interrupted; the message says where the samples are.

    Example:
        >>> print(agfedge.profile("bundle", on="user@jetson:/opt/classifier", data="photos/test"))
    """
    arguments = dict(locals())
    from agfedge.account.account import account, last_profile_of
    from agfedge.account.layer_table import check_asked
    from agfedge.account.layer_table import save_table as write_table
    from agfedge.account.measuring import Keeper, Measurement, read_before
    from agfedge.data import load_arrays
    from agfedge.targets.opening import open_target
    from agfedge.targets.status import keep_profile
    from agfedge_runtime import Bundle

    table, device = None if save_table is None else Path(save_table), o.path_of(target)
    check_asked(table, device)
    if report is not None:
        others = (out, from_samples, save_table)
        check_file("--report", str(report), taken=[str(each) for each in others if each is not None])
    asked = Asked(
        decisions=decisions,
        seconds=o.seconds_of(time, "--time"),
        warmup=warmup,
        seed=seed,
        rate=rate,
        queue=queue,
        batch=batch,
        layers=layers or table is not None,
        state=state,
        lock_clocks=lock_clocks,
    )
    opened = Bundle.open(bundle)
    arrays = None if data is None else load_arrays(data, opened.manifest.classes)
    x, y = (None, None) if arrays is None else (arrays.x, arrays.y)
    host = None if on is None else open_target(str(on))
    if from_samples is not None:
        if on is not None or out is not None:
            raise InputError("got --from-samples with --on or --out: --from-samples measures nothing; leave them out")
        samples = read_before(Path(from_samples), opened, None if x is None else len(x))
    else:
        keeper = Keeper(opened, None if out is None else Path(out))
        samples = keeper.measure(Measurement(host, x, asked.decisions, threads, asked, backend, precision, yes))
    derived = account(samples, y, opened, device)
    if host is not None:
        keep_profile(host, samples.bundle_digest, last_profile_of(derived))
    if report is not None:
        from agfedge.reports.page import report_page
        from agfedge.reports.runs import measured_run
        from agfedge_runtime.atomic import write_text

        page = measured_run(opened.manifest.name, samples, y, opened, derived=derived)
        write_text(Path(report), report_page([page], (), command_line(profile, arguments)))
    if table is not None:
        write_table(table, samples, opened, device)
    return ProfileResult(opened, samples, derived)
