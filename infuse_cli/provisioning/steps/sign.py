"""sign: the local CA signs the board's certificate.

The serial is taken before it is signed.

Guaranteed: `docs/reference/guarantees.md#a-serial-number-is-reserved-before-signing`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, ClassVar

from infuse_cli import failpoint
from infuse_cli.effects import certificates
from infuse_cli.errors import SignerError
from infuse_cli.pki import issuing
from infuse_cli.pki.certificate_profiles import certificate_profile
from infuse_cli.pki.names import common_name
from infuse_cli.provisioning.step import Effect, EffectStep, NotDone, Probe, StepOutput
from infuse_cli.records import CheckName

if TYPE_CHECKING:
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Signer
    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.records import StoreCertificate


class Sign(EffectStep):
    """Reserve a serial, sign, and commit the row before the certificate leaves the process."""

    name: ClassVar[str] = "sign"
    effect: ClassVar[Effect] = Effect.CA
    requires: ClassVar[frozenset[str]] = frozenset({"csr", "spki", "spkiDer", "device"})
    provides: ClassVar[frozenset[str]] = frozenset({"certificate"})

    def prepare(self, ctx: BoardContext) -> StepOutput:
        """Refuse an issuer that was revoked, else reserve the serial."""
        issuing.check_issuer(signer(ctx), ctx.run.journal.is_revoked)
        profile = certificate(ctx)
        reserved = certificates.reserve(signer(ctx), profile, attempt=ctx.attempt)
        name = CheckName(
            name=common_name(profile, names_of(ctx)),
            profile=profile.name,
            spki_sha256=ctx.facts.spki,
            board=ctx.uuid,
        )
        return StepOutput(
            {"serial": reserved.serials[0], "issuer": reserved.issuer},
            (*reserved.writes, *((name,) if profile.unique_name else ())),
        )

    def run(self, ctx: BoardContext) -> StepOutput:
        """Sign; the row travels with the transition."""
        issued = issuing.issue(
            signer(ctx),
            spki_der=base64.b64decode(ctx.facts.spki_der),
            common_name=ctx.facts.device.device_id,
            serial=int(ctx.facts.reserved_serial, 16),
            profile=certificate(ctx),
            values=names_of(ctx),
            now=ctx.run.clock.now(),
            validity_days=ctx.profile.identity.validity_days,
        )
        failpoint.hit("signed")
        row = certificates.stored(
            issued,
            certificate(ctx),
            board=ctx.uuid,
            attempt=ctx.attempt,
            device_id=ctx.facts.device.device_id,
        )
        return StepOutput({"certificate": certificate_fact(row, chain=_chain(signer(ctx)))}, (row,))

    def probe(self, ctx: BoardContext) -> Probe:
        """Begun without a row: that serial's certificate never left the process, and the serial is
        void.
        """
        return NotDone({}, certificates.voids(ctx.run.journal.reserved_serials(ctx.attempt)))


def certificate_fact(row: StoreCertificate, *, chain: list[str]) -> dict[str, Any]:
    """Return a certificate as later steps need it; `chain` is PEM texts from the issuer upwards."""
    return {
        "serial": row.serial,
        "issuer": row.issuer,
        "sha256": row.sha256,
        "spki": row.spki_sha256,
        "pem": row.pem,
        "chain": chain,
    }


def certificate(ctx: BoardContext) -> CertificateProfile:
    """Return the certificate profile of this run."""
    return ctx.run.certificate or certificate_profile(ctx.profile.identity.certificate)


def names_of(ctx: BoardContext) -> dict[str, str]:
    """Return what the certificate profile's templates may use of a board."""
    device = ctx.facts.device.device_id
    known = {
        "name": device,
        "deviceId": device,
        "uuid": ctx.uuid,
        "imei": ctx.identity.imei,
        "mcuId": ctx.identity.mcu_id,
    }
    return {key: value for key, value in known.items() if value}


def signer(ctx: BoardContext) -> Signer:
    """Return the unlocked CA. Raises SignerError ca.not-found where the run has none."""
    if ctx.run.signer is None:
        raise SignerError("ca.not-found", "the profile signs with a local CA, and none is open")
    return ctx.run.signer


def _chain(ca: Signer) -> list[str]:
    from cryptography.hazmat.primitives.serialization import Encoding

    return [certificate.public_bytes(Encoding.PEM).decode() for certificate in ca.chain]
