"""A board's record as JSON values: for `infuse journal show`, lists and the mirror's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.errors import JournalError
from infuse_cli.journal import manual_changes
from infuse_cli.journal.queries import device_ids, facts_of
from infuse_cli.records import BoardRecord
from infuse_cli.types import AttemptState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import (
        AttemptRecord,
        CertificateRecord,
        EventRecord,
        RunRecord,
        StepRecord,
        TokenRecord,
    )

_QUIET: Final = frozenset({"transcript", "failedStep"})  # shown in a place of their own


def word(attempt: AttemptRecord) -> str:
    """How an attempt stands, in one word or two."""
    match attempt.state:
        case AttemptState.RUNNING:
            return "at work" if attempt.alive else "interrupted"
        case AttemptState.CLOSED | AttemptState.SUPERSEDED:
            return str(attempt.state.value)
        case AttemptState.PASSED | AttemptState.FAILED | AttemptState.PARKED:
            return attempt.outcome or str(attempt.state.value)


def brief(attempt: AttemptRecord) -> dict[str, Any]:
    """An attempt in a list."""
    cloud, registry = device_ids(facts_of(attempt))
    return {
        "board": attempt.board,
        "result": attempt.outcome,
        "state": attempt.state.value,
        "open": attempt.state.is_open,
        "alive": attempt.alive,
        "failedStep": stuck_step(attempt),
        "errorCode": (attempt.error or {}).get("code"),
        "deviceId": cloud,
        "registryDeviceId": registry,
        "attempt": attempt.attempt,
        "run": attempt.run,
        "slot": attempt.slot,
        "port": attempt.port,
        "opened": attempt.opened,
        "ended": attempt.ended,
    }


def record(journal: SqliteJournal, uuid: str) -> dict[str, Any]:
    """Everything on record about a board."""
    events = journal.events(board=uuid)
    board = journal.board(uuid) or (BoardRecord(board=uuid) if events else None)
    if board is None:
        raise JournalError("journal.not-found", f"no board {uuid} is on record")
    attempts, certificates, tokens = (
        journal.attempts(uuid),
        journal.certificates(board=uuid),
        journal.tokens(board=uuid),
    )
    newest = facts_of(attempts[-1]) if attempts else {}
    cloud, registry = device_ids(newest)
    return {
        "board": {"uuid": uuid, "imei": board.imei, "mcuId": board.mcu_id},
        "deviceId": cloud,
        "registryDeviceId": registry,
        "metadata": newest.get("metadata") or {},
        "attempts": [_attempt(one, journal.run(one.run), certificates, tokens) for one in attempts],
        "byHand": [change.as_json() for change in manual_changes.changes(events)],
        "events": [_event(one) for one in events],
    }


def _attempt(
    attempt: AttemptRecord,
    run: RunRecord,
    certificates: Sequence[CertificateRecord],
    tokens: Sequence[TokenRecord],
) -> dict[str, Any]:
    start = run.start
    return {
        **brief(attempt),
        "error": attempt.error,
        "station": run.station,
        "operator": start.operator,
        "lot": start.lot,
        "toolVersion": run.tool_version,
        "command": start.command,
        "profile": start.profile_name,
        "profileHash": start.profile_hash,
        "simulated": start.simulated,
        "soc": attempt.soc,
        "plan": list(attempt.plan),
        "steps": [_step(step) for step in _in_order(attempt)],
        "facts": {key: value for key, value in attempt.facts.items() if key not in _QUIET},
        "certificates": [
            _certificate(row) for row in certificates if row.attempt == attempt.attempt
        ],
        "tokens": [_token(row) for row in tokens if row.attempt == attempt.attempt],
        "transcript": None if attempt.outcome == "PASS" else attempt.facts.get("transcript"),
        "word": word(attempt),
    }


def _in_order(attempt: AttemptRecord) -> list[StepRecord]:
    place = {name: index for index, name in enumerate(attempt.plan)}
    return sorted(attempt.steps.values(), key=lambda step: place.get(step.step, len(place)))


def _step(step: StepRecord) -> dict[str, Any]:
    return {
        "step": step.step,
        "state": step.state.value,
        "ms": step.ms,
        "at": step.at,
        "tries": step.tries,
        "error": step.error,
        "facts": step.facts,
    }


def _certificate(row: CertificateRecord) -> dict[str, Any]:
    return {
        "serial": row.serial,
        "issuer": row.issuer,
        "sha256": row.sha256,
        "state": row.state,
        "profile": row.profile,
        "notBefore": row.not_before,
        "notAfter": row.not_after,
        "deviceId": row.device_id,
        "pem": row.pem,
    }


def _token(row: TokenRecord) -> dict[str, Any]:
    return {
        "intent": row.intent,
        "name": row.name,
        "state": row.state.value,
        "tokenId": row.token_id,
        "registryDeviceId": row.registry_device_id,
        "sha256": row.sha256,
        "expiresAt": row.expires_at,
    }


def _event(event: EventRecord) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "ts": event.ts,
        "kind": event.kind,
        "station": event.station,
        "operator": event.operator,
        "run": event.run,
        "attempt": event.attempt,
        "step": event.step,
        "from": event.from_state,
        "to": event.to_state,
        "facts": event.facts,
        "hash": event.hash,
    }


def stuck_step(attempt: AttemptRecord) -> str | None:
    """The step that an attempt failed at, or, interrupted, was last seen at."""
    if attempt.outcome == "PASS":
        return None
    if attempt.state is AttemptState.RUNNING:
        newest = max(
            attempt.steps.values(), key=lambda step: step.at or attempt.opened, default=None
        )
        return newest.step if newest else None
    failed: str | None = attempt.facts.get("failedStep")
    return failed
