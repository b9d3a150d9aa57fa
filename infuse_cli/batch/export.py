"""`infuse batch export`: ids of a batch's rows as CSV or JSON, and nRF Cloud's onboarding CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path  # noqa: TC003 - a dataclass names it
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.batch.known_rows import Known, known_rows
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult, json_line
from infuse_cli.config.bench import login_name
from infuse_cli.effects.results import Results
from infuse_cli.errors import Exit, PolicyError, UsageError
from infuse_cli.journal import queries
from infuse_cli.journal.store import open_journal
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import CertificateRecord

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


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be exported. `file` None: every row on record."""

    file: Path | None
    out: Path | None
    sub_type: str = ""
    fw_types: str = ""


def exported(wish: Wish, form: str) -> OperationResult:
    """Ids of rows: `form` is csv, json or onboard."""
    with journal_here() as journal:
        return onboard(journal, wish) if form == "onboard" else _ids(journal, wish, form)


@contextmanager
def journal_here() -> Iterator[SqliteJournal]:
    """The journal of this home. Raises JournalError journal.not-found where there is none."""
    with open_journal(context.current().home, operator=login_name(), create=False) as journal:
        yield journal


def _ids(journal: SqliteJournal, wish: Wish, form: str) -> OperationResult:
    counts: Counter[str] = Counter()
    rows = _counted(known_rows(journal, wish.file), counts)
    if wish.out is None and context.current().output != "human":
        shown = [_id_row(one) for one in rows]
        return OperationResult("batch export", {"rows": shown, "outcomes": dict(counts)})
    lines = (
        _csv_lines([COLUMNS], (list(_id_row(one).values()) for one in rows))
        if form == "csv"
        else _json_lines(rows)
    )
    if wish.out is None:
        return OperationResult("batch export", {}, human=_printed(lines))
    _write(wish.out, lines)
    total = sum(counts.values())
    data = {"rows": total, "outcomes": dict(counts), "out": wish.out}
    told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return OperationResult(
        "batch export", data, human=f"{plural(total, 'row')} written to {wish.out}: {told}."
    )


def _counted(rows: Iterator[Known], counts: Counter[str]) -> Iterator[Known]:
    for one in rows:
        counts[one.outcome] += 1
        yield one


def _id_row(one: Known) -> dict[str, str | None]:
    record = one.record
    if record is None:
        return {**dict.fromkeys(COLUMNS), "mcuId": one.mcu_id, "outcome": one.outcome}
    values = (
        one.mcu_id,
        record.device_id,
        record.id,
        record.registry_device_id,
        record.name,
        one.outcome,
        record.organisation,
        record.soc,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _csv_lines(
    head: Iterable[Sequence[str]], rows: Iterable[Sequence[str | None]]
) -> Iterator[str]:
    """CSV (RFC 4180, but with line feeds), a record at a time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for part in (head, rows):
        for row in part:
            writer.writerow(row)
            yield text.getvalue()
            text.seek(0)
            text.truncate()


def _json_lines(rows: Iterable[Known]) -> Iterator[str]:
    """A JSON array, a row a line."""
    before = "[\n"
    for one in rows:
        yield before + json_line(_id_row(one))
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _printed(lines: Iterable[str]) -> Callable[[Console], None]:
    # The journal is closed when a result is shown, so the text is made before.
    text = "".join(lines)
    return lambda _: _out(text)


def _out(text: str) -> None:
    sys.stdout.write(text)


def _write(out: Path, lines: Iterable[str]) -> None:
    """Write a file whole or not at all, 0600.

    Raises UsageError usage.bad-option where it cannot be written.
    """
    Results(context.current().settings).write(out, (line.encode() for line in lines))


def onboard(journal: SqliteJournal, wish: Wish) -> OperationResult:
    """The onboard.csv of nRF Cloud: device id, sub-type, tags, firmware types, certificate; no
    header, 1,000 rows a file.

    The device id is the certificate's common name, as that cloud wants it. Rows without a
    certificate on record cannot be made and are named.
    """
    refused: list[dict[str, Any]] = []
    rows = _onboard_rows(journal, wish, refused)
    if wish.out is None:
        made = list(rows)
        if len(made) > ONBOARD_ROWS:
            raise UsageError(
                "usage.bad-option",
                f"{len(made)} rows, but nRF Cloud takes {ONBOARD_ROWS} a file",
                hint="--out FILE writes as many files as it takes.",
            )
        text = "".join(_csv_lines((), made))
        data: dict[str, Any] = {"rows": len(made), "csv": text}
    else:
        files, count = _onboard_files(wish.out, rows)
        text = f"{plural(count, 'row')} written to {', '.join(str(path) for path in files)}."
        data = {"rows": count, "files": files}
    return _onboarded({**data, "refused": refused}, text if data["rows"] else None)


def _onboarded(data: dict[str, Any], text: str | None) -> OperationResult:
    count, refused = data["rows"], data["refused"]
    errors = [PolicyError("batch.no-certificate", _why_not(refused)).as_json()] if refused else []
    code = (
        Exit.OK if not refused else Exit.SOME_FAILED if count or len(refused) > 1 else Exit.IDENTITY
    )
    return OperationResult(
        "batch export",
        data,
        status="ok" if not refused else "partial" if count else "error",
        errors=errors,
        exit_code=int(code),
        human=(
            None if text is None else lambda _: _out(text if text.endswith("\n") else text + "\n")
        ),
    )


def _onboard_rows(
    journal: SqliteJournal, wish: Wish, refused: list[dict[str, Any]]
) -> Iterator[list[str]]:
    for one in known_rows(journal, wish.file, any_board=True):
        found = queries.certificate_of(journal, one.mcu_id, one.record.soc if one.record else None)
        name, why = _common_name(found)
        if found is None or why is not None:
            refused.append({"mcuId": one.mcu_id, "line": one.line, "why": why})
        else:
            yield [name, wish.sub_type, "|".join(one.tags), wish.fw_types, found.pem]


def _common_name(found: CertificateRecord | None) -> tuple[str, str | None]:
    """The name that nRF Cloud knows a device by, and why there is none."""
    from cryptography import x509

    from infuse_cli.pki.chain import common_names

    if found is None:
        return "", "no certificate of it is on record here"
    names = common_names(x509.load_pem_x509_certificate(found.pem.encode()))
    if len(names) != 1:
        return "", f"its certificate has {len(names)} common names"
    if len(names[0]) > _LONGEST_ID:
        return (
            "",
            (
                f"its certificate's name has {len(names[0])} characters, and nRF Cloud takes"
                f" {_LONGEST_ID}"
            ),
        )
    return names[0], None


def _onboard_files(out: Path, rows: Iterator[list[str]]) -> tuple[list[Path], int]:
    files: list[Path] = []
    count = 0
    while page := list(islice(rows, ONBOARD_ROWS)):
        path = out if not files else out.with_name(f"{out.stem}-{len(files) + 1}{out.suffix}")
        _write(path, _csv_lines((), page))
        files.append(path)
        count += len(page)
    return files, count


def _why_not(refused: Sequence[dict[str, Any]]) -> str:
    named = "; ".join(f"mcuId {one['mcuId']}: {one['why']}" for one in refused[:5])
    return (
        f"{plural(len(refused), 'row')} cannot be onboarded:"
        f" {named}{'; …' if len(refused) > 5 else ''}"
    )
