"""What serial bytes mean: sans-I/O parsers, typed commands and conversations, in host and device
role.

`DIALECTS` is the one table of what there is; a new dialect is a row here and a codec and operations
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from infuse_cli.dialect.at import AtCodec
from infuse_cli.dialect.auto import AutoCodec
from infuse_cli.dialect.base import Can, Codec, CodecOptions, Conversation, Operations
from infuse_cli.dialect.epacket import EpacketCodec
from infuse_cli.dialect.operations_at import AtOperations, AtShellOperations
from infuse_cli.dialect.operations_cred import CREDENTIAL_BUFFER, CredOperations
from infuse_cli.dialect.operations_epacket import CAN as EPACKET_CAN
from infuse_cli.dialect.operations_epacket import EpacketOperations, carried
from infuse_cli.dialect.shell import CredCodec, ShellCodec
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

AUTO: Final = "auto"
"""The dialect that is found by asking; what it can is known once a board has answered."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A row of `DIALECTS`: how bytes are made and read, what is done with them, and what that
    covers.
    """

    codec: Callable[[CodecOptions], Codec]
    operations: Callable[[int], Operations]
    can: frozenset[Can]
    speaks: str = "AT commands"
    at_lines: bool = True
    carry_at: Callable[[Conversation[Any]], Conversation[Any]] = lambda conversation: conversation


_SHELL: Final = frozenset({Can.TOKEN_SETTINGS, Can.HWINFO})
_MODEM: Final = frozenset(Can) - _SHELL - {Can.TOKEN_KV, Can.SECURITY_STATE, Can.PUBLIC_KEY}

DIALECTS: Final[Mapping[str, Dialect]] = {
    "at": Dialect(AtCodec, lambda _: AtOperations(), _MODEM),
    "at-shell": Dialect(ShellCodec, lambda _: AtShellOperations(), _MODEM | _SHELL),
    "cred-shell": Dialect(
        CredCodec,
        CredOperations,
        at_lines=False,
        can=_SHELL
        | {
            Can.IDENTIFY,
            Can.OFFLINE,
            Can.READ_DIGEST,
            Can.WRITE,
            Can.DELETE,
            Can.CSR,
            Can.TOKEN_COMMAND,
            Can.RAW,
        },
    ),
    "epacket": Dialect(
        EpacketCodec,
        lambda _: EpacketOperations(),
        EPACKET_CAN,
        speaks="ePacket frames",
        at_lines=False,
        carry_at=carried,
    ),
}


def codec(name: str, options: CodecOptions) -> Codec:
    """A host codec of that dialect, for `auto` one that finds out.

    Raises ProfileError profile.cannot.
    """
    return AutoCodec(options) if name == AUTO else dialect(name).codec(options)


def dialect(name: str) -> Dialect:
    """The dialect of that name.

    Raises ProfileError profile.cannot for one that is coming or unknown.
    """
    found = DIALECTS.get(name)
    if found is None:
        raise ProfileError(
            "profile.cannot",
            f"dialect {name!r} is unknown; there is {', '.join(DIALECTS)}",
            hint="Set board.serial.dialect to one of those, or to auto.",
        )
    return found


def operations(name: str, *, credential_buffer: int = CREDENTIAL_BUFFER) -> Operations:
    """What can be done to one board in that dialect; `credential_buffer` in characters
    (board.serial).
    """
    return dialect(name).operations(credential_buffer)


def capabilities(name: str) -> frozenset[Can]:
    """What that dialect covers, for the planner."""
    return dialect(name).can


def carry_at(name: str, conversation: Conversation[T]) -> Conversation[T]:
    """A conversation of AT commands as that dialect carries them to the modem."""
    return dialect(name).carry_at(conversation)


TOKEN_STORES: Final = {
    "psk": Can.TOKEN_PSK,
    "settings": Can.TOKEN_SETTINGS,
    "kv": Can.TOKEN_KV,
    "command": Can.TOKEN_COMMAND,
}
"""What a dialect needs for each `token.store` of a profile."""
