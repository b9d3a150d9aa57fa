"""`infuse resume`: go on with what an earlier run left unfinished."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Port = Annotated[
    list[str] | None,
    typer.Option(
        "--port",
        metavar="PORT",
        help="Ports to look for the boards on. [default: those they were on]",
        show_default=False,
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File (0600) that holds the CA passphrase.",
        show_default=False,
    ),
]
PassphraseFd = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd",
        metavar="N",
        help="File descriptor to read the CA passphrase from.",
        show_default=False,
    ),
]


def command(
    *,
    port: Port = None,
    slots: Annotated[
        int | None,
        typer.Option(
            "--slots", metavar="N", min=1, help="At most N boards at a time.", show_default=False
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Go on with what an earlier run left unfinished.

    Boards are known by their UUID, on any port, and go on under the profile that their run
    recorded. Boards that are on no port are listed. A board that a stopped command by hand left in
    flight mode comes back from it.
    """
    from infuse_cli.cli.context import current
    from infuse_cli.cli.line_run import resume
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.modes import with_modes
    from infuse_cli.provisioning.request import ProvisionRequest
    from infuse_cli.serial_tools.restore_modes import restore_modes

    modes = restore_modes(current().settings, port or [])
    request = ProvisionRequest(
        ports=tuple(port or []),
        slots=slots,
        passphrase_file=passphrase_file,
        passphrase_fd=passphrase_fd,
    )
    finish(with_modes(resume(request), modes))
