"""Device role of dialect `epacket`: requests out of a host's frames, frames out of answers.

Pure: no clock, no port. Frames of another network are passed over, as the firmware does.
Source: infuse-sdk ePacket serial interface and RPC server.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.frames import FrameParser, Kind, Packet, frame, opened, sealed

if TYPE_CHECKING:
    from infuse_cli.dialect.frames import FrameCipher

_PING: Final = b"\x4d"
_REQUEST: Final = struct.Struct("<IH")
_RESPONSE: Final = struct.Struct("<IHh")


@dataclass(frozen=True, slots=True)
class Rpc:
    """A request: its number, the command's, the parameters, and the host's time that keys the
    answer too.
    """

    request: int
    command: int
    parameters: bytes
    gps_time: int


@dataclass(frozen=True, slots=True)
class Ping:
    """The host asks for the device's ids."""


def _passed_over(_: bytes) -> None:
    """A device has no use for what is no frame."""


class EpacketDevice:
    """Requests out of bytes.

    `device_id` is the 64-bit id in the chip's OTP, all ones while there is none.
    """

    def __init__(self, cipher: FrameCipher, device_id: int) -> None:
        self._cipher: Final = cipher
        self.device_id = device_id
        self._parser = FrameParser(self._accept, _passed_over)
        self._heard: list[Rpc | Ping] = []
        self._sequence = 0

    def receive(self, data: bytes) -> list[Rpc | Ping]:
        """Take bytes of the host and return the requests that they complete."""
        self._parser.receive(data)
        heard, self._heard = self._heard, []
        return heard

    def reset(self) -> None:
        """Forget a half frame, as a reboot does."""
        self._parser = FrameParser(self._accept, _passed_over)

    def key_ids(self, device_key_id: int, gps_time: int) -> bytes:
        """The answer to a ping."""
        return self._packet(Kind.KEY_IDS, device_key_id.to_bytes(3, "little"), gps_time)

    def answer(self, rpc: Rpc, code: int, data: bytes = b"") -> bytes:
        """The answer to a request."""
        return self._packet(
            Kind.RPC_RESPONSE, _RESPONSE.pack(rpc.request, rpc.command, code) + data, rpc.gps_time
        )

    def _packet(self, kind: Kind, content: bytes, gps_time: int) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFF
        packet = Packet(
            kind,
            self.device_id,
            gps_time,
            content,
            key_id=self._cipher.network_id,
            sequence=self._sequence,
        )
        return frame(sealed(packet, self._cipher))

    def _accept(self, payload: bytes) -> bool:
        if payload == _PING:
            self._heard.append(Ping())
            return True
        packet = opened(payload, self._cipher)
        if (
            packet is not None
            and packet.kind == Kind.RPC_COMMAND
            and len(packet.content) >= _REQUEST.size
        ):
            request, command = _REQUEST.unpack_from(packet.content)
            self._heard.append(
                Rpc(request, command, packet.content[_REQUEST.size :], packet.gps_time)
            )
        return packet is not None
