"""Find the function that a user names as ``package.module:name`` or ``path/to/file.py:name``."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from agfedge_runtime.errors import AgfedgeError, InputError


def resolve(spec: str, what: str) -> Callable[[], object]:
    """Return the factory that ``spec`` names, to be called without arguments.

    The factory's folder (or the working folder, for a dotted name) is appended to ``sys.path``, so that it
    can import its neighbours, then and later.

    Args:
        spec: ``package.module:name`` or ``path/to/file.py:name``.
        what: What the factory makes, for messages: ``"model"``, ``"data"``.

    Returns:
        A function that calls the factory, and turns whatever it raises into an InputError.

    Raises:
        InputError: No colon, no such module or file, it fails on import, no such attribute, not callable,
            or it cannot be called without arguments.
    """
    place, colon, name = spec.rpartition(":")
    if not (colon and place and name):
        raise InputError(
            f"{what} factory {spec!r} has not both halves; give package.module:name or path/to/file.py:name"
        )
    module = _load_file(place, what) if place.endswith(".py") else _import(place, what)
    factory = _checked_callable(_attribute(module, name, spec, what), spec, what)

    def call() -> object:
        try:
            return factory()
        except AgfedgeError:
            raise
        except Exception as error:
            raise InputError(f"{what} factory {spec} raised {one_line(error)}") from error

    return call


def one_line(error: BaseException) -> str:
    """Return an exception's class and the first line of its text, for a one-line message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _import(dotted: str, what: str) -> ModuleType:
    _add_to_path(Path.cwd())
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{dotted}.".startswith(f"{error.name}."):
            raise InputError(
                f"no module {error.name!r} for the {what} factory; expected an importable package.module, "
                "or a path that ends in .py"
            ) from error
        raise _import_failed(dotted, what, error) from error
    except (Exception, SystemExit) as error:  # a script without a main guard exits
        raise _import_failed(dotted, what, error) from error


def _load_file(place: str, what: str) -> ModuleType:
    path = Path(place).resolve()
    if not path.is_file():
        raise InputError(f"no such file for the {what} factory: {place}")
    # A name of its own, so that a user's `random.py` cannot stand in for another module; registered, because
    # dataclasses and pickles look their module up.
    name = f"_agfedge_factory_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    _add_to_path(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{place} cannot be imported as Python for the {what} factory")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _import_failed(place, what, error) from error
    return module


def _add_to_path(folder: Path) -> None:
    # At the end: what is installed wins over a file that happens to have the same name.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _import_failed(place: str, what: str, error: BaseException) -> InputError:
    return InputError(f"{place}, which holds the {what} factory, fails on import: {one_line(error)}")


def _attribute(module: ModuleType, name: str, spec: str, what: str) -> object:
    try:
        attribute: object = getattr(module, name)
    except AttributeError as error:
        public = [each for each in dir(module) if not each.startswith("_")]
        close = difflib.get_close_matches(name, public, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InputError(f"{what} factory {spec}: {module.__file__} has no {name!r}{hint}") from error
    return attribute


def _checked_callable(factory: object, spec: str, what: str) -> Callable[[], object]:
    if not callable(factory):
        raise InputError(f"{what} factory {spec} is of type {type(factory).__name__}; give a function that needs none")
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some builtins do not tell theirs
        return factory
    try:
        signature.bind()
    except TypeError as error:
        raise InputError(f"{what} factory {spec}{signature} cannot be called without arguments: {error}") from error
    return factory
