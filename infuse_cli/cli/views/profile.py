"""What `infuse profile` shows people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from infuse_cli.config import source as profile_source
from infuse_cli.config.source import nodes
from infuse_cli.config.yaml_text import pair
from infuse_cli.errors import InfuseError
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

    from infuse_cli.config.source import Reading


def listed(env: Mapping[str, str]) -> list[dict[str, Any]]:
    """The profiles that have a name, each with where it is, what it is and what it extends."""
    return [_row(source, env) for source in profile_source.available(env)]


def _row(source: profile_source.Source, env: Mapping[str, str]) -> dict[str, Any]:
    where = "built in" if source.built_in else str(source.path)
    try:
        reading = profile_source.read_source(source, env)
    except InfuseError as error:
        return {
            "name": source.name,
            "where": where,
            "description": error.message,
            "extends": None,
            "ok": False,
        }
    extends = reading.chain[1].name if len(reading.chain) > 1 else None
    ok = not reading.errors or source.built_in
    return {
        "name": source.name,
        "where": where,
        "description": reading.profile.description,
        "extends": extends,
        "ok": ok,
    }


def table(console: Console, rows: list[dict[str, Any]]) -> None:
    """The list as a table, names first."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, show_edge=False)
    for title in ("name", "extends", "description", "where"):
        shown.add_column(title, no_wrap=title == "name", overflow="fold")
    for row in rows:
        note = "" if row["ok"] else " (has mistakes: `infuse profile check`)"
        shown.add_row(
            row["name"], row["extends"] or "-", f"{row['description']}{note}", row["where"]
        )
    console.print(shown)


def verdict(reading: Reading) -> str:
    """The findings, one a line, and the sum."""
    errors = len(reading.errors)
    warnings = len(reading.findings) - errors
    lines = [f"{one.severity}: {one}" for one in reading.findings]
    summary = f"{reading.source.label}: {plural(errors, 'mistake')}, {plural(warnings, 'warning')}"
    return "\n".join([*lines, summary])


def annotated(values: dict[str, Any], reading: Reading, *, origins: bool) -> str:
    """The resolved profile as YAML; with `origins` each line ends with the file and line of its
    value.
    """
    return "\n".join(_lines(values, "", reading, origins=origins))


def _lines(values: dict[str, Any], key: str, reading: Reading, *, origins: bool) -> Iterator[str]:
    indent = "  " * (key.count(".") + 1 if key else 0)
    for name, value in values.items():
        path = f"{key}.{name}" if key else name
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, path, reading, origins=origins)
            continue
        yield f"{indent}{pair(name, value)}" + (f"  # {_origin(path, reading)}" if origins else "")


def _origin(path: str, reading: Reading) -> str:
    if nodes.find(reading.tree, path) is None:
        return "default"
    mark = nodes.place(reading.tree, path)
    label = (
        mark.source.label
        if mark.source.built_in or mark.source.path is None
        else Path(mark.source.label).name
    )
    return f"{label}:{mark.line}" if mark.source.path is not None else label
