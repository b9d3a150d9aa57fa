"""Copies of a journal: how one stands to another, so that two chains are never made into one."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli.journal import audit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli.journal.chain import Head
    from infuse_cli.journal.store import SqliteJournal


class Relation(enum.Enum):
    """How the journal here stands to a copy."""

    SAME = "same"
    BEHIND = "behind"
    """The copy holds all that is here, and more."""
    AHEAD = "ahead"
    """All that the copy holds is here, and more."""
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True)
class Compared:
    """`station` and `seq` tell where the two part: the newest event here that the copy does not
    have.
    """

    relation: Relation
    station: str = ""
    seq: int = 0


def compare(here: SqliteJournal, copy: SqliteJournal) -> Compared:
    """Compare by the hashes of the newest events; each of the two chains has to be sound by
    itself.
    """
    ours, theirs = here.heads(), copy.heads()
    missing_there, missing_here = _missing(ours, copy), _missing(theirs, here)
    if missing_there is None:
        return Compared(Relation.SAME if missing_here is None else Relation.BEHIND)
    if missing_here is None:
        return Compared(Relation.AHEAD)
    station, head = missing_there
    return Compared(Relation.DIVERGED, station, head.seq)


def _missing(heads: Mapping[str, Head], other: SqliteJournal) -> tuple[str, Head] | None:
    """A newest event that the other journal does not hold, None where it holds all."""
    with other.reading() as connection:
        return next(
            (
                (name, head)
                for name, head in heads.items()
                if audit.hash_at(connection, name, head.seq) != head.hash
            ),
            None,
        )
