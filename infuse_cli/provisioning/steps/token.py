"""token: mint a registration token, as late as possible.

The intent is durable before the POST and travels as metadata `infuseIntent`, so that a device whose
mint answer was lost can be told from a stranger's of the same name.

Guaranteed: `docs/reference/guarantees.md#a-token-is-minted-late`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from infuse_cli.api_types import never_connected
from infuse_cli.effects.tokens import (
    INTENT,
    delete_unfinished,
    end_writes,
    mint,
    minted_write,
    sealed_write,
    secret_name,
)
from infuse_cli.errors import CloudError, CredentialError, PolicyError, ProfileError
from infuse_cli.provisioning import metadata
from infuse_cli.provisioning.step import Effect, EffectStep, NotDone, Probe, StepOutput
from infuse_cli.records import (
    IntendToken,
    MoveToken,
    NoteAttempt,
)
from infuse_cli.records.rows import cloud_key
from infuse_cli.types import Secret, StepState, TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.api_types import MintedToken, RegistryDevice
    from infuse_cli.config.model import Profile
    from infuse_cli.ports import RegistryApi, Sealer
    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.records import TokenRecord, Write

_MINT_TRIES = 3


def mints(profile: Profile) -> bool:
    """Whether boards of this profile get a registration token."""
    return profile.identity.mode != "none" and (
        profile.identity.mode != "local-ca" or profile.token is not None
    )


class MintTokenStep(EffectStep):
    """POST /devices/registration/tokens, or take up a token of this board that is still alive."""

    name: ClassVar[str] = "token"
    effect: ClassVar[Effect] = Effect.CLOUD
    requires: ClassVar[frozenset[str]] = frozenset({"device", "metadata"})
    provides: ClassVar[frozenset[str]] = frozenset({"token", "registryDevice"})
    summary: ClassVar[tuple[str, ...]] = ("registryDevice",)

    def is_needed(self, profile: Profile) -> bool:
        """Whether boards get a token."""
        return mints(profile)

    def prepare(self, ctx: BoardContext) -> StepOutput:
        """Intend a mint under a name, unless a live token of this board or of its batch row is on
        record already.
        """
        name = registry_name(ctx)
        _refuse_handed_over(ctx)
        alive = live_token(ctx, name)
        if alive is not None:
            return StepOutput({"intent": alive.intent, "name": alive.name, "reused": True})
        intent = uuid.uuid4().hex
        return StepOutput(
            {"intent": intent, "name": name, "reused": False},
            (
                *_given_up(ctx),
                IntendToken(intent=intent, name=name, board=ctx.uuid, attempt=ctx.attempt),
            ),
        )

    def run(self, ctx: BoardContext) -> StepOutput:
        """Mint; a name that is taken by our own unfinished device is cleared first."""
        intent, name = ctx.facts.mint_intent, ctx.facts.mint_name
        if ctx.facts.is_token_reused:
            return self._reuse(ctx, intent)
        for _ in range(_MINT_TRIES):
            try:
                return self._given(ctx, intent, self._mint(ctx, intent, name))
            except CloudError as error:
                if error.status != 409 or error.unknown:
                    raise
                found = ctx.look_up_lost(lambda: registry(ctx).device_by_name(name))
                if found is not None:
                    retire(ctx, found)
        raise PolicyError(
            "identity.registry-conflict",
            f"the registry says that {name!r} is taken, but shows no such device",
        )

    def _mint(self, ctx: BoardContext, intent: str, name: str) -> MintedToken:
        spec = registry_profile(ctx)
        return ctx.retry_through_outage(lambda: mint(registry(ctx), spec, name, intent))

    def _given(self, ctx: BoardContext, intent: str, minted: MintedToken) -> StepOutput:
        ctx.token = Secret(minted.token)
        facts = {
            "intent": intent,
            "registryDeviceId": minted.device_id,
            "tokenId": minted.id,
            "expiresAt": None if minted.expires_at is None else minted.expires_at.isoformat(),
        }
        return StepOutput(
            {"token": facts, "registryDevice": minted.device_id},
            (
                minted_write(intent, minted),
                sealed_write(intent, ctx.token, sealer(ctx)),
            ),
        )

    def _reuse(self, ctx: BoardContext, intent: str) -> StepOutput:
        record = next(
            row for row in ctx.run.journal.tokens(name=ctx.facts.mint_name) if row.intent == intent
        )
        facts = {
            "intent": intent,
            "registryDeviceId": record.registry_device_id,
            "tokenId": record.token_id,
            "expiresAt": None if record.expires_at is None else record.expires_at.isoformat(),
        }
        return StepOutput({"token": facts, "registryDevice": record.registry_device_id})

    def probe(self, ctx: BoardContext) -> Probe:
        """A device of this name that carries our intent lost its token on the way: clear it and
        mint again.
        """
        name = ctx.facts.mint_name
        found = ctx.look_up_lost(lambda: registry(ctx).device_by_name(name))
        if found is not None:
            retire(ctx, found)
        elif ended := retired_writes(ctx, ctx.facts.mint_intent, "the mint never happened"):
            ctx.commit(*ended)  # before a next mint is intended
        return NotDone()


def _refuse_handed_over(ctx: BoardContext) -> None:
    """Refuse a board whose token lies with another bench: minting here would take it away from
    there.
    """
    gone = next(
        (
            row
            for row in batch_tokens(ctx)
            if row.state is TokenState.HANDED_OVER
            and (row.expires_at is None or row.expires_at > ctx.run.clock.now())
        ),
        None,
    )
    if gone is not None:
        raise PolicyError(
            "batch.handed-over",
            f"the registration token {gone.name!r} of this board was handed over to another bench",
        )


def _given_up(ctx: BoardContext) -> list[MoveToken]:
    """End what was only intended for this board: the registry refused that mint, or its attempt was
    given up.

    Should the mint have happened all the same, its device is known by the intent and cleared before
    the next.
    """
    rows = [
        row for row in ctx.run.journal.tokens(board=ctx.uuid) if row.state is TokenState.INTENDED
    ]
    return [
        MoveToken(
            intent=row.intent, from_state=row.state, to_state=TokenState.REVOKED, why="never minted"
        )
        for row in rows
    ]


def registry(ctx: BoardContext) -> RegistryApi:
    """Return the registry client.

    Raises ProfileError profile.invalid where the profile has none.
    """
    if ctx.run.registry is None:
        raise ProfileError(
            "profile.invalid", "a token needs a registry, and the profile names none"
        )
    return ctx.run.registry


def registry_profile(ctx: BoardContext) -> Any:
    """Return the profile's registry section.

    Raises ProfileError profile.invalid where there is none.
    """
    if ctx.profile.registry is None:
        raise ProfileError(
            "profile.invalid", "a token needs a registry, and the profile names none"
        )
    return ctx.profile.registry


def sealer(ctx: BoardContext) -> Sealer:
    """Return the sealer. Raises CredentialError credential.sealing-key where there is none."""
    if ctx.run.sealer is None:
        raise CredentialError(
            "credential.sealing-key",
            "a token would have to be kept, and there is no key to seal it with",
        )
    return ctx.run.sealer


def registry_name(ctx: BoardContext) -> str:
    """Return the name that a batch gave this board's soc and mcuId, else fill the profile's
    template.
    """
    return _name(ctx, ctx.facts.device.device_id, ctx.facts.metadata)


def _name(ctx: BoardContext, device_id: str, filled: dict[str, str]) -> str:
    given = [row.name for row in batch_tokens(ctx) if row.state is not TokenState.REVOKED]
    if given:
        return given[-1]
    values: dict[str, str | None] = {
        **filled,
        "deviceId": device_id,
        "uuid": ctx.uuid,
        "imei": ctx.identity.imei,
        "mcuId": ctx.identity.mcu_id,
        "iccid": ctx.identity.iccid,
    }
    return metadata.template(registry_profile(ctx).name, values)


def batch_key(ctx: BoardContext) -> str:
    """Return what tokens are filed under that a batch minted, or that were imported, for this
    board's soc and mcuId.
    """
    return cloud_key(ctx.run.resolved.soc, ctx.identity.mcu_id or "")


def batch_tokens(ctx: BoardContext) -> Sequence[TokenRecord]:
    """Return those tokens, oldest first."""
    return ctx.run.journal.tokens(board=batch_key(ctx))


def live_token(ctx: BoardContext, name: str) -> TokenRecord | None:
    """Find a minted token for this board and name whose secret is still sealed here and which the
    registry lists as pending.
    """
    known = {row.intent: row for row in (*batch_tokens(ctx), *ctx.run.journal.tokens(name=name))}
    records = [
        row
        for row in known.values()
        if row.state in {TokenState.MINTED, TokenState.DELIVERED}
        and row.board in {ctx.uuid, batch_key(ctx), None}
        and ctx.run.journal.secret(secret_name(row.intent)) is not None
        and (row.expires_at is None or row.expires_at > ctx.run.clock.now())
    ]
    return next(
        (row for row in records if is_pending(ctx, row.token_id) and opens(ctx, row.intent)), None
    )


def opens(ctx: BoardContext, intent: str) -> bool:
    """Whether the sealed secret of a token is still here and opens with the bench's key."""
    name = secret_name(intent)
    sealed = ctx.run.journal.secret(name)
    if sealed is None:
        return False
    try:
        sealer(ctx).unseal(sealed, name)
    except CredentialError:
        return False
    return True


def is_lost(ctx: BoardContext) -> bool:
    """Whether this attempt's token can't be read any more: its sealing key may be gone."""
    return ctx.token is None and not opens(ctx, ctx.facts.token.intent)


def is_pending(ctx: BoardContext, token_id: str | None) -> bool:
    """Whether the registry lists the token as pending."""
    rows = ctx.retry_through_outage(lambda: registry(ctx).pending_tokens())
    return any(row.id == token_id and row.status.upper() == "PENDING" for row in rows)


def was_seen(ctx: BoardContext) -> bool:
    """Whether this attempt's registry device has connected, though it may be gone again."""
    device = registry(ctx).device(ctx.facts.registry_device or "")
    return device is not None and device.was_seen


def was_used(ctx: BoardContext) -> bool:
    """Whether this attempt's token is on record as used by its board: its secret is
    forgotten then.
    """
    rows = ctx.run.journal.tokens(name=ctx.facts.mint_name)
    return any(
        row.intent == ctx.facts.token.intent and row.state is TokenState.CONSUMED for row in rows
    )


def reveal(ctx: BoardContext) -> Secret:
    """Return the token of this attempt, from memory or unsealed from the journal."""
    if ctx.token is None:
        name = secret_name(ctx.facts.token.intent)
        sealed = ctx.run.journal.secret(name)
        if sealed is None:
            raise PolicyError(
                "run.conflict", "the token is on record, but its sealed secret is gone"
            )
        ctx.token = sealer(ctx).unseal(sealed, name)
    return ctx.token


def has_expired(ctx: BoardContext) -> bool:
    """Whether the time of this attempt's token is over."""
    expires = ctx.facts.token.expires_at
    return expires is not None and expires <= ctx.run.clock.now()


def exposure(ctx: BoardContext, why: str) -> tuple[MoveToken, ...]:
    """Return the write that must be durable before a byte of the token goes out, nothing when it is
    on record already.

    The mint itself may still wait for the same commit: then the journal shows the token as
    intended.
    """
    intent = ctx.facts.token.intent
    row = next(
        row for row in ctx.run.journal.tokens(name=ctx.facts.mint_name) if row.intent == intent
    )
    if row.state is TokenState.HANDED_OVER:
        raise PolicyError(
            "batch.handed-over",
            f"the token of {row.name!r} went to another bench while this board was at work",
        )
    if row.state not in {TokenState.INTENDED, TokenState.MINTED}:
        return ()
    return (
        MoveToken(
            intent=intent, from_state=TokenState.MINTED, to_state=TokenState.DELIVERED, why=why
        ),
    )


def retired_writes(
    ctx: BoardContext, intent: str, why: str, to: TokenState = TokenState.REVOKED
) -> tuple[Write, ...]:
    """Return the writes that end a token on record and forget its secret, nothing when it has ended
    already.
    """
    row = next(
        (row for row in ctx.run.journal.tokens(name=ctx.facts.mint_name) if row.intent == intent),
        None,
    )
    return end_writes(row, to, why)


def refuse_held(ctx: BoardContext, device_id: str, values: dict[str, str]) -> None:
    """Refuse a board whose registry device a mint would not get past, while the identity that it
    has is whole yet.

    An attempt that began its own mint is past this.
    """
    if ctx.states.get("token", StepState.PENDING) is not StepState.PENDING:
        return
    name = _name(ctx, device_id, values)
    found = ctx.retry_through_outage(lambda: registry(ctx).device_by_name(name))
    if found is not None and live_token(ctx, name) is None:
        _refuse_not_ours_to_end(ctx, found)


def _refuse_not_ours_to_end(ctx: BoardContext, device: RegistryDevice) -> str:
    """Return the intent of our own unfinished registry device; raise for one that is not this
    bench's, or is live.
    """
    intent = str(device.metadata.get(INTENT, ""))
    ours = {row.intent for row in (*ctx.run.journal.tokens(board=ctx.uuid), *batch_tokens(ctx))}
    if intent not in ours:
        raise PolicyError(
            "identity.registry-conflict",
            f"registry device {device.name!r} ({device.id}) was not made by this bench",
            hint=(
                "If another bench made it for this very board, `infuse registry device delete"
                f" {device.name}` frees the name: then run again. If it is another device's, choose"
                " another `registry.name`."
            ),
        )
    if not never_connected(device.status):
        raise PolicyError(
            "identity.registry-conflict",
            f"registry device {device.name!r} ({device.id}) is {device.status.upper()} already",
            hint=(
                f"It is live, so it is not taken away unasked. `infuse key rotate {ctx.uuid} --port"
                f" {ctx.link.port}` ends it and gives the board a new identity; `infuse device"
                " retire` ends it for good."
            ),
        )
    return intent


def retire(ctx: BoardContext, device: RegistryDevice, to: TokenState = TokenState.REVOKED) -> None:
    """Take our own unfinished registry device away, on record first; refuse anybody
    else's.
    """
    intent = _refuse_not_ours_to_end(ctx, device)
    ctx.commit(
        NoteAttempt(
            attempt=ctx.attempt,
            facts={"retiredRegistryDevice": {"id": device.id, "intent": intent}},
        ),
        *retired_writes(ctx, intent, "its answer was lost or its token ran out", to),
    )
    rows = ctx.retry_through_outage(lambda: registry(ctx).pending_tokens())
    pending = [row.id for row in rows if row.device_id == device.id]
    delete_unfinished(registry(ctx), device.id, pending, retry=ctx.retry_through_outage)
