"""Values of a batch: a row under way, what the pool answers, and how rows end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from infuse_cli.records.rows import Row, RowOutcome, RowRecord, cloud_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infuse_cli import api_types as api
    from infuse_cli import ports
    from infuse_cli.batch.registration import RegisterRequest
    from infuse_cli.batch.row_states import RowState
    from infuse_cli.config import model as prof
    from infuse_cli.errors import InfuseError
    from infuse_cli.provisioning.context import Resolved


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all rows of a run share.

    `registry` and `sealer` are there when rows have names; `spill_store` makes a new, empty one.

    `patient_cloud` asks through an outage, for what all rows wait for; a row's own call ends
    sooner, and the row comes again.
    """

    run: str
    profile: prof.Profile
    request: RegisterRequest
    journal: ports.Journal
    cloud: ports.InfuseApi
    patient_cloud: ports.InfuseApi
    registry: ports.RegistryApi | None
    sealer: ports.Sealer | None
    clock: ports.Clock
    events: ports.Events | None
    resolved: Resolved
    spill_store: Callable[[], ports.SpillStore]


class EndedRow(msgspec.Struct, frozen=True, kw_only=True):
    """How a row ended in this run. `field` is the column at fault where it is known."""

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

    def as_json(self) -> dict[str, object]:
        """The row as events and the report show it."""
        error = self.error or {}
        return {
            "line": self.line,
            "mcuId": self.mcu_id,
            "outcome": self.outcome.value,
            "deviceId": self.device_id,
            "id": self.id,
            "name": self.name,
            "registryDeviceId": self.registry_device_id,
            "field": self.field,
            "code": error.get("code"),
            "message": error.get("message") or self.note or None,
        }


# What is known of a row under way


@dataclass(frozen=True, slots=True)
class DeviceProgress:
    """The cloud device of a row.

    `created`: a POST of this run made it. `maybe_sent`: a POST or PUT of this run may have taken
    effect unseen. `patch` is the metadata that this run writes.
    """

    device: api.Device | None = None
    created: bool = False
    maybe_sent: bool = False
    patch: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenProgress:
    """The registration token of a row with a name.

    `known` are the intents of all its tokens in the journal, `live` that of one that needs no mint,
    `intent` what a mint carries. `maybe_minted`: a mint may have taken effect unseen. `unfinished`
    is our own registry device that has to go first, `retired` how many of them went.
    """

    known: frozenset[str] = frozenset()
    intent: str | None = None
    live: str | None = None
    maybe_minted: bool = False
    registry_device_id: str | None = None
    unfinished: api.RegistryDevice | None = None
    retired: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Times of a row, in seconds of the monotonic clock.

    `since` is when the cloud, or another run, began to keep the row waiting. What was sent before
    may still appear until `grace_end`. A list of the registry counts if it was read at `list_from`
    or later, after a mint that was refused at `retired_at`.

    `lost` counts effects whose answer was lost, `looks` the look-ups since the last of them.
    """

    since: float | None = None
    grace_end: float = 0.0
    list_from: float = 0.0
    retired_at: float = 0.0
    lost: int = 0
    looks: int = 0


@dataclass(frozen=True, slots=True)
class RowProgress:
    """How far a row is: what is asked next and what is known so far.

    `refusal` is a 409 that has to be explained by a look-up, `last_error` the last of all errors.
    """

    state: RowState
    device: DeviceProgress = DeviceProgress()
    token: TokenProgress = TokenProgress()
    waiting: Waiting = Waiting()
    refusal: InfuseError | None = None
    last_error: InfuseError | None = None


@dataclass(slots=True, eq=False)
class Job:
    """A row under way; only the coordinator changes it.

    `begun`: its intent is durable under this run.
    """

    row: Row
    soc: str
    record: RowRecord | None
    progress: RowProgress
    begun: bool = False

    @property
    def key(self) -> str:
        """The cloud key as text."""
        return cloud_key(self.soc, self.row.mcu_id)


# What the pool answers


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """LOOK_UP, CREATE and UPDATE: the device, None where there is none.

    `created`: a POST of this run was answered with it. `refusal` is the 409 of a POST, after which
    the device was looked up: somebody was faster, or a unique value belongs to another device.
    """

    device: api.Device | None
    created: bool = False
    refusal: InfuseError | None = None


@dataclass(frozen=True, slots=True)
class Minted:
    """MINT: the token. Its text is a secret."""

    token: api.MintedToken


@dataclass(frozen=True, slots=True)
class FoundName:
    """LOOK_UP_BY_NAME: the registry device of the row's name, None where there is none."""

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


Answer = FoundDevice | Minted | FoundName | Retired | Failed | NotStarted
