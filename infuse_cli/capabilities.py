"""What each dialect of a board can do, and what a profile asks of it: one table each.

The planner, the checks of a profile and the tools for one board all derive from these.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Can(enum.Enum):
    """What a dialect is able to do; a plan is refused before a board is touched when something is
    missing.
    """

    IDENTIFY = "read the board's identity"
    OFFLINE = "take the modem offline and back"
    READ_DIGEST = "list credentials with digests"
    WRITE = "write credentials"
    DELETE = "delete credentials"
    CSR = "make a key and a CSR"
    ATTEST_TOKEN = "make an attestation token with a challenge"  # noqa: S105 - a capability
    POSSESSION = "prove possession of a key"
    TOKEN_PSK = "store the registration token as a PSK"  # noqa: S105 - a capability
    TOKEN_SETTINGS = "store the registration token in settings"  # noqa: S105 - a capability
    TOKEN_KV = "store the registration token by kv_write"  # noqa: S105 - a capability
    TOKEN_COMMAND = "store the registration token by a command of the profile"  # noqa: S105 - a capability
    RAW = "send a command of the profile"
    HWINFO = "read the chip's id by hwinfo"
    SECURITY_STATE = "prove the chip's id by security_state"
    PUBLIC_KEY = "tell its public key by security_public_keys"


_SHELL: Final = frozenset({Can.TOKEN_SETTINGS, Can.HWINFO})
_EPACKET: Final = frozenset(
    {Can.IDENTIFY, Can.OFFLINE, Can.TOKEN_KV, Can.SECURITY_STATE, Can.PUBLIC_KEY}
)
_MODEM: Final = frozenset(Can) - _SHELL - {Can.TOKEN_KV, Can.SECURITY_STATE, Can.PUBLIC_KEY}

CAPABILITIES: Final[Mapping[str, frozenset[Can]]] = {
    "at": _MODEM,
    "at-shell": _MODEM | _SHELL,
    "cred-shell": _SHELL
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
    "epacket": _EPACKET,
}
"""What each dialect covers."""

TOKEN_STORES: Final[Mapping[str, frozenset[Can]]] = {
    "psk": frozenset({Can.OFFLINE, Can.TOKEN_PSK, Can.DELETE, Can.READ_DIGEST}),
    "settings": frozenset({Can.TOKEN_SETTINGS}),
    "kv": frozenset({Can.TOKEN_KV}),
    "command": frozenset({Can.TOKEN_COMMAND}),
}
"""What each `token.store` of a profile asks of the dialect."""

MCU_ID_SOURCES: Final[Mapping[str, frozenset[Can]]] = {
    "hwinfo": frozenset({Can.HWINFO}),
    "epacket": frozenset({Can.SECURITY_STATE}),
    "command": frozenset({Can.RAW}),
}
"""What each `board.mcu_id.from` asks of the dialect; the other sources ask nothing of it."""

CERTIFICATE_MODES: Final[Mapping[str, frozenset[Can]]] = {
    "local-ca": frozenset({Can.OFFLINE, Can.CSR, Can.WRITE, Can.DELETE, Can.READ_DIGEST}),
    "cloud-ca": frozenset({Can.OFFLINE, Can.CSR, Can.WRITE, Can.DELETE, Can.READ_DIGEST}),
}
"""What each `identity.mode` that puts a certificate on the board asks of the dialect."""


def able(needed: frozenset[Can]) -> tuple[str, ...]:
    """The dialects that can do all of it."""
    return tuple(name for name, can in CAPABILITIES.items() if needed <= can)
