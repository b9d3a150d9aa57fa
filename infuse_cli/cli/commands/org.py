"""`infuse org`: organisations in the cloud."""

from __future__ import annotations

from typing import Annotated

import typer

from infuse_cli.cli.context import current
from infuse_cli.cli.result import finish

app = typer.Typer(
    help="Organisations in the cloud: list, show, create, ensure.", no_args_is_help=True
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the organisation.", show_default=False)
]


@app.command("list")
def list_organisations() -> None:
    """List the organisations that the credential can see."""
    from infuse_cli.cli.views import organisations as views
    from infuse_cli.devices import organisations

    finish(views.organisations(organisations.list_organisations(current().settings)))


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|ID]",
            help="The organisation; default: the profile's.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show one organisation."""
    from infuse_cli.cli.views.cloud import single
    from infuse_cli.devices import organisations

    found = organisations.find_organisation(current().settings, name)
    finish(single("org show", "organisation", found))


@app.command()
def create(name: Name) -> None:
    """Create an organisation; refused where the name exists."""
    from infuse_cli.cli.views import organisations as views
    from infuse_cli.devices import organisations

    result = organisations.create_organisation(current().settings, name, ensure=False)
    finish(views.created("org create", result))


@app.command()
def ensure(name: Name) -> None:
    """Create an organisation unless it is there."""
    from infuse_cli.cli.views import organisations as views
    from infuse_cli.devices import organisations

    result = organisations.create_organisation(current().settings, name, ensure=True)
    finish(views.created("org ensure", result))
