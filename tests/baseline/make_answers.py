"""The shapes of what every command prints, with `--output json` and with `--output jsonl`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import shapes
from make import write

from tests.house.secret_commands import lines
from tests.house.test_no_secrets import impatient
from tests.house.test_no_secrets_everywhere import Drive
from tests.support.world import Worlds
from tests.support.zygote import Zygote

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES: Final[dict[str, Callable[[int, str], dict[str, Any]]]] = {
    "json": shapes.answer,
    "jsonl": shapes.lines,
}

SIMULATED: Final = (
    "provision --sim 2",
    "provision --sim 1 --until register",
    "provision --sim 1 --faults 1:install=CME527",
    "provision --sim 2 --faults 1:mute",
    "provision --sim 1 --faults 1:reset@keygen",
    "provision --sim 1 --faults cloud:403=1",
    "provision --sim 2 --count 1 --slots 1",
    "provision --sim 0",
)


class Folders:
    """As much of pytest's factory of folders as worlds need."""

    def __init__(self, base: Path) -> None:
        self.base, self.number = base, 0

    def mktemp(self, name: str) -> Path:
        self.number += 1
        made = self.base / f"{name}{self.number}"
        made.mkdir()
        return made


def make_answers(data: Path) -> None:
    zygote = Zygote()
    for output in SHAPES:
        with tempfile.TemporaryDirectory() as base:
            rows = [*driven(zygote, Path(base), output), *simulated(zygote, output)]
        write(data / "answers" / f"{output}.json", rows, depth=1)
        print(output, len(rows), "runs")
    zygote.close()


def driven(zygote: Zygote, base: Path, output: str) -> list[dict[str, Any]]:
    """All lines of tests/house/secret_commands.py, in their order."""
    folder, patch = base / "drive", pytest.MonkeyPatch()
    folder.mkdir()
    with Worlds(zygote, Folders(base))(8) as bench:  # type: ignore[arg-type]
        bench.profile = impatient(bench)
        drive = Drive(bench, folder, patch)
        places = drive.places()
        found = []
        for code, words in lines():
            ran = drive.one(words, output, places, drive.env)
            # How it ends may depend on how quick the firmware of a board was.
            either = {"either": True} if code is None else {}
            found.append({"words": words, **either, **shaped(ran, words, output)})
    patch.undo()
    return found


def shaped(ran: Any, words: str, output: str) -> dict[str, Any]:
    try:
        return SHAPES[output](ran.code, ran.stdout)
    except ValueError:
        print(f"{words} ({output}): no JSON")
        return {"code": ran.code}


def simulated(zygote: Zygote, output: str) -> list[dict[str, Any]]:
    """Runs that bring their own world."""
    found = []
    for words in SIMULATED:
        ran = zygote.run(*words.split(), "--output", output)
        found.append({"words": words, **shaped(ran, words, output)})
    return found
