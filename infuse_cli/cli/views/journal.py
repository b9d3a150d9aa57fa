"""The journal for people and as JSON: lists, one board's record, summaries, rows."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import JournalError
from infuse_cli.journal.queries import device_ids, facts_of
from infuse_cli.records import BoardRecord
from infuse_cli.serial_tools import manual_changes as by_hand
from infuse_cli.text import plural
from infuse_cli.types import AttemptState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from rich.console import Console

    from infuse_cli.journal.chain import Fault
    from infuse_cli.journal.queries import Summary
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import (
        AttemptRecord,
        CertificateRecord,
        EventRecord,
        RunRecord,
        StepRecord,
        TokenRecord,
    )

_STYLES: Final = {
    "PASS": "green",
    "done": "green",
    "FAIL": "red",
    "failed": "red",
    "conflict": "red",
    "ERROR": "magenta",
    "ABORTED": "yellow",
    "interrupted": "yellow",
    "unknown": "yellow",
    "at work": "cyan",
}
_QUIET: Final = frozenset({"transcript", "failedStep"})  # shown in a place of their own
_DONE: Final = {
    "written by hand": "written",
    "deleted by hand": "deleted",
    "key made by hand": "key made",
    "sent by hand": "sent",
    "typed by hand": "typed",
}
_TAIL: Final = 12
_WIDE: Final = 100
"""Columns from which on a UUID and an IMEI have room beside each other."""
"""What a copy of a journal begins with, sealed and as it is."""
_ABOVE: Final = frozenset(
    {"deviceId", "registryDevice", "profile", "profileHash"}
)  # a person has read these already


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
        "failedStep": _stuck(attempt),
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


def _tail(board: str) -> str:
    return board if len(board) <= _TAIL + 1 else f"…{board[-_TAIL:]}"


def listed(
    console: Console,
    found: Sequence[AttemptRecord],
    imeis: Mapping[str, str | None],
    total: int,
    *,
    only_open: bool,
    hand: Sequence[tuple[str, datetime, str | None]] = (),
) -> None:
    """A line a board; where there is no room, the end of its UUID, by which `journal show` finds it
    too.

    `hand` are boards that no run took and a person changed.
    """
    if not found and not hand:
        console.print(
            "No board is open." if only_open else "Nothing is on record yet.", soft_wrap=True
        )
        return
    narrow = console.width < _WIDE
    rows = [
        (
            _minute(one.opened),
            word(one),
            _tail(one.board) if narrow else one.board,
            imeis.get(one.board) or "",
            _stuck(one) or "",
        )
        for one in found
    ]
    rows = sorted(
        [
            *rows,
            *(
                (_minute(when), "by hand", _tail(board) if narrow else board, imei or "", "")
                for board, when, imei in hand
            ),
        ],
        key=lambda row: row[0],
    )
    columns(console, ("begun", "result", "board", "IMEI", "at"), rows)
    if total > len(found):
        console.print(
            f"and {plural(total - len(found), 'older board')}: --limit 0 shows all.", soft_wrap=True
        )


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
        "byHand": by_hand.changes(events),
        "events": [_event(one) for one in events],
    }


def shown(console: Console, found: dict[str, Any], *, events: bool) -> None:
    """One board's record."""
    board = found["board"]
    fields(
        console,
        {
            "board": board["uuid"],
            "IMEI": board["imei"],
            "mcuId": board["mcuId"],
            "cloud device": found["deviceId"],
            "registry device": found["registryDeviceId"],
            **found["metadata"],
            **_life(found["attempts"]),
        },
    )
    for attempt in found["attempts"]:
        _show_attempt(console, attempt)
    console.print()
    if found["byHand"]:
        columns(
            console,
            ("by hand", "answer", "what"),
            [
                (
                    _minute(row["when"]),
                    row["answer"] or "",
                    " ".join(filter(None, (_DONE.get(row["what"], row["what"]), row["command"]))),
                )
                for row in found["byHand"]
            ],
        )
        console.print()
    if events:
        rows = [
            (
                str(one["seq"]),
                f"{one['ts']:%Y-%m-%d %H:%M:%S}",
                one["kind"],
                " ".join(filter(None, (one["step"], _arrow(one), _noted(one)))),
            )
            for one in found["events"]
        ]
        columns(console, ("event", "when", "what", ""), rows)
    else:
        console.print(
            f"{plural(len(found['events']), 'event')} in the chain: --events shows them.",
            soft_wrap=True,
        )


def summary_json(found: Summary) -> dict[str, Any]:
    """A summary as JSON values; shares are 0 to 1."""
    return {
        "group": found.group,
        "boards": found.boards,
        "totals": {name.lower(): count for name, count in found.outcomes.items()},
        "yield": found.yield_,
        "firstPassYield": found.first_pass_yield,
        "failingSteps": [{"step": name, "boards": count} for name, count in found.steps],
        "errorCodes": [{"code": name, "boards": count} for name, count in found.codes],
    }


def summed(console: Console, found: Sequence[Summary], by: str) -> None:
    """Summaries, one below the other."""
    if not found:
        console.print("No board came to an end yet.", soft_wrap=True)
    for one in found:
        totals = "  ".join(
            f"{one.outcomes.get(name, 0)} {name}" for name in ("PASS", "FAIL", "ERROR", "ABORTED")
        )
        console.print(f"{by} {one.group}", soft_wrap=True)
        console.print(f"  {plural(one.boards, 'board')}: {totals}", soft_wrap=True)
        console.print(
            f"  yield {_percent(one.yield_)}, first pass {_percent(one.first_pass_yield)}",
            soft_wrap=True,
        )
        for title, counts in (("failing steps", one.steps), ("causes", one.codes)):
            if counts:
                console.print(
                    f"  {title}: {', '.join(f'{name} {count}' for name, count in counts)}",
                    soft_wrap=True,
                )


def as_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> str:
    """Rows as CSV (RFC 4180, but with line feeds); metadata that some boards lack is empty there.

    `columns` are there also where there is no row.
    """
    names = list(
        dict.fromkeys(
            (*columns, *(name for row in rows for name in row if not name.startswith("metadata.")))
        )
    )
    names += sorted({name for row in rows for name in row if name.startswith("metadata.")})
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _iso(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a JSON array, a row a line."""
    lines = (
        json.dumps({name: _iso(value) for name, value in row.items()}, ensure_ascii=False)
        for row in rows
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"


def broken(path: Path, faults: Sequence[Fault]) -> JournalError:
    """The error for a chain that does not hold."""
    told = "; ".join(
        f"{one.what or f'event {one.seq} of station {one.station}'}: {one.why}" for one in faults
    )
    what = (
        f"a record was edited behind the chain of {path}"
        if faults[0].what
        else f"the chain of {path} is broken"
    )
    return JournalError(
        "journal.corrupt",
        f"{what}: {told}",
        details={
            "faults": [
                {"station": one.station, "seq": one.seq, "row": one.what or None, "why": one.why}
                for one in faults
            ]
        },
    )


def _attempt(
    one: AttemptRecord,
    run: RunRecord,
    certificates: Sequence[CertificateRecord],
    tokens: Sequence[TokenRecord],
) -> dict[str, Any]:
    start = run.start
    return {
        **brief(one),
        "error": one.error,
        "station": run.station,
        "operator": start.operator,
        "lot": start.lot,
        "toolVersion": run.tool_version,
        "command": start.command,
        "profile": start.profile_name,
        "profileHash": start.profile_hash,
        "simulated": start.simulated,
        "soc": one.soc,
        "plan": list(one.plan),
        "steps": [_step(step) for step in _in_order(one)],
        "facts": {key: value for key, value in one.facts.items() if key not in _QUIET},
        "certificates": [_certificate(row) for row in certificates if row.attempt == one.attempt],
        "tokens": [_token(row) for row in tokens if row.attempt == one.attempt],
        "transcript": None if one.outcome == "PASS" else one.facts.get("transcript"),
        "word": word(one),
    }


def _in_order(one: AttemptRecord) -> list[StepRecord]:
    place = {name: index for index, name in enumerate(one.plan)}
    return sorted(one.steps.values(), key=lambda step: place.get(step.step, len(place)))


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


def _event(one: EventRecord) -> dict[str, Any]:
    return {
        "seq": one.seq,
        "ts": one.ts,
        "kind": one.kind,
        "station": one.station,
        "operator": one.operator,
        "run": one.run,
        "attempt": one.attempt,
        "step": one.step,
        "from": one.from_state,
        "to": one.to_state,
        "facts": one.facts,
        "hash": one.hash,
    }


def _life(attempts: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What became of the board: retired or replaced, and what it took the place of."""
    facts = attempts[-1]["facts"] if attempts else {}
    ended, before = facts.get("retirement") or {}, facts.get("replaces") or {}
    told: dict[str, str] = {}
    if ended.get("state") in {"begun", "done"}:
        by = f", replaced by {ended['replacedBy']}" if ended.get("replacedBy") else ""
        told["retired"] = (
            f"{str(ended.get('begun'))[:10]}:"
            f" {ended.get('reason')}{by}{'' if ended['state'] == 'done' else ' (not finished)'}"
        )
    if before:
        told["replaces"] = before["deviceId"]
    return told


def _show_attempt(console: Console, one: dict[str, Any]) -> None:
    console.print()
    error = one["error"] or {}
    lot = f", lot {one['lot']}" if one["lot"] else ""
    fields(
        console,
        {
            "attempt": one["attempt"],
            "result": one["word"],
            "run": f"{one['run']} ({one['command']}, infuse {one['toolVersion']})",
            "profile": f"{one['profile']} {one['profileHash'][:12]}",
            "who": f"{one['operator']} at {one['station']}{lot}",
            "where": f"slot {one['slot']}, {one['port']}",
            "when": f"{_minute(one['opened'])} UTC{_until(one)}",
            "failed at": one["failedStep"],
            "cause": f"{error.get('code')}: {error.get('message')}" if error else None,
            **{
                key: value
                for key, value in one["facts"].items()
                if isinstance(value, str | int) and key not in _ABOVE
            },
        },
    )
    columns(
        console,
        ("step", "state", "ms", "tries", "at"),
        [
            (
                step["step"],
                step["state"],
                "" if step["ms"] is None else f"{step['ms']:.0f}",
                str(step["tries"]),
                _second(step["at"]),
            )
            for step in one["steps"]
        ],
    )
    for row in one["certificates"]:
        console.print(
            f"certificate {row['serial']} ({row['state']}), until {row['notAfter']:%Y-%m-%d}",
            soft_wrap=True,
            markup=False,
        )
        console.print(f"  SHA-256 {row['sha256']}", soft_wrap=True, markup=False)
    for row in one["tokens"]:
        console.print(f"token {row['name']} ({row['state']})", soft_wrap=True, markup=False)
    if one["transcript"]:
        console.print("transcript:", soft_wrap=True)
        console.print(one["transcript"].rstrip(), soft_wrap=True, markup=False)


def fields(console: Console, values: dict[str, Any]) -> None:
    """A name and its value a line; what is None is left out."""
    for name, value in values.items():
        if value is not None:
            console.print(
                f"{name:<16} {value}", soft_wrap=True, markup=False, style=_STYLES.get(str(value))
            )


def columns(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Left-aligned columns as wide as they need to be; never cut, so that a pipe gets whole
    values.
    """
    if not rows:
        return
    from rich.text import Text

    widths = [max(len(row[index]) for row in (titles, *rows)) for index in range(len(titles))]
    for row in (titles, *rows):
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append(cell.ljust(width), style="bold" if row is titles else _STYLES.get(cell, ""))
            line.append("  ")
        line.rstrip()
        console.print(line, soft_wrap=True)


def _stuck(attempt: AttemptRecord) -> str | None:
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


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _second(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%H:%M:%S}"


def _until(one: dict[str, Any]) -> str:
    return f" to {_minute(one['ended'])}" if one["ended"] else ""


def _arrow(event: dict[str, Any]) -> str:
    return f"{event['from'] or ''} -> {event['to']}".strip() if event["to"] else ""


def _noted(event: dict[str, Any]) -> str:
    """What a note of a run says: what was done, and for a command that was sent by hand the command
    and its answer.
    """
    told, facts = event["facts"].get("what"), event["facts"].get("facts") or {}
    return (
        " ".join(str(part) for part in (told, facts.get("command"), facts.get("answer")) if part)
        if event["kind"] == "run-noted"
        else ""
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _iso(value: Any) -> Any:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if hasattr(value, "strftime") else value


def clock_reconciled(newest: datetime | None) -> OperationResult:
    """What `infuse journal reconcile --clock` set aside: `newest` is the time that no longer
    counts.
    """
    if newest is None:
        text = "No record is of a later time than this machine's clock: nothing was changed."
    else:
        text = (
            f"The newest record's time, {newest:%Y-%m-%d %H:%M:%S} UTC, was set aside: this"
            " machine's clock counts from here on."
        )
    return OperationResult("journal reconcile", {"setAside": newest}, human=text)
