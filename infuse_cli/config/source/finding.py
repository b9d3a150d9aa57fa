"""What is wrong with a profile, and where."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """Where YAML came from: `label` for people, `path` where it is a file, `folder` that relative
    paths start from.

    `resource` is a built-in profile, which need not be a file: in a program packed into one file
    its `path` only names it.
    """

    label: str
    folder: Path
    path: Path | None = None
    name: str = ""
    resource: Traversable | None = None

    @property
    def built_in(self) -> bool:
        """Whether it comes with the program."""
        return self.resource is not None


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a source; line and column count from 1."""

    source: Source
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake or doubt.

    `key` is dotted, such as `identity.sec_tag`; `code` is a row of errors.CODES.
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    expected: str = ""
    nearest: str | None = None
    severity: Literal["error", "warning"] = "error"
    code: str = "profile.invalid"

    def __str__(self) -> str:
        expected = f"; expected {self.expected}" if self.expected else ""
        nearest = f" (did you mean {self.nearest!r}?)" if self.nearest else ""
        return f"{self.file}:{self.line}: {self.message}{expected}{nearest}"


def at(
    mark: Mark,
    key: str,
    message: str,
    *,
    expected: str = "",
    nearest: str | None = None,
    severity: Literal["error", "warning"] = "error",
    code: str = "profile.invalid",
) -> Finding:
    """A finding at a place."""
    return Finding(
        mark.source.label, mark.line, mark.column, key, message, expected, nearest, severity, code
    )


def nearest(text: str, names: Iterable[str]) -> str | None:
    """The valid name that `text` most likely stands for, whatever its case."""
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(text.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None
