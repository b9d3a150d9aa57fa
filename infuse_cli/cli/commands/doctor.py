"""`infuse doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    *,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE.tar.gz",
            help="Pack what support needs into this file, secrets out.",
            show_default=False,
        ),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="File (0600) that holds the CA passphrase, to try it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Look this bench over: what is wrong, and what to do about it.

    Profile, credential, API, clock, journal, disk, CA, ports, groups, ModemManager, J-Link and
    nrfutil, each a line with PASS, WARN or FAIL and the fix. Nothing is changed and nothing is
    asked; the exit code is 0 when nothing FAILs, else that of the first FAIL. With a profile it is
    looked at with that product's eyes.
    """
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.doctor import looked_over
    from infuse_cli.maintenance.look_over import look_over

    settings = current().settings
    finish(looked_over(look_over(settings, bundle=bundle, passphrase_file=passphrase_file)))
