"""Register the devices of a CSV in the cloud, without the command line.

    INFUSE_HOME=/srv/infuse INFUSE_TOKEN=… python register_rows.py PROFILE ROWS.csv

Running it again is how a stopped run resumes: a device is never made twice.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from infuse_cli import batch
from infuse_cli.settings import Settings

if TYPE_CHECKING:
    from infuse_cli.types import Event


class PrintRows:
    """Prints a row as it ends."""

    def emit(self, event: Event) -> None:
        if event.event == "row-ended":
            print(event.data["mcuId"], event.state, event.data["deviceId"])


profile, rows = sys.argv[1:]
settings = Settings(Path(os.environ["INFUSE_HOME"]), profile, os.environ)
result = batch.register(settings, batch.RegisterRequest(Path(rows)), events=PrintRows())
for error in result.errors:
    print(error.code, error.message, file=sys.stderr)
sys.exit(result.exit)
