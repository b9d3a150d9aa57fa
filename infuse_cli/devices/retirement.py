"""The end of a device: its credentials end, its registry device goes, its cloud device is tagged.

A retirement is a list of steps, each of which looks first whether it is done: stopped at any point,
the same call goes on. Its intent is recorded before the first of them, and old and new device are
linked at the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import failpoint
from infuse_cli.ca.origins import KnownIssuers, LiveCertificate, Origin, RevocationPlan
from infuse_cli.devices import session as tools
from infuse_cli.devices.cloud_devices import patched
from infuse_cli.devices.retiring_device import FACT, RetiringDevice, look_up
from infuse_cli.devices.token_end import LIVE, end_token
from infuse_cli.errors import ProfileError, UsageError
from infuse_cli.records import DropSecret, EndAttempt, NoteAttempt
from infuse_cli.records.notes import NoteKind
from infuse_cli.text import plural
from infuse_cli.types import AttemptState, TokenState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infuse_cli import api_types as api
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import CertificateRecord, Write
    from infuse_cli.settings import Settings

RETIRED: Final = "infuseRetired"
REASON: Final = "infuseRetiredReason"
REPLACED_BY: Final = "infuseReplacedBy"
REPLACES: Final = "infuseReplaces"

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

_INTERFACES: Final = ("udp", "serial", "bt_adv", "bt_gatt")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a retirement and what came of it, for people."""

    step: str
    result: str


class StepLog:
    """What a retirement did, step by step."""

    def __init__(self) -> None:
        self._steps: list[Step] = []

    def add(self, step: str, result: str) -> None:
        """Add a step and what came of it."""
        self._steps.append(Step(step, result))

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them, in order."""
        return tuple(self._steps)


@dataclass(frozen=True, slots=True)
class RetiredDevice:
    """A device that was retired.

    `already` where it was before; `replaced_by` is the deviceId of the one that takes its place.
    """

    old: RetiringDevice
    reason: str
    steps: tuple[Step, ...]
    already: bool = False
    replaced_by: str | None = None


class Retirement:
    """The end of one device, recorded in a run; each step may be done again."""

    def __init__(
        self, session: tools.Session, run: CommandRun, old: RetiringDevice, reason: str
    ) -> None:
        """Raise BoardError board.in-use, and ProfileError where its registry is not named."""
        self.session: Final = session
        self.run: Final = run
        self.journal: Final = run.journal
        self.old: Final = old
        self.reason: Final = old.fact.get("reason") or reason
        self.log: Final = StepLog()
        old.refuse_in_use()
        if old.registry_ids and not session.has_registry:
            raise ProfileError(
                "profile.invalid",
                f"{old.name} was made with a registry, and none is named now",
                hint="Give its --profile, or set INFUSE_REGISTRY_URL.",
            )

    def begin(self) -> None:
        """Record the intent."""
        old = self.old
        self.run.note(
            NoteKind.RETIREMENT_INTENDED, board=old.board, deviceId=old.name, reason=self.reason
        )
        self._note(state="begun", reason=self.reason, begun=old.fact.get("begun") or _now())
        failpoint.hit("retire:begun")

    def revoke(self) -> None:
        """End certificates, tokens, registry devices and sealed keys: nobody gets in with them any
        more.
        """
        self._certificates()
        failpoint.hit("retire:certificates")
        self._tokens()
        failpoint.hit("retire:tokens")
        self._registry()
        failpoint.hit("retire:registry")
        self._keys()

    def _certificates(self) -> None:
        reason = REASONS.get(self.reason, "unspecified")
        plan = revoke_certificates(self.session, self.journal, self.old.certificates, reason)
        revoked, live = plan.new, plan.live
        if self.old.board is None:
            result = "made on another bench, which has to revoke them"
        elif revoked:
            result = f"{len(revoked)} revoked; `infuse ca crl` tells brokers"
        else:
            result = "none left to revoke"
        self.log.add("certificates", result)
        if live:
            self.log.add("certificates", still_live(live))

    def _tokens(self) -> None:
        live = [
            token for token in self.old.tokens if token.state in {*LIVE, TokenState.HANDED_OVER}
        ]
        ends = []
        for token in live:
            move, forget = end_token(self.session, token, self.reason)
            self.journal.commit(move, forget)
            ends.append(move.to_state)
        counts = [f"{ends.count(state)} {state.value}" for state in dict.fromkeys(ends)]
        self.log.add("tokens", ", ".join(counts) or "none left to revoke")

    def _registry(self) -> None:
        if not self.session.has_registry:
            self.log.add("registry device", "no registry is named")
            return
        client = self.session.registry
        devices = [client.device(id_) for id_ in self.old.registry_ids] + self._unanswered()
        deleted = []
        for device in filter(None, devices):
            delete_registry_device(self.session, self.run, device.id, name=device.name)
            deleted.append(device.id)
        self.log.add(
            "registry device",
            f"{', '.join(deleted)} deleted, its name is free" if deleted else "none left to delete",
        )

    def _unanswered(self) -> list[api.RegistryDevice | None]:
        """Devices of mints whose answer never came: by name, with our intent on them."""
        devices: list[api.RegistryDevice | None] = []
        lost = [token for token in self.old.tokens if token.registry_device_id is None]
        for name, intent in {token.name: token.intent for token in lost}.items():
            device = self.session.registry.device_by_name(name)
            if device is not None and device.metadata.get("infuseIntent") == intent:
                devices.append(device)
        return devices

    def _keys(self) -> None:
        names = [
            f"key:{attempt.attempt}:{interface}"
            for attempt in self.old.attempts
            for interface in _INTERFACES
        ]
        sealed = [name for name in names if self.journal.secret(name) is not None]
        if sealed:
            self.journal.commit(*(DropSecret(name=name) for name in sealed))
            self.log.add("sealed keys", f"{len(sealed)} forgotten")

    def release_unique_metadata(self) -> None:
        """Make the unique metadata of the cloud device free for another, since the device itself
        cannot be deleted.
        """
        device = self.old.device
        if device is None:
            return
        board = self.session.cloud.board(device.board_id)
        fields = board.metadata_fields if board is not None else ()
        taken = {
            field.name: value
            for field in fields
            if field.unique
            and (value := device.metadata.get(field.name))
            and not value.startswith(released_value(device, ""))
        }
        if taken:
            self._note(freed={**self.old.fact.get("freed", {}), **taken})
            released = {name: released_value(device, value) for name, value in taken.items()}
            patched(self.session, self.run, device, released)
        self.log.add(
            "unique metadata",
            f"{', '.join(sorted(taken))} free for another device" if taken else "none to free",
        )
        failpoint.hit("retire:freed")

    def restore_metadata(self) -> None:
        """Undo `release_unique_metadata`: nothing came of the replacement."""
        values = self.old.fact.get("freed", {})
        if self.old.device is not None and values:
            patched(self.session, self.run, self.old.device, values)
        self._note(state="undone")

    def tag_retired(self, replaced_by: str | None) -> None:
        """Tag the cloud device, close what is open, and record that it is done."""
        device, successor = self.old.device, replaced_by or self.old.fact.get("replacedBy")
        if device is not None:
            tags = {RETIRED: device.metadata.get(RETIRED) or _now(), REASON: self.reason}
            if successor:
                tags[REPLACED_BY] = successor
            patch_missing(self.session, self.run, device, tags)
            self.log.add("cloud device", f"{device.device_id} marked retired; it cannot be deleted")
        failpoint.hit("retire:marked")
        self._note(state="done", ended=_now(), **({"replacedBy": successor} if successor else {}))
        self.run.note(
            NoteKind.RETIRED,
            board=self.old.board,
            deviceId=self.old.name,
            reason=self.reason,
            replacedBy=successor,
        )

    def _note(self, **facts: Any) -> None:
        """Record how far it is, with the board's newest attempt, which ends with it."""
        if not self.old.attempts:
            return
        newest = self.journal.attempt(self.old.attempts[-1].attempt)
        merged = {FACT: {**(newest.facts.get(FACT) or {}), **facts}}
        write: Write = NoteAttempt(attempt=newest.attempt, facts=merged)
        if newest.state.is_open and facts.get("state") == "done":
            write = EndAttempt(attempt=newest.attempt, state=AttemptState.CLOSED, facts=merged)
        self.journal.commit(write)


def revoke_certificates(
    session: tools.Session,
    journal: SqliteJournal,
    certificates: Sequence[CertificateRecord],
    reason: str,
    *writes: Write,
) -> RevocationPlan:
    """Record the revocation of certificates that a list of this bench will hold, with `writes`."""
    plan = KnownIssuers(session.settings).plan(journal, certificates, reason)
    if plan.new or writes:
        journal.commit(*plan.new, *writes)
    return plan


def still_live(certificates: Sequence[LiveCertificate]) -> str:
    """Which certificates stay live, until when, and who can revoke them."""
    parts = []
    for origin in sorted({found.origin for found in certificates}, key=lambda kind: kind.value):
        some = [found for found in certificates if found.origin is origin]
        ends = [found.not_after for found in some if found.not_after is not None]
        until = f", valid until {max(ends):%Y-%m-%d}" if ends else ""
        is_of_cloud = origin is Origin.CLOUD
        issuer = "the cloud's CA" if is_of_cloud else "a CA that is not on this bench"
        who = "the cloud" if is_of_cloud else "the bench that has it"
        parts.append(
            f"{plural(len(some), 'certificate')} of {issuer} not revoked{until}: only {who} can"
            f" revoke {'it' if len(some) == 1 else 'them'}"
        )
    return "; ".join(parts)


def delete_registry_device(session: tools.Session, run: CommandRun, id_: str, **facts: Any) -> None:
    """Delete a registry device, recorded before."""
    client = session.registry
    run.note(NoteKind.REGISTRY_DEVICE_DELETION_INTENDED, registryDeviceId=id_, **facts)
    session.once.delete(lambda: client.delete_device(id_), lambda: client.device(id_))


def released_value(device: api.Device, value: str) -> str:
    """What stands for a unique value that was released: no other device can hold it by accident."""
    return f"retired-{device.device_id}-{value}"


def patch_missing(
    session: tools.Session, run: CommandRun, device: api.Device, values: Mapping[str, str]
) -> None:
    """Patch the metadata that is not yet so."""
    wanted = {name: value for name, value in values.items() if device.metadata.get(name) != value}
    patched(session, run, device, wanted)


def retire(
    settings: Settings, text: str, reason: str, soc: str | None = None, *, yes: bool
) -> RetiredDevice:
    """Retire a device; stopped anywhere, the same call goes on."""
    why = " ".join(reason.split())
    if not why:
        raise UsageError("usage.bad-option", "--reason is empty")
    with tools.opened(settings) as session, tools.journal_run(session, "device retire") as run:
        old = look_up(session, run.journal, text, soc)
        ending = Retirement(session, run, old, why)
        if not old.is_retired:
            settings.confirm(
                f"Retire {old.name}: revoke its certificates and tokens, delete its registry"
                " device, mark it in the cloud?",
                yes=yes,
            )
        ending.begin()
        ending.revoke()
        ending.release_unique_metadata()
        ending.tag_retired(None)
    return RetiredDevice(old, ending.reason, ending.log.steps, already=old.is_retired)


def replace(
    settings: Settings,
    old_text: str,
    new_text: str,
    move: Sequence[str] = (),
    soc: str | None = None,
    *,
    yes: bool,
) -> RetiredDevice:
    """Retire a device that another one replaces, which is provisioned already; both say so.

    `move` names metadata that goes over to the new device.
    """
    with tools.opened(settings) as session, tools.journal_run(session, "device replace") as run:
        old, new = (look_up(session, run.journal, text, soc) for text in (old_text, new_text))
        successor = _successor(old, new)
        ending = Retirement(session, run, old, "replaced")
        values = _moved_metadata(old, move)
        if not old.is_retired:
            settings.confirm(
                f"Replace {old.name} by {new.name}: revoke the old one's certificates and tokens,"
                " delete its registry device?",
                yes=yes,
            )
        ending.begin()
        ending.release_unique_metadata()
        patch_missing(session, run, successor, {**values, REPLACES: old.name})
        moved = ", ".join(f"has {name}" for name in values) or "is marked as its successor"
        ending.log.add("new device", f"{successor.device_id} {moved}")
        failpoint.hit("replace:moved")
        ending.revoke()
        ending.tag_retired(successor.device_id)
        link_replacement(run.journal, old, new)
    return RetiredDevice(old, ending.reason, ending.log.steps, replaced_by=successor.device_id)


def link_replacement(journal: SqliteJournal, old: RetiringDevice, new: RetiringDevice) -> None:
    """Record the old device with the newest attempt of the new one."""
    if new.attempts:
        facts = {"replaces": {"board": old.board, "deviceId": old.name}}
        journal.commit(NoteAttempt(attempt=new.attempts[-1].attempt, facts=facts))


def _successor(old: RetiringDevice, new: RetiringDevice) -> api.Device:
    if new.device is None:
        raise UsageError(
            "usage.bad-option",
            f"{new.name} is not in the cloud, so it cannot replace anything",
            hint="Provision it first.",
        )
    same_board = old.board is not None and old.board == new.board
    if same_board or (old.device is not None and old.device.id == new.device.id):
        raise UsageError(
            "usage.bad-option",
            f"{old.name} and {new.name} are one and the same device",
            hint="`infuse key rotate` gives a device new keys.",
        )
    return new.device


def _moved_metadata(old: RetiringDevice, move: Sequence[str]) -> dict[str, str]:
    values = {**(old.device.metadata if old.device else {}), **old.fact.get("freed", {})}
    missing = [name for name in move if name not in values]
    if missing:
        raise UsageError(
            "usage.bad-option", f"{old.name} has no metadata {', '.join(missing)} to move"
        )
    return {name: values[name] for name in move}


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
