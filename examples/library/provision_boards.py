"""Provision boards: `python provision_boards.py PROFILE HOME PORT...`.

Each board ends with a result of its own; what stops all of them is raised as an InfuseError.
"""

import os
import sys
from pathlib import Path

from infuse_cli import Event, Line, ProvisionRequest, Settings, errors


class Steps:
    """Prints what happens; called from several threads."""

    def emit(self, event: Event) -> None:
        if event.event == "step-done":
            print(f"slot {event.slot}: {event.step} done in {event.ms:.0f} ms")


def main(profile: str, home: str, *ports: str) -> int:
    line = Line(Settings(Path(home).absolute(), profile=profile, env=os.environ), events=Steps())
    try:
        result = line.provision(ProvisionRequest(ports=ports))
    except errors.InfuseError as error:
        print(f"{error.code}: {error.message} {error.hint}")
        return int(error.exit)
    for board in result.boards:
        print(board.slot, board.outcome, board.board, board.code or "")
    return int(result.exit)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
