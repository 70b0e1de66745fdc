"""The time of day, as it is written into files."""

from __future__ import annotations

from datetime import datetime, timezone


def utc(seconds: float | None = None) -> str:
    """A moment in UTC to the millisecond (ISO 8601), such as ``2026-01-31T12:00:00.250Z``.

    Args:
        seconds: since 1970; now by default.
    """
    moment = datetime.now(timezone.utc) if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
