"""`agfedge-runtime profile`: measure the cascade and its parts here."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ContextManager

from agfedge_runtime.atomic import write_text
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.profiling import DECISIONS, QUEUE, SECONDS, WARMUP, Asked, profile
from agfedge_runtime.profile.recorder import SideFile, side_path
from agfedge_runtime.state import locked_clocks
from agfedge_runtime.stopping import Terminated
from agfedge_runtime.stream.sources import load_inputs

_INTERRUPTED = 130
_UNITS = {"s": 1, "m": 60, "h": 3600}


def add_asked(parser: argparse.ArgumentParser) -> None:
    """Add what says what to measure; `asked_of` reads it, and `words_of` writes it."""
    parser.add_argument(
        "--decisions", type=int, metavar="N",
        help=f"make N at least; default: {DECISIONS}, or every input once where there are more",
    )  # fmt: skip
    parser.add_argument(
        "--time", dest="seconds", type=_seconds, metavar="TIME",
        help=f"go on for so long at least, as in 30s; default: {SECONDS:g}s, or no longer than --decisions takes",
    )  # fmt: skip
    parser.add_argument(
        "--warmup", type=int, default=WARMUP, metavar="N", help="decisions to forget at first; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of inputs; default: %(default)s")
    parser.add_argument(
        "--rate", type=float, metavar="FPS",
        help="then also let inputs come at a fixed rate, as from a camera: waiting counts, and what finds no room is "
        "dropped",
    )  # fmt: skip
    parser.add_argument("--queue", type=int, metavar="N", help=f"how many of them may wait; default: {QUEUE}")
    parser.add_argument("--batch", type=int, metavar="N", help="then also time calls with N inputs each")
    parser.add_argument("--layers", action="store_true", help="then also time layers, by the backend's own profiler")
    parser.add_argument("--no-state", action="store_true", help="do not look at clocks, temperatures and power")
    parser.add_argument(
        "--lock-clocks",
        action="store_true",
        help="hold a Jetson's clocks at their highest meanwhile; asks before it does",
    )
    parser.add_argument("--yes", action="store_true", help="answer yes to what is asked")


def asked_of(arguments: argparse.Namespace) -> Asked:
    """What the arguments of `add_asked` ask for.

    Raises:
        InputError: a number makes no sense.
    """
    return Asked(
        decisions=arguments.decisions,
        seconds=arguments.seconds,
        warmup=arguments.warmup,
        seed=arguments.seed,
        rate=arguments.rate,
        queue=arguments.queue,
        batch=arguments.batch,
        layers=arguments.layers,
        state=not arguments.no_state,
        lock_clocks=arguments.lock_clocks,
    )


def words_of(asked: Asked) -> list[str]:
    """The arguments of `add_asked` that ask for it."""
    given = {
        "decisions": asked.decisions,
        "time": None if asked.seconds is None else f"{asked.seconds}s",
        "warmup": asked.warmup,
        "seed": asked.seed,
        "rate": asked.rate,
        "queue": asked.queue,
        "batch": asked.batch,
    }
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    flags = {"layers": asked.layers, "no-state": not asked.state, "lock-clocks": asked.lock_clocks}
    return [*words, *(f"--{name}" for name, is_set in flags.items() if is_set)]


def _seconds(text: str) -> float:
    """Read 90s, 30m or 1.5h."""
    try:
        return float(text[:-1]) * _UNITS[text[-1:]]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 30m or 2h") from None


def confirm(question: str) -> bool:
    """Ask on the terminal.

    Raises:
        InputError: there is none.
    """
    if not sys.stdin.isatty():
        raise InputError(f"nobody is there to answer on a terminal: {question} Give --yes")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def locking(asked: Asked, yes: bool) -> ContextManager[None]:
    """What locks this machine's clocks in a `with` block, where that is asked for; see `locked_clocks`."""
    if not asked.lock_clocks:
        return contextlib.nullcontext()
    return locked_clocks(_agree if yes else confirm)


def _agree(question: str) -> bool:  # noqa: ARG001 - whatever it is
    return True


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments to a parser that has the common ones."""
    parser.add_argument("--data", type=Path, metavar="FILE.npz", help="inputs x (default: the golden ones)")
    add_asked(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        help="write the samples here instead of to stdout; until then what is recorded is in FILE.partial",
    )  # fmt: skip
    parser.add_argument(
        "--stream", action="store_true", help="print the samples while they come, a JSON line each decision"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print or write the samples.

    Returns:
        0; 130 where it was stopped, with what was recorded until then printed or written.

    Raises:
        AgfedgeError: the bundle cannot be trusted, nothing runs here, or an option does not fit.
        KeyboardInterrupt: it was stopped before the first decision.
    """
    try:
        return _run(arguments, asked_of(arguments))
    except Terminated as error:
        raise KeyboardInterrupt from error


def _run(arguments: argparse.Namespace, asked: Asked) -> int:
    bundle = Bundle.open(arguments.bundle)
    data = None if arguments.data is None else load_inputs(arguments.data)
    with contextlib.ExitStack() as opened:
        writers: list[Callable[[str], object]] = []
        side = None
        if arguments.out is not None:
            side = opened.enter_context(SideFile(side_path(arguments.out)))
            writers.append(side.write)
        if arguments.stream:
            # After the disk: what a reader who has left does not get is there.
            writers.append(_stream)
        cascade = opened.enter_context(
            Cascade.open(bundle, arguments.backend, arguments.threads, monitor=False, precision=arguments.precision)
        )
        opened.enter_context(locking(asked, arguments.yes))
        samples = profile(bundle, cascade, data, asked, writers)
        if arguments.out is not None and side is not None:
            write_text(arguments.out, samples.to_json())
            side.remove()
    if arguments.out is not None and not arguments.stream:
        said = {"out": str(arguments.out), "decisions": len(samples)}
        _print(json.dumps(said) if arguments.json else f"{len(samples)} decisions written to {arguments.out}")
    elif not arguments.stream:
        _print(samples.to_json().rstrip())
    if samples.complete:
        return 0
    where = "printed" if arguments.out is None else f"in {arguments.out}"
    sys.stderr.write(f"agfedge-runtime: interrupted; {len(samples)} decisions are {where}, marked incomplete\n")
    return _INTERRUPTED


def _stream(lines: str) -> None:
    sys.stdout.write(lines)
    sys.stdout.flush()


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
