"""ePacket frames on a serial port: `D5 CA`, a length, a payload, with console text in between.

A frame has no checksum: what tells a frame from chance is its length and the tag of its encryption.
So a payload that nobody accepts is given up from its first byte on and looked through again, a
length of 0 or beyond the largest frame never swallows anything, and a stray `D5` costs nothing.
Sources: `docs/reference/interfaces/board-serial.md#epacket-frames`; infuse-sdk
ePacket serial interface.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

SYNC: Final = b"\xd5\xca"
LARGEST: Final = 555
"""Bytes of the largest payload (CONFIG_EPACKET_PACKET_SIZE_MAX)."""

PING: Final = SYNC + b"\x01\x00\x4d"
"""Asks the device for its ids; it answers at most once a second."""

TAG: Final = 16
DEVICE_AUTH: Final = 0x8000
_PREFIX: Final = 4
_HEADER: Final = struct.Struct("<BBH3sIIIHH")
_CLEAR: Final = 11
"""Bytes of the header that are associated data; the rest of it is the nonce."""

OVERHEAD: Final = _HEADER.size + TAG


class Kind(enum.IntEnum):
    """Types of packets that matter here."""

    ECHO_REQUEST = 0
    ECHO_RESPONSE = 1
    RPC_COMMAND = 3
    RPC_RESPONSE = 6
    SERIAL_LOG = 10
    KEY_IDS = 127


class FrameCipher(Protocol):
    """Seals and opens frames with the key of one network; the key itself stays with whoever made
    this.
    """

    @property
    def network_id(self) -> int:
        """24-bit id of the network."""

    def seal(self, gps_time: int, nonce: bytes, plain: bytes, clear: bytes) -> bytes:
        """ChaCha20-Poly1305 under the serial key of that day; `clear` is associated data."""

    def open(self, gps_time: int, nonce: bytes, sealed: bytes, clear: bytes) -> bytes | None:
        """The plain text, None when the tag does not fit."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet: who it is from or for, when (GPS seconds), and its plain content."""

    kind: int
    device_id: int
    gps_time: int
    content: bytes = b""
    flags: int = 0
    key_id: int = 0
    sequence: int = 0
    entropy: int = 0


def frame(payload: bytes) -> bytes:
    """The bytes on the wire. Raises ValueError for a payload that no frame holds."""
    if not 0 < len(payload) <= LARGEST:
        raise ValueError(f"a frame holds 1 to {LARGEST} bytes, not {len(payload)}")
    return SYNC + struct.pack("<H", len(payload)) + payload


def sealed(packet: Packet, cipher: FrameCipher) -> bytes:
    """The payload of a packet, authenticated by the network's key."""
    head = _HEADER.pack(
        0,
        packet.kind,
        packet.flags,
        packet.key_id.to_bytes(3, "little"),
        packet.device_id >> 32,
        packet.device_id & 0xFFFFFFFF,
        packet.gps_time,
        packet.sequence,
        packet.entropy,
    )
    return head + cipher.seal(packet.gps_time, head[_CLEAR:], packet.content, head[:_CLEAR])


def opened(payload: bytes, cipher: FrameCipher) -> Packet | None:
    """The packet in a payload, None for anything that this network's key did not make."""
    if len(payload) < OVERHEAD or payload[0] != 0:
        return None
    head = payload[: _HEADER.size]
    _, kind, flags, key_id, upper, lower, gps_time, sequence, entropy = _HEADER.unpack(head)
    if flags & DEVICE_AUTH:
        return None
    plain = cipher.open(gps_time, head[_CLEAR:], payload[_HEADER.size :], head[:_CLEAR])
    if plain is None:
        return None
    return Packet(
        kind,
        upper << 32 | lower,
        gps_time,
        plain,
        flags,
        int.from_bytes(key_id, "little"),
        sequence,
        entropy,
    )


class FrameParser:
    """Frames and console text out of a stream, in order, however it is split.

    `accept` is given every payload and says whether it makes sense; `console` is given what was no
    frame.
    """

    def __init__(self, accept: Callable[[bytes], bool], console: Callable[[bytes], None]) -> None:
        self._accept: Final = accept
        self._console: Final = console
        self._data = b""

    def receive(self, data: bytes) -> None:
        """Take bytes."""
        self._data += data
        while self._step():
            pass

    def flush(self) -> None:
        """Nothing more comes: a half frame is looked through again."""
        while self._data:
            self._give_up(1)
            while self._step():
                pass

    def _step(self) -> bool:
        """Whether there was text or a frame; not when more bytes are needed."""
        data = self._data
        if not data:
            return False
        at = data.find(SYNC[:1])
        if at != 0:
            return self._give_up(len(data) if at < 0 else at)
        if data[1:2] not in {b"", SYNC[1:]}:
            return self._give_up(1)
        if len(data) < _PREFIX:
            return False
        return self._frame(data, int.from_bytes(data[len(SYNC) : _PREFIX], "little"))

    def _frame(self, data: bytes, size: int) -> bool:
        """What a frame of that length begins; a length that none has is no frame, and nothing is
        waited for.
        """
        end = _PREFIX + size
        if 0 < size <= LARGEST and len(data) < end:
            return False
        if not 0 < size <= LARGEST or not self._accept(data[_PREFIX:end]):
            return self._give_up(1)
        self._data = data[end:]
        return True

    def _give_up(self, size: int) -> bool:
        text, self._data = self._data[:size], self._data[size:]
        self._console(text)
        return True
