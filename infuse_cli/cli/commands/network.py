"""`infuse network`: networks in the cloud, whose keys are secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infuse_cli.cli.context import current
from infuse_cli.cli.options import check_secret_output
from infuse_cli.cli.result import finish

app = typer.Typer(help="Networks in the cloud: list, show, create.", no_args_is_help=True)

Organisation = Annotated[
    str | None,
    typer.Option(
        "--organisation",
        metavar="NAME|ID",
        help="The organisation. [default: the profile's, else the only one]",
        show_default=False,
    ),
]


@app.command("list")
def list_networks(
    *,
    organisation: Organisation = None,
    public: Annotated[
        bool, typer.Option("--public", help="Also everybody's public networks.")
    ] = False,
) -> None:
    """List an organisation's networks, without their keys."""
    from infuse_cli.cli.views import organisations as views
    from infuse_cli.devices import organisations

    rows = organisations.list_networks(current().settings, organisation, public=public)
    finish(views.networks(rows))


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|ID]", help="The network; default: the profile's.", show_default=False
        ),
    ] = None,
    *,
    organisation: Organisation = None,
) -> None:
    """Show one network, without its key."""
    from infuse_cli.cli.views.cloud import single
    from infuse_cli.devices import organisations

    found = organisations.find_network(current().settings, name, organisation)
    finish(single("network show", "network", found))


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the network.", show_default=False)
    ],
    *,
    network_id: Annotated[
        int,
        typer.Option(
            "--network-id", metavar="N", help="Its number, 0 to 16777215.", show_default=False
        ),
    ],
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="File (0600) with the 32-byte key: base64, hex or the bare bytes.",
            show_default=False,
        ),
    ] = None,
    generate_key: Annotated[
        bool, typer.Option("--generate-key", help="Make a key; --out says where it is stored.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="New file (0600) for the key that is made, in base64.",
            show_default=False,
        ),
    ] = None,
    description: Annotated[
        str,
        typer.Option(
            "--description", metavar="TEXT", help="What the network is for.", show_default=False
        ),
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="Other organisations may use the network.")
    ] = False,
    organisation: Organisation = None,
) -> None:
    """Create a network. A key that is made here is in its file before the cloud hears of it."""
    from infuse_cli.cli.views import organisations as views
    from infuse_cli.devices import organisations

    check_secret_output(out, reveal=False, needed="the key" if generate_key else None)
    request = organisations.NetworkRequest(
        name, network_id, key_file, generate_key, out, description, public, organisation
    )
    result = organisations.create_network(current().settings, request)
    finish(views.network_created(result))
