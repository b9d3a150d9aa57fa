"""Rows of batches: their writes, and the questions that are asked of them (contract of `rows.RowRecord`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, insert, or_, select, update

from infuse_cli import records as rec
from infuse_cli.errors import JournalError
from infuse_cli.journal import schema
from infuse_cli.journal.codec import from_json, to_json
from infuse_cli.journal.prepared import Prepared
from infuse_cli.rows import BEGUN, RowRecord, cloud_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import ColumnElement, Connection, Row

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.journal.transaction import Transaction

_PAGE: Final = 500

_row = schema.batch_row.c
_KEY = (_row.organisation == bindparam("o"), _row.soc == bindparam("c"), _row.mcu_id == bindparam("m"))
_COLUMNS: Final = tuple(column for name, column in _row.items() if name != "at")
_ONE = select(*_COLUMNS).where(*_KEY)
_OF_CHIP = select(*_COLUMNS).where(_row.mcu_id == bindparam("m")).order_by(_row.at)
_HELD = select(_row.state, _row.run).where(*_KEY)
_ADD = insert(schema.batch_row)
_BEGIN = update(schema.batch_row).where(*_KEY).values(
    run=bindparam("r"), line=bindparam("l"), state=BEGUN, name=bindparam("n"), token_intent=bindparam("i"), facts=bindparam("f"),
    error=None, at=bindparam("t"))
_END = update(schema.batch_row).where(*_KEY).values(
    run=bindparam("r"), line=bindparam("l"), state=bindparam("s"), device_id=bindparam("d"), id=bindparam("u"), name=bindparam("n"),
    registry_device_id=bindparam("g"), token_intent=bindparam("i"), facts=bindparam("f"), error=bindparam("e"), at=bindparam("t"))


def _begin(tx: Transaction, write: rec.BeginRow) -> None:
    held = _taken(tx, write)
    if held is None:
        tx.sql.change(_ADD, _fresh(tx, write, BEGUN))
    else:
        tx.sql.change(_BEGIN, {
            **_key(write), "r": write.run, "l": write.line, "n": write.name, "i": write.token_intent, "f": to_json(write.facts), "t": tx.now})
    tx.event("row-begun", write, run=write.run, board=cloud_key(write.soc, write.mcu_id), from_=held, to=BEGUN)


def _end(tx: Transaction, write: rec.EndRow) -> None:
    held = _taken(tx, write)
    error = None if write.error is None else to_json(write.error)
    if held is None:
        tx.sql.change(_ADD, {**_fresh(tx, write, write.state), "id": write.id, "registry_device_id": write.registry_device_id, "error": error})
    else:
        tx.sql.change(_END, {
            **_key(write), "r": write.run, "l": write.line, "s": write.state, "d": write.device_id, "u": write.id, "n": write.name,
            "g": write.registry_device_id, "i": write.token_intent, "f": to_json(write.facts), "e": error, "t": tx.now})
    tx.event("row-ended", write, run=write.run, board=cloud_key(write.soc, write.mcu_id), from_=held, to=write.state)


def _taken(tx: Transaction, write: rec.BeginRow | rec.EndRow) -> str | None:
    """The state that the row is in, None for a new one. Raises JournalError journal.raced for one that a living process has begun."""
    if not tx.holds(write.run):
        raise JournalError("journal.not-found", f"run {write.run} was not started by this process")
    held = tx.sql.first(_HELD, _key(write))
    if held is None:
        return None
    state, run = held
    if state == BEGUN and run != write.run and tx.alive(run):
        raise JournalError("journal.raced", f"the row of mcuId {write.mcu_id} is being worked on by run {run}")
    return str(state)


def _key(write: rec.BeginRow | rec.EndRow) -> dict[str, Any]:
    return {"o": write.organisation, "c": write.soc, "m": write.mcu_id}


def _fresh(tx: Transaction, write: rec.BeginRow | rec.EndRow, state: str) -> dict[str, Any]:
    return {
        "organisation": write.organisation, "soc": write.soc, "mcu_id": write.mcu_id, "run": write.run, "line": write.line, "state": state,
        "device_id": write.device_id, "id": None, "name": write.name, "registry_device_id": None, "token_intent": write.token_intent,
        "facts": to_json(write.facts), "error": None, "at": tx.now,
    }


APPLY: Final[dict[type[rec.Write], Callable[[Transaction, Any], None]]] = {rec.BeginRow: _begin, rec.EndRow: _end}


def one(connection: Connection, organisation: str, soc: str, mcu_id: str) -> RowRecord | None:
    """The row of a cloud key in an organisation."""
    found = Prepared(connection).first(_ONE, {"o": organisation, "c": soc, "m": mcu_id})
    return None if found is None else _record(found)


def of_chip(journal: SqliteJournal, mcu_id: str) -> list[RowRecord]:
    """All rows of an mcuId, whatever the soc and the organisation; the one that was touched last comes last."""
    with journal.reading() as connection:
        return [_record(found) for found in Prepared(connection).all(_OF_CHIP, {"m": mcu_id})]


def rows(journal: SqliteJournal, *, run: str | None = None, state: str | None = None, organisation: str | None = None) -> Iterator[RowRecord]:
    """Rows that fit all that is given, in the order of their keys; read page by page, so that any number of them fits in memory."""
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


def _page(connection: Connection, where: list[ColumnElement[bool]], after: tuple[str, str, str] | None) -> list[RowRecord]:
    key = (_row.organisation, _row.soc, _row.mcu_id)
    begin = [] if after is None else [or_(
        key[0] > after[0], and_(key[0] == after[0], key[1] > after[1]), and_(key[0] == after[0], key[1] == after[1], key[2] > after[2]))]
    statement = select(*_COLUMNS).where(*where, *begin).order_by(*key).limit(_PAGE)
    return [_record(found) for found in connection.execute(statement).all()]


def _record(found: tuple[Any, ...] | Row[Any]) -> RowRecord:
    values = dict(zip(_NAMES, found, strict=True))
    return RowRecord(**{**values, "facts": from_json(values["facts"]), "error": from_json(values["error"])})


_NAMES: Final = tuple(column.name for column in _COLUMNS)
