"""`infuse mqtt`: access to the organisation's broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infuse_cli.cli.context import current
from infuse_cli.cli.options import check_secret_output
from infuse_cli.cli.result import finish

app = typer.Typer(help="Access to the organisation's broker: token, check.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Access to the organisation's broker: token, check."""


@app.command()
def token(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND…]",
            help="A command that gets each token, and a line end, on its standard input.",
            show_default=False,
        ),
    ] = None,
    *,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Renew it at two thirds of its life and hand each new one over, until a signal.",
        ),
    ] = False,
    ttl: Annotated[
        int,
        typer.Option("--ttl", metavar="S", help="How long it is good for, 60 to 86400 seconds."),
    ] = 3600,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the token to this file (0600), in one step.",
            show_default=False,
        ),
    ] = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the token, on a terminal only.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="S", min=0.1, help="How long the command may take."),
    ] = 10.0,
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
    """Get a short-lived token for MQTT; with --watch there is always a good one.

    The watch outlives an outage: it tries again as long as the last token is good, and ends with
    the error's exit code when that has run out. Ctrl-C and SIGTERM end it with 0.
    """
    from infuse_cli.cli.signals import StopOnSignals
    from infuse_cli.cli.views import mqtt as views
    from infuse_cli.clock import RunClock
    from infuse_cli.devices import mqtt_token
    from infuse_cli.errors import UsageError

    request = mqtt_token.MqttTokenRequest(organisation, ttl, out, tuple(command or ()), timeout)
    request.check()
    needed = None if command or watch else "the MQTT token"
    check_secret_output(out, reveal=reveal, needed=needed)
    if not watch:
        result = mqtt_token.issue_token(current().settings, request)
        finish(views.issued(result, out, reveal=reveal))
    if reveal:
        raise UsageError(
            "usage.bad-option", "--watch hands tokens to a file or a command, not to the terminal"
        )
    clock = RunClock()
    with StopOnSignals(clock):
        end = mqtt_token.watch_token(current().settings, request, clock, views.report)
        finish(views.watch_ended(end, out))


@app.command()
def check(
    *,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="The broker, by the name that boards use. [default: the profile's broker.host]",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            min=1,
            max=65535,
            help="Its TLS port. [default: the profile's, else 8883]",
            show_default=False,
        ),
    ] = None,
    server_ca: Annotated[
        Path | None,
        typer.Option(
            "--server-ca",
            metavar="FILE",
            help=(
                "Whom to trust in it (PEM). [default: the profile's broker.ca or"
                " identity.server_ca, else the system's]"
            ),
            show_default=False,
        ),
    ] = None,
    token: Annotated[
        bool,
        typer.Option(
            "--token", help="Log in with an MQTT token of the cloud instead of a certificate."
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Log in with the token in this 0600 file.",
            show_default=False,
        ),
    ] = None,
    user_name: Annotated[
        str | None,
        typer.Option(
            "--user-name",
            metavar="NAME",
            help="The user name that goes with the token. [default: the organisation's id]",
            show_default=False,
        ),
    ] = None,
    organisation: Annotated[
        str | None,
        typer.Option(
            "--organisation",
            metavar="NAME|ID",
            help="Whose token. [default: the profile's, else the only one]",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="S", min=0.1, help="How long a connection may take in all."
        ),
    ] = 10.0,
    ca: Annotated[
        str | None,
        typer.Option(
            "--ca",
            metavar="NAME|DIR",
            help="The CA that signs. [default: the profile's, else default]",
            show_default=False,
        ),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="Read the CA passphrase from a 0600 file.",
            show_default=False,
        ),
    ] = None,
    passphrase_fd: Annotated[
        int | None,
        typer.Option(
            "--passphrase-fd",
            metavar="N",
            help="Read the CA passphrase from this file descriptor.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Try whether the broker takes what this line makes, as a board would, and without one.

    A certificate is made for it: recorded, good for a day, its key never in a file. A second
    connection, without a certificate, has to be refused.
    """
    from infuse_cli.ca.common import PassphraseOptions
    from infuse_cli.cli.views import mqtt as views
    from infuse_cli.devices import broker_check

    request = broker_check.BrokerCheckRequest(
        host, port, server_ca, token, token_file, user_name, organisation, timeout, ca
    )
    passphrase = PassphraseOptions(passphrase_file, passphrase_fd)
    finish(views.checked(broker_check.check(current().settings, request, passphrase)))
