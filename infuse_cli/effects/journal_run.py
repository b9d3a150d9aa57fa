"""A command's run in the journal: how it is opened, what is noted under it, how it ends."""

from __future__ import annotations

import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from infuse_cli.errors import JournalError
from infuse_cli.records import NoteRun, RunStart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from infuse_cli import ports
    from infuse_cli.config.bench import Bench
    from infuse_cli.config.model import Profile
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import Write
    from infuse_cli.records.notes import NoteKind

J = TypeVar("J", bound="ports.Journal")


@dataclass(frozen=True, slots=True)
class JournalRun(Generic[J]):
    """An open run of `journal`; `id` is its name there.

    `about` is part of the facts of each note. `totals` may be filled while the run lasts and is
    stored with its end.
    """

    journal: J
    id: str
    about: Mapping[str, Any] = field(default_factory=dict)
    totals: dict[str, Any] = field(default_factory=dict)

    def note(self, what: NoteKind, *writes: Write, **facts: Any) -> None:
        """Make a note and `writes` durable in one transaction: before an effect what is intended,
        after it what came of it.

        Facts hold digests and names, never a secret. Raises JournalError.
        """
        note = NoteRun(run=self.id, what=what, facts={**self.about, **facts})
        self.journal.commit(*writes, note)


CommandRun: TypeAlias = "JournalRun[SqliteJournal]"


def run_start(
    command: str,
    bench: Bench,
    *,
    profile: Profile | None = None,
    facts: Mapping[str, Any] | None = None,
    run: str | None = None,
) -> RunStart:
    """How a run of `command` begins on this bench; `run` is its id where the caller made one."""
    from infuse_cli.config import model
    from infuse_cli.config.bench import operator_name

    return RunStart(
        run=run or uuid.uuid4().hex,
        command=command,
        profile_name="" if profile is None else profile.name,
        profile_hash="" if profile is None else model.digest(profile),
        profile={} if profile is None else model.to_json(profile),
        operator=operator_name(bench),
        lot=bench.lot,
        facts=dict(facts or {}),
    )


@contextmanager
def journal_run(
    journal: J, start: RunStart, *, about: Mapping[str, Any] | None = None
) -> Iterator[JournalRun[J]]:
    """A run of an open journal for as long as the context lasts; it ends however that ends.

    Raises JournalError.
    """
    journal.start_run(start)
    run = JournalRun(journal, start.run, about or {})
    try:
        yield run
    except BaseException:
        # What went wrong first is what a person has to read.
        with suppress(JournalError):
            journal.end_run(run.id, run.totals)
        raise
    journal.end_run(run.id, run.totals)


@contextmanager
def command_run(
    home: Path,
    command: str,
    *,
    profile: Profile | None = None,
    facts: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    create: bool = True,
) -> Iterator[CommandRun]:
    """Open the journal of a home, and a run of `command` in it.

    The run's facts are `facts` and `about`; `about` is repeated in each note. Without `create`
    there has to be a journal. Raises JournalError, ProfileError for bench.yaml.
    """
    from infuse_cli.config.bench import load_bench
    from infuse_cli.journal.store import open_journal

    bench = load_bench(home)
    start = run_start(command, bench, profile=profile, facts={**(facts or {}), **(about or {})})
    with (
        open_journal(
            home, station=bench.station, operator=start.operator, create=create
        ) as journal,
        journal_run(journal, start, about=about) as run,
    ):
        yield run
