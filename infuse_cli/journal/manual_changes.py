"""What people changed on boards with `infuse serial`, read from the journal's notes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from infuse_cli.records.notes import MANUAL_CHANGES, NoteKind, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import EventRecord

Place: TypeAlias = tuple[int, int]
"""sec_tag and credential type."""

BEGUN: Final = "begun"
"""As `answer` of a note: the change was intended, and its end is in no note yet."""


@dataclass(frozen=True, slots=True)
class ManualChange:
    """A change of a board; `answer` is OK, a code of `errors.CODES`, or BEGUN: it never ended."""

    when: datetime
    operator: str | None
    run: str | None
    what: NoteKind
    command: str | None
    answer: str | None

    def as_json(self) -> dict[str, Any]:
        """The change as JSON values."""
        return dataclasses.asdict(self)

    def ends(self, before: ManualChange) -> bool:
        """Whether this is the end of a change that was begun."""
        same = (self.run, self.what, self.command) == (before.run, before.what, before.command)
        return same and before.answer == BEGUN


def changes(events: Iterable[EventRecord]) -> tuple[ManualChange, ...]:
    """The changes that a board's events tell of, oldest first."""
    rows: list[ManualChange] = []
    for event, what, facts in _notes(events):
        row = ManualChange(
            event.ts,
            event.operator,
            event.run,
            what,
            facts.get("command"),
            facts.get("answer"),
        )
        if rows and row.ends(rows[-1]):
            rows[-1] = dataclasses.replace(row, when=rows[-1].when)
        else:
            rows.append(row)
    return tuple(rows)


def digests(events: Iterable[EventRecord]) -> dict[Place, frozenset[str]]:
    """For each place the digests under which the modem may show what a person put there last."""
    held: dict[Place, frozenset[str]] = {}
    for _, what, facts in _notes(events):
        if facts.get("answer") != "OK" or "secTag" not in facts or "type" not in facts:
            continue
        shown = facts.get("sha256") or []
        if what is NoteKind.CREDENTIAL_DELETED:
            shown = []
        elif isinstance(shown, str):
            shown = [shown]
        held[int(facts["secTag"]), int(facts["type"])] = frozenset(map(str, shown))
    return held


def made_key(journal: SqliteJournal, spki_sha256: str) -> bool:
    """Whether `infuse serial csr` made a key here, and its CSR passed every check."""
    return any(
        facts.get("publicKeySha256") == spki_sha256 and facts.get("answer") == "OK"
        for _, facts in journal.noted(NoteKind.CSR_VETTED)
    )


def _notes(
    events: Iterable[EventRecord],
) -> Iterator[tuple[EventRecord, NoteKind, Mapping[str, Any]]]:
    for event in events:
        kind = kind_of(event.facts.get("what"))
        if event.kind == "run-noted" and kind in MANUAL_CHANGES:
            yield event, kind, event.facts.get("facts") or {}
