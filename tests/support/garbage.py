"""Bytes as a broken line gives them, cheap enough to be made a hundred thousand times.

Twenty bytes are a whole stream: the first says how it is split, each later one is a letter or a
word that parsers look for. So shrinking works as usual, and a long run spends its time in the
parser.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LONG = settings(max_examples=5_000, database=None)

PIECES = (
    b"\r\n",
    b"\r",
    b"\n",
    b"OK\r\n",
    b"ERROR\r\n",
    b"+CME ERROR: 518\r\n",
    b"+CME ERROR: ",
    b"+CMS ERROR: 300\r\n",
    b"AT",
    b'"',
    b'"x',
    b"\x1b[",
    b"\x1b[1;32m",
    b"\x1b[m",
    b"\x1b[8D\x1b[J",
    b"\xd5",
    b"\xca",
    b"\xd5\xca",
    b"\xd5\xca\x00\x00",
    b"\xd5\xca\x01\x00\x4d",
    b"\xd5\xca\x10\x00",
    b"\xd5\xca\x2b\x02",
    b"\xd5\xca\xff\xff",
    b"uart:~$ ",
    b"mosh:~$ ",
    b"at '",
    b"at AT\r\n",
    b"'",
    b": command not found\r\n",
    b'%CMNG: 16,0,"',
    b"%CMNG: ",
    b"%DEVICEUUID: ",
    b"cred list 0\r\n",
    b"3 credentials found.\r\n",
    b"Stored 5 bytes.\r\n",
    b"*** Booting Zephyr OS build v3.7 ***\r\n",
    b"Ready\r\n",
    b"$GPGGA,1,2*00\r\n",
    b"\x03",
    b"\x7f",
    b"\x08",
    b"\0",
    b"x" * 40,
    b"\\n",
)
"""What the parsers know, whole and broken off."""

_WORDS = 128
_STEPS = (0, 7, 16, 29, 40, 64, 1, 512, 23, 11)

_SIZE, _TOGETHER = 20, 20


def many(check: Callable[..., None]) -> Callable[..., None]:
    """Run `check`, whose argument `data` is what `stream` and `text` take, a hundred thousand
    times.

    Twenty come of one draw: a draw of its own costs ten times what a parser does with it. A failure
    still shrinks to one.
    """

    @functools.wraps(check)
    def run(**given_: Any) -> None:
        drawn = given_.pop("data")
        for at in range(0, len(drawn), _SIZE):
            check(**given_, data=drawn[at : at + _SIZE])

    return _LONG(given(data=st.binary(min_size=_SIZE * _TOGETHER, max_size=_SIZE * _TOGETHER))(run))


def stream(data: bytes) -> list[bytes]:
    """The pieces of a stream: the first byte says where it is cut; of the others 0 is nothing, half
    of them are words.
    """
    whole = text(data[1:])
    step = _STEPS[data[0] % len(_STEPS)] or len(whole) or 1
    return [whole[at : at + step] for at in range(0, len(whole), step)]


def text(data: bytes, words: Sequence[bytes] = PIECES) -> bytes:
    """The same in one piece, with other words."""
    return b"".join(_piece(byte, words) for byte in data)


def _piece(byte: int, words: Sequence[bytes]) -> bytes:
    if byte >= _WORDS:
        return words[byte % len(words)]
    return bytes([byte if byte < 112 else byte * 8 & 0xFF | 0x80]) if byte else b""
