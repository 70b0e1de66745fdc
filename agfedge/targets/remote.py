"""Call functions of the runtime on a target, or commands of the runtime that was shipped there.

Functions are called with the sources that are installed here, which are sent along: nothing need be there but Python.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar, get_type_hints

from agfedge.targets.target import NO_SPACE, Completed, DeployError, Target
from agfedge_runtime import errors, releases
from agfedge_runtime.releases.calls import ANSWER, written
from agfedge_runtime.strict_json import Document

MIN_PYTHON = (3, 8)
# Precedes what an old Python says of itself.
_TOO_OLD = "agfedge: too old: "
# All that an old Python reads; whatever follows may be written for a later one.
CHECK = (
    f"import sys; sys.version_info < {MIN_PYTHON} and sys.exit({_TOO_OLD!r} + '%s there is Python %d.%d.%d; expected "
    f"{'.'.join(map(str, MIN_PYTHON))} or later' % ((sys.executable,) + tuple(sys.version_info[:3])))"
)
# `python -c` looks for modules in the working folder first, where nobody has verified anything.
BOOT = f"{CHECK}; sys.path[:] = [place for place in sys.path if place]; exec(sys.stdin.buffer.read())"
# Bytecode in a release would be files that nobody verified.
ENV = {"PYTHONDONTWRITEBYTECODE": "1"}
_PACKAGE = Path(errors.__file__).parent
# What the functions of `agfedge_runtime.releases` need.
_SMALL = ("__init__.py", "errors.py", "strict_json.py", "releases/")
# Of characters; the longest is a log of as many lines as may be asked for.
_LONGEST_ANSWER = 1 << 28
_ANSWERS = Document("the target's answer", DeployError, "deploy again, and look for what else prints there")

P = ParamSpec("P")
T = TypeVar("T")


def call(target: Target, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function of the runtime in a target's folder and return what it returns.

    Raises:
        DeployError: Python cannot be started there or is too old, the function fails, or its answer is not what it
            declares.
    """
    return _answer(_run(target, program_of(function, *args, **kwargs)), function)


def call_anywhere(target: Target, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function as `call` does, in a folder above the target's where that is missing."""
    return _answer(_run(target, program_of(function, *args, **kwargs), anywhere=True), function)


def run_shipped(target: Target, release: str, *words: str) -> Completed:
    """Run a command of a release's own runtime there.

    Args:
        target: Where.
        release: Name of a release that was verified.
        words: Of the command, such as ``verify``; ``{bundle}`` stands for the release's bundle.

    Raises:
        DeployError: Python cannot be started there.
    """
    return _run(target, _program("run_release", f"releases/{release}", words))


def program_of(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> bytes:
    """Return a program that calls a function of the runtime and prints its answer as JSON."""
    module = function.__module__
    arguments = inspect.signature(function).bind(*args, **kwargs).arguments
    return _program("call", sources(module.startswith(f"{releases.__name__}.")), module, function.__name__, arguments)


@cache
def runtime_files() -> Mapping[str, bytes]:
    """Return the files of the runtime that is installed here, by path below its package's parent."""
    paths = (path for path in sorted(_PACKAGE.rglob("*")) if path.suffix == ".py" or path.name == "py.typed")
    return {path.relative_to(_PACKAGE.parent).as_posix(): path.read_bytes() for path in paths}


@cache
def sources(small: bool) -> Mapping[str, str]:
    """Return the runtime's modules by their full names; ``small`` for those of `agfedge_runtime.releases` alone."""
    return {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): content.decode()
        for name, content in runtime_files().items()
        if name.endswith(".py") and (not small or name.partition("/")[2].startswith(_SMALL))
    }


def parse_object(done: Completed) -> dict[str, object] | None:
    """Return the JSON object that a command printed last, or None."""
    # What is imported there may print lines of its own first.
    start = re.search(r"^\{", done.stdout, re.MULTILINE)
    try:
        value: object = json.loads(done.stdout[start.start() :] if start else "")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def failure(done: Completed) -> str:
    """Return one line that says how a command failed: the last that it wrote."""
    if "No space left on device" in done.stderr:
        return NO_SPACE
    too_old = re.search(f"^{_TOO_OLD}(.*)$", done.stderr, re.MULTILINE)
    if too_old is not None:
        return too_old[1]
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return f"exit code {done.returncode}: {lines[-1].strip() if lines else 'no message'}"


def _answer(done: Completed, function: Callable[P, T]) -> T:
    if len(done.stdout) > _LONGEST_ANSWER:
        raise DeployError(f"the target's answer has {len(done.stdout)} characters; expected {_LONGEST_ANSWER} at most")
    value = parse_object(done)
    if done.returncode != 0 or value is None:
        raise DeployError(failure(done))
    fields = _ANSWERS.fields(value, "", (ANSWER,))
    answer: T = _ANSWERS.read(get_type_hints(function)["return"], fields.values[ANSWER], ANSWER)
    return answer


def _run(target: Target, program: bytes, anywhere: bool = False) -> Completed:
    return target.run([target.python, "-c", BOOT], stdin=program, env=ENV, anywhere=anywhere)


def _program(entry: str, *arguments: object) -> bytes:
    boot = runtime_files()["agfedge_runtime/releases/boot.py"].decode()
    return f"{boot}\nimport json\n{entry}(*json.loads({written(arguments)!r}))\n".encode()
