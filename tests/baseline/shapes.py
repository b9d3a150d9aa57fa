"""The shape of an answer: the keys of its objects and the types of its values."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES_A_THING: Final = re.compile(r"[0-9a-f-]{12,}|.*[/ ].*|\d+", re.IGNORECASE)
"""Keys that are ids, paths or numbers: the shape of their values is stored under `*`."""

TYPES: Final = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}


def shape(value: Any) -> Any:
    """The shape of a JSON value; of a list that of its rows together, of a text its type."""
    if isinstance(value, dict):
        found: dict[str, list[Any]] = {}
        for key, inner in value.items():
            found.setdefault("*" if NAMES_A_THING.fullmatch(key) else key, []).append(shape(inner))
        return {key: merged(inners) for key, inners in sorted(found.items())}
    if isinstance(value, list):
        return [merged([shape(row) for row in value])] if value else []
    return TYPES[type(value)]


def merged(shapes: list[Any]) -> Any:
    """One shape for values that stand in the same place. A key that not all have ends with `?`."""
    tables = [found for found in shapes if isinstance(found, dict)]
    lists = [found for found in shapes if isinstance(found, list)]
    texts = {part for found in shapes if isinstance(found, str) for part in found.split("|")}
    if tables and not lists and texts <= {"null"}:
        return _merged_tables(tables) | ({"null": "null"} if texts else {})
    if lists and not tables and texts <= {"null"}:
        rows = [found[0] for found in lists if found]
        return [merged(rows)] if rows else []
    if tables or lists:
        return "any"
    return "|".join(sorted(texts))


def _merged_tables(tables: list[dict[str, Any]]) -> dict[str, Any]:
    names = {key.rstrip("?") for table in tables for key in table}
    return {_name(name, tables): merged(_values(name, tables)) for name in sorted(names)}


def _name(name: str, tables: list[dict[str, Any]]) -> str:
    return name if all(name in table for table in tables) else f"{name}?"


def _values(name: str, tables: Iterable[dict[str, Any]]) -> list[Any]:
    return [table[key] for table in tables for key in (name, f"{name}?") if key in table]


def answer(code: int, stdout: str) -> dict[str, Any]:
    """What of an envelope does not differ from run to run."""
    envelope = json.loads(stdout)
    return {
        "code": code,
        "command": envelope["command"],
        "status": envelope["status"],
        "errors": [error["code"] for error in envelope["errors"]],
        "envelope": sorted(envelope),
        "error": shape(envelope["errors"]),
        "data": shape(envelope["data"]),
    }


def lines(code: int, stdout: str) -> dict[str, Any]:
    """The shapes of the lines of a run with `--output jsonl`, by the event that they tell."""
    found: dict[str, list[Any]] = {}
    for line in stdout.splitlines():
        row = json.loads(line)
        name = str(row.get("event", "envelope"))
        found.setdefault(name, []).append(shape(row))
    return {"code": code, "lines": {name: merged(rows) for name, rows in sorted(found.items())}}
