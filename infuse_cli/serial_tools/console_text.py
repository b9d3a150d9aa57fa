"""The words of `infuse serial console`: bytes into lines, and what of a typed line may be kept.

No port, no clock, no screen.
"""

from __future__ import annotations

import re
from typing import Final

from infuse_cli.dialect import at_text

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_ESCAPE: Final = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-Z\\-_]")
_LONGEST: Final = 8192
_SHELL_AT: Final = re.compile(
    r"""\s*at\s+(['"]?)(?P<command>AT.*?)\1\s*""", re.DOTALL | re.IGNORECASE
)
_SHELL_SECRET: Final = re.compile(
    r"\s*(?:cred\s+(?:buf|add)|settings\s+write)\b.*|.*PRIVATE KEY.*", re.DOTALL | re.IGNORECASE
)
_SHORTEST_PIECE: Final = 6
_UNPRINTABLE: Final = re.compile(r"[^\t -~\xa0-\xff]")


class Lines:
    """Bytes into lines; `rest` gives what stands there without an end, such as a shell's prompt."""

    def __init__(self) -> None:
        self._tail = b""

    def receive(self, data: bytes) -> list[str]:
        """The lines that these bytes end, without empty ones."""
        text = self._tail + data
        if text.endswith(b"\r"):  # its LF may be on the way
            *lines, tail = _LINE_END.split(text[:-1])
            self._tail = tail + b"\r"
        else:
            *lines, self._tail = _LINE_END.split(text)
        if len(self._tail) > _LONGEST:
            lines, self._tail = [*lines, self._tail], b""
        return [shown for line in lines if (shown := readable(line))]

    def rest(self) -> str:
        """The beginning of a line that has not ended, given once."""
        tail, self._tail = self._tail, b""
        return readable(tail.rstrip(b"\r"))


def readable(data: bytes) -> str:
    r"""Text without a terminal's control sequences; bytes that are none as \\xNN, so that nothing
    moves the cursor.
    """
    text = _ESCAPE.sub(b"", data).decode("latin-1")
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text).rstrip()


def command_of(text: str) -> str:
    """The AT command in a typed line: itself, or what a shell's `at '…'` carries; else the line."""
    found = _SHELL_AT.fullmatch(text)
    return found["command"] if found else text.strip()


def is_open(text: str) -> bool:
    """Whether an AT command has an open quote, so that Enter goes on in the next line (PEM)."""
    return at_text.is_command(command_of(text)) and text.count('"') % 2 == 1


def is_secret(text: str) -> bool:
    """Whether a typed line hands over a key, PIN, password or something that may be one."""
    return at_text.carries_secret(command_of(text)) or _SHELL_SECRET.fullmatch(text) is not None


def changes(text: str) -> bool:
    """Whether a typed line may change the board: whatever is not known to be a reading command."""
    return bool(text.strip()) and not at_text.only_reads(command_of(text))


def for_record(text: str) -> str:
    """The line as it may be kept: nothing that stands in quotes, and of a secret one its first
    words.
    """
    command = command_of(text)
    if at_text.is_command(command):
        return at_text.for_record(command)
    if is_secret(text):
        return " ".join([*text.split()[:2], "***"])
    return re.sub(r'"[^"]*"', '"***"', text.strip())


def pieces(text: str) -> set[str]:
    """What of a secret line a board may echo: whatever in it is long enough to be told apart."""
    return {piece for piece in re.split(r"[\s\"',=]+", text) if len(piece) >= _SHORTEST_PIECE}


class LogText:
    """Lines for a log file: times, direction, and nothing that a secret line carried, echoed or
    not.
    """

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def sent(self, text: str) -> str:
        """A line of ours."""
        if not is_secret(text):
            return text
        self._secrets |= pieces(text)
        return for_record(text)

    def received(self, line: str) -> str:
        """A line of the board."""
        return (
            f"({len(line)} characters masked)"
            if any(piece in line for piece in self._secrets)
            else line
        )
