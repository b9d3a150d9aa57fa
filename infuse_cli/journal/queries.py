"""Questions that people ask of the journal: which board is this, how did it go, everything
as rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import or_, select

from infuse_cli.errors import CODES, JournalError, current_code
from infuse_cli.journal import reads, schema
from infuse_cli.journal.codec import from_json, to_json, to_time
from infuse_cli.records import BoardRecord
from infuse_cli.records.notes import MANUAL_CHANGES, NoteKind, kind_of
from infuse_cli.types import AttemptState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Row

    from infuse_cli import records as rec
    from infuse_cli.journal.store import SqliteJournal

By = Literal["run", "day", "profile"]

_SHORTEST_PART: Final = 4
_LONGEST: Final = 1024
"""No name on record is longer, and SQLite refuses patterns beyond some size."""

_OTHERS: Final = frozenset({"replaces", "retirement", "infuseReplaces", "infuseReplacedBy"})
"""Keys of facts and metadata under which another board is named: the one before, or the one after.
"""

_ID_KEYS: Final = frozenset(
    {"deviceid", "registrydevice", "registrydeviceid", "iccid", "imei", "mcuid", "uuid"}
)
_board, _attempt, _step, _event = schema.board.c, schema.attempt.c, schema.step.c, schema.event.c
_certificate, _token = schema.certificate.c, schema.token.c


@dataclass(frozen=True, slots=True)
class End:
    """One time that a board came to an end in a run: what it ended with, at which step, with which
    code.
    """

    ts: datetime
    run: str
    profile: str
    board: str
    outcome: str
    step: str | None
    code: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """How boards went.

    All counts are boards, not attempts; `steps` and `codes` are most frequent first.

    `yield_` is the share of PASS among the boards whose newest result is not ABORTED,
    `first_pass_yield` the share of those that PASSed the first time that they were tried; None
    without any such board.
    """

    group: str
    boards: int
    outcomes: dict[str, int]
    yield_: float | None
    first_pass_yield: float | None
    steps: list[tuple[str, int]] = field(default_factory=list)
    codes: list[tuple[str, int]] = field(default_factory=list)


def find_boards(journal: SqliteJournal, text: str) -> list[rec.BoardRecord]:
    """Boards that a text names.

    It is the whole of a UUID, IMEI, mcuId, ICCID, device id of either cloud, certificate serial or
    SHA-256, token name, attempt or run id, or metadata value such as the serial number. If it is
    none of these, it may be the beginning or the end (4 characters or more) of a UUID, attempt or
    run id, or the end of an IMEI, whose beginning says the model. Upper and lower case are alike.
    """
    wanted = text.strip()
    if not wanted or len(wanted) > _LONGEST:
        return []
    with journal.reading() as connection:
        uuids = (
            _exactly(connection, wanted)
            or _part(connection, wanted)
            or _only_noted(connection, wanted)
        )
        return [
            reads.board(connection, uuid, journal.alive) or BoardRecord(board=uuid)
            for uuid in sorted(uuids)
        ]


def _exactly(connection: Connection, text: str) -> set[str]:
    lower = text.lower()
    serial = lower.replace(":", "")
    statements = (
        select(_board.uuid).where(
            or_(
                _board.uuid == lower,
                _board.uuid == text,
                _board.imei == text,
                _board.mcu_id == lower,
            )
        ),
        select(_attempt.board).where(or_(_attempt.attempt == text, _attempt.run == text)),
        select(_certificate.board).where(
            or_(
                _certificate.serial.in_({serial, serial.lstrip("0"), f"0{serial}"}),
                _certificate.sha256 == serial,
                _certificate.device_id == lower,
            )
        ),
        select(_token.board).where(
            or_(_token.registry_device_id == text, _token.name == text, _token.intent == text)
        ),
    )
    found = {row[0] for statement in statements for row in connection.execute(statement).all()}
    return {uuid for uuid in found if uuid is not None} | _by_fact(connection, text)


def _by_fact(connection: Connection, text: str) -> set[str]:
    quoted = to_json(text)
    rows = [
        *connection.execute(
            select(_attempt.board, _attempt.facts).where(
                _attempt.facts.icontains(quoted, autoescape=True)
            )
        ).all(),
        *connection.execute(
            select(_attempt.board, _step.facts)
            .join(schema.attempt, _attempt.attempt == _step.attempt)
            .where(_step.facts.icontains(quoted, autoescape=True))
        ).all(),
    ]
    return {board for board, facts in rows if text.casefold() in _ids(from_json(facts))}


def _ids(value: Any, *, every: bool = False) -> Iterator[str]:
    """Values under keys that name a board: ids, and all that is in metadata, but not what names
    another one.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _OTHERS:
                continue
            named = every or key.lower().replace("_", "") in _ID_KEYS
            if isinstance(inner, str):
                if named:
                    yield inner.casefold()
            else:
                yield from _ids(inner, every=key == "metadata")


def _part(connection: Connection, text: str) -> set[str]:
    if len(text) < _SHORTEST_PART:
        return set()
    statements = (
        select(_board.uuid).where(
            or_(_starts(text, _board.uuid), _ends(text, _board.uuid, _board.imei))
        ),
        select(_attempt.board).where(
            or_(
                _starts(text, _attempt.attempt, _attempt.run),
                _ends(text, _attempt.attempt, _attempt.run),
            )
        ),
    )
    return {row[0] for statement in statements for row in connection.execute(statement).all()}


def _only_noted(connection: Connection, text: str) -> set[str]:
    """Boards that only notes name: what was done to them was done by hand, and no run of the line
    knows them.
    """
    column = _event.board
    fits = (
        column == text.lower()
        if len(text) < _SHORTEST_PART
        else or_(column == text.lower(), _starts(text, column), _ends(text, column))
    )
    by_imei = (
        (_event.kind == "run-noted")
        & column.is_not(None)
        & _event.facts.contains(f'"imei":{to_json(text)}', autoescape=True)
    )
    return {
        row[0]
        for row in connection.execute(select(column).distinct().where(or_(fits, by_imei))).all()
        if row[0] is not None
    }


def _starts(text: str, *columns: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(*(column.istartswith(text, autoescape=True) for column in columns))


def _ends(text: str, *columns: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(*(column.iendswith(text, autoescape=True) for column in columns))


def find_run(journal: SqliteJournal, text: str) -> str:
    """Id of the one run that a text names or begins. Raises JournalError journal.not-found."""
    runs = schema.run.c
    if len(text) > _LONGEST:
        raise JournalError("journal.not-found", f"no run's id has {len(text)} characters")
    statement = select(runs.run).where(_starts(text.strip(), runs.run)).order_by(runs.started)
    with journal.reading() as connection:
        found = [str(row[0]) for row in connection.execute(statement).all()]
    if len(found) != 1 and text not in found:
        raise JournalError(
            "journal.not-found", f"{len(found) or 'no'} runs on record begin with {text!r}"
        )
    return text if text in found else found[0]


def summaries(
    journal: SqliteJournal, *, by: By = "run", run: str | None = None, day: str | None = None
) -> list[Summary]:
    """How boards went, one summary a group, oldest first.

    `day` is YYYY-MM-DD in local time, as groups by day are.
    """
    groups: dict[str, list[End]] = {}
    for end in ends(journal):
        if (run is None or end.run == run) and (day is None or _day(end) == day):
            groups.setdefault(_group(end, by), []).append(end)
    return [summary(name, found) for name, found in groups.items()]


def summary(group: str, found: Iterable[End]) -> Summary:
    """Count ends that are in order of time."""
    first: dict[str, End] = {}
    last: dict[str, End] = {}
    steps: set[tuple[str, str]] = set()
    codes: set[tuple[str, str]] = set()
    for end in found:
        first.setdefault(end.board, end)
        last[end.board] = end
        if end.step:
            steps.add((end.board, end.step))
        if end.code:
            codes.add((end.board, end.code))
    outcomes = Counter(end.outcome for end in last.values())
    judged = [board for board, end in last.items() if end.outcome != "ABORTED"]
    return Summary(
        group=group,
        boards=len(last),
        outcomes=dict(outcomes),
        yield_=_share(outcomes["PASS"], judged),
        first_pass_yield=_share(sum(first[board].outcome == "PASS" for board in judged), judged),
        steps=Counter(step for _, step in sorted(steps)).most_common(),
        codes=Counter(code for _, code in sorted(codes)).most_common(),
    )


def ends(journal: SqliteJournal) -> list[End]:
    """Every end of a board, refusals before an attempt included, in order of time."""
    runs = schema.run.c
    statement = (
        select(schema.event, runs.profile_name)
        .join(schema.run, runs.run == _event.run)
        .where(_event.kind.in_(("attempt-ended", "run-noted")))
        .order_by(_event.ts, _event.seq)
    )
    with journal.reading() as connection:
        found = [_end(row) for row in connection.execute(statement)]
    return [end for end in found if end is not None]


def _end(row: Row[Any]) -> End | None:
    told = from_json(row.facts)
    if row.kind == "attempt-ended":
        return _end_of_attempt(row, told)
    if kind_of(told.get("what")) is not NoteKind.BOARD_REFUSED:
        return None
    facts = told.get("facts", {})
    error = facts.get("error") or {}
    code = current_code(error.get("code") or "")
    if code not in CODES or not facts.get("board"):
        return None
    return End(
        to_time(row.ts),
        row.run,
        row.profile_name,
        facts["board"],
        CODES[code].outcome.value,
        "identify",
        code,
    )


def _end_of_attempt(row: Row[Any], told: dict[str, Any]) -> End | None:
    outcome = told.get("outcome")
    if outcome is None:
        return None  # closed or superseded later on: how it went was told before
    passed = outcome == "PASS"
    error = told.get("error") or {}
    step = None if passed else told.get("facts", {}).get("failedStep")
    return End(
        to_time(row.ts),
        row.run,
        row.profile_name,
        row.board,
        outcome,
        step,
        None if passed else error.get("code"),
    )


def export_rows(journal: SqliteJournal) -> list[dict[str, Any]]:
    """One row a board with its newest attempt: identity, ids, certificate, result, who, when,
    metadata (`metadata.KEY`).
    """
    with journal.reading() as connection:
        boards = {row.uuid: row for row in connection.execute(select(schema.board)).all()}
        newest = {
            attempt.board: attempt for attempt in reads.attempts(connection, lambda _run: False)
        }
        runs = {run.start.run: run for run in reads.runs(connection, lambda _run: False)}
        certificates = {
            certificate.attempt: certificate for certificate in reads.certificates(connection)
        }
    return [
        _row(boards[uuid], attempt, runs.get(attempt.run), certificates.get(attempt.attempt))
        for uuid, attempt in newest.items()
    ]


def newest_attempts(
    journal: SqliteJournal, *, only_open: bool = False, run: str | None = None
) -> list[rec.AttemptRecord]:
    """The newest attempt of each board, the board that was begun last comes last."""
    where = [] if run is None else [_attempt.run == run]
    with journal.reading() as connection:
        found = reads.attempts(connection, journal.alive, *where)
    newest: dict[str, rec.AttemptRecord] = {}
    for attempt in found:
        newest.pop(attempt.board, None)
        newest[attempt.board] = attempt
    return [attempt for attempt in newest.values() if attempt.state.is_open or not only_open]


def only_manual(journal: SqliteJournal) -> list[tuple[str, datetime, str | None]]:
    """Boards that were changed by hand and never begun by a run: UUID, time of the first change,
    IMEI; in order of time.
    """
    statement = (
        select(_event.board, _event.ts, _event.facts)
        .where(
            _event.kind == "run-noted",
            _event.board.is_not(None),
            _event.board.not_in(select(_attempt.board)),
        )
        .order_by(_event.ts, _event.seq)
    )
    found: dict[str, tuple[str, datetime, str | None]] = {}
    with journal.reading() as connection:
        for row in connection.execute(statement):
            told = from_json(row.facts)
            if kind_of(told.get("what")) in MANUAL_CHANGES:
                found.setdefault(
                    row.board, (row.board, to_time(row.ts), told.get("facts", {}).get("imei"))
                )
    return list(found.values())


def imeis(journal: SqliteJournal) -> dict[str, str | None]:
    """The IMEI of each board on record, by its UUID."""
    with journal.reading() as connection:
        return {
            row.uuid: row.imei for row in connection.execute(select(_board.uuid, _board.imei)).all()
        }


def passes(journal: SqliteJournal, since: datetime | None = None) -> list[rec.AttemptRecord]:
    """The newest PASS of each board that was neither superseded nor closed after it, oldest
    first.
    """
    gone = (AttemptState.CLOSED.value, AttemptState.SUPERSEDED.value)
    with journal.reading() as connection:
        found = reads.attempts(
            connection, journal.alive, _attempt.outcome == "PASS", _attempt.state.not_in(gone)
        )
    newest = {attempt.board: attempt for attempt in found}
    return [
        attempt
        for attempt in newest.values()
        if since is None or (attempt.ended or attempt.opened) >= since
    ]


def certificate_of(
    journal: SqliteJournal, mcu_id: str, soc: str | None = None
) -> rec.CertificateRecord | None:
    """The newest certificate in force of the board with this mcuId, whatever the soc where none is
    named.
    """
    where = [
        _board.mcu_id == mcu_id,
        _certificate.state == "issued",
        *([] if soc is None else [_board.soc == soc]),
    ]
    boards = (
        select(_certificate.serial)
        .join(schema.board, _board.uuid == _certificate.board)
        .where(*where)
    )
    with journal.reading() as connection:
        found = reads.certificates(
            connection, _certificate.state == "issued", _certificate.serial.in_(boards)
        )
    return found[-1] if found else None


def facts_of(attempt: rec.AttemptRecord) -> rec.Facts:
    """All facts of an attempt: those of its steps in order, then its own."""
    merged: rec.Facts = {}
    for step in attempt.steps.values():
        merged.update(step.facts)
    return {**merged, **attempt.facts}


def device_ids(facts: rec.Facts) -> tuple[str | None, str | None]:
    """The cloud device's id and the registry device's."""
    device, registry = (
        facts.get("device"),
        facts.get("registryDeviceId") or facts.get("registryDevice"),
    )
    cloud = facts.get("deviceId") or (device.get("deviceId") if isinstance(device, dict) else None)
    return cloud, registry if isinstance(registry, str) else None


def _row(
    board: Row[Any],
    attempt: rec.AttemptRecord,
    run: rec.RunRecord | None,
    certificate: rec.CertificateRecord | None,
) -> dict[str, Any]:
    facts = facts_of(attempt)
    cloud, registry = device_ids(facts)
    passed = attempt.outcome == "PASS"
    metadata = facts.get("metadata")
    return {
        "board": board.uuid,
        "imei": board.imei,
        "mcuId": board.mcu_id,
        "soc": attempt.soc,
        "deviceId": cloud,
        "registryDeviceId": registry,
        "state": attempt.state.value,
        "result": attempt.outcome,
        "failedStep": None if passed else facts.get("failedStep"),
        "errorCode": (attempt.error or {}).get("code"),
        "certificateSerial": certificate.serial if certificate else None,
        "certificateSha256": certificate.sha256 if certificate else None,
        "model": facts.get("model"),
        "modemFirmware": facts.get("modemFirmware"),
        "iccid": facts.get("iccid"),
        "run": attempt.run,
        "attempt": attempt.attempt,
        "slot": attempt.slot,
        "port": attempt.port,
        "profile": run.start.profile_name if run else None,
        "station": run.station if run else None,
        "operator": run.start.operator if run else None,
        "lot": run.start.lot if run else None,
        "opened": attempt.opened,
        "ended": attempt.ended,
        **{f"metadata.{key}": value for key, value in sorted((metadata or {}).items())},
    }


def _share(part: int, whole: list[str]) -> float | None:
    return part / len(whole) if whole else None


def _day(end: End) -> str:
    return end.ts.astimezone().date().isoformat()


def _group(end: End, by: By) -> str:
    match by:
        case "run":
            return end.run
        case "day":
            return _day(end)
        case "profile":
            return end.profile
