"""The report of a batch: a CSV with one line a row, in the order of the file.

It is whole or not there at all.
"""

from __future__ import annotations

import csv
import heapq
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from infuse_cli.batch.model import EndedRow
from infuse_cli.errors import UsageError
from infuse_cli.files import PRIVATE, StagedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from infuse_cli.ports import SpillStore
    from infuse_cli.records.rows import BadRow

COLUMNS: Final = (
    "line",
    "mcuId",
    "outcome",
    "deviceId",
    "id",
    "name",
    "registryDeviceId",
    "field",
    "code",
    "message",
)
SKIPPED: Final = "skipped"
_SHARED: Final = 0o666
"""Mode of a report at a place that the user named, before the umask."""


class Report:
    """A report that is being made beside its place.

    Raises UsageError where it cannot be, before anything else is done.
    """

    def __init__(self, path: Path, *, private: bool) -> None:
        self.path: Final = path
        try:
            path.parent.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(21, "it is a folder")
            self._file: Final = StagedFile(path, PRIVATE if private else _SHARED)
        except OSError as error:
            raise self._error(error) from error
        self._text: Final = io.TextIOWrapper(self._file.stream, encoding="utf-8", newline="")

    def write(self, rows: SpillStore, skipped: Iterable[BadRow]) -> None:
        """Write all rows and put the report in its place, durably.

        Raises UsageError where the disk refuses.
        """
        try:
            writer = csv.writer(self._text)
            writer.writerow(COLUMNS)
            writer.writerows(
                [line[name] for name in COLUMNS]
                for line in heapq.merge(_ended(rows), _left_out(skipped), key=_line)
            )
            self._text.flush()
            self._file.place()
        except OSError as error:
            hint = "Make room or name another place; running again makes it anew."
            raise self._error(error, hint) from error

    def _error(self, error: OSError, hint: str | None = None) -> UsageError:
        return UsageError(
            "usage.bad-option",
            f"the report {self.path} cannot be written: {error.strerror}",
            hint=hint,
        )

    def close(self) -> None:
        """Leave nothing beside the report; safe to call twice."""
        with suppress(OSError):  # a full disk takes the rest of the buffer no better now
            self._text.close()
        self._file.discard()


def _ended(rows: SpillStore) -> Iterator[dict[str, Any]]:
    decoder = msgspec.json.Decoder(EndedRow)
    return (decoder.decode(value).as_json() for value in rows.values())


def _left_out(skipped: Iterable[BadRow]) -> Iterator[dict[str, Any]]:
    for bad in skipped:
        yield {
            **dict.fromkeys(COLUMNS),
            "line": bad.line,
            "outcome": SKIPPED,
            "field": bad.field,
            "code": bad.code,
            "message": bad.why,
        }


def _line(row: dict[str, Any]) -> int:
    return int(row["line"])
