"""What `infuse ca` shows: results as JSON values and as text for people."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.ca.common import folder_of
from infuse_cli.ca.lifecycle import MadeRequest
from infuse_cli.ca.origins import Origin
from infuse_cli.ca.revocation import ListKind
from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import Exit, SignerError
from infuse_cli.pki import issuing, store
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

    from infuse_cli.ca.crl import SignedCrl
    from infuse_cli.ca.inspection import (
        CaDescription,
        DescribedIssuer,
        ExportRequest,
        Lint,
        Verified,
    )
    from infuse_cli.ca.lifecycle import Imported, MadeCa, Renewed
    from infuse_cli.ca.origins import LiveCertificate
    from infuse_cli.ca.recorded_signer import SigningResult
    from infuse_cli.ca.revocation import DueList, Revocation
    from infuse_cli.ca.signing import IssuedFiles, SignedFile, SignedFolder
    from infuse_cli.pki.issuing import IssuedCertificate
    from infuse_cli.records import RevokeCertificate
    from infuse_cli.settings import Settings

_RENEW_DAYS: Final = 5 * 365
"""A board's certificate never outlives its issuer: five years before that it is time for a new one.
"""
_MOST_SHOWN: Final = 20  # refusals that a person is shown each


def certificate_data(certificate: x509.Certificate) -> dict[str, Any]:
    """A certificate as JSON values."""
    described = issuing.describe(certificate, certificate)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": described.serial,
        "sha256": described.sha256,
        "notBefore": described.not_before,
        "notAfter": described.not_after,
    }


def _issued_data(issued: IssuedCertificate, profile: str) -> dict[str, Any]:
    return {
        "serial": issued.serial,
        "sha256": issued.sha256,
        "issuerSha256": issued.issuer,
        "publicKeySha256": issued.spki_sha256,
        "notBefore": issued.not_before,
        "notAfter": issued.not_after,
        "certificate": issued.pem,
        "commonName": issued.name,
        "profile": profile,
    }


# The CA itself


def shown(ca: CaDescription) -> OperationResult:
    """`ca show`."""
    return OperationResult("ca show", _ca_data(ca), human=_ca_text(ca, _warnings(ca)))


def made(result: MadeCa | MadeRequest, settings: Settings) -> OperationResult:
    """`ca init`."""
    if isinstance(result, MadeRequest):
        return _requested("ca init", result, settings)
    ca, root_out = result.ca, result.root_out
    warnings = _warnings(ca)
    if result.no_keyring:
        warnings.append(
            "There is no keyring on this machine that takes the passphrase: give it by file,"
            " descriptor or prompt."
        )
    if result.same_disk:
        warnings.append(
            f"{root_out} is on the same disk as the bench's own files: is the medium for the root's"
            " key mounted?"
        )
    text = _ca_text(ca, warnings)
    if not ca.root_key_here:
        text += f"\nThe root's key is in {root_out}: take it away from the bench, and keep a copy."
    return OperationResult(
        "ca init",
        {**_ca_data(ca), "warnings": warnings},
        human=f"{text}\n{_next_export(ca.folder, settings)}",
    )


def renewed(result: Renewed | MadeRequest, settings: Settings) -> OperationResult:
    """`ca renew`."""
    if isinstance(result, MadeRequest):
        return _requested("ca renew", result, settings)
    ca = result.ca
    stays = (
        "was revoked: give boards with certificates of it new ones (infuse key rotate BOARD)"
        if result.replaced_is_revoked
        else "stays good for the boards that it signed for"
    )
    return OperationResult(
        "ca renew",
        {**_ca_data(ca), "replaced": certificate_data(result.replaced)},
        human=(
            f"{_ca_text(ca, _warnings(ca))}\n{result.replaced.subject.rfc4514_string()} {stays}."
            " Keep its key for its revocation lists.\nNext: give brokers that hold intermediates"
            f" the new one: infuse ca export{_ca_option(ca.folder, settings)} --chain --out"
            " chain.pem"
        ),
    )


def imported(result: Imported, settings: Settings) -> OperationResult:
    """`ca import`."""
    ca = result.ca
    return OperationResult(
        "ca import",
        {**_ca_data(ca), "imported": certificate_data(result.imported)},
        human=f"{_ca_text(ca, _warnings(ca))}\n{_next_export(ca.folder, settings)}",
    )


def _requested(command: str, result: MadeRequest, settings: Settings) -> OperationResult:
    return OperationResult(
        command,
        {
            "ca": result.folder.name,
            "folder": str(result.folder),
            "subject": result.subject,
            "out": str(result.out.absolute()),
            "key": result.key_uri or "file",
        },
        human=(
            f"Request for {result.subject} in {result.out}.\nNext: have it signed (CA, path length"
            " 0, keyCertSign and cRLSign), then: infuse ca"
            f" import{_ca_option(result.folder, settings)} CERTIFICATE --root ROOT"
        ),
    )


def _next_export(folder: Path, settings: Settings) -> str:
    return f"Next: infuse ca export{_ca_option(folder, settings)} --out root.pem"


def _ca_option(folder: Path, settings: Settings) -> str:
    """What the next command needs in order to mean this CA: ` --ca NAME`, nothing where it is the
    one meant anyway.
    """
    if folder == folder_of(settings):
        return ""
    is_named = folder == store.ca_folder(settings.home, folder.name)
    return f" --ca {folder.name if is_named else folder}"


def _ca_data(ca: CaDescription) -> dict[str, Any]:
    issuers = [
        {**certificate_data(issuer.certificate), "revoked": issuer.revoked} for issuer in ca.issuers
    ]
    return {
        "ca": ca.name,
        "folder": str(ca.folder),
        "root": certificate_data(ca.root),
        "intermediate": issuers[0],
        "key": ca.key_uri or "file",
        "older": issuers[1:],
        "rootKeyOnBench": ca.root_key_here,
        "request": ca.pending,
        "warnings": _warnings(ca),
    }


def _warnings(ca: CaDescription) -> list[str]:
    warnings = []
    if ca.current.revoked:
        warnings.append("The intermediate was revoked and signs nothing more: `infuse ca renew`.")
    if ca.pending is not None:
        warnings.append(
            f"{ca.pending} waits to be signed by your root: then `infuse ca import CERTIFICATE`."
        )
    if ca.days_left < _RENEW_DAYS:
        warnings.append(
            f"The intermediate ends in {max(ca.days_left, 0)} days, and boards get no longer"
            " certificates: `infuse ca renew`."
        )
    if ca.root_key_here:
        warnings.append(
            "The root's key is on this bench. Move root.key.pem to a medium that is kept elsewhere"
            " (next time: --root-out)."
        )
    if ca.key_is_loose:
        warnings.append(
            "The intermediate's key file can be read by other users: chmod 600 it, and consider it"
            " exposed."
        )
    if ca.invalid is not None:
        warnings.append(f"{ca.invalid.message}.")
    return warnings


def _ca_text(ca: CaDescription, warnings: Sequence[str]) -> str:
    lines = [f"CA {ca.name} in {ca.folder}", *_paragraph("root", ca.root)]
    lines += _issuer_paragraph("intermediate", ca.current)
    if ca.key_uri is not None:
        lines.append(f"    key    {ca.key_uri}")
    for issuer in ca.issuers[1:]:
        lines += _issuer_paragraph("before it", issuer)
    return "\n".join([*lines, *(f"warning: {text}" for text in warnings)])


def _issuer_paragraph(role: str, issuer: DescribedIssuer) -> list[str]:
    head, *rest = _paragraph(role, issuer.certificate)
    return [head, *(["    revoked"] if issuer.revoked else []), *rest]


def _paragraph(role: str, certificate: x509.Certificate) -> list[str]:
    data = certificate_data(certificate)
    return [
        f"  {role}: {data['subject']}",
        f"    valid  {data['notBefore']:%Y-%m-%d} to {data['notAfter']:%Y-%m-%d}",
        f"    serial {data['serial']}",
        f"    sha256 {data['sha256']}",
    ]


# Certificates


def exported(certificates: Sequence[x509.Certificate], request: ExportRequest) -> OperationResult:
    """`ca export`."""
    subjects = " and ".join(certificate.subject.rfc4514_string() for certificate in certificates)
    return OperationResult(
        "ca export",
        {
            "out": str(request.out.absolute()),
            "format": "der" if request.der else "pem",
            "certificates": [certificate_data(certificate) for certificate in certificates],
        },
        human=f"{subjects} in {request.out}",
    )


def verified(result: Verified) -> OperationResult:
    """`ca verify`."""
    subject = result.certificate.subject.rfc4514_string()
    kind = "a CA" if result.profile is None else f"profile {result.profile!r}"
    return OperationResult(
        "ca verify",
        {
            **certificate_data(result.certificate),
            "profile": result.profile,
            "root": result.root.subject.rfc4514_string(),
        },
        human=f"{result.file}: {subject}, {kind}: chain, dates and contents are right",
    )


def linted(result: Lint) -> OperationResult:
    """`ca lint`: a point that is not as the profile wants it ends with exit code 9."""
    wrong, file = result.wrong, result.file
    width = max(len(point.what) for point in result.points)
    lines = []
    for point in result.points:
        lines.append(f"{'ok ' if point.ok else 'BAD'}  {point.what:<{width}}  {point.found}")
        if not point.ok:
            lines.append(f"     {'':<{width}}  wanted: {point.wanted}")
    verdict = f"{file}: as certificate profile {result.profile!r} wants it"
    error = None
    if wrong:
        verdict = (
            f"{file}: {len(wrong)} of {len(result.points)} points are not what certificate profile"
            f" {result.profile!r} wants"
        )
        error = SignerError(
            "ca.verify-failed",
            f"{', '.join(point.what for point in wrong)} of {file} are not what certificate"
            f" profile {result.profile!r} wants",
            hint=(
                "Where it was made under another one, --certificate names that; else the lines"
                " above say what is wrong."
            ),
        )
    return OperationResult(
        "ca lint",
        {
            "file": str(file.absolute()),
            "profile": result.profile,
            "points": [asdict(point) for point in result.points],
        },
        status="ok" if error is None else "error",
        errors=[] if error is None else [error.as_json()],
        exit_code=0 if error is None else int(Exit.SIGNER),
        human="\n".join([*lines, verdict]),
    )


def signed_file(result: SignedFile) -> OperationResult:
    """`ca sign` of one request."""
    issued, keygen = result.issued, result.keygen
    verb = "On record already, given out again" if result.already else "Signed"
    text = (
        f"{verb}: CN={issued.name}, serial {issued.serial}, valid to"
        f" {issued.not_after:%Y-%m-%d}, in {result.out}"
    )
    if keygen is not None:
        text += f"\n  it agrees with what the modem said: {keygen}"
    return OperationResult(
        "ca sign",
        {
            **_issued_data(issued, result.profile),
            "already": result.already,
            "out": str(result.out.absolute()),
            "keygen": None if keygen is None else str(keygen.absolute()),
        },
        human=text,
    )


def signed_folder(result: SignedFolder) -> OperationResult:
    """`ca sign` of several requests."""
    refused, already = result.refused, result.already
    signed = len(result.results) - len(refused) - already
    errors = [
        {**found.error.as_json(), "message": f"{found.request.source.name}: {found.error.message}"}
        for found in refused
        if found.error is not None
    ]
    text = f"{signed} signed, {already} on record already, {len(refused)} refused, in {result.out}"
    if len(errors) > _MOST_SHOWN:
        text += f"\nThe first {_MOST_SHOWN} refusals follow; all: infuse ca list --state refused"
    code = Exit.SOME_FAILED if refused else Exit.OK
    if len(result.results) == 1 and refused and refused[0].error is not None:
        code = refused[0].error.exit
    data = {
        "signed": signed,
        "already": already,
        "refused": len(refused),
        "profile": result.profile,
        "out": str(result.out.absolute()),
        "certificates": [_result_data(found, result) for found in result.results],
    }
    made_one = OperationResult("ca sign", data, errors=errors, exit_code=int(code), human=text)
    if not refused:
        return made_one
    return replace(made_one, status="partial" if signed + already else "error")


def _result_data(found: SigningResult, folder: SignedFolder) -> dict[str, Any]:
    issued = found.issued
    return {
        "csr": found.request.source.name,
        "commonName": issued.name if issued else None,
        "serial": issued.serial if issued else None,
        "already": found.already,
        "out": str(folder.file_of(found).absolute()) if issued else None,
        "error": found.error.as_json() if found.error else None,
    }


def issued_files(result: IssuedFiles) -> OperationResult:
    """`ca issue`."""
    issued = result.issued
    return OperationResult(
        "ca issue",
        {
            **_issued_data(issued, result.profile),
            "out": str(result.out.absolute()),
            "keyOut": str(result.key_out.absolute()),
        },
        human=(
            f"CN={issued.name}, serial {issued.serial}, valid to {issued.not_after:%Y-%m-%d}\n "
            f" {result.out}: certificate, then its intermediate\n  {result.key_out}: its key, not"
            " encrypted, for its owner alone"
        ),
    )


# Revocation


def revoked(result: Revocation) -> OperationResult:
    """`ca revoke`."""
    verb = "Would be revoked" if result.dry_run else "Revoked"
    lines = [f"{verb}: {_named(write)}" for write in result.new]
    lines += [f"Revoked before: {_named(write)}" for write in result.already]
    lines += [f"Stays valid: {_named(live)}: {who_can_end(live)}" for live in result.live]
    if not result.dry_run:
        lines += [_next_list(due) for due in result.due]
        if result.needs_renewal:
            lines.append(
                "This CA signs nothing more until `infuse ca renew --root-key DIR` made a new"
                " intermediate."
            )
    return OperationResult(
        "ca revoke",
        {
            "revoked": [_revoked_data(write) for write in result.new],
            "already": [_revoked_data(write) for write in result.already],
            "live": [
                {**_revoked_data(live), "issuedBy": live.origin.value} for live in result.live
            ],
            "reason": result.reason,
            "dryRun": result.dry_run,
        },
        human="\n".join(lines),
    )


def who_can_end(live: LiveCertificate) -> str:
    """Why no list of this bench can revoke a certificate, and who can."""
    if live.refused_here:
        return "this bench takes it no more; your root, which is elsewhere, has to revoke it"
    match live.origin:
        case Origin.CLOUD:
            return "the cloud's CA issued it, and only whoever runs the cloud can end it"
        case _:
            return (
                f"its issuer {live.issuer[:16]} is no CA of this bench: revoke it where that CA is"
            )


def _named(found: RevokeCertificate | LiveCertificate) -> str:
    return f"{found.name or '-'}, serial {found.serial}"


def _next_list(due: DueList) -> str:
    """The list that says it to the world; an intermediate is in the root's."""
    options = {
        ListKind.CURRENT: "",
        ListKind.OLDER: f"--issuer {(due.serial or '')[:12]} ",
        ListKind.ROOT: "--issuer root --root-key DIR ",
        ListKind.OTHER_CA: "--ca NAME ",
    }
    return f"Next: infuse ca crl {options[due.kind]}--out FILE, and give the list to the broker."


def _revoked_data(found: RevokeCertificate | LiveCertificate) -> dict[str, Any]:
    return {
        "serial": found.serial,
        "issuerSha256": found.issuer,
        "name": found.name,
        "notAfter": found.not_after,
    }


def signed_crl(result: SignedCrl) -> OperationResult:
    """`ca crl`."""
    crl, out = result.crl, result.out
    state = "unchanged" if result.already else "new"
    return OperationResult(
        "ca crl",
        {
            "issuer": result.issuer_name,
            "issuerSha256": result.issuer,
            "number": crl.number,
            "thisUpdate": crl.this_update,
            "nextUpdate": crl.next_update,
            "entries": crl.entries,
            "sha256": crl.sha256,
            "already": result.already,
            "out": str(out.absolute()) if out else None,
            "file": str(result.file),
        },
        human=(
            f"CRL {crl.number} ({state}) of {result.issuer_name}:"
            f" {plural(crl.entries, 'certificate')}, next update {crl.next_update:%Y-%m-%d}, in"
            f" {out or result.file}"
        ),
    )
