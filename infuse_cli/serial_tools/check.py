"""`infuse serial check`: one board beside journal, product and cloud; nothing is written.

What the modem holds is compared with what the journal says was put there; the key in it is asked to
sign a fresh challenge, as step `possession` does.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from infuse_cli.capabilities import Capability
from infuse_cli.clock import RunClock
from infuse_cli.dialect import capabilities, operations
from infuse_cli.effects.comparison import compare_device
from infuse_cli.effects.credentials import kind_name
from infuse_cli.errors import BoardError, CredentialError, InfuseError, PolicyError
from infuse_cli.journal.queries import device_ids, facts_of
from infuse_cli.provisioning import slots
from infuse_cli.serial_tools.board import (
    BoardHistory,
    CredentialRow,
    IdentifiedBoard,
    credential_rows,
    existing_journal,
    history,
    identify,
    list_entries,
    open_board,
    writable,
)
from infuse_cli.types import CredentialType, StepState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli import api_types as api
    from infuse_cli.config.model import Profile
    from infuse_cli.journal.manual_changes import Place
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import BoardLink, InfuseApi
    from infuse_cli.records import AttemptRecord, CertificateRecord
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings
    from infuse_cli.types import StoredCredential

_CONFLICT: Final = "run.conflict"


@dataclass(frozen=True, slots=True)
class CloudDevice:
    """What the cloud has of a board: None for no device; `heard` is when it heard from it last."""

    device: api.Device | None
    heard: datetime | None = None


@dataclass(frozen=True, slots=True)
class BoardCheck:
    """A board beside what is known of it; `differences` are errors, `notes` are not.

    `credentials` is None where the dialect cannot list them. `possession` is proven, failed or
    unproven, None where it was not tried; `cloud` is None where the cloud was not asked.
    """

    board: IdentifiedBoard
    history: BoardHistory
    credentials: tuple[CredentialRow, ...] | None
    possession: str | None
    cloud: CloudDevice | None
    differences: tuple[InfuseError, ...]
    notes: tuple[str, ...]


def check(settings: Settings, target: BoardPort) -> BoardCheck:
    """Read everything and compare.

    Raises BoardError serial.* for a port or board that does not answer, JournalError, CloudError.
    """
    with open_board(target) as link, existing_journal(settings.home) as journal:
        board = identify(settings, link, target.profile)
        listable = Capability.READ_DIGEST in capabilities(link.dialect)
        entries = writable(list_entries(link, None)) if listable else None
        checker = _Checker(board, history(journal, board), target.profile, entries)
        checker.check_board(journal)
        checker.check_credentials(link)
    checker.check_cloud(settings)
    return checker.result()


@dataclass(slots=True)
class _Checker:
    board: IdentifiedBoard
    history: BoardHistory
    profile: Profile | None
    entries: tuple[StoredCredential, ...] | None
    possession: str | None = None
    cloud: CloudDevice | None = None
    differences: list[InfuseError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def result(self) -> BoardCheck:
        return BoardCheck(
            self.board,
            self.history,
            self._rows,
            self.possession,
            self.cloud,
            tuple(self.differences),
            tuple(self.notes),
        )

    @property
    def _rows(self) -> tuple[CredentialRow, ...] | None:
        return None if self.entries is None else credential_rows(self.entries, self.history)

    @property
    def _attempt(self) -> AttemptRecord | None:
        """The newest attempt that did something to the board, else the newest."""
        attempts = self.history.attempts
        effective = (attempt for attempt in reversed(attempts) if recorded_places(attempt))
        return next(effective, attempts[-1] if attempts else None)

    def _differ(self, code: str, message: str) -> None:
        self.differences.append(PolicyError(code, message))

    def check_board(self, journal: SqliteJournal | None) -> None:
        """Compare identity and product."""
        seen = self.board.identity
        if self.board.mcu_id_problem is not None:
            self.notes.append(f"mcuId could not be read: {self.board.mcu_id_problem.message}")
        if journal is not None:
            try:
                journal.check_identity(seen.uuid, seen.imei, seen.mcu_id)
            except PolicyError as error:
                self.differences.append(error)
        if self.profile is not None:
            self._check_product(self.profile)

    def _check_product(self, profile: Profile) -> None:
        from infuse_cli.provisioning.steps.expect import firmware_fits

        wanted, seen = profile.board.expect, self.board.identity
        if wanted.model is not None and seen.model != wanted.model:
            self._differ(
                "board.unexpected", f"the model is {seen.model}, {wanted.model} is expected"
            )
        firmware = wanted.modem_firmware
        if firmware is not None and not firmware_fits(seen.modem_firmware, firmware):
            self._differ(
                "board.unexpected",
                f"the modem firmware is {seen.modem_firmware}, {firmware} is expected",
            )

    def check_credentials(self, link: BoardLink) -> None:
        """Compare the modem's credentials and the certificate, and ask for a proof of the key."""
        if self.entries is None:
            self.notes.append(
                f"dialect {link.dialect} cannot list credentials: none of them was compared"
            )
            return
        attempt = self._attempt
        recorded = {} if attempt is None else recorded_places(attempt)
        present = {(entry.sec_tag, entry.type): entry for entry in self.entries}
        for place, digests in recorded.items():
            self._check_place(place, digests, present.get(place))
        ours = {tag for tag, _ in recorded} | _tags(self.profile)
        for place, entry in present.items():
            known = place in recorded or slots.is_ours(entry, self.history.attempts)
            if entry.sec_tag in ours and not known:
                self._differ(
                    "identity.slot-occupied",
                    f"{_named(place)} is in the modem (SHA-256 {entry.sha256 or 'not given'}) and"
                    " not on record",
                )
        if self.history.certificates:
            self._check_certificate(link, self.history.certificates[-1])

    def _check_place(
        self, place: Place, digests: frozenset[str], entry: StoredCredential | None
    ) -> None:
        if entry is None:
            self._differ(
                "identity.not-read-back", f"{_named(place)} is on record and not in the modem"
            )
        elif entry.sha256 is None:
            self.notes.append(f"the modem lists {_named(place)} without a digest")
        elif entry.sha256 not in digests:
            self._differ(
                "identity.not-read-back",
                f"{_named(place)} is {entry.sha256} in the modem, {' or '.join(sorted(digests))} on"
                " record",
            )

    def _check_certificate(self, link: BoardLink, certificate: CertificateRecord) -> None:
        if not certificate.not_before <= datetime.now(UTC) <= certificate.not_after:
            self._differ(
                "identity.certificate-mismatch",
                f"certificate {certificate.serial} is valid from {certificate.not_before:%Y-%m-%d}"
                f" to {certificate.not_after:%Y-%m-%d} only",
            )
        tag = self._certificate_tag()
        if tag is not None:
            self._prove(link, certificate, tag)

    def _certificate_tag(self) -> int | None:
        """The certificate's sec_tag: the profile's, else the only one of ours that holds one."""
        ours = [
            row.entry.sec_tag
            for row in self._rows or ()
            if row.entry.type == CredentialType.CLIENT_CERTIFICATE and row.attempt is not None
        ]
        own = None if self.profile is None else self.profile.identity.sec_tag
        if own is not None and (own in ours or not ours):
            return own
        return ours[0] if len(ours) == 1 else None

    def _prove(self, link: BoardLink, certificate: CertificateRecord, tag: int) -> None:
        from infuse_cli.pki.possession import Possession, verify_jwt

        nonce = secrets.token_hex(16)
        try:
            jwt = link.run(operations(link.dialect).jwt(tag, nonce, nonce))
            proof = verify_jwt(jwt, certificate.pem, subject=nonce, audience=nonce)
        except BoardError as error:
            if not error.code.startswith("modem."):
                raise
            self.possession = "unproven"
            self.notes.append(f"possession is unproven: {error.message}")
        except PolicyError as error:
            self.possession = "failed"
            self.differences.append(error)
        else:
            self.possession = "proven" if proof is Possession.PROVEN else "unproven"

    def check_cloud(self, settings: Settings) -> None:
        """Compare the cloud device, where the profile says in which cloud to look."""
        profile = self.profile
        if profile is None:
            return
        organisation = profile.cloud.organisation
        if organisation.id is None and organisation.name is None:
            return
        recorded = None if self.history.board is None else self.history.board.mcu_id
        mcu_id = self.board.identity.mcu_id or recorded
        if mcu_id is None:
            self.notes.append("the cloud was not asked: mcuId is not known")
            return
        try:
            client = _client(settings, profile)
            self._compare_device(client, profile, mcu_id)
        except CredentialError as error:
            if error.code != "credential.missing":
                raise
            self.notes.append(f"the cloud was not asked: {error.message}")

    def _compare_device(self, client: InfuseApi, profile: Profile, mcu_id: str) -> None:
        from infuse_cli.provisioning.resolve import resolve

        resolved = resolve(profile, client, None, "")
        device = client.device_by_mcu_id(resolved.soc, mcu_id)
        attempt = self._attempt
        facts = {} if attempt is None else facts_of(attempt)
        known = device_ids(facts)[0]
        self._compare_ids(device, known, f"{resolved.soc} {mcu_id}")
        if device is None:
            self.cloud = CloudDevice(None)
            return
        state = client.device_state(device.device_id)
        self.cloud = CloudDevice(device, None if state is None else state.last_route_time)
        self._compare_owner(device, resolved.organisation.id, resolved.board.id)
        self._compare_metadata(device, facts.get("metadata") or {})

    def _compare_ids(self, device: api.Device | None, known: str | None, chip: str) -> None:
        if device is None:
            if known is not None:
                self._differ(
                    _CONFLICT,
                    f"the record names cloud device {known}, the cloud has none for {chip}",
                )
        elif known is None:
            self.notes.append(
                f"the cloud knows this board as {device.device_id}, this journal has no cloud"
                " device for it"
            )
        elif known != device.device_id:
            self._differ(
                _CONFLICT,
                f"the record names cloud device {known}, the cloud has {device.device_id}",
            )

    def _compare_owner(self, device: api.Device, organisation_id: str, board_id: str) -> None:
        comparison = compare_device(device, organisation_id=organisation_id, board_id=board_id)
        for difference in reversed(comparison.ids):
            self._differ(
                "cloud.wrong-owner",
                f"cloud device {device.device_id} belongs to {difference.name}"
                f" {difference.actual}, the profile's is {difference.expected}",
            )

    def _compare_metadata(self, device: api.Device, metadata: Mapping[str, str]) -> None:
        for difference in compare_device(device, metadata=metadata).metadata:
            self._differ(
                "cloud.device-conflict",
                f"{difference.name} is {difference.expected!r} on record, {difference.actual!r} in"
                " the cloud",
            )


def recorded_places(attempt: AttemptRecord) -> dict[Place, frozenset[str]]:
    """The places that an attempt filled, with the digests that the modem may show for each.

    Once a board PASSed its firmware may use its token up and delete it, so that one need not be
    there any more.
    """
    places: dict[Place, frozenset[str]] = {}
    for step in attempt.steps.values():
        if step.state is StepState.DONE and (step.step != "flash" or attempt.outcome != "PASS"):
            for row in step.facts.get("wrote", ()):
                places[row["secTag"], row["type"]] = frozenset(row["sha256"])
    return {place: digests for place, digests in places.items() if digests}


def _tags(profile: Profile | None) -> set[int]:
    """The sec_tags that the profile's plan writes; under first-boot the firmware fills that of the
    identity by itself.
    """
    if profile is None:
        return set()
    tags = set()
    if profile.identity.mode in {"local-ca", "cloud-ca"}:
        tags.add(profile.identity.sec_tag)
    if profile.token is not None and profile.token.store == "psk":
        tags.add(profile.token.sec_tag)
    return tags


def _named(place: Place) -> str:
    tag, kind = place
    return f"the {kind_name(kind)} of sec_tag {tag}"


def _client(settings: Settings, profile: Profile) -> InfuseApi:
    from infuse_cli.cloud.build import connect
    from infuse_cli.keys.credentials import credential_host, find_credential

    credential = find_credential(
        credential_host(profile.cloud.base_url),
        env=settings.env,
        token_file=profile.cloud.auth.token_file,
        home=settings.home,
    )
    return connect(profile.cloud, credential.secret, RunClock().between_tries)
