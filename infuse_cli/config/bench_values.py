"""The values of bench.yaml against tables of its keys, so that every refusal has its line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.config.bench import Scanner, Sealing
from infuse_cli.config.source import nodes
from infuse_cli.config.source.finding import Mark, Source
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Read = Callable[[nodes.Node], Any]

_HINT: Final = "Correct the line that is named."


def read_values(text: str, path: Path) -> dict[str, Any]:
    """The fields of `Bench` that a text gives. Raises ProfileError profile.bad-yaml, .invalid."""
    tree, findings = nodes.read(text, Source(str(path), path.parent, path, path.stem), {})
    for finding in findings:
        raise ProfileError(finding.code, str(finding), hint=_HINT)
    return _section(tree, _TOP)


def _refused(mark: Mark, why: str) -> ProfileError:
    return ProfileError("profile.invalid", f"{mark.source.label}:{mark.line}: {why}", hint=_HINT)


def _entries(node: nodes.Node) -> dict[str, nodes.Entry]:
    if not isinstance(node, nodes.Table):
        raise _refused(node.mark, "expected keys and values")
    return node.items


def _section(node: nodes.Node, known: Mapping[str, Read]) -> dict[str, Any]:
    values = {}
    for name, entry in _entries(node).items():
        if name not in known:
            names = ", ".join(known)
            raise _refused(entry.mark, f"unknown key {name!r}; known: {names}")
        values[name] = known[name](entry.node)
    return values


def _text(node: nodes.Node) -> str:
    if not isinstance(node, nodes.Scalar) or node.value is None or not node.text.strip():
        raise _refused(node.mark, "expected a text")
    return node.text


def _flag(node: nodes.Node) -> bool:
    if not isinstance(node, nodes.Scalar) or not isinstance(node.value, bool):
        raise _refused(node.mark, "expected true or false")
    return node.value


def _number(why: str) -> Callable[[nodes.Node], int]:
    def read(node: nodes.Node) -> int:
        value = node.value if isinstance(node, nodes.Scalar) else None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _refused(node.mark, why)
        return value

    return read


def _slots(node: nodes.Node) -> dict[str, int]:
    read, values = _number("a slot is a number from 1"), dict[str, int]()
    for place, entry in _entries(node).items():
        slot = read(entry.node)
        if slot in values.values():
            raise _refused(entry.mark, f"slot {slot} is there twice")
        values[place] = slot
    return values


def _probes(node: nodes.Node) -> dict[str, str]:
    return {place: _text(entry.node) for place, entry in _entries(node).items()}


def _sealing(node: nodes.Node) -> Sealing:
    values = _section(node, {"key_file": _text, "keyring": _flag})
    if values.get("keyring") and values.get("key_file"):
        raise _refused(node.mark, "sealing takes key_file or keyring, not both")
    return Sealing(**values)


def _mirror(node: nodes.Node) -> str | None:
    folder: str | None = _section(node, {"folder": _text}).get("folder")
    if folder is not None and not folder.startswith(("/", "~", "\\")) and ":" not in folder[:2]:
        raise _refused(node.mark, "mirror.folder is named by its whole path")
    return folder


def _pattern(node: nodes.Node) -> str:
    text = _text(node)
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise _refused(node.mark, f"no regular expression: {error}") from error
    if groups != 1:
        raise _refused(node.mark, "expected one group, the slot's number")
    return text


def _scanner(node: nodes.Node) -> Scanner:
    return Scanner(**_section(node, _SCANNER))


_SCANNER: Final[Mapping[str, Read]] = {
    "port": _text,
    "baud": _number("baud is a whole number, such as 9600"),
    "prefix": _text,
    "suffix": _text,
    "slot": _pattern,
}
_TOP: Final[Mapping[str, Read]] = {
    "station": _text,
    "slots": _slots,
    "sealing": _sealing,
    "operator": _text,
    "lot": _text,
    "scanner": _scanner,
    "probes": _probes,
    "mirror": _mirror,
}
