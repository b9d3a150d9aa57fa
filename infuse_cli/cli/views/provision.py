"""What `infuse provision` and `infuse resume` end with: the envelope's data and the text."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views.simulated import without_resume
from infuse_cli.errors import BoardError, Exit, InfuseError, Interrupted
from infuse_cli.line import unfinished_json
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.provisioning.mirror import MirrorReport
    from infuse_cli.provisioning.results import BoardResult, ResumeResult, RunResult


@dataclass(frozen=True, slots=True)
class Shown:
    """How a run was shown: whether its boards' errors are on the screen already, and whether its
    boards were simulated.
    """

    errors: bool = False
    simulated: bool = False


def provisioned(command: str, result: RunResult, shown: Shown) -> OperationResult:
    """The result of one run."""
    _show_details(result.boards)
    errors, told = _errors(result, shown)
    data: dict[str, Any] = {
        "run": result.run,
        "boards": [board.as_json() for board in result.boards],
        "totals": result.totals,
    }
    if result.dry_run:
        data["dryRun"] = True
    if result.mirror is not None:
        data["mirror"] = _mirrored(result.mirror)
    if shown.simulated:
        data, errors = without_resume(data), without_resume(errors)
    return OperationResult(
        command,
        data,
        status=result.status,  # type: ignore[arg-type]
        errors=errors,
        exit_code=int(result.exit),
        human=_results(data["boards"], data["totals"]),
        streamed=True,
        told=told,
    )


def resumed(result: ResumeResult, shown: Shown) -> OperationResult:
    """The result of `infuse resume`: all its runs as one."""
    if not result.runs:
        text = "Nothing to go on with."
        if result.closed:
            boards = plural(result.closed, "simulated board")
            text = f"Nothing to go on with; {boards} closed: their world is gone."
        empty: dict[str, Any] = {"run": None, "boards": [], "totals": {}, "absent": []}
        return OperationResult("resume", {**empty, "closed": result.closed}, human=text)
    outcomes = [provisioned("resume", run, shown) for run in result.runs]
    found = [board for outcome in outcomes for board in outcome.data["boards"] if board["board"]]
    absent = [unfinished_json(record) for record in result.absent]
    sums: dict[str, int] = {}
    for run in result.runs:
        for name, count in run.totals.items():
            sums[name] = sums.get(name, 0) + count
    codes = [outcome.exit_code for outcome in outcomes if outcome.exit_code]
    errors = _distinct([error for outcome in outcomes for error in outcome.errors])
    interrupted = int(Exit.INTERRUPTED) in codes
    if absent and not interrupted:  # a run that was stopped has not looked everywhere
        listed = ", ".join(board["board"] for board in absent)
        message = f"{len(absent)} unfinished boards are on no port: {listed}"
        errors.append(BoardError("serial.none", message).as_json())
        codes.append(int(Exit.SOME_FAILED if found else Exit.BOARD))
    status = "ok"
    if codes:
        status = "partial" if sums.get("pass", 0) else "error"
    return OperationResult(
        "resume",
        {"run": result.runs[0].run, "boards": found, "totals": sums, "absent": absent},
        status=status,  # type: ignore[arg-type]
        errors=errors,
        exit_code=_resume_code(codes, len(found), interrupted=interrupted),
        human=_results(found, sums),
        streamed=True,
        told=outcomes[0].told if len(outcomes) == 1 else 0,
    )


def _resume_code(codes: Sequence[int], boards: int, *, interrupted: bool) -> int:
    if interrupted:
        return int(Exit.INTERRUPTED)
    if not codes:
        return int(Exit.OK)
    return codes[0] if boards <= 1 else int(Exit.SOME_FAILED)


def _errors(result: RunResult, shown: Shown) -> tuple[list[dict[str, Any]], int]:
    """Error objects of a run, and how many of the first are on the screen already."""
    errors = _distinct([board.error.as_json() for board in result.boards if board.error])
    told = len(errors) if shown.errors else 0
    if result.paused:
        message = "five equal errors in a row: no further board was begun"
        errors.append(InfuseError("run.paused", message).as_json())
    codes = {error["code"] for error in errors}
    if result.interrupted and "run.interrupted" not in codes:
        errors.append(Interrupted().as_json())
    if result.trouble is not None and result.trouble.code not in codes:
        errors.append(result.trouble.as_json())
    return errors, told


def _mirrored(report: MirrorReport) -> dict[str, Any]:
    """The mirror in the envelope; a line for each board whose record is not there goes to
    stderr.
    """
    for board, why in report.failed.items():
        sys.stderr.write(
            f"warning: the record of board {board} was not copied to {report.folder}: {why}; the"
            " journal has it\n"
        )
    return {
        "folder": str(report.folder),
        "written": report.written,
        "failed": dict(report.failed),
    }


def _show_details(boards: Sequence[BoardResult]) -> None:
    """-vv shows what a person at the bench never sees."""
    if context.current().verbose < 2:
        return
    for board in boards:
        details = {} if board.error is None else board.error.details
        for key, value in details.items():
            sys.stderr.write(f"slot {board.slot} {key}: {value}\n")


def _distinct(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(error["code"], error["message"]): error for error in errors}.values())


_CHOICES: Final = {
    "begin": "begin",
    "begin-anew": "begin anew, with a new identity",
    "continue": "go on",
    "recheck": "PASS already, and be proved again",
}


def _would_do(board: Mapping[str, Any]) -> str:
    """What a run would do with a board that a dry run looked at."""
    if "decision" not in board:
        return ""
    return f": would {_CHOICES[board['decision']]} ({', '.join(board['steps'])})"


def _results(boards: list[dict[str, Any]], sums: Mapping[str, int]) -> Callable[[Any], None]:
    """Show the results on a stdout that is no terminal; on a terminal they stand there already, as
    they happened.
    """
    lines = [
        "slot {} {} board {} device {}{}".format(
            board["slot"],
            board["result"] or "looked at",
            (board["board"] or {}).get("uuid") or "?",
            board["deviceId"] or "-",
            _would_do(board),
        )
        for board in boards
    ]
    lines.append(" ".join(f"{name} {count}" for name, count in sums.items()))

    def show(console: Any) -> None:  # noqa: ARG001 - written plainly, so that no line is wrapped
        if not sys.stdout.isatty():
            sys.stdout.write("\n".join(lines) + "\n")

    return show
