"""What serial bytes mean: sans-I/O parsers, typed commands and conversations, in host and device
role.

`DIALECTS` is the one table of what there is; a new dialect is a row here and a codec and operations
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.capabilities import CAPABILITIES, Can
from infuse_cli.dialect.at import AtCodec
from infuse_cli.dialect.auto import AutoCodec
from infuse_cli.dialect.epacket import EpacketCodec
from infuse_cli.dialect.operations_at import AtOperations, AtShellOperations
from infuse_cli.dialect.operations_cred import CREDENTIAL_BUFFER, CredOperations
from infuse_cli.dialect.operations_epacket import EpacketOperations
from infuse_cli.dialect.shell import CredCodec, ShellCodec
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infuse_cli.dialect.base import Codec, CodecOptions, Operations

AUTO: Final = "auto"
"""The dialect that is found by asking; what it can is known once a board has answered."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A row of `DIALECTS`: how bytes are made and read, and what is done with them.

    What that covers is the row of its name in `capabilities.CAPABILITIES`.
    """

    codec: Callable[[CodecOptions], Codec]
    operations: Callable[[int], Operations]


DIALECTS: Final[Mapping[str, Dialect]] = {
    "at": Dialect(AtCodec, lambda _: AtOperations()),
    "at-shell": Dialect(ShellCodec, lambda _: AtShellOperations()),
    "cred-shell": Dialect(CredCodec, CredOperations),
    "epacket": Dialect(EpacketCodec, lambda _: EpacketOperations()),
}


def codec(name: str, options: CodecOptions) -> Codec:
    """A host codec of that dialect, for `auto` one that finds out.

    Raises ProfileError profile.unsupported.
    """
    return AutoCodec(options) if name == AUTO else dialect(name).codec(options)


def dialect(name: str) -> Dialect:
    """The dialect of that name.

    Raises ProfileError profile.unsupported for one that is coming or unknown.
    """
    found = DIALECTS.get(name)
    if found is None:
        raise ProfileError(
            "profile.unsupported",
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
    """What that dialect covers, for the planner. Raises ProfileError profile.unsupported."""
    dialect(name)
    return CAPABILITIES[name]
