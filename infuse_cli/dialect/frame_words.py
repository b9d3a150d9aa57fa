"""What can be said of an ePacket frame without its key: kind, device, which key, length.

For people who watch a port.

Sources: `docs/reference/interfaces/board-serial.md#epacket-frames`; infuse-sdk
ePacket serial header.
"""

from __future__ import annotations

import struct
from typing import Final

from infuse_cli.dialect.frames import DEVICE_AUTH, LARGEST, OVERHEAD

_HEADER: Final = struct.Struct("<BBH3sIIIHH")
_KINDS: Final = {
    0: "ECHO_REQ",
    1: "ECHO_RSP",
    2: "TDF",
    3: "RPC_CMD",
    4: "RPC_DATA",
    5: "RPC_DATA_ACK",
    6: "RPC_RSP",
    7: "RECEIVED_EPACKET",
    8: "ACK",
    9: "FORWARD",
    10: "SERIAL_LOG",
    30: "MEMFAULT_CHUNK",
    127: "KEY_IDS",
}


def outline(payload: bytes) -> str | None:
    """One line about a frame's payload; None for bytes that are no frame as far as that can be told
    without the key.
    """
    if not OVERHEAD <= len(payload) <= LARGEST:
        return None
    version, kind, flags, key_id, upper, lower, _, sequence, _ = _HEADER.unpack_from(payload)
    if version != 0 or kind not in _KINDS:
        return None
    which = "device key" if flags & DEVICE_AUTH else "network key"
    return (
        f"frame {_KINDS[kind]}, device {upper << 32 | lower:016x}, {which}"
        f" {int.from_bytes(key_id, 'little'):06x}, sequence {sequence}, {len(payload) - OVERHEAD}"
        " bytes sealed"
    )
