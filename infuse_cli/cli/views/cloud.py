"""The objects of the two APIs for people and as JSON: tables on a terminal, whole values in columns
when piped.

JSON keeps the wire's camelCase names, except that the registry's device id is always
`registryDeviceId`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from infuse_cli import api_types as api
from infuse_cli.cli.result import OperationResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from infuse_cli.errors import InfuseError
    from infuse_cli.types import Secret

_STYLES: Final = {
    "ACTIVE": "green",
    "completed": "green",
    "PENDING": "yellow",
    "waiting": "yellow",
    "sent": "yellow",
    "OFFLINE": "red",
    "expired": "red",
}


def plain(thing: api.ApiObject) -> dict[str, Any]:
    """An object as JSON values."""
    values: dict[str, Any] = msgspec.to_builtins(thing)
    match thing:
        case api.RegistryDevice():
            return {"registryDeviceId": values.pop("id"), **values}
        case api.Component() | api.Sensor() | api.PendingToken() | api.MintedToken():
            return {
                ("registryDeviceId" if name == "deviceId" else name): value
                for name, value in values.items()
            }
        case _:
            return values


def listing(
    command: str, key: str, rows: Sequence[api.ApiObject], titles: Mapping[str, str], empty: str
) -> OperationResult:
    """A list: `key` is its name in the envelope, `titles` the columns by their JSON name."""
    found = [plain(row) for row in rows]
    cells = [[text(row.get(name)) for name in titles] for row in found]
    return OperationResult(
        command,
        {key: found},
        human=lambda console: table(console, list(titles.values()), cells, empty),
    )


def single(
    command: str, key: str, thing: api.ApiObject, *, first: str = "", **more: Any
) -> OperationResult:
    """One object with its fields; `first` is a sentence above them, `more` goes into the data
    beside it.
    """
    values = plain(thing)
    return OperationResult(command, {key: values, **more}, human=_fields_with(first, values))


def _fields_with(first: str, values: Mapping[str, Any]) -> Callable[[Console], None]:
    def show(console: Console) -> None:
        if first:
            say(console, first)
        fields(console, values)

    return show


def secret_lines(secret: Secret, name: str, *, out: Path | None, reveal: bool) -> list[str]:
    """Where a secret is, for a person: the secret itself only with `reveal`."""
    lines = [] if out is None else [f"{name} written to {out} (0600)"]
    return [*lines, secret.reveal()] if reveal else lines


def with_error(
    result: OperationResult, error: InfuseError, *, partial: bool = False
) -> OperationResult:
    """The same result as that of a command that ends with this error."""
    return replace(
        result,
        status="partial" if partial else "error",
        errors=[error.as_json()],
        exit_code=int(error.exit),
    )


def table(
    console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]], empty: str
) -> None:
    """Rows as a table on a terminal, as bare columns in a pipe; a value is never cut."""
    if not rows:
        say(console, empty)
    elif console.is_terminal:
        _framed(console, titles, rows)
    else:
        _columns(console, titles, rows)


def _framed(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        made.add_column(title, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console.print(made)


def _columns(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[index]) for row in (titles, *rows)) for index in range(len(titles))]
    for row in (titles, *rows):
        say(
            console,
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(),
        )


def fields(console: Console, values: Mapping[str, Any]) -> None:
    """One line a field; what is not there is left out."""
    shown = {
        name: text(value) for name, value in values.items() if value not in (None, "", (), [], {})
    }
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        console.print(
            f"{name:<{width}}  {value}", soft_wrap=True, markup=False, style=_STYLES.get(value)
        )


def say(console: Console, line: str) -> None:
    """One line, as it is."""
    console.print(line, soft_wrap=True, markup=False)


def text(value: Any) -> str:
    """A JSON value in one cell."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{name}={text(item)}" for name, item in value.items())
        case list() | tuple():
            return ", ".join(text(item) for item in value)
        case _:
            # What a server says must not move somebody's cursor.
            return "".join(char if char.isprintable() else " " for char in str(value))
