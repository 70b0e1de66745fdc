"""A Jetson on an x86-64 machine: arm64 programs under emulation, a recorded device's files, an SSH server on loopback.

It has no GPU; to SSH, Python and pip it is what a Jetson is: another machine, another architecture, another user.
"""

from __future__ import annotations

from emulated_jetson.needs import why_not
from emulated_jetson.running import LOGIN, EmulatedJetson, emulated_jetson

__all__ = ["LOGIN", "EmulatedJetson", "emulated_jetson", "why_not"]
