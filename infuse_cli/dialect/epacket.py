"""Host codec of dialect `epacket`: RPCs in encrypted frames, console text in between.

A command is `<rpc> <parameters in hex>`; its reply has one information line, `<device id> <network
id> <code> <data>` with ids and data in hex and the device's return code, negative for an errno.
Requests carry a number of their own, so that a late answer is never taken for another's. Sources:
`docs/reference/interfaces/board-serial.md#epacket-frames`; infuse-sdk RPC definitions.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.at import BOOT, LONGEST_LINE, NOISE
from infuse_cli.dialect.base import CodecOptions, Heard, LinkEvent, LinkState, after
from infuse_cli.dialect.frames import (
    LARGEST,
    OVERHEAD,
    PING,
    FrameParser,
    Kind,
    Packet,
    frame,
    opened,
    sealed,
)
from infuse_cli.dialect.host_codec import HostCodec
from infuse_cli.errors import BoardError, ProfileError
from infuse_cli.types import Reply

if TYPE_CHECKING:
    from infuse_cli.types import Command

RPCS: Final = {
    "reboot": 1,
    "kv_write": 5,
    "kv_read": 6,
    "application_info": 9,
    "lte_at_cmd": 20,
    "security_state": 30000,
    "security_public_keys": 30002,
}
"""Numbers of the RPCs that are used here."""

ANSWER: Final = re.compile(
    r"(?P<device>[0-9a-f]{16}) (?P<network>[0-9a-f]{6}) (?P<code>-?\d+) (?P<data>(?:[0-9a-f]{2})*)"
)
"""The one information line of a reply."""

_REQUEST: Final = struct.Struct("<IH")
_RESPONSE: Final = struct.Struct("<IHh")
_LINE_ENDS: Final = re.compile(rb"[\r\n]+")
_FAST_BAUD: Final = 115200


class EpacketCodec(HostCodec):
    """Host role of dialect `epacket`; see `base.Codec`."""

    NAME = "epacket"
    _ASKS = "an ePacket ping"
    _PROBE_S = 0.85  # a device answers one ping a second
    _PROBES = 2

    def __init__(self, options: CodecOptions) -> None:
        super().__init__()
        if options.cipher is None:
            raise ProfileError("profile.unsupported", "dialect epacket needs the network's key")
        self._cipher: Final = options.cipher
        self._now: Final = options.gps_time
        self._random: Final = options.random
        # Two zero bytes wake a receiver that sleeps, which it does above this speed.
        self._wake: Final = b"\0\0" if options.baud > _FAST_BAUD else b""
        self._parser: Final = FrameParser(self._accept, self._console)
        self._request: bytes | None = None
        self._command = 0
        self._text = b""
        self._probes_made = 0
        self._pongs = 0

    def encode(self, command: Command) -> bytes:
        """The frame of an RPC, network authentication, for whichever device is on the port."""
        state = after(self._state, LinkEvent.SENT)
        number, parameters = _parsed(command)
        request = self._random(_REQUEST.size - 2)
        content = request + number.to_bytes(2, "little") + parameters
        if len(content) + OVERHEAD > LARGEST:
            raise BoardError(
                "serial.too-long",
                f"{command.text.partition(' ')[0]} needs {len(content) + OVERHEAD} bytes, a frame"
                f" holds {LARGEST}",
            )
        packet = Packet(
            Kind.RPC_COMMAND,
            0,
            self._now(),
            content,
            key_id=self._cipher.network_id,
            entropy=int.from_bytes(self._random(2), "little"),
        )
        self._state, self._request, self._command = state, request, number
        return self._wake + frame(sealed(packet, self._cipher))

    def receive(self, data: bytes) -> None:
        """Take bytes of the board, however they are split."""
        self._parser.receive(data)

    def desync(self) -> None:
        """Only a resync leads back."""
        super().desync()
        self._request = None

    def abandon(self) -> Reply:
        """Give up on the command under way."""
        self.desync()
        return self._reply(ok=False)

    def probe(self) -> bytes:
        """A ping."""
        self._state = after(self._state, LinkEvent.PROBE)
        self._parser.flush()
        self._probes_made += 1
        return self._wake + PING

    def probed(self) -> Heard:
        """Whether the device gave its ids."""
        if not self._pongs:
            return Heard.NOTHING
        return Heard.CLEAN if self._probes_made == 1 else Heard.NOISY

    def settle(self) -> None:
        """The line is quiet: IDLE again."""
        self._state = after(self._state, LinkEvent.SETTLED)
        self._probes_made = self._pongs = 0

    def _accept(self, payload: bytes) -> bool:
        packet = opened(payload, self._cipher)
        if packet is None:
            return False
        if packet.kind == Kind.KEY_IDS:
            self._pongs += self._state is LinkState.PROBING
        elif packet.kind == Kind.RPC_RESPONSE and len(packet.content) >= _RESPONSE.size:
            self._answered(packet)
        elif packet.kind == Kind.SERIAL_LOG:
            self._note(packet.content.decode("ascii", "replace").strip())
        return True

    def _answered(self, packet: Packet) -> None:
        number, command, code = _RESPONSE.unpack_from(packet.content)
        if self._state is not LinkState.AWAITING or (number.to_bytes(4, "little"), command) != (
            self._request,
            self._command,
        ):
            self._note(f"(an answer to RPC {command} that nobody waits for)")
            return
        self._state = after(self._state, LinkEvent.FINAL)
        line = (
            f"{packet.device_id:016x} {packet.key_id:06x} {code}"
            f" {packet.content[_RESPONSE.size :].hex()}"
        )
        self._replies.append(self._reply(ok=code >= 0, info=(line,)))

    def _console(self, text: bytes) -> None:
        *lines, tail = _LINE_ENDS.split(self._text + text)
        self._text = tail[-LONGEST_LINE:]
        for line in lines:
            plain = NOISE.sub(b"", line).decode("ascii", "replace").strip()
            self._rebooted = self._rebooted or BOOT.fullmatch(plain) is not None
            self._note(plain)

    def _note(self, line: str) -> None:
        if line:
            super()._note(line)

    def _reply(self, *, ok: bool, info: tuple[str, ...] = ()) -> Reply:
        reply = Reply(ok, info, None, self._rebooted, tuple(self._unsolicited))
        self._request, self._rebooted = None, False
        self._unsolicited.clear()
        return reply


def _parsed(command: Command) -> tuple[int, bytes]:
    name, _, parameters = command.text.partition(" ")
    if name not in RPCS:
        raise ProfileError(
            "profile.unsupported",
            f"{name[:40]!r} is no RPC that dialect epacket knows: {', '.join(RPCS)}",
        )
    try:
        return RPCS[name], bytes.fromhex(parameters)
    except ValueError:
        raise ProfileError(
            "profile.unsupported", f"the parameters of {name} are hex digits, two a byte"
        ) from None
