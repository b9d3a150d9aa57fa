"""flash: write the registration token onto this board, and only onto this one.

Guaranteed: `docs/reference/guarantees.md#where-a-token-goes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from infuse_cli.capabilities import TOKEN_STORES, Capability
from infuse_cli.config.model import Token
from infuse_cli.dialect.token_places import TokenPlace, token_is_there, write_token
from infuse_cli.errors import PolicyError
from infuse_cli.provisioning import slots
from infuse_cli.provisioning.step import (
    Done,
    Effect,
    EffectStep,
    NotDone,
    Probe,
    Rollback,
    RollbackRequired,
    StepOutput,
)
from infuse_cli.provisioning.steps import token
from infuse_cli.types import CredentialType, TokenState

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile
    from infuse_cli.provisioning.context import BoardContext


class Flash(EffectStep):
    """Put the token where `token.store` says; store `psk` has the registry device id as its
    identity beside it.
    """

    name: ClassVar[str] = "flash"
    effect: ClassVar[Effect] = Effect.BOARD
    requires: ClassVar[frozenset[str]] = frozenset({"token", "registryDevice"})
    provides: ClassVar[frozenset[str]] = frozenset({"tokenDigests"})

    def is_needed(self, profile: Profile) -> bool:
        """Whether boards get a token."""
        return token.mints(profile)

    def capabilities(self, profile: Profile) -> frozenset[Capability]:
        """What the place of the token needs."""
        return TOKEN_STORES[Token().store if profile.token is None else profile.token.store]

    def prepare(self, ctx: BoardContext) -> StepOutput:
        """Record that the token is delivered before a byte of it goes out.

        A token that ran out, was revoked or can't be opened any more is minted anew.
        """
        refuse_unusable(ctx)
        if ctx.resumed and not token.is_pending(ctx, ctx.facts.token.token_id):
            raise _mint_again(ctx, TokenState.REVOKED, "is no longer pending")
        rows = [slots.wrote(spec(ctx).sec_tag, kind, digests) for kind, _, digests in contents(ctx)]
        return StepOutput({"wrote": rows}, token.exposure(ctx, "flashed"))

    def run(self, ctx: BoardContext) -> StepOutput:
        """Write; an older credential in its place is deleted first."""
        found = place(ctx)
        if found is not None:
            ctx.link.run(write_token(ctx.ops, ctx.uuid, found, token.reveal(ctx).reveal()))
        for kind, content, digests in contents(ctx):
            ctx.credentials.write(
                spec(ctx).sec_tag, kind, content, digests, secret=kind is CredentialType.PSK
            )
        return StepOutput(_given(ctx))

    def probe(self, ctx: BoardContext) -> Probe:
        """See what the board holds; a token that is no longer pending was used by this very board,
        or else is compromised.
        """
        if not token.is_pending(ctx, ctx.facts.token.token_id):
            if ctx.look_up_lost(lambda: token.was_seen(ctx) or None):
                # It came online by itself, and what it did with the token on board is its own
                # affair.
                used = token.retired_writes(
                    ctx,
                    ctx.facts.token.intent,
                    "the device has connected",
                    TokenState.CONSUMED,
                )
                return Done({"tokenDigests": {}}, used)
            writes = token.retired_writes(
                ctx, ctx.facts.token.intent, "no longer pending", TokenState.COMPROMISED
            )
            return Rollback({}, writes, to="token", why="the token is no longer pending")
        if token.is_lost(ctx):
            why = "cannot be opened and may be on the board"
            return _mint_again(ctx, TokenState.COMPROMISED, why).rollback
        # Where it cannot be read back, the same token goes to the same board once more.
        return Done(_given(ctx)) if is_there(ctx) else NotDone()


def _given(ctx: BoardContext) -> dict[str, Any]:
    return {
        "tokenDigests": {str(int(kind)): sorted(digests) for kind, _, digests in contents(ctx)},
        "tokenStore": spec(ctx).store,
    }


def is_there(ctx: BoardContext) -> bool | None:
    """Whether the board shows the token of this attempt; None where it cannot be read back."""
    found = place(ctx)
    if found is not None:
        return ctx.link.run(token_is_there(ctx.ops, ctx.uuid, found, token.reveal(ctx).reveal()))
    return all(
        ctx.credentials.holds(spec(ctx).sec_tag, kind, digests)
        for kind, _, digests in contents(ctx)
    )


def spec(ctx: BoardContext) -> Token:
    """Return the profile's token section; first-boot without one stores as `psk`."""
    return ctx.profile.token or Token()


def place(ctx: BoardContext) -> TokenPlace | None:
    """Where the token goes outside the modem's credentials, None for store `psk`."""
    found = spec(ctx)
    if found.store == "psk":
        return None
    facts = {
        "registryDeviceId": str(ctx.facts.token.registry_device_id),
        "deviceId": ctx.facts.device_id or "",
        "mcuId": ctx.identity.mcu_id or "",
    }
    command = found.command or ""
    for key, value in facts.items():
        command = command.replace(f"{{{key}}}", value)
    return TokenPlace(found.store, found.name or "", command, found.success or "", found.read_back)


def contents(ctx: BoardContext) -> list[tuple[CredentialType, str, frozenset[str]]]:
    """Return what goes into the modem: type, text between the quotes, and the digests that it may
    show for it.
    """
    if spec(ctx).store != "psk":
        return []
    raw = token.reveal(ctx).reveal().encode()
    identity = str(ctx.facts.token.registry_device_id)
    return [
        (
            CredentialType.PSK,
            raw.hex(),
            ctx.ops.digests(CredentialType.PSK, raw.hex())
            | ctx.ops.digests(CredentialType.PSK, raw.decode()),
        ),
        (
            CredentialType.PSK_IDENTITY,
            identity,
            ctx.ops.digests(CredentialType.PSK_IDENTITY, identity),
        ),
    ]


def refuse_unusable(ctx: BoardContext) -> None:
    """Go back to `token` where the token ran out or can't be read any more.

    Its registry device never connected, so it is cleared there and a new token is minted.
    """
    if token.has_expired(ctx):
        raise _mint_again(ctx, TokenState.EXPIRED, "ran out before it was used")
    if token.is_lost(ctx):
        raise _mint_again(ctx, TokenState.REVOKED, "cannot be opened with this bench's sealing key")


def _mint_again(ctx: BoardContext, to: TokenState, why: str) -> RollbackRequired:
    writes = token.retired_writes(ctx, ctx.facts.token.intent, why, to)
    return RollbackRequired(
        Rollback({}, writes, to="token", why=f"the token {why}"),
        PolicyError("identity.token-spent", f"the new registration token {why} too"),
    )
