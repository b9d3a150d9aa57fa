"""`infuse registry token ledger`: every token that this journal ever intended, how it ended, and
whether the registry agrees.

A token's end is certain or it is burnt: nothing is settled by hope. Tokens of boards that a run
will go on with are left to that run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.api_types import has_connected
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices import session as tools
from infuse_cli.devices.retirement import LIVE, end_token
from infuse_cli.errors import CloudError, JournalError
from infuse_cli.journal import token_queries
from infuse_cli.records import DropSecret, MoveToken
from infuse_cli.text import plural
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infuse_cli import api_types as api
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import TokenRecord

S = TokenState

_LOOK_AT: Final = "look at it in the registry"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the registry shows of a token: whether it is pending, and its device's status, None for
    one that is gone.
    """

    pending: bool
    status: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How record and registry disagree, and what would settle it: a state for the record, or the
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
        return self.revoke or self.state in {None, S.BURNT}


def judge(token: TokenRecord, seen: Seen, now: datetime) -> Verdict | None:
    """Compare one token with what the registry shows; None where they agree."""
    if token.token_id is None:
        return (
            None
            if token.state is not S.INTENDED
            else Verdict("intended, and no answer is on record: a mint may have been lost")
        )
    if token.state is S.HANDED_OVER:
        return None  # how it ends is on record at the other bench, and it is for that one to use
    if token.state not in LIVE:
        return (
            Verdict(f"{token.state.value} on record, but the registry still takes it", revoke=True)
            if seen.pending
            else None
        )
    return _living(token, seen, now)


def _living(token: TokenRecord, seen: Seen, now: datetime) -> Verdict | None:
    """Judge one that is alive on record: it is, or it has ended in a way that the registry
    shows.
    """
    over = token.expires_at is not None and token.expires_at <= now
    if seen.pending and not over:
        return None
    if has_connected(seen.status):
        return Verdict(f"its device is {seen.status}: it was traded", S.CONSUMED)
    if over and (seen.pending or token.state is not S.EXPOSED or seen.status == "PENDING"):
        return Verdict("its time is over, and nothing came of it", S.EXPIRED)
    if seen.status is None or token.state is not S.EXPOSED:
        return Verdict(
            "taken back in the registry" if seen.status else "its registry device is gone",
            S.REVOKED,
        )
    return Verdict(
        "no longer pending, and its device was not heard: it may have been traded", S.BURNT
    )


def ledger(*, offline: bool, settle: bool) -> OperationResult:
    """Count all tokens on record; compare with the registry unless `offline`, and with `settle` put
    on record what is certain.
    """
    with tools.opened() as session, tools.kept(session) as journal:
        tokens = list(journal.tokens())
        at_work = {one.attempt for one in journal.open_attempts()}
        data: dict[str, Any] = {
            "tokens": len(tokens),
            "states": _counts(tokens),
            "reconciled": not offline,
        }
        rows: list[dict[str, Any]] = []
        if not offline:
            seen, foreign = _look(session, tokens)
            rows = _compare(tokens, seen, at_work)
            data |= {"pendingElsewhere": foreign, "disagreeing": rows}
    if settle and rows:
        _settle(rows)
        data["states"] = _now_counts()
    open_ = [row for row in rows if row["trouble"] and not row.get("settled")]
    error = (
        JournalError(
            "journal.tokens-differ",
            f"{len(open_)} of {len(tokens)} registration tokens are not as they should be in the"
            " registry",
        )
        if open_
        else None
    )
    return OperationResult(
        "registry token ledger",
        data,
        human=lambda console: _show(console, data, rows),
        status="error" if error else "ok",
        errors=[error.as_json()] if error else [],
        exit_code=int(error.exit) if error else 0,
    )


def _counts(tokens: Sequence[TokenRecord]) -> dict[str, int]:
    found = Counter(one.state.value for one in tokens)
    return {state.value: found.get(state.value, 0) for state in S}


def _now_counts() -> dict[str, int]:
    with tools.opened() as session, tools.kept(session) as journal:
        return _counts(list(journal.tokens()))


def _look(session: tools.Session, tokens: Sequence[TokenRecord]) -> tuple[dict[str, Seen], int]:
    """By intent what the registry shows, and how many pending tokens are on no record here."""
    client = session.registry
    pending = {row.id for row in client.pending_tokens() if row.status.upper() == "PENDING"}
    devices = {one.id: one.status.upper() for one in client.devices()}
    seen = {
        one.intent: Seen(one.token_id in pending, devices.get(one.registry_device_id or ""))
        for one in tokens
    }
    return seen, len(pending - {one.token_id for one in tokens})


def _compare(
    tokens: Sequence[TokenRecord], seen: Mapping[str, Seen], at_work: set[str]
) -> list[dict[str, Any]]:
    rows = []
    for one in tokens:
        if one.attempt in at_work and one.state in LIVE:
            continue
        verdict = judge(one, seen[one.intent], datetime.now(UTC))
        if verdict is not None:
            rows.append(
                {
                    "name": one.name,
                    "intent": one.intent,
                    "tokenId": one.token_id,
                    "registryDeviceId": one.registry_device_id,
                    "board": one.board,
                    "state": one.state.value,
                    "why": verdict.why,
                    "revoke": verdict.revoke,
                    "settles": verdict.state.value if verdict.state else None,
                    "trouble": verdict.is_trouble,
                }
            )
    return rows


def _settle(rows: Sequence[dict[str, Any]]) -> None:
    with (
        tools.opened() as session,
        tools.on_record(session, "registry token ledger --settle") as record,
    ):
        tokens = {one.intent: one for one in record.journal.tokens()}
        for row in rows:
            token = tokens[row["intent"]]
            if row["revoke"]:
                record.note("token revocation intended", tokenId=token.token_id, name=token.name)
                row["settled"] = _revoked(session, token)
            elif row["settles"] is not None:
                record.journal.commit(
                    MoveToken(
                        intent=token.intent,
                        from_state=token.state,
                        to_state=S(row["settles"]),
                        why=row["why"],
                    ),
                    DropSecret(name=f"token:{token.intent}"),
                )
                row["settled"] = True


def _revoked(session: tools.Session, token: TokenRecord) -> bool:
    token_id = token.token_id or ""
    return session.once.send(
        lambda: session.registry.revoke_token(token_id),
        lambda: (
            None if any(row.id == token_id for row in session.registry.pending_tokens()) else True
        ),
    )


def _show(console: Any, data: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    counts = "  ".join(f"{count} {name}" for name, count in data["states"].items() if count)
    views.say(
        console,
        f"{plural(data['tokens'], 'registration token')} on"
        f" record{': ' + counts if counts else '.'}",
    )
    for row in rows:
        after = (
            "settled"
            if row.get("settled")
            else row["settles"] or ("to be revoked" if row["revoke"] else _LOOK_AT)
        )
        views.say(console, f"  {row['name']}  {row['state']}: {row['why']} ({after})")
    if not data["reconciled"]:
        return
    if not rows:
        views.say(console, "The registry agrees with all of them.")
    elif any((row["settles"] or row["revoke"]) and not row.get("settled") for row in rows):
        views.say(
            console,
            "--settle puts on record what is certain, and revokes what has ended here and not"
            " there.",
        )
    if data["pendingElsewhere"]:
        views.say(
            console,
            f"{data['pendingElsewhere']} further tokens are pending in the registry, on no record"
            " here.",
        )


def revoke_station(station: str, *, yes: bool) -> OperationResult:
    """Take back every live token that a station minted, such as a bench that was stolen."""
    with (
        tools.opened() as session,
        tools.on_record(session, "registry token revoke --station") as record,
    ):
        journal = record.journal
        live = _of_station(journal, station)
        tools.confirm(
            f"Revoke {plural(len(live), 'live registration token')} that station {station!r}"
            " minted?",
            yes=yes or not live,
        )
        record.note("revocation of a station's tokens intended", station=station, tokens=len(live))
        done: list[dict[str, Any]] = []
        for one in live:
            move, *forget = end_token(session, one, f"station {station} is not trusted any more")
            journal.commit(move, *forget)
            state = move.to_state.value if isinstance(move, MoveToken) else ""
            done.append(
                {
                    "name": one.name,
                    "tokenId": one.token_id,
                    "registryDeviceId": one.registry_device_id,
                    "state": state,
                }
            )
        foreign = _unknown_pending(session, journal)
    used = [row for row in done if row["state"] != S.REVOKED.value]
    data = {
        "station": station,
        "tokens": done,
        "pendingElsewhere": [views.plain(one) for one in foreign],
    }
    lines = [
        f"{plural(len(done), 'live token')} of station {station}: {len(done) - len(used)} revoked"
        + (f", {len(used)} used already:" if used else ".")
    ]
    lines += [
        f"  {row['name']}  {row['state']}: look at its device {row['registryDeviceId']}"
        for row in used
    ]
    lines += (
        [
            (
                f"{len(foreign)} pending tokens are on no record here: `infuse registry token list`"
                " shows them."
            )
        ]
        if foreign
        else []
    )
    return OperationResult("registry token revoke", data, human="\n".join(lines))


def _of_station(journal: SqliteJournal, station: str) -> list[TokenRecord]:
    """Tokens that may be alive; also those that the station handed over, since it keeps their
    secrets sealed.
    """
    stations = token_queries.stations(journal)
    if station not in {*stations.values(), *journal.heads()}:
        known = ", ".join(sorted({*stations.values(), *journal.heads()})) or "none"
        raise JournalError(
            "journal.not-found",
            f"no station {station!r} is on record; there is: {known}",
            hint=(
                "A stolen bench's tokens are on its own record: `infuse journal import` a backup of"
                " it first."
            ),
        )
    return [
        one
        for one in journal.tokens()
        if stations.get(one.intent) == station and one.state in {*LIVE, S.HANDED_OVER}
    ]


def _unknown_pending(session: tools.Session, journal: SqliteJournal) -> list[api.PendingToken]:
    known = {one.token_id for one in journal.tokens()}
    try:
        return [one for one in session.registry.pending_tokens() if one.id not in known]
    except CloudError:
        return []
