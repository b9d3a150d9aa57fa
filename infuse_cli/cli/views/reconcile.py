"""Result of `infuse journal reconcile`, and its progress on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self

from infuse_cli.cli.context import current
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices.reconcile import FINDINGS
from infuse_cli.errors import JournalError
from infuse_cli.text import plural

if TYPE_CHECKING:
    from rich.console import Console

    from infuse_cli.devices.reconcile import Compared, Reconciliation

_PROGRESS_AFTER_S: Final = 1.0
_PROGRESS_EVERY_S: Final = 0.2
_COLUMNS: Final = ("board", "device id", "what", "details")


class Progress:
    """A line on the terminal that counts, once it takes longer than a moment."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty() and current().output == "human"
        self._began = time.monotonic()
        self._shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self, done: int, total: int) -> None:
        """Count."""
        now = time.monotonic()
        if not self._on_terminal:
            return
        if now - self._began < _PROGRESS_AFTER_S or now - self._shown < _PROGRESS_EVERY_S:
            return
        self._shown = now
        left = (total - done) * (now - self._began) / done
        sys.stderr.write(f"\r\x1b[K{done} of {total} boards compared, {left:.0f} s left")
        sys.stderr.flush()


def reconciled(result: Reconciliation) -> OperationResult:
    """`journal reconcile`."""
    rows = result.boards
    wrong = [row for row in rows if row.findings]
    totals = {
        "ok": len(rows) - len(wrong),
        **{name: sum(name in row.findings for row in rows) for name in FINDINGS},
    }
    data = {
        "since": result.since,
        "checked": len(rows),
        "simulated": result.simulated,
        "totals": totals,
        "boards": [_row(row) for row in rows],
    }
    shown = OperationResult(
        "journal reconcile", data, human=lambda console: _show(console, result, wrong)
    )
    if not wrong:
        return shown
    counts = ", ".join(f"{totals[name]} {name}" for name in FINDINGS if totals[name])
    error = JournalError(
        "journal.differs", f"{len(wrong)} of {plural(len(rows), 'board')} that PASSed: {counts}"
    )
    return views.with_error(shown, error, partial=bool(totals["ok"]))


def _row(row: Compared) -> dict[str, Any]:
    passed = row.passed
    return {
        "board": passed.board,
        "mcuId": passed.mcu_id,
        "deviceId": passed.device_id,
        "registryDeviceId": passed.registry_device_id,
        "passed": passed.passed,
        "findings": list(row.findings),
        "details": list(row.details),
        "lastHeard": row.heard,
        "registryStatus": row.status,
    }


def _show(console: Console, result: Reconciliation, wrong: list[Compared]) -> None:
    count = plural(len(result.boards), "board")
    if result.simulated:
        views.say(console, f"{plural(result.simulated, 'simulated board')} left out.")
    if not result.boards:
        views.say(console, "No board PASSed in that time.")
        return
    if not wrong:
        views.say(console, f"{count} that PASSed: all in the cloud as recorded, all heard.")
        return
    cells = [
        [
            row.passed.board,
            row.passed.device_id or "",
            ", ".join(row.findings),
            "; ".join(row.details),
        ]
        for row in wrong
    ]
    views.table(console, _COLUMNS, cells, "")
    views.say(console, f"{len(result.boards) - len(wrong)} of {count} as recorded.")
