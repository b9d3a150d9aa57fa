"""One commit under way: its time, its events, and what it knows of the attempts it touches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import bindparam, insert, select, update

from infuse_cli.errors import BoardError, JournalError
from infuse_cli.journal import chain, schema
from infuse_cli.journal.codec import to_json
from infuse_cli.journal.prepared import DuplicateError
from infuse_cli.types import AttemptState

if TYPE_CHECKING:
    from infuse_cli.journal.owner import Owners
    from infuse_cli.journal.prepared import Prepared
    from infuse_cli.records import Write

_ATTEMPT = select(schema.attempt.c.run, schema.attempt.c.board, schema.attempt.c.state).where(
    schema.attempt.c.attempt == bindparam("a")
)
_HEAD = select(schema.chain.c.seq, schema.chain.c.hash, schema.chain.c.newest).where(
    schema.chain.c.station == bindparam("s")
)
_ADD_HEAD = insert(schema.chain)
_SET_HEAD = (
    update(schema.chain)
    .where(schema.chain.c.station == bindparam("s"), schema.chain.c.seq == bindparam("was"))
    .values(seq=bindparam("n"), hash=bindparam("h"), newest=bindparam("t"))
)
_ADD_EVENTS = insert(schema.event)

# Fields that an event has columns for; the others go into its facts.
_COLUMNS: Final = frozenset(
    {"type", "attempt", "run", "board", "step", "from_state", "to_state", "state"}
)


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: station, tool version, and the newest run of this process with its operator."""

    station: str
    tool_version: str
    run: str | None = None
    operator: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt as the transaction found it."""

    run: str
    board: str
    state: AttemptState


@dataclass(slots=True)
class Transaction:
    """The state of one commit; `now` is the time that all of it bears."""

    sql: Prepared
    author: Author
    owners: Owners
    now: str
    trusted: bool = False  # whether the clock that gave `now` agreed with a server's
    attempts: dict[str, Held] = field(default_factory=dict)
    _events: list[dict[str, Any]] = field(default_factory=list)

    def alive(self, run: str) -> bool:
        """Whether the owner of a run lives."""
        return self.owners.alive(run)

    def holds(self, run: str) -> bool:
        """Whether this process is the owner of a run."""
        return self.owners.holds(run)

    def attempt(self, attempt: str) -> Held:
        """The attempt as found. Raises JournalError journal.not-found."""
        held = self.attempts.get(attempt)
        if held is None:
            row = self.sql.first(_ATTEMPT, {"a": attempt})
            if row is None:
                raise JournalError("journal.not-found", f"no attempt {attempt} is on record")
            held = self.attempts[attempt] = Held(row[0], row[1], AttemptState(row[2]))
        return held

    def fence(self, held: Held, run: str | None = None) -> None:
        """Raise BoardError board.in-use when another living owner holds the open attempt."""
        if (
            held.state.is_open
            and held.run != run
            and not self.holds(held.run)
            and self.alive(held.run)
        ):
            raise BoardError(
                "board.in-use", f"board {held.board} is being worked on by run {held.run}"
            )

    def working(self, attempt: str) -> Held:
        """An attempt whose steps may move.

        Raises JournalError journal.conflict, BoardError board.in-use.

        PASSED ones may: a later check can find that a step's effect does not hold any more.
        """
        held = self.attempt(attempt)
        if held.state in {AttemptState.CLOSED, AttemptState.SUPERSEDED}:
            raise JournalError(
                "journal.conflict", f"attempt {attempt} has ended: it is {held.state.value}"
            )
        self.fence(held)
        return held

    def of_attempt(self, attempt: str | None) -> dict[str, Any]:
        """Columns run, board and attempt for an event about something of an attempt; all None
        without one.
        """
        if attempt is None:
            return {"run": None, "board": None, "attempt": None}
        held = self.attempt(attempt)
        return {"run": held.run, "board": held.board, "attempt": attempt}

    def event(
        self,
        kind: str,
        write: Write | None,
        *,
        run: str | None = None,
        board: str | None = None,
        attempt: str | None = None,
        step: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Append an event; its facts are `facts`, or what the write holds beside the columns."""
        if facts is None:
            facts = {} if write is None else _facts(write)
        self._events.append(
            {
                "station": self.author.station,
                "ts": self.now,
                "operator": self.author.operator,
                "tool_version": self.author.tool_version,
                "kind": kind,
                "run": run or self.author.run,
                "board": board,
                "attempt": attempt,
                "step": step,
                "from_state": from_,
                "to_state": to,
                "facts": to_json(facts),
            }
        )

    def flush(self) -> None:
        """Chain the events and write them.

        Raises JournalError journal.conflict when the chain moved meanwhile.
        """
        if not self._events:
            return
        station = self.author.station
        head = self.sql.first(_HEAD, {"s": station})
        was, prev, newest = (
            (int(head[0]), str(head[1]), str(head[2])) if head else (0, chain.GENESIS, "")
        )
        for seq, row in enumerate(self._events, was + 1):
            row["seq"], row["prev"] = seq, prev
            row["hash"] = prev = chain.digest(chain.Link(**row))
        self.sql.add(_ADD_EVENTS, self._events)
        # A time that was never compared must not block whoever comes with a right one.
        self._move_head(was, len(self._events), prev, self._newest(newest))

    def _newest(self, before: str) -> str:
        return max(before, self.now) if self.trusted else before

    def _move_head(self, was: int, count: int, digest: str, newest: str) -> None:
        station = self.author.station
        if was == 0:
            self.sql.change(
                _ADD_HEAD, {"station": station, "seq": count, "hash": digest, "newest": newest}
            )
            return
        values = {"s": station, "was": was, "n": was + count, "h": digest, "t": newest}
        if self.sql.change(_SET_HEAD, values) != 1:
            raise JournalError("journal.conflict", f"another process writes as station {station}")


def add(tx: Transaction, statement: Any, row: dict[str, Any], lost: str) -> None:
    """Insert a row. Raises JournalError journal.conflict saying `lost` when its key is taken."""
    try:
        tx.sql.change(statement, row)
    except DuplicateError as error:
        raise JournalError("journal.conflict", lost) from error


def compare_and_swap(tx: Transaction, statement: Any, values: dict[str, Any], lost: str) -> None:
    """Change one row.

    Raises JournalError journal.conflict saying `lost` when it is not as the statement expects.
    """
    if tx.sql.change(statement, values) != 1:
        raise JournalError("journal.conflict", lost)


def _facts(write: Write) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(write)
    return {
        key: value
        for key, value in values.items()
        if key not in _COLUMNS and value is not None and value not in ({}, "")
    }
