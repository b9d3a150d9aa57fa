"""What a dialect of a board can do, by name, and what a profile asks of it: one table each.

Which dialect can what is in its row of `dialect.DIALECTS`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Capability(enum.Enum):
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


TOKEN_STORES: Final[Mapping[str, frozenset[Capability]]] = {
    "psk": frozenset(
        {Capability.OFFLINE, Capability.TOKEN_PSK, Capability.DELETE, Capability.READ_DIGEST}
    ),
    "settings": frozenset({Capability.TOKEN_SETTINGS}),
    "kv": frozenset({Capability.TOKEN_KV}),
    "command": frozenset({Capability.TOKEN_COMMAND}),
}
"""What each `token.store` of a profile asks of the dialect."""

MCU_ID_SOURCES: Final[Mapping[str, frozenset[Capability]]] = {
    "hwinfo": frozenset({Capability.HWINFO}),
    "epacket": frozenset({Capability.SECURITY_STATE}),
    "command": frozenset({Capability.RAW}),
}
"""What each `board.mcu_id.from` asks of the dialect; the other sources ask nothing of it."""

CERTIFICATE_MODES: Final[Mapping[str, frozenset[Capability]]] = {
    "local-ca": frozenset(
        {
            Capability.OFFLINE,
            Capability.CSR,
            Capability.WRITE,
            Capability.DELETE,
            Capability.READ_DIGEST,
        }
    ),
    "cloud-ca": frozenset(
        {
            Capability.OFFLINE,
            Capability.CSR,
            Capability.WRITE,
            Capability.DELETE,
            Capability.READ_DIGEST,
        }
    ),
}
"""What each `identity.mode` that puts a certificate on the board asks of the dialect."""
