"""`infuse rpc`: commands to a device through the cloud."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

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
    from infuse_cli.cli.result import finish
    from infuse_cli.devices import rpc as rpc_tools

    finish(
        rpc_tools.sent(
            rpc_tools.RpcWish(
                name, tuple(parameters or ()), device, soc, send_wait, params_encoded
            ),
            wait=wait,
        )
    )


@app.command()
def show(rpc: Rpc) -> None:
    """Show an RPC as it stands."""
    from infuse_cli.cli.result import finish
    from infuse_cli.devices import rpc as rpc_tools

    finish(rpc_tools.shown(rpc))


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
    from infuse_cli.cli.result import finish
    from infuse_cli.devices import rpc as rpc_tools

    finish(rpc_tools.waited(rpc, timeout))


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
    from infuse_cli.cli.result import finish
    from infuse_cli.devices import rpc as rpc_tools

    finish(rpc_tools.listed(device, status.value if status else None, since, until, organisation))
