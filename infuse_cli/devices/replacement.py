"""`provision --replaces OLD` and `key rotate`: a board gets its identity, and what it takes the
place of ends.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import failpoint
from infuse_cli.cli import context
from infuse_cli.devices import session as tools
from infuse_cli.devices.cloud_devices import patched
from infuse_cli.devices.retirement import LIVE, REASONS, Old, Retirement, end_token, look_up, tie
from infuse_cli.errors import BoardError, JournalError, PolicyError, UsageError
from infuse_cli.provisioning import line
from infuse_cli.records import NoteAttempt, RevokeCertificate
from infuse_cli.serial_tools.board import identify, opened
from infuse_cli.types import AttemptState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.config.model import Profile
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.provisioning.line import Asked
    from infuse_cli.records import AttemptRecord

ROTATION: Final = "rotation"
"""The fact of the attempt whose identity is rotated away that says what has to end, and how far
that is.
"""


def replacing(text: str, asked: Asked) -> OperationResult:
    """Free the old device's unique metadata, provision the board on the port, and once it is green
    end the old one.
    """
    if asked.sim is not None or (len(asked.ports) != 1 and asked.count != 1):
        raise UsageError(
            "usage.bad-option", "--replaces is for one board: name its --port, or give --count 1"
        )
    if asked.options.dry_run:
        raise UsageError(
            "usage.bad-option",
            "--replaces changes the old device in the cloud, so it does not go with --dry-run",
        )
    with tools.opened() as session:
        ended: list[Retirement] = []

        def before() -> None:
            with tools.on_record(session, "provision --replaces") as record:
                old = look_up(session, record.journal, text)
                _not_itself(old, asked.ports, session.profile)
                ended.append(Retirement(session, record, old, "replaced"))
                if old.fact.get("state") != "done":
                    ended[0].begin()
                    ended[0].free()

        result = line.provision(asked, before)
        ending = ended[0]
        boards = result.data["boards"]
        if [
            one
            for one in boards
            if one["board"] is not None and one["board"]["uuid"] == ending.old.board
        ]:
            _undo(session, text)
        if len(boards) != 1 or boards[0]["result"] != "PASS":
            return _waiting(result, ending.old)
        return _succeeded(session, text, result, boards[0])


def _not_itself(old: Old, ports: Sequence[str], profile: Profile | None) -> None:
    """Before anything is freed: a port that is there, and has another board.

    Raises BoardError, UsageError.
    """
    for port in ports:
        with opened(port, profile) as link:
            if identify(link, profile).identity.uuid == old.board:
                raise _itself(old)


def _itself(old: Old) -> UsageError:
    return UsageError(
        "usage.bad-option",
        f"the board on the port is {old.name} itself, so nothing was replaced",
        hint="`infuse key rotate` gives a board new keys.",
    )


def _undo(session: tools.Session, text: str) -> None:
    """The board on the port is the old one: it keeps what it has. Raises UsageError."""
    with tools.on_record(session, "provision --replaces") as record:
        old = look_up(session, record.journal, text)
        if old.fact.get("state") == "begun":
            Retirement(session, record, old, "replaced").give_back()
    raise _itself(old)


def _waiting(result: OperationResult, old: Old) -> OperationResult:
    note = (
        f"{old.name} is not replaced yet and goes on working: run this again, or end it with"
        " `infuse device retire`."
    )
    return dataclasses.replace(
        result, data={**result.data, "replaced": None}, human=_and_then(result, note)
    )


def _succeeded(
    session: tools.Session, text: str, result: OperationResult, board: dict[str, Any]
) -> OperationResult:
    with tools.on_record(session, "provision --replaces") as record:
        old, new = (
            look_up(session, record.journal, text),
            look_up(session, record.journal, board["board"]["uuid"]),
        )
        ending = Retirement(session, record, old, "replaced")
        failpoint.hit("replaces:green")
        if new.device is not None:
            patched(
                session,
                record,
                new.device,
                (
                    {"infuseReplaces": old.name}
                    if new.device.metadata.get("infuseReplaces") != old.name
                    else {}
                ),
            )
        ending.revoke()
        ending.mark(board["deviceId"])
        tie(record.journal, old, new)
    data = {
        **result.data,
        "replaced": {"board": old.board, "deviceId": old.name, "steps": ending.done.steps},
    }
    return dataclasses.replace(
        result,
        data=data,
        human=_and_then(result, f"{old.name} is retired: {board['deviceId']} takes its place."),
    )


def _and_then(result: OperationResult, note: str) -> Any:
    def human(console: Any) -> None:
        if callable(result.human):
            result.human(console)
        console.print(note, soft_wrap=True, markup=False)

    return human


def rotate(text: str, asked: Asked, reason: str) -> OperationResult:
    """A new key, certificate and token for a board that PASSed; the old ones end."""
    with tools.opened() as session:
        with tools.on_record(session, "key rotate") as record:
            old = look_up(session, record.journal, text)
            start, again = _planned(record, old, reason)
            todo = dict(record.journal.attempt(start.attempt).facts[ROTATION])

        def end_registry() -> None:
            with tools.on_record(session, "key rotate") as record:
                _end_registry(session, record, old, todo)
            failpoint.hit("rotate:begun")

        result = _provisioned(asked, old, end_registry, again=again)
        boards = result.data["boards"]
        if len(boards) != 1 or boards[0]["result"] != "PASS":
            note = (
                f"{old.name} is not rotated yet, and its old certificate is not revoked: run this"
                " again."
            )
            return dataclasses.replace(
                result,
                command="key rotate",
                data={**result.data, "revoked": []},
                human=_and_then(result, note),
            )
        failpoint.hit("rotate:green")
        with tools.on_record(session, "key rotate") as record:
            revoked = _end_certificates(record, old, start, todo)
    ended = (
        f"{len(revoked)} old {'certificate is' if len(revoked) == 1 else 'certificates are'}"
        if revoked
        else "its old one was"
    )
    note = (
        f"{old.name} has a new key and certificate; {ended} revoked{'' if revoked else ' before'}:"
        " `infuse ca crl` tells brokers."
    )
    data = {**result.data, "board": old.board, "reason": reason, "revoked": revoked}
    return dataclasses.replace(
        result, command="key rotate", data=data, human=_and_then(result, note)
    )


def _planned(record: CommandRun, old: Old, reason: str) -> tuple[AttemptRecord, bool]:
    """The attempt whose identity ends, with what has to end on record, and whether a new one has
    still to be begun.
    """
    if old.board is None:
        raise JournalError(
            "journal.not-found",
            f"{old.name} was not made on this bench",
            hint=(
                "Rotate it where it is on record, or free its name with `infuse registry device"
                " delete` and `infuse provision --replace` it here."
            ),
        )
    if old.fact.get("state") in {"begun", "done"}:
        raise PolicyError(
            "identity.retired", f"board {old.board} was retired: {old.fact.get('reason')}"
        )
    for one in old.attempts:
        if one.alive and one.state.is_open:
            raise BoardError(
                "board.in-use", f"board {old.board} is being worked on by run {one.run}"
            )
    under_way = next(
        (
            one
            for one in reversed(old.attempts)
            if (one.facts.get(ROTATION) or {}).get("state") == "begun"
        ),
        None,
    )
    newest = old.attempts[-1].attempt
    if under_way is not None:
        return under_way, newest == under_way.facts[ROTATION].get("newest", under_way.attempt)
    # Superseded: `provision --again` began a new identity and came to nothing, e.g. because the old
    # one is ACTIVE.
    start = next(
        (
            one
            for one in reversed(old.attempts)
            if one.state in {AttemptState.PASSED, AttemptState.SUPERSEDED}
        ),
        None,
    )
    if start is None:
        raise JournalError(
            "journal.not-found",
            f"board {old.board} has no identity that PASSed, so there is nothing to rotate",
            hint=(
                "`infuse provision` brings it there first; `infuse device retire` ends what"
                " there is."
            ),
        )
    todo = {
        "state": "begun",
        "reason": reason,
        "newest": newest,
        "registryDevices": old.registry_ids,
        "tokens": [one.intent for one in old.tokens if one.state in LIVE],
        "certificates": [
            [one.serial, one.issuer] for one in old.certificates if one.state != "revoked"
        ],
    }
    record.journal.commit(NoteAttempt(attempt=start.attempt, facts={ROTATION: todo}))
    return start, True


def _end_registry(
    session: tools.Session, record: CommandRun, old: Old, todo: dict[str, Any]
) -> None:
    """The old token and registry device go first: their name is what the new ones get."""
    if not session.has_registry:
        return
    client = session.registry
    for one in record.journal.tokens(board=old.board):
        if one.intent in todo["tokens"] and one.state in LIVE:
            record.journal.commit(*end_token(session, one, "rotated"))
    for id_ in todo["registryDevices"]:
        if client.device(id_) is not None:
            record.note("registry device deletion intended", registryDeviceId=id_)
            session.once.delete(
                lambda id_=id_: client.delete_device(id_),  # type: ignore[misc]
                lambda id_=id_: client.device(id_),  # type: ignore[misc]
            )
    failpoint.hit("rotate:registry")


def _provisioned(
    asked: Asked, old: Old, end_registry: Callable[[], None], *, again: bool
) -> OperationResult:
    """Provision anew.

    What is there ends only with the CA unlocked and the board seen on its port: it may be in the
    field.
    """
    settings = context.current()
    loaded = line.load_profile(settings.profile, settings.env)
    wanted = dataclasses.replace(asked, options=dataclasses.replace(asked.options, again=again))
    ports = wanted.ports or (old.attempts[-1].port,)

    def before() -> None:
        _see(old, ports, loaded.profile)
        end_registry()

    run = line.Run(
        "key rotate",
        loaded.profile,
        settings.home,
        settings.env,
        wanted,
        overridden=loaded.overridden,
        only={old.board or ""},
        before=before,
    )
    return run.execute(ports)


def _see(old: Old, ports: Sequence[str], profile: Profile) -> None:
    """Raise BoardError serial.none where none of the ports has this board, or what kept the only
    one from being asked.
    """
    for port in ports:
        try:
            with opened(port, profile) as link:
                if identify(link, profile).identity.uuid == old.board:
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
    record: CommandRun, old: Old, start: AttemptRecord, todo: dict[str, Any]
) -> list[str]:
    reason = REASONS.get(todo["reason"], "superseded")
    listed = {(serial, issuer) for serial, issuer in todo["certificates"]}
    rows = [
        one
        for one in record.journal.certificates(board=old.board)
        if (one.serial, one.issuer) in listed and one.state != "revoked"
    ]
    writes = [
        RevokeCertificate(
            serial=one.serial,
            issuer=one.issuer,
            reason=reason,
            not_after=one.not_after,
            name=one.name,
        )
        for one in rows
    ]
    record.journal.commit(
        *writes, NoteAttempt(attempt=start.attempt, facts={ROTATION: {**todo, "state": "done"}})
    )
    return [one.serial for one in rows]
