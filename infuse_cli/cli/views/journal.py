"""The journal for people and as JSON: lists, one board's record, summaries, rows."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views.layout import columns, fields
from infuse_cli.journal.board_json import brief, stuck_step, word
from infuse_cli.records.notes import NoteKind, kind_of
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from rich.console import Console

    from infuse_cli.journal.queries import Summary
    from infuse_cli.records import (
        AttemptRecord,
    )

_DONE: Final = {
    NoteKind.CREDENTIAL_WRITTEN: "written",
    NoteKind.CREDENTIAL_DELETED: "deleted",
    NoteKind.KEY_MADE: "key made",
    NoteKind.COMMAND_SENT: "sent",
    NoteKind.LINE_TYPED: "typed",
    NoteKind.DEVICE_ID_WRITTEN: "device id written",
}
_TAIL: Final = 12
_WIDE: Final = 100
"""Columns from which on a UUID and an IMEI have room beside each other."""
_ABOVE: Final = frozenset(
    {"deviceId", "registryDevice", "profile", "profileHash"}
)  # a person has read these already


def boards_listed(
    found: Sequence[AttemptRecord],
    imeis: Mapping[str, str | None],
    manual: Sequence[tuple[str, datetime, str | None]],
    *,
    only_open: bool,
    limit: int,
) -> OperationResult:
    """The newest `limit` boards (0: all), each with its newest attempt.

    `manual` are boards that no run took and a person changed.
    """
    newest = found[-limit:] if limit else found
    data = {
        "boards": [{**brief(attempt), "imei": imeis.get(attempt.board)} for attempt in newest],
        "total": len(found),
        "byHand": [{"board": uuid, "imei": imei, "begun": when} for uuid, when, imei in manual],
    }
    return OperationResult(
        "journal list",
        data,
        human=lambda console: _print_boards(
            console, newest, imeis, len(found), only_open=only_open, hand=manual
        ),
    )


def board_shown(record: dict[str, Any], *, events: bool) -> OperationResult:
    """Everything that the journal holds of one board."""
    return OperationResult(
        "journal show", record, human=lambda console: _print_board(console, record, events=events)
    )


def boards_summed(found: Sequence[Summary], by: str) -> OperationResult:
    """Totals and yields of each group."""
    return OperationResult(
        "journal summary",
        {"by": by, "groups": [_summary_json(summary) for summary in found]},
        human=lambda console: _print_summaries(console, found, by),
    )


def rows_printed(rows: Sequence[dict[str, Any]], text: str) -> OperationResult:
    """Rows that go to standard output."""
    return OperationResult("journal export", {"rows": rows}, human=text)


def rows_written(count: int, out: str) -> OperationResult:
    """Rows that went into a file."""
    return OperationResult(
        "journal export",
        {"rows": count, "out": out},
        human=f"{plural(count, 'board')} written to {out}",
    )


def attempt_closed(before: AttemptRecord, reason: str) -> OperationResult:
    """An open attempt that was ended for good."""
    data = {
        "board": before.board,
        "attempt": before.attempt,
        "reason": reason,
        "before": brief(before),
    }
    text = f"Board {before.board} is closed: {reason}. What was done to it stays on record."
    return OperationResult("journal close", data, human=text)


def _tail(board: str) -> str:
    return board if len(board) <= _TAIL + 1 else f"…{board[-_TAIL:]}"


def _print_boards(
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
            _minute(attempt.opened),
            word(attempt),
            _tail(attempt.board) if narrow else attempt.board,
            imeis.get(attempt.board) or "",
            stuck_step(attempt) or "",
        )
        for attempt in found
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


def _print_board(console: Console, found: dict[str, Any], *, events: bool) -> None:
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
                    " ".join(filter(None, (_DONE[row["what"]], row["command"]))),
                )
                for row in found["byHand"]
            ],
        )
        console.print()
    if events:
        rows = [
            (
                str(event["seq"]),
                f"{event['ts']:%Y-%m-%d %H:%M:%S}",
                event["kind"],
                " ".join(filter(None, (event["step"], _arrow(event), _noted(event)))),
            )
            for event in found["events"]
        ]
        columns(console, ("event", "when", "what", ""), rows)
    else:
        console.print(
            f"{plural(len(found['events']), 'event')} in the chain: --events shows them.",
            soft_wrap=True,
        )


def _summary_json(found: Summary) -> dict[str, Any]:
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


def _print_summaries(console: Console, found: Sequence[Summary], by: str) -> None:
    """Summaries, one below the other."""
    if not found:
        console.print("No board came to an end yet.", soft_wrap=True)
    for summary in found:
        totals = "  ".join(
            f"{summary.outcomes.get(name, 0)} {name}"
            for name in ("PASS", "FAIL", "ERROR", "ABORTED")
        )
        console.print(f"{by} {summary.group}", soft_wrap=True)
        console.print(f"  {plural(summary.boards, 'board')}: {totals}", soft_wrap=True)
        console.print(
            f"  yield {_percent(summary.yield_)}, first pass {_percent(summary.first_pass_yield)}",
            soft_wrap=True,
        )
        for title, counts in (("failing steps", summary.steps), ("causes", summary.codes)):
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


def _show_attempt(console: Console, attempt: dict[str, Any]) -> None:
    console.print()
    error = attempt["error"] or {}
    lot = f", lot {attempt['lot']}" if attempt["lot"] else ""
    fields(
        console,
        {
            "attempt": attempt["attempt"],
            "result": attempt["word"],
            "run": f"{attempt['run']} ({attempt['command']}, infuse {attempt['toolVersion']})",
            "profile": f"{attempt['profile']} {attempt['profileHash'][:12]}",
            "who": f"{attempt['operator']} at {attempt['station']}{lot}",
            "where": f"slot {attempt['slot']}, {attempt['port']}",
            "when": f"{_minute(attempt['opened'])} UTC{_until(attempt)}",
            "failed at": attempt["failedStep"],
            "cause": f"{error.get('code')}: {error.get('message')}" if error else None,
            **{
                key: value
                for key, value in attempt["facts"].items()
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
            for step in attempt["steps"]
        ],
    )
    for row in attempt["certificates"]:
        console.print(
            f"certificate {row['serial']} ({row['state']}), until {row['notAfter']:%Y-%m-%d}",
            soft_wrap=True,
            markup=False,
        )
        console.print(f"  SHA-256 {row['sha256']}", soft_wrap=True, markup=False)
    for row in attempt["tokens"]:
        console.print(f"token {row['name']} ({row['state']})", soft_wrap=True, markup=False)
    if attempt["transcript"]:
        console.print("transcript:", soft_wrap=True)
        console.print(attempt["transcript"].rstrip(), soft_wrap=True, markup=False)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _second(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%H:%M:%S}"


def _until(attempt: dict[str, Any]) -> str:
    return f" to {_minute(attempt['ended'])}" if attempt["ended"] else ""


def _arrow(event: dict[str, Any]) -> str:
    return f"{event['from'] or ''} -> {event['to']}".strip() if event["to"] else ""


def _noted(event: dict[str, Any]) -> str:
    """What a note of a run says: what was done, and the command and its answer where there is
    one.
    """
    if event["kind"] != "run-noted":
        return ""
    text, facts = event["facts"].get("what"), event["facts"].get("facts") or {}
    kind = kind_of(text)
    label = text if kind is None else kind.value.replace("-", " ")
    return " ".join(
        str(part) for part in (label, facts.get("command"), facts.get("answer")) if part
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
