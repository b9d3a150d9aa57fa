"""`infuse rpc`: commands to a device through the cloud."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from infuse_cli.cli.context import current
from infuse_cli.cli.options import json_or_text, pairs
from infuse_cli.cli.result import finish
from infuse_cli.cli.since import moment

app = typer.Typer(
    help="Commands to a device through the cloud: send, show, wait, list.", no_args_is_help=True
)


class Status(StrEnum):
    """How an RPC stands."""

    waiting = "waiting"
    sent = "sent"
    completed = "completed"


Rpc = Annotated[
    str, typer.Argument(metavar="ID", help="Id of the RPC, as `send` gave it.", show_default=False)
]


@app.command()
def send(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The command's name or number.", show_default=False),
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]…",
            help="Its parameters; a value is JSON where it can be, else text.",
            show_default=False,
        ),
    ] = None,
    *,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="The device: device id, id, mcuId, IMEI or KEY=VALUE of its metadata.",
            show_default=False,
        ),
    ],
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it until the device has answered or it expires.")
    ] = False,
    send_wait: Annotated[
        float,
        typer.Option("--send-wait", metavar="S", help="How long the cloud waits for the device."),
    ] = 60.0,
    params_encoded: Annotated[
        str | None,
        typer.Option(
            "--params-encoded",
            metavar="BASE64",
            help="Parameters in the device's own form, for commands that the cloud cannot encode.",
            show_default=False,
        ),
    ] = None,
    soc: Annotated[
        str | None,
        typer.Option(
            "--soc",
            metavar="SOC",
            help="The chip that an mcuId or IMEI belongs to. [default: the profile's]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Send a command, once; an answer that gets lost is looked up, and nothing is sent again."""
    from infuse_cli.cli.views import rpc as views
    from infuse_cli.devices import rpc as rpcs

    values = pairs(parameters, "KEY=VALUE")
    request = rpcs.RpcRequest(
        int(name) if name.isdecimal() else name,
        device,
        {key: json_or_text(value) for key, value in values.items()},
        soc,
        send_wait,
        params_encoded,
    )
    finish(views.sent(rpcs.send(current().settings, request, wait=wait)))


@app.command()
def show(rpc: Rpc) -> None:
    """Show an RPC as it stands."""
    from infuse_cli.cli.views import rpc as views
    from infuse_cli.devices import rpc as rpcs

    finish(views.shown(rpcs.find_rpc(current().settings, rpc)))


@app.command()
def wait(
    rpc: Rpc,
    *,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="S",
            min=0,
            help="Give up after so many seconds. [default: when it expires]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Follow an RPC to its end; one that the device did not answer is an error."""
    from infuse_cli.cli.views import rpc as views
    from infuse_cli.devices import rpc as rpcs

    result = rpcs.wait_for_rpc(current().settings, rpc, timeout)
    finish(views.ended("rpc wait", result))


@app.command("list")
def list_rpcs(
    *,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="DEVICE", help="Only those to this device.", show_default=False
        ),
    ] = None,
    status: Annotated[
        Status | None,
        typer.Option("--status", help="Only those that stand so.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only those from this time on, e.g. 2026-03-31T12:00:00Z.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="TIME", help="Only those before this time.", show_default=False
        ),
    ] = None,
    organisation: Annotated[
        str | None,
        typer.Option(
            "--organisation",
            metavar="NAME|ID",
            help="The organisation. [default: the profile's, else the only one]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List RPCs, all of them."""
    from infuse_cli.cli.views import rpc as views
    from infuse_cli.devices import rpc as rpcs

    now = datetime.now(UTC)
    result = rpcs.list_rpcs(
        current().settings,
        device=device,
        status=None if status is None else status.value,
        start=None if since is None else moment(since, "--since", now),
        end=None if until is None else moment(until, "--until", now),
        organisation=organisation,
    )
    finish(views.listed(result))
