"""`infuse serial`: one board, by hand."""

from __future__ import annotations

import typer

from infuse_cli.cli.commands.serial import boards, changes, credentials, slots

app = typer.Typer(
    help="By hand, one board: ports, console, at, creds, csr, write-id.",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(slots.app, name="slots")
app.add_typer(credentials.creds, name="creds")
app.add_typer(credentials.token, name="token")
app.command()(boards.ports)
app.command()(boards.probe)
app.command()(boards.info)
app.command()(changes.at)
app.command()(changes.console)
app.command()(changes.csr)
app.command("write-id")(changes.write_id)
app.command()(boards.check)
