"""Times as people give them on a command line: a moment with its zone, a day, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from infuse_cli.errors import UsageError

_AGO: Final = re.compile(r"(\d{1,6})\s*(m|min|h|d|w)")
_UNITS: Final = {"m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, option: str, now: datetime) -> datetime:
    """An aware time from `24h`, `7d`, a day (it begins at local midnight), or ISO 8601 with its
    zone.

    Raises UsageError usage.bad-option naming `option`, also for a time that could mean any zone.
    """
    cleaned = text.strip()
    ago = _AGO.fullmatch(cleaned)
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if re.fullmatch(r"\d{4}-\d\d-\d\d", cleaned):
            return datetime.combine(date.fromisoformat(cleaned), datetime.min.time()).astimezone()
        found = datetime.fromisoformat(cleaned)
    except (ValueError, OverflowError):
        raise UsageError(
            "usage.bad-option",
            f"{option} is {text!r}, which is no time",
            hint=(
                "Give 24h, 7d, a day such as 2026-03-31, or a time with its zone such as"
                " 2026-03-31T12:00:00Z."
            ),
        ) from None
    if found.tzinfo is None:
        raise UsageError(
            "usage.bad-option",
            f"{option} {text!r} has no zone",
            hint=f"Say which, e.g. {cleaned}Z for UTC.",
        )
    return found.astimezone(UTC)
