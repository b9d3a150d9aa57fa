"""`infuse ca sign`: CSRs that came another way than through a board's port."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infuse_cli import failpoint
from infuse_cli import records as rec
from infuse_cli.cli import ca_common
from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import PolicyError, UsageError
from infuse_cli.journal import certificates
from infuse_cli.pki import chain, issuing, store
from infuse_cli.pki.certificate_profiles import certificate_profile
from infuse_cli.pki.vetting import VettedCsr, vet_pem
from infuse_cli.types import DEVICE_ID

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.cli.ca_common import PassphraseOptions
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Signer


@dataclass(frozen=True, slots=True)
class SignOptions:
    """Options of `ca sign`; None: the profile's, else the built-in default."""

    device_id: str | None = None
    certificate: str | None = None
    ca: str | None = None
    again: bool = False


def sign(csr: Path, out: Path, options: SignOptions, passphrase: PassphraseOptions) -> OperationResult:
    """Vet a CSR, sign it, put the certificate on record, write it."""
    ca_common.check_writable(out, csr)
    profile = certificate_profile(options.certificate or ca_common.identity().certificate)
    vetted = vet_pem(ca_common.read_text(csr))
    name = _common_name(vetted, profile, options.device_id)
    signer = store.load_ca(ca_common.folder_of(options.ca), ca_common.passphrase(options.ca, passphrase))
    with ca_common.recorded("ca sign") as journal:
        on_record = None if options.again else _on_record(journal, signer, vetted, name, profile)
        issued = on_record or _sign_and_record(journal, signer, vetted, name, profile)
    ca_common.write(out, issued.pem.encode())
    data = {**ca_common.issued_data(issued), "commonName": name, "profile": profile.name, "already": on_record is not None, "out": str(out.absolute())}
    verb = "On record already, given out again" if on_record else "Signed"
    return OperationResult("ca sign", data, human=f"{verb}: CN={name}, serial {issued.serial}, valid to {issued.not_after:%Y-%m-%d}, in {out}")


def _common_name(vetted: VettedCsr, profile: CertificateProfile, device_id: str | None) -> str:
    if device_id is not None:
        if DEVICE_ID.fullmatch(device_id.lower()) is None:
            raise UsageError("usage.bad-option", f"--device-id is 16 hex digits, not {device_id!r}")
        return device_id.lower()
    if vetted.common_name is None or profile.common_name.fullmatch(vetted.common_name) is None:
        raise PolicyError("identity.csr-policy", f"certificate profile {profile.name!r} does not take the CSR's common name {vetted.common_name!r}",
                          hint="Give the cloud device id with --device-id.")
    return vetted.common_name


def _on_record(journal: SqliteJournal, signer: Signer, vetted: VettedCsr, name: str, profile: CertificateProfile) -> issuing.IssuedCertificate | None:
    """The newest certificate that this CA gave this key and name, still valid: asking twice does not make a second one."""
    wanted = certificates.Wanted(spki=vetted.spki_sha256, issuer=issuing.issuer_id(signer), profile=profile.name, state="issued")
    for record in reversed(certificates.search(journal, wanted)):
        found = chain.split_pem(record.pem)[0]
        if chain.common_names(found) == (name,):
            return issuing.describe(found, signer.chain[0])
    return None


def _sign_and_record(journal: SqliteJournal, signer: Signer, vetted: VettedCsr, name: str, profile: CertificateProfile) -> issuing.IssuedCertificate:
    """Serial reserved before signing, certificate on record before anybody has it (rule 13)."""
    now, serial = datetime.now(UTC), issuing.new_serial()
    issuing.check_clock(now, None, journal.newest())
    journal.commit(rec.ReserveSerial(serial=issuing.serial_hex(serial), issuer=issuing.issuer_id(signer)))
    issued = issuing.issue(signer, spki_der=vetted.spki_der, common_name=name, serial=serial, profile=profile, now=now,
                           validity_days=profile.validity_days)
    failpoint.hit("signed")
    journal.commit(rec.StoreCertificate(
        serial=issued.serial, issuer=issued.issuer, sha256=issued.sha256, spki_sha256=issued.spki_sha256, not_before=issued.not_before,
        not_after=issued.not_after, pem=issued.pem, profile=profile.name, device_id=name if DEVICE_ID.fullmatch(name) else None, name=name,
    ))
    return issued
