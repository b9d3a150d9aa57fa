"""possession: the board signs a fresh challenge with the key of its certificate.

Guaranteed: `docs/reference/guarantees.md#green-ends-with-possession`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar

from infuse_cli.capabilities import Capability
from infuse_cli.dialect import capabilities
from infuse_cli.errors import BoardError, PolicyError
from infuse_cli.pki.possession import Possession as Proof
from infuse_cli.pki.possession import verify_jwt
from infuse_cli.provisioning.context import certificate_of
from infuse_cli.provisioning.step import QueryStep, StepOutput

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile
    from infuse_cli.provisioning.context import BoardContext


class Possession(QueryStep):
    """AT%JWT with a nonce as subject and audience, checked with the certificate's public key."""

    name: ClassVar[str] = "possession"
    requires: ClassVar[frozenset[str]] = frozenset({"certificate"})
    provides: ClassVar[frozenset[str]] = frozenset({"possession"})
    summary: ClassVar[tuple[str, ...]] = ("possession", "possessionWhy")

    def capabilities(self, profile: Profile) -> frozenset[Capability]:
        """A proof where it is required: a board that can't give one is `unproven` else."""
        required = profile.verify.possession == "required"
        return frozenset({Capability.POSSESSION}) if required else frozenset()

    def run(self, ctx: BoardContext) -> StepOutput:
        """Prove, or record `unproven` where the modem can't and the profile allows it."""
        if Capability.POSSESSION not in capabilities(ctx.link.dialect):
            return self._unproven(
                ctx, f"dialect {ctx.link.dialect} cannot {Capability.POSSESSION.value}"
            )
        nonce = secrets.token_hex(16)
        try:
            jwt = ctx.link.run(ctx.ops.jwt(ctx.profile.identity.sec_tag, nonce, nonce))
        except BoardError as error:
            if not error.code.startswith("modem."):
                raise
            return self._unproven(ctx, error.message)
        match verify_jwt(jwt, certificate_of(ctx).pem, subject=nonce, audience=nonce):
            case Proof.PROVEN:
                return StepOutput({"possession": "proven"})
            case Proof.NOT_FRESH:
                return self._unproven(ctx, "the JWT does not carry our challenge")

    def _unproven(self, ctx: BoardContext, why: str) -> StepOutput:
        if ctx.profile.verify.possession == "required":
            raise PolicyError(
                "identity.possession-failed", f"possession is required and unproven: {why}"
            )
        return StepOutput({"possession": "unproven", "possessionWhy": why})
