"""A CA of this bench as a value: open it, sign, issue, revoke, make lists.

with a home of infuse and a CA made by `infuse ca init`:

ca = CertificateAuthority.open(Path("/srv/infuse"), "default", Secret("…"))
issued = ca.sign(csr, device_id="0123456789abcdef")
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.ca import common, crl, revocation
from infuse_cli.ca.common import PassphraseOptions
from infuse_cli.ca.recorded_signer import (
    RecordedSigner,
    SigningRequest,
    SigningResult,
    refusal,
    vet,
)
from infuse_cli.errors import PolicyError, UsageError
from infuse_cli.identities import IdentityKind, refuse_blank
from infuse_cli.pki import chain, issuing, store
from infuse_cli.pki.certificate_profile_files import resolve
from infuse_cli.pki.certificate_profiles import CertificateProfile
from infuse_cli.pki.issuers import all_issuers
from infuse_cli.settings import Settings
from infuse_cli.types import DEVICE_ID, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from cryptography import x509

    from infuse_cli.pki.issuers import Issuer
    from infuse_cli.pki.issuing import IssuedCertificate
    from infuse_cli.ports import Signer


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A certificate with the key that was made for it: PKCS#8 PEM, not encrypted; `bundle` is the
    certificate with those above it but the root, PEM.
    """

    certificate: IssuedCertificate
    bundle: str
    key: Secret = field(repr=False)


class CertificateAuthority:
    """A CA and the journal of its bench: what it signs is recorded before it is given out.

    The CA is unlocked at the first signature. Every method may raise SignerError (`ca.…`) and
    JournalError.
    """

    def __init__(
        self, settings: Settings, ca: str | None, passphrase: Secret | PassphraseOptions
    ) -> None:
        self.settings: Final = settings
        self.identity: Final = common.identity(settings)
        self.name: Final = ca or self.identity.ca
        self.folder: Final = store.ca_folder(settings.home, self.name)
        self._passphrase: Final = passphrase

    @classmethod
    def open(
        cls,
        where: Settings | Path,
        ca: str | None = None,
        passphrase: Secret | PassphraseOptions | None = None,
    ) -> CertificateAuthority:
        """The CA of a home (INFUSE_HOME): by its name or absolute folder, else the profile's, else
        `default`.

        Without a passphrase it comes from profile, keyring or prompt, once it is needed. Raises
        SignerError ca.not-found, ca.corrupt, UsageError.
        """
        settings = Settings(where.absolute()) if isinstance(where, Path) else where
        found = cls(settings, ca, passphrase or PassphraseOptions())
        store.read_chain(found.folder)
        return found

    @property
    def issuers(self) -> Sequence[Issuer]:
        """Every issuer, the one that signs first."""
        return all_issuers(self.folder)

    @property
    def root(self) -> x509.Certificate:
        """The root of the issuer that signs."""
        return store.read_chain(self.folder)[-1]

    def passphrase(self, what: str = "CA passphrase", *, confirm: bool = False) -> Secret:
        """The passphrase, `what` for a person who is asked for it."""
        if isinstance(self._passphrase, Secret):
            return self._passphrase
        return common.passphrase(
            self.settings, self.name, self._passphrase, confirm=confirm, what=what
        )

    @cached_property
    def signer(self) -> Signer:
        """The issuer that signs, unlocked."""
        return store.load_ca(self.folder, self.passphrase())

    def certificate_profile(self, named: str | None = None) -> CertificateProfile:
        """A certificate profile by name or path, else the profile's. Raises ProfileError."""
        return resolve(named or self.identity.certificate, self.settings.home)

    @contextmanager
    def signing(
        self, profile: CertificateProfile, *, again: bool = False, command: str = "ca sign"
    ) -> Iterator[RecordedSigner]:
        """Sign many requests in one run of the journal; `again` also those that have a certificate.

        Raises SignerError ca.issuer-revoked.
        """
        signer = self.signer
        with common.ca_run(self.settings, command) as journal:
            issuing.check_issuer(signer, journal.is_revoked)
            good = frozenset(
                issuer.sha256
                for issuer in self.issuers
                if not issuing.is_revoked(issuer.chain, journal.is_revoked)
            )
            yield RecordedSigner(journal, signer, profile, again, good)

    def sign(
        self,
        csr: bytes,
        *,
        device_id: str | None = None,
        certificate: CertificateProfile | str | None = None,
        names: Sequence[tuple[str, str]] = (),
        again: bool = False,
    ) -> IssuedCertificate:
        """Sign a PKCS#10 request, PEM or DER, under a cloud device id (16 hex digits) or, without
        one, under its own common name, if the certificate profile takes that.

        The same key under the same name gets the certificate that it has. `names` are alternative
        names such as ("dns", "broker.example"). Raises PolicyError `identity.…` for what is
        refused.
        """
        request = SigningRequest(Path("request"), csr, checked_device_id(device_id), tuple(names))
        return self.sign_request(request, certificate, again=again).certificate

    def sign_request(
        self,
        request: SigningRequest,
        certificate: CertificateProfile | str | None = None,
        *,
        again: bool = False,
        command: str = "ca sign",
    ) -> SigningResult:
        """Sign one request. Raises PolicyError where the request itself says that it cannot be,
        before the CA is unlocked.
        """
        profile = (
            certificate
            if isinstance(certificate, CertificateProfile)
            else self.certificate_profile(certificate)
        )
        vetted = vet(request, profile)
        if isinstance(vetted, PolicyError):
            with common.ca_run(self.settings, command) as journal:
                journal.commit(refusal(SigningResult(request, error=vetted)))
            raise vetted
        with self.signing(profile, again=again, command=command) as signer:
            return signer.sign([request], [vetted])[0]

    def issue(
        self,
        name: str,
        *,
        certificate: CertificateProfile | str = "bench",
        names: Sequence[tuple[str, str]] = (),
        valid_for: timedelta | None = None,
        store_key: Callable[[Secret], object] = lambda _key: None,
        command: str = "ca issue",
    ) -> IssuedKey:
        """Make a P-256 key and its certificate for a person, a bench or a broker.

        The key is new, so it always is a new certificate. `valid_for` (whole days) instead of the
        certificate profile's. `store_key` gets the key (PEM, not encrypted) before anything is
        signed, so that no certificate outlives a key that was never stored. Raises PolicyError.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        profile = (
            certificate
            if isinstance(certificate, CertificateProfile)
            else self.certificate_profile(certificate)
        )
        if valid_for is not None:
            profile = replace(profile, validity_days=valid_for.days)
        key = ec.generate_private_key(ec.SECP256R1())
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        request = SigningRequest(Path(name), csr, name, tuple(names))
        with self.signing(profile, command=command) as signer:
            store_key(Secret(secret))
            issued = signer.sign([request])[0].certificate
        above = [
            certificate
            for certificate in self.signer.chain
            if not chain.is_self_issued(certificate)
        ]
        return IssuedKey(issued, issued.pem + chain.pem_bundle(above), Secret(secret))

    def revoke(self, request: revocation.RevokeRequest) -> revocation.Revocation:
        """Revoke for good what a list of this bench can hold; `revocation.revoke` says more."""
        return revocation.revoke(self.settings, request, ca=self.name)

    def crl(self, request: crl.CrlRequest | None = None) -> crl.SignedCrl:
        """The list of what is revoked of an issuer; `crl.sign_crl` says more."""
        return crl.sign_crl(self, request or crl.CrlRequest())


def checked_device_id(text: str | None) -> str | None:
    """A cloud device id in lower case. Raises UsageError usage.bad-option, and what refuses a
    blank one.
    """
    if text is None:
        return None
    if DEVICE_ID.fullmatch(text.lower()) is None:
        raise UsageError("usage.bad-option", f"--device-id is 16 hex digits, not {text!r}")
    refuse_blank(IdentityKind.DEVICE_ID, text, "--device-id")
    return text.lower()
