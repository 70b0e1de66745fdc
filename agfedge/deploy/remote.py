"""Call a function of ``on_target`` on a target."""

from __future__ import annotations

import json
import re
from importlib import resources

from agfedge.deploy.errors import DeployError
from agfedge.deploy.target import Completed, Target

# `python -c` looks for modules in the working folder first, where nobody has verified anything.
BOOT = "import sys; sys.path[:] = [place for place in sys.path if place]; exec(sys.stdin.buffer.read())"
# A __pycache__ that appears in a release would be a file that nobody verified.
ENV = {"PYTHONDONTWRITEBYTECODE": "1"}


def run_function(target: Target, function: str, **arguments: object) -> Completed:
    """Run a function of ``on_target`` there.

    Raises:
        DeployError: Python cannot be started there.
    """
    return target.run([target.python, "-c", BOOT], stdin=function_source(function, **arguments), env=ENV)


def function_source(function: str, **arguments: object) -> bytes:
    """Return a program that calls a function of ``on_target`` and prints what it returns as JSON."""
    source = resources.files("agfedge.deploy").joinpath("on_target.py").read_text(encoding="utf-8")
    call = f"sys.stdout.write(json.dumps({function}(**json.loads({json.dumps(arguments)!r}))))\n"
    return f"{source}\n{call}".encode()


def call_function(target: Target, function: str, **arguments: object) -> dict[str, object]:
    """Run a function of ``on_target`` there and return what it returns.

    Raises:
        DeployError: Python cannot be started there, or the function fails.
    """
    done = run_function(target, function, **arguments)
    value = parse_object(done)
    if done.returncode != 0 or value is None:
        raise DeployError(failure(done))
    return value


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
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return f"exit code {done.returncode}: {lines[-1].strip() if lines else 'no message'}"
