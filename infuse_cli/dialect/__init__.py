"""What serial bytes mean: sans-I/O parsers, typed commands and conversations, in host and device
role.

`DIALECTS` is the one table of what there is: profile checks, plans, tools and simulator derive from
it. A new dialect is a file with its codec and operations, and a row here. Codecs are imported at
their first use, so that a profile is checked without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

from infuse_cli.capabilities import Capability
from infuse_cli.dialect.base import CREDENTIAL_BUFFER, Codec, CodecOptions, Operations
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infuse_cli.dialect.base import Conversation

T = TypeVar("T")

AUTO: Final = "auto"
"""The dialect that is found by asking; what it can is known once a board has answered."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A row of `DIALECTS`.

    `codec_class` and `operations_class` are `module:Class` of this package. `can` is what the
    operations cover. `simulated`: virtual boards speak it. `speaks` names its lines to a person.
    `at_lines`: an AT command travels as text, whole. `at_carrier` names the function that sends AT
    commands otherwise. `shell_commands` are those of the Zephyr shell that are used. `sealed`:
    frames are sealed with the key of a network.
    """

    codec_class: str
    operations_class: str
    can: frozenset[Capability]
    simulated: bool = False
    speaks: str = "AT commands"
    at_lines: bool = False
    at_carrier: str = ""
    shell_commands: frozenset[str] = frozenset()
    sealed: bool = False

    def codec(self, options: CodecOptions) -> Codec:
        """A host codec."""
        made: Codec = _load(self.codec_class)(options)
        return made

    def operations(self, credential_buffer: int = CREDENTIAL_BUFFER) -> Operations:
        """What can be done to one board; `credential_buffer` in characters (board.serial)."""
        made: Operations = _load(self.operations_class)(credential_buffer)
        return made

    def carry_at(self, conversation: Conversation[T]) -> Conversation[T]:
        """A conversation of AT commands as this dialect carries them to the modem."""
        return _load(self.at_carrier)(conversation) if self.at_carrier else conversation


_SHELL: Final = frozenset({Capability.TOKEN_SETTINGS, Capability.HWINFO})
_EPACKET: Final = frozenset({Capability.TOKEN_KV, Capability.SECURITY_STATE, Capability.PUBLIC_KEY})
_MODEM: Final = frozenset(Capability) - _SHELL - _EPACKET

DIALECTS: Final[Mapping[str, Dialect]] = {
    "at": Dialect(
        "at:AtCodec",
        "operations_at:AtOperations",
        _MODEM,
        simulated=True,
        at_lines=True,
    ),
    "at-shell": Dialect(
        "shell:ShellCodec",
        "operations_at:AtShellOperations",
        _MODEM | _SHELL,
        simulated=True,
        at_lines=True,
        shell_commands=frozenset({"at", "hwinfo", "settings", "kernel"}),
    ),
    "cred-shell": Dialect(
        "shell:CredCodec",
        "operations_cred:CredOperations",
        _SHELL
        | {
            Capability.IDENTIFY,
            Capability.OFFLINE,
            Capability.READ_DIGEST,
            Capability.WRITE,
            Capability.DELETE,
            Capability.CSR,
            Capability.TOKEN_COMMAND,
            Capability.RAW,
        },
        simulated=True,
        shell_commands=frozenset({"cred", "nrf_cloud_cred", "hwinfo", "settings", "kernel"}),
    ),
    "epacket": Dialect(
        "epacket:EpacketCodec",
        "operations_epacket:EpacketOperations",
        _EPACKET | {Capability.IDENTIFY, Capability.OFFLINE},
        simulated=True,
        speaks="ePacket frames",
        at_carrier="operations_epacket:carried",
        sealed=True,
    ),
}


def codec(name: str, options: CodecOptions) -> Codec:
    """A host codec of that dialect, for `auto` one that finds out.

    Raises ProfileError profile.unsupported.
    """
    if name == AUTO:
        from infuse_cli.dialect.auto import AutoCodec

        return AutoCodec(options)
    return dialect(name).codec(options)


def dialect(name: str) -> Dialect:
    """The dialect of that name. Raises ProfileError profile.unsupported for an unknown one."""
    row = DIALECTS.get(name)
    if row is None:
        raise ProfileError(
            "profile.unsupported",
            f"dialect {name!r} is unknown; there is {', '.join(DIALECTS)}",
            hint="Set board.serial.dialect to one of those, or to auto.",
        )
    return row


def operations(name: str, *, credential_buffer: int = CREDENTIAL_BUFFER) -> Operations:
    """What can be done to one board in that dialect."""
    return dialect(name).operations(credential_buffer)


def capabilities(name: str) -> frozenset[Capability]:
    """What that dialect covers, for the planner."""
    return dialect(name).can


def able(needed: frozenset[Capability]) -> tuple[str, ...]:
    """The dialects that can do all of it, in the order of the table."""
    return tuple(name for name, row in DIALECTS.items() if needed <= row.can)


def _load(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found
