"""What serial bytes mean: sans-I/O parsers, typed commands and conversations, in host and device role.

`DIALECTS` is the one table of what there is; a new dialect is a row here and a codec and operations of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.at import AtCodec
from infuse_cli.dialect.auto import AutoCodec
from infuse_cli.dialect.base import Can, Codec, CodecOptions, Operations
from infuse_cli.dialect.operations_at import AtOperations, AtShellOperations
from infuse_cli.dialect.shell import ShellCodec
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AUTO: Final = "auto"
"""The dialect that is found by asking; what it can is known once a board has answered."""

COMING: Final = ("cred-shell", "epacket")
"""Dialects that the contract names and that are not built yet."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A row of `DIALECTS`: how bytes are made and read, what is done with them, and what that covers."""

    codec: Callable[[CodecOptions], Codec]
    operations: Operations
    can: frozenset[Can]


DIALECTS: Final[Mapping[str, Dialect]] = {
    "at": Dialect(AtCodec, AtOperations(), frozenset(Can) - {Can.TOKEN_SETTINGS, Can.TOKEN_KV}),
    "at-shell": Dialect(ShellCodec, AtShellOperations(), frozenset(Can) - {Can.TOKEN_KV}),
}


def codec(name: str, options: CodecOptions) -> Codec:
    """A host codec of that dialect, for `auto` one that finds out. Raises ProfileError profile.cannot."""
    return AutoCodec(options) if name == AUTO else dialect(name).codec(options)


def dialect(name: str) -> Dialect:
    """The dialect of that name. Raises ProfileError profile.cannot for one that is coming or unknown."""
    found = DIALECTS.get(name)
    if found is None:
        why = "is not built yet" if name in COMING else "is unknown"
        raise ProfileError("profile.cannot", f"dialect {name!r} {why}; there is {', '.join(DIALECTS)}",
                           hint="Set board.serial.dialect to one of those, or to auto.")
    return found


def operations(name: str) -> Operations:
    """What can be done to a board in that dialect."""
    return dialect(name).operations


def capabilities(name: str) -> frozenset[Can]:
    """What that dialect covers, for the planner."""
    return dialect(name).can
