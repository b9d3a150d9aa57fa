"""Credentials written and deleted by a person: on record before the first byte, compared
afterwards.

What is there already is left alone; what would be overwritten is named, and `--replace` takes it
over. The functional mode that was found is on record before the modem goes offline, and is restored
at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.capabilities import Can
from infuse_cli.cli import context
from infuse_cli.config.model import Serial
from infuse_cli.dialect import capabilities, operations
from infuse_cli.dialect.commands import FLIGHT_MODE
from infuse_cli.errors import BoardError, PolicyError, ProfileError
from infuse_cli.provisioning import slots
from infuse_cli.provisioning.steps.expect import kind_name
from infuse_cli.records.modes import mode_facts
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools import board as serial_board
from infuse_cli.serial_tools.manual_log import Notes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from infuse_cli.config.model import Profile
    from infuse_cli.dialect.base import Operations
    from infuse_cli.ports import Board
    from infuse_cli.records import AttemptRecord, Write
    from infuse_cli.types import CredentialType, StoredCredential

_OURS: Final = (
    "the line's record of this board no longer fits it: `infuse serial check` names the difference"
)


@dataclass(frozen=True, slots=True)
class Item:
    """A credential to be written: `content` as it stands between the quotes, `digests` that the
    modem may show for it beside the dialect's.
    """

    kind: CredentialType
    content: str = field(repr=False)
    digests: frozenset[str] = frozenset()
    secret: bool = False


@dataclass(slots=True)
class Hand:
    """One open board, what it said it is, and what this command did to it."""

    command: str
    port: str
    profile: Profile | None
    link: Board
    ops: Operations
    found: serial_board.Found
    history: Sequence[AttemptRecord] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def uuid(self) -> str:
        """The board."""
        return self.found.identity.uuid

    def record(self) -> Notes:
        """The run under which what is done to this board goes on record."""
        return Notes(self.command, self.profile, self.port, self.uuid, self.found.identity.imei)

    def needs(self, can: Can) -> None:
        """Raise ProfileError profile.unsupported where the board's dialect does not offer it:
        nothing was sent for it yet.
        """
        if can not in capabilities(self.link.dialect):
            raise ProfileError(
                "profile.unsupported",
                f"dialect {self.link.dialect} cannot {can.value}",
                hint="Use a port of this board that takes AT commands.",
            )

    def entry(self, sec_tag: int, kind: int) -> StoredCredential | None:
        """What the modem holds in a place right now."""
        return next(
            (row for row in serial_board.stored(self.link, sec_tag) if row.type == kind), None
        )

    def as_json(self, **more: Any) -> dict[str, Any]:
        """The board and what was done, as JSON values."""
        return {
            "port": self.port,
            "dialect": self.link.dialect,
            "board": self.found.as_json()["board"],
            **more,
            "notes": self.notes,
        }


@contextmanager
def opened(command: str, port: str, profile: Profile | None) -> Iterator[Hand]:
    """A board that is to be changed, identified. Raises BoardError serial.*."""
    with serial_board.opened(port, profile) as link:
        found = serial_board.identify(link, None)
        with serial_board.record() as journal:
            history = serial_board.history(journal, found.identity.uuid)
        buffer = (Serial() if profile is None else profile.board.serial).credential_buffer
        yield Hand(
            command,
            port,
            profile,
            link,
            operations(link.dialect, credential_buffer=buffer),
            found,
            history,
        )


@contextmanager
def changing(hand: Hand) -> Iterator[Notes]:
    """The modem offline and a run on record, for as long as this lasts; the mode that was found
    comes back at the end.

    The first Ctrl-C lets the change in hand finish: a slot is never left half-written by it.
    """
    from infuse_cli.cli.signals import StopOnSignals
    from infuse_cli.clock import RunClock

    with StopOnSignals(RunClock()), hand.record() as notes:
        mode = _mode_to_restore(hand, notes)
        if mode is not None:
            notes.note(NoteKind.FUNCTIONAL_MODE, **mode_facts(mode, restored=None))
        try:
            hand.link.run(hand.ops.go_offline())
            yield notes
        except BaseException:
            with contextlib.suppress(
                BoardError
            ):  # what went wrong first is what a person has to hear
                _restore(hand, notes, mode)
            raise
        _restore(hand, notes, mode)


def _restore(hand: Hand, notes: Notes, mode: int | None) -> None:
    if mode is None:
        return
    try:
        hand.link.run(hand.ops.same_board(hand.uuid))
        hand.link.run(hand.ops.restore(mode))
    except BoardError as error:
        notes.note(
            NoteKind.FUNCTIONAL_MODE, **{**mode_facts(mode, restored=False), "answer": error.code}
        )
        raise
    notes.note(NoteKind.FUNCTIONAL_MODE, **mode_facts(mode, restored=True))


def _mode_to_restore(hand: Hand, notes: Notes) -> int | None:
    """The mode that was found, or before an earlier change that was stopped and left flight mode
    behind.
    """
    found = hand.found.identity.functional_mode
    owed = notes.journal.modes_owed(hand.uuid) if found == FLIGHT_MODE else ()
    if not owed:
        return found
    hand.notes.append(
        f"`infuse {owed[0].command}` was stopped before it brought functional mode {owed[0].mode}"
        " back; this command does"
    )
    return owed[0].mode


def write(
    hand: Hand,
    sec_tag: int,
    items: Sequence[Item],
    *,
    replace: bool,
    yes: bool,
    first: Sequence[Write] = (),
    about: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Write credentials, skip those that are there, compare digests afterwards; a row each.

    `first` goes on record with the first intent, `about` are facts of every note. Raises
    PolicyError identity.slot-occupied (naming the digest, nothing written), identity.not-read-back;
    BoardError as the operations do.
    """
    hand.needs(Can.WRITE)
    items = [
        dataclasses.replace(item, digests=item.digests | hand.ops.digests(item.kind, item.content))
        for item in items
    ]
    there = {item.kind: hand.entry(sec_tag, item.kind) for item in items}
    wanted = [item for item in items if not _holds(there[item.kind], item)]
    in_the_way = [entry for item in wanted if (entry := there[item.kind]) is not None]
    _allow(hand, in_the_way, replace=replace, yes=yes)
    for item in wanted:
        _fits(hand, sec_tag, item)
    shown = {kind: entry.sha256 for kind, entry in there.items() if entry is not None}
    if wanted:
        with changing(hand) as notes:
            for number, item in enumerate(wanted):
                shown[item.kind] = _write_one(
                    hand,
                    notes,
                    sec_tag,
                    item,
                    old=there[item.kind],
                    first=first if number == 0 else (),
                    about=about or {},
                )
    return [
        _row(
            sec_tag,
            item,
            shown[item.kind],
            None if item not in wanted else there[item.kind],
            already=item not in wanted,
        )
        for item in items
    ]


def delete(hand: Hand, places: Sequence[StoredCredential], *, yes: bool) -> list[dict[str, Any]]:
    """Delete credentials, and see that they are gone; a row each.

    Raises as `write`, UsageError usage.no-terminal.
    """
    hand.needs(Can.DELETE)
    listed = "; ".join(
        described(entry)
        + (", put there by this journal" if slots.is_ours(entry, hand.history) else "")
        for entry in places
    )
    context.current().settings.confirm(f"Board {hand.uuid}: delete {listed}?", yes=yes)
    _tell_ours(hand, places)
    with changing(hand) as notes:
        for entry in places:
            _delete_one(hand, notes, entry)
    return [{**slots.as_fact(entry), "typeName": kind_name(entry.type)} for entry in places]


def described(entry: StoredCredential) -> str:
    """`client key of sec_tag 4201 (SHA-256 …)`."""
    return (
        f"{kind_name(entry.type)} of sec_tag {entry.sec_tag} (SHA-256"
        f" {entry.sha256 or 'not given'})"
    )


def _allow(hand: Hand, in_the_way: Sequence[StoredCredential], *, replace: bool, yes: bool) -> None:
    """Nothing is overwritten unasked: `--replace`, and on a terminal a yes."""
    if not in_the_way:
        return
    if not replace:
        raise PolicyError(
            "identity.slot-occupied",
            f"the modem holds the {described(in_the_way[0])}; nothing was written",
            hint="--replace deletes it first, and puts its digest on record.",
        )
    listed = "; ".join(map(described, in_the_way))
    if sys.stdin.isatty() and sys.stderr.isatty():
        context.current().settings.confirm(f"Board {hand.uuid}: overwrite {listed}?", yes=yes)
    _tell_ours(hand, in_the_way)


def _tell_ours(hand: Hand, entries: Sequence[StoredCredential]) -> None:
    if any(slots.is_ours(entry, hand.history) for entry in entries) and _OURS not in hand.notes:
        hand.notes.append(_OURS)


def _fits(hand: Hand, sec_tag: int, item: Item) -> None:
    """A line that the board's buffer cannot hold is refused before anything is deleted for it."""
    from infuse_cli.dialect import commands, dialect
    from infuse_cli.dialect.base import CodecOptions

    if not hand.link.dialect.startswith("at"):
        return
    serial = Serial() if hand.profile is None else hand.profile.board.serial
    codec = dialect(hand.link.dialect).codec(CodecOptions(serial.line_limit, serial.terminator))
    codec.encode(commands.cmng_write(sec_tag, item.kind, item.content, secret=item.secret))


def _write_one(
    hand: Hand,
    notes: Notes,
    sec_tag: int,
    item: Item,
    *,
    old: StoredCredential | None,
    first: Sequence[Write],
    about: Mapping[str, Any],
) -> str | None:
    place = {"secTag": sec_tag, "type": int(item.kind)}
    told = {
        "command": f"{kind_name(item.kind)} of sec_tag {sec_tag}",
        **place,
        "sha256": sorted(item.digests),
        "replaced": None if old is None else old.sha256,
        **about,
    }
    notes.note(NoteKind.CREDENTIAL_WRITTEN, *first, **told, answer="begun")
    try:
        if old is not None:
            hand.link.run(hand.ops.delete_credential(hand.uuid, sec_tag, item.kind))
        _put(hand, sec_tag, item)
        entry = hand.entry(sec_tag, item.kind)
        if not _holds(entry, item):
            raise PolicyError(
                "identity.not-read-back",
                f"the {kind_name(item.kind)} of sec_tag {sec_tag} is not what was written: the"
                f" modem shows {'nothing there' if entry is None else entry.sha256 or 'no digest'}",
            )
    except (BoardError, PolicyError) as error:
        notes.note(NoteKind.CREDENTIAL_WRITTEN, **told, answer=error.code)
        raise
    notes.note(NoteKind.CREDENTIAL_WRITTEN, **told, answer="OK")
    return None if entry is None else entry.sha256


def _put(hand: Hand, sec_tag: int, item: Item) -> None:
    """Write; where the answer was lost, the list says whether it is there."""
    try:
        hand.link.run(
            hand.ops.write_credential(
                hand.uuid, sec_tag, item.kind, item.content, secret=item.secret
            )
        )
    except BoardError as error:
        if (
            not error.unknown
            or error.code == "serial.unplugged"
            or not _holds(hand.entry(sec_tag, item.kind), item)
        ):
            raise


def _delete_one(hand: Hand, notes: Notes, entry: StoredCredential) -> None:
    told = {
        "command": f"{kind_name(entry.type)} of sec_tag {entry.sec_tag}",
        **slots.as_fact(entry),
    }
    notes.note(NoteKind.CREDENTIAL_DELETED, **told, answer="begun")
    try:
        hand.link.run(hand.ops.delete_credential(hand.uuid, entry.sec_tag, entry.type))
        if hand.entry(entry.sec_tag, entry.type) is not None:
            raise PolicyError(
                "identity.not-read-back",
                f"the {described(entry)} is still there after it was deleted",
            )
    except (BoardError, PolicyError) as error:
        notes.note(NoteKind.CREDENTIAL_DELETED, **told, answer=error.code)
        raise
    notes.note(NoteKind.CREDENTIAL_DELETED, **told, answer="OK")


def _holds(entry: StoredCredential | None, item: Item) -> bool:
    return entry is not None and entry.sha256 is not None and entry.sha256 in item.digests


def _row(
    sec_tag: int, item: Item, shown: str | None, old: StoredCredential | None, *, already: bool
) -> dict[str, Any]:
    return {
        "secTag": sec_tag,
        "type": int(item.kind),
        "typeName": kind_name(item.kind),
        "sha256": shown,
        "already": already,
        "replaced": None if old is None else old.sha256,
    }
