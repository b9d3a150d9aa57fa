"""`infuse serial creds` and `infuse serial token`: what a board's modem holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from infuse_cli.cli.commands.serial.options import (
    FileOption,
    PortArgument,
    PortOption,
    ReplaceOption,
    TagOption,
    TypeOption,
    YesOption,
    on_port,
    read_input,
    required,
    sec_tag,
    uninterrupted,
)

if TYPE_CHECKING:
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings

creds = typer.Typer(
    help="The credentials in a board's modem: list, write, delete.",
    no_args_is_help=True,
    add_completion=False,
)
token = typer.Typer(
    help="The registration token on a board: write.", no_args_is_help=True, add_completion=False
)


@creds.callback()
def _creds() -> None:
    """The credentials in a board's modem: list, write, delete."""


@token.callback()
def _token() -> None:
    """The registration token on a board: write."""


@creds.command("list")
def creds_list(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    tag: Annotated[int | None, sec_tag("Only this sec_tag.")] = None,
) -> None:
    """List the credentials in the modem with their digests, and whether this journal put them
    there.
    """
    from infuse_cli.cli.views import credentials as views
    from infuse_cli.serial_tools import board

    def work(settings: Settings, target: BoardPort) -> OperationResult:
        return views.listed(board.list_credentials(settings, target, tag), tag)

    on_port("serial creds list", port, port_, work)


@creds.command("write")
def creds_write(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    tag: TagOption = None,
    kind: TypeOption = None,
    file: FileOption = None,
    replace: ReplaceOption = False,
    yes: YesOption = False,
) -> None:
    """Write a credential: PEM, or the hex digits of a pre-shared key, from a file or standard
    input.

    One that is there already is left alone; another one in its place is refused, unless --replace
    is given. The modem is taken offline and back, the digest is compared afterwards, and all of it
    is on record. A file that holds a key has to be 0600.
    """
    from infuse_cli.cli.views import credentials as views
    from infuse_cli.serial_tools import content
    from infuse_cli.serial_tools.credentials import WriteRequest, write_credentials

    place, what = required(tag, "--sec-tag"), content.kind_of(required(kind, "--type"))
    data = read_input(file, content.name_of(what), secret=what in content.SECRET_KINDS)
    request = WriteRequest((content.credential(place, what, data),), replace=replace, yes=yes)

    def work(settings: Settings, target: BoardPort) -> OperationResult:
        return views.written(write_credentials(settings, target, request, uninterrupted))

    on_port("serial creds write", port, port_, work)


@creds.command("delete")
def creds_delete(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    tag: TagOption = None,
    kind: TypeOption = None,
    yes: YesOption = False,
) -> None:
    """Delete a credential, or with no --type all that is under the sec_tag.

    Asks first; --yes says so in advance.
    """
    from infuse_cli.cli.views import credentials as views
    from infuse_cli.serial_tools.content import kind_of
    from infuse_cli.serial_tools.credentials import delete_credentials

    place = required(tag, "--sec-tag"), None if kind is None else kind_of(kind)

    def work(settings: Settings, target: BoardPort) -> OperationResult:
        return views.deleted(
            delete_credentials(settings, target, place, yes=yes, uninterrupted=uninterrupted)
        )

    on_port("serial creds delete", port, port_, work)


@token.command("write")
def token_write(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    file: FileOption = None,
    device_id: Annotated[
        str | None,
        typer.Option(
            "--device-id",
            metavar="ID",
            help=(
                "The registry device id, which becomes the PSK identity. [default: the one on"
                " record for this token]"
            ),
            show_default=False,
        ),
    ] = None,
    tag: Annotated[
        int | None, sec_tag("Where it goes. [default: the profile's, else 4202]")
    ] = None,
    replace: ReplaceOption = False,
    yes: YesOption = False,
) -> None:
    """Put a registration token onto a board, from a 0600 file or standard input, as the profile's
    store says.

    A token that was minted here is marked as delivered first; one that is spent, or was minted for
    another board, is refused.
    """
    from infuse_cli.cli.views import credentials as views
    from infuse_cli.serial_tools import content
    from infuse_cli.serial_tools.token import TokenRequest, write_token

    secret = content.parse_token(read_input(file, content.TOKEN, secret=True))
    request = TokenRequest(secret, tag, device_id, replace=replace, yes=yes)

    def work(settings: Settings, target: BoardPort) -> OperationResult:
        return views.token(write_token(settings, target, request, uninterrupted))

    on_port("serial token write", port, port_, work)
