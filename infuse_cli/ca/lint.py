"""`infuse ca lint`: a certificate explained beside its profile."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from infuse_cli.ca import common as ca_common
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import SignerError
from infuse_cli.pki.certificate_profile_files import resolve
from infuse_cli.pki.profile_check import points
from infuse_cli.pki.reading import read_certificates

if TYPE_CHECKING:
    from pathlib import Path


def lint(file: Path, named: str | None) -> OperationResult:
    """Every point with what was found; one that is not as the profile wants it ends with exit code
    9.
    """
    profile = resolve(named or ca_common.identity().certificate, context.current().home)
    found = points(read_certificates(file)[0], profile)
    wrong = [point for point in found if not point.ok]
    width = max(len(point.what) for point in found)
    lines = [
        f"{'ok ' if point.ok else 'BAD'}  {point.what:<{width}}  {point.found}"
        + ("" if point.ok else f"\n     {'':<{width}}  wanted: {point.wanted}")
        for point in found
    ]
    verdict = (
        f"{file}: as certificate profile {profile.name!r} wants it"
        if not wrong
        else (
            f"{file}: {len(wrong)} of {len(found)} points are not what certificate profile"
            f" {profile.name!r} wants"
        )
    )
    errors = (
        []
        if not wrong
        else [
            SignerError(
                "ca.verify-failed",
                f"{', '.join(point.what for point in wrong)} of {file} are not what certificate"
                f" profile {profile.name!r} wants",
                hint=(
                    "Where it was made under another one, --certificate names that; else the lines"
                    " above say what is wrong."
                ),
            ).as_json()
        ]
    )
    return OperationResult(
        "ca lint",
        {
            "file": str(file.absolute()),
            "profile": profile.name,
            "points": [asdict(point) for point in found],
        },
        status="error" if wrong else "ok",
        errors=errors,
        exit_code=9 if wrong else 0,
        human="\n".join([*lines, verdict]),
    )
