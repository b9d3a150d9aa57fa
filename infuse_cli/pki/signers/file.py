"""`file:` keys: an intermediate whose key is an encrypted PEM in a folder of the bench."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infuse_cli.certificate_files import UnfitFileError
from infuse_cli.der import is_one_sequence
from infuse_cli.errors import SignerError
from infuse_cli.files import read_bounded
from infuse_cli.pki.ca_certificates import broken_link
from infuse_cli.pki.files import read_private
from infuse_cli.pki.reading import parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from infuse_cli.types import Secret

ROOT: Final = "root.pem"
INTERMEDIATE: Final = "intermediate.pem"
INTERMEDIATE_KEY: Final = "intermediate.key.pem"
KEY_URI: Final = "intermediate.key.uri"
"""In the place of the key's file: the PKCS#11 URI of a key that is in a token."""

ABOVE: Final = "above.pem"
"""Certificates between intermediate and root, issuer first; absent where the root signed the
intermediate.
"""

_ENCRYPTED: Final = re.compile(
    rb"-----BEGIN ENCRYPTED PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]+)-----END ENCRYPTED PRIVATE"
    rb" KEY-----"
)
_PLAIN: Final = re.compile(rb"-----BEGIN (?:EC |RSA )?PRIVATE KEY-----")


@dataclass(frozen=True, slots=True, repr=False)
class UnlockedIssuer:
    """An unlocked issuer (implements `ports.Signer`); `chain` is issuer first, root last."""

    private_key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    def __repr__(self) -> str:
        return f"UnlockedIssuer({self.chain[0].subject.rfc4514_string()})"


def load(folder: Path, passphrase: Secret, *, now: datetime | None = None) -> UnlockedIssuer:
    """Unlock the intermediate of a folder that `store.init_ca` made.

    Raises SignerError ca.not-found, ca.unsafe-key, ca.bad-passphrase, ca.corrupt (key and
    certificates do not belong together), ca.issuer-expired (before notBefore or after notAfter).
    """
    read_chain(folder)  # before a passphrase is tried
    return with_key(
        folder,
        unlock(folder / INTERMEDIATE_KEY, passphrase),
        str(folder / INTERMEDIATE_KEY),
        now=now,
    )


def with_key(
    folder: Path, key: ec.EllipticCurvePrivateKey, where: str, *, now: datetime | None = None
) -> UnlockedIssuer:
    """An issuer whose key was opened already, checked as `load` checks it; `where` names the key in
    messages.
    """
    chain = read_chain(folder)
    if key.public_key() != chain[0].public_key():
        raise SignerError("ca.corrupt", f"{where} is not the key of {folder / INTERMEDIATE}")
    check_dates(chain, now or datetime.now(UTC))
    return UnlockedIssuer(key, chain)


def open_key(uri: str, passphrase: Secret) -> ec.EllipticCurvePrivateKey:
    """The key of a `file:` URI, the path of an encrypted PEM file. Raises what `unlock` raises."""
    return unlock(Path(uri.partition(":")[2]), passphrase)


def read_chain(folder: Path) -> tuple[x509.Certificate, ...]:
    """Intermediate to root of an issuer's folder, checked to belong together; no passphrase is
    needed.

    Raises SignerError ca.not-found, ca.corrupt.
    """
    if not any((folder / name).exists() for name in (INTERMEDIATE, INTERMEDIATE_KEY, KEY_URI)):
        raise SignerError("ca.not-found", f"there is no CA in {folder}")
    chain = (
        _certificates(folder / INTERMEDIATE)[0],
        *_above(folder),
        _certificates(folder / ROOT)[0],
    )
    if (why := broken_link(chain)) is not None:
        raise SignerError("ca.corrupt", f"the chain in {folder} is broken: {why}")
    return chain


def _above(folder: Path) -> tuple[x509.Certificate, ...]:
    path = folder / ABOVE
    return _certificates(path) if path.exists() else ()


def check_dates(chain: Sequence[x509.Certificate], now: datetime) -> None:
    """Raise SignerError ca.issuer-expired when a certificate of the chain is not valid now."""
    for certificate in chain:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not start <= now <= end:
            raise SignerError(
                "ca.issuer-expired",
                f"{certificate.subject.rfc4514_string()} is valid from {start:%Y-%m-%d} to"
                f" {end:%Y-%m-%d}, and this machine's clock says {now:%Y-%m-%d %H:%M} UTC",
            )


def _certificates(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return parsed(read_bounded(path))
    except OSError as error:
        raise SignerError("ca.corrupt", f"{path} cannot be read: {error.strerror}") from None
    except UnfitFileError as error:
        raise SignerError("ca.corrupt", f"{path} {error.reason}") from None


def unlock(path: Path, passphrase: Secret) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of an encrypted PEM file that nobody else can read.

    Raises SignerError ca.corrupt, ca.unsafe-key, ca.bad-passphrase.
    """
    try:
        pem, loose = read_private(path)
    except OSError as error:
        raise SignerError("ca.corrupt", f"{path} cannot be read: {error.strerror}") from None
    if loose:
        raise SignerError("ca.unsafe-key", f"{path} can be read by other users of this machine")
    _check_encrypted(path, pem)
    try:
        key = load_pem_private_key(pem, passphrase.reveal().encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignerError("ca.bad-passphrase", f"the passphrase does not open {path}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SignerError("ca.corrupt", f"{path} holds a key that is not P-256")
    return key


def _check_encrypted(path: Path, pem: bytes) -> None:
    """Tell a damaged file from a wrong passphrase: the outer DER must be whole."""
    if _PLAIN.search(pem):
        raise SignerError("ca.unsafe-key", f"{path} is not encrypted")
    match = _ENCRYPTED.search(pem)
    if match is None or not _is_whole(match[1]):
        raise SignerError("ca.corrupt", f"{path} is damaged: it holds no complete encrypted key")


def _is_whole(text: bytes) -> bool:
    try:
        der = base64.b64decode(b"".join(text.split()), validate=True)
    except ValueError:
        return False
    return is_one_sequence(der)
