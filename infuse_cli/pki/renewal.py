"""New issuers of a CA: made under the root, or asked of an external root and imported.

What is built appears in one move: a folder of its own under `issuers/`, then `current.json`. A
request waits in `pending/`, which holds the new key until its certificate is imported.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from infuse_cli.errors import SignerError
from infuse_cli.files import PRIVATE, private_folder, sync_folder, write_file
from infuse_cli.pki import chain as chains
from infuse_cli.pki.ca_certificates import broken_link, intermediate_certificate, key_usage
from infuse_cli.pki.issuers import (
    ISSUERS,
    all_issuers,
    current_folder,
    read_key_uri,
    set_current,
    sha256_of,
    write_issuer,
)
from infuse_cli.pki.key_file import encrypted_pem
from infuse_cli.pki.signers import file as file_signer
from infuse_cli.pki.signers import open_key
from infuse_cli.pki.signers.file import INTERMEDIATE_KEY, KEY_URI, check_dates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infuse_cli.ports import Signer
    from infuse_cli.types import Secret

PENDING: Final = "pending"
REQUEST: Final = "request.pem"
_KEY_FILES: Final = (INTERMEDIATE_KEY, KEY_URI)


@dataclass(frozen=True, slots=True, repr=False)
class NewKey:
    """A key for a new issuer: in a file under `passphrase`, or in a token at `uri`."""

    key: ec.EllipticCurvePrivateKey
    passphrase: Secret | None = None
    uri: str | None = None

    def write(self, folder: Path) -> None:
        """Put it, or where it is, into an issuer's folder. Raises OSError."""
        if self.uri is not None:
            write_file(folder / KEY_URI, f"{self.uri}\n".encode(), PRIVATE)
        elif self.passphrase is not None:
            write_file(folder / INTERMEDIATE_KEY, encrypted_pem(self.key, self.passphrase), PRIVATE)


def new_key(passphrase: Secret) -> NewKey:
    """A fresh P-256 key that is to lie in a file.

    Raises SignerError ca.no-passphrase for an empty passphrase.
    """
    if not passphrase.reveal():
        raise SignerError("ca.no-passphrase", "the CA passphrase is empty")
    return NewKey(ec.generate_private_key(ec.SECP256R1()), passphrase)


def next_name(folder: Path) -> str:
    """The common name of the next issuer: the CA's, with a number, so that people can tell them
    apart.
    """
    issuers = all_issuers(folder)
    first = chains.common_names(issuers[-1].certificate)
    base = first[0] if first else f"{folder.name} Intermediate"
    head, _, tail = base.rpartition(" ")
    return f"{head if tail.isdigit() else base} {len(issuers) + 1}"[-64:]


def renew(
    folder: Path, root: Signer, key: NewKey, *, now: datetime | None = None
) -> x509.Certificate:
    """A new intermediate under the same root, which signs from now on; the one before it stays for
    its lists.

    Raises SignerError ca.corrupt, ca.issuer-expired (the root), ca.not-found.
    """
    moment = now or datetime.now(UTC)
    check_dates(root.chain, moment)
    made = intermediate_certificate(
        next_name(folder), key.key.public_key(), root.chain[0], root.private_key, moment
    )
    _publish(folder, (made, *root.chain), key)
    return made


def request(folder: Path, name: str, key: NewKey) -> bytes:
    """Keep a new key in `pending/` and give the request for its certificate, PEM.

    Raises SignerError ca.exists while another request waits, ca.corrupt.
    """
    pem = _request(name, key.key)
    building = folder / f".{PENDING}.{secrets.token_hex(6)}.tmp"
    try:
        private_folder(folder)
        building.mkdir(mode=0o700)
        key.write(building)
        write_file(building / REQUEST, pem, PRIVATE)
        building.rename(folder / PENDING)
        sync_folder(folder)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        if (folder / PENDING).exists():
            raise SignerError(
                "ca.exists",
                f"{folder / PENDING} waits for its certificate already",
                hint=(
                    "Import that certificate with `infuse ca import`, or remove the folder to begin"
                    " anew."
                ),
            ) from None
        raise _disk(folder, error) from None
    return pem


def _request(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def import_signed(
    folder: Path,
    certificates: Sequence[x509.Certificate],
    secret: Secret,
    *,
    now: datetime | None = None,
) -> x509.Certificate:
    """Take the certificate that an external root signed for the pending key, with all above it to
    the root.

    Raises SignerError ca.not-found (nothing waits), ca.key-mismatch, ca.corrupt (the chain does not
    hold or has no root), ca.issuer-expired, and what unlocking the key raises.
    """
    pending = folder / PENDING
    if not (pending / REQUEST).exists():
        raise SignerError(
            "ca.not-found",
            f"no request waits in {folder}",
            hint="`infuse ca init --external-root` or `infuse ca renew --external-root` makes one.",
        )
    uri = read_key_uri(pending)
    key = (
        file_signer.unlock(pending / INTERMEDIATE_KEY, secret)
        if uri is None
        else open_key(uri, secret)
    )
    path = _path(certificates, key)
    check_dates(path, now or datetime.now(UTC))
    _publish(folder, path, pending)
    shutil.rmtree(pending, ignore_errors=True)
    return path[0]


def _path(
    certificates: Sequence[x509.Certificate], key: ec.EllipticCurvePrivateKey
) -> tuple[x509.Certificate, ...]:
    leaf = next((one for one in certificates if one.public_key() == key.public_key()), None)
    if leaf is None:
        raise SignerError(
            "ca.key-mismatch", "none of the certificates is for the key that waits here"
        )
    path = chains.order(leaf, certificates)
    if not chains.is_self_issued(path[-1]) or len(path) < 2:
        raise SignerError(
            "ca.corrupt",
            f"the certificate of {path[-1].issuer.rfc4514_string()} is missing, which issued"
            f" {path[-1].subject.rfc4514_string()}",
            hint="Give every certificate up to the root in the same file or with --root.",
        )
    if (why := broken_link(path)) is not None:
        raise SignerError("ca.corrupt", f"the chain is broken: {why}")
    if not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign:
        raise SignerError("ca.corrupt", "the certificate may not sign revocation lists (cRLSign)")
    return path


def _publish(folder: Path, path: tuple[x509.Certificate, ...], key: NewKey | Path) -> None:
    """Build the issuer's folder aside, give it its name, then make it the one that signs."""
    name = sha256_of(path[0])[:16]
    place = folder / ISSUERS / name
    building = place.with_name(f".{name}.{secrets.token_hex(6)}.tmp")
    try:
        private_folder(building.parent)
        building.mkdir(mode=0o700)
        _put_key(key, building)
        write_issuer(building, path)
        if place.exists():
            shutil.rmtree(building)  # a second import of the same certificate
        else:
            building.rename(place)
        sync_folder(place.parent)
        set_current(folder, name)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise _disk(folder, error) from None


def _put_key(key: NewKey | Path, building: Path) -> None:
    if isinstance(key, NewKey):
        key.write(building)
        return
    for name in _KEY_FILES:
        if (key / name).exists():
            write_file(building / name, (key / name).read_bytes(), PRIVATE)


def _disk(folder: Path, error: OSError) -> SignerError:
    return SignerError(
        "ca.corrupt",
        f"{folder} cannot be written: {error.strerror}",
        hint="Check the folder's permissions and the room on the disk; the CA is as it was.",
    )


def waiting(folder: Path) -> Path | None:
    """The request that waits for its certificate, None where none does."""
    path = folder / PENDING / REQUEST
    return path if path.exists() and current_folder(folder) is not None else None
