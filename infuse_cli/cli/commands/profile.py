"""`infuse profile`: product profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from infuse_cli.config.source import Finding, Reading

app = typer.Typer(help="Product profiles: list, show, check, new.", no_args_is_help=True)


def _names(incomplete: str) -> list[str]:
    """Completions of a profile's name."""
    from infuse_cli.cli._complete import profile_names

    return [name for name in profile_names() if name.startswith(incomplete)]


_Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME|PATH]",
        help="The profile; default: --profile.",
        show_default=False,
        autocompletion=_names,
    ),
]


@app.command("list")
def list_profiles() -> None:
    """List the profiles that have a name: yours and the built-in ones."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.cli.views.profile import listed, table

    rows = listed(current().env)
    finish(
        OperationResult(
            "profile list", {"profiles": rows}, human=lambda console: table(console, rows)
        )
    )


@app.command()
def show(name: _Name = None) -> None:
    """Show a profile as it is resolved; with -v where each value comes from."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.cli.views.profile import annotated
    from infuse_cli.config.model import digest, to_json

    reading = _read(name)
    values = to_json(reading.profile)
    data = {
        "profile": values,
        "hash": digest(reading.profile),
        "chain": [source.name for source in reading.chain],
        "overridden": list(reading.overridden),
        **_found(reading),
    }
    finish(
        OperationResult(
            "profile show", data, human=annotated(values, reading, origins=current().verbose > 0)
        )
    )


@app.command()
def check(name: _Name = None) -> None:
    """List every mistake of a profile with its line, what was expected and the nearest valid name.

    Works offline.
    """
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.cli.views.profile import verdict
    from infuse_cli.errors import CODES, Exit
    from infuse_cli.maintenance.profile_check import check_profile

    reading = check_profile(current().settings, _named(name))
    errors = [
        {
            "code": finding.code,
            "message": str(finding),
            "hint": CODES[finding.code].hint,
            "boardSafe": True,
        }
        for finding in reading.errors
    ]
    finish(
        OperationResult(
            "profile check",
            {"profile": reading.source.label, "ok": not errors, **_found(reading)},
            status="error" if errors else "ok",
            errors=errors if _as_json() else [],
            exit_code=Exit.PROFILE if errors else Exit.OK,
            human=verdict(reading),
        )
    )


@app.command()
def new(
    name: Annotated[
        str | None,
        typer.Argument(help="Name of the product, e.g. field-sensor.", show_default=False),
    ] = None,
    *,
    base: Annotated[
        str | None, typer.Option(help="Profile to extend, e.g. nrf9151-dk.", show_default=False)
    ] = None,
    mcu_id: Annotated[
        str | None,
        typer.Option(
            "--mcu-id",
            metavar="SOURCE",
            help=(
                "Where mcuId comes from: nrfutil, imei or scan; default: as the profile it extends."
            ),
            show_default=False,
        ),
    ] = None,
    organisation: Annotated[
        str | None, typer.Option(help="Organisation in the cloud.", show_default=False)
    ] = None,
    board: Annotated[
        str | None, typer.Option(help="The cloud's board (product profile).", show_default=False)
    ] = None,
    create_board: Annotated[
        bool | None,
        typer.Option(
            "--create-board/--no-create-board",
            help="Create the cloud's board where it is missing.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="Who makes the certificate: local-ca, cloud-ca, first-boot or none.",
            show_default=False,
        ),
    ] = None,
    registry_url: Annotated[
        str | None,
        typer.Option(help="Base URL of the device registry; '' for none.", show_default=False),
    ] = None,
    server_ca: Annotated[
        str | None,
        typer.Option(help="PEM file of the broker's CA; '' for none yet.", show_default=False),
    ] = None,
    scan: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Pattern of a serial number that is scanned; '' for none.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Where to write it; default: INFUSE_HOME/profiles/NAME.yaml.",
            show_default=False,
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Print every key with its default and meaning; asks nothing."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Make a profile: asks step by step on a terminal; options answer in advance."""
    from infuse_cli.cli.profile_new import Answers, make

    given = Answers(
        name=name,
        base=base,
        mcu_id=mcu_id,
        organisation=organisation,
        board=board,
        create_board=create_board,
        mode=mode,
        registry_url=registry_url,
        server_ca=server_ca,
        scan=scan,
    )
    make(given, out=out, full=full, force=force)


def _read(name: str | None) -> Reading:
    from infuse_cli.cli.context import current
    from infuse_cli.config import source as profile_source

    return profile_source.read(_named(name), current().env)


def _named(name: str | None) -> str:
    """The profile that is meant. Raises UsageError where none was named."""
    from infuse_cli.cli.context import current
    from infuse_cli.errors import UsageError

    named = name or current().profile
    if named is None:
        raise UsageError(
            "usage.bad-option",
            "no profile was named",
            hint="Give its name or path; `infuse profile list` shows the names.",
        )
    return named


def _found(reading: Reading) -> dict[str, Any]:
    return {"findings": [_as_data(finding) for finding in reading.findings]}


def _as_data(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "code": finding.code,
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "key": finding.key,
        "message": finding.message,
        "expected": finding.expected,
        "nearest": finding.nearest,
    }


def _as_json() -> bool:
    from infuse_cli.cli.context import current

    return current().output != "human"
