"""`infuse serial console` without its terminal: a port that is read and written, and its log.

What is sent and may change the board is stored in the journal before. The log is 0600 and holds no
secret.
"""

from __future__ import annotations

import contextlib
import enum
import os
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self, TextIO

from infuse_cli import dialect
from infuse_cli.config.model import Serial
from infuse_cli.dialect.cms import meaning
from infuse_cli.dialect.frame_words import outline
from infuse_cli.dialect.frames import FrameParser
from infuse_cli.errors import BoardError, InfuseError, UsageError
from infuse_cli.link.discover import list_ports
from infuse_cli.link.stream import Stream
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools import console_text
from infuse_cli.serial_tools.at import CME_HINTS
from infuse_cli.serial_tools.board import open_board, read_uuid
from infuse_cli.serial_tools.ports import BoardPort

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.settings import Settings
    from infuse_cli.types import PortInfo

_ENDS: Final = {"cr": b"\r", "lf": b"\n", "crlf": b"\r\n"}
_NO_ANSWER: Final = frozenset({"serial.silent", "serial.timeout", "serial.protocol"})
_POLL_S: Final = 0.3
_REST_S: Final = 0.15
"""A line without an end is shown after this long, because it may be a prompt."""


class LineKind(enum.Enum):
    """Whose words a line of the console is: the board's, ours about its line before, or ours."""

    BOARD = "board"
    MEANING = "meaning"
    NOTE = "note"
    FRAME = "frame"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class ConsoleRequest:
    """`log` is a file that everything is added to; with `reconnect` a port that went is awaited."""

    log: Path | None = None
    reconnect: bool = False


@dataclass
class BoardConsole:
    """One port, open for a person.

    Lines go to `show`, from two threads; `closed` is called when the port went away for good.
    `error` is then what ended it. Raises UsageError for a log that cannot be opened, BoardError
    serial.*.
    """

    settings: Settings
    target: BoardPort
    request: ConsoleRequest
    show: Callable[[LineKind, str], None]
    closed: Callable[[], None] = lambda: None
    board: str | None = None
    error: InfuseError | None = None
    _stack: ExitStack = field(default_factory=ExitStack)
    _stop: threading.Event = field(default_factory=threading.Event)
    _text: console_text.LogText = field(default_factory=console_text.LogText)
    _run: CommandRun | None = None
    _log: TextIO | None = None
    _stream: Stream | None = None
    _reader: threading.Thread | None = None
    _info: PortInfo | None = None

    @property
    def port(self) -> str:
        """Where the board is now."""
        return self.target.port

    @property
    def is_closed(self) -> bool:
        """Whether nothing more comes or goes."""
        return self._stop.is_set()

    def __enter__(self) -> Self:
        """Find out who is there and open log and port; `start` reads it."""
        self._info = next((info for info in list_ports() if info.port == self.port), None)
        self.board = self._identify()
        self.open_log()
        try:
            self._stream = Stream(self.port, self._serial)
        except BaseException:
            self._stack.close()
            raise
        return self

    def start(self) -> None:
        """Show who is there, then what comes."""
        who = f"board {self.board}" if self.board else "nothing here answers AT so far"
        self._say(f"{self.port}, {who}")
        self._reader = threading.Thread(target=self._read, name="console", daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """Read no more and release the port; safe to call twice."""
        self._stop.set()
        if self._reader is not None:
            self._reader.join(2.0)
        if self._stream is not None:
            self._stream.close()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stack.close()

    def send(self, text: str) -> bool:
        """Send a line; False when the console is over.

        What may change the board is stored in the journal first. Raises JournalError.
        """
        try:
            if console_text.changes(text):
                self._store(text)
            self._write_log(">", self._text.sent(text))
            if self._stream is not None:
                data = text.encode("latin-1", "replace")
                self._stream.write(data + _ENDS[self._serial.terminator])
        except BoardError as error:
            if not self.request.reconnect:
                self.error = error
                return False
            self._say(f"not sent: {error.message}", LineKind.TROUBLE)
        return True

    def receive(self, *lines: str) -> None:
        """Show lines of the board, with the modem's error numbers in words."""
        for line in lines:
            self.show(LineKind.BOARD, line)
            self._write_log("<", self._text.received(line))
            words = meaning(line, CME_HINTS)
            if words is not None:
                self.show(LineKind.MEANING, words)

    def open_log(self) -> None:
        """Open the log for adding, private. Raises UsageError usage.bad-option."""
        path = self.request.log
        if path is None:
            return
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise UsageError(
                "usage.bad-option", f"--log {path} cannot be written: {error.strerror}"
            ) from error
        self._log = self._stack.enter_context(os.fdopen(descriptor, "a", encoding="utf-8"))

    @property
    def _serial(self) -> Serial:
        profile = self.target.profile
        return Serial() if profile is None else profile.board.serial

    def _identify(self) -> str | None:
        """The board's UUID; a port on which nothing answers AT has a console all the same."""
        try:
            with open_board(self.target) as link:
                row = dialect.dialect(link.dialect)
                if row.at_lines:
                    return link.run(read_uuid())
                return link.run(dialect.operations(link.dialect).identify()).uuid
        except BoardError as error:
            if error.code not in _NO_ANSWER:
                raise
            return None

    def _store(self, text: str) -> None:
        from infuse_cli.effects.journal_run import command_run

        if self._run is None:
            self._run = self._stack.enter_context(
                command_run(
                    self.settings.home,
                    "serial console",
                    profile=self.target.profile,
                    facts={"port": self.port, "board": self.board},
                )
            )
        self._run.note(
            NoteKind.LINE_TYPED,
            command=console_text.for_record(text),
            answer="sent",
            port=self.port,
            board=self.board,
        )

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                self._read_until_gone()
            except BoardError as error:
                if not self._reconnect(error):
                    return

    def _read_until_gone(self) -> None:
        lines, last, text = console_text.Lines(), time.monotonic(), bytearray()
        frames = FrameParser(self._frame, text.extend)
        while not self._stop.is_set():
            data = b"" if self._stream is None else self._stream.read()
            now = time.monotonic()
            if data:
                last = now
            frames.receive(data)
            resting = now - last > _REST_S
            if resting:
                frames.flush()
            self.receive(*lines.receive(bytes(text)))
            text.clear()
            rest = lines.rest() if resting else ""
            if rest:
                self.receive(rest)

    def _frame(self, payload: bytes) -> bool:
        """Show an ePacket frame in words; what is none stays text."""
        words = outline(payload)
        if words is not None:
            self._say(words, LineKind.FRAME)
        return words is not None

    def _reconnect(self, error: BoardError) -> bool:
        """Wait until the port is back, where that was wanted; False when the console is over."""
        self._say(f"{self.port} went away", LineKind.TROUBLE)
        if not self.request.reconnect:
            self.error = error
            self._stop.set()
            self.closed()
            return False
        if self._stream is not None:
            self._stream.close()
        self._say("waiting for it to come back; Ctrl-] leaves")
        while not self._stop.wait(_POLL_S):
            with contextlib.suppress(BoardError):
                self._reopen()
                return True
        return False

    def _reopen(self) -> None:
        self.target = BoardPort(_present_port(self.port, self._info), self.target.profile)
        before, self.board = self.board, self._identify()
        self._stream = Stream(self.port, self._serial)
        changed = ""
        if self.board != before:
            who = f"another one, {self.board}" if self.board else "silent so far"
            changed = f": it is {who}"
        self._say(f"{self.port} is back{changed}")

    def _say(self, text: str, kind: LineKind = LineKind.NOTE) -> None:
        self.show(kind, text)
        self._write_log("#", text)

    def _write_log(self, mark: str, text: str) -> None:
        log = self._log
        if log is None:
            return
        stamp = datetime.now().astimezone().isoformat(timespec="milliseconds")
        try:
            log.write("".join(f"{stamp} {mark} {line}\n" for line in text.splitlines() or [""]))
            log.flush()
        except OSError as error:
            self._give_up_log(log, error)

    def _give_up_log(self, log: TextIO, error: OSError) -> None:
        """A full disk does not take the board out of a person's hands: the console goes on, and
        `error` says it at the end.
        """
        self._log = None
        with contextlib.suppress(OSError):  # closing tries once more to write what is left
            log.close()
        lost = f"--log {self.request.log} cannot be written: {error.strerror}"
        self.error = UsageError("usage.output-lost", lost)
        self._say(f"{lost}; the console goes on without it", LineKind.TROUBLE)


def _present_port(port: str, known: PortInfo | None) -> str:
    """Where a board came back: a USB serial number finds it under another name.

    Raises BoardError serial.no-port until then.
    """
    if known is not None and known.serial_number:
        wanted = (known.serial_number, known.interface, known.vid)
        for info in list_ports():
            if (info.serial_number, info.interface, info.vid) == wanted:
                return info.port
    if "://" not in port and not os.path.exists(port):  # noqa: PTH110 - a name, not yet a file
        raise BoardError("serial.no-port", f"there is no port {port}")
    return port
