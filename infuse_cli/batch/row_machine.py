"""What follows on what for one row: decided from the cloud's answer, without I/O.

A POST whose answer was lost is looked up until the grace is over before it is sent again; a mint
likewise, by name. A row ends `created` where a POST of this run made its device, `existed` where it
was there. The legal moves are the table of `row_states.py`.

Guaranteed: `docs/reference/guarantees.md#a-lost-answer-is-looked-up`.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, assert_never

from infuse_cli.api_types import never_connected
from infuse_cli.batch.compare import by_column, compare, conflict
from infuse_cli.batch.model import (
    EndedRow,
    Failed,
    FoundDevice,
    FoundName,
    Minted,
    NotStarted,
    Retired,
)
from infuse_cli.batch.row_states import RowState, check
from infuse_cli.effects.tokens import INTENT
from infuse_cli.errors import CloudError, CredentialError, InfuseError, Interrupted, PolicyError
from infuse_cli.records.rows import RowOutcome

if TYPE_CHECKING:
    from infuse_cli.api_types import Device, MintedToken, RegistryDevice
    from infuse_cli.batch.model import Answer, Job, RowProgress

S = RowState

MAX_LOST: Final = 15
"""Effects of one row whose answers all got lost: then something is wrong with this very row."""

AWAY: Final = frozenset(
    {"cloud.unreachable", "cloud.timeout", "cloud.unavailable", "cloud.bad-answer"}
)
"""Errors that say that the cloud is away or not itself: what was not done is tried again."""

PATIENCE: Final = 10
"""Times the outage that is waited out, for a row that is never let through while others are, or
that a living run has.
"""

_CONFLICT: Final = 409
_FIRST_LOOK_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Continue:
    """The row goes on with `progress.state`, at `at` (monotonic seconds; 0: at once).

    `new_intent`: the journal gets a new intent first.
    """

    progress: RowProgress
    at: float = 0.0
    new_intent: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """The row is over. `minted` is the token that it got.

    `never_minted` says why its intended token was never minted, empty where it may have been.
    """

    progress: RowProgress
    ended: EndedRow
    never_minted: str = ""
    minted: MintedToken | None = None


@dataclass(frozen=True, slots=True)
class Suspend:
    """The run was stopped, and everything that was sent for the row is in the journal."""

    progress: RowProgress


Next = Continue | Finish | Suspend


@dataclass(frozen=True, slots=True)
class RowStateMachine:
    """Decides for all rows of a run. Times are in seconds."""

    organisation_id: str
    board_id: str
    update: bool
    grace_s: float
    outage_s: float

    def after(self, job: Job, answer: Answer, now: float, last_contact: float) -> Next:
        """What follows an answer. `last_contact` is when the cloud last answered any row."""
        following = self._after(job, job.progress, answer, now, last_contact)
        check(job.progress.state, _state_of(following))
        return following

    def _after(  # noqa: PLR0911 - a table of answers
        self, job: Job, row: RowProgress, answer: Answer, now: float, last_contact: float
    ) -> Next:
        match answer:
            case FoundDevice(device, created, refusal):
                row = replace(_answered(row), refusal=refusal)
                if device is None:
                    return self._no_device(job, row, now)
                return self.with_device(job, row, device, created=created)
            case Minted(token):
                row = replace(row, token=replace(row.token, registry_device_id=token.device_id))
                return _done(job, row, minted=token)
            case FoundName(holder):
                row = _answered(row)
                if holder is None:
                    return self._name_free(job, row, now)
                return self._name_taken(job, row, holder, now)
            case Retired():
                waiting = replace(row.waiting, retired_at=now)
                return Continue(replace(row, state=S.MINT, refusal=None, waiting=waiting))
            case Failed(error):
                return self._failed(job, replace(row, last_error=error), error, now, last_contact)
            case NotStarted():
                return stop(job)
        assert_never(answer)

    # The cloud device

    def with_device(
        self, job: Job, row: RowProgress, device: Device, *, created: bool = False
    ) -> Next:
        """What follows once the cloud device of a row is seen."""
        seen = row.device
        ours = seen.maybe_sent and row.refusal is None and not seen.patch
        row = replace(
            row,
            device=replace(seen, device=device, created=seen.created or created or ours),
        )
        differences = compare(
            job.row, device, organisation_id=self.organisation_id, board_id=self.board_id
        )
        if differences and not created:
            if differences.ids or not self.update:
                return _finish(
                    job,
                    row,
                    RowOutcome.DIFFERS,
                    error=conflict(device, differences),
                    field=by_column(differences)[0].name,
                    never_minted="its device is another's",
                )
            patched = replace(row.device, patch=differences.patch)
            return Continue(replace(row, state=S.UPDATE, device=patched, refusal=None))
        row = replace(row, refusal=None)
        if job.row.name is None or row.token.registry_device_id is not None:
            return _done(job, row)
        # What was there before this run may have its registry device too.
        fresh = row.device.created and not row.token.maybe_minted
        grace_end = row.waiting.grace_end if row.token.maybe_minted else 0.0
        waiting = replace(row.waiting, lost=0, grace_end=grace_end)
        state = S.MINT if fresh else S.LOOK_UP_BY_NAME
        return Continue(replace(row, state=state, waiting=waiting), grace_end)

    def _no_device(self, job: Job, row: RowProgress, now: float) -> Next:
        if row.refusal is not None:
            why = row.refusal.message
            clash = PolicyError(
                "cloud.metadata-clash",
                f"the cloud refuses the device because a unique value is taken: {why}",
            )
            return _finish(
                job,
                row,
                RowOutcome.REFUSED,
                error=clash,
                field=_field_at_fault(job, row, why),
                never_minted="it has no device",
            )
        if now < row.waiting.grace_end:
            return _look_again(row, now)
        return Continue(replace(row, state=S.CREATE))

    # The registration token

    def _name_free(self, job: Job, row: RowProgress, now: float) -> Next:
        waiting = row.waiting
        if row.refusal is not None and not waiting.list_from:
            # The list was read before the name was refused: once more.
            return Continue(replace(row, waiting=replace(waiting, list_from=now)))
        if row.refusal is not None:
            why = f"the registry says that {job.row.name!r} is taken, but shows no such device"
            return _name_refused(job, row, why)
        if now < waiting.grace_end:
            return _look_again(row, now)
        return Continue(replace(row, state=S.MINT))

    def _name_taken(self, job: Job, row: RowProgress, device: RegistryDevice, now: float) -> Next:
        """A registry device has the row's name.

        An unfinished one of ours is taken away, one of another job is as good as ours.
        """
        intent = str(device.metadata.get(INTENT, ""))
        ours = intent in row.token.known
        if ours and never_connected(device.status):
            return self._retire(job, row, device, now)
        if ours or (intent and _belongs_to(job, row, device)):
            row = replace(row, token=replace(row.token, registry_device_id=device.id))
            note = "" if ours else "another job minted its token"
            return _done(job, row, note=note, never_minted="its registry device was there")
        why = f"registry device {device.name!r} ({device.id}) was not made for this row"
        return _name_refused(job, row, why)

    def _retire(self, job: Job, row: RowProgress, device: RegistryDevice, now: float) -> Next:
        retired, intent = row.token.retired + 1, uuid.uuid4().hex
        if retired >= MAX_LOST:
            return _finish(job, row, RowOutcome.UNKNOWN, error=row.last_error)
        token = replace(
            row.token,
            unfinished=device,
            retired=retired,
            maybe_minted=False,
            intent=intent,
            known=row.token.known | {intent},
        )
        waiting = replace(row.waiting, list_from=now)
        return Continue(replace(row, state=S.RETIRE, token=token, waiting=waiting), new_intent=True)

    # Errors

    def _failed(
        self, job: Job, row: RowProgress, error: InfuseError, now: float, last_contact: float
    ) -> Next:
        match error:
            case Interrupted() | CredentialError():
                return _stop(job, row)
            case CloudError(unknown=True):
                return self._lost(job, row, error, now)
            case CloudError(status=409) if row.state is S.MINT:
                waiting = replace(row.waiting, list_from=row.waiting.retired_at)
                return Continue(
                    replace(row, state=S.LOOK_UP_BY_NAME, refusal=error, waiting=waiting)
                )
            case CloudError() if error.code in AWAY:
                return self._try_again(job, row, now, last_contact)
        return self._refused(job, row, error)

    def _lost(self, job: Job, row: RowProgress, error: InfuseError, now: float) -> Next:
        """The answer to an effect was lost: look before anything is sent again."""
        match row.state:
            case S.RETIRE | S.WAIT | S.LOOK_UP_BY_NAME | S.LOOK_UP:
                return self._try_again(job, row, now, now)  # each of these may be repeated
            case S.MINT:
                token = replace(row.token, maybe_minted=True)
                row = replace(row, state=S.LOOK_UP_BY_NAME, token=token)
            case S.CREATE | S.UPDATE:
                device = replace(row.device, maybe_sent=True)
                row = replace(row, state=S.LOOK_UP, device=device)
            case S.CREATED | S.EXISTED | S.DIFFERS | S.REFUSED | S.UNKNOWN | S.PARKED:
                raise AssertionError("a row that ended has no answer")
            case _:
                assert_never(row.state)
        lost = row.waiting.lost + 1
        if lost >= MAX_LOST:
            return _finish(job, row, RowOutcome.UNKNOWN, error=error)
        waiting = replace(row.waiting, lost=lost, looks=0, grace_end=now + self.grace_s)
        return _look_again(replace(row, refusal=None, waiting=waiting), now)

    def _try_again(self, job: Job, row: RowProgress, now: float, last_contact: float) -> Next:
        """Nothing was done: the same call once more.

        Until the cloud has been away for too long, or has no time for this row.
        """
        since = row.waiting.since or now
        row = replace(row, waiting=replace(row.waiting, since=since))
        away_s, kept_s = now - max(since, last_contact), now - since
        if away_s >= self.outage_s or kept_s >= PATIENCE * self.outage_s:
            return _finish(job, row, RowOutcome.UNKNOWN, error=row.last_error)
        return Continue(row, now + min(_LONGEST_PAUSE_S, max(0.5, kept_s / 2)))

    def _refused(self, job: Job, row: RowProgress, error: InfuseError) -> Next:
        for_token = row.state in {S.MINT, S.RETIRE, S.LOOK_UP_BY_NAME}
        if for_token and isinstance(error, CloudError) and row.device.device is not None:
            error = CloudError(
                error.code,
                f"the device is there, but not its token: {error.message}",
                status=error.status,
                hint=error.hint,
            )
        if error.code == "internal.error":
            return _finish(job, row, RowOutcome.UNKNOWN, error=error)
        if isinstance(error, CloudError) and error.status == _CONFLICT:
            error = PolicyError(
                "cloud.metadata-clash",
                f"the cloud refuses the values because one of them is taken: {error.message}",
            )
        field = _field_at_fault(job, row, error.message)
        return _finish(
            job,
            row,
            RowOutcome.REFUSED,
            error=error,
            field=field,
            never_minted="its mint was refused",
        )


def stop(job: Job) -> Next:
    """The run is being stopped: a row of which something may be in effect unseen is unknown."""
    return _stop(job, job.progress)


def _stop(job: Job, row: RowProgress) -> Next:
    if not (row.device.maybe_sent or row.token.maybe_minted):
        return Suspend(row)
    last = row.last_error
    error = last if isinstance(last, CloudError) else Interrupted(unknown=True)
    return _finish(job, row, RowOutcome.UNKNOWN, error=error)


def _state_of(following: Next) -> RowState:
    match following:
        case Continue(row):
            return row.state
        case Finish(_, ended):
            return RowState(ended.outcome.value)
        case Suspend():
            return S.PARKED
    assert_never(following)


def _answered(row: RowProgress) -> RowProgress:
    """The cloud answered, so it is not away."""
    return replace(row, waiting=replace(row.waiting, since=None))


def _look_again(row: RowProgress, now: float) -> Continue:
    """Soon, then less often, and once more at the end of the grace."""
    waiting = row.waiting
    at = min(now + _FIRST_LOOK_S * 4**waiting.looks, waiting.grace_end)
    waiting = replace(waiting, looks=waiting.looks + 1, list_from=at)
    return Continue(replace(row, waiting=waiting), at)


def _name_refused(job: Job, row: RowProgress, why: str) -> Finish:
    error = PolicyError("identity.registry-conflict", why)
    return _finish(
        job, row, RowOutcome.REFUSED, error=error, field="name", never_minted="its name is taken"
    )


def _belongs_to(job: Job, row: RowProgress, device: RegistryDevice) -> bool:
    """Whether a registry device names the row's chip or its cloud device."""
    known = {job.row.mcu_id}
    if row.device.device is not None:
        known.add(row.device.device.device_id)
    return any(str(device.metadata.get(key, "")) in known for key in ("mcuId", "deviceId"))


def _done(
    job: Job,
    row: RowProgress,
    *,
    minted: MintedToken | None = None,
    note: str = "",
    never_minted: str = "",
) -> Finish:
    outcome = RowOutcome.CREATED if row.device.created else RowOutcome.EXISTED
    finish = _finish(job, row, outcome, note=note, never_minted=never_minted)
    return replace(finish, minted=minted)


def _finish(
    job: Job,
    row: RowProgress,
    outcome: RowOutcome,
    *,
    error: InfuseError | None = None,
    field: str | None = None,
    note: str = "",
    never_minted: str = "",
) -> Finish:
    device, patch = row.device.device, row.device.patch
    if patch and error is None and not note:
        note = f"metadata changed: {', '.join(sorted(patch))}"
    ended = EndedRow(
        line=job.row.line,
        mcu_id=job.row.mcu_id,
        outcome=outcome,
        device_id=device.device_id if device else None,
        id=device.id if device else None,
        name=job.row.name,
        registry_device_id=row.token.registry_device_id,
        field=field,
        error=None if error is None else error.as_json(),
        note=note,
    )
    return Finish(row, ended, never_minted)


def _field_at_fault(job: Job, row: RowProgress, message: str) -> str | None:
    """The column that the server's words name, the longest name first."""
    columns: dict[str, Any] = {key: f"metadata.{key}" for key in job.row.metadata}
    names = ["mcuId", "deviceId"]
    if row.device.device is not None:
        names += ["name", "tags"]
    columns |= {name: name for name in names}
    words = message.lower()
    return next(
        (columns[name] for name in sorted(columns, key=len, reverse=True) if name.lower() in words),
        None,
    )
