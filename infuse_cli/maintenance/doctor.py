"""`infuse doctor`: what of a bench is right, doubtful or wrong, each with what to do about it.

The checks run side by side, each on a thread of its own with a deadline, so that a keyring that
hangs or a cloud that is silent costs one line and not the others. Nothing is changed, and nothing
ever asks.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from infuse_cli.errors import InfuseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from infuse_cli.config.model import Profile
    from infuse_cli.maintenance.machine import Machine

State = Literal["PASS", "WARN", "FAIL"]
DEADLINE_S: Final = 12.0
"""Seconds that a check may take; its own waits are shorter."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `fix` is what to do where it is not PASS; `error` the code that a FAIL stands for;
    `data` for programs.
    """

    name: str
    state: State
    message: str
    fix: str | None = None
    error: InfuseError | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {
            "check": self.name,
            "state": self.state,
            "message": self.message,
            "fix": self.fix,
            "code": None if self.error is None else self.error.code,
            "data": self.data,
        }


def passed(name: str, message: str, **data: Any) -> Finding:
    """All is well."""
    return Finding(name, "PASS", message, data=data)


def doubtful(name: str, message: str, fix: str, **data: Any) -> Finding:
    """It may do, or it may not: a person should look."""
    return Finding(name, "WARN", message, fix, data=data)


def failed(name: str, error: InfuseError, **data: Any) -> Finding:
    """A run would end here, and with this very error."""
    return Finding(name, "FAIL", error.message, error.hint, error, data)


@dataclass(frozen=True)
class Subject:
    """What is looked at: the bench's home and environment, the product where one is named, the
    machine around it.
    """

    home: Path
    env: Mapping[str, str]
    machine: Machine
    profile_name: str | None = None
    passphrase_file: Path | None = None

    @cached_property
    def profile(self) -> Profile | None:
        """The profile, None where none is named or it has mistakes: the check `profile` tells
        which.
        """
        from infuse_cli.config.source import load

        if self.profile_name is None:
            return None
        try:
            return load(self.profile_name, self.env).profile
        except InfuseError:
            return None


Check = tuple[str, "Callable[[Subject], Sequence[Finding]]"]


def examine(
    subject: Subject, checks: Sequence[Check], *, deadline_s: float = DEADLINE_S
) -> list[Finding]:
    """Run all checks at once and return their findings in the order of the checks; back after the
    deadline in any case.
    """
    box: dict[str, Sequence[Finding]] = {}
    threads = [
        (
            name,
            threading.Thread(
                target=_into, args=(box, name, check, subject), name=f"doctor-{name}", daemon=True
            ),
        )
        for name, check in checks
    ]
    end = time.monotonic() + deadline_s
    for _, thread in threads:
        thread.start()
    for _, thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return [
        finding for name, _ in threads for finding in box.get(name) or (_overdue(name, deadline_s),)
    ]


def _into(
    box: dict[str, Sequence[Finding]],
    name: str,
    check: Callable[[Subject], Sequence[Finding]],
    subject: Subject,
) -> None:
    try:
        box[name] = check(subject)
    except InfuseError as error:
        box[name] = (failed(name, error),)
    except Exception as error:  # noqa: BLE001 - a check that breaks is one line, and the others still count
        box[name] = (
            failed(
                name, InfuseError("internal.error", f"this check broke: {type(error).__name__}")
            ),
        )


def _overdue(name: str, deadline_s: float) -> Finding:
    return doubtful(
        name,
        f"gave no answer within {deadline_s:g} s",
        "Run `infuse doctor` again; what hangs is most often a keyring, a network folder or the"
        " network.",
    )


def totals(findings: Sequence[Finding]) -> dict[str, int]:
    """How many of each."""
    return {
        state.lower(): sum(one.state == state for one in findings)
        for state in ("PASS", "WARN", "FAIL")
    }
