"""A signed head: what a journal's chains ended with at a time, to be kept elsewhere (decision 15).

The file is JSON: `infuse` "journal-head/1", `at`, `stations` (name to `seq` and `hash`), `tool`,
and `signature` with `value` (base64 of DER, ECDSA with SHA-256) and `chain` (PEM texts, the signing
certificate first). What is signed is the JSON of all but `signature`, keys sorted at every level,
no white space, UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from infuse_cli._version import __version__
from infuse_cli.config.bench import login_name
from infuse_cli.effects.results import Results
from infuse_cli.errors import JournalError, SignerError, UsageError
from infuse_cli.home import CA
from infuse_cli.journal.chain import Head
from infuse_cli.journal.store import open_journal
from infuse_cli.pki.reading import read_certificates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infuse_cli.ports import Signer
    from infuse_cli.settings import Settings
    from infuse_cli.types import Secret

FORM: Final = "journal-head/1"
_LIMIT: Final = 1 << 20
_HASH: Final = ec.ECDSA(hashes.SHA256())


class _Signature(msgspec.Struct, frozen=True):
    value: str
    chain: tuple[str, ...]


class _Head(msgspec.Struct, frozen=True):
    seq: int
    hash: str


class _File(msgspec.Struct, frozen=True):
    infuse: str
    at: str
    stations: dict[str, _Head]
    tool: str
    signature: _Signature


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head that was written to `out`: what each station's chain ended with at `at`."""

    out: Path
    at: str
    tool: str
    heads: dict[str, Head]


@dataclass(frozen=True, slots=True)
class CheckedHead:
    """A head whose signature holds: what the chains have to contain, when that was, and who
    signed.
    """

    heads: dict[str, Head]
    at: str
    signer: str


def sign_head(settings: Settings, out: Path, ca: Path, passphrase: Secret) -> SignedHead:
    """Sign the journal's present head with the intermediate of the CA in the folder `ca`, and
    write it.

    Raises JournalError, SignerError for the CA, UsageError for a place that cannot take it.
    """
    from infuse_cli.pki.store import load_ca

    signer = load_ca(ca, passphrase)
    with open_journal(settings.home, operator=login_name(), create=False) as journal:
        heads = journal.heads()
    head = SignedHead(out, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", __version__, heads)
    content = head_content(head)
    whole = {**content, "signature": _signature(signer, content)}
    text = msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"
    Results(settings).write(out, text)
    return head


def head_content(head: SignedHead) -> dict[str, Any]:
    """What is signed of a head, as JSON values."""
    return {
        "infuse": FORM,
        "at": head.at,
        "tool": head.tool,
        "stations": {
            name: {"seq": found.seq, "hash": found.hash} for name, found in head.heads.items()
        },
    }


def _signature(signer: Signer, told: dict[str, Any]) -> dict[str, Any]:
    value = signer.private_key.sign(_signed(told), _HASH)
    return {
        "value": base64.b64encode(value).decode(),
        "chain": [one.public_bytes(Encoding.PEM).decode() for one in signer.chain],
    }


def read_head(settings: Settings, path: Path, root: Path | None) -> CheckedHead:
    """A head whose signature holds under a root that is trusted: `root`, else those of the
    profile's CA and of the CAs in this home.

    Raises JournalError journal.bad-head, UsageError for files that cannot be read.
    """
    text = _bytes(path)
    try:
        found = msgspec.json.decode(text, type=_File)
        told = {
            name: value for name, value in msgspec.json.decode(text).items() if name != "signature"
        }
        chain = [x509.load_pem_x509_certificate(pem.encode()) for pem in found.signature.chain]
        signature = base64.b64decode(found.signature.value, validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise _refused(path, "is no signed head") from error
    if found.infuse != FORM or not chain:
        raise _refused(path, f"is no signed head of the form {FORM}")
    _check(path, _signed(told), signature, chain, _roots(settings, root))
    heads = {name: Head(one.seq, one.hash) for name, one in found.stations.items()}
    return CheckedHead(heads, found.at, chain[0].subject.rfc4514_string())


def _check(
    path: Path,
    told: bytes,
    signature: bytes,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
) -> None:
    key = chain[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _refused(path, "is signed with a key of another kind")
    try:
        key.verify(signature, told, _HASH)
        for below, above in itertools.pairwise(chain):
            below.verify_directly_issued_by(above)
    except (InvalidSignature, ValueError, TypeError):
        raise _refused(path, "was changed: its signature does not hold") from None
    if not any(chain[-1] == root or _issued(chain[-1], root) for root in roots):
        raise _refused(
            path,
            f"is signed by {chain[0].subject.rfc4514_string()}, which no trusted root vouches for",
        )


def _issued(below: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _roots(settings: Settings, root: Path | None) -> list[x509.Certificate]:
    paths = (
        [root]
        if root is not None
        else sorted({*(settings.home / CA).glob("*/root.pem"), *_root_of_profile(settings)})
    )
    try:
        return [certificate for path in paths for certificate in read_certificates(path)]
    except SignerError as error:
        raise UsageError("usage.bad-option", error.message, hint=error.hint) from error


def _root_of_profile(settings: Settings) -> list[Path]:
    """The root of the CA that the profile names, where it is there. Raises ProfileError."""
    if settings.profile is None:
        return []
    from infuse_cli.config.source import load
    from infuse_cli.pki.store import ca_folder

    identity = load(settings.profile, settings.env).profile.identity
    path = ca_folder(settings.home, identity.ca) / "root.pem"
    return [path] if path.exists() else []


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT)
    except OSError as error:
        raise UsageError("usage.bad-option", f"{path} cannot be read: {error.strerror}") from error


def _signed(told: dict[str, Any]) -> bytes:
    return msgspec.json.encode(told, order="sorted")


def _refused(path: Path, why: str) -> JournalError:
    return JournalError("journal.bad-head", f"{path} {why}")
