"""`provision --replaces OLD` and `key rotate`: a board gets its identity, and what it takes the
place of ends.

The provisioning itself is the caller's: a function that gets what has to happen before the board is
touched, and returns what became of the boards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from infuse_cli import failpoint
from infuse_cli.devices import session as tools
from infuse_cli.devices.retirement import (
    REASONS,
    REPLACES,
    Retirement,
    Step,
    delete_registry_device,
    link_replacement,
    patch_missing,
    revoke_certificates,
)
from infuse_cli.devices.retiring_device import RetiringDevice, look_up
from infuse_cli.devices.token_end import LIVE, end_token
from infuse_cli.errors import BoardError, JournalError, PolicyError, UsageError
from infuse_cli.records import NoteAttempt
from infuse_cli.serial_tools.board import uuid_on
from infuse_cli.serial_tools.ports import BoardPort
from infuse_cli.types import AttemptState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli.ca.origins import LiveCertificate
    from infuse_cli.config.model import Profile
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.records import AttemptRecord, RevokeCertificate
    from infuse_cli.settings import Settings

ROTATION: Final = "rotation"
"""The fact of the attempt whose identity is rotated away that says what has to end, and how far
that is.
"""

_REPLACES: Final = "provision --replaces"


@dataclass(frozen=True, slots=True)
class BoardEnd:
    """What became of a board in a provisioning: its UUID and deviceId where they are known."""

    uuid: str | None
    device_id: str | None
    passed: bool


class Provision(Protocol):
    """Provisions boards, calling `before` once all is at hand and before a board is touched."""

    def __call__(self, before: Callable[[], None]) -> Sequence[BoardEnd]: ...  # noqa: D102


class ProvisionAgain(Protocol):
    """Provisions the board `uuid` on one of the ports; `again` begins a new identity."""

    def __call__(  # noqa: D102
        self, before: Callable[[], None], *, uuid: str, ports: Sequence[str], again: bool
    ) -> Sequence[BoardEnd]: ...


@dataclass(frozen=True, slots=True)
class Replacement:
    """What became of the old device; not `done` where the new board did not PASS."""

    old: RetiringDevice
    done: bool = False
    replaced_by: str | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Rotation:
    """What became of a board's old credentials; not `done` where the board did not PASS.

    `live` are certificates that no list of this bench can revoke.
    """

    old: RetiringDevice
    reason: str
    done: bool = False
    had_certificates: bool = False
    revoked: tuple[RevokeCertificate, ...] = ()
    live: tuple[LiveCertificate, ...] = ()


def replace_by_provisioning(
    settings: Settings, text: str, ports: Sequence[str], provision: Provision
) -> Replacement:
    """Release the old device's unique metadata, provision the board on the port, and once it is
    green end the old one.

    Raises UsageError where the board on the port is the old one.
    """
    with tools.opened(settings) as session:
        olds: list[RetiringDevice] = []

        def before() -> None:
            with tools.journal_run(session, _REPLACES) as run:
                old = look_up(session, run.journal, text)
                _refuse_itself(old, ports, session.profile)
                olds.append(old)
                ending = Retirement(session, run, old, "replaced")
                if not old.is_retired:
                    ending.begin()
                    ending.release_unique_metadata()

        boards = provision(before)
        old = olds[0]
        if any(board.uuid is not None and board.uuid == old.board for board in boards):
            _undo(session, text)
        if len(boards) != 1 or not boards[0].passed:
            return Replacement(old)
        return _succeed(session, text, boards[0])


def _refuse_itself(old: RetiringDevice, ports: Sequence[str], profile: Profile | None) -> None:
    """Before anything is released: a port that is there, and has another board.

    Raises BoardError, UsageError.
    """
    for port in ports:
        if uuid_on(BoardPort(port, profile)) == old.board:
            raise _itself(old)


def _itself(old: RetiringDevice) -> UsageError:
    return UsageError(
        "usage.bad-option",
        f"the board on the port is {old.name} itself, so nothing was replaced",
        hint="`infuse key rotate` gives a board new keys.",
    )


def _undo(session: tools.Session, text: str) -> None:
    """The board on the port is the old one: it keeps what it has. Raises UsageError."""
    with tools.journal_run(session, _REPLACES) as run:
        old = look_up(session, run.journal, text)
        if old.fact.get("state") == "begun":
            Retirement(session, run, old, "replaced").restore_metadata()
    raise _itself(old)


def _succeed(session: tools.Session, text: str, board: BoardEnd) -> Replacement:
    with tools.journal_run(session, _REPLACES) as run:
        old = look_up(session, run.journal, text)
        new = look_up(session, run.journal, board.uuid or "")
        ending = Retirement(session, run, old, "replaced")
        failpoint.hit("replaces:green")
        if new.device is not None:
            patch_missing(session, run, new.device, {REPLACES: old.name})
        ending.revoke()
        ending.tag_retired(board.device_id)
        link_replacement(run.journal, old, new)
    return Replacement(old, True, board.device_id, ending.log.steps)


def rotate(
    settings: Settings,
    text: str,
    ports: Sequence[str],
    reason: str,
    provision: ProvisionAgain,
) -> Rotation:
    """A new key, certificate and token for a board that PASSed; the old ones end.

    Without `ports` the board is looked for where it was last. Stopped anywhere, the same call goes
    on. Raises JournalError, PolicyError identity.retired, BoardError.
    """
    with tools.opened(settings) as session:
        with tools.journal_run(session, "key rotate") as run:
            old = look_up(session, run.journal, text)
            start, again = _plan(run, old, reason)
            todo = dict(run.journal.attempt(start.attempt).facts[ROTATION])
        places = tuple(ports) or (old.attempts[-1].port,)

        def before() -> None:
            _find_on_ports(old, places, session.profile)
            with tools.journal_run(session, "key rotate") as run:
                _end_registry(session, run, old, todo)
            failpoint.hit("rotate:begun")

        boards = provision(before, uuid=old.board or "", ports=places, again=again)
        if len(boards) != 1 or not boards[0].passed:
            return Rotation(old, reason)
        failpoint.hit("rotate:green")
        with tools.journal_run(session, "key rotate") as run:
            return _end_certificates(session, run, old, start, todo=todo, reason=reason)


def _plan(run: CommandRun, old: RetiringDevice, reason: str) -> tuple[AttemptRecord, bool]:
    """The attempt whose identity ends, with what has to end recorded, and whether a new one has
    still to be begun.
    """
    if old.board is None:
        raise JournalError(
            "journal.not-found",
            f"{old.name} was not made on this bench",
            hint=(
                "Rotate it where it was made, or free its name with `infuse registry device"
                " delete` and `infuse provision --replace` it here."
            ),
        )
    if old.fact.get("state") in {"begun", "done"}:
        raise PolicyError(
            "identity.retired", f"board {old.board} was retired: {old.fact.get('reason')}"
        )
    old.refuse_in_use()
    under_way = [
        attempt
        for attempt in old.attempts
        if (attempt.facts.get(ROTATION) or {}).get("state") == "begun"
    ]
    newest = old.attempts[-1].attempt
    if under_way:
        start = under_way[-1]
        return start, newest == start.facts[ROTATION].get("newest", start.attempt)
    start = _newest_identity(old)
    todo = {
        "state": "begun",
        "reason": reason,
        "newest": newest,
        "registryDevices": old.registry_ids,
        "tokens": [token.intent for token in old.tokens if token.state in LIVE],
        "certificates": [
            [row.serial, row.issuer] for row in old.certificates if row.state != "revoked"
        ],
    }
    run.journal.commit(NoteAttempt(attempt=start.attempt, facts={ROTATION: todo}))
    return start, True


def _newest_identity(old: RetiringDevice) -> AttemptRecord:
    """The newest attempt that gave the board an identity.

    Superseded: `provision --again` began a new identity and came to nothing, e.g. because the old
    one has connected.
    """
    states = {AttemptState.PASSED, AttemptState.SUPERSEDED}
    for attempt in reversed(old.attempts):
        if attempt.state in states:
            return attempt
    raise JournalError(
        "journal.not-found",
        f"board {old.board} has no identity that PASSed, so there is nothing to rotate",
        hint=(
            "`infuse provision` brings it there first; `infuse device retire` ends what there is."
        ),
    )


def _end_registry(
    session: tools.Session, run: CommandRun, old: RetiringDevice, todo: dict[str, Any]
) -> None:
    """The old token and registry device go first: their name is what the new ones get."""
    if not session.has_registry:
        return
    for token in run.journal.tokens(board=old.board):
        if token.intent in todo["tokens"] and token.state in LIVE:
            run.journal.commit(*end_token(session, token, "rotated"))
    for id_ in todo["registryDevices"]:
        if session.registry.device(id_) is not None:
            delete_registry_device(session, run, id_)
    failpoint.hit("rotate:registry")


def _find_on_ports(old: RetiringDevice, ports: Sequence[str], profile: Profile | None) -> None:
    """Raise BoardError serial.none where none of the ports has this board, or what kept the only
    one from being asked.

    What is there ends only with the CA unlocked and the board seen on its port: it may be in the
    field.
    """
    for port in ports:
        try:
            if uuid_on(BoardPort(port, profile)) == old.board:
                return
        except BoardError:
            if len(ports) == 1:
                raise
    raise BoardError(
        "serial.none",
        f"board {old.board} is not on {', '.join(ports)}",
        hint="Plug it in, and name its --port.",
    )


def _end_certificates(
    session: tools.Session,
    run: CommandRun,
    old: RetiringDevice,
    start: AttemptRecord,
    *,
    todo: dict[str, Any],
    reason: str,
) -> Rotation:
    listed = {(serial, issuer) for serial, issuer in todo["certificates"]}
    certificates = run.journal.certificates(board=old.board)
    rows = [row for row in certificates if (row.serial, row.issuer) in listed]
    done = NoteAttempt(attempt=start.attempt, facts={ROTATION: {**todo, "state": "done"}})
    crl_reason = REASONS.get(todo["reason"], "superseded")
    plan = revoke_certificates(session, run.journal, rows, crl_reason, done)
    return Rotation(old, reason, True, bool(rows), plan.new, plan.live)
