"""The credential storage of a virtual modem: what AT%CMNG sees.

It survives resets; who may write when is the modem's say.

Source: nRF91x1 AT commands reference, %CMNG: (sec_tag, type) is unique, the digest
is the SHA-256 of exactly the bytes between the quotes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from infuse_cli.types import CredentialType

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

NOT_FOUND: Final = 513
NOT_ALLOWED: Final = 514
MEMORY_FULL: Final = 515
ACTIVE_STATE: Final = 518
ALREADY_EXISTS: Final = 519
KEYGEN_FAILED: Final = 523
BAD_CERTIFICATE: Final = 527
POWER_OFF_WARNING: Final = 528
MAX_SEC_TAG: Final = 2147483647
"""Tags above are the modem's own."""

_CERTIFICATES: Final = frozenset({CredentialType.ROOT_CA, CredentialType.CLIENT_CERTIFICATE})
_HIDDEN: Final = frozenset({CredentialType.CLIENT_KEY, CredentialType.PSK})


class ModemRefusal(Exception):  # noqa: N818 - it is an answer, not a fault of the program
    """The modem says `+CME ERROR: cme`; None for a bare ERROR whatever CMEE is."""

    def __init__(self, cme: int | None) -> None:
        super().__init__(cme)
        self.cme: Final = cme


@dataclass(frozen=True, slots=True)
class Entry:
    """One credential: its content as written, and the private key where the modem made it itself.

    `terminated`: Zephyr's storage keeps a NUL behind it, which its digest covers.
    """

    content: bytes
    key: EllipticCurvePrivateKey | None = None
    terminated: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of the content, 64 upper-case hex digits, as the list shows it."""
        return hashlib.sha256(self.content).hexdigest().upper()


class Nvm:
    """Credentials by (sec_tag, type). `capacity` is the number of entries that fit."""

    def __init__(self, capacity: int = 40) -> None:
        self._capacity: Final = capacity
        self._entries: dict[tuple[int, int], Entry] = {}

    def listed(self) -> list[tuple[int, int, str]]:
        """(sec_tag, type, digest) of every entry, by tag and type."""
        return [
            (tag, int(kind), entry.digest) for (tag, kind), entry in sorted(self._entries.items())
        ]

    def get(self, tag: int, kind: int) -> Entry | None:
        """The entry, or None."""
        return self._entries.get((tag, kind))

    def read(self, tag: int, kind: int) -> Entry:
        """The entry as %CMNG=2 shows it. Refuses 513, and 514 for what may not leave the modem."""
        if tag > MAX_SEC_TAG:
            raise ModemRefusal(NOT_ALLOWED)
        entry = self._entries.get((tag, kind))
        if entry is None:
            raise ModemRefusal(NOT_FOUND)
        if kind in _HIDDEN:
            raise ModemRefusal(NOT_ALLOWED)
        return entry

    def check_new(self, tag: int, kind: int) -> None:
        """Refuse 514 for a reserved tag, 519 for an occupied place, 515 when full."""
        if tag > MAX_SEC_TAG:
            raise ModemRefusal(NOT_ALLOWED)
        if (tag, kind) in self._entries:
            raise ModemRefusal(ALREADY_EXISTS)
        if len(self._entries) >= self._capacity:
            raise ModemRefusal(MEMORY_FULL)

    def write(self, tag: int, kind: int, content: bytes) -> None:
        """Store content. Refuses as `check_new`, and 527 for a certificate that is not PEM."""
        self.check_new(tag, kind)
        if kind in _CERTIFICATES and not _is_pem(content):
            raise ModemRefusal(BAD_CERTIFICATE)
        self._entries[tag, kind] = Entry(content)

    def store_key(self, tag: int, key: EllipticCurvePrivateKey) -> None:
        """Store a key that the modem made itself; its digest is that of its PKCS#8 DER."""
        self.check_new(tag, CredentialType.CLIENT_KEY)
        der = key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._entries[tag, CredentialType.CLIENT_KEY] = Entry(der, key)

    def overwrite(self, tag: int, kind: int, content: bytes, *, terminated: bool = False) -> None:
        """Put content there without any check: for faults, and for firmware with storage of its
        own.
        """
        self._entries[tag, kind] = Entry(content, terminated=terminated)

    def delete(self, tag: int, kind: int) -> None:
        """Remove an entry. Refuses 514 for a reserved tag, 513 when there is none."""
        if tag > MAX_SEC_TAG:
            raise ModemRefusal(NOT_ALLOWED)
        if self._entries.pop((tag, kind), None) is None:
            raise ModemRefusal(NOT_FOUND)

    def tags_with(self, *kinds: int) -> list[int]:
        """Tags that hold all of the kinds, lowest first."""
        return sorted(
            {tag for tag, _ in self._entries if all((tag, kind) in self._entries for kind in kinds)}
        )


def _is_pem(content: bytes) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(content))
    except ValueError:
        return False
