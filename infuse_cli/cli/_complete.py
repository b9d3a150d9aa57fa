"""Shell completion: the words so far in, one completion a line out (value, tab, help); imports no
more than Typer.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from infuse_cli.cli import _argv
from infuse_cli.cli._registry import ROWS, VALUE_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

FILES: Final = (":file", "")
"""Asks the shell's script to complete a path."""

FOLDERS: Final = (":dir", "")

_GLOBAL_HELP: Final = {
    "--profile": "product profile, by name or path",
    "--home": "data folder of this bench",
    "--output": "human, json or jsonl",
    "--no-color": "no colours",
    "--verbose": "say more",
}


def answer(words: Sequence[str]) -> int:
    """Print the completions of the last of `words`; whatever goes wrong, the shell sees none."""
    try:
        found = candidates(list(words[:-1]), words[-1] if words else "")
    except Exception:  # noqa: BLE001 - a completion must never write into somebody's prompt
        return 1
    sys.stdout.writelines(
        f"{value}\t{help_text}\n" if help_text else f"{value}\n" for value, help_text in found
    )
    return 0


def candidates(before: list[str], incomplete: str) -> list[tuple[str, str]]:
    """Completions of `incomplete` after the words `before`, as (value, help) pairs."""
    if before and before[-1] in _argv.GLOBAL_VALUES:
        return _global_value(before[-1], incomplete)
    _, rest = _argv.split(before, VALUE_OPTIONS)
    if not rest and not incomplete.startswith("-"):
        return [(row.name, row.help) for row in ROWS if row.name.startswith(incomplete)]
    from infuse_cli.cli import _lazy

    own = [_paths(value, kind) for value, kind in _lazy.complete(rest, incomplete)]
    if not incomplete.startswith("-") or "--" in before:
        return own
    shared = [(name, text) for name, text in _GLOBAL_HELP.items() if name.startswith(incomplete)]
    return [*own, *(pair for pair in shared if pair[0] not in {value for value, _ in own})]


def _paths(value: str, kind: str) -> tuple[str, str]:
    if value:
        return value, " ".join(kind.split())
    return FOLDERS if kind == "dir" else FILES


def _global_value(option: str, incomplete: str) -> list[tuple[str, str]]:
    if option == "--output":
        return [(name, "") for name in ("human", "json", "jsonl") if name.startswith(incomplete)]
    if option == "--home":
        return [FOLDERS]
    return [*((name, "") for name in profile_names() if name.startswith(incomplete)), FILES]


def profile_names() -> list[str]:
    """Names of the built-in profiles and of those in INFUSE_HOME, without opening them."""
    from pathlib import Path

    from infuse_cli.config.built_in import built_in_profiles

    names = {file.name.rpartition(".")[0] for file in built_in_profiles()}
    if home := os.environ.get("INFUSE_HOME"):
        names |= {path.stem for path in (Path(home).expanduser() / "profiles").glob("*.y*ml")}
    return sorted(names)
