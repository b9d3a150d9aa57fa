"""Ending a board's open attempt for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infuse_cli.errors import JournalError
from infuse_cli.records import EndAttempt
from infuse_cli.types import AttemptState

if TYPE_CHECKING:
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import AttemptRecord


def close_attempt(journal: SqliteJournal, board: str, reason: str) -> AttemptRecord:
    """End the open attempt of a board; the attempt as it was before.

    Nothing that was done is undone. Raises JournalError journal.not-found where none is open.
    """
    found = journal.board(board)
    if found is None or found.open is None:
        raise JournalError("journal.not-found", f"board {board} has no open attempt to close")
    journal.commit(
        EndAttempt(
            attempt=found.open.attempt,
            state=AttemptState.CLOSED,
            facts={"closed": {"reason": reason}},
        )
    )
    return found.open
