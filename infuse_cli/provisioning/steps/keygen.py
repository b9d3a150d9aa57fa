"""keygen: the modem makes a private key and gives its CSR.

A key whose CSR is on record is kept, whatever happened since. A key that our own KEYGEN may have
made, but whose CSR never reached the journal, is put on record as orphaned, deleted and made anew:
nothing was ever signed for it.

Guaranteed: `docs/reference/guarantees.md#a-key-in-the-modem-is-ours-or-refused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from infuse_cli.capabilities import Capability
from infuse_cli.errors import BoardError, PolicyError
from infuse_cli.provisioning import slots
from infuse_cli.provisioning.step import Effect, EffectStep, NotDone, Probe, StepOutput
from infuse_cli.records import NoteAttempt
from infuse_cli.types import CredentialType

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile
    from infuse_cli.provisioning.context import BoardContext


class Keygen(EffectStep):
    """AT%KEYGEN, and the digest of the key slot right after."""

    name: ClassVar[str] = "keygen"
    effect: ClassVar[Effect] = Effect.BOARD
    provides: ClassVar[frozenset[str]] = frozenset({"keygen", "keyDigest"})

    def capabilities(self, profile: Profile) -> frozenset[Capability]:  # noqa: ARG002 - by every profile
        """Make a key and a request for it, offline."""
        return frozenset(
            {Capability.OFFLINE, Capability.CSR, Capability.DELETE, Capability.READ_DIGEST}
        )

    def prepare(self, ctx: BoardContext) -> StepOutput:
        """Put the digest of a key that is about to be deleted on record first."""
        tag = ctx.profile.identity.sec_tag
        in_the_way = [
            slots.as_fact(entry)
            for kind in (CredentialType.CLIENT_KEY, CredentialType.CLIENT_CERTIFICATE)
            if (entry := ctx.credentials.entry(tag, kind)) is not None
        ]
        facts = {"wrote": [slots.wrote(tag, CredentialType.CLIENT_KEY)]}
        if not in_the_way:
            return StepOutput(facts)
        return StepOutput(
            {**facts, "orphaned": in_the_way},
            (NoteAttempt(attempt=ctx.attempt, facts={"orphaned": in_the_way}),),
        )

    def run(self, ctx: BoardContext) -> StepOutput:
        """Clear the slot, make the key, and read the key's digest back at once."""
        identity = ctx.profile.identity
        tag = identity.sec_tag
        for kind in (CredentialType.CLIENT_CERTIFICATE, CredentialType.CLIENT_KEY):
            ctx.credentials.delete(tag, kind)
        text = ctx.link.run(
            ctx.ops.keygen(
                ctx.uuid, tag, attributes=identity.attributes, key_usage=identity.key_usage
            )
        )
        ctx.credentials.forget(tag)
        entry = ctx.credentials.entry(tag, CredentialType.CLIENT_KEY)
        if entry is None:
            raise BoardError(
                "modem.keygen-failed", f"the modem gave a CSR, but lists no key under sec_tag {tag}"
            )
        if (
            entry.sha256 is None
        ):  # nothing could ever be read back, so nothing is registered for such a key
            raise BoardError(
                "serial.no-digest",
                f"the modem lists sec_tag {tag} type {int(CredentialType.CLIENT_KEY)} without a"
                " digest",
            )
        return StepOutput(
            {
                "keygen": text,
                "keyDigest": entry.sha256,
                "wrote": [slots.wrote(tag, CredentialType.CLIENT_KEY, [entry.sha256])],
            }
        )

    def probe(self, ctx: BoardContext) -> Probe:
        """No CSR on record: whatever key is there gets orphaned, and a new one is safe to make."""
        ctx.credentials.forget()
        return NotDone()

    def confirm(self, ctx: BoardContext) -> None:
        """The key in the modem must still be the one that the recorded CSR was made with."""
        tag = ctx.profile.identity.sec_tag
        entry = ctx.credentials.entry(tag, CredentialType.CLIENT_KEY)
        found = None if entry is None else entry.sha256 or "no digest"
        wanted = ctx.facts.key_digest
        if entry is None or entry.sha256 != wanted:
            raise PolicyError(
                "identity.key-changed",
                f"sec_tag {tag} holds {found or 'no key'}, the recorded CSR was made with key"
                f" {wanted}",
            )
