"""The way out of a hand-over that was a mistake: its tokens are revoked.

The tokens are revoked in the registry, not used again: nobody can say whether a copy of the file is
imported somewhere. The next `infuse batch register` mints others for their rows, and clears their
registry devices away for that: so a token counts as taken back only where it was seen pending, and
one that ended elsewhere, on a board perhaps, is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - a dataclass names it
from typing import TYPE_CHECKING, Final

from infuse_cli import failpoint
from infuse_cli.api_types import TokenEnd, never_connected
from infuse_cli.batch.adapters import existing_journal
from infuse_cli.batch.known_rows import known_rows
from infuse_cli.devices import session as tools
from infuse_cli.devices.token_end import delete_token
from infuse_cli.effects.tokens import secret_name
from infuse_cli.errors import PolicyError
from infuse_cli.records import DropSecret, MoveToken
from infuse_cli.records.notes import NoteKind
from infuse_cli.records.rows import cloud_key
from infuse_cli.text import plural
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import TokenRecord
    from infuse_cli.settings import Settings

COMMAND: Final = "batch export --take-back"
_WHY: Final = "taken back from another bench"
_PAGE: Final = 100
"""Tokens of one note."""


@dataclass(frozen=True, slots=True)
class TakeBackRequest:
    """Whose tokens are revoked: those of the file's rows, None for all in the journal.

    `yes`: nobody is asked first.
    """

    file: Path | None
    yes: bool = False


@dataclass(frozen=True, slots=True)
class ReturnedToken:
    """A token that was handed over, and the state that it has now."""

    name: str
    token_id: str | None
    registry_device_id: str | None
    state: TokenState


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What came of the tokens. `other_organisations` counts those that were left alone."""

    tokens: tuple[ReturnedToken, ...]
    other_organisations: int

    @property
    def left(self) -> tuple[ReturnedToken, ...]:
        """Tokens that were not taken back."""
        return tuple(token for token in self.tokens if token.state is not TokenState.REVOKED)

    @property
    def revoked(self) -> int:
        """How many were taken back."""
        return len(self.tokens) - len(self.left)


def take_back(settings: Settings, request: TakeBackRequest) -> TakenBack:
    """Revoke the tokens of these rows that another bench has; stopped anywhere it is run again.

    Raises PolicyError batch.nothing where none of this organisation was handed over, ProfileError
    without a registry, UsageError usage.no-terminal, CloudError of both APIs.
    """
    with tools.opened(settings) as session, existing_journal(settings) as journal:
        registry, mine = session.registry, session.organisation(None).id
        gone, others = _handed_over(journal, request.file, mine)
        if not gone:
            whose = f" by organisation {mine}, but {others} by others" if others else ""
            raise PolicyError(
                "batch.nothing",
                f"no registration token of these rows was handed over{whose}, so there is none to"
                " take back",
                hint=(
                    "`infuse registry token ledger` counts what is on record; --profile names the"
                    " organisation."
                ),
            )
        question = f"Revoke {plural(len(gone), 'registration token')} that another bench has?"
        settings.confirm(question, yes=request.yes)
        with tools.journal_run(session, COMMAND) as record:
            pending = {token.id for token in registry.pending_tokens()}
            returner = _Returner(session, record, pending)
            tokens = [
                token
                for first in range(0, len(gone), _PAGE)
                for token in returner.revoke(gone[first : first + _PAGE])
            ]
    return TakenBack(tuple(tokens), others)


def _handed_over(
    journal: SqliteJournal, file: Path | None, organisation: str
) -> tuple[list[TokenRecord], int]:
    """The tokens of this organisation's rows, each once, and how many there are of others."""
    mine: dict[str, TokenRecord] = {}
    others: set[str] = set()
    for row in known_rows(journal, file):
        if row.record is None:
            continue
        for token in journal.tokens(board=cloud_key(row.record.soc, row.record.mcu_id)):
            if token.state is not TokenState.HANDED_OVER:
                continue
            if row.record.organisation == organisation:
                mine[token.intent] = token
            else:
                others.add(token.intent)
    return list(mine.values()), len(others - mine.keys())


class _Returner:
    """Revokes tokens; `pending` are the ids of those that the registry still takes."""

    def __init__(self, session: tools.Session, record: CommandRun, pending: set[str]) -> None:
        self._session, self._record, self._pending = session, record, pending
        self._now: Final = datetime.now(UTC)
        notes = record.journal.noted(NoteKind.TAKE_BACK_INTENDED)
        # A run that was killed may have revoked these without its own record of it.
        self._before: Final = {intent for _, facts in notes for intent in facts.get("intents", ())}

    def revoke(self, page: Sequence[TokenRecord]) -> list[ReturnedToken]:
        """Revoke tokens; the intent is durable before the first of them is revoked."""
        seen = [token.intent for token in page if token.token_id in self._pending]
        if seen:
            self._record.note(NoteKind.TAKE_BACK_INTENDED, tokens=len(seen), intents=seen)
        return [self._revoke(token) for token in page]

    def _revoke(self, token: TokenRecord) -> ReturnedToken:
        state = self._end(token)
        failpoint.hit("done:take-back")
        if state is not TokenState.HANDED_OVER:
            move = MoveToken(intent=token.intent, from_state=token.state, to_state=state, why=_WHY)
            self._record.journal.commit(move, DropSecret(name=secret_name(token.intent)))
        return ReturnedToken(token.name, token.token_id, token.registry_device_id, state)

    def _end(self, token: TokenRecord) -> TokenState:
        """End the token in the registry, and say how it ended.

        Still `handed-over` where it may be on a board whose device is not online yet.
        """
        end = delete_token(self._session, token)
        if end is TokenEnd.REVOKED:
            return TokenState.REVOKED
        device = None
        if token.registry_device_id:
            device = self._session.registry.device(token.registry_device_id)
        if device is None:
            return TokenState.COMPROMISED
        if not never_connected(device.status):
            return TokenState.CONSUMED
        expired = token.expires_at is not None and token.expires_at <= self._now
        was_pending = token.token_id in self._pending or expired
        if token.intent in self._before or (end is TokenEnd.UNKNOWN and was_pending):
            return TokenState.REVOKED
        return TokenState.HANDED_OVER
