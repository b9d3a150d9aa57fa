"""What a step is: data about itself, and three functions that the engine calls.

A step declares what it `needs` and `gives` (names of facts), and its kind of effect. Steps without
an effect only read or compute: they are run again on every resume and are not journalled. Steps
with an effect are journalled: `prepare` (cheap, may read the board) says what is committed with the
intent, `run` makes the effect, and `probe` asks the world, not the journal, whether an effect of
unknown outcome is there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from infuse_cli.errors import InfuseError
    from infuse_cli.provisioning.context import Context
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
class Given:
    """What a step brings: facts for later steps, and writes that become durable with its
    transition.
    """

    facts: Facts = field(default_factory=dict)
    writes: tuple[Write, ...] = ()


@dataclass(frozen=True, slots=True)
class Done(Given):
    """A probe found the effect."""


@dataclass(frozen=True, slots=True)
class NotDone(Given):
    """A probe found that the effect is not there and may be made (again)."""


@dataclass(frozen=True, slots=True)
class Rewind(Given):
    """What an earlier step gave no longer holds: go back to step `to`. `why` goes on record."""

    to: str = ""
    why: str = ""


class RewindNeeded(Exception):  # noqa: N818 - a turn of the way, not an error
    """Raised by `run` or `prepare` when an earlier step has to be made again."""

    def __init__(self, rewind: Rewind, otherwise: InfuseError) -> None:
        super().__init__(rewind.why)
        self.rewind = rewind
        self.otherwise = otherwise  # what the board ends with once its rewinds are used up


Probe = Done | NotDone | Rewind


class Step(Protocol):
    """One step of a plan."""

    name: ClassVar[str]
    effect: ClassVar[Effect]
    needs: ClassVar[frozenset[str]]
    gives: ClassVar[frozenset[str]]

    def prepare(self, ctx: Context) -> Given:
        """Return the intent that is committed before the first byte of the effect."""

    def run(self, ctx: Context) -> Given:
        """Make the effect (or, without one, read and compute) and return what it gave."""

    def probe(self, ctx: Context) -> Probe:
        """Ask the world whether the effect is there.

        Raises PolicyError where only a person can decide.
        """

    def confirm(self, ctx: Context) -> None:
        """Check, on resume, that the effect of a step that is done on record still holds."""


class Reading:
    """Base of steps without a lasting effect."""

    name: ClassVar[str]
    effect: ClassVar[Effect] = Effect.NONE
    needs: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()
    voids: ClassVar[tuple[str, ...]] = ()  # steps whose result is refused when this one refuses
    online: ClassVar[bool] = False  # the board has to be back in the functional mode that was found

    def prepare(self, ctx: Context) -> Given:  # noqa: ARG002 - nothing to intend
        """Intend nothing."""
        return Given()

    def probe(self, ctx: Context) -> Probe:  # noqa: ARG002 - reading can always be repeated
        """Reading can always be repeated."""
        return NotDone()

    def confirm(self, ctx: Context) -> None:
        """Nothing to confirm: the step is run again."""


class Acting:
    """Base of steps with an effect; nothing to intend and nothing to confirm unless a step
    says so.
    """

    name: ClassVar[str]
    effect: ClassVar[Effect]
    needs: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()
    voids: ClassVar[tuple[str, ...]] = ()
    online: ClassVar[bool] = False

    def prepare(self, ctx: Context) -> Given:  # noqa: ARG002 - most steps have no more to say
        """Intend the step itself, nothing more."""
        return Given()

    def confirm(self, ctx: Context) -> None:
        """Trust the record: read-back at the end of the plan checks the board as a whole."""
