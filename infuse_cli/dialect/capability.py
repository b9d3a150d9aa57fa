"""What dialects can do, by name: for tables that need no codec."""

from __future__ import annotations

import enum


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
