r"""Device role of the Zephyr shell: lines out of a host's keystrokes, words out of lines, bytes out
of answers.

Pure: no clock, no port. Kept as the real shell has it: CR, LF or CRLF end a line, Ctrl-C and Ctrl-U
forget one, what goes beyond the buffer is dropped, quotes group words, the echo wraps at the
terminal's width, and a prompt comes when a command is done. Sources: Zephyr subsys/shell (shell.c,
shell_utils.c); sdk-nrf lib/at_shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE_LIMIT: Final = 3583
"""Characters that a shell line holds: CONFIG_SHELL_CMD_BUFF_SIZE of modem_shell without its NUL."""

WIDTH: Final = 80
_CTRL_C, _CTRL_U = 0x03, 0x15
_RUBOUT: Final = b"\x08\x7f"
_ENDS: Final = b"\r\n"
_QUOTES: Final = "'\""


class ShellError(Exception):
    """What the shell says instead of carrying a line out."""


class ShellDevice:
    """Lines out of a host's bytes, and bytes out of answers.

    `colour` puts ANSI codes where the real shell has them.
    """

    def __init__(
        self,
        *,
        prompt: str = "uart:~$ ",
        echo: bool = True,
        colour: bool = True,
        line_limit: int = LINE_LIMIT,
    ) -> None:
        self.prompt = prompt
        self.echo = echo
        self.colour = colour
        self._line_limit: Final = line_limit
        self._line = bytearray()
        self._last_end = 0
        self._column = len(prompt)

    def receive(self, data: bytes) -> list[tuple[bytes, str | None]]:
        """Take bytes of the host: what is echoed for them, and the line that they complete (None:
        none yet).
        """
        found: list[tuple[bytes, str | None]] = []
        echoed = bytearray()
        for byte in data:
            if byte in _ENDS:
                if self._last_end not in {0, byte}:  # the second half of CRLF
                    self._last_end = 0
                    continue
                self._last_end = byte
                echoed += b"\r\n"
                found.append((bytes(echoed), self._take_line()))
                echoed.clear()
                continue
            self._last_end = 0
            echoed += self._key(byte)
        if echoed:
            found.append((bytes(echoed), None))
        return found

    def reset(self) -> None:
        """Forget a half line, as a reboot does."""
        self._line.clear()
        self._column = len(self.prompt)

    def shown_prompt(self) -> bytes:
        """The prompt as it is put on the terminal."""
        self._column = len(self.prompt)
        return (f"\x1b[1;32m{self.prompt}\x1b[m" if self.colour else self.prompt).encode()

    def answer(self, lines: Sequence[str], *, failed: bool = False) -> bytes:
        """What a command printed, and the prompt behind it; `failed` is printed in red."""
        red, normal = ("\x1b[1;31m", "\x1b[m") if failed and self.colour else ("", "")
        text = "".join(f"{red}{line}{normal}\r\n" for line in lines)
        return text.encode("latin-1") + self.shown_prompt()

    def unsolicited(self, line: str) -> bytes:
        """A log line: the shell wipes its own line, and shows prompt and what was typed again
        behind it.
        """
        wipe = f"\x1b[{len(self.prompt)}D\x1b[J" if self.colour else "\r\n"
        return (
            f"{wipe}{line}\r\n".encode("latin-1")
            + self.shown_prompt()
            + (bytes(self._line) if self.echo else b"")
        )

    def _take_line(self) -> str:
        line = bytes(self._line).decode("latin-1")
        self._line.clear()
        return line

    def _key(self, byte: int) -> bytes:
        if byte in {_CTRL_C, _CTRL_U}:
            self._line.clear()
            return b"\r\n" + self.shown_prompt() if byte == _CTRL_C else b""
        if byte in _RUBOUT:
            gone = self._line[-1:]
            del self._line[-1:]
            return b"\x08 \x08" if gone and self.echo else b""
        if not 0x20 <= byte < 0x7F or len(self._line) >= self._line_limit:
            return b""
        self._line.append(byte)
        return self._shown(byte) if self.echo else b""

    def _shown(self, byte: int) -> bytes:
        self._column += 1
        if self._column % WIDTH == 0:
            return bytes([byte]) + b"\r\n"
        return bytes([byte])


def words(line: str) -> list[str]:
    """The words of a line; quotes group, inside them the other quote and backslashes stand for
    themselves.

    Raises ShellError for a quote that does not end.
    """
    found: list[str] = []
    word: str | None = None
    quote = ""
    for letter in line:
        if quote:
            if letter == quote:
                quote = ""
            else:
                word = (word or "") + letter
        elif letter in _QUOTES:
            quote, word = letter, word or ""
        elif letter == " ":
            if word is not None:
                found.append(word)
            word = None
        else:
            word = (word or "") + letter
    if quote:
        raise ShellError(f"not terminated: {quote}")
    return found if word is None else [*found, word]


def unescaped(command: str) -> str:
    r"""An AT command as the AT shell hands it to the modem: in a write, each `\n` becomes CR and
    LF.
    """
    return command.replace("\\n", "\r\n") if command.startswith("AT%CMNG=0") else command
