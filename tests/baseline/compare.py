"""Whether an answer of today holds all that the stored one held, but for the table of renames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.baseline import renames

if TYPE_CHECKING:
    from collections.abc import Iterator

SENTENCES: Final = frozenset({"message", "hint", "why", "reason"})
"""Keys of texts for people: they have to be there, and may say it in other words."""


def differences(command: str, was: Any, now: Any, path: str = "data") -> list[str]:
    """What is missing or other than it was; more keys are no difference."""
    return list(_differences(command, was, now, path))


def _differences(command: str, was: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key, value in was.items():
            yield from _of_key(command, key, value, now, path)
    elif isinstance(was, list) and isinstance(now, list):
        if len(was) != len(now):
            yield f"{path}: {len(was)} rows were {was}, now {len(now)} are {now}"
        for old, new in zip(was, now, strict=False):
            yield from _differences(command, old, new, f"{path}[]")
    elif not _equal(was, now, path.rpartition(".")[2]):
        yield f"{path}: was {was!r}, is {now!r}"


def _of_key(command: str, key: str, value: Any, now: dict[str, Any], path: str) -> Iterator[str]:
    key_now = _key_now(f"{command}: {path}", key, now)
    if key_now not in now:
        yield f"{path}.{key}: is gone"
    else:
        yield from _differences(command, value, now[key_now], f"{path}.{key}")


def _key_now(place: str, key: str, now: dict[str, Any]) -> str:
    """What a key is called today; it may also be the name of a state or a code."""
    moved = renames.KEYS.get(f"{place}.{key}")
    if moved is not None:
        return moved.rpartition(".")[2]
    return key if key in now else str(renamed(key))


def _equal(was: Any, now: Any, key: str) -> bool:
    if key in SENTENCES and isinstance(was, str):
        return isinstance(now, str) and bool(now)
    return bool(was == now or now == renamed(was))


def renamed(word: Any) -> Any:
    """A code or a state by its name of today; anything else as it is."""
    if not isinstance(word, str):
        return word
    for table in (renames.CODES, renames.TOKEN_STATES, renames.STATES, renames.EVENTS):
        word = table.get(word, word)
    return word


def shape_differences(command: str, was: Any, now: Any, path: str = "data") -> Iterator[str]:
    """What of a stored shape (see `shapes.py`) is not in today's: keys, and types of values."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key, inner in was.items():
            yield from _of_shaped_key(command, key, inner, now, path)
    elif isinstance(was, list) and isinstance(now, list):
        if was and now:
            yield from shape_differences(command, was[0], now[0], f"{path}[]")
    elif not _fits(renames.TYPES.get(f"{command}: {path}", was), now):
        yield f"{path}: was {was}, is {now}"


def _of_shaped_key(
    command: str, key: str, inner: Any, now: dict[str, Any], path: str
) -> Iterator[str]:
    name = key.rstrip("?")
    name_now = _key_now(f"{command}: {path}", name, {spelt.rstrip("?"): None for spelt in now})
    found = [now[spelt] for spelt in (name_now, f"{name_now}?") if spelt in now]
    if found:
        yield from shape_differences(command, inner, found[0], f"{path}.{name}")
    elif name == key and name not in {"*", "null"}:
        yield f"{path}.{name}: is gone"


def _fits(was: Any, now: Any) -> bool:
    """Whether types have one in common, where both are known."""
    return not _types(was) or not _types(now) or bool(_types(was) & _types(now))


def _types(shape: Any) -> set[str]:
    """Types of values that are not null; none where it is not known."""
    if isinstance(shape, dict):
        return {"object"}
    if isinstance(shape, list):
        return {"array"}
    return set(shape.split("|")) - {"null"}
