"""The issuers of a CA: the one that signs now, and those before it, whose chains stay good on old
boards.

The first issuer lies in the CA's folder itself, later ones in `issuers/<id>/` (the first 16 digits
of their certificate's SHA-256). `current.json` names the one that signs; it is written last and in
one move, so that a crash leaves the old issuer or the new one, never half of one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from infuse_cli.errors import SignerError
from infuse_cli.files import PRIVATE, is_folder, read_bounded, write_file
from infuse_cli.pki.files import read_private
from infuse_cli.pki.signers import file as file_signer
from infuse_cli.pki.signers import open_key
from infuse_cli.pki.signers.file import (
    INTERMEDIATE,
    INTERMEDIATE_KEY,
    KEY_URI,
    ROOT,
    UnlockedIssuer,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509

    from infuse_cli.types import Secret

ROOT_KEY: Final = "root.key.pem"
ISSUERS: Final = "issuers"
CURRENT: Final = "current.json"
_ID: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer of a CA: its folder, its chain (issuer first, root last), and whether it is the one
    that signs.
    """

    folder: Path
    chain: tuple[x509.Certificate, ...]
    current: bool

    @property
    def certificate(self) -> x509.Certificate:
        """The issuing certificate."""
        return self.chain[0]

    @property
    def sha256(self) -> str:
        """SHA-256 of the issuing certificate's DER: the issuer's name on record."""
        return sha256_of(self.chain[0])

    @property
    def key_uri(self) -> str | None:
        """The PKCS#11 URI of its key, None where the key is a file."""
        return read_key_uri(self.folder)


def sha256_of(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER in lower-case hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def current_folder(folder: Path) -> Path:
    """The folder of the issuer that signs now. Raises SignerError ca.corrupt."""
    path = folder / CURRENT
    try:
        named = str(json.loads(read_bounded(path))["issuer"])
        if _ID.fullmatch(named) is not None:
            return folder / ISSUERS / named
    except (FileNotFoundError, NotADirectoryError):
        return folder
    except OSError as error:
        raise SignerError(
            "ca.corrupt",
            f"{path} cannot be read: {error.strerror}",
            hint="Have a look at who may read the folder.",
        ) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise SignerError("ca.corrupt", f"{path} does not name an issuer")


def set_current(folder: Path, issuer: str) -> None:
    """Make `issuers/<issuer>/` the one that signs. Raises OSError."""
    write_file(folder / CURRENT, (json.dumps({"issuer": issuer}) + "\n").encode(), PRIVATE)


def read_chain(folder: Path) -> tuple[x509.Certificate, ...]:
    """The chain of the issuer that signs now, issuer first.

    Raises SignerError ca.not-found, ca.corrupt.
    """
    return file_signer.read_chain(_complete(folder))


def _complete(folder: Path) -> Path:
    """The folder of the issuer that signs now, once the external root signed its certificate."""
    where = current_folder(folder)
    if where == folder and not (folder / INTERMEDIATE).exists() and (folder / "pending").exists():
        raise SignerError(
            "ca.not-found",
            f"the CA in {folder} waits for the certificate of its intermediate",
            hint=(
                f"Have {folder / 'pending' / 'request.pem'} signed by your root, then `infuse ca"
                " import CERTIFICATE --root ROOT`."
            ),
        )
    return where


def read_root(folder: Path) -> x509.Certificate:
    """The root of the issuer that signs now. Raises SignerError ca.not-found, ca.corrupt."""
    return read_chain(folder)[-1]


def all_issuers(folder: Path) -> list[Issuer]:
    """Every issuer of a CA, the one that signs first, then the newest.

    Raises SignerError ca.not-found, ca.corrupt.
    """
    now = current_folder(folder)
    found = [Issuer(now, read_chain(folder), current=True)]
    others = [
        one
        for one in (folder, *sorted((folder / ISSUERS).glob("*")))
        if one != now and (one / INTERMEDIATE).exists()
    ]
    older = [Issuer(one, file_signer.read_chain(one), current=False) for one in others]
    return [
        *found,
        *sorted(older, key=lambda one: one.certificate.not_valid_before_utc, reverse=True),
    ]


def find_issuer(folder: Path, named: str) -> Issuer:
    """The issuer that a text names: `current`, or the beginning of its SHA-256 or serial.

    Raises SignerError ca.not-found.
    """
    issuers = all_issuers(folder)
    wanted = named.lower().replace(":", "")
    fits = [one for one in issuers if wanted == "current" and one.current] or [
        one
        for one in issuers
        if len(wanted) >= 4
        and (
            one.sha256.startswith(wanted)
            or f"{one.certificate.serial_number:x}".startswith(wanted.lstrip("0"))
        )
    ]
    if len(fits) != 1:
        raise SignerError(
            "ca.not-found",
            f"{named!r} names {len(fits) or 'no'} issuers of this CA",
            hint=(
                "`infuse ca show` lists them; root, current, or the beginning of a serial or"
                " SHA-256 names one."
            ),
        )
    return fits[0]


def load_ca(folder: Path, passphrase: Secret, *, now: datetime | None = None) -> UnlockedIssuer:
    """Unlock the issuer that signs now; `load_issuer` says what is checked and raised."""
    return load_issuer(_complete(folder), passphrase, now=now)


def load_issuer(folder: Path, passphrase: Secret, *, now: datetime | None = None) -> UnlockedIssuer:
    """Unlock an issuer by its folder, whether its key is a file or in a token.

    Raises what `signers.file.load` raises; SignerError ca.token, UsageError usage.extra-missing for
    a key in a token.
    """
    uri = read_key_uri(folder)
    if uri is None:
        return file_signer.load(folder, passphrase, now=now)
    return file_signer.with_key(folder, open_key(uri, passphrase), "the key in the token", now=now)


def load_root(
    folder: Path, root_key: Path | None, passphrase: Secret, *, now: datetime | None = None
) -> UnlockedIssuer:
    """Unlock the root: its key file, the folder that holds it, or, without either, the CA's own
    folder.

    Raises SignerError ca.no-root-key, ca.corrupt, ca.unsafe-key, ca.bad-passphrase,
    ca.key-mismatch, ca.issuer-expired.
    """
    root = read_root(folder)
    path = root_key_path(folder, root_key)
    key = file_signer.unlock(path, passphrase)
    if key.public_key() != root.public_key():
        raise SignerError(
            "ca.key-mismatch", f"{path} is not the key of {root.subject.rfc4514_string()}"
        )
    signer = UnlockedIssuer(key, (root,))
    if now is not None:
        file_signer.check_dates(signer.chain, now)
    return signer


def root_key_path(folder: Path, root_key: Path | None) -> Path:
    """Where the root's key is. Raises SignerError ca.no-root-key."""
    path = (
        folder / ROOT_KEY
        if root_key is None
        else root_key / ROOT_KEY
        if is_folder(root_key)
        else root_key
    )
    try:
        there = path.exists()
    except OSError as error:
        raise SignerError("ca.no-root-key", f"{path} cannot be read: {error.strerror}") from None
    if not there:
        raise SignerError("ca.no-root-key", f"there is no {path}")
    return path


def read_key_uri(folder: Path) -> str | None:
    """The PKCS#11 URI of an issuer's key, None where the key is a file.

    Raises SignerError ca.corrupt.
    """
    try:
        return read_bounded(folder / KEY_URI).decode("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise SignerError("ca.corrupt", f"{folder / KEY_URI} cannot be read") from None


def root_key_here(folder: Path) -> bool:
    """Whether the root's key lies on the bench, where it should not be."""
    return (folder / ROOT_KEY).exists()


def key_is_loose(folder: Path) -> bool:
    """Whether other users can read the signing key's file, so that `load_ca` will refuse it (POSIX
    only).
    """
    try:
        return read_private(current_folder(folder) / INTERMEDIATE_KEY)[1]
    except (OSError, SignerError):
        return False


def write_issuer(folder: Path, chain: tuple[x509.Certificate, ...]) -> None:
    """Put the certificates of an issuer into its folder, which has its key already.

    Raises OSError.
    """
    write_file(folder / ROOT, chain[-1].public_bytes(Encoding.PEM), PRIVATE)
    if len(chain) > 2:
        above = b"".join(one.public_bytes(Encoding.PEM) for one in chain[1:-1])
        write_file(folder / file_signer.ABOVE, above, PRIVATE)
    write_file(folder / INTERMEDIATE, chain[0].public_bytes(Encoding.PEM), PRIVATE)
