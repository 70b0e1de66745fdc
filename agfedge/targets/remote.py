"""Call functions of ``on_target``, or commands of the runtime that was shipped, on a target."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from agfedge.targets.errors import NO_SPACE, DeployError
from agfedge.targets.target import Completed, Target

# `python -c` looks for modules in the working folder first, where nobody has verified anything.
BOOT = "import sys; sys.path[:] = [place for place in sys.path if place]; exec(sys.stdin.buffer.read())"
# Bytecode in a release would be files that nobody verified.
ENV = {"PYTHONDONTWRITEBYTECODE": "1"}
_PACKAGE = "agfedge.targets.on_target"


def call_function(target: Target, function: str, /, **arguments: object) -> dict[str, object]:
    """Run a function of ``on_target`` there and return what it returns.

    Args:
        target: Where.
        function: As ``module.function``.
        arguments: Plain values, as JSON has them.

    Raises:
        DeployError: Python cannot be started there, or the function fails.
    """
    return call_program(target, function_source(function, **arguments))


def call_program(target: Target, program: bytes, anywhere: bool = False) -> dict[str, object]:
    """Run a program of `program_of` there and return what it prints; ``anywhere`` as in ``Target.run``.

    Raises:
        DeployError: Python cannot be started there, or the program fails.
    """
    done = _run(target, program, anywhere)
    value = parse_object(done)
    if done.returncode != 0 or value is None:
        raise DeployError(failure(done))
    return value


def run_shipped(target: Target, release: str, *words: str) -> Completed:
    """Run a command of a release's own runtime there.

    Args:
        target: Where.
        release: Name of a release that was verified.
        words: Of the command, such as ``verify``; ``{bundle}`` stands for the release's bundle.

    Raises:
        DeployError: Python cannot be started there.
    """
    return _run(target, function_source("shipped.command", release=release, words=list(words)))


def function_source(function: str, **arguments: object) -> bytes:
    """Return a program that calls a function of ``on_target``, ``module.function``, and prints its result as JSON."""
    module, _, name = function.rpartition(".")
    return program_of(on_target_sources(), f"{_PACKAGE}.{module}", name, arguments)


def program_of(sources: Mapping[str, str], module: str, function: str, arguments: Mapping[str, object]) -> bytes:
    """Return a program that calls a function of one of these modules, and prints its result as JSON."""
    request = json.dumps([sources, module, function, arguments])
    return f"{_boot()}\ncall(*json.loads({request!r}))\n".encode()


@cache
def on_target_sources() -> Mapping[str, str]:
    """Return the modules of ``on_target`` by their full names, with empty packages above them."""
    modules = {
        f"{_PACKAGE}.{each.name.removesuffix('.py')}": each.read_text(encoding="utf-8")
        for each in resources.files(_PACKAGE).iterdir()
        if each.name.endswith(".py") and each.name not in ("__init__.py", "boot.py")
    }
    parts = _PACKAGE.split(".")
    return {".".join(parts[: count + 1]): "" for count in range(len(parts))} | modules


def parse_object(done: Completed) -> dict[str, object] | None:
    """Return the JSON object that a command printed last, or None."""
    # What is imported there may print lines of its own first.
    start = re.search(r"^\{", done.stdout, re.MULTILINE)
    try:
        value: object = json.loads(done.stdout[start.start() :] if start else "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def failure(done: Completed) -> str:
    """Return one line that says how a command failed: the last that it wrote."""
    if "No space left on device" in done.stderr:
        return NO_SPACE
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return f"exit code {done.returncode}: {lines[-1].strip() if lines else 'no message'}"


def strings(value: object) -> Sequence[str]:
    """Return a list of strings from an answer, empty where it is none."""
    return [str(each) for each in value] if isinstance(value, list) else []


def _run(target: Target, program: bytes, anywhere: bool = False) -> Completed:
    return target.run([target.python, "-c", BOOT], stdin=program, env=ENV, anywhere=anywhere)


@cache
def _boot() -> str:
    return resources.files(_PACKAGE).joinpath("boot.py").read_text(encoding="utf-8")
