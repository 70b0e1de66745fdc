"""How a target on another machine is named: ``[user@]host[:path]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agfedge_runtime.errors import InputError

# Relative to the home there.
DEFAULT_FOLDER = "agfedge"
# As scp has it: a colon before the first slash names a host; so does an @, which scp would not need.
_HOST = re.compile(r"[^/]*[:@]")
# No option of ssh, nothing that a shell would read; an IPv6 address stands in brackets.
_ADDRESS = re.compile(
    r"(?:(?P<user>\w[\w.+-]*)@)?(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>\w[\w.-]*))(?::(?P<path>.*))?"
)


@dataclass(frozen=True)
class Address:
    """A folder on a host.

    Attributes:
        user: Who logs in, or None for what ``~/.ssh/config`` says.
        host: A name of ``~/.ssh/config``, a host name, or an IP address without brackets.
        folder: Absolute, or relative to the home there.
    """

    user: str | None
    host: str
    folder: str

    @property
    def login(self) -> str:
        """Whom ssh is told to call."""
        return self.host if self.user is None else f"{self.user}@{self.host}"


def names_host(spec: str) -> bool:
    """Whether a target's name is that of a host: a colon or an @ stands before the first slash."""
    return _HOST.match(spec) is not None


def parse_address(spec: str) -> Address:
    """Read ``[user@]host[:path]``.

    Raises:
        InputError: It is not that.
    """
    found = _ADDRESS.fullmatch(spec)
    path = (found["path"] or "") if found else ""
    if found is None or path.startswith("//") or not path.isprintable():
        raise InputError(
            f"{spec!r} names no host; expected [user@]host[:path] (./{spec} for a folder of that name): "
            "a port or a jump host belongs in ~/.ssh/config"
        )
    folder = path[2:] if path.startswith("~/") else "" if path == "~" else path
    if folder.startswith("~"):
        raise InputError(f"{spec!r}: the home of another user is no target; give an absolute path")
    return Address(found["user"], found["v6"] or found["host"], folder or DEFAULT_FOLDER)
