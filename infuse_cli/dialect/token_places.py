"""Where a registration token goes when it is no credential of the modem: settings, key-value store,
a profile's command.

Each is written after the board was looked at and read back as far as the board lets it be.
Source: `docs/reference/interfaces/board-serial.md#where-a-registration-token-goes`.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from infuse_cli.dialect import commands
from infuse_cli.dialect.raw import raw_answer
from infuse_cli.errors import BoardError, ProfileError
from infuse_cli.types import Command

if TYPE_CHECKING:
    from infuse_cli.dialect.base import Conversation, Operations

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=:-]+")
_SETTING: Final = re.compile(r"[\w./-]{1,64}")
_WORD: Final = re.compile(r"\S+")
_KV_ANSWER: Final = re.compile(r"[0-9a-f]{16} [0-9a-f]{6} (-?\d+) ((?:[0-9a-f]{2})*)")
_KV_LARGEST: Final = 254
_LIKE_A_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{20,}")
"""What of a profile's own read-back may be a token or its digest; names and words of an answer are
shorter.
"""


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """A profile's `token` section, for the stores outside the modem."""

    store: Literal["settings", "kv", "command"]
    name: str = ""
    command: str = ""
    success: str = ""
    read_back: str | None = None


def write_token(ops: Operations, uuid: str, place: TokenPlace, token: str) -> Conversation[None]:
    """Put the token there.

    Raises BoardError when the board refuses, ProfileError profile.unsupported for what cannot
    travel.
    """
    if not _TOKEN.fullmatch(token):
        raise ProfileError(
            "profile.unsupported",
            f"the registration token has a character that token.store {place.store} cannot carry",
        )
    yield from ops.same_board(uuid)
    match place.store:
        case "settings":
            yield from _send(
                Command(
                    f"settings write string {_setting(place)} {token}",
                    commands.WRITE_S,
                    effect=True,
                    secret=True,
                ),
                f"writing the setting {place.name}",
            )
        case "kv":
            yield from _kv_write(_kv_number(place), token)
        case "command":
            yield from raw_answer(
                place.command.replace("{token}", token),
                place.success,
                commands.WRITE_S,
                effect=True,
                secret=True,
            )


def token_is_there(
    ops: Operations, uuid: str, place: TokenPlace, token: str
) -> Conversation[bool | None]:
    """Whether the board holds this token; None where it cannot be read back."""
    yield from ops.same_board(uuid)
    match place.store:
        case "settings":
            reply = yield Command(
                f"settings read string {_setting(place)}", commands.READ_S, _WORD, secret=True
            )
            return reply.ok and token in reply.info
        case "kv":
            return (yield from _kv_read(_kv_number(place))) == token.encode()
        case "command":
            return (yield from _read_back(place, token))


def another_there(
    ops: Operations, uuid: str, place: TokenPlace, token: str
) -> Conversation[str | None]:
    """SHA-256 of another value that the board shows in this place; None where it is free, holds
    this token, or the board does not show it.
    """
    yield from ops.same_board(uuid)
    match place.store:
        case "settings":
            reply = yield Command(
                f"settings read string {_setting(place)}", commands.READ_S, _WORD, secret=True
            )
            other = (
                reply.info[0].encode()
                if reply.ok and reply.info and token not in reply.info
                else None
            )
        case "kv":
            other = yield from _kv_read(_kv_number(place))
        case "command":
            return (yield from _read_other(place, token))
    return hashlib.sha256(other).hexdigest() if other and other != token.encode() else None


def _read_other(place: TokenPlace, token: str) -> Conversation[str | None]:
    """What the profile's read-back shows beside the words of its own command: a digest as it is, a
    value by its SHA-256.
    """
    if place.read_back is None:
        return None
    reply = yield Command(
        place.read_back, commands.READ_S, re.compile(f".*{_LIKE_A_TOKEN.pattern}.*"), secret=True
    )
    ours = {token, hashlib.sha256(token.encode()).hexdigest()}
    words = (
        {word for line in reply.info for word in _LIKE_A_TOKEN.findall(line)} if reply.ok else set()
    )
    if ours & {*words, *map(str.lower, words)}:
        return None
    other = next((word for word in sorted(words) if word not in place.read_back), None)
    if other is None:
        return None
    return (
        other.lower()
        if re.fullmatch(r"[0-9A-Fa-f]{64}", other)
        else hashlib.sha256(other.encode()).hexdigest()
    )


def _read_back(place: TokenPlace, token: str) -> Conversation[bool | None]:
    """The profile's read-back: its answer has to hold the token, or its SHA-256 in hex."""
    if place.read_back is None:
        return None
    digest = hashlib.sha256(token.encode()).hexdigest()
    held = re.compile(f".*(?:{re.escape(token)}|(?i:{digest})).*")
    reply = yield Command(place.read_back, commands.READ_S, held, secret=True)
    return reply.ok and bool(reply.info)


def _send(command: Command, what: str) -> Conversation[None]:
    reply = yield command
    if not reply.ok:
        answer = reply.info[0] if reply.info else "nothing that could be understood"
        raise BoardError("modem.error", f"{what}: the board's shell says {answer!r}")


def _kv_write(key: int, token: str) -> Conversation[None]:
    """One string value: a length with its NUL, the text, the NUL."""
    if len(token) + 1 > _KV_LARGEST:
        raise BoardError(
            "serial.too-long",
            f"the token has {len(token)} characters, a string in the key-value store at most"
            f" {_KV_LARGEST - 1}",
        )
    value = bytes([len(token) + 1]) + token.encode() + b"\0"
    request = struct.pack("<BHH", 1, key, len(value)) + value
    code, data = yield from _rpc(
        Command(
            f"kv_write {request.hex()}",
            commands.WRITE_S,
            _KV_ANSWER,
            effect=True,
            secret=True,
            needs_info=True,
        )
    )
    written = struct.unpack("<h", data)[0] if len(data) == struct.calcsize("<h") else code or -1
    if code < 0 or written < 0:
        raise BoardError(
            "modem.error",
            f"writing key {key} of the key-value store: the device answered {min(code, written)}",
        )


def _kv_read(key: int) -> Conversation[bytes | None]:
    """The text of a string value, None when there is none."""
    _, data = yield from _rpc(
        Command(
            f"kv_read {struct.pack('<BH', 1, key).hex()}",
            commands.READ_S,
            _KV_ANSWER,
            secret=True,
            needs_info=True,
        )
    )
    if len(data) < struct.calcsize("<Hh"):
        return None
    number, size = struct.unpack_from("<Hh", data)
    value = data[struct.calcsize("<Hh") :]
    if number != key or size < 1 or len(value) < size or not value:
        return None
    return value[1:size].rstrip(b"\0")


def _rpc(command: Command) -> Conversation[tuple[int, bytes]]:
    reply = yield command
    found = _KV_ANSWER.fullmatch(reply.info[0]) if reply.info else None
    if found is None:
        raise BoardError(
            "serial.protocol",
            f"{command.text.partition(' ')[0]} was answered without its result",
            unknown=command.effect,
        )
    return int(found[1]), bytes.fromhex(found[2])


def _setting(place: TokenPlace) -> str:
    if not _SETTING.fullmatch(place.name):
        raise ProfileError(
            "profile.unsupported", f"token.name {place.name!r} is no name of a setting"
        )
    return place.name


def _kv_number(place: TokenPlace) -> int:
    if not place.name.isdigit() or not 0 <= int(place.name) <= 0xFFFF:
        raise ProfileError(
            "profile.unsupported", f"token.name {place.name!r} is no number of a key, 0 to 65535"
        )
    return int(place.name)
