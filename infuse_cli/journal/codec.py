"""How values lie in the journal: times and JSON as text, with one canonical form each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec


def to_text(moment: datetime) -> str:
    """An aware time as ISO 8601 UTC with microseconds and Z. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a time in the journal must be aware")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def to_time(text: str) -> datetime:
    """The time that `to_text` wrote, aware, UTC."""
    return datetime.fromisoformat(text)


def maybe_text(moment: datetime | None) -> str | None:
    """`to_text` or None."""
    return None if moment is None else to_text(moment)


def maybe_time(text: str | None) -> datetime | None:
    """`to_time` or None."""
    return None if text is None else to_time(text)


def to_json(value: Any) -> str:
    """JSON text with sorted keys and no white space.

    Raises TypeError for what JSON cannot hold, such as a Secret.

    Half of a surrogate pair, as noise on a wire can leave it, is kept as its escape: a record must
    not fail.
    """
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_printable(msgspec.to_builtins(value)), order="sorted").decode()


def _printable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_printable(key): _printable(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_printable(inner) for inner in value]
        case _:
            return value


def from_json(text: str | None) -> Any:
    """The value of a JSON text, None for None."""
    return None if text is None else msgspec.json.decode(text)
