"""`infuse serial at`: a person's AT commands, one after another, until the first that fails."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from infuse_cli import dialect
from infuse_cli.dialect import at_text, cme, commands
from infuse_cli.errors import BoardError, InfuseError, UsageError
from infuse_cli.journal.manual_changes import BEGUN
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools.board import open_board, read_uuid
from infuse_cli.types import Command

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from infuse_cli.dialect.base import Conversation
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.ports import BoardLink
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings
    from infuse_cli.types import Reply

T = TypeVar("T")

_ANY_LINE: Final = re.compile(r".*")

CME_HINTS: Final = {
    None: "Check the command's spelling; this firmware may not know it.",
    cme.ACTIVE: "Take the modem offline with AT+CFUN=4 first, and back with AT+CFUN=1.",
    cme.NOT_FOUND: "`infuse serial creds list` shows what is there.",
    cme.EXISTS: "`infuse serial creds list` shows what is there; AT%CMNG=3,TAG,TYPE deletes it.",
}
"""What a person with the board in hand does, where the advice for a line of boards does not fit."""


@dataclass(frozen=True, slots=True)
class AtRequest:
    """Commands to be sent; `timeout_s` is the longest wait for one answer."""

    commands: tuple[str, ...]
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command and what came back; `error` is what ended the run here."""

    text: str
    lines: tuple[str, ...] = ()
    ok: bool = False
    error: InfuseError | None = None
    cme: int | None = None
    ms: float = 0.0

    def shown_lines(self) -> list[str]:
        """The answer's lines; beside a secret command they are masked: they may be its echo."""
        if not at_text.carries_secret(self.text):
            return list(self.lines)
        return [f"({len(line)} characters masked)" for line in self.lines]

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


@dataclass(frozen=True, slots=True)
class AtResult:
    """What was sent and answered; after a failure the rest of `commands` was not sent.

    `board` is the UUID where a command may have changed the board.
    """

    port: str
    dialect: str
    board: str | None
    commands: tuple[str, ...]
    exchanges: tuple[Exchange, ...]

    @property
    def error(self) -> InfuseError | None:
        """What ended the run early."""
        return next((row.error for row in self.exchanges if row.error is not None), None)


def parse_commands(texts: Sequence[str]) -> tuple[str, ...]:
    """Commands from a command line. Raises UsageError usage.bad-option."""
    wrong = next((text for text in texts if not at_text.is_command(text)), None)
    if wrong is not None:
        raise UsageError(
            "usage.bad-option",
            f"{wrong[:40]!r} is no AT command: it does not begin with AT",
            hint="Quote each command for the shell, and name the port first or by --port.",
        )
    return tuple(text.strip() for text in texts)


def read_commands(file: Path) -> tuple[str, ...]:
    """The commands of a file, one a line. Raises UsageError usage.bad-option."""
    try:
        return at_text.script(file.read_text(encoding="ascii").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "usage.bad-option", f"{file} cannot be read as plain text: {error}"
        ) from error


def send_commands(settings: Settings, target: BoardPort, request: AtRequest) -> AtResult:
    """Send the commands until one fails; what may change the board is stored in the journal.

    Raises BoardError serial.* when the port cannot be opened, JournalError; a failure after that is
    in the result.
    """
    with ExitStack() as stack:
        session = AtSession(stack.enter_context(open_board(target)), request.timeout_s)
        if not all(map(at_text.only_reads, request.commands)):
            session.start_journal(settings, target, stack)
        exchanges = tuple(session.send_all(request.commands))
        return AtResult(
            target.port, session.link.dialect, session.board, request.commands, exchanges
        )


@dataclass(slots=True)
class AtSession:
    """AT commands to one open board; `run` is where changes are stored."""

    link: BoardLink
    timeout_s: float
    board: str | None = None
    run: CommandRun | None = None

    def start_journal(self, settings: Settings, target: BoardPort, stack: ExitStack) -> None:
        """Store from here on what may change the board. Raises JournalError."""
        from infuse_cli.effects.journal_run import command_run

        self.board = self.link.run(self._carry(read_uuid()))
        self.run = stack.enter_context(
            command_run(
                settings.home,
                "serial at",
                profile=target.profile,
                about={"port": target.port, "board": self.board},
            )
        )

    def send_all(self, texts: Sequence[str]) -> Generator[Exchange, None, None]:
        """Send until one fails; error numbers are switched on first."""
        self.link.run(self._carry(_ask(commands.cmee())))
        for text in texts:
            exchange = self._send(text)
            yield exchange
            if not exchange.ok:
                return

    def _carry(self, conversation: Conversation[T]) -> Conversation[T]:
        return dialect.dialect(self.link.dialect).carry_at(conversation)

    def _send(self, text: str) -> Exchange:
        run = self.run
        if run is None or at_text.only_reads(text):
            return self._exchange(text)
        stored = at_text.for_record(text)
        run.totals["commands"] = run.totals.get("commands", 0) + 1
        run.note(NoteKind.COMMAND_SENT, command=stored, answer=BEGUN)
        exchange = self._exchange(text)
        answer = "OK" if exchange.ok else "ERROR"
        if exchange.error is not None:
            answer = exchange.error.code
        run.note(NoteKind.COMMAND_SENT, command=stored, answer=answer)
        return exchange

    def _exchange(self, text: str) -> Exchange:
        command = Command(
            text,
            self.timeout_s,
            _ANY_LINE,
            effect=not at_text.only_reads(text),
            secret=at_text.carries_secret(text),
        )
        started = time.monotonic()
        try:
            reply = self.link.run(self._carry(_ask(command)))
        except InfuseError as error:
            return Exchange(text, error=error, ms=_since(started))
        refusal = None if reply.ok else _refusal(reply, text)
        return Exchange(text, reply.info, reply.ok, refusal, reply.cme, _since(started))


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1000


def _refusal(reply: Reply, text: str) -> BoardError:
    """What the modem's number means, with advice for a person who has the board in hand."""
    error = cme.modem_error(reply.cme, at_text.shown(text))
    hint = CME_HINTS.get(reply.cme)
    return (
        error if hint is None else BoardError(error.code, error.message, hint=hint, cme=error.cme)
    )


def _ask(command: Command) -> Generator[Command, Reply, Reply]:
    return (yield command)
