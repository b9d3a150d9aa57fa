"""`infuse registry token`: minted with intent and hash on record first, never lost, never minted
twice.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.api_types import has_connected, never_connected
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices import session as tools
from infuse_cli.devices.registry import location
from infuse_cli.errors import CloudError, InfuseError, PolicyError
from infuse_cli.provisioning.steps.token import place as of_profile
from infuse_cli.provisioning.steps.token import secret_name
from infuse_cli.records import DropSecret, IntendToken, MintToken, MoveToken
from infuse_cli.types import Secret, TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infuse_cli import api_types as api
    from infuse_cli.journal.store import SqliteJournal

INTENT: Final = "infuseIntent"
_COLUMNS: Final = {
    "name": "name",
    "registryDeviceId": "registry device id",
    "id": "token id",
    "status": "status",
    "expiresAt": "expires",
}
_TRIES: Final = 3
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class TokenWish:
    """What is to be minted; None where the profile's registry section may say it."""

    name: str
    tags: tuple[str, ...]
    metadata: tuple[str, ...]
    location: str | None
    site: str | None
    device_profile: str | None
    expires_s: int | None
    out: Path | None
    reveal: bool
    wait_s: float | None


def create(wish: TokenWish) -> OperationResult:
    """Mint a token; the secret goes to its file or the terminal, once."""
    place = tools.Destination(wish.out, reveal=wish.reveal, needed="the registration token")
    metadata = tools.pairs(wish.metadata, "--metadata")
    spot = location(wish.location)
    with tools.opened() as session:
        client, spec = session.registry, session.registry_section
        place.reserve()
        try:
            with tools.on_record(session, "registry token create") as record:
                mint = Mint(session, record.journal, wish.name)
                minted = mint.run(
                    lambda intent: client.mint_token(
                        name=wish.name,
                        metadata={**spec.metadata, **metadata, INTENT: intent},
                        tags=wish.tags or spec.tags,
                        site_id=wish.site or spec.siteId,
                        device_profile_id=wish.device_profile or spec.deviceProfileId,
                        expires_in_s=wish.expires_s or spec.token_ttl_s,
                        location=spot or of_profile(spec),
                    )
                )
                place.take(Secret(minted.token))
        finally:
            place.give_back()
        return _minted(session, minted, place, wish)


class Mint:
    """Minting one token by hand, with its intent on record."""

    def __init__(self, session: tools.Session, journal: SqliteJournal, name: str) -> None:
        self._session: Final = session
        self._journal: Final = journal
        self._name: Final = name

    def run(self, post: Any) -> api.MintedToken:
        """Intend, POST once, record.

        A mint whose answer was lost is found by its intent and cleared before the next.
        """
        self._clear_unfinished()
        for attempt in range(1, _TRIES + 1):
            intent = uuid.uuid4().hex
            self._journal.commit(IntendToken(intent=intent, name=self._name))
            try:
                minted: api.MintedToken = post(intent)
            except CloudError as error:
                if not error.unknown:
                    self._end(intent, f"refused: {error.code}")
                if not error.unknown or attempt == _TRIES:
                    raise
                found = self._session.once.look_up_lost(
                    lambda: self._session.registry.device_by_name(self._name)
                )
                if found is not None:
                    self._retire(found, {intent})
                self._end(intent, "its answer was lost")
            else:
                # The name was free for this mint, so no earlier intent for it ever became a token.
                never = [
                    MoveToken(
                        intent=one,
                        from_state=TokenState.INTENDED,
                        to_state=TokenState.REVOKED,
                        why="never minted",
                    )
                    for one in self._unfinished() - {intent}
                ]
                self._journal.commit(
                    MintToken(
                        intent=intent,
                        token_id=minted.id,
                        registry_device_id=minted.device_id,
                        sha256=Secret(minted.token).sha256(),
                        expires_at=minted.expires_at,
                    ),
                    *never,
                )
                return minted
        raise AssertionError("the last try returns or raises")

    def _clear_unfinished(self) -> None:
        """A device of this name is in the way: ours, when a mint of ours died before its answer was
        on record.
        """
        found = self._session.registry.device_by_name(self._name)
        if found is None:
            return
        unfinished = self._unfinished()
        self._retire(found, unfinished)
        for intent in unfinished:
            self._end(intent, "its answer was lost")

    def _unfinished(self) -> set[str]:
        """Intents for this name whose answer is not on record, of mints by hand; a board's own
        belong to its attempt.
        """
        return {
            row.intent
            for row in self._journal.tokens(name=self._name)
            if row.state is TokenState.INTENDED and row.attempt is None
        }

    def _retire(self, device: api.RegistryDevice, ours: set[str]) -> None:
        if device.metadata.get(INTENT) not in ours or not never_connected(device.status):
            raise PolicyError(
                "identity.registry-conflict",
                f"registry device {device.name!r} exists already ({device.id}, {device.status})",
                hint=(
                    "`infuse registry token revoke` and `infuse registry device delete` clear it,"
                    " if it is yours to clear."
                ),
            )
        client = self._session.registry
        for row in client.pending_tokens():
            if row.device_id == device.id:
                client.revoke_token(row.id)
        self._session.once.delete(
            lambda: client.delete_device(device.id), lambda: client.device(device.id)
        )

    def _end(self, intent: str, why: str) -> None:
        self._journal.commit(
            MoveToken(
                intent=intent, from_state=TokenState.INTENDED, to_state=TokenState.REVOKED, why=why
            )
        )


def _minted(
    session: tools.Session, minted: api.MintedToken, place: tools.Destination, wish: TokenWish
) -> OperationResult:
    secret = Secret(minted.token)
    values = {**views.plain(minted), "sha256": secret.sha256()}
    del values["token"]
    lines = [
        (
            f"Registration token for {minted.name!r}: registry device {minted.device_id} is"
            f" {minted.status}."
        ),
        *place.shown(secret, "Token"),
        *(
            []
            if minted.expires_at is None
            else [f"It expires at {minted.expires_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."]
        ),
    ]
    if wish.wait_s is None:
        return OperationResult(
            "registry token create", {"token": values, "out": place.out}, human="\n".join(lines)
        )
    status = _await_connected(session, minted.device_id, wish.wait_s)
    data = {"token": values, "out": place.out, "status": status}
    if has_connected(status):
        _record_used(session, minted)
        return OperationResult(
            "registry token create",
            data,
            human="\n".join([*lines, f"The device is {status}: it has connected."]),
        )
    error = InfuseError(
        "identity.not-active",
        f"registry device {minted.device_id} is {status} after {wish.wait_s:g} s",
    )
    return OperationResult(
        "registry token create",
        data,
        status="error",
        errors=[error.as_json()],
        exit_code=int(error.exit),
        human="\n".join(lines),
    )


def _record_used(session: tools.Session, minted: api.MintedToken) -> None:
    """A device that has connected has used its token."""
    with tools.kept(session) as journal:
        for row in journal.tokens(name=minted.name):
            if row.token_id == minted.id and row.state is TokenState.MINTED:
                journal.commit(
                    MoveToken(
                        intent=row.intent,
                        from_state=row.state,
                        to_state=TokenState.CONSUMED,
                        why="its device has connected",
                    )
                )


def _await_connected(session: tools.Session, registry_device_id: str, wait_s: float) -> str:
    until = time.monotonic() + wait_s
    while True:
        found = session.registry.device(registry_device_id)
        status = found.status if found is not None else "gone"
        if has_connected(status) or status == "gone" or time.monotonic() >= until:
            return status
        session.clock.wait(_LOOK_S)


def listed() -> OperationResult:
    """The pending tokens, without their secrets."""
    with tools.opened() as session:
        rows = session.registry.pending_tokens()
    return views.listing(
        "registry token list", "tokens", rows, _COLUMNS, "No registration token is pending."
    )


def revoke(text: str, *, yes: bool) -> OperationResult:
    """Take a pending token back, by its id or its device's name."""
    with tools.opened() as session:
        client = session.registry
        found = tools.pick(client.pending_tokens(), text, "pending token")
        tools.confirm(f"Revoke the registration token of {found.name!r}?", yes=yes)
        with tools.on_record(session, "registry token revoke") as record:
            record.note("token revocation intended", tokenId=found.id, name=found.name)
            done = session.once.send(
                lambda: client.revoke_token(found.id),
                lambda: (
                    None if any(row.id == found.id for row in client.pending_tokens()) else True
                ),
            )
            if done:
                _record_revoked(record.journal, found)
    if not done:
        raise CloudError(
            "cloud.refused",
            f"the token of {found.name!r} was used meanwhile, so it cannot be revoked",
            status=409,
        )
    data = {"token": {**views.plain(found), "status": "REVOKED"}}
    return OperationResult(
        "registry token revoke", data, human=f"Revoked the registration token of {found.name!r}."
    )


def _record_revoked(journal: SqliteJournal, token: api.PendingToken) -> None:
    alive: Sequence[TokenState] = (TokenState.MINTED, TokenState.HANDED_OVER, TokenState.EXPOSED)
    for row in journal.tokens(name=token.name):
        if row.token_id == token.id and row.state in alive:
            journal.commit(
                MoveToken(
                    intent=row.intent,
                    from_state=row.state,
                    to_state=TokenState.REVOKED,
                    why="revoked by hand",
                ),
                DropSecret(name=secret_name(row.intent)),
            )
