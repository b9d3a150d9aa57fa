"""What a use case has to know of its caller: the home, the profile, the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
