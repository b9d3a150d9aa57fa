"""Options that name where a result goes, checked before a command does anything.

A command that makes a file is held by the name of its option alone; what it then writes is checked
once more where it is written (`effects/results.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

RESULTS: Final = frozenset(
    {"out", "report", "csr_out", "key_out", "root_out", "bundle", "for_bench", "log"}
)
"""Parameters, by their Python names, that say where a result goes."""

FOLDERS: Final = frozenset({"folder"})
"""Parameters that name a folder of the command's own, which is neither a result nor an input."""

_MARKS: Final = ("FILE", "FOLDER", "DIR", "PATH", "CSV", "CSR", "CERT")
_MORE: Final[Mapping[str, str]] = {
    "mqtt token": "TOKEN",
    "auth exchange": "TOKEN",
    "journal backup": "JOURNAL",
    "profile new": "YAML",
    "serial console": "LOG",
}
"""What a command replaces beyond other results, by name of the content."""


def guard(words: str, command: Any) -> None:
    """Let a command begin only once its results may go where its options say."""
    results = [parameter for parameter in command.params if parameter.name in RESULTS]
    if results:
        command.callback = _checked(words, command, results)


def names_file(parameter: Any) -> bool:
    """Whether a parameter of a command names a file or a folder."""
    shown = parameter.metavar or ""
    return type(parameter.type).__name__ == "TyperPath" or any(mark in shown for mark in _MARKS)


def _checked(words: str, command: Any, results: list[Any]) -> Callable[..., Any]:
    inner = command.callback

    def callback(**values: Any) -> Any:
        places = [
            (parameter, Path(values[parameter.name]))
            for parameter in results
            if values.get(parameter.name) is not None
        ]
        if places:
            _check(words, places, list(_inputs(command, values)))
        return inner(**values)

    return callback


def _check(words: str, places: list[tuple[Any, Path]], inputs: list[Path]) -> None:
    from infuse_cli.cli.context import current
    from infuse_cli.effects.results import RESULTS as USUAL
    from infuse_cli.effects.results import Content, Results

    more = {Content[_MORE[words]]} if words in _MORE else set()
    for number, (parameter, place) in enumerate(places):
        others = [other for _, other in places[:number]]
        Results(current().settings, (*inputs, *others)).check(
            place,
            option=_shown(parameter),
            replaces=USUAL | more,
            replaces_profile=words == "profile new",
        )


def _shown(parameter: Any) -> str:
    option = next((name for name in parameter.opts if name.startswith("--")), None)
    return option or str(parameter.metavar or parameter.name).strip("[]")


def _inputs(command: Any, values: Mapping[str, Any]) -> Iterator[Path]:
    for parameter in command.params:
        if parameter.name in RESULTS | FOLDERS or not names_file(parameter):
            continue
        value = values.get(parameter.name)
        for text in value if isinstance(value, (list, tuple)) else (value,):
            if _means_file(parameter, text):
                yield Path(text)


def _means_file(parameter: Any, text: Any) -> bool:
    """Whether a value is a path; a plain word where a name may stand as well is a name."""
    if not isinstance(text, (str, Path)) or not str(text):
        return False
    by_name = type(parameter.type).__name__ != "TyperPath" and "|" in (parameter.metavar or "")
    return not by_name or any(sign in str(text) for sign in "/\\.")
