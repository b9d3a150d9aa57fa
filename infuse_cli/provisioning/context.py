"""What the steps of one board share: the run's parts (`RunContext`) and this board's own facts
(`BoardContext`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from infuse_cli.dialect.commands import FLIGHT_MODE
from infuse_cli.effects.credentials import CredentialStore
from infuse_cli.effects.send_once import SendOnce
from infuse_cli.errors import CloudError, InfuseError, Interrupted
from infuse_cli.provisioning.facts import BoardFacts
from infuse_cli.records import NoteRun
from infuse_cli.records.notes import NoteKind
from infuse_cli.types import AttemptState, Event, StepState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from infuse_cli import api_types as api
    from infuse_cli import ports
    from infuse_cli.config import model as prof
    from infuse_cli.dialect.base import Operations
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.provisioning.facts import CertificateFacts
    from infuse_cli.provisioning.labels import Labels
    from infuse_cli.provisioning.request import Options
    from infuse_cli.records import AttemptRecord, Write
    from infuse_cli.types import BoardIdentity, Secret

T = TypeVar("T")

_ASKED_AGAIN = "the cloud does not answer as it should; it is asked again"
_OUTAGE = frozenset({"cloud.unreachable", "cloud.timeout", "cloud.unavailable"})


@dataclass(frozen=True, slots=True)
class Resolved:
    """Organisation, cloud board and network of this run, resolved once before any slot starts."""

    organisation: api.Organisation
    board: api.CloudBoard
    network: api.Network | None
    soc: str


@dataclass(frozen=True, slots=True)
class RunContext:
    """The parts of a run, shared by all slots.

    `signer` is unlocked; `sealer` is there when tokens are.

    `certificate` is what the CA signs here, the built-in profile of that name where it is None.
    """

    id: str
    profile: prof.Profile
    profile_hash: str
    options: Options
    journal: ports.Journal
    cloud: ports.InfuseApi
    registry: ports.RegistryApi | None
    signer: ports.Signer | None
    sealer: ports.Sealer | None
    clock: ports.Clock
    events: ports.Events
    resolved: Resolved
    server_ca: str | None = None
    cloud_public_key: Callable[[], bytes] | None = None
    chip_ids: ports.ChipIds | None = None
    key_sink: ports.KeySink | None = None
    labels: Labels | None = None  # what is scanned during this run
    known_key: Callable[[str, str], str | None] | None = (
        None  # public key of a soc and mcuId that a batch named, base64
    )
    certificate: CertificateProfile | None = None
    check_clock: Callable[[], None] = lambda: None  # raises where the clock cannot be right
    proved: set[str | None] = field(default_factory=set)  # modem firmware that PASSed in this run

    def emit(
        self,
        event: str,
        *,
        slot: int | None = None,
        board: str | None = None,
        step: str | None = None,
        state: str | None = None,
        ms: float | None = None,
        error: InfuseError | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Emit an event of this run; the events of a step have its state in their name."""
        if event.startswith("step-"):
            state = event.removeprefix("step-")
        self.events.emit(
            Event(
                ts=self.clock.now(),
                run=self.id,
                event=event,
                slot=slot,
                board=board,
                step=step,
                state=state,
                ms=ms,
                error=None if error is None else error.as_json(),
                data=data or {},
            )
        )

    def note_refusal(self, identity: BoardIdentity, error: InfuseError) -> None:
        """Record that a board was refused before there was an attempt, where that can be done."""
        facts = {
            "board": identity.uuid,
            "imei": identity.imei,
            "mcuId": identity.mcu_id,
            "error": error.as_json(),
        }
        try:
            self.journal.commit(NoteRun(run=self.id, what=NoteKind.BOARD_REFUSED, facts=facts))
        except InfuseError:
            return  # the journal itself is the trouble, and that is already the board's error


def mode_owed(deps: RunContext, identity: BoardIdentity) -> int | None:
    """The functional mode that a board in flight mode was in before a change by hand that did not
    bring it back.
    """
    found = (
        deps.journal.modes_owed(identity.uuid) if identity.functional_mode == FLIGHT_MODE else ()
    )
    return found[0].mode if found else None


@dataclass(slots=True)
class BoardContext:
    """One board's way through the plan; owned by its slot's thread."""

    run: RunContext
    link: ports.BoardLink
    ops: Operations
    identity: BoardIdentity
    slot: int
    attempt: str
    history: tuple[AttemptRecord, ...] = ()  # all attempts of this board, oldest first
    facts: BoardFacts = field(default_factory=BoardFacts)
    states: dict[str, StepState] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    on_record: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # what each step has on record
    ahead: tuple[str, ...] = ()  # the steps that this run comes to
    resumed: bool = False
    mode_owed: int | None = (
        None  # the functional mode that a change by hand found and did not bring back
    )
    waiting: Callable[[str], None] = lambda _why: None
    token: Secret | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    credentials: CredentialStore = field(init=False)

    def __post_init__(self) -> None:
        self.credentials = CredentialStore(self.link, self.ops, self.identity.uuid)

    @property
    def profile(self) -> prof.Profile:
        """The run's profile."""
        return self.run.profile

    @property
    def uuid(self) -> str:
        """The key of the board: its UUID, or `SOC:MCUID`."""
        return self.identity.uuid

    def commit(self, *writes: Write) -> None:
        """Make writes durable now, outside the transition of a step (records that must precede an
        effect).
        """
        self.run.journal.commit(*writes)

    def retry_through_outage(self, call: Callable[[], T]) -> T:
        """Repeat a call without lasting effect through an outage of the cloud, up to
        `outage_wait_s`.

        An answer that was lost after an effect passes through at once: only a probe may follow it.
        """
        clock = self.run.clock
        give_up = clock.monotonic() + self.profile.cloud.outage_wait_s
        pause = 0.5
        while True:
            try:
                with clock.telling(lambda: self.waiting(_ASKED_AGAIN)):
                    return call()
            except CloudError as error:
                if (
                    error.unknown
                    or error.code not in _OUTAGE
                    or clock.monotonic() + pause > give_up
                ):
                    raise
                self.waiting(error.message)
            if clock.wait(pause):
                raise Interrupted
            pause = min(pause * 2, 5.0)

    def look_up_lost(self, look: Callable[[], T | None]) -> T | None:
        """Look something up to the end of `lost_answer_grace_s`, through outages; None when it is
        still not there.
        """
        once = SendOnce(self.run.clock, self.profile.cloud.lost_answer_grace_s)
        return once.look_up_lost(lambda: self.retry_through_outage(look))

    def scanned(self, names: Collection[str]) -> Mapping[str, str]:
        """What was scanned for this board; waits for what of `names` was not yet.

        Raises Interrupted, serial.unplugged.
        """
        labels = self.run.labels
        if labels is None:
            return {}
        return labels.await_for(
            self.slot,
            self.identity.imei,
            self.uuid,
            names,
            waiting=self.waiting,
            look=lambda: self.link.run(self.ops.same_board(self.uuid)),
        )

    def past(self, step: str) -> list[dict[str, Any]]:
        """Facts that this step left in any attempt of this board, oldest first."""
        found = [record.steps[step].facts for record in self.history if step in record.steps]
        return [facts for facts in found if facts]

    def began(self, step: str) -> bool:
        """Whether our journal ever began this step on this board."""
        return any(
            step in record.steps and record.steps[step].state is not StepState.PENDING
            for record in self.history
        )

    def begun(self) -> datetime:
        """When this attempt began, by this machine's clock."""
        opened = [record.opened for record in self.history if record.attempt == self.attempt]
        return opened[0] if opened else self.started

    def is_continued(self) -> bool:
        """Whether this attempt was begun by an earlier run."""
        return any(
            record.attempt == self.attempt and record.state is not AttemptState.PASSED
            for record in self.history
        )


def certificate_of(ctx: BoardContext) -> CertificateFacts:
    """The board's certificate, for steps whose plan has one by now."""
    certificate = ctx.facts.certificate
    if certificate is None:
        raise KeyError("certificate")
    return certificate
