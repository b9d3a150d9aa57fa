"""What went over a wire, for the record of a failed attempt: bounded, secrets masked."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.types import Command

MOST_BYTES: Final = 256 * 1024

_LONGEST_LINE: Final = 8192
_FRAME: Final = 14  # time, mark and line end
_LONGEST_ESCAPE: Final = 4  # "\\xe9": only latin-1 comes over a wire
_SHORTEST_FRAGMENT: Final = 6
_LINE_ENDS: Final = re.compile(rb"[\r\n]+")
_FINAL: Final = re.compile(r"OK|ERROR|\+CM[ES] ERROR: *\d{0,5}")
_QUOTED: Final = re.compile(r'"[^"]*"?')


class Transcript:
    """Lines with a time in milliseconds since opening; `>` is ours, `<` the board's, `#` a remark.

    While a secret command is under way only final lines of the board are shown, and a line that
    holds a piece of a secret is masked whenever it comes. The oldest lines go when there are more
    than 256 KiB.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now: Final = now
        self._start: Final = now()
        self._lines: deque[tuple[float, str, str]] = (
            deque()
        )  # as they came: most transcripts are never read
        self._size = 0
        self._dropped = 0
        self._tail = b""
        self._secrets: set[str] = set()
        self._secret_now = False

    def sent(self, command: Command) -> None:
        """A command that is about to go out."""
        self._secret_now = command.secret
        if command.secret:
            self._secrets.update(_pieces(command.text))
        self._add(">", _masked(command.text) if command.secret else command.text)

    def remark(self, text: str) -> None:
        """Something that happened beside the bytes."""
        self._add("#", text)

    def received(self, data: bytes) -> None:
        """Bytes of the board, as they come."""
        *lines, tail = _LINE_ENDS.split(self._tail + data)
        self._tail = tail if len(tail) <= _LONGEST_LINE else b""
        for line in lines:
            if line:
                self._add("<", self._shown(line.decode("latin-1")))

    def text(self) -> str:
        """All of it, a line each; what the board began and did not end comes last."""
        first = [f"# {self._dropped} earlier lines dropped"] if self._dropped else []
        last = (
            [f"# unfinished: {_escaped(self._shown(self._tail.decode('latin-1')))}"]
            if self._tail
            else []
        )
        lines = (f"{ms:10.1f} {mark} {_escaped(text)}" for ms, mark, text in self._lines)
        return "".join(f"{line}\n" for line in (*first, *lines, *last))

    def _shown(self, line: str) -> str:
        guarded = self._secret_now and not _FINAL.fullmatch(line.strip())
        if guarded or any(piece in line for piece in self._secrets):
            return f"({len(line)} characters masked)"
        return line

    def _add(self, mark: str, text: str) -> None:
        self._lines.append(((self._now() - self._start) * 1000, mark, text))
        self._size += _size(text)
        while self._size > MOST_BYTES:
            self._size -= _size(self._lines.popleft()[2])
            self._dropped += 1


def _size(text: str) -> int:
    """Bytes of a line in the transcript: exact for plain text, an upper bound where characters are
    escaped.
    """
    plain = text.isascii() and text.isprintable()
    return _FRAME + min(len(text) * (1 if plain else _LONGEST_ESCAPE), _LONGEST_LINE)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")[:_LONGEST_LINE]


def _pieces(text: str) -> set[str]:
    """What of a secret command may turn up in a line by itself: lines inside quotes, words after
    the first.
    """
    inside = _QUOTED.findall(text) or re.split(r"[ =]", text)[1:]
    lines = (piece for part in inside for piece in re.split(r'["\s]+', part))
    return {piece for piece in lines if len(piece) >= _SHORTEST_FRAGMENT}


def _masked(text: str) -> str:
    if '"' in text:
        return _QUOTED.sub('"***"', text)
    return re.split(r"[ =]", text)[0] + " ***"
