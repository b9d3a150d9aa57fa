"""`infuse mqtt`: access to the organisation's broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Access to the organisation's broker: token.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Access to the organisation's broker: token."""


@app.command()
def token(
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND…]", help="A command that gets each token, and a line end, on its standard input.", show_default=False)] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Renew it at two thirds of its life and hand each new one over, until a signal.")] = False,
    ttl: Annotated[int, typer.Option("--ttl", metavar="S", help="How long it is good for, 60 to 86400 seconds.")] = 3600,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the token to this file (0600), in one step.", show_default=False)] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the token, on a terminal only.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", min=0.1, help="How long the command may take.")] = 10.0,
    organisation: Annotated[str | None, typer.Option("--organisation", metavar="NAME|ID", help="The organisation. [default: the profile's, else the only one]", show_default=False)] = None,
) -> None:
    """Get a short-lived token for MQTT; with --watch there is always a good one.

    The watch outlives an outage: it tries again as long as the last token is good, and ends with the error's exit code
    when that has run out. Ctrl-C and SIGTERM end it with 0.
    """
    from infuse_cli.cli import key_tools
    from infuse_cli.cli.result import finish

    finish(key_tools.mqtt_token(key_tools.MqttWish(organisation, ttl, out, reveal, watch, tuple(command or ()), timeout)))
