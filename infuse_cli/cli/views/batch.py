"""Results of `infuse batch` and of an imported hand-over, as JSON and for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.batch import export as exports
from infuse_cli.batch.compare import words
from infuse_cli.batch.file_status import NOT_BEGUN, STATES, FileStatus
from infuse_cli.batch.handover_export import HandOverFile, TokenFate
from infuse_cli.batch.planning import BatchPlan, KeyState, NamePlan, RowPlan
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views.layout import fields
from infuse_cli.errors import Exit
from infuse_cli.provisioning.resolve import NOT_YET
from infuse_cli.text import plural
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rich.console import Console

    from infuse_cli.batch.handover_import import HandOverImport
    from infuse_cli.batch.handover_take_back import TakenBack
    from infuse_cli.batch.outage import Outage
    from infuse_cli.batch.registration import Registration

EXPORT: Final = "batch export"
_SHOWN: Final = 10
"""Rows of each kind that a person is shown; JSON lists more."""


def tell_outage(outage: Outage) -> None:
    """Tell a person that a batch waits for the cloud; programs get the result alone."""
    if context.current().output != "human":
        return
    shorter = ""
    if outage.connect_s is not None:
        shorter = f" ({outage.connect_s:g} s if it cannot be connected to)"
    sys.stderr.write(
        "The cloud does not answer as it should; it is asked again for up to"
        f" {outage.longest_s:g} s{shorter}.\n"
    )


# plan

_ROW_WORDS: Final = {
    RowPlan.CREATE: "would be created",
    RowPlan.EXISTED: "exist already",
    RowPlan.UPDATE: "exist and would get the file's metadata",
    RowPlan.DIFFERS: "differ and would be left as they are",
}
_ALWAYS_SHOWN: Final = frozenset({RowPlan.CREATE, RowPlan.EXISTED})
_NAME_WORDS: Final = {
    NamePlan.EXISTED: "have their registry device already",
    NamePlan.TAKEN: "have a name that is taken",
}


def planned(plan: BatchPlan) -> OperationResult:
    """The result of `batch plan`."""
    summary, resolved, key = plan.summary, plan.resolved, plan.sealing_key
    data = {
        "file": str(plan.file),
        "sha256": summary.sha256,
        "rows": summary.good,
        "totals": {**{kind.value: plan.rows[kind] for kind in RowPlan}, "bad": summary.bad},
        "organisation": _place(resolved.organisation),
        "board": _place(resolved.board),
        "network": _place(resolved.network),
        "soc": resolved.soc,
        "tokens": {kind.value: plan.names[kind] for kind in NamePlan},
        "sealingKey": None if key is None else {"state": key.state.value, "where": key.where},
        "differs": [
            {
                "line": row.line,
                "mcuId": row.mcu_id,
                "deviceId": row.device_id,
                "differences": [
                    {"field": value.name, "have": value.actual, "want": value.expected}
                    for value in row.differences
                ],
                "message": words(row.differences),
            }
            for row in plan.differing
        ],
        "taken": [
            {
                "line": row.line,
                "mcuId": row.mcu_id,
                "name": row.name,
                "message": (
                    f"a registry device named {row.name!r} exists that was not made for this row"
                ),
            }
            for row in plan.taken
        ],
        "bad": [
            {"line": bad.line, "field": bad.field, "code": bad.code, "message": bad.why}
            for bad in plan.bad
        ],
    }
    failed = plan.blocking is not None or not summary.good
    failure = "error" if failed else "partial"
    return OperationResult(
        "batch plan",
        data,
        status=failure if plan.errors else "ok",  # type: ignore[arg-type]
        errors=[error.as_json() for error in plan.errors],
        exit_code=int(plan.exit),
        human=_show_plan(plan, data),
    )


def _place(thing: Any) -> dict[str, str | None] | None:
    if thing is None:
        return None
    return {"id": None if thing.id == NOT_YET else thing.id, "name": thing.name}


def _show_plan(plan: BatchPlan, data: dict[str, Any]) -> Callable[[Console], None]:
    def show(console: Console) -> None:
        resolved, summary = plan.resolved, plan.summary
        fields(
            console,
            {
                "file": (
                    f"{plan.file}, {plural(summary.lines, 'row')}, SHA-256 {summary.sha256[:16]}…"
                ),
                "organisation": _name_and_id(resolved.organisation),
                "cloud board": f"{_name_and_id(resolved.board)}, {resolved.soc}",
                "network": _name_and_id(resolved.network),
            },
        )
        console.print()
        for count, meaning in _plan_counts(plan):
            console.print(f"{count:>9,}  {meaning}", soft_wrap=True, markup=False)
        differing = plan.rows[RowPlan.DIFFERS] + plan.rows[RowPlan.UPDATE]
        _examples(console, "differ:", data["differs"], differing)
        _examples(console, "names taken:", data["taken"], plan.names[NamePlan.TAKEN])
        _bad_lines(console, data["bad"])
        console.print("\nNothing was written.", soft_wrap=True)

    return show


def _plan_counts(plan: BatchPlan) -> list[tuple[int, str]]:
    lines = [
        (plan.rows[kind], meaning)
        for kind, meaning in _ROW_WORDS.items()
        if plan.rows[kind] or kind in _ALWAYS_SHOWN
    ]
    if plan.summary.bad:
        lines.append((plan.summary.bad, "bad lines"))
    if plan.summary.named:
        sealed, key = "", plan.sealing_key
        if key is not None and key.where is not None:
            future = " (would be made)" if key.state is KeyState.WOULD_BE_MADE else ""
            sealed = f", sealed with the key from {key.where}{future}"
        lines.append((plan.names[NamePlan.MINT], f"registration tokens would be minted{sealed}"))
        lines += [
            (plan.names[kind], meaning) for kind, meaning in _NAME_WORDS.items() if plan.names[kind]
        ]
    return lines


def _examples(console: Console, title: str, rows: list[dict[str, Any]], count: int) -> None:
    if not rows:
        return
    console.print(f"\n{title}", soft_wrap=True)
    for row in rows[:_SHOWN]:
        console.print(
            f"  line {row['line']}, mcuId {row['mcuId']}: {row['message']}",
            soft_wrap=True,
            markup=False,
        )
    if count > _SHOWN:
        console.print(f"  and {count - _SHOWN} more", soft_wrap=True)


def _bad_lines(console: Console, bad_lines: list[dict[str, Any]]) -> None:
    if not bad_lines:
        return
    console.print("\nbad:", soft_wrap=True)
    for bad in bad_lines[:_SHOWN]:
        place = f"line {bad['line']}, {bad['field']}" if bad["field"] else f"line {bad['line']}"
        console.print(f"  {place}: {bad['message']}", soft_wrap=True, markup=False)
    if len(bad_lines) > _SHOWN:
        console.print("  and more: --output json names the first hundred", soft_wrap=True)


def _name_and_id(thing: Any) -> str | None:
    if thing is None:
        return None
    return f"{thing.name} {'(would be created)' if thing.id == NOT_YET else f'({thing.id})'}"


# register


def registered(result: Registration) -> OperationResult:
    """The result of `batch register`, whose events went out before."""
    data = {
        "run": result.run,
        "file": str(result.file),
        "totals": {outcome.value: count for outcome, count in result.totals.items()},
        "report": None if result.report is None else str(result.report),
        "skipped": result.skipped,
        "left": result.left,
    }
    return OperationResult(
        "batch register",
        data,
        status=result.status,  # type: ignore[arg-type]
        errors=[error.as_json() for error in result.errors],
        exit_code=int(result.exit),
        human=_show_totals(data),
        streamed=True,
    )


def _show_totals(data: dict[str, Any]) -> Callable[[Console], None]:
    counts = {**data["totals"], **{name: data[name] for name in ("skipped", "left") if data[name]}}
    written = {} if data["report"] is None else {"report": data["report"]}

    def show(console: Console) -> None:
        if not sys.stdout.isatty():
            lines = [f"{name} {value}" for name, value in {**counts, **written}.items()]
            sys.stdout.write("\n".join(lines) + "\n")
            return
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right")
        for name, count in counts.items():
            good = "bold" if name in {"created", "existed"} else "bold red"
            table.add_row(str(count), name, style=good if count else "dim")
        console.print(table)
        for name, path in written.items():
            console.print(f"{name}: {path}", markup=False, soft_wrap=True)

    return show


# status


def status(result: FileStatus) -> OperationResult:
    """The result of `batch status`."""
    runs = [
        {
            "run": run.start.run,
            "started": run.started,
            "ended": run.ended,
            "alive": run.alive,
            "file": run.start.facts.get("file"),
            "totals": run.totals,
        }
        for run in result.runs
    ]
    errors = [
        {"line": line, "mcuId": record.mcu_id, "state": record.state, **(record.error or {})}
        for line, record in result.failed
    ]
    data = {
        "file": str(result.file),
        "totals": {state: result.totals.get(state, 0) for state in STATES},
        "bad": result.bad,
        "runs": runs,
        "lastErrors": errors,
    }
    return OperationResult("batch status", data, human=_show_status(data))


def _show_status(data: dict[str, Any]) -> Callable[[Console], None]:
    words = {**data["totals"], **({"bad lines": data["bad"]} if data["bad"] else {})}

    def show(console: Console) -> None:  # noqa: ARG001 - written plainly, so that no line is wrapped
        lines = [
            f"{'not begun' if name == NOT_BEGUN else name} {count}"
            for name, count in words.items()
            if count or name in {"created", "existed"}
        ]
        lines += [
            f"run {run['run'][:8]} of {run['started']:%Y-%m-%d %H:%M} UTC{_run_state(run)}"
            for run in data["runs"]
        ]
        lines += [
            f"line {error['line']} mcuId {error['mcuId']} {error['state']}: {error['message']}"
            for error in data["lastErrors"]
        ]
        sys.stdout.write("\n".join(lines) + "\n")

    return show


def _run_state(run: dict[str, Any]) -> str:
    if run["alive"]:
        return " is under way"
    return "" if run["ended"] else " was broken off"


# export


def exported_ids(
    result: exports.IdExport, form: exports.Form, *, for_people: bool
) -> OperationResult:
    """The result of `batch export --format csv|json`; without a file the text is the output."""
    outcomes = dict(result.outcomes)
    if result.out is not None:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
        return OperationResult(
            EXPORT,
            {"rows": result.count, "outcomes": outcomes, "out": result.out},
            human=f"{plural(result.count, 'row')} written to {result.out}: {counted}.",
        )
    if not for_people:
        return OperationResult(EXPORT, {"rows": list(result.rows), "outcomes": outcomes})
    return OperationResult(EXPORT, {}, human=_written("".join(exports.id_lines(result.rows, form))))


def _written(text: str) -> Callable[[Console], None]:
    """Written as it is: the console would fold its lines."""

    def write(_: Console) -> None:
        sys.stdout.write(text)

    return write


def onboarded(result: exports.OnboardExport) -> OperationResult:
    """The result of `batch export --format onboard`."""
    refused = [{"mcuId": row.mcu_id, "line": row.line, "why": row.why} for row in result.refused]
    text = result.text
    if text is None:
        files = ", ".join(str(path) for path in result.files)
        text = f"{plural(result.count, 'row')} written to {files}.\n"
        data = {"rows": result.count, "files": list(result.files), "refused": refused}
    else:
        data = {"rows": result.count, "csv": text, "refused": refused}
    error, code = result.error, Exit.OK
    if error is not None:
        code = Exit.SOME_FAILED if result.count or len(refused) > 1 else error.exit
    failure = "partial" if result.count else "error"
    return OperationResult(
        EXPORT,
        data,
        status="ok" if error is None else failure,  # type: ignore[arg-type]
        errors=[] if error is None else [error.as_json()],
        exit_code=int(code),
        human=_written(text) if result.count else None,
    )


# hand-over

_FATE_WORDS: Final = {
    TokenFate.BEFORE: (
        "without their token, which was handed over before (--again seals it once more)"
    ),
    TokenFate.EXPIRED: (
        "without their token, which has expired (`infuse batch register` mints another)"
    ),
    TokenFate.IN_USE: "without their token, which is in use on this bench",
}
_STATE_WORDS: Final = {
    TokenState.CONSUMED: "a board uses its device",
    TokenState.COMPROMISED: "the registry knows neither it nor its device",
    TokenState.HANDED_OVER: (
        "it was used or revoked elsewhere, and its device was never online: find the board, or"
        " delete the device"
    ),
}
"""What to say of tokens that were not taken back, by the state that they have now."""


def handed_over(result: HandOverFile) -> OperationResult:
    """The result of `batch export --for-bench`."""
    fates, tokens = result.tokens, result.tokens[TokenFate.SEALED]
    data = {
        "out": result.out,
        "handOver": result.id,
        "devices": result.devices,
        "tokens": tokens,
        "firstExpiry": result.first_expiry,
        **{fate.value: fates[fate] for fate in TokenFate if fate is not TokenFate.SEALED},
        "leftOut": result.left_out,
    }
    sealed = f"{plural(result.devices, 'device')} and {plural(tokens, 'registration token')}"
    lines = [f"{sealed} sealed into {result.out}."]
    lines += [f"{fates[fate]} {words}" for fate, words in _FATE_WORDS.items() if fates[fate]]
    if result.left_out:
        lines.append(f"{result.left_out} left out, because they are not registered")
    if tokens:
        lines.append(_expiry(result.first_expiry))
        lines.append(
            "They are not used on this bench any more. At the other one: infuse journal import"
            f" {result.out.name}"
        )
    return OperationResult(EXPORT, data, human="\n".join(lines))


def taken_over(result: HandOverImport) -> OperationResult:
    """The result of `journal import` of a hand-over."""
    data = {
        "handOver": result.hand_over,
        "station": result.station,
        "created": result.created,
        "devices": result.devices,
        "tokens": result.tokens,
        "already": result.known_devices,
        "tokensAlready": result.known_tokens,
        "expired": result.expired,
        "firstExpiry": result.first_expiry,
    }
    sealed = f"sealed at {result.station} on {result.created:%Y-%m-%d %H:%M} UTC"
    fresh = f"{plural(result.devices, 'device')} and {plural(result.tokens, 'registration token')}"
    lines = [f"Nothing new, {sealed}."]
    if result.devices or result.tokens or result.expired:
        lines = [f"{fresh} taken over, {sealed}."]
    if result.known_devices or result.known_tokens:
        known = f"{plural(result.known_devices, 'device')} and"
        known += f" {plural(result.known_tokens, 'token')}"
        lines.append(f"{known} were on record here already.")
    if result.expired == 1:
        lines.append("1 token had expired and was left out.")
    elif result.expired:
        lines.append(f"{result.expired} tokens had expired and were left out.")
    if result.tokens:
        lines.append(_expiry(result.first_expiry))
    return OperationResult("journal import", data, human="\n".join(lines))


def _expiry(first: datetime | None) -> str:
    """When the first of several tokens ends."""
    if first is None:
        return "Their registry gives no time at which they expire."
    return f"The first of them expires {first:%Y-%m-%d %H:%M} UTC."


def taken_back(result: TakenBack) -> OperationResult:
    """The result of `batch export --take-back`."""
    others, left, count = result.other_organisations, result.left, result.revoked
    tokens = [
        {
            "name": token.name,
            "tokenId": token.token_id,
            "registryDeviceId": token.registry_device_id,
            "state": token.state.value,
        }
        for token in result.tokens
    ]
    lines: list[str] = []
    if count:
        lines.append(
            f"{plural(count, 'registration token')} taken back: the hand-over's file is of no use"
            " for them any more."
        )
    if left:
        lines.append(f"{plural(len(left), 'registration token')} not taken back:")
    lines += [
        f"  {token.name}  {_STATE_WORDS[token.state]} ({token.registry_device_id})"
        for token in left
    ]
    if others:
        lines.append(
            f"{others} more of these rows are of another organisation than the profile's: left as"
            " they are."
        )
    if count:
        lines.append("Next: infuse batch register mints others for their rows.")
    return OperationResult(
        EXPORT,
        {"takenBack": count, "tokens": tokens, "otherOrganisations": others},
        status="partial" if left else "ok",
        exit_code=int(Exit.SOME_FAILED if left else Exit.OK),
        human="\n".join(lines),
    )
