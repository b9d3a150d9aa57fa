"""The checks of `infuse doctor` in their order, and how their findings are shown."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.maintenance import doctor_bench, doctor_checks
from infuse_cli.maintenance.doctor import Finding, Subject, examine, totals
from infuse_cli.maintenance.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from infuse_cli.maintenance.doctor import Check

CHECKS: Final[tuple[Check, ...]] = (
    ("infuse", doctor_checks.tool),
    ("profile", doctor_checks.profile),
    ("cloud", doctor_checks.cloud),
    ("journal", doctor_checks.journal),
    ("CA", doctor_checks.ca),
    ("ports", doctor_bench.ports),
    ("groups", doctor_bench.groups),
    ("ModemManager", doctor_bench.modem_manager),
    ("J-Link", doctor_bench.jlink),
    ("nrfutil", doctor_bench.nrfutil),
)
_STYLES: Final = {"PASS": "green", "WARN": "yellow", "FAIL": "red"}


def report(bundle: Path | None, passphrase_file: Path | None) -> OperationResult:
    """Look at everything, pack it where that is asked for.

    Raises UsageError for a bundle that cannot be written.
    """
    settings = context.current()
    subject = Subject(settings.home, settings.env, Machine(), settings.profile, passphrase_file)
    findings = examine(subject, CHECKS)
    data: dict[str, Any] = {
        "checks": [one.as_json() for one in findings],
        "totals": totals(findings),
        "bundle": None,
    }
    if bundle is not None:
        from infuse_cli.maintenance.support_bundle import make

        data["bundle"] = {"file": str(bundle.absolute()), "parts": make(bundle, subject, findings)}
    errors = [one.error for one in findings if one.error is not None]
    return OperationResult(
        "doctor",
        data,
        status="error" if errors else "ok",
        errors=[one.as_json() for one in errors],
        exit_code=int(errors[0].exit) if errors else 0,
        told=len(errors),
        human=lambda console: _shown(console, findings, data),
    )


def _shown(console: Console, findings: Sequence[Finding], data: dict[str, Any]) -> None:
    width = max(len(one.name) for one in findings)
    for one in findings:
        console.print(f"[{_STYLES[one.state]}]{one.state}[/]  ", end="")
        first, *more = _folded(console, " ".join(one.message.split()), width + 8)
        console.print(f"{one.name:<{width}}  {first}", soft_wrap=True, markup=False)
        fix = [
            piece
            for line in (one.fix or "").splitlines()
            for piece in _folded(console, line, width + 11)
        ]
        for line in (
            *more,
            *(f"{'-> ' if number == 0 else '   '}{piece}" for number, piece in enumerate(fix)),
        ):
            console.print(f"{'':{width + 8}}{line}", soft_wrap=True, markup=False)
    counts = data["totals"]
    console.print(
        f"{counts['pass']} PASS, {counts['warn']} WARN, {counts['fail']} FAIL", soft_wrap=True
    )
    if data["bundle"] is not None:
        console.print(
            f"Packed into {data['bundle']['file']}: look through it before you send it.",
            soft_wrap=True,
            markup=False,
        )


def _folded(console: Console, text: str, indent: int) -> list[str]:
    """Lines that fit beside the names on a terminal; what is piped stays whole, and so does what
    may have to be copied.
    """
    if not console.is_terminal or "==" in text:
        return [text]
    return textwrap.wrap(
        text, max(20, console.width - indent), break_long_words=False, break_on_hyphens=False
    ) or [""]
