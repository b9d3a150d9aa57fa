"""Settings of this invocation: what the global options and the environment say.

A flag beats the environment. `current()` is for the modules of `cli/`; other rooms get what they
need as arguments.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from infuse_cli.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Output = Literal["human", "json", "jsonl"]
OUTPUTS: Final[tuple[Output, ...]] = ("human", "json", "jsonl")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What holds for the whole invocation.

    `home` is INFUSE_HOME, absolute; `verbose` counts -v; `ca_bundle` is --ca-bundle.
    """

    home: Path
    output: Output = "human"
    profile: str | None = None
    no_color: bool = False
    verbose: int = 0
    home_by_flag: bool = False
    profile_by_flag: bool = False
    ca_bundle: Path | None = None

    @property
    def env(self) -> Mapping[str, str]:
        """The environment as the rest of the program is to see it: --home, --profile and
        --ca-bundle are already in it.
        """
        named = {"INFUSE_PROFILE": self.profile} if self.profile else {}
        named |= {"INFUSE_CA_BUNDLE": str(self.ca_bundle)} if self.ca_bundle else {}
        return {**os.environ, "INFUSE_HOME": str(self.home), **named}

    @property
    def settings(self) -> Settings:
        """What the library gets of this invocation."""
        from infuse_cli.cli.prompts import terminal_prompt

        return Settings(self.home, self.profile, self.env, terminal_prompt())


def default_home() -> Path:
    """The platform's data folder for this program."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("infuse"))


def output_of(text: str, source: str) -> Output:
    """The output mode that a text names. Raises UsageError usage.bad-option naming `source`."""
    if text in OUTPUTS:
        return text
    from infuse_cli.errors import UsageError

    raise UsageError(
        "usage.bad-option", f"{source} is {text!r}, but must be one of {', '.join(OUTPUTS)}"
    )


_make: Callable[[], Invocation] | None = None
_settings: Invocation | None = None
_boards = True


def prepare(make: Callable[[], Invocation], *, boards: bool = True) -> None:
    """Say how the settings are made; they are made at the first `current()`, so that --help costs
    nothing.

    `boards`: somebody may have a board in hand while this command runs.
    """
    global _make, _settings, _boards
    _make, _settings, _boards = make, None, boards


def boards_at_hand() -> bool:
    """Whether this invocation may concern a board that somebody could unplug."""
    return _boards


def current() -> Invocation:
    """The settings of this invocation."""
    global _settings  # noqa: PLW0603 - one invocation, one value
    if _settings is None:
        _settings = _make() if _make is not None else Invocation(home=_home_of(os.environ))
    return _settings


def settings_of(
    env: Mapping[str, str],
    *,
    home: str | None = None,
    output: str | None = None,
    profile: str | None = None,
    no_color: bool = False,
    verbose: int = 0,
    ca_bundle: str | None = None,
) -> Invocation:
    """Invocation from flags (None: not given) and environment.

    Raises UsageError for an unknown output mode.
    """
    named = (
        output_of(output, "--output")
        if output
        else output_of(env.get("INFUSE_OUTPUT") or "human", "INFUSE_OUTPUT")
    )
    return Invocation(
        home=_home_of({"INFUSE_HOME": home} if home else env),
        output=named,
        profile=profile or env.get("INFUSE_PROFILE") or None,
        no_color=no_color or bool(env.get("NO_COLOR")),
        verbose=verbose,
        home_by_flag=bool(home),
        profile_by_flag=bool(profile),
        ca_bundle=Path(ca_bundle).expanduser().absolute() if ca_bundle else None,
    )


def _home_of(env: Mapping[str, str]) -> Path:
    named = env.get("INFUSE_HOME")
    return (Path(named).expanduser() if named else default_home()).absolute()
