"""Read the journal of a home: `python read_journal.py HOME`. Nothing is written."""

import sys
from pathlib import Path

from infuse_cli import Journal


def main(home: str) -> None:
    with Journal.open(Path(home).absolute()) as journal:
        for run in journal.runs():
            print(f"{run.started:%Y-%m-%d %H:%M} {run.start.command}: {run.totals}")
        for attempt in journal.open_attempts():
            print(f"unfinished: board {attempt.board} on {attempt.port}, {attempt.state.value}")


if __name__ == "__main__":
    main(sys.argv[1])
