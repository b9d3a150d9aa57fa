"""What goes into the journal and comes out of it: typed writes and records.

A commit is a tuple of writes that become durable together. Facts are JSON values; secrets never
enter facts, they travel as sealed bytes in `StoreSecret`, which lives outside the hash chain.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec needs the type at run time

from infuse_cli.records.base import Facts, Record, Write
from infuse_cli.records.ca import (
    CertificateRecord,
    CheckLimits,
    CheckName,
    CrlRecord,
    MoveCertificate,
    RefuseCsr,
    ReserveSerial,
    RevocationRecord,
    RevokeCertificate,
    StoreCertificate,
    StoreCrl,
    VoidSerial,
)
from infuse_cli.records.notes import NoteKind  # noqa: TC001
from infuse_cli.types import (
    AttemptState,  # noqa: TC001
    StepState,  # noqa: TC001
    TokenState,  # noqa: TC001
)

__all__ = [
    "AttemptRecord",
    "BeginRow",
    "BoardRecord",
    "CertificateRecord",
    "CheckLimits",
    "CheckName",
    "CrlRecord",
    "DropSecret",
    "EndAttempt",
    "EndRow",
    "EventRecord",
    "Facts",
    "IntendToken",
    "MintToken",
    "MoveCertificate",
    "MoveStep",
    "MoveToken",
    "NoteAttempt",
    "NoteRun",
    "OpenAttempt",
    "Record",
    "RefuseCsr",
    "ReserveSerial",
    "RevocationRecord",
    "RevokeCertificate",
    "RunRecord",
    "RunStart",
    "SeeKey",
    "StepRecord",
    "StoreCertificate",
    "StoreCrl",
    "StoreSecret",
    "TakeAttempt",
    "TokenRecord",
    "VoidSerial",
    "Write",
]


class OpenAttempt(Write, frozen=True):
    """A board was begun: binds uuid, imei and mcuId one to one (else `identity.clone`) and takes
    the board.

    Raises `board.in-use` while another live process holds an open attempt of this board. An open
    attempt of a dead process must be taken over (`TakeAttempt`) or ended first.
    """

    attempt: str
    run: str
    board: str
    soc: str
    slot: int
    port: str
    plan: tuple[str, ...]
    plan_hash: str
    imei: str | None = None
    mcu_id: str | None = None
    facts: Facts = {}


class TakeAttempt(Write, frozen=True):
    """An open attempt whose owner is gone goes on under this run: its state becomes running
    (compare and swap).
    """

    attempt: str
    run: str
    slot: int
    port: str


class MoveStep(Write, frozen=True):
    """One transition of a step, compare-and-swap on `from_state` (a step without a row is pending).

    `facts` and `error` are what the step's record holds from here on; the chain keeps what it held
    before.
    """

    attempt: str
    step: str
    from_state: StepState
    to_state: StepState
    facts: Facts = {}
    error: Facts | None = None
    ms: float | None = None


class NoteAttempt(Write, frozen=True):
    """Facts to merge into the attempt itself, e.g. the functional mode found."""

    attempt: str
    facts: Facts


class EndAttempt(Write, frozen=True):
    """The attempt stops here: parked and failed stay open, passed, closed and superseded
    are final.
    """

    attempt: str
    state: AttemptState
    outcome: str | None = None
    error: Facts | None = None
    facts: Facts = {}


class SeeKey(Write, frozen=True):
    """A public key (SHA-256 hex of its SubjectPublicKeyInfo DER) was seen on a board; unique to
    that board.
    """

    spki_sha256: str
    board: str


class IntendToken(Write, frozen=True):
    """A registration token is about to be minted with metadata infuseIntent = `intent`."""

    intent: str
    name: str
    board: str | None = None
    attempt: str | None = None


class MintToken(Write, frozen=True):
    """The mint was answered: ids, SHA-256 hex of the token, end of life.

    The secret goes into `StoreSecret`.
    """

    intent: str
    token_id: str
    registry_device_id: str
    sha256: str
    expires_at: datetime | None = None


class MoveToken(Write, frozen=True):
    """A token's next state, compare-and-swap on `from_state`."""

    intent: str
    from_state: TokenState
    to_state: TokenState
    why: str = ""


class StoreSecret(Write, frozen=True):
    """Sealed bytes under a name such as `token:<intent>`; outside the hash chain."""

    name: str
    sealed: bytes


class DropSecret(Write, frozen=True):
    """Forget sealed bytes (overwritten with zeros before the row goes)."""

    name: str


class NoteRun(Write, frozen=True):
    """Something that the run itself did, e.g. created an organisation; `what` is its kind."""

    run: str
    what: NoteKind
    facts: Facts = {}


class BeginRow(Write, frozen=True):
    """A row of a batch goes to the cloud: durable before its POST; known by organisation id, soc
    and mcuId, not by its line.

    Raises `journal.conflict` while another living process has the row begun; one of a dead process
    is taken over. `device_id` and `name` are what the row asks for, `token_intent` that of the
    token that is to be minted for it. `seen` is the run that had the row when this was decided,
    empty where it was on no record: where another run had it since, that is `journal.conflict` too,
    for what that run made must be looked up first. None: whoever had it.
    """

    organisation: str
    soc: str
    mcu_id: str
    run: str
    line: int
    device_id: str | None = None
    name: str | None = None
    token_intent: str | None = None
    seen: str | None = None
    facts: Facts = {}


class EndRow(Write, frozen=True):
    """What became of a row: `state` is a value of `rows.RowOutcome`, or `parked` where for certain
    nothing was sent.

    A row that was only found to be there has no `BeginRow`. Raises `journal.conflict` as `BeginRow`
    does.
    """

    organisation: str
    soc: str
    mcu_id: str
    run: str
    line: int
    state: str
    device_id: str | None = None
    id: str | None = None
    name: str | None = None
    registry_device_id: str | None = None
    token_intent: str | None = None
    facts: Facts = {}
    error: Facts | None = None


class RunStart(Record, frozen=True):
    """A run as it began.

    `profile` is the resolved profile as JSON values (no secrets), used by resume.
    """

    run: str
    command: str
    profile_name: str
    profile_hash: str
    profile: Facts
    operator: str
    lot: str | None = None
    simulated: bool = False
    facts: Facts = {}


class RunRecord(Record, frozen=True):
    """A run as it stands."""

    start: RunStart
    station: str
    tool_version: str
    started: datetime
    ended: datetime | None = None
    alive: bool = False
    totals: Facts = {}


class StepRecord(Record, frozen=True):
    """A journalled step of an attempt as it stands."""

    step: str
    state: StepState
    facts: Facts = {}
    error: Facts | None = None
    ms: float | None = None
    at: datetime | None = None
    tries: int = 0


class AttemptRecord(Record, frozen=True):
    """One board's way through a plan as it stands; `alive` tells whether its owner process still
    runs.
    """

    attempt: str
    run: str
    board: str
    soc: str
    slot: int
    port: str
    state: AttemptState
    plan: tuple[str, ...]
    plan_hash: str
    opened: datetime
    alive: bool
    steps: dict[str, StepRecord] = {}
    facts: Facts = {}
    outcome: str | None = None
    error: Facts | None = None
    ended: datetime | None = None


class BoardRecord(Record, frozen=True):
    """What the journal knows of a board: attributes bound to the UUID, its open attempt, its newest
    PASS.
    """

    board: str
    imei: str | None = None
    mcu_id: str | None = None
    open: AttemptRecord | None = None
    passed: AttemptRecord | None = None


class TokenRecord(Record, frozen=True):
    """A registration token on record, never its secret."""

    intent: str
    name: str
    state: TokenState
    board: str | None = None
    attempt: str | None = None
    token_id: str | None = None
    registry_device_id: str | None = None
    sha256: str | None = None
    expires_at: datetime | None = None


class EventRecord(Record, frozen=True):
    """A row of the append-only chain."""

    seq: int
    ts: datetime
    kind: str
    run: str | None
    board: str | None
    attempt: str | None
    step: str | None
    from_state: str | None
    to_state: str | None
    facts: Facts
    prev: str
    hash: str
    station: str = ""
    operator: str = ""
    tool_version: str = ""
