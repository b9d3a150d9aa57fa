"""server-ca: write the certificate by which the board will know its broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from infuse_cli.capabilities import Capability
from infuse_cli.dialect.commands import canonical_pem
from infuse_cli.errors import ProfileError
from infuse_cli.provisioning import slots
from infuse_cli.provisioning.step import Done, Effect, EffectStep, NotDone, Probe, StepOutput
from infuse_cli.types import CredentialType

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile
    from infuse_cli.provisioning.context import BoardContext


class ServerCa(EffectStep):
    """Write identity.server_ca where it is not there already."""

    name: ClassVar[str] = "server-ca"
    effect: ClassVar[Effect] = Effect.BOARD
    provides: ClassVar[frozenset[str]] = frozenset({"serverCaDigest"})

    def is_needed(self, profile: Profile) -> bool:
        """Whether the profile has a CA for the board to trust."""
        return profile.identity.server_ca is not None

    def capabilities(self, profile: Profile) -> frozenset[Capability]:  # noqa: ARG002 - by every profile
        """Write a certificate, offline."""
        return frozenset({Capability.OFFLINE, Capability.WRITE, Capability.DELETE})

    def prepare(self, ctx: BoardContext) -> StepOutput:
        """Intend the one digest."""
        digests = ctx.ops.digests(CredentialType.ROOT_CA, self._content(ctx))
        return StepOutput(
            {
                "wrote": [
                    slots.wrote(
                        ctx.profile.identity.sec_tag, CredentialType.ROOT_CA, sorted(digests)
                    )
                ]
            }
        )

    def run(self, ctx: BoardContext) -> StepOutput:
        """Write; nothing is sent when the digest matches already."""
        content = self._content(ctx)
        digests = ctx.ops.digests(CredentialType.ROOT_CA, content)
        ctx.credentials.write(
            ctx.profile.identity.sec_tag, CredentialType.ROOT_CA, content, digests
        )
        return StepOutput({"serverCaDigest": slots.digests_fact(digests)})

    def probe(self, ctx: BoardContext) -> Probe:
        """Compare the digest in the modem's list."""
        digests = ctx.ops.digests(CredentialType.ROOT_CA, self._content(ctx))
        tag = ctx.profile.identity.sec_tag
        fits = ctx.credentials.holds(tag, CredentialType.ROOT_CA, digests)
        return Done({"serverCaDigest": slots.digests_fact(digests)}) if fits else NotDone()

    def _content(self, ctx: BoardContext) -> str:
        if ctx.run.server_ca is None:
            raise ProfileError("profile.invalid", "identity.server_ca is not given")
        return canonical_pem(ctx.run.server_ca)
