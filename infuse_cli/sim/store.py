"""What the two halves of the virtual cloud share: the lock, ids, times, and how a handler refuses."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

MOST: Final = 100
"""Items of one page, by default and at most."""


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of the program
    """The cloud answers with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: Final = status
        self.message: Final = message


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as a handler sees it: path parameters, query, decoded body (None where there is none)."""

    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None


class Clock:
    """The cloud's clock: this machine's, plus what a fault adds."""

    def __init__(self) -> None:
        self.offset = timedelta()
        self.lock: Final = threading.RLock()

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC) + self.offset


def stamp(when: datetime) -> str:
    """A time as the APIs write it: ISO 8601 UTC with milliseconds."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id() -> str:
    """A fresh UUID text."""
    return str(uuid4())


def page(items: list[Any], query: dict[str, str]) -> list[Any]:
    """The part of a list that `limit` and `offset` ask for. Refuses 400 for what is no number."""
    try:
        limit, offset = int(query.get("limit", MOST)), int(query.get("offset", 0))
    except ValueError:
        raise Refused(400, "limit and offset are numbers") from None
    if limit < 1 or offset < 0:
        raise Refused(400, "limit is at least 1, offset at least 0")
    return items[offset:offset + min(limit, MOST)]


def truth(text: str | None) -> bool:
    """A boolean of a query."""
    return (text or "").lower() in {"1", "true"}
