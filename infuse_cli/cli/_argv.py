"""Global options, taken out of the command line before Typer sees it, so that they work at any
place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

GLOBAL_VALUES: Final = ("--profile", "--home", "--output", "--ca-bundle")
"""Global options that take a value."""

NO_COLOR: Final = "--no-color"
VERBOSE: Final = "--verbose"


@dataclass(frozen=True, slots=True)
class Globals:
    """The global options as given; None where they were not.

    `problem` is a usage error in them, in words.
    """

    profile: str | None = None
    home: str | None = None
    output: str | None = None
    ca_bundle: str | None = None
    no_color: bool = False
    verbose: int = 0
    problem: str | None = None


def split(argv: Sequence[str], takes_value: frozenset[str]) -> tuple[Globals, list[str]]:
    """Part the global options from the rest of `argv`, whose order is kept.

    Nothing after `--` is looked at, and neither is the value of an option in `takes_value`. A
    global option given twice counts the last time; -v counts up.
    """
    found, at = Globals(), 0
    rest: list[str] = []
    while at < len(argv):
        word = argv[at]
        name, equals, value = word.partition("=")
        if word == "--":
            return found, [*rest, *argv[at:]]
        if name in GLOBAL_VALUES:
            found, used = _with_value(found, name, value if equals else None, argv[at + 1 : at + 2])
            at += used
            continue
        if (more := _flag(found, word)) is not None:
            found = more
        else:
            rest.append(word)
            if word in takes_value:
                rest.extend(argv[at + 1 : at + 2])
                at += 1
        at += 1
    return found, rest


def _with_value(
    found: Globals, name: str, value: str | None, following: Sequence[str]
) -> tuple[Globals, int]:
    used = 1
    if value is None:
        value, used = (following[0], 2) if following and following[0] != "--" else ("", 1)
    if not value:
        return replace(found, problem=f"{name} needs a value"), used
    match name:
        case "--profile":
            return replace(found, profile=value), used
        case "--home":
            return replace(found, home=value), used
        case "--ca-bundle":
            return replace(found, ca_bundle=value), used
        case _:
            return replace(found, output=value), used


def _flag(found: Globals, word: str) -> Globals | None:
    if word == NO_COLOR:
        return replace(found, no_color=True)
    if word == VERBOSE:
        return replace(found, verbose=found.verbose + 1)
    if len(word) > 1 and word[0] == "-" and set(word[1:]) == {"v"}:
        return replace(found, verbose=found.verbose + len(word) - 1)
    return None
