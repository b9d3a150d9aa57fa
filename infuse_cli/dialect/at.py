"""Host codec of dialect `at`: lines that end with CR, LF or CRLF, one command at a time.

Any split of the stream, empty lines, echo, ANSI codes, unsolicited lines, log and boot text and
garbage between lines give the same replies. Final lines are exactly `OK`, `ERROR`, `+CME ERROR: n`
and `+CMS ERROR: n`. Sources: sdk-nrf lib/at_host;
`docs/reference/interfaces/board-serial.md`.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.base import CodecOptions, Heard, LinkEvent, LinkState, after, head
from infuse_cli.dialect.host_codec import HostCodec
from infuse_cli.errors import BoardError, ProfileError
from infuse_cli.types import Reply

if TYPE_CHECKING:
    from infuse_cli.types import Command

LONGEST_LINE: Final = 16 * 1024
"""Bytes without a line end that are kept; what goes beyond is garbage and dropped up to the next
line end.
"""

_MOST_INFO: Final = 2048

_LINE_ENDS: Final = re.compile(rb"[\r\n]+")
_TEXT_ENDS: Final = re.compile(r"[\r\n]+")
NOISE: Final = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FINAL: Final = re.compile(r"OK|ERROR|\+CM[ES] ERROR: *.*")
_NUMBERED: Final = re.compile(r"\+CME ERROR: *(\d{1,5})")
BOOT: Final = re.compile(
    r"Ready|The AT host sample started.*|.*\*{3,5} (?:Booting|Using) .*|.*Booting"
    r" (?:TF-M|MCUboot|Zephyr OS|nRF Connect SDK)\b.*"
)
_TERMINATORS: Final = {"cr": b"\r", "lf": b"\n", "crlf": b"\r\n"}
_QUOTED: Final = re.compile(r'"[^"]*"')
_UNSENDABLE: Final = re.compile(r"[^ -~]")

_END_HALF_LINE: Final = "{end}AT{end}"
_END_HALF_QUOTE: Final = '"x{end}AT{end}'
# The junk after the quote keeps a half command from being carried out. Sent to a line without an
# open quote it
# opens one, and the next closes it: so these come in pairs.
_PROBES: Final = (_END_HALF_LINE, _END_HALF_QUOTE, _END_HALF_QUOTE)


class AtCodec(HostCodec):
    """Host role of dialect `at`; see `base.Codec`."""

    NAME = "at"
    _ASKS = "AT"

    def __init__(self, options: CodecOptions | None = None) -> None:
        super().__init__()
        chosen = options or CodecOptions()
        self._limit: Final = chosen.line_limit
        self._end: Final = _TERMINATORS[chosen.terminator]
        self._tail = b""
        self._overlong = False
        self._command: Command | None = None
        self._echo: deque[str] = deque()
        self._info: list[str] = []
        self._masked = False
        self._probes = 0
        self._finals: list[str] = []

    def encode(self, command: Command) -> bytes:
        """The command's bytes with their terminator; refused here rather than cut off by
        the board.
        """
        state = after(self._state, LinkEvent.SENT)
        data = self._wire(command) + self._end
        if len(data) > self._limit:
            raise BoardError(
                "serial.too-long",
                f"the command {head(command)} needs {len(data)} bytes, "
                f"the board's line holds {self._limit}",
            )
        self._state, self._command, self._info = state, command, []
        self._masked = command.secret
        self._echo = deque(filter(None, map(str.strip, _TEXT_ENDS.split(data.decode("ascii")))))
        return data

    def receive(self, data: bytes) -> None:
        """Take bytes of the board, however they are split."""
        *lines, tail = _LINE_ENDS.split(self._tail + data)
        if lines and self._overlong:
            self._note("(a line without an end was dropped)")
            lines, self._overlong = lines[1:], False
        if len(tail) > LONGEST_LINE:
            tail, self._overlong = b"", True
        self._tail = tail
        for line in lines:
            text = NOISE.sub(b"", line).decode("ascii", "replace").strip()
            if text:
                self._take(text)

    def abandon(self) -> Reply:
        """Give up on the command under way and return what was heard."""
        self.desync()
        return self._reply(ok=False, cme=None)

    def probe(self) -> bytes:
        """The bytes of the next attempt to get into step; after a refusal the line is known to be
        closed.
        """
        self._state = after(self._state, LinkEvent.PROBE)
        self._tail = b""
        text = _END_HALF_LINE if self._finals else _PROBES[self._probes % len(_PROBES)]
        self._probes += 1
        self._finals.clear()
        return text.format(end=self._end.decode()).encode()

    def probed(self) -> Heard:
        """What came back for the probes."""
        if "OK" not in self._finals:
            return Heard.REFUSED if self._finals else Heard.NOTHING
        quiet = (
            self._finals == ["OK"]
            and self._probes == 1
            and not self._unsolicited
            and not self._tail
        )
        return Heard.CLEAN if quiet else Heard.NOISY

    def settle(self) -> None:
        """The line is quiet: IDLE again. Boot text heard meanwhile shows in the next reply."""
        self._state = after(self._state, LinkEvent.SETTLED)
        self._probes, self._tail, self._overlong, self._command = 0, b"", False, None
        self._finals.clear()
        self._echo.clear()

    def _wire(self, command: Command) -> bytes:
        """The line that carries the command, without its terminator."""
        return checked(command)

    def _take(self, line: str) -> None:
        if self._is_echo(line):
            return
        if BOOT.fullmatch(line):
            self._rebooted = True
            self._note(line)
        elif _FINAL.fullmatch(line):
            self._final(line)
        elif self._is_info(line):
            self._info.append(line)
        else:
            # A secret's echo with bytes lost is no longer recognised as one.
            self._note(f"({len(line)} characters masked)" if self._masked else line)

    def _is_echo(self, line: str) -> bool:
        if self._state is LinkState.PROBING:
            return line in {"AT", '"x'}
        if line not in self._echo:
            return False
        while self._echo.popleft() != line:
            pass
        return True

    def _is_info(self, line: str) -> bool:
        wanted = self._command.info if self._command and self._state is LinkState.AWAITING else None
        return (
            wanted is not None
            and len(self._info) < _MOST_INFO
            and wanted.fullmatch(line) is not None
        )

    def _final(self, line: str) -> None:
        awaited = self._state is LinkState.AWAITING
        self._state = after(self._state, LinkEvent.FINAL)
        if self._state is LinkState.PROBING:
            self._finals.append(line)
        elif awaited:
            number = _NUMBERED.fullmatch(line)
            if line not in {"OK", "ERROR"} and number is None:
                self._note(line)
            self._replies.append(
                self._reply(ok=line == "OK", cme=int(number[1]) if number else None)
            )
        else:
            self._note(line)

    def _reply(self, *, ok: bool, cme: int | None) -> Reply:
        reply = Reply(ok, tuple(self._info), cme, self._rebooted, tuple(self._unsolicited))
        self._command, self._info, self._rebooted = None, [], False
        self._echo.clear()
        self._unsolicited.clear()
        return reply


def checked(command: Command) -> bytes:
    """An AT command's bytes.

    Raises ProfileError profile.unsupported for text that would not arrive as it is.
    """
    outside = _QUOTED.sub("", command.text)
    if '"' in outside or _UNSENDABLE.search(outside):
        raise ProfileError(
            "profile.unsupported",
            f"the command {head(command)!a} has an open quote, or a character "
            "outside quotes that ends or breaks an AT command",
        )
    if not command.text.isascii() or _UNSENDABLE.search(re.sub(r"[\r\n]", "", command.text)):
        raise ProfileError(
            "profile.unsupported",
            f"the command {head(command)!a} has a character that AT cannot carry",
        )
    return command.text.encode("ascii")
