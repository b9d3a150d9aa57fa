"""A profile under check, and how a rule says what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from infuse_cli.config.source.finding import Finding, at
from infuse_cli.config.source.nodes import Table, place

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile


@dataclass(frozen=True, slots=True)
class Subject:
    """A profile under check.

    `base`: a built-in one, which need not be complete; `simulated`: no real hardware.
    """

    profile: Profile
    tree: Table
    base: bool
    simulated: bool

    def error(
        self,
        key: str,
        message: str,
        *,
        expected: str = "",
        meant: str | None = None,
        code: str = "profile.invalid",
    ) -> Finding:
        """An error at a key."""
        return at(place(self.tree, key), key, message, expected=expected, nearest=meant, code=code)

    def missing(self, key: str, message: str, expected: str) -> Finding:
        """Something that a base may leave to the products that extend it."""
        severity: Literal["error", "warning"] = "warning" if self.base else "error"
        return at(place(self.tree, key), key, message, expected=expected, severity=severity)

    def doubt(self, key: str, message: str) -> Finding:
        """A warning at a key."""
        return at(place(self.tree, key), key, message, severity="warning")


def compiled(pattern: str) -> tuple[int, str]:
    """How many groups a regular expression has, and what is wrong with it where it is none."""
    try:
        return re.compile(pattern).groups, ""
    except re.error as error:
        return 0, str(error)
