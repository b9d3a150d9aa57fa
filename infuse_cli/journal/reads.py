"""Rows as records: every SELECT that the port needs."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, bindparam, func, or_, select

from infuse_cli import records as rec
from infuse_cli.errors import JournalError
from infuse_cli.journal import schema
from infuse_cli.journal.codec import from_json, maybe_time, to_json, to_time
from infuse_cli.journal.prepared import Prepared
from infuse_cli.records.notes import NoteKind, kind_of
from infuse_cli.types import AttemptState, StepState, TokenState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Row, Table

    Alive = Callable[[str], bool]

_NOTES = (
    select(schema.event.c.facts)
    .where(schema.event.c.kind == "run-noted")
    .order_by(schema.event.c.ts, schema.event.c.seq)
)
_CHUNK: Final = 500  # bound variables in one statement
_LIVE: Final = tuple(
    state.value for state in AttemptState if state.is_open or state is AttemptState.PASSED
)


def _as_row(table: Table) -> Any:
    """What makes a row with names of what the driver gives, for `Prepared`."""
    return namedtuple(f"{table.name}_row", list(table.c.keys()))  # noqa: PYI024 - the table says its columns


_attempt, _step, _board, _event = schema.attempt.c, schema.step.c, schema.board.c, schema.event.c

_BOARD = select(_board.uuid, _board.imei, _board.mcu_id).where(_board.uuid == bindparam("b"))
_LIVE_OF_BOARD = (
    select(schema.attempt)
    .where(_attempt.board == bindparam("b"), or_(*(_attempt.state == state for state in _LIVE)))
    .order_by(_attempt.opened)
)
_ALL_OF_BOARD = (
    select(schema.attempt).where(_attempt.board == bindparam("b")).order_by(_attempt.opened)
)
_STEPS_OF = select(schema.step).where(_step.attempt == bindparam("a")).order_by(_step.at)
_attempt_row: Final[Any] = _as_row(schema.attempt)
_step_row: Final[Any] = _as_row(schema.step)
_FEW: Final = 4
_STEPS = (
    select(schema.step).where(_step.attempt.in_(bindparam("a", expanding=True))).order_by(_step.at)
)
_RUN = select(schema.run).where(schema.run.c.run == bindparam("r"))
_RUNS = select(schema.run).order_by(schema.run.c.started)
_SECRET = select(schema.secret.c.sealed).where(schema.secret.c.name == bindparam("n"))
_KEY_OWNER = select(schema.seen_key.c.board).where(schema.seen_key.c.spki_sha256 == bindparam("k"))
_REVOKED = select(schema.revocation.c.at).where(
    schema.revocation.c.serial == bindparam("n"), schema.revocation.c.issuer == bindparam("i")
)
_RESERVED = (
    select(schema.serial.c.serial, schema.serial.c.issuer)
    .where(schema.serial.c.attempt == bindparam("a"), schema.serial.c.state == "reserved")
    .order_by(schema.serial.c.serial)
)
_TOKENS: Final[dict[tuple[str, ...], Any]] = {
    given: (
        select(schema.token)
        .where(*(schema.token.c[name] == bindparam(name) for name in given))
        .order_by(schema.token.c.intended)
    )
    for given in ((), ("board",), ("name",), ("board", "name"))
}
_TOKEN_COLUMNS: Final = tuple(schema.token.c.keys())
_REVOKED_ONE = (schema.revocation.c.serial == schema.certificate.c.serial) & (
    schema.revocation.c.issuer == schema.certificate.c.issuer
)
_CERTIFICATES = select(
    schema.certificate, schema.revocation.c.at.label("revoked_at"), schema.revocation.c.reason
).outerjoin(schema.revocation, _REVOKED_ONE)
_COUNT = select(func.count()).select_from(schema.event)
_NEWEST = select(func.max(schema.chain.c.newest))
_DEVICE_OWNER = select(schema.device_owner.c.board).where(
    schema.device_owner.c.device_id == bindparam("d")
)
_PASSED = (
    select(_attempt.facts, schema.certificate.c.issuer)
    .join(schema.run, schema.run.c.run == _attempt.run)
    .outerjoin(schema.certificate, schema.certificate.c.attempt == _attempt.attempt)
    .where(schema.run.c.profile_hash == bindparam("p"), _attempt.outcome == "PASS")
    .order_by(_attempt.opened.desc())
)


def board(connection: Connection, uuid: str, alive: Alive) -> rec.BoardRecord | None:
    """A board with its open attempt and its newest PASS, None for an unknown one."""
    row = Prepared(connection).first(_BOARD, {"b": uuid})
    if row is None:
        return None
    live = [
        _attempt_row(*attempt) for attempt in Prepared(connection).all(_LIVE_OF_BOARD, {"b": uuid})
    ]
    passed = [attempt for attempt in live if attempt.state == AttemptState.PASSED.value][-1:]
    opened = [attempt for attempt in live if attempt.state != AttemptState.PASSED.value][-1:]
    records = {
        attempt.attempt: attempt for attempt in _with_steps(connection, [*opened, *passed], alive)
    }
    return rec.BoardRecord(
        board=row[0],
        imei=row[1],
        mcu_id=row[2],
        open=records[opened[0].attempt] if opened else None,
        passed=records[passed[0].attempt] if passed else None,
    )


def attempts(
    connection: Connection, alive: Alive, *where: ColumnElement[bool]
) -> list[rec.AttemptRecord]:
    """Attempts that fit all conditions, oldest first."""
    rows = connection.execute(select(schema.attempt).where(*where).order_by(_attempt.opened)).all()
    return _with_steps(connection, rows, alive)


def attempts_of(connection: Connection, board: str, alive: Alive) -> list[rec.AttemptRecord]:
    """All attempts of a board, oldest first."""
    return _with_steps(
        connection,
        [_attempt_row(*row) for row in Prepared(connection).all(_ALL_OF_BOARD, {"b": board})],
        alive,
    )


def labelled(connection: Connection, name: str, value: str) -> list[str]:
    """Boards with this metadata on record, each once, but for attempts that were superseded or
    closed.
    """
    gone = (AttemptState.SUPERSEDED.value, AttemptState.CLOSED.value)
    likely = _attempt.facts.contains(to_json(value), autoescape=True)
    rows = connection.execute(
        select(_attempt.board, _attempt.facts)
        .where(likely, _attempt.state.not_in(gone))
        .order_by(_attempt.opened)
    ).all()
    return list(
        dict.fromkeys(
            row.board
            for row in rows
            if (from_json(row.facts).get("metadata") or {}).get(name) == value
        )
    )


def one_attempt(connection: Connection, attempt: str, alive: Alive) -> rec.AttemptRecord:
    """An attempt. Raises JournalError journal.not-found."""
    found = attempts(connection, alive, _attempt.attempt == attempt)
    if not found:
        raise JournalError("journal.not-found", f"no attempt {attempt} is on record")
    return found[0]


def certificates(
    connection: Connection, *where: ColumnElement[bool]
) -> list[rec.CertificateRecord]:
    """Certificates that fit all conditions, oldest first."""
    return [
        _certificate(row)
        for row in connection.execute(
            _CERTIFICATES.where(*where).order_by(schema.certificate.c.stored)
        ).all()
    ]


def tokens(
    connection: Connection, *, board: str | None = None, name: str | None = None
) -> list[rec.TokenRecord]:
    """Tokens of a board, of a name, or all; oldest first."""
    given = {key: value for key, value in (("board", board), ("name", name)) if value is not None}
    rows = Prepared(connection).all(_TOKENS[tuple(given)], given)
    return [_token(SimpleNamespace(**dict(zip(_TOKEN_COLUMNS, row, strict=True)))) for row in rows]


def run(connection: Connection, name: str, alive: Alive) -> rec.RunRecord:
    """A run. Raises JournalError journal.not-found."""
    row = connection.execute(_RUN, {"r": name}).first()
    if row is None:
        raise JournalError("journal.not-found", f"no run {name} is on record")
    return _run(row, alive)


def runs(connection: Connection, alive: Alive) -> list[rec.RunRecord]:
    """All runs, oldest first."""
    return [_run(row, alive) for row in connection.execute(_RUNS).all()]


def events(connection: Connection, *where: ColumnElement[bool]) -> Iterator[rec.EventRecord]:
    """Events that fit all conditions, each station's in the order of its chain, read as they are
    asked for.
    """
    rows = connection.execute(
        select(schema.event).where(*where).order_by(_event.station, _event.seq)
    )
    return (_event_record(row) for row in rows)


def newest_events(connection: Connection, station: str, count: int) -> list[rec.EventRecord]:
    """The last events of a station's chain, oldest first."""
    rows = connection.execute(
        select(schema.event)
        .where(_event.station == station)
        .order_by(_event.seq.desc())
        .limit(count)
    ).all()
    return [_event_record(row) for row in reversed(rows)]


def event_count(connection: Connection) -> int:
    """How many events there are."""
    return int(connection.execute(_COUNT).scalar_one())


def secret(connection: Connection, name: str) -> bytes | None:
    """Sealed bytes by name."""
    found: bytes | None = Prepared(connection).value(_SECRET, {"n": name})
    return found


def key_owner(connection: Connection, spki_sha256: str) -> str | None:
    """The board that a public key was seen on."""
    found: str | None = Prepared(connection).value(_KEY_OWNER, {"k": spki_sha256})
    return found


def device_owner(connection: Connection, device_id: str) -> str | None:
    """The board that PASSed as a cloud device, None where no PASS that counts names it."""
    found: str | None = Prepared(connection).value(_DEVICE_OWNER, {"d": device_id})
    return found


def reserved(connection: Connection, attempt: str) -> list[tuple[str, str]]:
    """(serial, issuer) of what an attempt reserved and neither issued nor voided."""
    return [(row[0], row[1]) for row in connection.execute(_RESERVED, {"a": attempt}).all()]


def is_revoked(connection: Connection, serial: str, issuer: str) -> bool:
    """Whether a certificate was revoked, on record as a certificate or not."""
    return Prepared(connection).first(_REVOKED, {"n": serial, "i": issuer}) is not None


def newest(connection: Connection) -> str | None:
    """Time of the newest event of all stations, as text."""
    found: str | None = Prepared(connection).value(_NEWEST, {})
    return found


def passed_with(
    connection: Connection, profile_hash: str, ca: str | None, modem_firmware: str | None
) -> bool:
    """Whether an attempt PASSed with this profile, certificate issuer and modem firmware."""
    rows = connection.execute(_PASSED, {"p": profile_hash})
    return any(
        issuer == ca and from_json(facts).get("modemFirmware") == modem_firmware
        for facts, issuer in rows
    )


def noted(connection: Connection, what: Sequence[NoteKind]) -> list[tuple[NoteKind, rec.Facts]]:
    """Notes of runs of these kinds, the oldest first."""
    notes = [from_json(row.facts) for row in connection.execute(_NOTES)]
    kinds = [(kind_of(note.get("what")), note.get("facts", {})) for note in notes]
    return [(kind, facts) for kind, facts in kinds if kind is not None and kind in what]


def _with_steps(
    connection: Connection, rows: Sequence[Row[Any]], alive: Alive
) -> list[rec.AttemptRecord]:
    steps: dict[str, dict[str, rec.StepRecord]] = {row.attempt: {} for row in rows}
    names = list(steps)
    if (
        len(names) <= _FEW
    ):  # a board at work: prepared statements are many times quicker than one through the engine
        sql = Prepared(connection)
        for name in names:
            steps[name].update(
                (row.step, _step_record(row))
                for row in (_step_row(*values) for values in sql.all(_STEPS_OF, {"a": name}))
            )
        names = []
    for start in range(0, len(names), _CHUNK):
        for row in connection.execute(_STEPS, {"a": names[start : start + _CHUNK]}).all():
            steps[row.attempt][row.step] = _step_record(row)
    living = {name: alive(name) for name in {row.run for row in rows}}
    return [_attempt_record(row, steps[row.attempt], living[row.run]) for row in rows]


def _attempt_record(
    row: Row[Any], steps: dict[str, rec.StepRecord], alive: bool
) -> rec.AttemptRecord:
    return rec.AttemptRecord(
        attempt=row.attempt,
        run=row.run,
        board=row.board,
        soc=row.soc,
        slot=row.slot,
        port=row.port,
        state=AttemptState(row.state),
        plan=tuple(from_json(row.plan)),
        plan_hash=row.plan_hash,
        opened=to_time(row.opened),
        alive=alive,
        steps=steps,
        facts=from_json(row.facts),
        outcome=row.outcome,
        error=from_json(row.error),
        ended=maybe_time(row.ended),
    )


def _step_record(row: Row[Any]) -> rec.StepRecord:
    return rec.StepRecord(
        step=row.step,
        state=StepState(row.state),
        facts=from_json(row.facts),
        error=from_json(row.error),
        ms=row.ms,
        at=to_time(row.at),
        tries=row.tries,
    )


def _certificate(row: Row[Any]) -> rec.CertificateRecord:
    return rec.CertificateRecord(
        serial=row.serial,
        issuer=row.issuer,
        sha256=row.sha256,
        spki_sha256=row.spki_sha256,
        not_before=to_time(row.not_before),
        not_after=to_time(row.not_after),
        pem=row.pem,
        profile=row.profile,
        state=row.state,
        board=row.board,
        attempt=row.attempt,
        device_id=row.device_id,
        name=row.name,
        station=row.station,
        run=row.run,
        stored=to_time(row.stored),
        revoked_at=maybe_time(row.revoked_at),
        reason=row.reason,
    )


def _token(row: Any) -> rec.TokenRecord:
    return rec.TokenRecord(
        intent=row.intent,
        name=row.name,
        state=TokenState(row.state),
        board=row.board,
        attempt=row.attempt,
        token_id=row.token_id,
        registry_device_id=row.registry_device_id,
        sha256=row.sha256,
        expires_at=maybe_time(row.expires_at),
    )


def _run(row: Row[Any], alive: Alive) -> rec.RunRecord:
    start = rec.RunStart(
        run=row.run,
        command=row.command,
        profile_name=row.profile_name,
        profile_hash=row.profile_hash,
        profile=from_json(row.profile),
        operator=row.operator,
        lot=row.lot,
        simulated=row.simulated == "true",
        facts=from_json(row.facts),
    )
    return rec.RunRecord(
        start=start,
        station=row.station,
        tool_version=row.tool_version,
        started=to_time(row.started),
        ended=maybe_time(row.ended),
        alive=row.ended is None and alive(row.run),
        totals=from_json(row.totals),
    )


def _event_record(row: Row[Any]) -> rec.EventRecord:
    return rec.EventRecord(
        seq=row.seq,
        ts=to_time(row.ts),
        kind=row.kind,
        run=row.run,
        board=row.board,
        attempt=row.attempt,
        step=row.step,
        from_state=row.from_state,
        to_state=row.to_state,
        facts=from_json(row.facts),
        prev=row.prev,
        hash=row.hash,
        station=row.station,
        operator=row.operator,
        tool_version=row.tool_version,
    )
