"""What `infuse ca show|export|verify` do."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding

from infuse_cli.ca import common as ca_common
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import SignerError, UsageError
from infuse_cli.pki import chain, store
from infuse_cli.pki.certificate_profile_files import resolve
from infuse_cli.pki.issuers import all_issuers, find_issuer, sha256_of
from infuse_cli.pki.profile_check import deviations
from infuse_cli.pki.reading import read_certificates
from infuse_cli.pki.renewal import waiting
from infuse_cli.pki.serials import serial_hex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cryptography import x509

_RENEW_DAYS = 5 * 365
"""A board's certificate never outlives its issuer: five years before that it is time for a new one.
"""


def show(ca: str | None) -> OperationResult:
    """Show a CA; its passphrase is not needed."""
    found = described_ca(ca_common.folder_of(ca))
    return OperationResult("ca show", found, human=human(found))


def export(
    out: Path, ca: str | None, *, whole: bool, der: bool, issuer: str | None = None
) -> OperationResult:
    """Write the root; of an issuer that is named its certificate; or, with `whole`, the issuer and
    all above it to the root.
    """
    if whole and der:
        raise UsageError("usage.bad-option", "--der holds one certificate; --chain is several")
    folder = ca_common.folder_of(ca)
    path = (
        store.read_chain(folder)
        if issuer in {None, "root"}
        else find_issuer(folder, issuer or "").chain
    )
    chosen = path if whole else path[-1:] if issuer in {None, "root"} else path[:1]
    ca_common.check_writable(out)
    ca_common.write(
        out, chosen[0].public_bytes(Encoding.DER) if der else chain.pem_bundle(chosen).encode()
    )
    data = {
        "out": str(out.absolute()),
        "format": "der" if der else "pem",
        "certificates": [ca_common.certificate_data(one) for one in chosen],
    }
    return OperationResult(
        "ca export",
        data,
        human=f"{' and '.join(one.subject.rfc4514_string() for one in chosen)} in {out}",
    )


def verify(
    file: Path, certificate: str | None, root: Path | None, ca: str | None
) -> OperationResult:
    """Check a certificate against a root and its certificate profile.

    Raises SignerError ca.verify-failed.
    """
    profile = resolve(certificate or ca_common.identity().certificate, context.current().home)
    leaf, *others = read_certificates(file)
    above, roots = ([], [*read_certificates(root)]) if root else _local(ca)
    chain.verify_chain(leaf, [*others, *above], roots, datetime.now(UTC))
    _refuse_revoked(chain.order(leaf, [*others, *above, *roots]))
    is_ca = chain.is_ca(leaf)
    if not is_ca and (found := deviations(leaf, profile)):
        raise SignerError(
            "ca.verify-failed",
            f"the certificate is not what profile {profile.name!r} says: {'; '.join(found)}",
        )
    kind = "a CA" if is_ca else f"profile {profile.name!r}"
    data = {
        **ca_common.certificate_data(leaf),
        "profile": None if is_ca else profile.name,
        "root": roots[0].subject.rfc4514_string(),
    }
    return OperationResult(
        "ca verify",
        data,
        human=(
            f"{file}: {leaf.subject.rfc4514_string()}, {kind}: chain, dates and contents are right"
        ),
    )


def _refuse_revoked(path: Sequence[x509.Certificate]) -> None:
    """A certificate and all above it that this bench's journal knows to be revoked."""
    is_revoked = revoked_here(context.current().home)
    for certificate, issuer in pairwise(path):
        if is_revoked(certificate, issuer):
            raise SignerError(
                "ca.verify-failed",
                f"{certificate.subject.rfc4514_string()} was revoked: serial"
                f" {serial_hex(certificate.serial_number)}",
            )


def revoked_here(home: Path) -> Callable[[x509.Certificate, x509.Certificate], bool]:
    """Whether a certificate of an issuer is on record as revoked; a home without a journal has
    revoked nothing.
    """
    from infuse_cli.journal.store import open_journal

    if not (home / "journal.sqlite3").exists():
        return lambda _certificate, _issuer: False

    def is_revoked(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        with open_journal(home, create=False) as journal:
            return journal.is_revoked(serial_hex(certificate.serial_number), sha256_of(issuer))

    return is_revoked


def _local(ca: str | None) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    """Every issuer of the CA and the roots: a certificate of an issuer that was replaced is as good
    as before.
    """
    issuers = all_issuers(ca_common.folder_of(ca))
    above = [one for issuer in issuers for one in issuer.chain[:-1]]
    return above, list(dict.fromkeys(issuer.chain[-1] for issuer in issuers))


def described_ca(folder: Path) -> dict[str, Any]:
    """A CA as JSON values: its certificates, the issuers before, what is wrong with its files."""
    issuers, is_revoked = all_issuers(folder), revoked_here(context.current().home)
    path = issuers[0].chain
    told = [
        {
            **ca_common.certificate_data(one.certificate),
            "revoked": len(one.chain) > 1 and is_revoked(*one.chain[:2]),
        }
        for one in issuers
    ]
    return {
        "ca": folder.name,
        "folder": str(folder),
        "root": ca_common.certificate_data(path[-1]),
        "intermediate": told[0],
        "key": issuers[0].key_uri or "file",
        "older": told[1:],
        "rootKeyOnBench": store.root_key_here(folder),
        "request": waiting(folder),
        "warnings": _warnings(folder, path, revoked=bool(told[0]["revoked"])),
    }


def _warnings(
    folder: Path, certificates: tuple[x509.Certificate, ...], *, revoked: bool
) -> list[str]:
    found = (
        ["The intermediate was revoked and signs nothing more: `infuse ca renew`."]
        if revoked
        else []
    )
    if (request := waiting(folder)) is not None:
        found.append(
            f"{request} waits to be signed by your root: then `infuse ca import CERTIFICATE`."
        )
    if (days := (certificates[0].not_valid_after_utc - datetime.now(UTC)).days) < _RENEW_DAYS:
        found.append(
            f"The intermediate ends in {max(days, 0)} days, and boards get no longer certificates:"
            " `infuse ca renew`."
        )
    if store.root_key_here(folder):
        found.append(
            "The root's key is on this bench. Move root.key.pem to a medium that is kept elsewhere"
            " (next time: --root-out)."
        )
    if store.key_is_loose(folder):
        found.append(
            "The intermediate's key file can be read by other users: chmod 600 it, and consider it"
            " exposed."
        )
    try:
        store.check_dates(certificates, datetime.now(UTC))
    except SignerError as error:
        found.append(f"{error.message}.")
    return found


def human(described: dict[str, Any]) -> str:
    """A CA for a person."""
    lines = [f"CA {described['ca']} in {described['folder']}"]
    for role in ("root", "intermediate"):
        lines += _paragraph(role, described[role])
    if described["key"] != "file":
        lines.append(f"    key    {described['key']}")
    for one in described["older"]:
        lines += _paragraph("before it", one)
    return "\n".join([*lines, *(f"warning: {text}" for text in described["warnings"])])


def _paragraph(role: str, one: dict[str, Any]) -> list[str]:
    revoked = ["    revoked"] if one.get("revoked") else []
    return [
        f"  {role}: {one['subject']}",
        *revoked,
        f"    valid  {one['notBefore']:%Y-%m-%d} to {one['notAfter']:%Y-%m-%d}",
        f"    serial {one['serial']}",
        f"    sha256 {one['sha256']}",
    ]
