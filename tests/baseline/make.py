"""Makes the data of this folder: what the program did at commit dadc716.

It was run once, by the program of that commit, and the data is never made anew or edited:

    git worktree add ../old dadc716 && cd ../old && python3 -m venv .venv
    .venv/bin/pip install -c requirements/dev.txt -e '.[dev]'
    PYTHONPATH=. .venv/bin/python ../infuse/tests/baseline/make.py ../infuse/tests/baseline/data

Parts can be named after the folder; see `PARTS`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def write(path: Path, table: dict[str, Any] | list[Any], *, depth: int = 2) -> None:
    """A table as JSON that a person can read: lines down to this depth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_lines(table, depth) + "\n", encoding="utf-8")


def _lines(value: Any, depth: int, indent: str = "") -> str:
    if not value or not depth or not isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    deeper = indent + " "
    if isinstance(value, list):
        rows = [_lines(row, depth - 1, deeper) for row in value]
        return f"[\n{deeper}" + f",\n{deeper}".join(rows) + f"\n{indent}]"
    rows = [
        f"{json.dumps(key, ensure_ascii=False)}: {_lines(row, depth - 1, deeper)}"
        for key, row in value.items()
    ]
    return f"{{\n{deeper}" + f",\n{deeper}".join(rows) + f"\n{indent}}}"


def make_program(data: Path) -> None:
    """Commands, codes, states and fail-points."""
    import program

    import infuse_cli

    package = Path(infuse_cli.__file__).parent
    write(data / "commands.json", program.commands(), depth=3)
    write(data / "codes.json", {"codes": program.codes(), "exits": program.exits()})
    write(data / "states.json", program.states())
    write(
        data / "fail_points.json",
        {
            "code": program.fail_points(package),
            "tests": program.killed_at(package.parent / "tests"),
            "kills": program.kill_list(),
        },
    )


def make_journals(data: Path) -> None:
    """Benches that were killed at every boundary."""
    import make_journals as journals

    journals.make_journals(data)


def make_files(data: Path) -> None:
    """Files for later or for another bench."""
    import make_files as files

    files.make_files(data)


def make_plans(data: Path) -> None:
    """The plans of the built-in profiles."""
    import make_files as files

    files.make_plans(data)


def make_answers(data: Path) -> None:
    """The shapes of what every command prints."""
    import make_answers as answers

    answers.make_answers(data)


PARTS: dict[str, Callable[[Path], None]] = {
    "program": make_program,
    "journals": make_journals,
    "files": make_files,
    "plans": make_plans,
    "answers": make_answers,
}


def main(folder: str, *parts: str) -> None:
    for part in parts or PARTS:
        PARTS[part](Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
