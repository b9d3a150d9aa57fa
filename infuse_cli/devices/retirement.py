"""What becomes of a device's credentials at its end: retired, or replaced, reassigned
or exposed and therefore rotated.

A retirement is a list of steps, each of which looks first whether it is done: killed or cut off at
any point, the same command goes on. Its intent is on record before the first of them, and old and
new are tied together at the last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import failpoint
from infuse_cli.api_types import TokenEnd, has_connected
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices import session as tools
from infuse_cli.devices.cloud_devices import find, patched
from infuse_cli.errors import BoardError, CloudError, JournalError, ProfileError, UsageError
from infuse_cli.journal import queries
from infuse_cli.records import DropSecret, EndAttempt, MoveToken, NoteAttempt, RevokeCertificate
from infuse_cli.records.rows import cloud_key
from infuse_cli.types import AttemptState, TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli import api_types as api
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import AttemptRecord, CertificateRecord, TokenRecord, Write

RETIRED: Final = "infuseRetired"
REASON: Final = "infuseRetiredReason"
REPLACED_BY: Final = "infuseReplacedBy"
REPLACES: Final = "infuseReplaces"

FACT: Final = "retirement"
"""The fact of a board's newest attempt that says how far its retirement is."""

REASONS: Final = {
    "scrapped": "cessationOfOperation",
    "lost": "keyCompromise",
    "exposed": "keyCompromise",
    "reassigned": "affiliationChanged",
    "replaced": "superseded",
}
"""Reasons that have a word of their own in a CRL (RFC 5280 §5.3.1); any other text is `unspecified`
there.
"""

LIVE: Final = frozenset({TokenState.INTENDED, TokenState.MINTED, TokenState.EXPOSED})
_INTERFACES: Final = ("udp", "serial", "bt_adv", "bt_gatt")
_NOWHERE: Final = "neither this journal nor the cloud knows a device {!r}"


@dataclass(frozen=True, slots=True)
class Old:
    """A device at its end: what the cloud and this journal know of it.

    `board` and what follows are empty for one made elsewhere.
    """

    device: api.Device | None
    board: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    certificates: tuple[CertificateRecord, ...] = ()
    tokens: tuple[TokenRecord, ...] = ()

    @property
    def name(self) -> str:
        """How it is called to people."""
        return self.device.device_id if self.device is not None else self.board or "?"

    @property
    def fact(self) -> dict[str, Any]:
        """How far its retirement is on record."""
        return dict(self.attempts[-1].facts.get(FACT) or {}) if self.attempts else {}

    @property
    def registry_ids(self) -> list[str]:
        """Registry devices that were made for it, oldest first."""
        ids = [row.registry_device_id for row in self.tokens]
        ids += [queries.device_ids(queries.facts_of(one))[1] for one in self.attempts]
        return list(dict.fromkeys(one for one in ids if one is not None))


@dataclass(slots=True)
class Done:
    """What a command did, step by step, for people and programs."""

    steps: list[dict[str, str]] = field(default_factory=list)

    def tell(self, step: str, what: str) -> None:
        """Note a step and what came of it."""
        self.steps.append({"step": step, "result": what})

    def show(self, first: str) -> Any:
        """What prints it: a sentence, then a line a step."""

        def human(console: Any) -> None:
            views.say(console, first)
            width = max(len(row["step"]) for row in self.steps)
            for row in self.steps:
                views.say(console, f"  {row['step']:<{width}}  {row['result']}")

        return human


def look_up(
    session: tools.Session, journal: SqliteJournal, text: str, soc: str | None = None
) -> Old:
    """A device by whatever names it in the journal or in the cloud.

    Raises CloudError cloud.not-found, JournalError journal.ambiguous.
    """
    boards = [
        one.board for one in queries.find_boards(journal, text) if journal.attempts(one.board)
    ]
    if len(boards) > 1:
        raise JournalError(
            "journal.ambiguous", f"{text!r} fits {len(boards)} boards: {', '.join(boards)}"
        )
    device = None
    if not boards:  # made elsewhere, or by a batch and never on a port here
        device = _in_cloud(session, text, soc)
        boards = [
            one.board
            for one in queries.find_boards(journal, device.device_id)
            if journal.attempts(one.board)
        ][:1]
    if not boards:
        return Old(device, tokens=tuple(_of_batches(session, journal, device, soc)))
    attempts = tuple(journal.attempts(boards[0]))
    device = device or _of_attempts(session, attempts)
    tokens = (
        *journal.tokens(board=boards[0]),
        *_of_batches(session, journal, device, attempts[-1].soc),
    )
    return Old(device, boards[0], attempts, tuple(journal.certificates(board=boards[0])), tokens)


def _of_batches(
    session: tools.Session, journal: SqliteJournal, device: api.Device | None, soc: str | None
) -> Sequence[TokenRecord]:
    """Tokens that a batch minted for this chip, before anybody knew which board it is on."""
    chip = soc or session.soc
    return (
        ()
        if device is None or chip is None
        else journal.tokens(board=cloud_key(chip, device.mcu_id))
    )


def _in_cloud(session: tools.Session, text: str, soc: str | None) -> api.Device:
    try:
        return find(session, text, soc)
    except CloudError as error:
        if error.code != "cloud.not-found":
            raise
        raise CloudError(error.code, _NOWHERE.format(text), hint=error.hint) from error


def _of_attempts(session: tools.Session, attempts: Sequence[AttemptRecord]) -> api.Device | None:
    known = [queries.device_ids(queries.facts_of(one))[0] for one in attempts]
    newest = next((one for one in reversed(known) if one is not None), None)
    return None if newest is None else session.cloud.device_by_device_id(newest)


class Retirement:
    """The end of one device, on record in a run; each step may be done again."""

    def __init__(self, session: tools.Session, record: CommandRun, old: Old, reason: str) -> None:
        self.session: Final = session
        self.record: Final = record
        self.journal: Final = record.journal
        self.old: Final = old
        self.reason: Final = old.fact.get("reason") or reason
        self.done: Final = Done()
        self._refuse()

    def _refuse(self) -> None:
        """Before anything is begun: a board in somebody's hands, or one whose registry nobody
        named.
        """
        for one in self.old.attempts:
            if one.alive and one.state.is_open:
                raise BoardError(
                    "board.in-use", f"board {one.board} is being worked on by run {one.run}"
                )
        if self.old.registry_ids and not self.session.has_registry:
            raise ProfileError(
                "profile.invalid",
                f"{self.old.name} was made with a registry, and none is named now",
                hint="Give its --profile, or set INFUSE_REGISTRY_URL.",
            )

    def begin(self) -> None:
        """Put the intent on record."""
        self.record.note(
            "retirement intended", board=self.old.board, deviceId=self.old.name, reason=self.reason
        )
        self._note(state="begun", reason=self.reason, begun=self.old.fact.get("begun") or _now())
        failpoint.hit("retire:begun")

    def revoke(self) -> None:
        """Certificates, tokens, registry devices and kept keys: nobody gets in with them
        any more.
        """
        self._certificates()
        failpoint.hit("retire:certificates")
        self._tokens()
        failpoint.hit("retire:tokens")
        self._registry()
        failpoint.hit("retire:registry")
        self._keys()

    def _certificates(self) -> None:
        rows = [one for one in self.old.certificates if one.state != "revoked"]
        reason = REASONS.get(self.reason, "unspecified")
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
        if writes:
            self.journal.commit(*writes)
        if self.old.board is None:
            self.done.tell(
                "certificates", "not on record here: the bench that made them has to revoke them"
            )
        else:
            self.done.tell(
                "certificates",
                (
                    f"{len(rows)} revoked; `infuse ca crl` tells brokers"
                    if rows
                    else "none left to revoke"
                ),
            )

    def _tokens(self) -> None:
        live = [one for one in self.old.tokens if one.state in {*LIVE, TokenState.HANDED_OVER}]
        for one in live:
            self.journal.commit(*end_token(self.session, one, self.reason))
        self.done.tell("tokens", f"{len(live)} revoked" if live else "none left to revoke")

    def _registry(self) -> None:
        if not self.session.has_registry:
            self.done.tell("registry device", "no registry is named")
            return
        client = self.session.registry
        found = [
            one for id_ in self.old.registry_ids if (one := client.device(id_)) is not None
        ] + self._unanswered()
        for one in found:
            self.record.note(
                "registry device deletion intended", registryDeviceId=one.id, name=one.name
            )
            self.session.once.delete(
                lambda one=one: client.delete_device(one.id),  # type: ignore[misc]
                lambda one=one: client.device(one.id),  # type: ignore[misc]
            )
        self.done.tell(
            "registry device",
            (
                f"{', '.join(one.id for one in found)} deleted, its name is free"
                if found
                else "none left to delete"
            ),
        )

    def _unanswered(self) -> list[api.RegistryDevice]:
        """Devices of mints whose answer never came: by name, with our intent on them."""
        lost = {one.name: one.intent for one in self.old.tokens if one.registry_device_id is None}
        found = [
            (one, intent)
            for name, intent in lost.items()
            if (one := self.session.registry.device_by_name(name)) is not None
        ]
        return [one for one, intent in found if one.metadata.get("infuseIntent") == intent]

    def _keys(self) -> None:
        names = [
            f"key:{one.attempt}:{interface}"
            for one in self.old.attempts
            for interface in _INTERFACES
        ]
        kept = [name for name in names if self.journal.secret(name) is not None]
        if kept:
            self.journal.commit(*(DropSecret(name=name) for name in kept))
            self.done.tell("sealed keys", f"{len(kept)} forgotten")

    def free(self) -> None:
        """Give the unique metadata of the cloud device free, since the device itself cannot be
        deleted.
        """
        device = self.old.device
        if device is None:
            return
        board = self.session.cloud.board(device.board_id)
        unique = (
            [one.name for one in board.metadata_fields if one.unique] if board is not None else []
        )
        taken = {
            name: device.metadata[name]
            for name in unique
            if device.metadata.get(name) and not device.metadata[name].startswith(freed(device, ""))
        }
        if taken:
            self._note(freed={**self.old.fact.get("freed", {}), **taken})
            patched(
                self.session,
                self.record,
                device,
                {name: freed(device, value) for name, value in taken.items()},
            )
        self.done.tell(
            "unique metadata",
            f"{', '.join(sorted(taken))} free for another device" if taken else "none to free",
        )
        failpoint.hit("retire:freed")

    def give_back(self) -> None:
        """Undo `free`: nothing came of the replacement."""
        values = self.old.fact.get("freed", {})
        if self.old.device is not None and values:
            patched(self.session, self.record, self.old.device, values)
        self._note(state="undone")

    def mark(self, replaced_by: str | None) -> None:
        """Mark the cloud device, close what is open, and tie old and new together on record."""
        device, by = self.old.device, replaced_by or self.old.fact.get("replacedBy")
        if device is not None:
            marks = {
                RETIRED: device.metadata.get(RETIRED) or _now(),
                REASON: self.reason,
                **({REPLACED_BY: by} if by else {}),
            }
            patched(
                self.session,
                self.record,
                device,
                {
                    name: value
                    for name, value in marks.items()
                    if device.metadata.get(name) != value
                },
            )
            self.done.tell(
                "cloud device", f"{device.device_id} marked retired; it cannot be deleted"
            )
        failpoint.hit("retire:marked")
        self._note(state="done", ended=_now(), **({"replacedBy": by} if by else {}))
        self.record.note(
            "retired",
            board=self.old.board,
            deviceId=self.old.name,
            reason=self.reason,
            replacedBy=by,
        )

    def _note(self, **facts: Any) -> None:
        """How far it is, on the record of the board's newest attempt, which ends with it."""
        if not self.old.attempts:
            return
        newest = self.journal.attempt(self.old.attempts[-1].attempt)
        merged = {FACT: {**(newest.facts.get(FACT) or {}), **facts}}
        write: Write = NoteAttempt(attempt=newest.attempt, facts=merged)
        if newest.state.is_open and facts.get("state") == "done":
            write = EndAttempt(attempt=newest.attempt, state=AttemptState.CLOSED, facts=merged)
        self.journal.commit(write)


def end_token(session: tools.Session, token: TokenRecord, why: str) -> list[Write]:
    """Revoke a live token where the registry still has it; the writes that end it on record and
    forget its secret.
    """
    to = TokenState.REVOKED if token.token_id is None else revoked(session, token)
    return [
        MoveToken(intent=token.intent, from_state=token.state, to_state=to, why=why),
        DropSecret(name=f"token:{token.intent}"),
    ]


def revoked(session: tools.Session, token: TokenRecord) -> TokenState:
    """Revoke a token that was minted: how it ended.

    Raises ProfileError where no registry is named, CloudError.

    `revoked` also where the registry knows its device, but no such token any more; `consumed` by a
    device that was online, `burnt` where nobody can say who used it, or neither token nor device is
    known there.
    """
    end = ended(session, token)
    if end is TokenEnd.REVOKED:
        return TokenState.REVOKED
    device = session.registry.device(token.registry_device_id) if token.registry_device_id else None
    if end is TokenEnd.UNKNOWN and device is not None:
        return TokenState.REVOKED
    return (
        TokenState.CONSUMED
        if device is not None and has_connected(device.status)
        else TokenState.BURNT
    )


def ended(session: tools.Session, token: TokenRecord) -> TokenEnd:
    """DELETE a minted token; `unknown` also where the answer was lost and it is not pending any
    more.
    """
    client, token_id = session.registry, token.token_id or ""
    return session.once.send(
        lambda: client.end_token(token_id),
        lambda: (
            None if any(row.id == token_id for row in client.pending_tokens()) else TokenEnd.UNKNOWN
        ),
    )


def freed(device: api.Device, value: str) -> str:
    """What stands for a unique value that was given free: no other device can hold it by
    accident.
    """
    return f"retired-{device.device_id}-{value}"


def retire(text: str, reason: str, soc: str | None, *, yes: bool) -> OperationResult:
    """`infuse device retire`."""
    why = _worded(reason)
    with tools.opened() as session, tools.on_record(session, "device retire") as record:
        old = look_up(session, record.journal, text, soc)
        already = old.fact.get("state") == "done"
        ending = Retirement(session, record, old, why)
        if not already:
            tools.confirm(
                f"Retire {old.name}: revoke its certificates and tokens, delete its registry"
                " device, mark it in the cloud?",
                yes=yes,
            )
        ending.begin()
        ending.revoke()
        ending.free()
        ending.mark(None)
    return _result(
        "device retire",
        ending,
        f"{old.name} is retired{' already' if already else ''}: {ending.reason}.",
        already=already,
    )


def replace(
    old_text: str, new_text: str, move: Sequence[str], soc: str | None, *, yes: bool
) -> OperationResult:
    """`infuse device replace`: the new device is there and green; the old one ends, and both say
    so.
    """
    with tools.opened() as session, tools.on_record(session, "device replace") as record:
        old, new = (look_up(session, record.journal, text, soc) for text in (old_text, new_text))
        taker = _other(old, new)
        ending = Retirement(session, record, old, "replaced")
        values = _moved(old, move)
        if old.fact.get("state") != "done":
            tools.confirm(
                f"Replace {old.name} by {new.name}: revoke the old one's certificates and tokens,"
                " delete its registry device?",
                yes=yes,
            )
        ending.begin()
        ending.free()
        wanted = {**values, REPLACES: old.name}
        patched(
            session,
            record,
            taker,
            {name: value for name, value in wanted.items() if taker.metadata.get(name) != value},
        )
        ending.done.tell(
            "new device",
            f"{taker.device_id}"
            f" {', '.join(f'has {name}' for name in values) or 'is marked as its successor'}",
        )
        failpoint.hit("replace:moved")
        ending.revoke()
        ending.mark(taker.device_id)
        tie(record.journal, old, new)
    return _result(
        "device replace",
        ending,
        f"{old.name} is replaced by {taker.device_id}.",
        replacedBy=taker.device_id,
    )


def tie(journal: SqliteJournal, old: Old, new: Old) -> None:
    """Put the old device on the record of the new one."""
    if new.attempts:
        journal.commit(
            NoteAttempt(
                attempt=new.attempts[-1].attempt,
                facts={"replaces": {"board": old.board, "deviceId": old.name}},
            )
        )


def _other(old: Old, new: Old) -> api.Device:
    if new.device is None:
        raise UsageError(
            "usage.bad-option",
            f"{new.name} is not in the cloud, so it cannot replace anything",
            hint="Provision it first.",
        )
    if (old.board is not None and old.board == new.board) or (
        old.device is not None and old.device.id == new.device.id
    ):
        raise UsageError(
            "usage.bad-option",
            f"{old.name} and {new.name} are one and the same device",
            hint="`infuse key rotate` gives a device new keys.",
        )
    return new.device


def _moved(old: Old, move: Sequence[str]) -> dict[str, str]:
    have = {**(old.device.metadata if old.device else {}), **old.fact.get("freed", {})}
    missing = [name for name in move if name not in have]
    if missing:
        raise UsageError(
            "usage.bad-option", f"{old.name} has no metadata {', '.join(missing)} to move"
        )
    return {name: have[name] for name in move}


def _result(command: str, ending: Retirement, first: str, **more: Any) -> OperationResult:
    old = ending.old
    data = {
        "board": old.board,
        "deviceId": old.device.device_id if old.device else None,
        "reason": ending.reason,
        "steps": ending.done.steps,
        **more,
    }
    return OperationResult(command, data, human=ending.done.show(first))


def _worded(reason: str) -> str:
    text = " ".join(reason.split())
    if not text:
        raise UsageError("usage.bad-option", "--reason is empty")
    return text


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
