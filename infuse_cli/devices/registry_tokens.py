"""Registration tokens: minted with intent and hash recorded first, never lost, never minted twice.

A token here is made by a person, for a device that is not on this bench.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infuse_cli import failpoint
from infuse_cli.api_types import has_connected, never_connected
from infuse_cli.devices import session as tools
from infuse_cli.devices.secret_file import SecretFile
from infuse_cli.effects.tokens import INTENT, location_of, minted_write, secret_name
from infuse_cli.errors import CloudError, PolicyError
from infuse_cli.records import DropSecret, IntendToken, MoveToken
from infuse_cli.records.notes import NoteKind
from infuse_cli.types import Secret, TokenState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from infuse_cli import api_types as api
    from infuse_cli.clock import RunClock
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.settings import Settings

GONE: Final = "gone"
"""The status of a registry device that is no longer there."""

_TRIES: Final = 3
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is to be minted; None or empty where the profile's registry section may say it.

    `wait_s` is how long to wait until the device has connected, in seconds; None does not wait.
    """

    name: str
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    location: api.Location | None = None
    site: str | None = None
    device_profile: str | None = None
    expires_s: int | None = None
    out: Path | None = None
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class TokenCreation:
    """A token that was minted; `token` is secret, and in the file `out` where one was named.

    `status` is its device's after waiting, None without.
    """

    minted: api.MintedToken
    out: Path | None
    status: str | None = None

    @property
    def token(self) -> Secret:
        """The secret that the device trades for its identity."""
        return Secret(self.minted.token)


def create_token(
    settings: Settings, request: TokenRequest, clock: RunClock | None = None
) -> TokenCreation:
    """Mint a token; the secret is in its file before this returns.

    Raises PolicyError identity.registry-conflict, UsageError, CloudError.
    """
    file = SecretFile(request.out)
    with tools.opened(settings, clock) as session:
        client, spec = session.registry, session.registry_section
        file.reserve()
        try:
            with tools.journal_run(session, "registry token create") as run:
                minted = _Mint(session, run.journal, request.name).execute(
                    lambda intent: client.mint_token(
                        name=request.name,
                        metadata={**spec.metadata, **request.metadata, INTENT: intent},
                        tags=request.tags or spec.tags,
                        site_id=request.site or spec.siteId,
                        device_profile_id=request.device_profile or spec.deviceProfileId,
                        expires_in_s=request.expires_s or spec.token_ttl_s,
                        location=request.location or location_of(spec),
                    ),
                    lambda made: file.write(Secret(made.token)),
                )
        finally:
            file.release()
        status = None
        if request.wait_s is not None:
            status = _await_connected(session, minted, request.wait_s)
    return TokenCreation(minted, request.out, status)


class _Mint:
    """Minting one token, with its intent in the journal."""

    def __init__(self, session: tools.Session, journal: SqliteJournal, name: str) -> None:
        self._session: Final = session
        self._journal: Final = journal
        self._name: Final = name

    def execute(
        self,
        post: Callable[[str], api.MintedToken],
        store: Callable[[api.MintedToken], object],
    ) -> api.MintedToken:
        """Intend, POST once, `store` the secret, record.

        The secret is stored first: a token in the journal whose secret nobody has could not be used
        and would be in the way. A mint whose answer was lost, or that ended before its record, is
        found by its intent and cleared before the next.
        """
        self._clear_unfinished()
        for left in reversed(range(_TRIES)):
            intent = uuid.uuid4().hex
            self._journal.commit(IntendToken(intent=intent, name=self._name))
            try:
                minted = post(intent)
            except CloudError as error:
                if not error.unknown:
                    self._end(intent, f"refused: {error.code}")
                if not error.unknown or not left:
                    raise
                device = self._session.once.look_up_lost(self._device)
                if device is not None:
                    self._retire(device, {intent})
                self._end(intent, "its answer was lost")
            else:
                store(minted)
                failpoint.hit("token:stored")
                self._record(intent, minted)
                return minted
        raise AssertionError("the last try returns or raises")

    def _record(self, intent: str, minted: api.MintedToken) -> None:
        write = minted_write(intent, minted)
        # The name was free for this mint, so no earlier intent for it ever became a token.
        never = self._unfinished() - {intent}
        self._journal.commit(write, *(_ended(earlier, "never minted") for earlier in never))

    def _device(self) -> api.RegistryDevice | None:
        return self._session.registry.device_by_name(self._name)

    def _clear_unfinished(self) -> None:
        """A device of this name is in the way: ours, when a mint of ours died before its answer was
        recorded.
        """
        device = self._device()
        if device is None:
            return
        unfinished = self._unfinished()
        self._retire(device, unfinished)
        for intent in unfinished:
            self._end(intent, "its answer was lost")

    def _unfinished(self) -> set[str]:
        """Intents for this name without an answer; those of a board belong to its attempt."""
        return {
            token.intent
            for token in self._journal.tokens(name=self._name)
            if token.state is TokenState.INTENDED and token.attempt is None
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
        for token in client.pending_tokens():
            if token.device_id == device.id:
                client.revoke_token(token.id)
        self._session.once.delete(
            lambda: client.delete_device(device.id), lambda: client.device(device.id)
        )

    def _end(self, intent: str, why: str) -> None:
        self._journal.commit(_ended(intent, why))


def _ended(intent: str, why: str) -> MoveToken:
    return MoveToken(
        intent=intent, from_state=TokenState.INTENDED, to_state=TokenState.REVOKED, why=why
    )


def _await_connected(session: tools.Session, minted: api.MintedToken, wait_s: float) -> str:
    """The status of the device once it has connected or is gone, or after `wait_s` seconds."""
    clock = session.clock
    end = clock.monotonic() + wait_s
    while True:
        device = session.registry.device(minted.device_id)
        status = GONE if device is None else device.status
        if has_connected(status):
            with tools.stored_journal(session) as journal:
                _move(
                    journal,
                    minted,
                    (TokenState.MINTED,),
                    TokenState.CONSUMED,
                    "its device has connected",
                )
        if has_connected(status) or status == GONE or clock.monotonic() >= end:
            return status
        if clock.wait(_LOOK_S):
            return status


def list_tokens(settings: Settings) -> Sequence[api.PendingToken]:
    """The pending tokens, without their secrets."""
    with tools.opened(settings) as session:
        return session.registry.pending_tokens()


def revoke_token(settings: Settings, text: str, *, yes: bool) -> api.PendingToken:
    """Take a pending token back, by its id or its device's name.

    Raises CloudError cloud.refused for one that was used meanwhile.
    """
    with tools.opened(settings) as session:
        client = session.registry
        token = tools.pick(client.pending_tokens(), text, "pending token")
        settings.confirm(f"Revoke the registration token of {token.name!r}?", yes=yes)
        with tools.journal_run(session, "registry token revoke") as run:
            run.note(NoteKind.TOKEN_REVOCATION_INTENDED, tokenId=token.id, name=token.name)
            revoked = revoke_pending(session, token.id)
            if revoked:
                _move(
                    run.journal,
                    token,
                    (TokenState.MINTED, TokenState.HANDED_OVER, TokenState.DELIVERED),
                    TokenState.REVOKED,
                    "revoked by hand",
                )
    if not revoked:
        raise CloudError(
            "cloud.refused",
            f"the token of {token.name!r} was used meanwhile, so it cannot be revoked",
            status=409,
        )
    return token


def revoke_pending(session: tools.Session, token_id: str) -> bool:
    """Revoke a token in the registry, once; False for one that was used before."""
    client = session.registry

    def look_up() -> bool | None:
        is_pending = any(token.id == token_id for token in client.pending_tokens())
        return None if is_pending else True

    return session.once.send(lambda: client.revoke_token(token_id), look_up)


def _move(
    journal: SqliteJournal,
    token: api.PendingToken | api.MintedToken,
    states: Sequence[TokenState],
    to_state: TokenState,
    why: str,
) -> None:
    """Record that a token has ended, and forget its secret."""
    for record in journal.tokens(name=token.name):
        if record.token_id == token.id and record.state in states:
            move = MoveToken(
                intent=record.intent, from_state=record.state, to_state=to_state, why=why
            )
            journal.commit(move, DropSecret(name=secret_name(record.intent)))
