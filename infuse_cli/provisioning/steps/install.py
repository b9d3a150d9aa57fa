"""install: write certificate and chain into the modem.

Credential type 1 is the leaf followed by the intermediates, type 0 the server CA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from infuse_cli.capabilities import Capability
from infuse_cli.dialect.commands import canonical_pem
from infuse_cli.pki import chain as chains
from infuse_cli.provisioning import slots
from infuse_cli.provisioning.context import certificate_of
from infuse_cli.provisioning.step import Done, Effect, EffectStep, NotDone, Probe, StepOutput
from infuse_cli.types import CredentialType

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile
    from infuse_cli.provisioning.context import BoardContext


class Install(EffectStep):
    """Write what is not there with the right digest already."""

    name: ClassVar[str] = "install"
    effect: ClassVar[Effect] = Effect.BOARD
    requires: ClassVar[frozenset[str]] = frozenset({"certificate"})
    provides: ClassVar[frozenset[str]] = frozenset({"installed"})

    def capabilities(self, profile: Profile) -> frozenset[Capability]:  # noqa: ARG002 - by every profile
        """Write a certificate, offline."""
        return frozenset({Capability.OFFLINE, Capability.WRITE, Capability.DELETE})

    def prepare(self, ctx: BoardContext) -> StepOutput:
        """Intend the digests."""
        tag = ctx.profile.identity.sec_tag
        return StepOutput(
            {
                "wrote": [
                    slots.wrote(tag, kind, sorted(ctx.ops.digests(kind, text)))
                    for kind, text in contents(ctx)
                ]
            }
        )

    def run(self, ctx: BoardContext) -> StepOutput:
        """Write, then leave the digests for read-back."""
        rows = contents(ctx)
        for kind, text in rows:
            ctx.credentials.write(
                ctx.profile.identity.sec_tag, kind, text, ctx.ops.digests(kind, text)
            )
        return StepOutput(_installed(ctx))

    def probe(self, ctx: BoardContext) -> Probe:
        """Compare the digests in the modem's list."""
        tag = ctx.profile.identity.sec_tag
        there = all(
            ctx.credentials.holds(tag, kind, ctx.ops.digests(kind, text))
            for kind, text in contents(ctx)
        )
        return Done(_installed(ctx)) if there else NotDone()


def _installed(ctx: BoardContext) -> dict[str, Any]:
    return {
        "installed": {
            str(int(kind)): slots.digests_fact(ctx.ops.digests(kind, text))
            for kind, text in contents(ctx)
        }
    }


def contents(ctx: BoardContext) -> list[tuple[CredentialType, str]]:
    """Return type and canonical PEM of what install writes; cloud-ca without a server CA trusts the
    chain's root.
    """
    certificate = certificate_of(ctx)
    rows = [
        (
            CredentialType.CLIENT_CERTIFICATE,
            canonical_pem(chains.board_bundle(certificate.pem, certificate.chain)),
        )
    ]
    if ctx.profile.identity.mode == "cloud-ca" and ctx.run.server_ca is None:
        root = chains.root_of(certificate.chain)
        if root is not None:
            rows.append((CredentialType.ROOT_CA, canonical_pem(root)))
    return rows
