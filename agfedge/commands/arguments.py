"""A call's arguments: the options that go together, and how the call is repeated, by a file or a command line."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import PurePath
from typing import Any

import numpy as np

from agfedge.allocate import AllocationRequest, GroupChoice
from agfedge.commands.options import names_of, numbers_of, path_of
from agfedge.recover.options import Recovery
from agfedge.subject.origin import Origin


def origin_of(arguments: Mapping[str, Any]) -> Origin:
    """Returns the model and its data."""
    mean, std = numbers_of(arguments["mean"]), numbers_of(arguments["std"])
    return Origin(arguments["model"], arguments["data"], path_of(arguments["weights"]), mean, std)


def amount_of(arguments: Mapping[str, Any]) -> AllocationRequest:
    """Returns how much stays."""
    given = {**arguments, "target": path_of(arguments["target"])}
    return AllocationRequest(**{each.name: given[each.name] for each in fields(AllocationRequest)})


def choice_of(arguments: Mapping[str, Any]) -> GroupChoice:
    """Returns which groups stay whole, and which keep amounts of their own."""
    exclude, only = names_of(arguments["exclude"]), names_of(arguments.get("only", ()))
    return GroupChoice(exclude, only, path_of(arguments["per_layer"]))


def recovery_of(arguments: Mapping[str, Any], seed: int = 0) -> Recovery:
    """Returns how the light expert is fine-tuned.

    Raises:
        InputError: an unknown augmentation or precision, or a patience below one.
    """
    named = ("epochs", "batch_size", "learning_rate", "distillation", "augment", "patience")
    return Recovery(**{name: arguments[name] for name in named}, precision=arguments["training_precision"], seed=seed)


def changed(function: Callable[..., object], arguments: Mapping[str, object]) -> list[str]:
    """Returns the names of the arguments that differ from their defaults."""
    parameters = inspect.signature(function).parameters
    return [name for name, parameter in parameters.items() if not _same(arguments[name], parameter.default)]


def _same(value: object, default: object) -> bool:
    """Whether a value is the default; what is of another kind, such as an array, is not even compared."""
    plain = tuple(value) if isinstance(value, list) else value
    return plain is default or (isinstance(plain, (str, int, float, tuple)) and plain == default)


def given(function: Callable[..., object], arguments: Mapping[str, object]) -> dict[str, Any] | None:
    """Returns the arguments that differ from their defaults, as text, numbers, booleans and lists of these.

    None where one of them is what no file can name: an object, such as a module, or None in place of a default.
    """
    named: dict[str, Any] = {}
    for name in changed(function, arguments):
        value = arguments[name]
        if isinstance(value, (np.ndarray, np.generic)):
            value = value.tolist()
        values = [
            str(each) if isinstance(each, PurePath) else each
            for each in (value if isinstance(value, (list, tuple)) else [value])
        ]
        if not all(isinstance(each, (str, int, float)) for each in values):
            return None
        named[name] = values if isinstance(value, (list, tuple)) else values[0]
    return named


def to_toml(function: Callable[..., object], arguments: Mapping[str, object]) -> str | None:
    """Returns the file that `--config` takes to repeat a call; None where no file can."""
    named = given(function, arguments)
    if named is None:
        return None
    import tomli_w

    name = function.__name__
    options = {option.replace("_", "-"): value for option, value in named.items()}
    comment = f"# Repeats the {name}: agfedge {name} --config THIS_FILE, from the same folder.\n"
    return comment + tomli_w.dumps({name: options})


def command_line(function: Callable[..., object], arguments: Mapping[str, object]) -> str:
    """Returns the command that makes a call, quoted for a shell; a call with objects has only the function's name."""
    named = given(function, arguments)
    if named is None:
        return f"agfedge.{function.__name__}(...)"
    words = ["agfedge", function.__name__]
    positional = [
        name for name, each in inspect.signature(function).parameters.items() if each.kind != each.KEYWORD_ONLY
    ]
    for name, value in named.items():
        flag, values = f"--{name.replace('_', '-')}", value if isinstance(value, list) else [value]
        if name in positional:
            words += [str(each) for each in values]
        elif isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [word for each in values for word in (flag, f"{each}")]
    return shlex.join(words)
