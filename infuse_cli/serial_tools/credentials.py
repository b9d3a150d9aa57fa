"""Credentials written to and deleted from one board by a person.

What is there already is left alone; what would be overwritten is named, and `replace` takes it
over. The functional mode that was found is stored before the modem goes offline, and restored at
the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from infuse_cli import dialect
from infuse_cli.capabilities import Capability
from infuse_cli.config.model import Serial
from infuse_cli.dialect import capabilities, operations
from infuse_cli.dialect.commands import FLIGHT_MODE
from infuse_cli.effects.credentials import Credential, CredentialStore, described
from infuse_cli.errors import InfuseError, PolicyError, ProfileError
from infuse_cli.journal.manual_changes import BEGUN
from infuse_cli.provisioning import slots
from infuse_cli.records.modes import mode_facts
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools.board import (
    BoardHistory,
    IdentifiedBoard,
    existing_journal,
    history,
    identify,
    list_entries,
    open_board,
    writable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from infuse_cli.dialect.base import Operations
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.ports import BoardLink
    from infuse_cli.records import Write
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings
    from infuse_cli.types import CredentialType, StoredCredential

Uninterrupted: TypeAlias = "Callable[[], AbstractContextManager[object]]"
"""Makes what is entered around a change, so that a first Ctrl-C lets it finish: an entry of the
modem is never left half-written by it.
"""

_OURS: Final = (
    "the line's record of this board no longer fits it: `infuse serial check` names the difference"
)


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Credentials to be put into a board; `yes` answers the question before one is overwritten."""

    credentials: tuple[Credential, ...]
    replace: bool = False
    yes: bool = False


@dataclass(frozen=True, slots=True)
class WrittenCredential:
    """A credential that the modem shows with the digest `sha256`.

    `already`: it was there before. `replaced` is the digest of what was in its place.
    """

    credential: Credential
    sha256: str | None
    already: bool = False
    replaced: str | None = None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a WriteRequest; `notes` are sentences that a person should read."""

    board: IdentifiedBoard
    credentials: tuple[WrittenCredential, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """The entries that were deleted."""

    board: IdentifiedBoard
    credentials: tuple[StoredCredential, ...]
    notes: tuple[str, ...]


def write_credentials(
    settings: Settings,
    target: BoardPort,
    request: WriteRequest,
    uninterrupted: Uninterrupted = nullcontext,
) -> WriteResult:
    """Write credentials, skip those that are there, and compare digests afterwards.

    Raises PolicyError identity.slot-occupied (nothing is written), identity.not-read-back;
    BoardError; ProfileError where the dialect cannot; Interrupted where a person says no.
    """
    with open_editor("serial creds write", settings, target, uninterrupted) as editor:
        rows = editor.write(request)
        return WriteResult(editor.board, rows, tuple(editor.notes))


def delete_credentials(
    settings: Settings,
    target: BoardPort,
    place: tuple[int, CredentialType | None],
    *,
    yes: bool,
    uninterrupted: Uninterrupted = nullcontext,
) -> DeleteResult:
    """Delete the credential of a place, with no type all under its sec_tag; see that they are gone.

    Asks first. Raises as `write_credentials`, UsageError usage.no-terminal.
    """
    sec_tag, kind = place
    with open_editor("serial creds delete", settings, target, uninterrupted) as editor:
        entries = tuple(
            entry
            for entry in writable(list_entries(editor.link, sec_tag))
            if kind is None or entry.type == kind
        )
        if entries:
            editor.delete(entries, yes=yes)
        return DeleteResult(editor.board, entries, tuple(editor.notes))


@dataclass(slots=True)
class CredentialEditor:
    """One open board whose credentials one command changes."""

    command: str
    settings: Settings
    target: BoardPort
    link: BoardLink
    ops: Operations
    board: IdentifiedBoard
    credentials: CredentialStore
    history: BoardHistory
    uninterrupted: Uninterrupted = nullcontext
    notes: list[str] = field(default_factory=list)

    @property
    def uuid(self) -> str:
        """The board."""
        return self.board.uuid

    @contextmanager
    def journal_run(self) -> Iterator[CommandRun]:
        """The run under which what is done to this board is stored. Raises JournalError."""
        from infuse_cli.effects.journal_run import command_run

        imei = self.board.identity.imei
        about = {"port": self.target.port, "board": self.uuid}
        with command_run(
            self.settings.home,
            self.command,
            profile=self.target.profile,
            about=about if imei is None else {**about, "imei": imei},
        ) as run:
            yield run

    @contextmanager
    def offline(self) -> Iterator[CommandRun]:
        """The modem offline and a run in the journal; the mode that was found is restored."""
        with self.uninterrupted(), self.journal_run() as run:
            mode = self._mode_to_restore(run)
            if mode is not None:
                run.note(NoteKind.FUNCTIONAL_MODE, **mode_facts(mode, restored=None))
            try:
                self.link.run(self.ops.same_board(self.uuid))
                self.link.run(self.ops.go_offline())
                yield run
            except BaseException:
                # What went wrong first is what a person has to read.
                with contextlib.suppress(InfuseError):
                    self._restore(run, mode)
                raise
            self._restore(run, mode)

    def require(self, needed: frozenset[Capability]) -> None:
        """Raise ProfileError profile.unsupported where the dialect lacks any, before it is used."""
        missing = needed - capabilities(self.link.dialect)
        if missing:
            what = ", ".join(sorted(capability.value for capability in missing))
            raise ProfileError(
                "profile.unsupported",
                f"dialect {self.link.dialect} cannot {what}",
                hint="Use a port of this board that takes AT commands.",
            )

    def write(
        self,
        request: WriteRequest,
        *,
        first: Sequence[Write] = (),
        about: Mapping[str, Any] | None = None,
    ) -> tuple[WrittenCredential, ...]:
        """As `write_credentials`; `first` is stored with the first intent, `about` are facts of
        each note.
        """
        self.require(frozenset({Capability.WRITE}))
        wanted = [self._with_digests(credential) for credential in request.credentials]
        present = {
            credential: self.credentials.entry(credential.sec_tag, credential.kind)
            for credential in wanted
        }
        missing = {
            credential: entry
            for credential, entry in present.items()
            if not credential.is_shown_by(entry)
        }
        self._allow([entry for entry in missing.values() if entry is not None], request)
        for credential in missing:
            self._check_length(credential)
        written: dict[Credential, WrittenCredential] = {}
        if missing:
            with self.offline() as run:
                for credential, old in missing.items():
                    written[credential] = self._write(run, credential, old, first, about or {})
                    first = ()
        return tuple(
            written.get(credential)
            or WrittenCredential(credential, None if entry is None else entry.sha256, already=True)
            for credential, entry in present.items()
        )

    def delete(self, entries: Sequence[StoredCredential], *, yes: bool) -> None:
        """Delete entries after a question. Raises as `delete_credentials`."""
        self.require(frozenset({Capability.DELETE}))
        listed = "; ".join(
            described(entry) + (", put there by this journal" if self._is_ours(entry) else "")
            for entry in entries
        )
        self.settings.confirm(f"Board {self.uuid}: delete {listed}?", yes=yes)
        self._note_ours(entries)
        with self.offline() as run:
            for entry in entries:
                facts = slots.as_fact(entry)
                name = described(entry).partition(" (")[0]
                with stored_change(run, NoteKind.CREDENTIAL_DELETED, {"command": name, **facts}):
                    self.credentials.delete_verified(entry)

    def confirm_overwrite(self, what: str, *, yes: bool) -> None:
        """Ask before something is overwritten, where somebody can be asked."""
        if self.settings.prompt is not None:
            self.settings.confirm(f"Board {self.uuid}: overwrite {what}?", yes=yes)

    def _allow(self, in_the_way: Sequence[StoredCredential], request: WriteRequest) -> None:
        if not in_the_way:
            return
        if not request.replace:
            raise PolicyError(
                "identity.slot-occupied",
                f"the modem holds the {described(in_the_way[0])}; nothing was written",
                hint="--replace deletes it first, and stores its digest in the journal.",
            )
        self.confirm_overwrite("; ".join(map(described, in_the_way)), yes=request.yes)
        self._note_ours(in_the_way)

    def _write(
        self,
        run: CommandRun,
        credential: Credential,
        old: StoredCredential | None,
        first: Sequence[Write],
        about: Mapping[str, Any],
    ) -> WrittenCredential:
        replaced = None if old is None else old.sha256
        facts = {
            "command": credential.name,
            "secTag": credential.sec_tag,
            "type": int(credential.kind),
            "sha256": sorted(credential.digests),
            "replaced": replaced,
            **about,
        }
        with stored_change(run, NoteKind.CREDENTIAL_WRITTEN, facts, first):
            shown = self.credentials.write_verified(credential)
        return WrittenCredential(credential, shown, replaced=replaced)

    def _with_digests(self, credential: Credential) -> Credential:
        digests = self.ops.digests(credential.kind, credential.content)
        return dataclasses.replace(credential, digests=credential.digests | digests)

    def _check_length(self, credential: Credential) -> None:
        """Refuse a line that the board's buffer cannot hold before anything is deleted for it."""
        from infuse_cli.dialect import commands
        from infuse_cli.dialect.base import CodecOptions

        row = dialect.dialect(self.link.dialect)
        if not row.at_lines:
            return
        profile = self.target.profile
        serial = Serial() if profile is None else profile.board.serial
        codec = row.codec(CodecOptions(serial.line_limit, serial.terminator))
        codec.encode(
            commands.cmng_write(
                credential.sec_tag, credential.kind, credential.content, secret=credential.secret
            )
        )

    def _is_ours(self, entry: StoredCredential) -> bool:
        return slots.is_ours(entry, self.history.attempts)

    def _note_ours(self, entries: Sequence[StoredCredential]) -> None:
        if _OURS not in self.notes and any(map(self._is_ours, entries)):
            self.notes.append(_OURS)

    def _mode_to_restore(self, run: CommandRun) -> int | None:
        """The mode that was found, or that before an earlier change that was stopped and left
        flight mode behind.
        """
        mode = self.board.identity.functional_mode
        pending = run.journal.modes_owed(self.uuid) if mode == FLIGHT_MODE else ()
        if not pending:
            return mode
        self.notes.append(
            f"`infuse {pending[0].command}` was stopped before it brought functional mode"
            f" {pending[0].mode} back; this command does"
        )
        return pending[0].mode

    def _restore(self, run: CommandRun, mode: int | None) -> None:
        if mode is not None:
            restore_mode(run, (self.link, self.ops, self.uuid), mode)


def restore_mode(
    run: CommandRun,
    board: tuple[BoardLink, Operations, str],
    mode: int,
    *,
    needed: bool = True,
) -> None:
    """Bring the functional mode back that a change found, and store what came of it.

    Not `needed`: the board is in another mode by now. Raises BoardError.
    """
    link, ops, uuid = board
    try:
        if needed:
            link.run(ops.same_board(uuid))
            link.run(ops.restore(mode))
    except InfuseError as error:
        run.note(
            NoteKind.FUNCTIONAL_MODE, **{**mode_facts(mode, restored=False), "answer": error.code}
        )
        raise
    run.note(NoteKind.FUNCTIONAL_MODE, **mode_facts(mode, restored=True))


@contextmanager
def stored_change(
    run: CommandRun, what: NoteKind, facts: dict[str, Any], first: Sequence[Write] = ()
) -> Iterator[dict[str, Any]]:
    """A change of a board: its intent is stored before it, its end after it.

    What is put into the value that this gives is stored with a good end.
    """
    run.totals["commands"] = run.totals.get("commands", 0) + 1
    run.note(what, *first, **facts, answer=BEGUN)
    found: dict[str, Any] = {}
    try:
        yield found
    except InfuseError as error:
        run.note(what, **facts, answer=error.code)
        raise
    run.note(what, **facts, **found, answer="OK")


@contextmanager
def open_editor(
    command: str,
    settings: Settings,
    target: BoardPort,
    uninterrupted: Uninterrupted = nullcontext,
) -> Iterator[CredentialEditor]:
    """A board that is to be changed, identified. Raises BoardError serial.*."""
    with open_board(target) as link:
        board = identify(settings, link, None)
        with existing_journal(settings.home) as journal:
            known = history(journal, board)
        serial = Serial() if target.profile is None else target.profile.board.serial
        ops = operations(link.dialect, credential_buffer=serial.credential_buffer)
        credentials = CredentialStore(link, ops, board.uuid)
        yield CredentialEditor(
            command, settings, target, link, ops, board, credentials, known, uninterrupted
        )
