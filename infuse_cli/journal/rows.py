"""Rows of batches: their writes, and the questions that are asked of them
(`records.rows.RowRecord`).
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, insert, select, tuple_, update

from infuse_cli import records as rec
from infuse_cli.errors import JournalError
from infuse_cli.journal import schema
from infuse_cli.journal.codec import from_json, to_json
from infuse_cli.journal.prepared import Prepared
from infuse_cli.records.rows import BEGUN, RowRecord, cloud_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Insert, Row, Update

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.journal.transaction import Transaction

_PAGE: Final = 500
_MANY: Final = 64
"""Rows that one prepared statement asks for; places that are left over ask for no row."""

_row = schema.batch_row.c
_KEY = (
    _row.organisation == bindparam("o"),
    _row.soc == bindparam("c"),
    _row.mcu_id == bindparam("m"),
)
_COLUMNS: Final = tuple(column for name, column in _row.items() if name != "at")
_GET = select(*_COLUMNS).where(*_KEY)
_GET_MANY = select(*_COLUMNS).where(
    _row.organisation == bindparam("o"),
    _row.soc == bindparam("c"),
    _row.mcu_id.in_(bindparam("m", expanding=True)),
)
_OF_CHIP = select(*_COLUMNS).where(_row.mcu_id == bindparam("m")).order_by(_row.at)
_PLACES: Final = tuple(f"m{number}" for number in range(_MANY))
_HELD = select(_row.organisation, _row.soc, _row.mcu_id, _row.state, _row.run).where(
    _row.mcu_id.in_([bindparam(name) for name in _PLACES])
)
_SET_BY_BEGIN = ("run", "line", "state", "name", "token_intent", "facts", "error", "at")
_SET_BY_END = (*_SET_BY_BEGIN, "device_id", "id", "registry_device_id")


def _new(columns: Iterable[str]) -> dict[str, Any]:
    return {name: bindparam(f"new_{name}") for name in columns}


_ADD = insert(schema.batch_row).values(_new(column.name for column in _row))
_BEGIN = update(schema.batch_row).where(*_KEY).values(_new(_SET_BY_BEGIN))
_END = update(schema.batch_row).where(*_KEY).values(_new(_SET_BY_END))

RowWrite = rec.BeginRow | rec.EndRow
Key = tuple[str, str, str]


def apply(tx: Transaction, writes: Sequence[RowWrite]) -> None:
    """Apply writes, those of different rows together in few statements: beside a pool of threads
    each one would cost a wait for its turn.
    """
    group: dict[Key, RowWrite] = {}
    for write in writes:
        if _key(write) in group:
            _together(tx, list(group.values()))
            group = {}
        group[_key(write)] = write
    _together(tx, list(group.values()))


def _together(tx: Transaction, writes: Sequence[RowWrite]) -> None:
    held = _held(tx, writes)
    changes: dict[Update | Insert, list[dict[str, Any]]] = {_ADD: [], _BEGIN: [], _END: []}
    for write in writes:
        before = _check(tx, write, held.get(_key(write)))
        begins = isinstance(write, rec.BeginRow)
        values = _values(write, tx.now)
        if before is None:
            changes[_ADD].append(values)
        else:
            changes[_BEGIN if begins else _END].append(values)
        tx.event(
            "row-begun" if begins else "row-ended",
            write,
            run=write.run,
            board=cloud_key(write.soc, write.mcu_id),
            from_=before,
            to=values["new_state"],
        )
    for statement, rows_ in changes.items():
        if rows_:
            tx.sql.add(statement, rows_)


def _held(tx: Transaction, writes: Sequence[RowWrite]) -> dict[Key, tuple[str, str]]:
    """State and run of the rows that are on record."""
    found: dict[Key, tuple[str, str]] = {}
    for start in range(0, len(writes), _MANY):
        ids = [write.mcu_id for write in writes[start : start + _MANY]]
        places = dict(zip_longest(_PLACES, ids, fillvalue=""))
        for organisation, soc, mcu_id, state, run in tx.sql.all(_HELD, places):
            found[organisation, soc, mcu_id] = (state, run)
    return found


def _check(tx: Transaction, write: RowWrite, held: tuple[str, str] | None) -> str | None:
    """The state that the row is in, None for a new one.

    Raises JournalError journal.conflict for one that a living process has begun, or that is with
    another run than was seen.
    """
    if not tx.holds(write.run):
        raise JournalError("journal.not-found", f"run {write.run} was not started by this process")
    if held is None:
        return None
    state, run = held
    if state == BEGUN and run != write.run and tx.alive(run):
        raise JournalError(
            "journal.conflict", f"the row of mcuId {write.mcu_id} is being worked on by run {run}"
        )
    if (
        isinstance(write, rec.BeginRow)
        and write.seen is not None
        and run not in {write.seen, write.run}
    ):
        raise JournalError(
            "journal.conflict", f"the row of mcuId {write.mcu_id} went through run {run} meanwhile"
        )
    return state


def _values(write: RowWrite, now: str) -> dict[str, Any]:
    """The key of a write's row, and all its columns."""
    new = {
        "organisation": write.organisation,
        "soc": write.soc,
        "mcu_id": write.mcu_id,
        "run": write.run,
        "line": write.line,
        "state": BEGUN,
        "device_id": write.device_id,
        "id": None,
        "name": write.name,
        "registry_device_id": None,
        "token_intent": write.token_intent,
        "facts": to_json(write.facts),
        "error": None,
        "at": now,
    }
    if isinstance(write, rec.EndRow):
        new |= {
            "state": write.state,
            "id": write.id,
            "registry_device_id": write.registry_device_id,
            "error": None if write.error is None else to_json(write.error),
        }
    key = {"o": write.organisation, "c": write.soc, "m": write.mcu_id}
    return key | {f"new_{name}": value for name, value in new.items()}


def _key(write: RowWrite) -> Key:
    return (write.organisation, write.soc, write.mcu_id)


def get_many(
    connection: Connection, organisation: str, soc: str, mcu_ids: Sequence[str]
) -> dict[str, RowRecord]:
    """The rows of these mcuIds that are on record, by mcuId."""
    found: dict[str, RowRecord] = {}
    for start in range(0, len(mcu_ids), _PAGE):
        rows = connection.execute(
            _GET_MANY, {"o": organisation, "c": soc, "m": list(mcu_ids[start : start + _PAGE])}
        )
        found.update((record.mcu_id, record) for record in map(_record, rows))
    return found


def get(connection: Connection, organisation: str, soc: str, mcu_id: str) -> RowRecord | None:
    """The row of a cloud key in an organisation."""
    found = Prepared(connection).first(_GET, {"o": organisation, "c": soc, "m": mcu_id})
    return None if found is None else _record(found)


def of_chip(journal: SqliteJournal, mcu_id: str) -> list[RowRecord]:
    """All rows of an mcuId, whatever the soc and the organisation; the one that was touched last
    comes last.
    """
    with journal.reading() as connection:
        return [_record(found) for found in Prepared(connection).all(_OF_CHIP, {"m": mcu_id})]


def rows(
    journal: SqliteJournal,
    *,
    run: str | None = None,
    state: str | None = None,
    organisation: str | None = None,
) -> Iterator[RowRecord]:
    """Rows that fit all that is given, in the order of their keys; read page by page, so that any
    number of them fits in memory.
    """
    wanted = ((_row.run, run), (_row.state, state), (_row.organisation, organisation))
    where = [column == value for column, value in wanted if value is not None]
    after: tuple[str, str, str] | None = None
    while True:
        with journal.reading() as connection:
            page = _page(connection, where, after)
        yield from page
        if len(page) < _PAGE:
            return
        after = (page[-1].organisation, page[-1].soc, page[-1].mcu_id)


def _page(
    connection: Connection, where: list[ColumnElement[bool]], after: tuple[str, str, str] | None
) -> list[RowRecord]:
    key = (_row.organisation, _row.soc, _row.mcu_id)
    if after is not None:
        where = [*where, tuple_(*key) > tuple_(*after)]
    statement = select(*_COLUMNS).where(*where).order_by(*key).limit(_PAGE)
    return [_record(found) for found in connection.execute(statement).all()]


def _record(found: tuple[Any, ...] | Row[Any]) -> RowRecord:
    values = dict(zip(_NAMES, found, strict=True))
    return RowRecord(
        **{**values, "facts": from_json(values["facts"]), "error": from_json(values["error"])}
    )


_NAMES: Final = tuple(column.name for column in _COLUMNS)
