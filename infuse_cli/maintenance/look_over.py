"""Looking a bench over: every check of `infuse doctor` in its order, and the bundle for support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.maintenance import doctor_bench, doctor_checks, doctor_files
from infuse_cli.maintenance.doctor import Finding, Subject, examine
from infuse_cli.maintenance.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.maintenance.doctor import Check
    from infuse_cli.settings import Settings

CHECKS: Final[tuple[Check, ...]] = (
    ("infuse", doctor_checks.tool),
    ("profile", doctor_checks.profile),
    ("bench", doctor_files.bench),
    ("cloud", doctor_checks.cloud),
    ("journal", doctor_checks.journal),
    ("permissions", doctor_files.permissions),
    ("CA", doctor_checks.ca),
    ("ports", doctor_bench.ports),
    ("groups", doctor_bench.groups),
    ("ModemManager", doctor_bench.modem_manager),
    ("J-Link", doctor_bench.jlink),
    ("nrfutil", doctor_bench.nrfutil),
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A file for support that was written; `parts` are the names in it."""

    file: Path
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, check by check, and the bundle where one was wanted."""

    findings: tuple[Finding, ...]
    bundle: Bundle | None = None


def look_over(
    settings: Settings, *, bundle: Path | None = None, passphrase_file: Path | None = None
) -> Report:
    """Run all checks; nothing is changed, and nothing is asked.

    `passphrase_file` is tried on the CA's key. Raises UsageError for a bundle that cannot be
    written.
    """
    subject = Subject(settings.home, settings.env, Machine(), settings.profile, passphrase_file)
    findings = tuple(examine(subject, CHECKS))
    if bundle is None:
        return Report(findings)
    from infuse_cli.maintenance.support_bundle import make

    return Report(findings, Bundle(bundle, tuple(make(bundle, subject, findings))))
