"""What a use case has to know of its caller: the home, the profile, the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infuse_cli.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infuse_cli.ports import Prompt


@dataclass(frozen=True, slots=True)
class Settings:
    """Values that hold for a whole use case; nothing here is read from the process.

    `home` is the absolute path of INFUSE_HOME. `profile` is the name or path of a product profile,
    None where none was named. `env` is the environment as the library is to see it: options of the
    command line that stand for a variable are already in it. `prompt` is who can be asked,
    None where nobody is at a terminal.
    """

    home: Path
    profile: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    prompt: Prompt | None = None

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is destroyed, unless `yes` has said so in advance.

        Raises UsageError usage.no-terminal where nobody can be asked, Interrupted on no.
        """
        if yes:
            return
        if self.prompt is None:
            raise UsageError(
                "usage.no-terminal",
                f"{question} There is no terminal to ask on",
                hint="--yes says so in advance.",
            )
        if not self.prompt.confirm(question):
            raise Interrupted(
                "not confirmed, so nothing was changed",
                hint="Run again and say yes, or give --yes.",
            )
