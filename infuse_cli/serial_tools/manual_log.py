"""What a person does to a board by hand goes on record: a run of its own, and a note before and
after each change.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, Self

from infuse_cli import composition as wire
from infuse_cli.cli import context
from infuse_cli.errors import InfuseError
from infuse_cli.records import NoteRun, RunStart

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import Write
    from infuse_cli.records.notes import NoteKind


class Notes:
    """The run under which one command's changes to one board go on record, open for as long as the
    context lasts.

    Facts hold digests and names, never what was written. `board` is None where the
    firmware has no UUID.
    """

    def __init__(
        self,
        command: str,
        profile: Profile | None,
        port: str,
        board: str | None,
        imei: str | None = None,
    ) -> None:
        self._command: Final = command
        self._profile: Final = profile
        self._about: Final = {
            "port": port,
            "board": board,
            **({} if imei is None else {"imei": imei}),
        }
        self._run: Final = uuid.uuid4().hex
        self._journal: SqliteJournal | None = None
        self.begun = 0

    def __enter__(self) -> Self:
        from infuse_cli.config import model as prof
        from infuse_cli.config.bench import load_bench
        from infuse_cli.journal.store import open_journal

        home, named = context.current().home, self._profile
        bench = load_bench(home)
        self._journal = open_journal(home, station=bench.station)
        self._journal.start_run(
            RunStart(
                run=self._run,
                command=self._command,
                profile_name="" if named is None else named.name,
                operator=wire.operator_name(bench),
                profile_hash="" if named is None else prof.digest(named),
                profile={} if named is None else prof.to_json(named),
                lot=bench.lot,
                facts=self._about,
            )
        )
        return self

    @property
    def journal(self) -> SqliteJournal:
        """The open journal. Raises InfuseError internal.error outside the context."""
        if self._journal is None:
            raise InfuseError("internal.error", "a note was taken before its run was begun")
        return self._journal

    def note(self, what: NoteKind, *more: Write, **facts: Any) -> None:
        """Make a note durable, in one transaction with `more`. Raises JournalError."""
        self.begun += facts.get("answer") == "begun"
        self.journal.commit(
            *more, NoteRun(run=self._run, what=what, facts={**self._about, **facts})
        )

    def __exit__(self, *_: object) -> None:
        if self._journal is not None:
            try:
                self._journal.end_run(self._run, {"commands": self.begun})
            finally:
                self._journal.close()
