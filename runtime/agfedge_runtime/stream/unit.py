"""Units of systemd, as text: systemd.syntax(7), systemd.service(5)."""

from __future__ import annotations

import re
from typing import Mapping, Sequence

from agfedge_runtime.errors import InputError

# What stands for itself in a command line, quoted or not.
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
# systemd refuses a program whose path holds others, however they are quoted.
_PROGRAM = re.compile(r"/[^\x00-\x1f\x7f\"'\\$]*")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "%": "%%"}


def unit_text(description: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A unit of a user's service manager that runs a command for as long as the user is logged in, or lingers.

    Args:
        description: of printable characters.
        command: the program's absolute path and its arguments.
        environment: of the command, beside what the manager gives it.

    Raises:
        InputError: a word cannot stand in a unit.
    """
    if not _PROGRAM.fullmatch(command[0]):
        raise InputError(
            f"{command[0]!r}: systemd takes an absolute path without quotes, backslashes, dollars and control "
            "characters; use a Python that lies elsewhere"
        )
    program = '"' + command[0].replace("%", "%%") + '"'
    words = " ".join([program, *(quote(word).replace("$", "$$") for word in command[1:])])
    variables = "".join(f"Environment={quote(f'{name}={value}')}\n" for name, value in sorted(environment.items()))
    return f"""\
[Unit]
Description={description.replace("%", "%%")}
# A camera may be away for hours: never give up.
StartLimitIntervalSec=0

[Service]
Type=exec
# The first place where Python looks for modules.
WorkingDirectory=/
{variables}ExecStart={words}
# Decisions stand in the log; the journal keeps what goes wrong.
StandardOutput=null
Restart=on-failure
RestartSec=5
UMask=0022

[Install]
WantedBy=default.target
"""


def quote(word: str) -> str:
    """A word as systemd reads it back, but for ``$``, which means something in commands alone.

    Raises:
        InputError: it holds a NUL or is not text.
    """
    try:
        word.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{word!r}: systemd takes UTF-8 alone; rename it") from error
    if "\x00" in word:
        raise InputError(f"{word!r}: holds a NUL; remove it")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + "".join(_ESCAPES.get(char) or _control(char) for char in word) + '"'


def _control(char: str) -> str:
    return f"\\x{ord(char):02x}" if char < " " or char == "\x7f" else char
