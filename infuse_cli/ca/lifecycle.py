"""How a CA begins and how its issuers follow one another: made here, or signed by an external
root.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infuse_cli.ca import common
from infuse_cli.ca.inspection import CaDescription, describe
from infuse_cli.effects.results import REQUEST_FILES
from infuse_cli.errors import SignerError, UsageError
from infuse_cli.keys import passphrases
from infuse_cli.pki import chain, renewal, store
from infuse_cli.pki.ca_certificates import check_name, intermediate_name
from infuse_cli.pki.issuers import load_root, read_chain, read_key_uri, root_key_path
from infuse_cli.pki.reading import read_certificates
from infuse_cli.pki.signers import make_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

    from infuse_cli.ca.authority import CertificateAuthority
    from infuse_cli.pki.renewal import NewKey
    from infuse_cli.types import Secret


@dataclass(frozen=True, slots=True)
class NewKeyRequest:
    """Where the key of a new issuer is made: in a file, or where its URI says (a token), whose PIN
    comes by file or descriptor. `existing` takes the key that is there.
    """

    uri: str | None = None
    existing: bool = False
    pin_file: Path | None = None
    pin_fd: int | None = None


@dataclass(frozen=True, slots=True)
class InitRequest:
    """A new CA: its root's key goes into `root_out`, its passphrase, if wanted, into the keyring.

    With `external` another root signs the intermediate, through the request in `csr_out`.
    """

    key: NewKeyRequest = NewKeyRequest()
    root_out: Path | None = None
    keyring: bool = False
    external: bool = False
    csr_out: Path | None = None


@dataclass(frozen=True, slots=True)
class MadeCa:
    """A CA that was just made.

    `no_keyring`: no keyring took the passphrase. `same_disk`: the root's key is on the bench's own
    disk.
    """

    ca: CaDescription
    root_out: Path | None
    no_keyring: bool
    same_disk: bool


@dataclass(frozen=True, slots=True)
class MadeRequest:
    """A request for an external root in `out`; the key stays here."""

    folder: Path
    subject: str
    out: Path
    key_uri: str | None


@dataclass(frozen=True, slots=True)
class Renewed:
    """A CA with a new issuer; `replaced` is the one before."""

    ca: CaDescription
    replaced: x509.Certificate

    @property
    def replaced_is_revoked(self) -> bool:
        """Whether the issuer before was revoked, so that boards need new certificates."""
        return any(
            issuer.revoked and issuer.certificate == self.replaced for issuer in self.ca.issuers
        )


@dataclass(frozen=True, slots=True)
class Imported:
    """A CA whose issuer an external root signed."""

    ca: CaDescription
    imported: x509.Certificate


def init(authority: CertificateAuthority, request: InitRequest) -> MadeCa | MadeRequest:
    """Make a CA, or the request for one.

    Raises SignerError ca.exists, ca.no-passphrase, ca.corrupt, UsageError.
    """
    folder, root_out = authority.folder, request.root_out
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SignerError("ca.exists", f"{folder} exists and is not empty")
    check_name(folder.name)
    if request.external:
        if root_out is not None:
            raise UsageError(
                "usage.bad-option",
                "--root-out is for a root that is made here, --external-root for one that is not",
            )
        return _request(authority, intermediate_name(folder.name), request.csr_out, request.key)
    if request.csr_out is not None:
        raise UsageError("usage.bad-option", "--csr-out goes with --external-root")
    secret = authority.passphrase(confirm=True)
    store.init_ca(
        folder,
        folder.name,
        secret,
        root_out=root_out,
        key=_new_key(authority, request.key, secret),
    )
    no_keyring = request.keyring and not passphrases.keep_in_keyring(
        passphrases.ca_keyring_name(authority.name), secret
    )
    same_disk = root_out is not None and root_out.stat().st_dev == folder.stat().st_dev
    return MadeCa(describe(authority.settings, folder), root_out, no_keyring, same_disk)


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """A new issuer under the same root, whose key `root_key` names, or, `external`, the request for
    one.
    """

    key: NewKeyRequest = NewKeyRequest()
    root_key: Path | None = None
    external: bool = False
    csr_out: Path | None = None


def renew(authority: CertificateAuthority, request: RenewRequest) -> Renewed | MadeRequest:
    """A new intermediate that signs from now on; the chain of the one before stays good.

    Raises SignerError, UsageError.
    """
    folder = authority.folder
    before = read_chain(folder)[0]
    if request.external or request.csr_out is not None:
        return _request(authority, renewal.next_name(folder), request.csr_out, request.key)
    root_key_path(folder, request.root_key)  # before a passphrase is asked for
    secret = authority.passphrase("CA passphrase (of the root's key)")
    root = load_root(folder, request.root_key, secret, now=datetime.now(UTC))
    renewal.renew(folder, root, _new_key(authority, request.key, secret))
    return Renewed(describe(authority.settings, folder), before)


def _request(
    authority: CertificateAuthority, name: str, csr_out: Path | None, key: NewKeyRequest
) -> MadeRequest:
    """Make the key here and write the request that the external root is to sign."""
    if csr_out is None:
        raise UsageError("usage.bad-option", "--external-root needs --csr-out FILE for the request")
    settings = authority.settings
    common.check_writable(settings, csr_out, replaces=REQUEST_FILES)
    secret = None if key.uri is not None else authority.passphrase(confirm=True)
    pem = renewal.request(authority.folder, name, _new_key(authority, key, secret))
    common.write(settings, csr_out, pem, replaces=REQUEST_FILES)
    return MadeRequest(authority.folder, f"CN={name}", csr_out, key.uri)


def import_signed(
    authority: CertificateAuthority, file: Path, root: Path | None = None
) -> Imported:
    """Take the certificate that an external root signed for the key that waits here, with all above
    it: PEM, DER or PKCS#7.

    Raises SignerError ca.not-found (nothing waits), ca.key-mismatch, ca.corrupt, UsageError.
    """
    folder = authority.folder
    pending = folder / renewal.PENDING
    if not pending.exists():
        raise SignerError(
            "ca.not-found",
            f"no request waits in {folder}",
            hint="`infuse ca init --external-root` or `infuse ca renew --external-root` makes one.",
        )
    given = list(read_certificates(file, bundles=True))
    if root is not None:
        given += read_certificates(root, bundles=True)
    elif not any(map(chain.is_self_issued, given)):
        given += _above_current(folder)
    what = "CA passphrase" if read_key_uri(pending) is None else "PIN of the CA's token"
    imported = renewal.import_signed(folder, given, authority.passphrase(what))
    return Imported(describe(authority.settings, folder), imported)


def _above_current(folder: Path) -> Sequence[x509.Certificate]:
    try:
        return read_chain(folder)[1:]
    except SignerError:
        return ()


def _new_key(
    authority: CertificateAuthority, request: NewKeyRequest, secret: Secret | None
) -> NewKey:
    """The new issuer's key: made where its URI says, or in memory to be written under the
    passphrase.
    """
    if request.uri is None:
        if secret is None:
            raise SignerError("ca.no-passphrase", "no CA passphrase was given")
        return renewal.new_key(secret)

    def pin() -> Secret:
        return passphrases.passphrase(
            file=request.pin_file,
            fd=request.pin_fd,
            what="PIN of the token",
            prompt=authority.settings.prompt,
        )

    key = make_key(request.uri, pin, existing=request.existing)
    return replace(renewal.NewKey(key), uri=request.uri)
