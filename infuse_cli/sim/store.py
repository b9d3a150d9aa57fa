"""What the two halves of the virtual cloud share: the lock, ids, times, and how a handler
refuses.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from uuid import uuid4

import msgspec
from msgspec import UNSET

if TYPE_CHECKING:
    from infuse_cli.sim import schemas

T = TypeVar("T", bound=msgspec.Struct)


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


S = TypeVar("S", bound=_HasId)


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of the program
    """The cloud answers with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: Final = status
        self.message: Final = message


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as a handler sees it: path parameters, typed query, decoded body (None where there
    is none).
    """

    path: dict[str, str] = field(default_factory=dict)
    query: Any = None
    body: Any = None


class Collection(dict[str, S]):
    """The objects of one kind by their id; `what` is what a refusal calls one of them."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what: Final = what

    def get_or_refuse(self, id_: str) -> S:
        """The object of that id. Refuses 404."""
        if id_ not in self:
            raise Refused(404, f"no such {self.what}")
        return self[id_]

    def add(self, item: S) -> S:
        """Keep a new object."""
        self[item.id] = item
        return item


class Clock:
    """The cloud's clock: this machine's, plus what a fault adds."""

    def __init__(self) -> None:
        self.offset = timedelta()
        self.lock: Final = threading.RLock()

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC) + self.offset

    def stamps(self) -> dict[str, Any]:
        """id, createdAt, updatedAt of a new object."""
        now = stamp(self.now())
        return {"id": new_id(), "created_at": now, "updated_at": now}


def stamp(when: datetime) -> str:
    """A time as the APIs write it: ISO 8601 UTC with milliseconds."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id() -> str:
    """A fresh UUID text."""
    return str(uuid4())


def page(items: list[T], query: schemas.Page) -> list[T]:
    """The part of a list that is asked for, in the order that is asked for."""
    name = query.order_by
    if name is not UNSET and items:
        fields = msgspec.structs.fields(items[0])
        field = next(field.name for field in fields if field.encode_name == name)
        items = sorted(
            items, key=lambda item: getattr(item, field), reverse=query.order_dir == "desc"
        )
    elif query.order_dir == "desc":
        items = items[::-1]
    return items[query.offset : query.offset + query.limit]


def filter_matches(wanted: object, value: object) -> bool:
    """Whether a filter that may not be given lets a value through."""
    return wanted is UNSET or wanted == value
