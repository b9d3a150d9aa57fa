"""`infuse serial console`: a terminal on a board's port.

Lines are shown as they come, with times and with the modem's error numbers in words. What is typed
and may change the board goes on record before it is sent. History and log are 0600 and keep no
secret.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import textwrap
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from infuse_cli.cli import context
from infuse_cli.cli.console_history import SafeHistory
from infuse_cli.cli.result import OperationResult
from infuse_cli.config.model import Serial
from infuse_cli.dialect import operations
from infuse_cli.dialect.cms import meaning
from infuse_cli.dialect.frame_words import outline
from infuse_cli.dialect.frames import FrameParser
from infuse_cli.errors import BoardError, InfuseError, UsageError
from infuse_cli.link.discover import list_ports
from infuse_cli.link.stream import Stream
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools import board as serial_board
from infuse_cli.serial_tools import console_text
from infuse_cli.serial_tools.at import BY_HAND
from infuse_cli.serial_tools.manual_log import Notes

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyPressEvent

    from infuse_cli.config.model import Profile
    from infuse_cli.types import PortInfo

_ENDS: Final = {"cr": b"\r", "lf": b"\n", "crlf": b"\r\n"}
_LOOK_AGAIN_S: Final = 0.3
_GO: Final = ("SIGTERM", "SIGHUP")
_STAMP: Final = len("12:34:56.789")
_REST_S: Final = 0.15
"""A line without an end is shown after this long, because it may be a prompt."""
_DIM, _RED, _CYAN, _PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[36m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    timestamps: bool = True
    log: Path | None = None
    reconnect: bool = False


def run(port: str, profile: Profile | None, wish: Wish) -> OperationResult:
    """Be a terminal until Ctrl-].

    Raises UsageError usage.no-terminal, usage.output-lost for a log that took no more, BoardError
    serial.* (serial.unplugged when the port went away).
    """
    if context.current().output != "human" or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "usage.no-terminal",
            "a console needs a person at a terminal",
            hint="`infuse serial at PORT --file -` sends what is piped in.",
        )
    with ExitStack() as stack:
        console = Console(port, profile, wish, stack)
        console.run()
    if console.trouble is not None:
        raise console.trouble
    return OperationResult(
        "serial console", {"port": port, "board": console.board}, human=lambda _: None
    )


@dataclass
class Console:
    """One use of the console on one port."""

    port: str
    profile: Profile | None
    wish: Wish
    stack: ExitStack
    board: str | None = None
    trouble: InfuseError | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _notes: Notes | None = None
    _log: TextIO | None = None
    _stream: Stream | None = None
    _session: Any = None
    _told_to_go: bool = False

    def run(self) -> None:
        """Open, show and send until the person leaves or the port does."""
        from prompt_toolkit.patch_stdout import patch_stdout

        self._info = next((info for info in list_ports() if info.port == self.port), None)
        self._text = console_text.LogText()
        self.board = self._who(self.port)
        self._open_log()
        self._heed()
        self._stream = Stream(self.port, self._serial)
        self._session = _session(self._toolbar)
        reader = threading.Thread(target=self._read, name="console", daemon=True)
        with patch_stdout(raw=True):
            self._say(
                f"{self.port},"
                f" {'board ' + self.board if self.board else 'nothing here answers AT so far'}"
            )
            reader.start()
            try:
                self._type()
            finally:
                self._stop.set()
                reader.join(2.0)
                self._stream.close()

    @property
    def _serial(self) -> Serial:
        return Serial() if self.profile is None else self.profile.board.serial

    def _who(self, port: str) -> str | None:
        """The board's UUID, for the record; a port on which nothing answers AT has a console all
        the same.
        """
        try:
            with serial_board.opened(port, self.profile) as link:
                return (
                    link.run(serial_board.who())
                    if link.dialect.startswith("at")
                    else link.run(operations(link.dialect).identify()).uuid
                )
        except BoardError as error:
            if error.code not in {"serial.silent", "serial.timeout", "serial.garbled"}:
                raise
            return None

    def _heed(self) -> None:
        """SIGTERM and SIGHUP end a console, which the terminal's own Ctrl-C does not: it forgets a
        line.
        """
        for name in _GO:
            number = getattr(signal, name, None)
            if number is not None and (before := signal.getsignal(number)) is not signal.SIG_IGN:
                self.stack.callback(signal.signal, number, before)
                signal.signal(number, self._go)

    def _go(self, *_: object) -> NoReturn:
        self._told_to_go = True
        raise KeyboardInterrupt

    def _type(self) -> None:
        while not self._stop.is_set():
            try:
                text = self._session.prompt("> ")
            except KeyboardInterrupt:
                if self._told_to_go:
                    raise
                continue
            except EOFError:
                return
            try:
                self._send(text)
            except BoardError as error:
                if self.wish.reconnect:
                    self._say(f"not sent: {error.message}", _RED)
                    continue
                self.trouble = error
                return

    def _send(self, text: str) -> None:
        if console_text.changes(text):
            self._note(text)
        self._keep(">", self._text.sent(text))
        if self._stream is not None:
            self._stream.write(text.encode("latin-1", "replace") + _ENDS[self._serial.terminator])

    def _note(self, text: str) -> None:
        if self._notes is None:
            self._notes = self.stack.enter_context(
                Notes("serial console", self.profile, self.port, self.board)
            )
        self._notes.note(
            NoteKind.LINE_TYPED,
            command=console_text.for_record(text),
            answer="sent",
            board=self.board,
        )

    def _read(self) -> None:
        lines, last, text = console_text.Lines(), time.monotonic(), bytearray()
        frames = FrameParser(self._frame, text.extend)
        while not self._stop.is_set():
            try:
                data = b"" if self._stream is None else self._stream.read()
            except BoardError as error:
                if not self._went_away(error):
                    return
                lines, text = console_text.Lines(), bytearray()
                frames = FrameParser(self._frame, text.extend)
                continue
            now = time.monotonic()
            if data:
                last = now
            frames.receive(data)
            resting = now - last > _REST_S
            if resting:
                frames.flush()
            self._show(
                *lines.receive(bytes(text)), *filter(None, [lines.rest() if resting else None])
            )
            text.clear()

    def _frame(self, payload: bytes) -> bool:
        """Tell of an ePacket frame as it passes; what is none stays text."""
        said = outline(payload)
        if said is not None:
            self._say(said, _CYAN)
        return said is not None

    def _went_away(self, error: BoardError) -> bool:
        """Say so; with --reconnect wait until it is back, else end the prompt.

        False when the console is over.
        """
        self._say(f"{self.port} went away", _RED)
        if not self.wish.reconnect:
            self.trouble = error
            self._end()
            return False
        if self._stream is not None:
            self._stream.close()
        self._say("waiting for it to come back; Ctrl-] leaves")
        while not self._stop.wait(_LOOK_AGAIN_S):
            with contextlib.suppress(BoardError):
                self._come_back()
                return True
        return False

    def _come_back(self) -> None:
        port = _again(self.port, self._info)
        board = self._who(port)
        self._stream, self.port = Stream(port, self._serial), port
        changed = (
            ""
            if board == self.board
            else f": it is {'another one, ' + board if board else 'silent so far'}"
        )
        self.board = board
        self._say(f"{port} is back{changed}")

    def _end(self) -> None:
        self._stop.set()
        app = self._session.app
        if app.is_running and app.loop is not None:
            app.loop.call_soon_threadsafe(lambda: app.is_running and app.exit(exception=EOFError))

    def _show(self, *lines: str) -> None:
        for line in lines:
            self._put(line)
            self._keep("<", self._text.received(line))
            if (said := meaning(line, BY_HAND)) is not None:
                self._tell(said, "   ", _CYAN)

    def _say(self, text: str, colour: str = _DIM) -> None:
        self._tell(text, "-- ", colour)
        self._keep("#", text)

    def _tell(self, text: str, mark: str, colour: str) -> None:
        """Our own words, folded to the terminal; those of the board stay as they are."""
        width = (
            shutil.get_terminal_size().columns
            - len(mark)
            - (_STAMP + 1 if self.wish.timestamps else 0)
        )
        for number, line in enumerate(textwrap.wrap(text, max(20, width), break_long_words=False)):
            self._put(f"{mark if number == 0 else ' ' * len(mark)}{line}", colour)

    def _put(self, text: str, colour: str = "") -> None:
        bare = context.current().no_color
        stamp = (
            f"{datetime.now().astimezone():%H:%M:%S.%f}"[:_STAMP] + " "
            if self.wish.timestamps
            else ""
        )
        stamp = stamp if bare or not stamp else f"{_DIM}{stamp}{_PLAIN}"
        sys.stdout.write(
            f"{stamp}{text}\n" if bare or not colour else f"{stamp}{colour}{text}{_PLAIN}\n"
        )
        sys.stdout.flush()

    def _keep(self, mark: str, text: str) -> None:
        log = self._log
        if log is None:
            return
        stamp = datetime.now().astimezone().isoformat(timespec="milliseconds")
        try:
            log.write("".join(f"{stamp} {mark} {line}\n" for line in text.splitlines() or [""]))
            log.flush()
        except OSError as error:
            self._without_log(log, error)

    def _without_log(self, log: TextIO, error: OSError) -> None:
        """A full disk does not take the board out of a person's hands: said at once, and again by
        the exit code.
        """
        self._log = None
        with contextlib.suppress(OSError):  # closing tries once more to write what is left
            log.close()
        lost = f"--log {self.wish.log} cannot be written: {error.strerror}"
        self.trouble = UsageError("usage.output-lost", lost)
        self._say(f"{lost}; the console goes on without it", _RED)

    def _open_log(self) -> None:
        if self.wish.log is None:
            return
        try:
            descriptor = os.open(self.wish.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise UsageError(
                "usage.bad-option", f"--log {self.wish.log} cannot be written: {error.strerror}"
            ) from error
        self._log = self.stack.enter_context(os.fdopen(descriptor, "a", encoding="utf-8"))

    def _toolbar(self) -> str:
        return f" Ctrl-] leaves   {self.port}   {self.board or 'no board known'} "


def _again(port: str, known: PortInfo | None) -> str:
    """Where a board came back: a USB serial number finds it under another name.

    Raises BoardError serial.no-port until then.
    """
    found = list_ports() if known is not None and known.serial_number else ()
    for info in found:
        if known is not None and (info.serial_number, info.interface, info.vid) == (
            known.serial_number,
            known.interface,
            known.vid,
        ):
            return info.port
    if "://" not in port and not os.path.exists(port):  # noqa: PTH110 - a name, not yet a file
        raise BoardError("serial.no-port", f"there is no port {port}")
    return port


def _session(toolbar: Any) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("c-]")
    def _leave(event: KeyPressEvent) -> None:
        event.app.exit(exception=EOFError)

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if console_text.is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    return PromptSession(
        history=SafeHistory(context.current().home / "console-history"),
        key_bindings=keys,
        multiline=True,
        bottom_toolbar=toolbar,
        reserve_space_for_menu=0,
        enable_open_in_editor=False,
    )
