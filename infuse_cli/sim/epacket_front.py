"""A virtual board with Infuse-IoT firmware: ePacket frames, the key-value store, security_state, AT
commands by RPC.
"""

from __future__ import annotations

import secrets
import struct
import time
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.epacket import RPCS
from infuse_cli.dialect.epacket_device import EpacketDevice, Ping, Rpc
from infuse_cli.dialect.frames import SYNC
from infuse_cli.dialect.operations_epacket import KV_FIRMWARE, KV_ICCID, KV_IMEI, KV_MODEL
from infuse_cli.keys import derivation
from infuse_cli.keys.frames import network_cipher
from infuse_cli.sim.fronts import Request
from infuse_cli.sim.modem import FIRMWARE, MODEL, Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from infuse_cli.sim.fronts import Front
    from infuse_cli.sim.modem import Modem

UNPROVISIONED: Final = 0xFFFFFFFFFFFFFFFF
TOKEN_KEY: Final = 20001
"""Where the virtual firmware looks for its registration token."""

_NAMES: Final = {number: name for name, number in RPCS.items()}
_UNKNOWN, _INVALID = -134, -22  # -ENOTSUP, -EINVAL
_VALUE: Final = struct.Struct("<Hh")
_MOST_ASKED: Final = 64
"""Requests that are remembered: one that is never answered, because the board hangs, is forgotten
behind these.
"""

_QUOTE: Final = 0x22
_ENDS: Final = b"\r\n"


class EpacketFront:
    """A front as `fronts.Front`; `cloud_public` is the X25519 key of the cloud that the firmware
    was built for.
    """

    def __init__(self, cloud_public: bytes) -> None:
        self._cloud_public: Final = cloud_public
        self._cipher: Final = network_cipher()
        self._device: Final = EpacketDevice(self._cipher, UNPROVISIONED)
        self._asked: dict[str, Rpc] = {}

    def set_echo(self, on: bool | None) -> None:
        """Frames are never echoed."""

    def echo(self, data: bytes) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""

    def receive(self, data: bytes) -> Iterable[Request | bytes]:
        """As `Front.receive`; a ping is answered at once."""
        for heard in self._device.receive(data):
            if isinstance(heard, Ping):
                yield self._device.key_ids(0, _gps_now())
                continue
            name = _NAMES.get(heard.command, f"rpc{heard.command}")
            line = f"{name} {heard.parameters.hex()} #{heard.request}"
            self._asked[line] = heard
            if len(self._asked) > _MOST_ASKED:
                del self._asked[next(iter(self._asked))]
            at = (
                heard.parameters.decode("latin-1").rstrip("\0")
                if name == "lte_at_cmd"
                else f"{name} {heard.parameters.hex()}"
            )
            yield Request(at, line)

    def execute(self, modem: Modem, request: Request) -> Answer:
        """As `Front.execute`; `info` is the answer's data in hex, `cme` its code."""
        rpc = self._asked[request.line]
        run = _RPCS.get(rpc.command)
        try:
            return _UNSUPPORTED if run is None else run(self, modem, rpc.parameters)
        except (struct.error, IndexError):
            return Answer(("",), ok=False, cme=_INVALID)

    def answer(self, request: Request, answer: Answer) -> bytes:
        """As `Front.answer`."""
        rpc = self._asked.pop(request.line)
        if not answer.ok:
            return self._device.answer(
                rpc, answer.cme if answer.cme is not None and answer.cme < 0 else -5
            )
        return self._device.answer(rpc, 0, bytes.fromhex("".join(answer.info)))

    def unsolicited(self, line: str) -> bytes:
        """Console text between the frames."""
        return f"{line}\r\n".encode("latin-1")

    def boot_text(self, lines: Iterable[str]) -> bytes:
        """As `Front.boot_text`."""
        return b"".join(map(self.unsolicited, lines))

    def reset(self) -> None:
        """As `Front.reset`; a request that is being carried out is answered by the board that was
        put here meanwhile.
        """
        self._device.reset()

    def reboots(self, request: Request) -> bool:
        """As `Front.reboots`."""
        return request.line.startswith("reboot ")

    def wakes(self, request: Request) -> bool:
        """The firmware looks for its token when the store changed."""
        return request.line.startswith("kv_write ")

    def _at(self, modem: Modem, parameters: bytes) -> Answer:
        answer = modem.execute(parameters.decode("latin-1").rstrip("\0"))
        final = (
            "OK" if answer.ok else "ERROR" if answer.cme is None else f"+CME ERROR: {answer.cme}"
        )
        return Answer(
            ("".join(f"{line}\r\n" for line in (*answer.info, final)).encode("latin-1").hex(),),
            delay_s=answer.delay_s,
        )

    def _kv_read(self, modem: Modem, parameters: bytes) -> Answer:
        keys = struct.unpack_from(f"<{parameters[0]}H", parameters, 1)
        values = {**modem.kv, **_built_in(modem)}
        rows = (
            (
                _VALUE.pack(key, len(values[key])) + values[key]
                if key in values
                else _VALUE.pack(key, -2)
            )
            for key in keys
        )
        return Answer((b"".join(rows).hex(),))

    def _kv_write(self, modem: Modem, parameters: bytes) -> Answer:
        at, codes = 1, b""
        for _ in range(parameters[0]):
            key, size = _VALUE.unpack_from(parameters, at)
            value = parameters[at + _VALUE.size : at + _VALUE.size + size]
            at += _VALUE.size + size
            codes += struct.pack("<h", 0 if modem.kv.get(key) == value else len(value))
            modem.kv[key] = value + (b"!" if modem.quirks.wrong_write else b"")
        return Answer((codes.hex(),), delay_s=modem.delays.nvm_s)

    def _security_state(self, modem: Modem, challenge: bytes) -> Answer:
        root = derivation.shared_secret(modem.packet_key, self._cloud_public)
        header = derivation.SecurityHeader(
            self._cloud_public, derivation.public_key(modem.packet_key), self._cipher.network_id
        )
        proof = derivation.SecurityProof(
            challenge[:16].ljust(16, b"\0"), modem.identity.hardware_id, self._device.device_id
        )
        block = derivation.seal_security_block(root, header, proof, secrets.token_bytes(12))
        return Answer((header.encode().hex(), block.hex()))

    def _public_keys(self, modem: Modem, _: bytes) -> Answer:
        return Answer(
            (f"03{derivation.public_key(modem.packet_key).hex()}04{self._cloud_public.hex()}",)
        )

    def _nothing(self, _modem: Modem, _: bytes) -> Answer:
        return Answer(("",))


def _gps_now() -> int:
    return int(time.time()) - derivation.GPS_EPOCH_UNIX_S + derivation.LEAP_SECONDS


def _string(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode() + b"\0"


def text_of(value: bytes) -> str:
    """A string of the key-value store."""
    return value[1 : 1 + value[0]].rstrip(b"\0").decode("latin-1")


def _built_in(modem: Modem) -> dict[int, bytes]:
    found = {
        KV_MODEL: _string(MODEL),
        KV_FIRMWARE: _string(FIRMWARE),
        KV_ICCID: _string(modem.identity.iccid),
    }
    return (
        found
        if modem.quirks.no_imei
        else {**found, KV_IMEI: int(modem.identity.imei).to_bytes(8, "little")}
    )


_UNSUPPORTED: Final = Answer(("",), ok=False, cme=_UNKNOWN)
_RPCS: Final[dict[int, Callable[[EpacketFront, Modem, bytes], Answer]]] = {
    RPCS["reboot"]: EpacketFront._nothing,  # noqa: SLF001
    RPCS["kv_write"]: EpacketFront._kv_write,  # noqa: SLF001
    RPCS["kv_read"]: EpacketFront._kv_read,  # noqa: SLF001 - the class's own table
    RPCS["lte_at_cmd"]: EpacketFront._at,  # noqa: SLF001
    RPCS["security_state"]: EpacketFront._security_state,  # noqa: SLF001
    RPCS["security_public_keys"]: EpacketFront._public_keys,  # noqa: SLF001
}


class AllFront:
    """A port that takes frames, bare AT commands and shell lines alike: whichever the host begins
    with.
    """

    def __init__(self, at: Front, shell: Front, frames: Front) -> None:
        self._at: Final = at
        self._shell: Final = shell
        self._frames: Final = frames
        self._line = b""
        self._owner: dict[str, Front] = {}

    def set_echo(self, on: bool | None) -> None:
        """As `Front.set_echo`; only the shell begins with it."""
        self._at.set_echo(on)
        self._shell.set_echo(on)

    def echo(self, data: bytes) -> bytes:  # noqa: ARG002 - whose line it is shows later
        """Nothing."""
        return b""

    def receive(self, data: bytes) -> Iterable[Request | bytes]:
        """As `Front.receive`: what begins like a frame is one, a line that begins with AT is a
        modem's.
        """
        self._line += data
        while self._line:
            if self._line.startswith(SYNC[:1]):
                framed, self._line = self._line, b""
                yield from self._owned(self._frames, framed)
                return
            end = self._end()
            if end is None:
                return
            line, self._line = self._line[: end + 1], self._line[end + 1 :]
            if line.strip(b"\r\n\x03"):
                bare = line.upper().startswith(b"AT") and line[2:3] != b" "
                yield from self._owned(self._at if bare else self._shell, line)

    def execute(self, modem: Modem, request: Request) -> Answer:
        """As `Front.execute`."""
        return self._owner[request.line].execute(modem, request)

    def answer(self, request: Request, answer: Answer) -> bytes:
        """As `Front.answer`."""
        return self._owner[request.line].answer(request, answer)

    def unsolicited(self, line: str) -> bytes:
        """As `Front.unsolicited`."""
        return self._at.unsolicited(line)

    def boot_text(self, lines: Iterable[str]) -> bytes:
        """As `Front.boot_text`."""
        return self._at.boot_text(lines)

    def reset(self) -> None:
        """As `Front.reset`."""
        self._line = b""
        for front in (self._at, self._shell, self._frames):
            front.reset()

    def reboots(self, request: Request) -> bool:
        """As `Front.reboots`."""
        return self._owner[request.line].reboots(request)

    def wakes(self, request: Request) -> bool:
        """As `Front.wakes`."""
        return self._owner[request.line].wakes(request)

    def _owned(self, front: Front, data: bytes) -> Iterable[Request | bytes]:
        for heard in front.receive(data):
            if isinstance(heard, Request):
                self._owner[heard.line] = front
            yield heard

    def _end(self) -> int | None:
        """Where the line ends; a modem's goes on inside double quotes."""
        quotes = self._line[:2].upper() == b"AT"
        quoted = False
        for at, byte in enumerate(self._line):
            quoted ^= quotes and byte == _QUOTE
            if byte in _ENDS and not quoted:
                return at
        return None
