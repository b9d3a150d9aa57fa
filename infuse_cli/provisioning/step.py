"""What a step is: one declaration about itself, and four functions that the attempt runner calls.

A step declares what it `requires` and `provides` (names of facts), its kind of effect, what it asks
of the dialect, and for which profiles there is nothing for it to do. Steps without an effect
(`QueryStep`) only read or compute: they run again on every resume and are not journalled. Steps
with an effect (`EffectStep`) are: `prepare` (cheap, may read the board) says what is committed with
the intent, `run` makes the effect, and `probe` asks the world, not the journal, whether an effect
of unknown outcome is there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from infuse_cli.capabilities import Capability
    from infuse_cli.config.model import Profile
    from infuse_cli.errors import InfuseError
    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.records import Write

Facts = dict[str, Any]


class Effect(enum.Enum):
    """What a step changes: nothing that lasts, the board, its chip past the firmware, the cloud, or
    the CA's books.
    """

    NONE = "none"
    BOARD = "board"
    CHIP = "chip"
    CLOUD = "cloud"
    CA = "ca"


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step brings: facts for later steps, and writes that become durable with its
    transition.
    """

    facts: Facts = field(default_factory=dict)
    writes: tuple[Write, ...] = ()


@dataclass(frozen=True, slots=True)
class Done(StepOutput):
    """A probe found the effect."""


@dataclass(frozen=True, slots=True)
class NotDone(StepOutput):
    """A probe found that the effect is not there and may be made (again)."""


@dataclass(frozen=True, slots=True)
class Rollback(StepOutput):
    """What an earlier step provided no longer holds: go back to step `to`. `why` is recorded."""

    to: str = ""
    why: str = ""


class RollbackRequired(Exception):  # noqa: N818 - the way goes back, which is no error
    """Raised by `run` or `prepare` when an earlier step has to be made again.

    `fallback_error` is what the board ends with once its rollbacks are used up.
    """

    def __init__(self, rollback: Rollback, fallback_error: InfuseError) -> None:
        super().__init__(rollback.why)
        self.rollback = rollback
        self.fallback_error = fallback_error


Probe = Done | NotDone | Rollback


class _Step:
    """What every step says of itself; most need to say little.

    `voids` are steps whose result is refused when this one refuses. `online`: the board has to be
    back in the functional mode that was found. `in_dry_run`: it only reads, so a dry run does it.
    `rechecks`: it proves a board that PASSed before. `summary` are facts that the record of a PASS
    shows at a glance.
    """

    name: ClassVar[str]
    effect: ClassVar[Effect]
    requires: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()
    voids: ClassVar[tuple[str, ...]] = ()
    online: ClassVar[bool] = False
    in_dry_run: ClassVar[bool] = False
    rechecks: ClassVar[bool] = False
    summary: ClassVar[tuple[str, ...]] = ()

    def is_needed(self, profile: Profile) -> bool:  # noqa: ARG002 - most are, by every profile
        """Whether the profile gives the step anything to do."""
        return True

    def capabilities(self, profile: Profile) -> frozenset[Capability]:  # noqa: ARG002 - most ask nothing
        """What the step asks of the board's dialect under this profile."""
        return frozenset()

    def prepare(self, ctx: BoardContext) -> StepOutput:  # noqa: ARG002 - most intend only themselves
        """Return the intent that is committed before the first byte of the effect."""
        return StepOutput()

    def run(self, ctx: BoardContext) -> StepOutput:
        """Make the effect (or, without one, read and compute) and return what it provides."""
        raise NotImplementedError

    def confirm(self, ctx: BoardContext) -> None:
        """Check, on resume, that the effect of a step that is recorded as done still holds.

        Nothing by default: read-back at the end of the plan checks the board as a whole.
        """


class QueryStep(_Step):
    """Base of steps without a lasting effect."""

    effect: ClassVar[Effect] = Effect.NONE


class EffectStep(_Step):
    """Base of steps with an effect."""

    def probe(self, ctx: BoardContext) -> Probe:
        """Ask the world whether the effect is there.

        Raises PolicyError where only a person can decide.
        """
        raise NotImplementedError
