"""What the commands of `infuse serial` share: options, the port that is meant, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings

T = TypeVar("T")

_PORT_HELP = "Serial port or socket:// or rfc2217:// URL. [default: the one port that is a board's]"
PortArgument = Annotated[
    str | None, typer.Argument(metavar="[PORT]", help=_PORT_HELP, show_default=False)
]
PortOption = Annotated[
    str | None, typer.Option("--port", metavar="PORT", help="The same as PORT.", show_default=False)
]


def sec_tag(help: str) -> Any:  # noqa: A002
    """The option --sec-tag with what it is for."""
    return typer.Option(
        "--sec-tag", "--tag", metavar="N", min=0, max=2147483647, help=help, show_default=False
    )


TagOption = Annotated[int | None, sec_tag("The sec_tag.")]
TypeOption = Annotated[
    str | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="ca, cert, key, psk or psk-id (or 0 to 4).",
        show_default=False,
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="Where it is read from; - is standard input. [default: what is piped in]",
        show_default=False,
    ),
]
ReplaceOption = Annotated[
    bool,
    typer.Option("--replace", help="Delete what is in the way first; its digest goes on record."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def required(value: T | None, option: str) -> T:
    """A required option; asked for here, so that PORT may be left out."""
    from infuse_cli.errors import UsageError

    if value is None:
        raise UsageError("usage.bad-option", f"{option} is missing")
    return value


def on_port(
    command: str,
    argument: str | None,
    option: str | None,
    work: Callable[[Settings, BoardPort], OperationResult],
) -> NoReturn:
    """Do the work on the port that is meant; without one, show the ports there are."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import serial as views
    from infuse_cli.errors import UsageError
    from infuse_cli.serial_tools.ports import NoSinglePortError, choose_port

    if argument and option and argument != option:
        raise UsageError(
            "usage.bad-option", f"two ports were named: {argument} and --port {option}"
        )
    settings = current().settings
    try:
        target = choose_port(settings, argument or option)
    except NoSinglePortError as error:
        finish(views.no_single_port(command, error))
    finish(work(settings, target))


def uninterrupted() -> AbstractContextManager[object]:
    """What lets a change finish when Ctrl-C is pressed once."""
    from infuse_cli.cli.signals import StopOnSignals
    from infuse_cli.clock import RunClock

    return StopOnSignals(RunClock())


def read_input(file: Path | None, what: str, *, secret: bool) -> bytes:
    """A file (0600 where it holds a secret), or standard input (`-`, or what is piped in).

    Raises UsageError usage.bad-option, CredentialError credential.unsafe-file.
    """
    import sys

    from infuse_cli.errors import UsageError
    from infuse_cli.serial_tools.content import MAX_BYTES, read_file

    if file is None and sys.stdin.isatty():
        raise UsageError(
            "usage.bad-option",
            f"{what} is read from a file or from standard input, and neither was given",
            hint="--file FILE, or pipe it in.",
        )
    if file is not None and str(file) != "-":
        return read_file(file, what, secret=secret)
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(
            "usage.bad-option",
            f"standard input holds more than {MAX_BYTES // 1024} KiB: that is no credential",
        )
    return data
