"""How a registration token that may be alive is ended, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infuse_cli.api_types import TokenEnd, has_connected
from infuse_cli.records import DropSecret, MoveToken
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from infuse_cli.devices.session import Session
    from infuse_cli.records import TokenRecord

LIVE: Final = frozenset({TokenState.INTENDED, TokenState.MINTED, TokenState.DELIVERED})
"""States of tokens of this bench that may be alive."""


def end_token(session: Session, token: TokenRecord, why: str) -> tuple[MoveToken, DropSecret]:
    """Revoke a live token where the registry still has it; the writes that record its end and
    forget its secret.

    Raises ProfileError where no registry is named, CloudError.
    """
    state = TokenState.REVOKED if token.token_id is None else _revoke(session, token)
    return (
        MoveToken(intent=token.intent, from_state=token.state, to_state=state, why=why),
        DropSecret(name=f"token:{token.intent}"),
    )


def _revoke(session: Session, token: TokenRecord) -> TokenState:
    """Revoke a token that was minted: how it ended.

    `revoked` also where the registry knows its device, but no such token any more; `consumed` by a
    device that has connected, `compromised` where nobody can say who used it, or where neither
    token nor device is known there.
    """
    end = delete_token(session, token)
    if end is TokenEnd.REVOKED:
        return TokenState.REVOKED
    device = session.registry.device(token.registry_device_id) if token.registry_device_id else None
    if end is TokenEnd.UNKNOWN and device is not None:
        return TokenState.REVOKED
    is_used = device is not None and has_connected(device.status)
    return TokenState.CONSUMED if is_used else TokenState.COMPROMISED


def delete_token(session: Session, token: TokenRecord) -> TokenEnd:
    """DELETE a minted token; `unknown` also where the answer was lost and it is not pending any
    more.
    """
    client, token_id = session.registry, token.token_id or ""

    def look_up() -> TokenEnd | None:
        is_pending = any(row.id == token_id for row in client.pending_tokens())
        return None if is_pending else TokenEnd.UNKNOWN

    return session.once.send(lambda: client.end_token(token_id), look_up)
