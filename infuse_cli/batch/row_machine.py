"""What follows on what for one row: decided from the cloud's answer, without
I/O.

A POST whose answer was lost is looked up until the grace is over before it is sent again; a mint
likewise, by name. A row ends `created` where a POST of this run made its device, `existed` where it
was there.

Guaranteed: `docs/reference/guarantees.md#a-lost-answer-is-looked-up`.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

from infuse_cli.batch.compare import compare
from infuse_cli.batch.model import Do, Ended, Failed, Found, Minted, Named, NotStarted, Retired
from infuse_cli.errors import CloudError, CredentialError, InfuseError, Interrupted, PolicyError
from infuse_cli.provisioning.steps.token import INTENT
from infuse_cli.records.rows import RowOutcome

if TYPE_CHECKING:
    from infuse_cli.api_types import Device, RegistryDevice
    from infuse_cli.batch.model import Answer, Job

MOST_TRIES: Final = 15
"""POSTs of one kind for one row whose answers all got lost: then something is wrong with this very
row.
"""

AWAY: Final = frozenset(
    {"cloud.unreachable", "cloud.timeout", "cloud.unavailable", "cloud.bad-answer"}
)
"""Errors that say that the cloud is away or not itself: what was not done is tried again."""
_CONFLICT: Final = 409
PATIENCE: Final = 10
"""Times the outage that is waited out, for a row that is never let through while others are, or
that a living run has.
"""

_FIRST_LOOK_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Go:
    """The row goes on with `job.do`, at `at` (monotonic seconds; 0: at once).

    `fresh_intent`: it is to be on record first.
    """

    at: float = 0.0
    fresh_intent: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """The row is over.

    `retired` says why its intended token never came to be, empty where it may have.
    """

    ended: Ended
    retired: str = ""


@dataclass(frozen=True, slots=True)
class Park:
    """The run was stopped, and for certain nothing was sent that is not on record."""


Next = Go | End | Park


@dataclass(frozen=True, slots=True)
class Course:
    """What a run asks of all its rows. Times in seconds."""

    organisation_id: str
    board_id: str
    update: bool
    grace_s: float
    outage_s: float

    def after(self, job: Job, answer: Answer, now: float, heard: float) -> Next:
        """What follows; what was learnt is put into the job.

        `heard` is when the cloud was last heard by any row.
        """
        match answer:
            case Failed(error):
                return self._failed(job, error, now, heard)
            case NotStarted():
                return _stopped(job)
            case Found(device, made):
                job.since = None
                return (
                    self._nothing_there(job, now)
                    if device is None
                    else self._there(job, device, made=made)
                )
            case Minted(token):
                job.minted, job.registry_device_id = token, token.device_id
                return End(_done(job))
            case Named(device):
                job.since = None
                return self._no_name(job, now) if device is None else self._named(job, device, now)
            case Retired():
                job.do, job.refusal, job.fresh_from = Do.MINT, None, now
                return Go()
        assert_never(answer)

    def known(self, job: Job, device: Device) -> Next:
        """The device was in the list that was read first."""
        return self._there(job, device, made=False)

    # The cloud device

    def _there(self, job: Job, device: Device, *, made: bool) -> Next:
        job.device, job.made = (
            device,
            job.made or made or (job.sent and job.refusal is None and not job.updated),
        )
        differences = compare(
            job.row, device, organisation_id=self.organisation_id, board_id=self.board_id
        )
        if differences and not made:
            if differences.fixed or not self.update:
                first = (*differences.fixed, *differences.metadata)[0]
                return End(
                    _ended(
                        job, RowOutcome.DIFFERS, error=differences.error(device), field=first.field
                    ),
                    retired="its device is another's",
                )
            job.do, job.updated, job.refusal = Do.UPDATE, differences.patch(job.row), None
            return Go()
        job.refusal = None
        if job.row.name is None or job.registry_device_id is not None:
            return End(_done(job))
        # What was there before this run may have its registry device too.
        job.do, job.tries = Do.MINT if job.made and not job.minted_unseen else Do.NAME, 0
        job.grace_end = job.grace_end if job.minted_unseen else 0.0
        return Go(job.grace_end)

    def _nothing_there(self, job: Job, now: float) -> Next:
        if job.refusal is not None:
            clash = PolicyError(
                "cloud.metadata-clash",
                "the cloud refuses the device because a unique value is taken:"
                f" {job.refusal.message}",
            )
            return End(
                _ended(
                    job, RowOutcome.REFUSED, error=clash, field=_field(job, job.refusal.message)
                ),
                retired="it has no device",
            )
        if now < job.grace_end:
            return _look_again(job, now)
        job.do = Do.CREATE
        return Go()

    # The registration token

    def _no_name(self, job: Job, now: float) -> Next:
        if job.refusal is not None and not job.not_before:
            job.not_before = now  # the list was read before the name was refused: once more
            return Go()
        if job.refusal is not None:
            error = PolicyError(
                "identity.registry-conflict",
                f"the registry says that {job.row.name!r} is taken, but shows no such device",
            )
            return End(
                _ended(job, RowOutcome.REFUSED, error=error, field="name"),
                retired="its name is taken",
            )
        if now < job.grace_end:
            return _look_again(job, now)
        job.do = Do.MINT
        return Go()

    def _named(self, job: Job, device: RegistryDevice, now: float) -> Next:
        """A registry device has the row's name: an unfinished one of ours is cleared, one of
        another job is as good.
        """
        intent = str(device.metadata.get(INTENT, ""))
        active = device.status.upper() != "PENDING"
        if intent in job.intents and not active:
            return self._retire(job, device, now)
        if intent in job.intents or (intent and _linked(job, device)):
            job.registry_device_id = device.id
            job.note = "" if intent in job.intents else "another job minted its token"
            return End(_done(job), retired="its registry device was there")
        error = PolicyError(
            "identity.registry-conflict",
            f"registry device {device.name!r} ({device.id}) was not made for this row",
        )
        return End(
            _ended(job, RowOutcome.REFUSED, error=error, field="name"), retired="its name is taken"
        )

    def _retire(self, job: Job, device: RegistryDevice, now: float) -> Next:
        job.clears += 1
        if job.clears >= MOST_TRIES:
            return End(_ended(job, RowOutcome.UNKNOWN, error=job.last))
        job.do, job.registry_device, job.not_before, job.minted_unseen = (
            Do.RETIRE,
            device,
            now,
            False,
        )
        job.intent = uuid.uuid4().hex
        job.intents |= {job.intent}
        return Go(fresh_intent=True)

    # Errors

    def _failed(self, job: Job, error: InfuseError, now: float, heard: float) -> Next:
        job.last = error
        match error:
            case Interrupted() | CredentialError():
                return _stopped(job)
            case CloudError(unknown=True):
                return self._lost(job, error, now)
            case CloudError(status=409) if job.do is Do.MINT:
                job.do, job.refusal, job.not_before = Do.NAME, error, job.fresh_from
                return Go()
            case CloudError() if error.code in AWAY:
                return self._again(job, now, heard)
        return self._refused(job, error)

    def _lost(self, job: Job, error: InfuseError, now: float) -> Next:
        """The answer to an effect was lost: look before anything is sent again."""
        if job.do is Do.RETIRE:
            return self._again(job, now, now)  # a DELETE may be repeated
        job.tries, job.looks = job.tries + 1, 0
        if job.tries >= MOST_TRIES:
            return End(_ended(job, RowOutcome.UNKNOWN, error=error))
        job.grace_end, job.refusal = now + self.grace_s, None
        if job.do is Do.MINT:
            job.do, job.minted_unseen = Do.NAME, True
        else:
            job.do, job.sent = Do.LOOK, True
        return _look_again(job, now)

    def _again(self, job: Job, now: float, heard: float) -> Next:
        """Nothing was done: the same call once more, until the cloud has been away for too long, or
        has no time for this row.
        """
        job.since = job.since or now
        if (
            now - max(job.since, heard) >= self.outage_s
            or now - job.since >= PATIENCE * self.outage_s
        ):
            return End(_ended(job, RowOutcome.UNKNOWN, error=job.last))
        return Go(now + min(_LONGEST_PAUSE_S, max(0.5, (now - job.since) / 2)))

    def _refused(self, job: Job, error: InfuseError) -> Next:
        if (
            job.do in {Do.MINT, Do.RETIRE, Do.NAME}
            and isinstance(error, CloudError)
            and job.device is not None
        ):
            error = CloudError(
                error.code,
                f"the device is there, but not its token: {error.message}",
                status=error.status,
                hint=error.hint,
            )
        if error.code == "tool.bug":
            return End(_ended(job, RowOutcome.UNKNOWN, error=error))
        if isinstance(error, CloudError) and error.status == _CONFLICT:
            error = PolicyError(
                "cloud.metadata-clash",
                f"the cloud refuses the values because one of them is taken: {error.message}",
            )
        return End(
            _ended(job, RowOutcome.REFUSED, error=error, field=_field(job, error.message)),
            retired="its mint was refused",
        )


def given_up(job: Job) -> Next:
    """The run was stopped while the row waited: what may have taken effect is unknown, else it is
    parked.
    """
    return _stopped(job)


def _stopped(job: Job) -> Next:
    if job.sent or job.minted_unseen:
        return End(
            _ended(
                job,
                RowOutcome.UNKNOWN,
                error=job.last if isinstance(job.last, CloudError) else Interrupted(unknown=True),
            )
        )
    return Park()


def _look_again(job: Job, now: float) -> Go:
    """Soon, then less often, and once more at the end of the grace."""
    job.looks += 1
    job.not_before = min(now + _FIRST_LOOK_S * 4 ** (job.looks - 1), job.grace_end)
    return Go(job.not_before)


def _linked(job: Job, device: RegistryDevice) -> bool:
    known = {job.row.mcu_id, *([job.device.device_id] if job.device is not None else [])}
    return bool(
        known & {str(device.metadata.get("mcuId", "")), str(device.metadata.get("deviceId", ""))}
    )


def _done(job: Job) -> Ended:
    return _ended(job, RowOutcome.CREATED if job.made else RowOutcome.EXISTED)


def _ended(
    job: Job, outcome: RowOutcome, *, error: InfuseError | None = None, field: str | None = None
) -> Ended:
    device, shown = job.device, None if error is None else error.as_json()
    note = job.note or (
        f"metadata changed: {', '.join(sorted(job.updated))}"
        if job.updated and error is None
        else ""
    )
    return Ended(
        line=job.row.line,
        mcu_id=job.row.mcu_id,
        outcome=outcome,
        device_id=device.device_id if device else None,
        id=device.id if device else None,
        name=job.row.name,
        registry_device_id=job.registry_device_id,
        field=field,
        error=shown,
        note=note,
    )


def _field(job: Job, message: str) -> str | None:
    """The column that the server's words name, the longest name first."""
    columns: dict[str, Any] = {key: f"metadata.{key}" for key in job.row.metadata}
    columns |= (
        {"mcuId": "mcuId", "deviceId": "deviceId", "name": "name", "tags": "tags"}
        if job.device is not None
        else {"mcuId": "mcuId", "deviceId": "deviceId"}
    )
    words = message.lower()
    return next(
        (columns[name] for name in sorted(columns, key=len, reverse=True) if name.lower() in words),
        None,
    )
