"""`infuse serial check`: one board beside the journal and the cloud, every difference named,
nothing written.

What the modem holds is compared with what the record says was put there; the key in it is asked to
sign a fresh challenge, as `possession` does on the line.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.capabilities import Can
from infuse_cli.cli import context
from infuse_cli.dialect import capabilities, operations
from infuse_cli.errors import BoardError, CredentialError, InfuseError, PolicyError
from infuse_cli.journal.manual_changes import changes
from infuse_cli.journal.queries import device_ids, facts_of
from infuse_cli.pki.possession import Possession, verify_jwt
from infuse_cli.provisioning import slots
from infuse_cli.provisioning.steps.expect import firmware_fits, kind_name
from infuse_cli.serial_tools import board as serial_board
from infuse_cli.types import StepState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli import api_types as api
    from infuse_cli.config.model import Profile
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import Board, InfuseApi
    from infuse_cli.provisioning.context import Resolved
    from infuse_cli.records import AttemptRecord, CertificateRecord
    from infuse_cli.types import StoredCredential

Place = tuple[int, int]
"""sec_tag and credential type."""

_CONFLICT: Final = "run.conflict"


@dataclass(slots=True)
class Check:
    """What was found; `differences` are errors, `notes` are not."""

    found: serial_board.Found
    slots: list[dict[str, Any]] | None
    record: dict[str, Any] | None
    by_hand: int = 0
    possession: str | None = None
    cloud: dict[str, Any] | None = None
    differences: list[InfuseError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    mode_owed: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The whole comparison as JSON values."""
        return {
            **self.found.as_json(),
            "slots": self.slots,
            "record": self.record,
            "byHand": self.by_hand,
            "functionalModeOwed": self.mode_owed,
            "possession": self.possession,
            "cloud": self.cloud,
            "differences": [one.as_json() for one in self.differences],
            "notes": self.notes,
        }

    def differs(self, code: str, message: str) -> None:
        """Add a difference under a code of `errors.CODES`."""
        self.differences.append(PolicyError(code, message))


def check(port: str, profile: Profile | None) -> Check:
    """Read everything and compare.

    Raises BoardError serial.* for a port or board that does not answer.
    """
    with serial_board.opened(port, profile) as link, serial_board.record() as journal:
        found = serial_board.identify(link, profile)
        uuid = found.identity.uuid
        entries = (
            serial_board.stored(link, None)
            if Can.READ_DIGEST in capabilities(link.dialect)
            else None
        )
        attempts, events = serial_board.history(journal, uuid), serial_board.by_hand(journal, uuid)
        made = Check(
            found,
            None if entries is None else serial_board.credential_rows(entries, attempts, events),
            serial_board.on_record(journal, uuid),
            by_hand=len(changes(events)),
        )
        if found.mcu_id_problem is not None:
            made.notes.append(f"mcuId could not be read: {found.mcu_id_problem.message}")
        made.mode_owed = serial_board.mode_owed(journal, found)
        _identity(made, journal)
        _product(made, profile)
        if entries is None:
            made.notes.append(
                f"dialect {link.dialect} cannot list credentials: none of them was compared"
            )
        else:
            _slots(made, entries, attempts, profile)
            _certificate(made, link, journal, profile)
    _cloud(made, attempts, profile)
    return made


def _identity(made: Check, journal: SqliteJournal | None) -> None:
    seen = made.found.identity
    if journal is None:
        return
    try:
        journal.check_identity(seen.uuid, seen.imei, seen.mcu_id)
    except PolicyError as error:
        made.differences.append(error)


def _product(made: Check, profile: Profile | None) -> None:
    if profile is None:
        return
    wanted, seen = profile.board.expect, made.found.identity
    if wanted.model is not None and seen.model != wanted.model:
        made.differs("board.unexpected", f"the model is {seen.model}, {wanted.model} is expected")
    if wanted.modem_firmware is not None and not firmware_fits(
        seen.modem_firmware, wanted.modem_firmware
    ):
        made.differs(
            "board.unexpected",
            f"the modem firmware is {seen.modem_firmware}, {wanted.modem_firmware} is expected",
        )


def _slots(
    made: Check,
    entries: Sequence[StoredCredential],
    attempts: Sequence[AttemptRecord],
    profile: Profile | None,
) -> None:
    """What the record says must be there, then what is there under our sec_tags and was not put
    there by this journal.
    """
    recorded = {} if not attempts else recorded_places(_that_counts(attempts))
    there = {(entry.sec_tag, entry.type): entry for entry in entries}
    for place, digests in recorded.items():
        entry = there.get(place)
        if entry is None:
            made.differs(
                "identity.not-read-back", f"{_named(place)} is on record and not in the modem"
            )
        elif entry.sha256 is None:
            made.notes.append(f"the modem lists {_named(place)} without a digest")
        elif entry.sha256 not in digests:
            made.differs(
                "identity.not-read-back",
                f"{_named(place)} is {entry.sha256} in the modem, {' or '.join(sorted(digests))} on"
                " record",
            )
    ours = {tag for tag, _ in recorded} | _tags(profile)
    for place, entry in there.items():
        if place not in recorded and entry.sec_tag in ours and not slots.is_ours(entry, attempts):
            made.differs(
                "identity.slot-occupied",
                f"{_named(place)} is in the modem (SHA-256 {entry.sha256 or 'not given'}) and not"
                " on record",
            )


def recorded_places(attempt: AttemptRecord) -> dict[Place, set[str]]:
    """The places that an attempt filled, with the digests that the modem may show for each.

    Once a board PASSed its firmware may use its token up and delete it, so that one need not be
    there any more.
    """
    places: dict[Place, set[str]] = {}
    for step in attempt.steps.values():
        if step.state is StepState.DONE and (step.step != "flash" or attempt.outcome != "PASS"):
            for row in step.facts.get("wrote", ()):
                places[row["secTag"], row["type"]] = set(row["sha256"])
    return {place: digests for place, digests in places.items() if digests}


def _that_counts(attempts: Sequence[AttemptRecord]) -> AttemptRecord:
    """The newest attempt that did something to the board."""
    return next((one for one in reversed(attempts) if recorded_places(one)), attempts[-1])


def _tags(profile: Profile | None) -> set[int]:
    """The sec_tags that the profile's plan writes; under first-boot the firmware fills that of the
    identity by itself.
    """
    if profile is None:
        return set()
    own = {profile.identity.sec_tag} if profile.identity.mode in {"local-ca", "cloud-ca"} else set()
    return own | (
        {profile.token.sec_tag}
        if profile.token is not None and profile.token.store == "psk"
        else set()
    )


def _named(place: Place) -> str:
    tag, kind = place
    return f"the {kind_name(kind)} of sec_tag {tag}"


def _certificate(
    made: Check, link: Board, journal: SqliteJournal | None, profile: Profile | None
) -> None:
    issued = (
        []
        if journal is None
        else [
            row
            for row in journal.certificates(board=made.found.identity.uuid)
            if row.state == "issued"
        ]
    )
    if not issued:
        return
    newest = issued[-1]
    now = datetime.now(UTC)
    if not newest.not_before <= now <= newest.not_after:
        made.differs(
            "identity.certificate-mismatch",
            f"certificate {newest.serial} is valid from {newest.not_before:%Y-%m-%d} to"
            f" {newest.not_after:%Y-%m-%d} only",
        )
    tag = _certificate_tag(made, profile)
    if tag is not None:
        _prove(made, link, newest, tag)


def _certificate_tag(made: Check, profile: Profile | None) -> int | None:
    """The sec_tag of the certificate that is on record: the profile's, else the one place of ours
    that holds one.
    """
    ours = [int(row["secTag"]) for row in made.slots or () if row["type"] == 1 and row["known"]]
    if profile is not None and (profile.identity.sec_tag in ours or not ours):
        return profile.identity.sec_tag
    return ours[0] if len(ours) == 1 else None


def _prove(made: Check, link: Board, certificate: CertificateRecord, tag: int) -> None:
    nonce = secrets.token_hex(16)
    try:
        jwt = link.run(operations(link.dialect).jwt(tag, nonce, nonce))
        proof = verify_jwt(jwt, certificate.pem, subject=nonce, audience=nonce)
    except BoardError as error:
        if not error.code.startswith("modem."):
            raise
        made.possession = "unproven"
        made.notes.append(f"possession is unproven: {error.message}")
    except PolicyError as error:
        made.possession = "failed"
        made.differences.append(error)
    else:
        made.possession = "proven" if proof is Possession.PROVEN else "unproven"


def _cloud(made: Check, attempts: Sequence[AttemptRecord], profile: Profile | None) -> None:
    """The cloud device beside board and record, where the profile says in which cloud to look."""
    if (
        profile is None
        or (profile.cloud.organisation.id or profile.cloud.organisation.name) is None
    ):
        return
    mcu_id = made.found.identity.mcu_id or (made.record or {}).get("mcuId")
    if mcu_id is None:
        made.notes.append("the cloud was not asked: mcuId is not known")
        return
    try:
        client = _client(profile)
        resolved = _resolved(profile, client)
        device = client.device_by_mcu_id(resolved.soc, mcu_id)
    except CredentialError as error:
        if error.code != "credential.missing":
            raise
        made.notes.append(f"the cloud was not asked: {error.message}")
        return
    known = device_ids(facts_of(_that_counts(attempts)))[0] if attempts else None
    if device is None:
        made.cloud = {"deviceId": None}
        if known is not None:
            made.differs(
                _CONFLICT,
                f"the record names cloud device {known}, the cloud has none for {resolved.soc}"
                f" {mcu_id}",
            )
        return
    made.cloud = _as_data(device, client)
    _compare(
        made,
        device,
        resolved,
        known,
        facts_of(_that_counts(attempts)).get("metadata") if attempts else None,
    )


def _client(profile: Profile) -> InfuseApi:
    from infuse_cli.cloud.build import connect
    from infuse_cli.keys.credentials import credential_host, find_credential

    settings = context.current()
    found = find_credential(
        credential_host(profile.cloud.base_url),
        env=settings.env,
        token_file=profile.cloud.auth.token_file,
        home=settings.home,
    )
    return connect(profile.cloud, found.secret, _never_stopped)


def _never_stopped(seconds: float) -> bool:
    """Wait between two tries; Ctrl-C ends a read-only command anyhow."""
    import threading

    return threading.Event().wait(seconds)


def _resolved(profile: Profile, client: InfuseApi) -> Resolved:
    from infuse_cli.provisioning.resolve import resolve

    return resolve(profile, client, None, "")


def _as_data(device: api.Device, client: InfuseApi) -> dict[str, Any]:
    state = client.device_state(device.device_id)
    return {
        "deviceId": device.device_id,
        "organisationId": device.organisation_id,
        "boardId": device.board_id,
        "metadata": device.metadata,
        "heard": None if state is None else state.last_route_time,
    }


def _compare(
    made: Check,
    device: api.Device,
    resolved: Resolved,
    known: str | None,
    metadata: dict[str, str] | None,
) -> None:
    if known is None:
        made.notes.append(
            f"the cloud knows this board as {device.device_id}, this journal has no cloud device"
            " for it"
        )
    elif known != device.device_id:
        made.differs(
            _CONFLICT, f"the record names cloud device {known}, the cloud has {device.device_id}"
        )
    for what, have, want in (
        ("organisation", device.organisation_id, resolved.organisation.id),
        ("board", device.board_id, resolved.board.id),
    ):
        if have != want:
            made.differs(
                "cloud.wrong-owner",
                f"cloud device {device.device_id} belongs to {what} {have}, the profile's is"
                f" {want}",
            )
    for key, value in sorted((metadata or {}).items()):
        if device.metadata.get(key) != value:
            made.differs(
                "cloud.device-conflict",
                f"{key} is {value!r} on record, {device.metadata.get(key)!r} in the cloud",
            )
