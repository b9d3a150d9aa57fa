"""Whether other runs of this bench are at work: what changes the whole journal waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infuse_cli.errors import JournalError

if TYPE_CHECKING:
    from infuse_cli.journal.store import SqliteJournal


def living_runs(journal: SqliteJournal) -> list[str]:
    """Runs at work, other than those of this process's own keeping."""
    return [
        run.start.run for run in journal.runs() if run.alive and not journal.holds(run.start.run)
    ]


def require_alone(journal: SqliteJournal) -> None:
    """Raise JournalError journal.conflict where a run is under way here."""
    living = living_runs(journal)
    if living:
        raise JournalError(
            "journal.conflict",
            f"run {living[0]} is under way here",
            hint="Let it finish, then run this again.",
        )
