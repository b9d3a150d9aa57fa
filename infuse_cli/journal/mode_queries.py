"""Which boards a change by hand left in flight mode."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import or_, select

from infuse_cli.journal import schema
from infuse_cli.journal.codec import from_json
from infuse_cli.records.modes import RESTORED, OwedMode
from infuse_cli.records.notes import NoteKind, kind_of, texts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

_FLIGHT_MODE: Final = 4
_SETS_MODE: Final = re.compile(r"AT\+CFUN=\d.*", re.IGNORECASE | re.DOTALL)
_COMMANDS: Final = frozenset({NoteKind.COMMAND_SENT, NoteKind.LINE_TYPED})
_event, _run = schema.event.c, schema.run.c
_NOTES = (
    select(_event.board, _event.run, _event.facts, _run.command)
    .join(schema.run, _run.run == _event.run)
    .where(
        _event.kind == "run-noted",
        _event.board.is_not(None),
        or_(
            *(_event.facts.contains(f'"{text}"') for text in texts_of(NoteKind.FUNCTIONAL_MODE)),
            _event.facts.icontains("AT+CFUN="),
        ),
    )
    .order_by(_event.ts, _event.seq)
)


def owed(connection: Connection, board: str | None, alive: Callable[[str], bool]) -> list[OwedMode]:
    """What is still to be brought back on a board, or on all; not what a process that lives has in
    hand.

    A person who sets a mode afterwards wants that one: then nothing is owed.
    """
    found: dict[str, OwedMode] = {}
    for row in connection.execute(_NOTES if board is None else _NOTES.where(_event.board == board)):
        told = from_json(row.facts)
        kind, facts = kind_of(told.get("what")), told.get("facts", {})
        if (
            kind is NoteKind.FUNCTIONAL_MODE
            and facts.get("answer") != RESTORED
            and facts.get("functionalMode") not in {None, _FLIGHT_MODE}
        ):
            found[row.board] = OwedMode(
                board=row.board,
                port=str(facts.get("port", "")),
                mode=facts["functionalMode"],
                run=row.run,
                command=row.command,
            )
        elif kind is NoteKind.FUNCTIONAL_MODE or (kind in _COMMANDS and _sets_mode(facts)):
            found.pop(row.board, None)
    return [one for one in found.values() if not alive(one.run)]


def _sets_mode(facts: dict[str, Any]) -> bool:
    return _SETS_MODE.fullmatch(str(facts.get("command", ""))) is not None
