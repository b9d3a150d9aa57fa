"""What `infuse ca …` does: wires the CA, the journal and the files together and says what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding

from infuse_cli import failpoint
from infuse_cli import records as rec
from infuse_cli.cli import context, secrets
from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import PolicyError, SignerError, UsageError
from infuse_cli.pki import chain, issuing, store
from infuse_cli.pki.certificate_profiles import certificate_profile
from infuse_cli.pki.der import is_one_sequence
from infuse_cli.pki.files import PUBLIC, read_bounded, write_atomic
from infuse_cli.pki.profile_check import deviations
from infuse_cli.pki.vetting import VettedCsr, vet_pem
from infuse_cli.types import DEVICE_ID

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Journal, Signer
    from infuse_cli.profile import Identity
    from infuse_cli.types import Secret


@dataclass(frozen=True, slots=True)
class PassphraseOptions:
    """The two options every CA command takes (rule 35)."""

    file: Path | None = None
    fd: int | None = None

    @property
    def given(self) -> bool:
        """Whether either was given, so that neither profile nor keyring is asked."""
        return self.file is not None or self.fd is not None


@dataclass(frozen=True, slots=True)
class SignOptions:
    """Options of `ca sign`; None: the profile's, else the built-in default."""

    device_id: str | None = None
    certificate: str | None = None
    ca: str | None = None
    again: bool = False


def init(named: str | None, root_out: Path | None, options: PassphraseOptions, *, keep: bool = False) -> OperationResult:
    """Make a CA; `keep` puts its passphrase into the keyring."""
    name = named or _identity().ca
    folder = store.ca_folder(context.current().home, name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):  # before a passphrase is asked for
        raise SignerError("ca.exists", f"{folder} exists and is not empty")
    secret = _passphrase(name, options, confirm=True)
    store.init_ca(folder, folder.name, secret, root_out=root_out)
    described = _described(folder)
    if keep and not secrets.keep_in_keyring(secrets.ca_keyring_name(name), secret):
        described["warnings"].append("There is no keyring on this machine that takes the passphrase: give it by file, descriptor or prompt.")
    if root_out is not None and root_out.stat().st_dev == folder.stat().st_dev:
        described["warnings"].append(f"{root_out} is on the same disk as the bench's own files: is the medium for the root's key mounted?")
    where = "" if described["rootKeyOnBench"] else f"\nThe root's key is in {root_out}: take it away from the bench, and keep a copy."
    return OperationResult("ca init", described, human=f"{_human(described)}{where}\nNext: infuse ca export --out root.pem")


def show(ca: str | None) -> OperationResult:
    """Show a CA; its passphrase is not needed."""
    described = _described(_folder(ca))
    return OperationResult("ca show", described, human=_human(described))


def sign(csr: Path, out: Path, options: SignOptions, passphrase: PassphraseOptions) -> OperationResult:
    """Vet a CSR, sign it, put the certificate on record, write it."""
    from infuse_cli.journal.store import open_journal

    _check_writable(out, csr)
    profile = certificate_profile(options.certificate or _identity().certificate)
    vetted = vet_pem(_read_text(csr))
    name = _common_name(vetted, profile, options.device_id)
    ca = options.ca or _identity().ca
    signer = store.load_ca(_folder(options.ca), _passphrase(ca, passphrase))
    with open_journal(context.current().home) as journal:
        on_record = None if options.again else _on_record(journal, signer, vetted, name, profile)
        issued = on_record or _sign_and_record(journal, signer, vetted, name, profile)
    _write(out, issued.pem.encode())
    data = {**_issued_data(issued), "commonName": name, "profile": profile.name, "already": on_record is not None, "out": str(out.absolute())}
    verb = "On record already, given out again" if on_record else "Signed"
    return OperationResult("ca sign", data, human=f"{verb}: CN={name}, serial {issued.serial}, valid to {issued.not_after:%Y-%m-%d}, in {out}")


def export(out: Path, ca: str | None, *, chain: bool, der: bool) -> OperationResult:
    """Write the root, or intermediate and root."""
    intermediate, root = store.read_chain(_folder(ca))
    if chain and der:
        raise UsageError("usage.bad-option", "--der holds one certificate; --chain is two")
    chosen = [intermediate, root] if chain else [root]
    _check_writable(out)
    _write(out, root.public_bytes(Encoding.DER) if der else _bundle(chosen))
    data = {"out": str(out.absolute()), "format": "der" if der else "pem", "certificates": [_certificate_data(one) for one in chosen]}
    return OperationResult("ca export", data, human=f"{' and '.join(one.subject.rfc4514_string() for one in chosen)} in {out}")


def verify(file: Path, certificate: str | None, root: Path | None, ca: str | None) -> OperationResult:
    """Check a certificate against a root and its certificate profile. Raises SignerError ca.verify-failed."""
    profile = certificate_profile(certificate or _identity().certificate)
    leaf, *others = _certificates(file)
    above, roots = ([], _certificates(root)) if root else _local(ca)
    chain.verify_chain(leaf, [*others, *above], roots, datetime.now(UTC))
    is_ca = chain.is_ca(leaf)
    if not is_ca and (found := deviations(leaf, profile)):
        raise SignerError("ca.verify-failed", f"the certificate is not what profile {profile.name!r} says: {'; '.join(found)}")
    kind = "a CA" if is_ca else f"profile {profile.name!r}"
    data = {**_certificate_data(leaf), "profile": None if is_ca else profile.name, "root": roots[0].subject.rfc4514_string()}
    return OperationResult("ca verify", data, human=f"{file}: {leaf.subject.rfc4514_string()}, {kind}: chain, dates and contents are right")


def _bundle(certificates: list[x509.Certificate]) -> bytes:
    return chain.pem_bundle(certificates).encode()


def _identity() -> Identity:
    """The identity section of the profile that was named, else the built-in defaults."""
    settings = context.current()
    return _identity_of(settings.profile, settings.home)


@lru_cache(maxsize=1)
def _identity_of(profile: str | None, _home: Path) -> Identity:
    from infuse_cli.profile import Identity

    if profile is None:
        return Identity()
    from infuse_cli.profile_source import load

    return load(profile, context.current().env).profile.identity


def _folder(ca: str | None) -> Path:
    return store.ca_folder(context.current().home, ca or _identity().ca)


def _passphrase(ca: str, options: PassphraseOptions, *, confirm: bool = False) -> Secret:
    profile = None if options.given else _identity().passphrase
    return secrets.passphrase(file=options.file, fd=options.fd, profile=profile,
                              keyring_name=secrets.ca_keyring_name(ca), confirm=confirm)


def _common_name(vetted: VettedCsr, profile: CertificateProfile, device_id: str | None) -> str:
    if device_id is not None:
        if DEVICE_ID.fullmatch(device_id.lower()) is None:
            raise UsageError("usage.bad-option", f"--device-id is 16 hex digits, not {device_id!r}")
        return device_id.lower()
    if vetted.common_name is None or profile.common_name.fullmatch(vetted.common_name) is None:
        raise PolicyError("identity.csr-policy", f"certificate profile {profile.name!r} does not take the CSR's common name {vetted.common_name!r}",
                          hint="Give the cloud device id with --device-id.")
    return vetted.common_name


def _on_record(journal: Journal, signer: Signer, vetted: VettedCsr, name: str, profile: CertificateProfile) -> issuing.IssuedCertificate | None:
    """The newest certificate that this CA gave this key and name, still valid: asking twice does not make a second one."""
    issuer, now = issuing.issuer_id(signer), datetime.now(UTC)
    for record in sorted(journal.certificates(), key=lambda found: found.not_before, reverse=True):
        same = (record.issuer, record.spki_sha256, record.profile, record.state) == (issuer, vetted.spki_sha256, profile.name, "issued")
        if same and record.not_after > now:
            found = chain.split_pem(record.pem)[0]
            if chain.common_names(found) == (name,):
                return issuing.describe(found, signer.chain[0])
    return None


def _sign_and_record(journal: Journal, signer: Signer, vetted: VettedCsr, name: str, profile: CertificateProfile) -> issuing.IssuedCertificate:
    """Serial reserved before signing, certificate on record before anybody has it (rule 13)."""
    now, serial = datetime.now(UTC), issuing.new_serial()
    issuing.check_clock(now, None, journal.newest())
    journal.commit(rec.ReserveSerial(serial=issuing.serial_hex(serial), issuer=issuing.issuer_id(signer)))
    issued = issuing.issue(signer, spki_der=vetted.spki_der, common_name=name, serial=serial, profile=profile, now=now,
                           validity_days=profile.validity_days)
    failpoint.hit("signed")
    journal.commit(rec.StoreCertificate(
        serial=issued.serial, issuer=issued.issuer, sha256=issued.sha256, spki_sha256=issued.spki_sha256, not_before=issued.not_before,
        not_after=issued.not_after, pem=issued.pem, profile=profile.name, device_id=name if DEVICE_ID.fullmatch(name) else None,
    ))
    return issued


def _local(ca: str | None) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    intermediate, root = store.read_chain(_folder(ca))
    return [intermediate], [root]


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return list(chain.split_pem(_read_text(path)))
    except PolicyError as error:
        raise SignerError("ca.verify-failed", f"{path}: {error.message}") from None


def _read_text(path: Path) -> str:
    try:
        return read_bounded(path).decode("ascii", errors="replace")
    except OSError as error:
        raise UsageError("usage.bad-option", f"{path} cannot be read: {error.strerror}") from None


def _check_writable(out: Path, *inputs: Path) -> None:
    """An existing file is replaced only if it is a certificate: a slip must not cost a key or a request."""
    try:
        held = read_bounded(out) if out.exists() else b""
    except OSError as error:
        raise UsageError("usage.bad-option", f"{out} cannot be written: {error.strerror}") from None
    if out in inputs or (held and b"-----BEGIN CERTIFICATE-----" not in held and not is_one_sequence(held)) or b"PRIVATE KEY-----" in held:
        raise UsageError("usage.bad-option", f"{out} exists and is not a certificate; it is not overwritten")
    if not out.absolute().parent.is_dir():
        raise UsageError("usage.bad-option", f"{out} cannot be written: its folder does not exist")


def _write(out: Path, data: bytes) -> None:
    try:
        write_atomic(out, data, PUBLIC)
    except OSError as error:
        raise UsageError("usage.bad-option", f"{out} cannot be written: {error.strerror}") from None


def _described(folder: Path) -> dict[str, Any]:
    intermediate, root = store.read_chain(folder)
    return {
        "ca": folder.name, "folder": str(folder), "root": _certificate_data(root), "intermediate": _certificate_data(intermediate),
        "rootKeyOnBench": store.root_key_here(folder), "warnings": _warnings(folder, (intermediate, root)),
    }


def _warnings(folder: Path, certificates: tuple[x509.Certificate, ...]) -> list[str]:
    found = []
    if store.root_key_here(folder):
        found.append("The root's key is on this bench. Move root.key.pem to a medium that is kept elsewhere (next time: --root-out).")
    if store.key_is_loose(folder):
        found.append("The intermediate's key file can be read by other users: chmod 600 it, and consider it exposed.")
    try:
        store.check_dates(certificates, datetime.now(UTC))
    except SignerError as error:
        found.append(f"{error.message}.")
    return found


def _certificate_data(certificate: x509.Certificate) -> dict[str, Any]:
    described = issuing.describe(certificate, certificate)
    return {
        "subject": certificate.subject.rfc4514_string(), "issuer": certificate.issuer.rfc4514_string(), "serial": described.serial,
        "sha256": described.sha256, "notBefore": described.not_before, "notAfter": described.not_after,
    }


def _issued_data(issued: issuing.IssuedCertificate) -> dict[str, Any]:
    return {"serial": issued.serial, "sha256": issued.sha256, "issuerSha256": issued.issuer, "publicKeySha256": issued.spki_sha256,
            "notBefore": issued.not_before, "notAfter": issued.not_after, "certificate": issued.pem}


def _human(described: dict[str, Any]) -> str:
    lines = [f"CA {described['ca']} in {described['folder']}"]
    for role in ("root", "intermediate"):
        one = described[role]
        lines += [f"  {role}: {one['subject']}", f"    valid  {one['notBefore']:%Y-%m-%d} to {one['notAfter']:%Y-%m-%d}",
                  f"    serial {one['serial']}", f"    sha256 {one['sha256']}"]
    return "\n".join([*lines, *(f"warning: {text}" for text in described["warnings"])])
