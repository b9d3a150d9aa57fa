"""`infuse sim`: virtual boards and a virtual cloud."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Virtual boards and a virtual cloud to try everything with.", no_args_is_help=True
)


class Mode(StrEnum):
    """Who makes the certificate of the virtual boards (identity.mode of the profile that is
    written).
    """

    local_ca = "local-ca"
    cloud_ca = "cloud-ca"
    first_boot = "first-boot"
    none = "none"


class Scheme(StrEnum):
    """How the credential travels."""

    bearer = "bearer"
    exchanged = "exchanged"
    api_key = "api-key"
    x_api_key = "x-api-key"


@app.callback()
def _group() -> None:
    """Virtual boards and a virtual cloud to try everything with."""


@app.command()
def up(
    *,
    boards: Annotated[
        int, typer.Option("--boards", metavar="N", min=0, max=128, help="Boards to plug in.")
    ] = 1,
    mode: Annotated[
        Mode | None,
        typer.Option(
            "--mode",
            help=(
                "Who makes the boards' certificates; without it local-ca, or first-boot for boards"
                " that speak epacket."
            ),
            show_default=False,
        ),
    ] = None,
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="PLAN",
            help="What goes wrong, e.g. '3:install=CME527, 5:unplug@keygen, cloud:429=0.2'.",
            show_default=False,
        ),
    ] = "",
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", help="Makes boards and faults repeatable.", show_default=False
        ),
    ] = None,
    latency_ms: Annotated[
        int | None,
        typer.Option(
            "--latency-ms",
            metavar="MS",
            min=0,
            help="Latency of the virtual cloud.",
            show_default=False,
        ),
    ] = None,
    no_pace: Annotated[
        bool,
        typer.Option("--no-pace", help="Serial lines as fast as they go, not at 115200 bit/s."),
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            help="Keep CA, credential and profile here.",
            show_default=False,
        ),
    ] = None,
    stop_on_stdin_close: Annotated[
        bool, typer.Option("--stop-on-stdin-close", help="End when standard input closes.")
    ] = False,
) -> None:
    """Run virtual boards and a virtual cloud until Ctrl-C; says which profile provisions them."""
    from infuse_cli.cli.simulation import check_extra

    check_extra()
    from infuse_cli.sim.up import SimOptions, mode_for, serve
    from infuse_cli.types import IdentityMode

    plan = ", ".join(
        part
        for part in (faults, f"cloud:latency={latency_ms}ms" if latency_ms is not None else "")
        if part
    )
    options = SimOptions(
        boards=boards,
        faults=plan,
        mode=mode_for(plan) if mode is None else IdentityMode(mode.value),
        seed=seed,
        baud=None if no_pace else 115200,
        folder=folder,
    )
    serve(options, _ready, until_stdin_closes=stop_on_stdin_close)


@app.command()
def openapi(
    scheme: Annotated[
        Scheme,
        typer.Option(
            "--scheme", help="How the credential travels, as cloud.auth.scheme in a profile."
        ),
    ] = Scheme.bearer,
) -> None:
    """Print the OpenAPI document of the virtual cloud, which it also serves at /openapi.json."""
    import json

    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.cli.simulation import check_extra

    check_extra()
    from infuse_cli.sim.openapi import document

    found = document(scheme.value)
    finish(
        OperationResult("sim openapi", found, human=json.dumps(found, indent=2, ensure_ascii=False))
    )


def _ready(data: dict[str, Any]) -> None:
    import sys

    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import json_line

    line = (
        _human(data)
        if current().output == "human"
        else json_line({"infuse": 1, "command": "sim up", "status": "ok", "data": data})
    )
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _human(data: dict[str, Any]) -> str:
    import shlex

    from infuse_cli.text import plural

    ports = [f"--port {board['port']}" for board in data["boards"]]
    lines = [
        f"{plural(len(ports), 'virtual board')} and a virtual cloud are up; Ctrl-C ends them.",
        "",
        f"  profile   {data['profile']}",
        f"  cloud     {data['baseUrl']}",
        f"  broker    {data['broker']['host']}:{data['broker']['port']}, CA {data['broker']['ca']}",
        *(f"  slot {board['slot']:<4} {board['port']}" for board in data["boards"]),
        "",
        "Next, in another terminal:",
        f"  export INFUSE_HOME={shlex.quote(str(Path(data['profile']).with_name('home')))}",
        f"  infuse provision --profile {shlex.quote(data['profile'])} {' '.join(ports)}",
    ]
    return "\n".join(lines)
