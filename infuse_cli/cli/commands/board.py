"""`infuse board`: the cloud's product profiles, which its API calls boards."""

from __future__ import annotations

from typing import Annotated

import typer

from infuse_cli.cli.context import current
from infuse_cli.cli.options import metadata_field
from infuse_cli.cli.result import finish

app = typer.Typer(
    help="The cloud's product profiles, called boards: list, show, create.", no_args_is_help=True
)

Organisation = Annotated[
    str | None,
    typer.Option(
        "--organisation",
        metavar="NAME|ID",
        help="The organisation. [default: the profile's, else the only one]",
        show_default=False,
    ),
]
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="Name of the board; default: the profile's.", show_default=False
    ),
]
Soc = Annotated[
    str | None,
    typer.Option(
        "--soc",
        metavar="SOC",
        help="The chip, e.g. nRF9151. [default: the profile's]",
        show_default=False,
    ),
]
Description = Annotated[
    str | None,
    typer.Option("--description", metavar="TEXT", help="What the product is.", show_default=False),
]
Field = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME[:required][:unique]",
        help="A metadata field that devices have; may be given again.",
        show_default=False,
    ),
]
Public = Annotated[bool, typer.Option("--public", help="Other organisations may use the board.")]


@app.command("list")
def list_boards(
    *,
    organisation: Organisation = None,
    public: Annotated[
        bool, typer.Option("--public", help="Also everybody's public boards.")
    ] = False,
) -> None:
    """List an organisation's boards: product profiles in the cloud, not pieces of hardware."""
    from infuse_cli.cli.views import organisations as views
    from infuse_cli.devices import organisations

    rows = organisations.list_boards(current().settings, organisation, public=public)
    finish(views.boards(rows))


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|ID]", help="The board; default: the profile's.", show_default=False
        ),
    ] = None,
    *,
    organisation: Organisation = None,
) -> None:
    """Show one board: its soc and the metadata that it asks of its devices."""
    from infuse_cli.cli.views.cloud import single
    from infuse_cli.devices import organisations

    found = organisations.find_board(current().settings, name, organisation)
    finish(single("board show", "board", found))


@app.command()
def create(
    name: Name = None,
    *,
    soc: Soc = None,
    description: Description = None,
    field: Field = None,
    public: Public = False,
    organisation: Organisation = None,
) -> None:
    """Create a board; refused where the name exists."""
    from infuse_cli.cli.views import organisations as views
    from infuse_cli.devices import organisations

    fields = tuple(metadata_field(text) for text in field or ())
    request = organisations.BoardRequest(name, soc, description, fields, public, organisation)
    result = organisations.create_board(current().settings, request, ensure=False)
    finish(views.created("board create", result))


@app.command()
def ensure(
    name: Name = None,
    *,
    soc: Soc = None,
    description: Description = None,
    field: Field = None,
    public: Public = False,
    organisation: Organisation = None,
) -> None:
    """Create a board unless it is there; one of another soc is refused, other differences are
    named.
    """
    from infuse_cli.cli.views import organisations as views
    from infuse_cli.devices import organisations

    fields = tuple(metadata_field(text) for text in field or ())
    request = organisations.BoardRequest(name, soc, description, fields, public, organisation)
    result = organisations.create_board(current().settings, request, ensure=True)
    finish(views.created("board ensure", result))
