"""Secrets have no place in a profile (issue: a secret in a profile is refused).

No finding ever shows one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from infuse_cli.config.source.finding import Finding, Mark, Source, at
from infuse_cli.config.source.nodes import Broken, Node, Scalar, Sequence, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOKS: Final = (
    (re.compile(r"\bik_[A-Za-z0-9]{6,}"), "an IAM API key (ik_…)"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"), "a bearer token (eyJ…)"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"), "a private key"),
    (re.compile(r"\bhttps?://[^\s/:@]+:[^\s/@]+@"), "a password in a URL"),
)
_KEYS: Final = (
    "token",
    "password",
    "passphrase",
    "passwd",
    "secret",
    "credential",
    "apikey",
    "privatekey",
)
_EXPECTED: Final = "no secret: `infuse auth login` or a file keeps it"


def masked(text: str) -> str:
    """The text without whatever looks like a secret in it."""
    for pattern, _ in _LOOKS:
        text = pattern.sub("***", text)
    return text


def in_text(text: str, source: Source) -> list[Finding]:
    """Findings for whatever looks like a secret anywhere in a file, comments included."""
    return [
        at(
            Mark(source, number, match.start() + 1),
            "",
            f"this line holds {what}",
            expected=_EXPECTED,
            code="profile.secret",
        )
        for number, line in enumerate(text.splitlines(), start=1)
        for pattern, what in _LOOKS
        if (match := pattern.search(line))
    ]


def in_tree(tree: Table) -> list[Finding]:
    """Findings for keys that name a secret and hold text, and for values that look like one."""
    return list(_walk(tree, "", ""))


def _walk(node: Node, key: str, name: str) -> Iterator[Finding]:
    match node:
        case Table():
            for word, entry in (*node.items.items(), *node.repeated):
                yield from _walk(entry.node, f"{key}.{word}" if key else word, word)
        case Sequence():
            for number, item in enumerate(node.items):
                yield from _walk(item, f"{key}[{number}]", name)
        case Scalar():
            yield from _scalar(node, key, name)
        case Broken():
            return


def _scalar(node: Scalar, key: str, name: str) -> Iterator[Finding]:
    plain = re.sub(r"[-_]", "", name.lower())
    if plain.endswith(_KEYS) and node.text and not isinstance(node.value, bool | None):
        yield at(
            node.mark,
            key,
            f"{key!r} looks like a secret",
            expected=_EXPECTED,
            code="profile.secret",
        )
        return
    how = "gets from a variable" if node.from_variable else "holds"
    for pattern, what in _LOOKS:
        if pattern.search(node.text):
            yield at(
                node.mark, key, f"{key!r} {how} {what}", expected=_EXPECTED, code="profile.secret"
            )
