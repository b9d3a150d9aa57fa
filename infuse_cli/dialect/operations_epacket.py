"""What is done to a board that speaks dialect `epacket`: identity, the key-value store,
`security_state`.

No certificate travels over it: a frame holds 555 bytes. A board is known by its modem's UUID where
the firmware runs AT commands for us (`lte_at_cmd`), else by its chip's id; then, while the port is
open, by the public key that it showed first. Sources: infuse-sdk RPC and KV
definitions; `docs/reference/interfaces/board-serial.md#epacket-frames`.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from typing import TYPE_CHECKING, Final, TypeVar

from infuse_cli.dialect import commands
from infuse_cli.dialect.base import Operations
from infuse_cli.dialect.epacket import ANSWER
from infuse_cli.errors import BoardError
from infuse_cli.types import BoardIdentity, Command

if TYPE_CHECKING:
    from infuse_cli.dialect.base import Conversation
    from infuse_cli.types import Reply

KV_MODEL, KV_FIRMWARE, KV_IMEI, KV_ICCID = 40, 41, 43, 44
"""Keys of the store that hold what `lte_modem_info` shows."""

STATE_HEADER: Final = 69
_CHALLENGE: Final = 16
_KEY: Final = 32
_DEVICE_KEY, _CLOUD_KEY = 3, 4
_VALUE: Final = struct.Struct("<Hh")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_IMEI_DIGITS: Final = 15
_NUMBER: Final = re.compile(r"\+CM[ES] ERROR: (\d+)")

T = TypeVar("T")


class EpacketOperations(Operations):
    """Operations over dialect `epacket`, one for each board: it keeps the public key that the board
    showed first.
    """

    DIALECT = "epacket"

    def __init__(self, buffer: int = 0) -> None:
        super().__init__(buffer)
        self._public_key: bytes | None = None

    def identify(self) -> Conversation[BoardIdentity]:
        """What the key-value store knows of modem and SIM, and the modem's UUID where it can be
        asked for.

        Raises BoardError board.changed where another board came while this one was asked.
        """
        uuid = yield from _modem_uuid()
        self._public_key = None if uuid is not None else (yield from self._shown())
        values = yield from _kv_read(KV_MODEL, KV_FIRMWARE, KV_IMEI, KV_ICCID)
        yield from self.same_board(uuid or "the one that was asked who it is")
        raw = values.get(KV_IMEI, b"")
        imei = f"{int.from_bytes(raw, 'little'):015d}" if raw.strip(b"\0") else None
        return BoardIdentity(
            uuid=uuid or "",
            imei=imei if imei and len(imei) == _IMEI_DIGITS else None,
            model=_text(values.get(KV_MODEL)),
            modem_firmware=_text(values.get(KV_FIRMWARE)),
            iccid=_text(values.get(KV_ICCID)),
        )

    def same_board(self, uuid: str) -> Conversation[None]:
        """Raises board.changed when another board answers."""
        if _UUID.fullmatch(uuid):
            found = yield from _modem_uuid()
            if found != uuid.lower():
                raise BoardError(
                    "board.changed",
                    f"board {found or 'without a UUID'} is on the port, {uuid} was begun; nothing"
                    " was written to it",
                )
            return
        found_key = yield from self._shown()
        if self._public_key is None or found_key != self._public_key:
            raise BoardError(
                "board.changed",
                f"the board on the port shows another key than {uuid} did; nothing was written"
                " to it",
            )

    def go_offline(self) -> Conversation[None]:
        """Nothing to do: nothing is written that a modem guards."""
        yield from ()

    def restore(self, mode: int | None) -> Conversation[None]:  # noqa: ARG002 - it was never changed
        """Nothing to do."""
        yield from ()

    def security_state(self, challenge: bytes) -> Conversation[bytes]:
        """The answer as it is: 69 bytes in the clear, then the sealed block, which firmware may
        leave out.
        """
        return (yield from _rpc("security_state", challenge, at_least=STATE_HEADER))

    def public_keys(self) -> Conversation[tuple[bytes, bytes | None]]:
        """The device's X25519 public key, and the cloud's that its firmware was built with, where
        it tells it.

        Firmware without `security_public_keys` tells both in its `security_state`. Raises
        BoardError modem.error.
        """
        try:
            data = yield from _rpc("security_public_keys", b"")
        except BoardError as error:
            if error.code != "modem.error":
                raise
            state = yield from self.security_state(bytes(_CHALLENGE))
            return state[_KEY : 2 * _KEY], state[:_KEY]
        keys = {
            data[at]: data[at + 1 : at + 1 + _KEY] for at in range(0, len(data) - _KEY, 1 + _KEY)
        }
        if _DEVICE_KEY not in keys:
            raise BoardError(
                "modem.error", f"security_public_keys: no key of the device among {sorted(keys)}"
            )
        return keys[_DEVICE_KEY], keys.get(_CLOUD_KEY)

    def _shown(self) -> Conversation[bytes]:
        """The device's public key."""
        state = yield from self.security_state(bytes(_CHALLENGE))
        return state[_KEY : 2 * _KEY]


def carried(conversation: Conversation[T]) -> Conversation[T]:
    """A conversation of AT commands, each sent to the modem by the firmware (`lte_at_cmd`);
    firmware that cannot gives bare errors.
    """
    try:
        command = next(conversation)
        while True:
            command = conversation.send((yield from _by_firmware(command)))
    except StopIteration as stop:
        result: T = stop.value
        return result


def _by_firmware(command: Command) -> Conversation[Reply]:
    reply = yield Command(
        f"lte_at_cmd {command.text.encode().hex()}",
        command.timeout_s,
        ANSWER,
        needs_info=True,
        effect=command.effect,
        secret=command.secret,
    )
    match = ANSWER.fullmatch(reply.info[0]) if reply.info else None
    text = bytes.fromhex(match["data"]).decode("ascii", "replace").rstrip("\0") if match else ""
    *lines, final = [line for line in text.splitlines() if line] or [""]
    number = _NUMBER.fullmatch(final)
    ends = final in {"OK", "ERROR"} or number is not None
    return dataclasses.replace(
        reply,
        ok=reply.ok and final == "OK",
        info=tuple(lines if ends or not final else [*lines, final]),
        cme=int(number[1]) if number else None,
    )


def _rpc(name: str, parameters: bytes, *, at_least: int = 0) -> Conversation[bytes]:
    command = Command(f"{name} {parameters.hex()}", commands.SIGN_S, ANSWER, needs_info=True)
    reply = yield command
    if not reply.ok and reply.rebooted:
        reply = yield command
    match = ANSWER.fullmatch(reply.info[0]) if reply.info else None
    data = bytes.fromhex(match["data"]) if match else b""
    if not reply.ok or len(data) < at_least:
        answer = (
            f"the device answered {match['code']} with {len(data)} bytes" if match else "no answer"
        )
        raise BoardError("modem.error", f"{name}: {answer}")
    return data


def _kv_read(*keys: int) -> Conversation[dict[int, bytes]]:
    """Values by key; those that are not there are left out."""
    data = yield from _rpc("kv_read", struct.pack(f"<B{len(keys)}H", len(keys), *keys))
    values: dict[int, bytes] = {}
    while len(data) >= _VALUE.size:
        key, size = _VALUE.unpack_from(data)
        data = data[_VALUE.size :]
        if size > 0:
            values[key], data = data[:size], data[size:]
    return values


def _modem_uuid() -> Conversation[str | None]:
    """By an AT command through the firmware; None where it runs none: that is said twice, for a
    board is bound to its key for good.
    """
    first = yield from _uuid_shown()
    return first if first is not None else (yield from _uuid_shown())


def _uuid_shown() -> Conversation[str | None]:
    command = Command(
        f"lte_at_cmd {b'AT%DEVICEUUID'.hex()}", commands.SIGN_S, ANSWER, needs_info=True
    )
    reply = yield command
    if not reply.ok and reply.rebooted:
        reply = yield command
    match = ANSWER.fullmatch(reply.info[0]) if reply.ok and reply.info else None
    shown = _UUID.search(bytes.fromhex(match["data"]).decode("ascii", "replace")) if match else None
    return shown.group().lower() if shown else None


def _text(value: bytes | None) -> str | None:
    """A string of the store: a length byte with its NUL, the text, the NUL."""
    if not value:
        return None
    return value[1 : 1 + value[0]].rstrip(b"\0").decode("ascii", "replace") or None
