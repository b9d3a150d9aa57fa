"""Device role of dialect `at`: what a board with an AT host makes of a host's bytes, and what it
answers.

Pure: no clock, no port. A virtual board feeds it what came over the wire and sends what it returns.
Source: sdk-nrf lib/at_host, whose buffer rules are kept, its overflow included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE_LIMIT: Final = 4096
"""Bytes that an AT host's line buffer holds (CONFIG_AT_HOST_CMD_MAX_LEN)."""

_QUOTE: Final = 0x22
_ENDS: Final = b"\r\n"
_RUBOUT: Final = b"\x08\x7f"


class AtDevice:
    """Commands out of a host's bytes, and bytes out of answers.

    A command ends at CR, LF or CRLF outside double quotes; inside them both are content, so PEM
    travels raw. Texts are Latin-1, one character a byte, so nothing is lost. `line_limit` is in
    bytes without the terminator. A byte beyond it is dropped, a closing quote too: then the
    terminator is taken for content and the port is dead until `reset`, as on the real firmware.
    """

    def __init__(
        self, *, echo: bool = False, line_limit: int = LINE_LIMIT, blank_before_answer: bool = False
    ) -> None:
        self.echo = echo
        self.blank_before_answer = blank_before_answer
        self._line_limit: Final = line_limit
        self._line = bytearray()
        self._quoted = False

    def receive(self, data: bytes) -> list[str]:
        """Take bytes of the host and return the commands that they complete, without
        terminators.
        """
        commands: list[str] = []
        for byte in data:
            if not self._quoted and byte in _ENDS:
                commands += self._finish()
            else:
                self._store(byte)
        return commands

    def reset(self) -> None:
        """Forget a half line, as a reboot does."""
        self._line.clear()
        self._quoted = False

    def echo_of(self, data: bytes) -> bytes:
        """What echo sends back for received bytes: the very same, or nothing when it is off."""
        return data if self.echo else b""

    def answer(self, *, info: Sequence[str] = (), ok: bool = True, cme: int | None = None) -> bytes:
        """The bytes of an answer: its information lines, then `OK`, `+CME ERROR: n` when `cme` is
        given, or `ERROR`.
        """
        refusal = "ERROR" if cme is None else f"+CME ERROR: {cme}"
        final = "OK" if ok and cme is None else refusal
        start = ["", *info] if self.blank_before_answer else [*info]
        return "".join(f"{line}\r\n" for line in (*start, final)).encode("latin-1")

    def unsolicited(self, line: str) -> bytes:
        """The bytes of a line that nobody asked for: a URC, log or boot text."""
        return f"{line}\r\n".encode("latin-1")

    def _finish(self) -> list[str]:
        line = bytes(self._line)
        self.reset()
        return [line.decode("latin-1")] if any(0x20 < byte < 0x7F for byte in line) else []

    def _store(self, byte: int) -> None:
        if byte in _RUBOUT:
            del self._line[-1:]
            self._quoted = self._line.count(_QUOTE) % 2 == 1
        elif len(self._line) < self._line_limit:
            self._line.append(byte)
            self._quoted ^= byte == _QUOTE
