"""Values of a batch: a row under way, what the pool is asked to do with it and what it answers, and
how rows ended.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from infuse_cli.records.rows import Row, RowOutcome, RowRecord, cloud_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli import api_types as api
    from infuse_cli import ports
    from infuse_cli.config import model as prof
    from infuse_cli.errors import InfuseError
    from infuse_cli.provisioning.context import Resolved


class Do(enum.Enum):
    """What is next for a row.

    Each is one thing asked of the cloud, but for HOLD: another run has the row.
    """

    HOLD = "hold"
    LOOK = "look"
    CREATE = "create"
    UPDATE = "update"
    MINT = "mint"
    NAME = "name"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What the command line asked. `max_failures` None: no limit."""

    concurrency: int = 16
    max_failures: int | None = None
    update: bool = False


@dataclass(frozen=True, slots=True)
class BatchParts:
    """The parts of a run.

    `registry` and `sealer` are there when rows have names; `shelf` makes a new, empty one.

    `patient` asks through an outage, for what all rows wait for; a row's own call ends sooner, and
    the row comes again.
    """

    run: str
    profile: prof.Profile
    options: BatchOptions
    journal: ports.Journal
    cloud: ports.InfuseApi
    patient: ports.InfuseApi
    registry: ports.RegistryApi | None
    sealer: ports.Sealer | None
    clock: ports.Clock
    events: ports.Events
    resolved: Resolved
    shelf: Callable[[], ports.Shelf]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a row ended in this run. `field` is the column at fault where it can be told."""

    line: int
    mcu_id: str
    outcome: RowOutcome
    device_id: str | None = None
    id: str | None = None
    name: str | None = None
    registry_device_id: str | None = None
    field: str | None = None
    error: dict[str, Any] | None = None
    note: str = ""


@dataclass(slots=True, eq=False)
class Job:
    """A row under way; the coordinator owns it, and the pool while it works on it.

    `intents` are those of all tokens on record for this row, `live` that of one that needs no mint,
    `intent` what a mint would carry. `sent` says that a POST or PUT of this run may have taken
    effect unseen, `minted_unseen` the same of a mint. Times are seconds of the monotonic clock; a
    list of the registry counts for `not_before` and `fresh_from` if it was read then or later.
    """

    row: Row
    record: RowRecord | None
    do: Do
    soc: str
    device: api.Device | None = None
    made: bool = False
    updated: dict[str, str] = field(default_factory=dict)
    intents: frozenset[str] = frozenset()
    intent: str | None = None
    live: str | None = None
    minted: api.MintedToken | None = None
    registry_device: api.RegistryDevice | None = None
    registry_device_id: str | None = None
    begun: bool = False
    sent: bool = False
    minted_unseen: bool = False
    refusal: InfuseError | None = None
    last: InfuseError | None = None
    tries: int = 0
    clears: int = 0
    looks: int = 0
    since: float | None = None
    grace_end: float = 0.0
    not_before: float = 0.0
    fresh_from: float = 0.0
    note: str = ""

    @property
    def key(self) -> str:
        """The cloud key as text."""
        return cloud_key(self.soc, self.row.mcu_id)


@dataclass(frozen=True, slots=True)
class Found:
    """LOOK, CREATE and UPDATE: the device, None where there is none.

    `made` where a POST of ours was answered.
    """

    device: api.Device | None
    made: bool = False


@dataclass(frozen=True, slots=True)
class Minted:
    """MINT: the token. Its text is a secret."""

    token: api.MintedToken


@dataclass(frozen=True, slots=True)
class Named:
    """NAME: the registry device of the row's name, None where there is none."""

    device: api.RegistryDevice | None


@dataclass(frozen=True, slots=True)
class Retired:
    """RETIRE: the registry device and its token are gone."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The call ended with an error."""

    error: InfuseError


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The run was stopped before the pool came to it: nothing was sent."""


Answer = Found | Minted | Named | Retired | Failed | NotStarted
