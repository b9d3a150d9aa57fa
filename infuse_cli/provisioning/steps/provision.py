"""provision: the cloud's CA exchanges token and CSR for a certificate.

Guaranteed: `docs/reference/guarantees.md#a-lost-answer-to-the-exchange`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from infuse_cli.effects.tokens import secret_name
from infuse_cli.errors import CloudError, PolicyError
from infuse_cli.pki import chain as chains
from infuse_cli.pki import issuing
from infuse_cli.provisioning.step import (
    Effect,
    EffectStep,
    NotDone,
    Probe,
    Rollback,
    RollbackRequired,
    StepOutput,
)
from infuse_cli.provisioning.steps import token
from infuse_cli.provisioning.steps.flash import refuse_unusable
from infuse_cli.provisioning.steps.sign import certificate_fact
from infuse_cli.records import DropSecret, MoveToken, NoteAttempt, ReserveSerial, StoreCertificate
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from infuse_cli.api_types import Provisioned
    from infuse_cli.provisioning.context import BoardContext

_TOKEN_GONE = frozenset({401, 409, 410})  # unknown, used or revoked, expired


class Provision(EffectStep):
    """POST /devices/provision with the board's CSR; the token never touches the board."""

    name: ClassVar[str] = "provision"
    effect: ClassVar[Effect] = Effect.CLOUD
    requires: ClassVar[frozenset[str]] = frozenset({"csr", "spki", "token"})
    provides: ClassVar[frozenset[str]] = frozenset({"certificate"})

    def prepare(self, ctx: BoardContext) -> StepOutput:
        """Record that the token is delivered before it goes out."""
        refuse_unusable(ctx)
        return StepOutput({}, token.exposure(ctx, "provision"))

    def run(self, ctx: BoardContext) -> StepOutput:
        """Send token and CSR; check that what comes back is this board's certificate."""
        secret = token.reveal(ctx)
        try:
            answer = ctx.retry_through_outage(
                lambda: token.registry(ctx).provision(secret, ctx.facts.csr)
            )
        except CloudError as error:
            if error.unknown or error.status not in _TOKEN_GONE:
                raise
            raise RollbackRequired(
                self._compromised(ctx, error.message), self._spent(error.message)
            ) from error
        return self._given(ctx, answer)

    def _given(self, ctx: BoardContext, answer: Provisioned) -> StepOutput:
        leaf = chains.check_certificate_fits(
            answer.certificate, ctx.facts.spki, now=ctx.run.clock.now()
        )
        others = [
            certificate
            for text in answer.ca_chain
            if text.strip()
            for certificate in chains.split_pem(text)
        ]
        above = chains.order(leaf, others)[1:]
        found = issuing.describe(leaf, above[0] if above else leaf)
        bundle = [chains.pem_bundle([certificate]) for certificate in above]
        row = StoreCertificate(
            serial=found.serial,
            issuer=found.issuer,
            sha256=found.sha256,
            spki_sha256=found.spki_sha256,
            not_before=found.not_before,
            not_after=found.not_after,
            pem=found.pem,
            profile="cloud-ca",
            board=ctx.uuid,
            attempt=ctx.attempt,
            device_id=answer.device_id,
        )
        intent = ctx.facts.token.intent
        return StepOutput(
            {"certificate": certificate_fact(row, chain=bundle)},
            (
                ReserveSerial(serial=row.serial, issuer=row.issuer, attempt=ctx.attempt),
                row,
                MoveToken(
                    intent=intent,
                    from_state=TokenState.DELIVERED,
                    to_state=TokenState.CONSUMED,
                    why="traded for a certificate",
                ),
                DropSecret(name=secret_name(intent)),
            ),
        )

    def probe(self, ctx: BoardContext) -> Probe:
        """Still pending: send the same token and CSR again.

        Else the token is compromised and the device retired.
        """
        if token.is_pending(ctx, ctx.facts.token.token_id):
            return NotDone()  # what can't be opened any more is minted anew by prepare
        return self._compromised(ctx, "the answer to provision was lost and the token is spent")

    def _compromised(self, ctx: BoardContext, why: str) -> Rollback:
        """Record the unseen certificate, retire the device, and go back for a new token, once a
        board.
        """
        lost = ctx.facts.issued_unseen
        intent = ctx.facts.token.intent
        if lost is not None and lost["intent"] != intent:
            if writes := token.retired_writes(ctx, intent, why, TokenState.COMPROMISED):
                ctx.commit(*writes)
            raise self._spent(why)
        if lost is None:  # else a kill broke off the retiring of this very token
            ctx.facts["issuedUnseen"] = {
                "registryDeviceId": ctx.facts.registry_device,
                "intent": intent,
                "at": ctx.run.clock.now().isoformat(),
                "why": why,
            }
            ctx.commit(
                NoteAttempt(attempt=ctx.attempt, facts={"issuedUnseen": ctx.facts["issuedUnseen"]})
            )
        device = ctx.retry_through_outage(
            lambda: token.registry(ctx).device(ctx.facts.registry_device or "")
        )
        if device is not None:
            token.retire(ctx, device, TokenState.COMPROMISED)
        writes = token.retired_writes(ctx, intent, why, TokenState.COMPROMISED)
        return Rollback({}, writes, to="token", why=why)

    def _spent(self, why: str) -> PolicyError:
        return PolicyError(
            "identity.token-spent",
            f"a token was spent twice on this board without a certificate coming back: {why}",
        )
