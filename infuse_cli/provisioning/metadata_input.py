"""Metadata as people give it: KEY=VALUE in the command line, or a CSV by IMEI, UUID or mcuId."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_KEYS: Final = ("imei", "uuid", "mcuid")


def pairs(given: Sequence[str]) -> dict[str, str]:
    """Parse KEY=VALUE texts. Raises UsageError usage.bad-option."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value:
            raise UsageError("usage.bad-option", f"--metadata takes KEY=VALUE, not {text!r}")
        found[key.strip()] = value
    return found


def check_single(given: Sequence[str], ports: int, sim: int | None) -> None:
    """--metadata is for one board; several take --metadata-from."""
    if given and (ports > 1 or (sim or 1) > 1):
        raise UsageError(
            "usage.bad-option",
            "--metadata is for one board",
            hint="Several boards take --metadata-from FILE.csv.",
        )


def step_name(until: str | None) -> str | None:
    """Check the name after --until. Raises UsageError naming the nearest step."""
    if until is None:
        return None
    from difflib import get_close_matches

    from infuse_cli.provisioning.plan import STEPS

    if until in STEPS:
        return until
    near = get_close_matches(until, STEPS, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Steps: {', '.join(STEPS)}."
    raise UsageError("usage.bad-option", f"--until: there is no step {until!r}", hint=hint)


def table(path: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Read a --metadata-from table: rows by their key in lower case.

    Raises UsageError naming file and line.
    """
    if path is None:
        return {}
    if path.exists() and not path.is_file():
        raise UsageError("usage.bad-option", f"--metadata-from {path} is not a file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "usage.bad-option", f"--metadata-from {path} cannot be read: {error}"
        ) from error
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        return _rows(path, reader)
    except csv.Error as error:
        raise UsageError(
            "usage.bad-option", f"--metadata-from {path}, line {reader.line_num}: {error}"
        ) from error


def _rows(path: Path, reader: csv.DictReader[str]) -> dict[str, dict[str, str]]:
    key = next((name for name in reader.fieldnames or () if name.lower() in _KEYS), None)
    if key is None:
        raise UsageError(
            "usage.bad-option", f"--metadata-from {path}, line 1: no column imei, uuid or mcuId"
        )
    found: dict[str, dict[str, str]] = {}
    for row in reader:
        value = (row.get(key) or "").strip().lower()
        if not value or None in row or None in row.values():
            raise UsageError(
                "usage.bad-option",
                f"--metadata-from {path}, line {reader.line_num}: not as many cells as the"
                " header has",
            )
        if value in found:
            raise UsageError(
                "usage.bad-option",
                f"--metadata-from {path}, line {reader.line_num}: {value} is there twice",
            )
        found[value] = {
            _plain(name): cell for name, cell in row.items() if name != key and cell != ""
        }
    return found


def _plain(name: str) -> str:
    return name.removeprefix("metadata.")
