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
    *,
    ttl: Annotated[int, typer.Option("--ttl", metavar="S", help="How long it is good for, 60 to 86400 seconds.")] = 3600,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the token to this file (0600), in one step.", show_default=False)] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the token, on a terminal only.")] = False,
    organisation: Annotated[str | None, typer.Option("--organisation", metavar="NAME|ID", help="The organisation. [default: the profile's, else the only one]", show_default=False)] = None,
) -> None:
    """Get a short-lived token for MQTT; ask for the next one before it expires."""
    from infuse_cli.cli import key_tools
    from infuse_cli.cli.result import finish

    finish(key_tools.mqtt_token(organisation, ttl, out, reveal=reveal))
