"""What `infuse doctor` shows: a line a check, with what to do."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.maintenance.doctor import totals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from infuse_cli.maintenance.doctor import Finding
    from infuse_cli.maintenance.look_over import Report

_STYLES: Final = {"PASS": "green", "WARN": "yellow", "FAIL": "red"}


def looked_over(report: Report) -> OperationResult:
    """All findings; the exit code is that of the first FAIL."""
    bundle = report.bundle
    data: dict[str, Any] = {
        "checks": [finding.as_json() for finding in report.findings],
        "totals": totals(report.findings),
        "bundle": None,
    }
    if bundle is not None:
        data["bundle"] = {"file": str(bundle.file.absolute()), "parts": list(bundle.parts)}
    errors = [finding.error for finding in report.findings if finding.error is not None]
    return OperationResult(
        "doctor",
        data,
        status="error" if errors else "ok",
        errors=[error.as_json() for error in errors],
        exit_code=int(errors[0].exit) if errors else 0,
        told=len(errors),
        human=lambda console: _print(console, report),
    )


def _print(console: Console, report: Report) -> None:
    width = max(len(finding.name) for finding in report.findings)
    for finding in report.findings:
        console.print(f"[{_STYLES[finding.state]}]{finding.state}[/]  ", end="")
        first, *more = _folded(console, " ".join(finding.message.split()), width + 8)
        console.print(f"{finding.name:<{width}}  {first}", soft_wrap=True, markup=False)
        for line in (*more, *_fix_lines(console, finding, width + 11)):
            console.print(f"{'':{width + 8}}{line}", soft_wrap=True, markup=False)
    counts = ", ".join(
        f"{count} {state.upper()}" for state, count in totals(report.findings).items()
    )
    console.print(counts, soft_wrap=True)
    if report.bundle is not None:
        console.print(
            f"Packed into {report.bundle.file.absolute()}: look through it before you send it.",
            soft_wrap=True,
            markup=False,
        )


def _fix_lines(console: Console, finding: Finding, indent: int) -> Iterator[str]:
    arrow = "-> "
    for line in (finding.fix or "").splitlines():
        for piece in _folded(console, line, indent):
            yield f"{arrow}{piece}"
            arrow = "   "


def _folded(console: Console, text: str, indent: int) -> list[str]:
    """Lines that fit beside the names on a terminal; what is piped stays whole, and so does what
    may have to be copied.
    """
    if not console.is_terminal or "==" in text:
        return [text]
    return textwrap.wrap(
        text, max(20, console.width - indent), break_long_words=False, break_on_hyphens=False
    ) or [""]
