"""Questions about registration tokens that no table answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from infuse_cli.journal import schema
from infuse_cli.journal.codec import from_json

if TYPE_CHECKING:
    from infuse_cli.journal.store import SqliteJournal


def stations(journal: SqliteJournal) -> dict[str, str]:
    """By intent the station that intended a token."""
    event = schema.event.c
    statement = select(event.station, event.facts).where(event.kind == "token-intended")
    with journal.reading() as connection:
        return {
            from_json(row.facts)["intent"]: row.station for row in connection.execute(statement)
        }
