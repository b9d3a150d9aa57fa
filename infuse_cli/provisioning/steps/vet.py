"""vet: check the CSR; nothing is registered or signed for one that does not pass."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, ClassVar

from infuse_cli.capabilities import Capability
from infuse_cli.dialect import capabilities
from infuse_cli.errors import BoardError, PolicyError
from infuse_cli.pki.attestation import decode_identity_token
from infuse_cli.pki.vetting import vet
from infuse_cli.provisioning.step import QueryStep, StepOutput
from infuse_cli.records import NoteAttempt, SeeKey

if TYPE_CHECKING:
    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.records import Write


class Vet(QueryStep):
    """Digest, UUID, sec_tag, self-signature, policy, and that the key is new or this
    board's own.
    """

    name: ClassVar[str] = "vet"
    requires: ClassVar[frozenset[str]] = frozenset({"identity", "keygen"})
    provides: ClassVar[frozenset[str]] = frozenset({"csr", "spki", "spkiDer"})
    voids: ClassVar[tuple[str, ...]] = ("keygen",)  # a refused CSR must not be kept as the board's
    summary: ClassVar[tuple[str, ...]] = ("attestation",)

    def run(self, ctx: BoardContext) -> StepOutput:
        """Refuse with the code of the first check that fails; nothing is signed then."""
        identity = ctx.profile.identity
        vetted = vet(
            ctx.facts.keygen,
            uuid=ctx.uuid,
            sec_tag=identity.sec_tag,
            attestation_required=identity.attestation == "required",
            curves=_curves(ctx),
        )
        owner = ctx.run.journal.key_owner(vetted.spki_sha256)
        if owner is not None and owner != ctx.uuid:
            raise PolicyError(
                "identity.key-reused", f"this public key was already seen on board {owner}"
            )
        facts = {
            "csr": vetted.csr_pem,
            "spki": vetted.spki_sha256,
            "attestation": str(vetted.attestation),
            "spkiDer": base64.b64encode(vetted.spki_der).decode(),
        }
        writes = () if owner else (SeeKey(spki_sha256=vetted.spki_sha256, board=ctx.uuid),)
        return StepOutput(facts, (*writes, *_identity_token(ctx)))


def _identity_token(ctx: BoardContext) -> tuple[Write, ...]:
    """The modem's token over a fresh challenge, for a later proof by its maker; kept on record,
    "consistent" at best.

    Raises PolicyError identity.uuid-mismatch, and where the profile requires it
    identity.attestation-*.
    """
    if Capability.ATTEST_TOKEN not in capabilities(ctx.link.dialect):
        return ()
    challenge = secrets.token_hex(16)
    try:
        text = ctx.link.run(ctx.ops.attestation_token(challenge))
        token = decode_identity_token(text)
    except (BoardError, PolicyError) as error:
        if isinstance(error, BoardError) and not error.code.startswith("modem."):
            raise
        if ctx.profile.identity.attestation == "required":
            raise PolicyError(
                "identity.attestation-missing", f"no attestation token: {error.message}"
            ) from error
        return ()
    if token.uuid != ctx.uuid:
        raise PolicyError(
            "identity.uuid-mismatch",
            f"the attestation token names board {token.uuid}, this board is {ctx.uuid}",
        )
    fresh = token.nonce.hex() == challenge
    if not fresh and ctx.profile.identity.attestation == "required":
        raise PolicyError(
            "identity.attestation-malformed", "the attestation token does not carry our challenge"
        )
    kept = {"attestationToken": {"text": text, "challenge": challenge, "fresh": fresh}}
    return (NoteAttempt(attempt=ctx.attempt, facts=kept),)


def _curves(ctx: BoardContext) -> tuple[str, ...]:
    """Curves that the run's certificate profile signs; without a CA here the one that
    modems make.
    """
    return ctx.run.certificate.curves if ctx.run.certificate is not None else ("P-256",)
