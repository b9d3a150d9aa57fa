"""The cells of a line to a row, or to what is wrong with them, each in words that a person at a
spreadsheet understands.
"""

from __future__ import annotations

import base64
import binascii
import csv
import re
import unicodedata
from typing import TYPE_CHECKING, Final

from infuse_cli.batch.source.header import MCU_ID, METADATA, SEPARATORS, Header, split_cells
from infuse_cli.identities import IdentityKind, blank_reason
from infuse_cli.records.rows import BadRow, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infuse_cli.batch.source.rules import Rules

CELL_LIMIT: Final = 4096
"""Characters of any cell."""

NAME_LIMIT: Final = 255
"""Characters of a name."""

TAG_SEPARATOR: Final = "|"

_FORMULA: Final = ("=", "+", "@")
_ID: Final = re.compile(r"[0-9a-f]{16}")
_OF_IMEI: Final = re.compile(r"0[0-9]{15}")
_EXPONENT: Final = re.compile(r"[0-9]+([.,][0-9]+)?[eE]\+?[0-9]{1,3}")
_DECIMAL: Final = re.compile(r"[0-9]+[.,][0-9]+")
_DIGITS: Final = 16
_PLACEHOLDER: Final = re.compile(r"\{[A-Za-z][A-Za-z0-9_.]*\}")
# Invisible, but part of writing in some languages and of joined symbols.
_JOINERS: Final = frozenset("\u200c\u200d")


class Vetting:
    """Turns lines into rows by one header and one set of rules.

    Pure: it remembers nothing from line to line.
    """

    def __init__(self, header: Header, rules: Rules) -> None:
        self._header, self._rules = header, rules
        self._metadata = tuple(
            (name, name.removeprefix(METADATA))
            for name in header.columns
            if name.startswith(METADATA)
        )

    def row(self, line: int, text: str | None) -> Row | tuple[BadRow, ...]:
        """The row of a line, or everything that is wrong with it.

        `text` None is a line that was too long.
        """
        cells = self._cells(line, text)
        if isinstance(cells, BadRow):
            return (cells,)
        values = dict(zip(self._header.columns, cells, strict=True))
        troubles = [
            BadRow(line=line, field=name, why=why, code=code)
            for name, cell in values.items()
            for why, code in _cell(name, cell)
        ]
        metadata = self._metadata_of(values)
        troubles += [
            BadRow(line=line, field=METADATA + name, why=why, code="batch.metadata")
            for name, why in self._asked(metadata)
        ]
        return tuple(troubles) if troubles else _row(line, values, metadata)

    def _cells(self, line: int, text: str | None) -> list[str] | BadRow:
        if text is None:
            return _whole(line, "the line is longer than 64 KiB")
        try:
            cells = [cell.strip() for cell in split_cells(text, self._header.separator)]
        except csv.Error:
            return _whole(
                line,
                "a quotation mark is not closed on this line, or stands inside a cell; no cell may"
                " hold a line break",
            )
        if tuple(cells) == self._header.columns:
            return _whole(line, "the header is here once more")
        if len(cells) != len(self._header.columns):
            return _whole(line, _miscounted(text, len(cells), self._header))
        return cells

    def _metadata_of(self, values: Mapping[str, str]) -> dict[str, str]:
        own = {key: values[name] for name, key in self._metadata if values[name]}
        mcu_id = values[MCU_ID].lower()
        drawn = dict.fromkeys(self._rules.from_mcu_id, mcu_id)
        if self._rules.from_imei and _OF_IMEI.fullmatch(mcu_id):
            drawn |= dict.fromkeys(self._rules.from_imei, mcu_id[1:])
        return {**self._rules.constants, **drawn, **own}

    def _asked(self, metadata: Mapping[str, str]) -> list[tuple[str, str]]:
        missing = [
            (name, "the cloud board or the profile requires it, and it has no value")
            for name in self._rules.required
            if not metadata.get(name)
        ]
        unfit = [
            (
                name,
                f"{_shown(metadata[name])} does not match the profile's pattern {pattern.pattern}",
            )
            for name, pattern in self._rules.patterns.items()
            if metadata.get(name) and not pattern.fullmatch(metadata[name])
        ]
        return missing + unfit


def _whole(line: int, why: str) -> BadRow:
    return BadRow(line=line, field=None, why=why, code="batch.line")


def _miscounted(text: str, count: int, header: Header) -> str:
    other = next(
        (
            word
            for char, word in SEPARATORS.items()
            if char != header.separator and text.count(char) == len(header.columns) - 1
        ),
        None,
    )
    cells = "1 cell" if count == 1 else f"{count} cells"
    why = f"{cells}, but the header has {len(header.columns)}"
    return f"{why}; is the {other} the separator here?" if other and count == 1 else why


def _row(line: int, values: Mapping[str, str], metadata: dict[str, str]) -> Row:
    return Row(
        line=line,
        mcu_id=values[MCU_ID].lower(),
        device_id=values.get("deviceId", "").lower() or None,
        name=values.get("name") or None,
        public_key=values.get("publicKey") or None,
        tags=_tags(values.get("tags", "")),
        metadata=metadata,
    )


def _tags(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag.strip() for tag in cell.split(TAG_SEPARATOR))) if cell else ()


def _cell(column: str, cell: str) -> list[tuple[str, str]]:
    """What is wrong with a cell: words and code, one at the most."""
    if not cell.isprintable() or len(cell) > CELL_LIMIT or cell.startswith(_FORMULA):
        for why, code in (
            (_unreadable(cell), "batch.encoding"),
            (_unwanted(column, cell), "batch.value"),
        ):
            if why:
                return [(why, code)]
    check = _CHECKS.get(column)
    if check is None:
        return []
    why = check(cell)
    if why:
        return [(why, "batch.mcu-id" if column == MCU_ID else "batch.value")]
    kind = _IDENTITIES.get(column)
    blank = None if kind is None else blank_reason(kind, cell)
    return [(f"{_shown(cell)} is blank: {blank}", "identity.blank")] if blank else []


def _unreadable(cell: str) -> str | None:
    bad = next((char for char in cell if "\ud800" <= char <= "\udfff"), None)
    if bad is None:
        return None
    return (
        f"byte {ord(bad) - 0xDC00:02x} is not UTF-8 (Latin-1 or Windows-1252?); save the file as"
        " 'CSV UTF-8'"
    )


def _unwanted(column: str, cell: str) -> str | None:
    if len(cell) > CELL_LIMIT:
        return f"{len(cell)} characters, of which {CELL_LIMIT} are allowed"
    odd = next((char for char in cell if _invisible(char)), None)
    if odd is not None:
        name = "NUL" if odd == "\0" else unicodedata.name(odd, "control character").lower()
        return f"a character that cannot be seen, U+{ord(odd):04X} ({name})"
    # Base64 has `+` among its digits.
    if cell.startswith(_FORMULA) and not (column == "publicKey" and cell[0] == "+"):
        return f"{_shown(cell)} begins with {cell[0]!r}: a spreadsheet would take it for a formula"
    return None


def _invisible(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} and char not in _JOINERS


def _mcu_id(cell: str) -> str | None:
    return _hex_id(cell) if cell else "it is empty"


def _hex_id(cell: str) -> str | None:
    """What is wrong with a text that has to be 16 hex digits; capitals are fine."""
    plain = cell.lower()
    if not plain or _ID.fullmatch(plain):
        return None
    if _EXPONENT.fullmatch(cell):
        return (
            f"a spreadsheet turned it into the number {cell}, and its digits are lost; give the"
            " column the format 'Text' and fill it again"
        )
    if _DECIMAL.fullmatch(cell):
        return (
            f"a spreadsheet turned it into the number {cell}; give the column the format 'Text' and"
            " fill it again"
        )
    if plain.isascii() and plain.isdigit() and len(plain) < _DIGITS:
        return f"{len(plain)} digits where {_DIGITS} are due: {_lost(len(plain))}"
    return _odd_hex(cell)


def _lost(count: int) -> str:
    if count == _DIGITS - 1:
        return (
            "a leading zero was lost (spreadsheets drop it), or it is a bare IMEI, which is written"
            " as 0 and its 15 digits"
        )
    return "leading zeros were lost (spreadsheets drop them); give the column the format 'Text'"


def _odd_hex(cell: str) -> str:
    shown = _shown(cell)
    if cell.startswith("'"):
        return f"{shown} begins with an apostrophe"
    if cell[:2].lower() == "0x":
        return f"{shown} begins with 0x: only the {_DIGITS} hex digits are wanted"
    if re.fullmatch(r"[0-9a-fA-F]{2}([:\-. ][0-9a-fA-F]{2})+", cell):
        return f"{shown} has separators: only the {_DIGITS} hex digits are wanted"
    odd = next((char for char in cell if char not in "0123456789abcdefABCDEF"), None)
    if odd is not None:
        return f"{shown} has {odd!r}, which is no hex digit"
    return f"{len(cell)} hex digits where {_DIGITS} are due"


def _name(cell: str) -> str | None:
    if len(cell) > NAME_LIMIT:
        return f"{len(cell)} characters, of which {NAME_LIMIT} are allowed"
    found = _PLACEHOLDER.search(cell)
    return f"{found[0]} is not filled in here: write each row's own name" if found else None


def _public_key(cell: str) -> str | None:
    if not cell:
        return None
    try:
        raw = base64.b64decode(cell, validate=True)
    except (binascii.Error, ValueError):
        return "it is not base64"
    # Only one spelling of a key, or a doubled key could go unseen.
    if len(raw) == 32 and base64.b64encode(raw).decode() != cell:
        return "it is not base64 in its usual form"
    return None if len(raw) == 32 else f"base64 of {len(raw)} bytes, but a public key has 32"


def _tags_cell(cell: str) -> str | None:
    if not cell:
        return None
    if not all(tag.strip() for tag in cell.split(TAG_SEPARATOR)):
        return f"an empty tag: tags are separated by one {TAG_SEPARATOR}"
    if ";" in cell or "," in cell:
        return f"tags are separated by {TAG_SEPARATOR}, and none may hold a comma or semicolon"
    return None


_CHECKS: Final[dict[str, Callable[[str], str | None]]] = {
    MCU_ID: _mcu_id,
    "deviceId": _hex_id,
    "name": _name,
    "publicKey": _public_key,
    "tags": _tags_cell,
}

_IDENTITIES: Final = {MCU_ID: IdentityKind.MCU_ID, "deviceId": IdentityKind.DEVICE_ID}
"""Columns whose value must not be one that an erased or unprogrammed chip gives."""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
