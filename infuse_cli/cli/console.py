"""The terminal of `infuse serial console`: line editing, history, times, colours. Ctrl-] leaves."""

from __future__ import annotations

import shutil
import signal
import sys
import textwrap
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from infuse_cli import home
from infuse_cli.cli import context
from infuse_cli.cli.console_history import SafeHistory
from infuse_cli.errors import UsageError
from infuse_cli.serial_tools import console_text
from infuse_cli.serial_tools.console import BoardConsole, ConsoleRequest, LineKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyPressEvent

    from infuse_cli.serial_tools.ports import BoardPort

_SIGNALS: Final = ("SIGTERM", "SIGHUP")
_STAMP: Final = len("12:34:56.789")
_DIM, _RED, _CYAN, _PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[36m", "\x1b[0m"
_MARKS: Final = {
    LineKind.BOARD: ("", ""),
    LineKind.MEANING: ("   ", _CYAN),
    LineKind.NOTE: ("-- ", _DIM),
    LineKind.FRAME: ("-- ", _CYAN),
    LineKind.TROUBLE: ("-- ", _RED),
}
"""What stands before a line, and its colour."""


def run(target: BoardPort, request: ConsoleRequest, *, timestamps: bool) -> BoardConsole:
    """Be a terminal on the port until Ctrl-]; the console that was, closed.

    Raises UsageError usage.no-terminal, usage.output-lost for a log that took no more, BoardError
    serial.* (serial.unplugged when the port went away).
    """
    if context.current().output != "human" or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "usage.no-terminal",
            "a console needs a person at a terminal",
            hint="`infuse serial at PORT --file -` sends what is piped in.",
        )
    screen = Screen(timestamps=timestamps)
    console = BoardConsole(context.current().settings, target, request, screen.show)
    with ExitStack() as stack:
        stack.enter_context(console)
        Terminal(console, stack).run()
    if console.error is not None:
        raise console.error
    return console


@dataclass(frozen=True, slots=True)
class Screen:
    """Standard output as a console shows it."""

    timestamps: bool

    def show(self, kind: LineKind, text: str) -> None:
        """Show a line: the board's as it came, ours folded to the terminal."""
        mark, colour = _MARKS[kind]
        if kind is LineKind.BOARD:
            self._put(text, colour)
            return
        stamp = _STAMP + 1 if self.timestamps else 0
        width = max(20, shutil.get_terminal_size().columns - len(mark) - stamp)
        for number, line in enumerate(textwrap.wrap(text, width, break_long_words=False)):
            self._put(f"{mark if number == 0 else ' ' * len(mark)}{line}", colour)

    def _put(self, text: str, colour: str) -> None:
        stamp = ""
        if self.timestamps:
            stamp = f"{datetime.now().astimezone():%H:%M:%S.%f}"[:_STAMP] + " "
        if not context.current().no_color:
            stamp = f"{_DIM}{stamp}{_PLAIN}" if stamp else ""
            text = f"{colour}{text}{_PLAIN}" if colour else text
        sys.stdout.write(f"{stamp}{text}\n")
        sys.stdout.flush()


class Terminal:
    """The prompt of one console."""

    def __init__(self, console: BoardConsole, stack: ExitStack) -> None:
        self._console = console
        self._session = _session(self._toolbar)
        self._ended_by_signal = False
        console.closed = self._leave
        self._handle_signals(stack)

    def run(self) -> None:
        """Show and send until the person leaves or the port does."""
        from prompt_toolkit.patch_stdout import patch_stdout

        with patch_stdout(raw=True):
            self._console.start()
            try:
                self._read_lines()
            finally:
                self._console.stop()

    def _read_lines(self) -> None:
        while not self._console.is_closed:
            try:
                text = self._session.prompt("> ")
            except KeyboardInterrupt:
                if self._ended_by_signal:
                    raise
                continue
            except EOFError:
                return
            if not self._console.send(text):
                return

    def _handle_signals(self, stack: ExitStack) -> None:
        """SIGTERM and SIGHUP end a console; the terminal's own Ctrl-C only forgets a line."""
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is None:
                continue
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                stack.callback(signal.signal, number, before)
                signal.signal(number, self._end)

    def _end(self, *_: object) -> NoReturn:
        self._ended_by_signal = True
        raise KeyboardInterrupt

    def _leave(self) -> None:
        app = self._session.app
        if app.is_running and app.loop is not None:
            app.loop.call_soon_threadsafe(lambda: app.is_running and app.exit(exception=EOFError))

    def _toolbar(self) -> str:
        return f" Ctrl-] leaves   {self._console.port}   {self._console.board or 'no board known'} "


def _session(toolbar: Callable[[], str]) -> PromptSession[str]:
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

    history: Any = SafeHistory(context.current().home / home.CONSOLE_HISTORY)
    return PromptSession(
        history=history,
        key_bindings=keys,
        multiline=True,
        bottom_toolbar=toolbar,
        reserve_space_for_menu=0,
        enable_open_in_editor=False,
    )
