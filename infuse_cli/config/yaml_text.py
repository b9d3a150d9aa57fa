"""One line of YAML at a time, so that each can carry its comment."""

from __future__ import annotations

import yaml


def pair(name: str, value: object) -> str:
    """`name: value` in one line; lists and tables in flow form."""
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=100_000
    )
    return f"{scalar(name)}: {_bare(text)}"


def scalar(text: str) -> str:
    """A text as YAML would write it, quoted only where it has to be."""
    return _bare(yaml.safe_dump(text, allow_unicode=True, width=100_000))


def _bare(dumped: str) -> str:
    """Without the end-of-document mark that a lone scalar gets."""
    return dumped.removesuffix("\n").removesuffix("...").removesuffix("\n")
