"""The header of a row file: which column is where, and what parts the cells."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MCU_ID: Final = "mcuId"
COLUMNS: Final = (MCU_ID, "deviceId", "name", "publicKey", "tags")
METADATA: Final = "metadata."

SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab"}
"""What may part the cells. Spreadsheets write semicolons where the comma is the decimal mark."""

_HEX: Final = re.compile(r"[0-9A-Fa-f]{15,16}")
_HINT: Final = (
    f"The first line names the columns: {','.join(COLUMNS)},metadata.KEY…; only mcuId is required."
)


@dataclass(frozen=True, slots=True)
class Header:
    """Names of the columns in their order, and the separator. `line` is where the header is."""

    columns: tuple[str, ...]
    separator: str
    line: int


def read_header(lines: Iterator[tuple[int, str | None]], label: str) -> Header:
    """Read lines up to the header. Raises UsageError batch.empty, batch.header, batch.encoding."""
    chosen: str | None = None
    for number, text in lines:
        if text is None:
            raise _bad(label, number, "the line is too long for a header")
        if not text.strip(" \t,;"):
            continue
        if chosen is None and (chosen := _announced(text)) is not None:
            continue
        return _header(text, number, label, chosen)
    raise UsageError("batch.empty", f"{label} is empty")


def _announced(text: str) -> str | None:
    """The separator that spreadsheets name in a line of its own, `sep=;`."""
    found = re.fullmatch(r'"?sep=(.)"?', text.rstrip("\r\n"))
    return found[1] if found and found[1] in SEPARATORS else None


def _header(text: str, number: int, label: str, chosen: str | None) -> Header:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UsageError(
            "batch.encoding",
            f"{label}, line {number}: the header is not UTF-8 (Latin-1 or Windows-1252?)",
            hint="Save it as 'CSV UTF-8'.",
        )
    separator = chosen or _separator(text)
    try:
        names = tuple(name.strip() for name in split_cells(text, separator))
    except csv.Error as error:
        raise _bad(label, number, f"the header cannot be parsed: {error}") from error
    trouble = _trouble(names)
    if trouble:
        raise _bad(label, number, trouble)
    return Header(names, separator, number)


def split_cells(text: str, separator: str) -> list[str]:
    """The cells of a line (RFC 4180, the line on its own).

    Raises csv.Error for quotes that do not fit.
    """
    if '"' not in text:
        return text.split(separator)
    return next(csv.reader((text,), delimiter=separator, strict=True), [""])


def _separator(text: str) -> str:
    """The one with which the header makes most sense; commas where that is none."""
    return max(
        SEPARATORS,
        key=lambda separator: sum(
            _known(name.strip()) for name in text.replace('"', "").split(separator)
        ),
    )


def _known(name: str) -> bool:
    return name in COLUMNS or (name.startswith(METADATA) and name != METADATA)


def _trouble(names: tuple[str, ...]) -> str | None:
    """What is wrong with the header, None where nothing is."""
    if _HEX.fullmatch(names[0]):
        return f"{names[0]!r} is an mcuId, not the name of a column: the header is missing"
    for index, name in enumerate(names):
        if not name:
            return f"column {index + 1} has no name"
        if not _known(name):
            return f"there is no column {_shown(name)}{_meant(name)}"
        if name in names[:index]:
            return (
                f"column {name!r} is there twice, as number {names.index(name) + 1} and {index + 1}"
            )
        if not name.isprintable():
            return (
                f"the name of column {index + 1}, {_shown(name)}, has characters that cannot be"
                " seen"
            )
    return None if MCU_ID in names else f"the column {MCU_ID} is missing"


def _meant(name: str) -> str:
    known = [*COLUMNS, METADATA + "KEY"]
    same = [column for column in known if column.lower() == name.lower()] or get_close_matches(
        name, known, n=1, cutoff=0.5
    )
    if same and same[0] != METADATA + "KEY":
        return f"; did you mean {same[0]!r}?"
    return (
        "; a metadata column is called"
        f" {_shown(METADATA + name.removeprefix('metadata').lstrip('._ '))}"
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _bad(label: str, number: int, why: str) -> UsageError:
    return UsageError("batch.header", f"{label}, line {number}: {why}", hint=_HINT)
