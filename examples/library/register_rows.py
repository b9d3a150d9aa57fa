"""Register the devices of a CSV in the cloud, without the command line.

    INFUSE_HOME=/srv/infuse INFUSE_TOKEN=… python register_rows.py PROFILE ROWS.csv

Running it again is how a stopped run resumes: a device is never made twice.
"""

import os
import sys
from pathlib import Path

from infuse_cli import Event, Settings, batch, errors


class PrintRows:
    """Prints a row as it ends."""

    def emit(self, event: Event) -> None:
        if event.event == "row-ended":
            print(event.data["mcuId"], event.state, event.data["deviceId"])


def main(profile: str, rows: str) -> int:
    settings = Settings(Path(os.environ["INFUSE_HOME"]).absolute(), profile, os.environ)
    try:
        result = batch.register(settings, batch.RegisterRequest(Path(rows)), events=PrintRows())
    except errors.InfuseError as error:
        print(f"{error.code}: {error.message} {error.hint}", file=sys.stderr)
        return int(error.exit)
    for error in result.errors:
        print(error.code, error.message, file=sys.stderr)
    return int(result.exit)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
