"""What came of rows, written for others: their ids, and nRF Cloud's onboarding CSV."""

from __future__ import annotations

import csv
import enum
import io
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path  # noqa: TC003 - a dataclass names it
from typing import TYPE_CHECKING, Final

import msgspec

from infuse_cli.batch.adapters import existing_journal
from infuse_cli.batch.known_rows import KnownRow, known_rows
from infuse_cli.effects.results import Results
from infuse_cli.errors import PolicyError, UsageError
from infuse_cli.journal import queries
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import CertificateRecord
    from infuse_cli.settings import Settings

COLUMNS: Final = (
    "mcuId",
    "deviceId",
    "id",
    "registryDeviceId",
    "name",
    "outcome",
    "organisationId",
    "soc",
)

ONBOARD_ROWS: Final = 1000
"""Rows that nRF Cloud takes in one file."""

_LONGEST_ID: Final = 64
_NAMED: Final = 5
"""Refused rows that an error names."""


class Form(enum.Enum):
    """How ids are written."""

    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Which rows are exported, and where to. `file` None: every row in the journal.

    `out` None: the rows are in the result. `sub_type` and `fw_types` are columns of onboard.csv.
    """

    file: Path | None = None
    out: Path | None = None
    form: Form = Form.CSV
    sub_type: str = ""
    fw_types: str = ""


@dataclass(frozen=True, slots=True)
class IdExport:
    """Ids of rows, in the order of `COLUMNS`. `out` None: they are in `rows`, else in the file."""

    out: Path | None
    outcomes: Mapping[str, int]
    rows: tuple[dict[str, str | None], ...] = ()

    @property
    def count(self) -> int:
        """How many rows were exported."""
        return sum(self.outcomes.values())


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that cannot be onboarded, and why."""

    mcu_id: str
    line: int | None
    why: str


@dataclass(frozen=True, slots=True)
class OnboardExport:
    """Rows of onboard.csv: `text` where no file was named, else in `files`."""

    count: int
    refused: tuple[RefusedRow, ...]
    text: str | None = None
    files: tuple[Path, ...] = ()

    @property
    def error(self) -> PolicyError | None:
        """Why not all rows are there."""
        if not self.refused:
            return None
        named = "; ".join(f"mcuId {row.mcu_id}: {row.why}" for row in self.refused[:_NAMED])
        more = "; …" if len(self.refused) > _NAMED else ""
        count = plural(len(self.refused), "row")
        return PolicyError("batch.no-certificate", f"{count} cannot be onboarded: {named}{more}")


def export_ids(settings: Settings, request: ExportRequest) -> IdExport:
    """Export the ids of rows as CSV or JSON, one row a line.

    Raises JournalError journal.not-found, UsageError batch.… and usage.bad-option.
    """
    outcomes: Counter[str] = Counter()
    with existing_journal(settings) as journal:
        rows = _id_rows(known_rows(journal, request.file), outcomes)
        if request.out is None:
            return IdExport(None, outcomes, tuple(rows))
        _write(settings, request.out, id_lines(rows, request.form))
    return IdExport(request.out, outcomes)


def _id_rows(rows: Iterable[KnownRow], outcomes: Counter[str]) -> Iterator[dict[str, str | None]]:
    for row in rows:
        outcomes[row.outcome] += 1
        yield _id_row(row)


def _id_row(row: KnownRow) -> dict[str, str | None]:
    record = row.record
    if record is None:
        return {**dict.fromkeys(COLUMNS), "mcuId": row.mcu_id, "outcome": row.outcome}
    values = (
        row.mcu_id,
        record.device_id,
        record.id,
        record.registry_device_id,
        record.name,
        row.outcome,
        record.organisation,
        record.soc,
    )
    return dict(zip(COLUMNS, values, strict=True))


def id_lines(rows: Iterable[Mapping[str, str | None]], form: Form) -> Iterator[str]:
    """The text of ids: CSV with a header, or a JSON array."""
    if form is Form.CSV:
        yield from _csv_lines([COLUMNS])
        yield from _csv_lines(list(row.values()) for row in rows)
        return
    before = "[\n"
    for row in rows:
        yield before + msgspec.json.encode(row).decode()
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _csv_lines(rows: Iterable[Sequence[str | None]]) -> Iterator[str]:
    """CSV (RFC 4180, but with line feeds), a record at a time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(row)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _write(settings: Settings, out: Path, lines: Iterable[str]) -> None:
    """Write a file whole or not at all, 0600. Raises UsageError usage.bad-option."""
    Results(settings).write(out, (line.encode() for line in lines))


def export_onboarding(settings: Settings, request: ExportRequest) -> OnboardExport:
    """Write the onboard.csv of nRF Cloud: no header, 1,000 rows a file.

    Columns are device id, sub-type, tags, firmware types and certificate. The device id is the
    certificate's common name, as that cloud wants it. Rows without a certificate in the journal
    are refused. Raises as `export_ids`.
    """
    refused: list[RefusedRow] = []
    with existing_journal(settings) as journal:
        rows = _onboard_rows(journal, request, refused)
        if request.out is not None:
            files, count = _write_onboard_files(settings, request.out, rows)
            return OnboardExport(count, tuple(refused), files=files)
        table = list(rows)
    if len(table) > ONBOARD_ROWS:
        raise UsageError(
            "usage.bad-option",
            f"{len(table)} rows, but nRF Cloud takes {ONBOARD_ROWS} a file",
            hint="--out FILE writes as many files as it takes.",
        )
    return OnboardExport(len(table), tuple(refused), "".join(_csv_lines(table)))


def _onboard_rows(
    journal: SqliteJournal, request: ExportRequest, refused: list[RefusedRow]
) -> Iterator[list[str]]:
    for row in known_rows(journal, request.file, any_board=True):
        soc = None if row.record is None else row.record.soc
        found = queries.certificate_of(journal, row.mcu_id, soc)
        if found is None:
            why = "no certificate of it is on record here"
            refused.append(RefusedRow(row.mcu_id, row.line, why))
            continue
        name, why = _common_name(found)
        if why:
            refused.append(RefusedRow(row.mcu_id, row.line, why))
        else:
            yield [name, request.sub_type, "|".join(row.tags), request.fw_types, found.pem]


def _common_name(found: CertificateRecord) -> tuple[str, str]:
    """The name that nRF Cloud knows a device by, and what is wrong with it, empty for nothing."""
    from cryptography import x509

    from infuse_cli.pki.chain import common_names

    names = common_names(x509.load_pem_x509_certificate(found.pem.encode()))
    if len(names) != 1:
        return "", f"its certificate has {len(names)} common names"
    length = len(names[0])
    if length > _LONGEST_ID:
        taken = f"and nRF Cloud takes {_LONGEST_ID}"
        return "", f"its certificate's name has {length} characters, {taken}"
    return names[0], ""


def _write_onboard_files(
    settings: Settings, out: Path, rows: Iterator[list[str]]
) -> tuple[tuple[Path, ...], int]:
    files: list[Path] = []
    count = 0
    while page := list(islice(rows, ONBOARD_ROWS)):
        path = out if not files else out.with_name(f"{out.stem}-{len(files) + 1}{out.suffix}")
        _write(settings, path, _csv_lines(page))
        files.append(path)
        count += len(page)
    return tuple(files), count
