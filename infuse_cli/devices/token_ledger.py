"""Every registration token that this journal ever intended: how it ended, and whether the registry
agrees.

Only what the registry shows is recorded as an end; where nobody can say who used a token, it counts
as compromised. Tokens of boards that a run will go on with are left to that run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infuse_cli.api_types import has_connected
from infuse_cli.devices import session as tools
from infuse_cli.devices.registry_tokens import revoke_pending
from infuse_cli.devices.token_end import LIVE, end_token
from infuse_cli.errors import CloudError, JournalError
from infuse_cli.journal import token_queries
from infuse_cli.records import DropSecret, MoveToken
from infuse_cli.records.notes import NoteKind
from infuse_cli.text import plural
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infuse_cli import api_types as api
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import TokenRecord
    from infuse_cli.settings import Settings

S = TokenState


@dataclass(frozen=True, slots=True)
class Seen:
    """What the registry shows of a token: whether it is pending, and its device's status, None for
    one that is gone.
    """

    pending: bool
    status: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How journal and registry disagree, and what would settle it: a state for the journal, or the
    token's revocation.
    """

    why: str
    state: TokenState | None = None
    revoke: bool = False

    @property
    def is_trouble(self) -> bool:
        """Whether somebody has to look: tokens that ended since the bench last saw them are
        everyday.
        """
        return self.revoke or self.state in {None, S.COMPROMISED}


def judge(token: TokenRecord, seen: Seen, now: datetime) -> Verdict | None:
    """Compare one token with what the registry shows; None where they agree."""
    if token.token_id is None:
        return (
            None
            if token.state is not S.INTENDED
            else Verdict("intended, and no answer was recorded: a mint may have been lost")
        )
    if token.state is S.HANDED_OVER:
        return None  # the other bench records how it ends, and it is for that one to use
    if token.state not in LIVE:
        return (
            Verdict(
                f"{token.state.value} in the journal, but the registry still takes it", revoke=True
            )
            if seen.pending
            else None
        )
    return _living(token, seen, now)


def _living(token: TokenRecord, seen: Seen, now: datetime) -> Verdict | None:
    """Judge one that is alive by the journal: it is, or it has ended in a way that the registry
    shows.
    """
    over = token.expires_at is not None and token.expires_at <= now
    if seen.pending and not over:
        return None
    if has_connected(seen.status):
        return Verdict(f"its device is {seen.status}: it was traded", S.CONSUMED)
    if over and (seen.pending or token.state is not S.DELIVERED or seen.status == "PENDING"):
        return Verdict("its time is over, and nothing came of it", S.EXPIRED)
    if seen.status is None or token.state is not S.DELIVERED:
        return Verdict(
            "taken back in the registry" if seen.status else "its registry device is gone",
            S.REVOKED,
        )
    return Verdict(
        "no longer pending, and its device was not heard: it may have been traded", S.COMPROMISED
    )


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A token on which journal and registry disagree; `settled` once the verdict was carried
    out.
    """

    token: TokenRecord
    verdict: Verdict
    settled: bool = False

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to look."""
        return self.verdict.is_trouble and not self.settled


@dataclass(frozen=True, slots=True)
class Ledger:
    """All tokens of the journal by state, and where the registry shows otherwise.

    `reconciled` is False where the registry was not asked. `pending_elsewhere` counts pending
    tokens of the registry that this journal does not know.
    """

    tokens: int
    states: Mapping[TokenState, int]
    reconciled: bool
    disagreeing: tuple[Disagreement, ...] = ()
    pending_elsewhere: int = 0


def ledger(settings: Settings, *, offline: bool = False, settle: bool = False) -> Ledger:
    """Count all tokens of the journal; compare with the registry unless `offline`, and with
    `settle` record what is certain.

    Raises JournalError journal.not-found, CloudError.
    """
    with tools.opened(settings) as session:
        with tools.stored_journal(session) as journal:
            tokens = list(journal.tokens())
            attempts = journal.open_attempts()
            alive = {attempt.attempt for attempt in attempts if attempt.alive}
            parked = {attempt.attempt for attempt in attempts if not attempt.alive}
        if offline:
            return Ledger(len(tokens), _counts(tokens), reconciled=False)
        seen, elsewhere = _look(session, tokens)
        rows = _compare([token for token in tokens if token.attempt not in alive], seen, parked)
        if settle and rows:
            rows = _settle(session, rows)
            with tools.stored_journal(session) as journal:
                tokens = list(journal.tokens())
    return Ledger(len(tokens), _counts(tokens), True, tuple(rows), elsewhere)


def _counts(tokens: Sequence[TokenRecord]) -> dict[TokenState, int]:
    counts = Counter(token.state for token in tokens)
    return {state: counts[state] for state in S}


def _look(session: tools.Session, tokens: Sequence[TokenRecord]) -> tuple[dict[str, Seen], int]:
    """What the registry shows by intent, and how many pending tokens are not in the journal."""
    client = session.registry
    pending = {token.id for token in client.pending_tokens() if token.status.upper() == "PENDING"}
    devices = {device.id: device.status.upper() for device in client.devices()}
    seen = {
        token.intent: Seen(token.token_id in pending, devices.get(token.registry_device_id or ""))
        for token in tokens
    }
    return seen, len(pending - {token.token_id for token in tokens})


def _compare(
    tokens: Sequence[TokenRecord], seen: Mapping[str, Seen], parked: set[str]
) -> list[Disagreement]:
    """Where the registry shows otherwise; a live token of a parked attempt is its run's to end."""
    rows = []
    for token in tokens:
        verdict = judge(token, seen[token.intent], datetime.now(UTC))
        if verdict is None:
            continue
        if token.attempt in parked and token.state in LIVE:
            continue
        rows.append(Disagreement(token, verdict))
    return rows


def _settle(session: tools.Session, rows: Sequence[Disagreement]) -> list[Disagreement]:
    settled = []
    with tools.journal_run(session, "registry token ledger --settle") as run:
        for row in rows:
            token, verdict = row.token, row.verdict
            is_settled = False
            if verdict.revoke:
                run.note(
                    NoteKind.TOKEN_REVOCATION_INTENDED, tokenId=token.token_id, name=token.name
                )
                is_settled = revoke_pending(session, token.token_id or "")
            elif verdict.state is not None:
                move = MoveToken(
                    intent=token.intent,
                    from_state=token.state,
                    to_state=verdict.state,
                    why=verdict.why,
                )
                run.journal.commit(move, DropSecret(name=f"token:{token.intent}"))
                is_settled = True
            settled.append(replace(row, settled=is_settled))
    return settled


@dataclass(frozen=True, slots=True)
class StationRevocation:
    """What became of the live tokens that a station minted; `pending_elsewhere` are pending ones
    that this journal does not know.
    """

    station: str
    tokens: tuple[tuple[TokenRecord, TokenState], ...]
    pending_elsewhere: tuple[api.PendingToken, ...]


def revoke_station(settings: Settings, station: str, *, yes: bool) -> StationRevocation:
    """Take back every live token that a station minted, such as a bench that was stolen."""
    with (
        tools.opened(settings) as session,
        tools.journal_run(session, "registry token revoke --station") as run,
    ):
        journal = run.journal
        live = _of_station(journal, station)
        settings.confirm(
            f"Revoke {plural(len(live), 'live registration token')} that station {station!r}"
            " minted?",
            yes=yes or not live,
        )
        run.note(NoteKind.STATION_REVOCATION_INTENDED, station=station, tokens=len(live))
        done = []
        for token in live:
            move, forget = end_token(session, token, f"station {station} is not trusted any more")
            journal.commit(move, forget)
            done.append((token, move.to_state))
        elsewhere = _unknown_pending(session, journal)
    return StationRevocation(station, tuple(done), tuple(elsewhere))


def _of_station(journal: SqliteJournal, station: str) -> list[TokenRecord]:
    """Tokens that may be alive; also those that the station handed over, since it keeps their
    secrets sealed.
    """
    stations = token_queries.stations(journal)
    known = sorted({*stations.values(), *journal.heads()})
    if station not in known:
        raise JournalError(
            "journal.not-found",
            f"the journal knows no station {station!r}; it has: {', '.join(known) or 'none'}",
            hint=(
                "A stolen bench's tokens are in its own journal: `infuse journal import` a backup"
                " of it first."
            ),
        )
    return [
        token
        for token in journal.tokens()
        if stations.get(token.intent) == station and token.state in {*LIVE, S.HANDED_OVER}
    ]


def _unknown_pending(session: tools.Session, journal: SqliteJournal) -> list[api.PendingToken]:
    known = {token.token_id for token in journal.tokens()}
    try:
        return [token for token in session.registry.pending_tokens() if token.id not in known]
    except CloudError:
        return []
