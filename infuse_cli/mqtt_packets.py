"""The few packets of MQTT 3.1.1 that it takes to be let in by a broker, as values: no socket, no
clock.

Source: OASIS MQTT 3.1.1, sections 2.2 (fixed header), 3.1 (CONNECT), 3.2 (CONNACK), 3.12 to 3.14.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

CONNACK_SIZE: Final = 4
PING: Final = b"\xc0\x00"
PING_ANSWER: Final = b"\xd0\x00"
DISCONNECT: Final = b"\xe0\x00"
_CLEAN_SESSION: Final = 0x02
_USER_NAME: Final = 0x80
_PASSWORD: Final = 0x40
_MOST: Final = 0xFFFF


class Connack(IntEnum):
    """What a broker says to a CONNECT (section 3.2.2.3)."""

    ACCEPTED = 0
    PROTOCOL_VERSION = 1
    IDENTIFIER = 2
    UNAVAILABLE = 3
    BAD_CREDENTIALS = 4
    NOT_AUTHORISED = 5

    @property
    def words(self) -> str:
        """The answer in words."""
        return _WORDS[self]


_WORDS: Final = {
    Connack.ACCEPTED: "accepted",
    Connack.PROTOCOL_VERSION: "it does not speak MQTT 3.1.1",
    Connack.IDENTIFIER: "it does not take the client identifier",
    Connack.UNAVAILABLE: "its MQTT service is not available",
    Connack.BAD_CREDENTIALS: "user name or password are wrong",
    Connack.NOT_AUTHORISED: "not authorised",
}


def connect(
    client_id: str,
    *,
    user_name: str | None = None,
    password: str | None = None,
    keep_alive_s: int = 60,
) -> bytes:
    """A CONNECT with a clean session.

    Raises ValueError for a text of more than 65535 bytes, or a password alone.
    """
    if password is not None and user_name is None:
        raise ValueError("MQTT 3.1.1 has no password without a user name")
    flags = (
        _CLEAN_SESSION
        | (_USER_NAME if user_name is not None else 0)
        | (_PASSWORD if password is not None else 0)
    )
    texts = [text for text in (client_id, user_name, password) if text is not None]
    body = (
        _text("MQTT")
        + bytes([4, flags])
        + keep_alive_s.to_bytes(2, "big")
        + b"".join(map(_text, texts))
    )
    return b"\x10" + _length(len(body)) + body


def connack(packet: bytes) -> Connack:
    """The broker's answer to a CONNECT. Raises ValueError for what is none."""
    if len(packet) != CONNACK_SIZE or packet[:2] != b"\x20\x02":
        raise ValueError("not a CONNACK")
    return Connack(packet[3])


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > _MOST:
        raise ValueError(f"a text of {len(data)} bytes does not fit into an MQTT packet")
    return len(data).to_bytes(2, "big") + data


def _length(size: int) -> bytes:
    """A remaining length: seven bits a byte, the lowest first."""
    digits = bytearray()
    while True:
        size, digit = divmod(size, 0x80)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(digits)
