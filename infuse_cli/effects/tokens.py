"""Registration tokens: minted once under an intent, ended with their device.

The intent is durable before the POST and travels as metadata `infuseIntent`, so that a device whose
mint answer was lost can be told from a stranger's of the same name. The token itself is sealed
until it is spent; only its hash stays.

Guaranteed: `docs/reference/guarantees.md#registration-tokens`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infuse_cli.api_types import Location
from infuse_cli.errors import CloudError
from infuse_cli.records import DropSecret, MintToken, MoveToken, StoreSecret
from infuse_cli.types import Secret, TokenState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.api_types import MintedToken
    from infuse_cli.config.model import Registry
    from infuse_cli.ports import RegistryApi, Sealer
    from infuse_cli.records import TokenRecord, Write

INTENT: Final = "infuseIntent"
"""The metadata key of a registry device that carries the intent of its mint."""

LIVE: Final = frozenset({TokenState.INTENDED, TokenState.MINTED, TokenState.DELIVERED})
"""States of tokens of this bench that may be alive."""

_REPEATS: Final = 3


def secret_name(intent: str) -> str:
    """Name the row of a token's sealed secret; the sealed bytes are bound to it."""
    return f"token:{intent}"


def location_of(spec: Registry) -> Location | None:
    """The profile's location as the registry takes it."""
    place = spec.location
    return None if place is None else Location(latitude=place.latitude, longitude=place.longitude)


def mint(
    registry: RegistryApi,
    spec: Registry,
    name: str,
    intent: str,
    *,
    metadata: Mapping[str, str] | None = None,
    tags: Sequence[str] = (),
) -> MintedToken:
    """POST a token under an intent that is recorded already, once.

    `metadata` and `tags` go beside the profile's. Raises CloudError, status 409 for a taken name.
    """
    return registry.mint_token(
        name=name,
        metadata={**spec.metadata, **(metadata or {}), INTENT: intent},
        tags=tuple(dict.fromkeys((*spec.tags, *tags))),
        site_id=spec.siteId,
        device_profile_id=spec.deviceProfileId,
        expires_in_s=spec.token_ttl_s,
        location=location_of(spec),
    )


def minted_write(intent: str, minted: MintedToken) -> MintToken:
    """The write that records a mint's answer: ids and hash, never the token."""
    return MintToken(
        intent=intent,
        token_id=minted.id,
        registry_device_id=minted.device_id,
        sha256=Secret(minted.token).sha256(),
        expires_at=minted.expires_at,
    )


def sealed_write(intent: str, token: Secret, sealer: Sealer) -> StoreSecret:
    """The write that stores a token, sealed, until it is spent."""
    name = secret_name(intent)
    return StoreSecret(name=name, sealed=sealer.seal(token, name))


def end_writes(token: TokenRecord | None, to: TokenState, why: str) -> tuple[Write, ...]:
    """The writes that end a token on record and forget its secret, none where it has ended."""
    if token is None or token.state not in LIVE:
        return ()
    return (
        MoveToken(intent=token.intent, from_state=token.state, to_state=to, why=why),
        DropSecret(name=secret_name(token.intent)),
    )


def delete_unfinished(
    registry: RegistryApi,
    device_id: str,
    pending_tokens: Sequence[str],
    *,
    retry: Callable[[Callable[[], object]], object] = lambda call: call(),
) -> None:
    """Take our own registry device away that never connected: its pending tokens first.

    The caller has recorded that. `retry` carries a call through an outage of the cloud.
    """
    for token_id in pending_tokens:
        _repeat_lost(lambda token_id=token_id: retry(lambda: registry.revoke_token(token_id)))  # type: ignore[misc]
    _repeat_lost(lambda: retry(lambda: registry.delete_device(device_id)))


def _repeat_lost(call: Callable[[], object]) -> None:
    """Repeat what may be repeated safely, such as a DELETE, when its answer was lost."""
    for left in reversed(range(_REPEATS)):
        try:
            call()
        except CloudError as error:
            if not error.unknown or left == 0:
                raise
        else:
            return
