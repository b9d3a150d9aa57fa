"""`infuse serial at`: commands of a person, one after another, until the first that fails.

What may change the board is on record before its first byte goes out, and its answer after it.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from infuse_cli.cli import context
from infuse_cli.dialect import at_text, cme, commands
from infuse_cli.dialect.cme import modem_error
from infuse_cli.dialect.operations_epacket import carried
from infuse_cli.errors import BoardError, InfuseError, UsageError
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools.board import opened, who
from infuse_cli.serial_tools.manual_log import Notes
from infuse_cli.types import Command

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from infuse_cli.config.model import Profile
    from infuse_cli.dialect.base import Conversation
    from infuse_cli.ports import Board
    from infuse_cli.types import Reply

T = TypeVar("T")

ANY_LINE: Final = re.compile(r".*")

BY_HAND: Final = {
    None: "Check the command's spelling; this firmware may not know it.",
    cme.ACTIVE: "Take the modem offline with AT+CFUN=4 first, and back with AT+CFUN=1.",
    cme.NOT_FOUND: "`infuse serial creds list` shows what is there.",
    cme.EXISTS: "`infuse serial creds list` shows what is there; AT%CMNG=3,TAG,TYPE deletes it.",
}
"""What to do, for a person with the board in hand, where the line's own advice does not fit."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One command and what came back; `error` is what ended the run here."""

    text: str
    lines: tuple[str, ...] = ()
    ok: bool = False
    error: InfuseError | None = None
    cme: int | None = None
    ms: float = 0.0

    @property
    def secret(self) -> bool:
        """Whether the command carries a secret, so that neither it nor a garbled echo of it is
        shown.
        """
        return at_text.carries_secret(self.text)

    def shown_lines(self) -> list[str]:
        """The answer's lines; beside a secret command they are masked, because they may be its
        echo.
        """
        return (
            [f"({len(line)} characters masked)" for line in self.lines]
            if self.secret
            else list(self.lines)
        )

    def as_json(self) -> dict[str, Any]:
        """The exchange as JSON values."""
        return {
            "command": at_text.shown(self.text),
            "ok": self.ok,
            "lines": self.shown_lines(),
            "cme": self.cme,
            "error": None if self.error is None else self.error.as_json(),
            "ms": round(self.ms, 1),
        }


def words(port: str | None, given: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Port and commands: without --port a first word that is no AT command is the port."""
    if port is None and given and not at_text.is_command(given[0]):
        return given[0], tuple(given[1:])
    return port, tuple(given)


def gather(given: Sequence[str], file: Path | None) -> tuple[str, ...]:
    """The commands: arguments, a file (`-` is standard input), or what is piped in.

    Raises UsageError usage.bad-option.
    """
    if given and file is not None:
        raise UsageError("usage.bad-option", "commands were given both as arguments and by --file")
    found = _checked(given) if given else at_text.script(_lines(file))
    if not found:
        raise UsageError(
            "usage.bad-option",
            "no command was given",
            hint="For example `infuse serial at AT+CGMM`, or --file FILE.",
        )
    return found


def warn(given: Sequence[str]) -> None:
    """Tell a person what is not kept secret here; a program reads the documentation."""
    if context.current().output != "human":
        return
    if any(map(at_text.carries_secret, given)):
        sys.stderr.write(
            "note: a secret on the command line can be seen by every user of this machine; --file"
            " keeps it from them\n"
        )
    if sys.stderr.isatty():
        sys.stderr.write("note: answers are shown as they come; nothing in them is masked\n")


def _checked(given: Sequence[str]) -> tuple[str, ...]:
    wrong = next((text for text in given if not at_text.is_command(text)), None)
    if wrong is not None:
        raise UsageError(
            "usage.bad-option",
            f"{wrong[:40]!r} is no AT command: it does not begin with AT",
            hint="Quote each command for the shell, and name the port first or by --port.",
        )
    return tuple(text.strip() for text in given)


def _lines(file: Path | None) -> list[str]:
    if file is None and sys.stdin.isatty():
        return []
    if file is None or str(file) == "-":
        return sys.stdin.read().splitlines()
    try:
        return file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "usage.bad-option", f"{file} cannot be read as plain text: {error}"
        ) from error


@dataclass(slots=True)
class Hand:
    """One use of `serial at` on one port."""

    profile: Profile | None
    texts: tuple[str, ...]
    timeout_s: float
    answers: list[Answered] = field(default_factory=list)
    dialect: str | None = None
    board: str | None = None

    def run(self, port: str) -> None:
        """Send the commands.

        Raises BoardError serial.* when the port cannot be opened, JournalError; the rest is in
        `answers`.
        """
        with ExitStack() as stack:
            link = stack.enter_context(opened(port, self.profile))
            self.dialect = link.dialect
            note = None
            if not all(map(at_text.only_reads, self.texts)):
                self.board = link.run(_carried(link, who()))
                note = stack.enter_context(Notes("serial at", self.profile, port, self.board))
            link.run(_carried(link, _numbers()))
            for text in self.texts:
                self.answers.append(self._noted(link, text, note))
                if not self.answers[-1].ok:
                    return

    def _noted(self, link: Board, text: str, note: Notes | None) -> Answered:
        if note is None or at_text.only_reads(text):
            return self._exchange(link, text)
        what = at_text.for_record(text)
        note.note(NoteKind.COMMAND_SENT, command=what, answer="begun")
        answered = self._exchange(link, text)
        note.note(
            NoteKind.COMMAND_SENT,
            command=what,
            answer=(
                "OK" if answered.ok else "ERROR" if answered.error is None else answered.error.code
            ),
        )
        return answered

    def _exchange(self, link: Board, text: str) -> Answered:
        command = Command(
            text,
            self.timeout_s,
            ANY_LINE,
            effect=not at_text.only_reads(text),
            secret=at_text.carries_secret(text),
        )
        started = time.monotonic()
        try:
            reply = link.run(_carried(link, _ask(command)))
        except InfuseError as error:
            return Answered(text, error=error, ms=(time.monotonic() - started) * 1000)
        refusal = None if reply.ok else _refusal(reply, text)
        return Answered(
            text, reply.info, reply.ok, refusal, reply.cme, (time.monotonic() - started) * 1000
        )


def _carried(link: Board, conversation: Conversation[T]) -> Conversation[T]:
    """AT commands as the board takes them: in ePacket frames the firmware hands them to its
    modem.
    """
    return carried(conversation) if link.dialect == "epacket" else conversation


def _numbers() -> Generator[Command, Reply, None]:
    """Ask for error numbers; a firmware that knows no such thing gives bare errors."""
    yield commands.cmee()


def _refusal(reply: Reply, text: str) -> BoardError:
    """What the modem's number means; what to do is said for a person with the board in hand."""
    told = modem_error(reply.cme, at_text.shown(text))
    hint = BY_HAND.get(reply.cme)
    return told if hint is None else BoardError(told.code, told.message, hint=hint, cme=told.cme)


def _ask(command: Command) -> Generator[Command, Reply, Reply]:
    return (yield command)
