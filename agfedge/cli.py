"""The command line: each public function is a command, and its arguments are the flags."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import App, CycloptsError, Group, Parameter

from agfedge.base import __version__, progress
from agfedge.base.requests import suggestion
from agfedge.commands.options import FLAG
from agfedge.pages.tables import Result
from agfedge_runtime.errors import AgfedgeError, InputError

if TYPE_CHECKING:
    from cyclopts.argument import ArgumentCollection

# In the order of a project's life; each is imported when it is typed.
COMMANDS = {
    "demo": "demo", "inspect": "inspect", "prune": "prune", "score": "score", "compare": "compare", "export": "export",
    "search": "search", "calibrate": "calibrate", "sign": "sign", "verify": "sign", "deploy": "deploy",
    "status": "status", "profile": "profile", "report": "report", "logs": "logs", "rollback": "rollback",
    "devices": "devices",
}  # fmt: skip
# Distributions that are not called like what they install.
_DISTRIBUTIONS = {"cv2": "opencv-python-headless", "onnx_graphsurgeon": "onnx-graphsurgeon", "PIL": "pillow"}
_DISTRIBUTIONS |= {"sklearn": "scikit-learn", "torch_tensorrt": "torch-tensorrt"}
_OURS = ("agfedge", "agfedge_export", "agfedge_profiles", "agfedge_runtime")

_COMMON = Group("Every command", sort_key=100)

app = App(
    name="agfedge",
    help="Prune a light expert out of a trained vision model, and run both as a measured cascade.",
    version=__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative_iterable=(), allow_repeating=True),
)
app.meta.suppress_keyboard_interrupt = False
for _name, _module in COMMANDS.items():
    app.command(f"agfedge.commands.{_module}:{_name}", name=_name)
app.register_install_completion_command()


@app.meta.default
def _run(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    json: Annotated[bool, Parameter(group=_COMMON, **FLAG, help="Print JSON instead of text.")] = False,
    config: Annotated[
        Path | None,
        Parameter(
            group=_COMMON,
            help="TOML file with a table for the command, such as [export], that sets flags; typed flags win.",
        ),
    ] = None,
    verbose: Annotated[bool, Parameter(group=_COMMON, alias="-v", **FLAG, help="Say more on stderr.")] = False,
    quiet: Annotated[
        bool, Parameter(group=_COMMON, alias="-q", **FLAG, help="Say nothing but errors on stderr.")
    ] = False,
) -> int:
    """Runs a command."""
    with _logging(verbose=verbose, quiet=quiet):
        try:
            app.config = () if config is None else (_Config(config),)
            try:
                result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
            finally:
                app.config = ()
            if isinstance(result, Result):
                # Under torchrun, one process of the job speaks.
                if os.environ.get("RANK", "0") == "0":
                    result.write(as_json=json)
                code = result.exit_code
            else:
                code = _type(result or ())  # what the demo comes down to; help is nothing
            sys.stdout.flush()  # a reader that left shows here, not when Python ends
            return code
        except BrokenPipeError:
            # The reader (head, less) left: not an error of ours. Keep Python from flushing into the closed pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0, 1 for what the user can mend, 2 for usage, 130 when interrupted."""
    typed = sys.argv[1:] if argv is None else list(argv)
    if not set(typed) & set(COMMANDS):
        for name in COMMANDS:
            app[name]  # imported, so that help says what each does
    try:
        code: int = app.meta(
            typed,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        return code or 0
    except CycloptsError as error:
        return _complain(_usage(error), 2)
    except AgfedgeError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt as error:
        return _complain(f"interrupted; {str(error) or 'nothing is left half-written'}", 130)
    except ImportError as error:
        return _complain(_missing(error), 1)
    except OSError as error:  # a full disk, a folder that may not be written
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}", 1)


def _type(commands: Sequence[Sequence[str]]) -> int:
    """Runs commands, each shown as a user would type it; stops at one that fails, and returns its code."""
    for command in commands:
        sys.stdout.write(f"\n$ agfedge {shlex.join(command)}\n\n")
        sys.stdout.flush()
        code = main(command)
        if code:
            return code
    return 0


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"agfedge: {' '.join(message.split())}\n")
    return code


def _usage(error: CycloptsError) -> str:
    command = " ".join(["agfedge", *(error.command_chain or ())])
    text = " ".join(str(error).split()).partition(" Available commands:")[0].rstrip(".")
    return f"{text}{' See' if text.endswith('?') else '; see'} `{command} --help`"


def _missing(error: ImportError) -> str:
    """Says what to install for a module that cannot be imported."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not module:
        return f"{error.name or 'a package'} is installed, but cannot be imported: {error}"
    if module in _OURS:
        return f"this installation of agfedge is incomplete ({error}): install it again"
    return f"the package {module} is needed here and not installed: pip install {_DISTRIBUTIONS.get(module, module)}"


class _Config(cyclopts.config.Toml):
    """A configuration file: what is misspelt in it is refused with its line."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"--config {path}: no such file")
        super().__init__(path, must_exist=True)

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        command = commands[0] if commands else ""
        document = self._document()
        table = document.get(command)
        if not isinstance(table, dict):
            others = ", ".join(f"[{name}]" for name in document) or "nothing"
            raise InputError(f"--config {self.path} configures {others}: expected a table [{command}]")
        known = {name[2:] for argument in arguments for name in argument.names if name.startswith("--")}
        for key in table:
            if key.replace("_", "-") not in known:
                raise InputError(
                    f"{self.path}, line {self._line(command, key)}: {command} has no option {key!r}"
                    f"{suggestion(key, known)}; see `agfedge {command} --help`"
                )
            if table[key] == []:  # releases of cyclopts differ in what they make of it
                place = f"{self.path}, line {self._line(command, key)}"
                raise InputError(f"{place}: {key} is an empty list: give a value, or leave it out")
        super().__call__(app, commands, arguments)

    def _document(self) -> Mapping[str, Any]:
        try:
            return self.config
        except (CycloptsError, ValueError) as error:
            raise InputError(f"--config {self.path} is no TOML: {error}") from error

    def _line(self, command: str, key: str) -> int:
        """The line of a key in a command's table."""
        inside = False
        for number, line in enumerate(Path(self.path).read_text(encoding="utf-8").splitlines(), 1):
            if heading := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
                inside = heading[1].strip("\"'") == command
            elif inside and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
                return number
        return 1


class _StderrLines(logging.Handler):
    """Writes records on stderr, a line each, as errors are written."""

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname}: " if record.levelno == logging.WARNING else ""
        sys.stderr.write(f"agfedge: {level}{' '.join(record.getMessage().split())}\n")


@contextmanager
def _logging(*, verbose: bool, quiet: bool) -> Iterator[None]:
    """Sends what is logged to stderr while a command runs."""
    root = logging.getLogger()
    if any(isinstance(each, _StderrLines) for each in root.handlers):  # a command that types commands: the demo
        yield
        return
    handler = _StderrLines()
    levels = dict.fromkeys(_OURS, logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    levels[progress.logger.name] = logging.ERROR if quiet else logging.INFO
    if not (quiet or verbose) and sys.stderr.isatty():
        levels[progress.logger.name] = logging.WARNING  # bars are enough
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
