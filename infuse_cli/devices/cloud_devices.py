"""The cloud device: found by any of its numbers, created once and never moved."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.devices import session as tools
from infuse_cli.effects.comparison import DeviceComparison, compare_device
from infuse_cli.errors import CloudError, PolicyError, ProfileError, UsageError
from infuse_cli.identities import IdentityKind, refuse_blank
from infuse_cli.records.notes import NoteKind
from infuse_cli.types import DEVICE_ID, IMEI, MCU_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from infuse_cli import api_types as api
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import AttemptRecord, BoardRecord
    from infuse_cli.settings import Settings

_MOST: Final = 8


def find(session: tools.Session, text: str, soc: str | None = None) -> api.Device:
    """A cloud device by deviceId, id, mcuId, IMEI (mcuId 0 + IMEI) or KEY=VALUE of its metadata.

    What the cloud does not know by that, the journal of this bench may: a board's UUID, IMEI,
    serial number, its name in the registry. Raises CloudError cloud.not-found, cloud.ambiguous with
    the candidates.
    """
    found = _candidates(session, text.strip(), soc or session.soc) or _recorded(session, text)
    ids = {device.id: device for device in found}
    if len(ids) > 1:
        listed = ", ".join(f"{device.device_id} (mcuId {device.mcu_id})" for device in ids.values())
        raise CloudError(
            "cloud.ambiguous",
            f"{text!r} fits {len(ids)} cloud devices: {listed}",
            hint="Give the id.",
        )
    if not ids:
        raise CloudError(
            "cloud.not-found",
            f"the cloud knows no device {text!r}",
            hint=(
                "Device id, id, mcuId (with the soc from --soc or the profile), IMEI or KEY=VALUE"
                " of its metadata are taken, and what the journal here has."
            ),
        )
    return next(iter(ids.values()))


def _candidates(session: tools.Session, text: str, soc: str | None) -> list[api.Device]:
    cloud = session.cloud
    if "=" in text:
        name, _, value = text.partition("=")
        rows = cloud.devices(session.organisation(None).id)
        return [device for device in rows if device.metadata.get(name) == value]
    found: list[api.Device | None] = []
    lower = text.lower()
    if tools.is_id(text):
        found.append(cloud.device(text))
    elif DEVICE_ID.fullmatch(lower):
        # Both ids have 16 hex digits: whichever fits, and both where both do.
        found.append(cloud.device_by_device_id(lower))
        found.append(cloud.device_by_mcu_id(soc, lower) if soc else None)
    elif IMEI.fullmatch(text):
        found.append(cloud.device_by_mcu_id(soc, f"0{text}") if soc else None)
    else:
        found.append(cloud.device(text))
    return [device for device in found if device is not None]


def _recorded(session: tools.Session, text: str) -> list[api.Device]:
    """Cloud devices of the boards that the journal finds by this text."""
    from infuse_cli.journal import queries

    with _journal(session) as journal:
        if journal is None:
            return []
        boards = {board.board for board in queries.find_boards(journal, text)}
        newest = [row for row in queries.newest_attempts(journal) if row.board in boards]
    ids = {queries.device_ids(queries.facts_of(attempt))[0] for attempt in newest} - {None}
    if len(ids) > _MOST:
        raise CloudError(
            "cloud.ambiguous",
            f"{text!r} fits {len(ids)} boards of the journal here",
            hint="Give more of it, or the device id.",
        )
    found = [
        session.cloud.device_by_device_id(device_id) for device_id in sorted(filter(None, ids))
    ]
    return [device for device in found if device is not None]


@contextmanager
def _journal(session: tools.Session) -> Iterator[SqliteJournal | None]:
    """This bench's journal, None where there is none yet."""
    from infuse_cli.journal.database import FILE
    from infuse_cli.journal.store import open_journal

    if not (session.settings.home / FILE).exists():
        yield None
        return
    with open_journal(session.settings.home, create=False) as journal:
        yield journal


@dataclass(frozen=True, slots=True)
class LocalRecord:
    """What this bench's journal has of a device: its board and the board's newest attempt."""

    board: BoardRecord
    attempt: AttemptRecord
    device_id: str | None
    registry_device_id: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeviceOverview:
    """One device in both clouds and in the journal here; None where there is no such side."""

    device: api.Device
    state: api.DeviceState | None
    last_route: api.UplinkRoute | None
    registry_device: api.RegistryDevice | None
    record: LocalRecord | None

    @property
    def comparison(self) -> DeviceComparison:
        """How the cloud device differs from the record here."""
        record = self.record
        if record is None:
            return DeviceComparison()
        return compare_device(
            self.device,
            device_id=record.device_id,
            mcu_id=record.board.mcu_id,
            metadata=record.metadata,
        )

    @property
    def lost_registry_device(self) -> str | None:
        """The registry device that is recorded here and that the registry does not know."""
        recorded = self.record.registry_device_id if self.record is not None else None
        return recorded if self.registry_device is None else None


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What a cloud device is to be.

    With `update` differing metadata of one that exists is overwritten. `initial_state` is passed on
    as it is. `command` names the run in the journal.
    """

    mcu_id: str
    board: str | None = None
    organisation: str | None = None
    device_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    update: bool = False
    initial_state: Mapping[str, Any] | None = None
    command: str = "device create"


@dataclass(frozen=True, slots=True)
class DeviceCreation:
    """A cloud device that was created or adopted; `changed` where its metadata was."""

    device: api.Device
    created: bool
    changed: bool = False


def list_devices(
    settings: Settings,
    organisation: str | None = None,
    board: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[api.Device]:
    """The devices of an organisation, a board, or with these metadata values."""
    wanted = metadata or {}
    with tools.opened(settings) as session:
        if organisation is None and board is not None and tools.is_id(board):
            rows: Sequence[api.Device] = session.cloud.board_devices(board)
        else:
            owner = session.organisation(organisation)
            board_id = session.board(board, lambda: owner).id if board else None
            rows = session.cloud.devices(owner.id, board_id)
    return [device for device in rows if wanted.items() <= device.metadata.items()]


def show_device(settings: Settings, text: str, soc: str | None = None) -> DeviceOverview:
    """Cloud device, registry device, state, last route and the local record of one device."""
    with tools.opened(settings) as session:
        device = find(session, text, soc)
        record = _local(session, device)
        return DeviceOverview(
            device,
            session.cloud.device_state(device.device_id),
            session.cloud.last_route(device.device_id),
            _registry_device(session, device, record),
            record,
        )


def _local(session: tools.Session, device: api.Device) -> LocalRecord | None:
    """What this bench's journal has of the device; None without one, or without a record."""
    from infuse_cli.journal import queries

    with _journal(session) as journal:
        if journal is None:
            return None
        boards = {
            board.board: board
            for text in (device.device_id, device.mcu_id)
            for board in queries.find_boards(journal, text)
        }
        attempts = [row for row in queries.newest_attempts(journal) if row.board in boards]
    if not attempts:
        return None
    newest = attempts[-1]
    facts = queries.facts_of(newest)
    device_id, registry_device_id = queries.device_ids(facts)
    board, metadata = boards[newest.board], facts.get("metadata") or {}
    return LocalRecord(board, newest, device_id, registry_device_id, metadata)


def _registry_device(
    session: tools.Session, device: api.Device, record: LocalRecord | None
) -> api.RegistryDevice | None:
    if not session.has_registry:
        return None
    recorded = record.registry_device_id if record else None
    by_id = session.registry.device(recorded) if recorded else None
    return by_id or session.registry.device_by_name(device.device_id)


def create_device(settings: Settings, request: DeviceRequest) -> DeviceCreation:
    """Create a cloud device, or adopt the one that soc and mcuId name already.

    Raises UsageError, PolicyError cloud.wrong-owner, cloud.device-conflict or cloud.metadata-clash,
    ProfileError metadata.missing, CloudError.
    """
    _check_ids(request)
    with tools.opened(settings) as session:
        owner = session.organisation(request.organisation)
        board = session.board(request.board, lambda: owner)
        existing = session.cloud.device_by_mcu_id(board.soc, request.mcu_id)
        if existing is not None:
            return _adopt(session, existing, request, board)
        _check_metadata(session, owner.id, board, request.metadata)
        return DeviceCreation(_create(session, request, board, owner.id), created=True)


def _check_ids(request: DeviceRequest) -> None:
    for name, value, form, kind in (
        ("MCU_ID", request.mcu_id, MCU_ID, IdentityKind.MCU_ID),
        ("--device-id", request.device_id, DEVICE_ID, IdentityKind.DEVICE_ID),
    ):
        if value is not None and not form.fullmatch(value):
            lower = value.lower()
            raise UsageError(
                "usage.bad-option",
                f"{name} is {value!r}, which is not 16 lower-case hex digits",
                hint=(
                    f"Did you mean {lower}?"
                    if form.fullmatch(lower)
                    else "It is 16 lower-case hex digits."
                ),
            )
        refuse_blank(kind, value, name)


def _create(
    session: tools.Session, request: DeviceRequest, board: api.CloudBoard, owner: str
) -> api.Device:
    mcu_id = request.mcu_id

    def post() -> api.Device:
        initial = request.initial_state
        return session.cloud.create_device(
            mcu_id=mcu_id,
            board_id=board.id,
            organisation_id=owner,
            device_id=request.device_id,
            metadata=dict(request.metadata),
            initial_state=None if initial is None else dict(initial),
        )

    with tools.journal_run(session, request.command) as run:
        run.note(
            NoteKind.DEVICE_INTENDED,
            soc=board.soc,
            mcuId=mcu_id,
            boardId=board.id,
            organisationId=owner,
        )
        try:
            made = session.once.send(
                post, lambda: session.cloud.device_by_mcu_id(board.soc, mcu_id)
            )
        except CloudError as error:
            if error.status != 409:
                raise
            raise PolicyError(
                "cloud.metadata-clash",
                f"the cloud has no device {board.soc}/{mcu_id}, but refused it: {error.message}",
            ) from error
        run.note(NoteKind.DEVICE_CREATED, id=made.id, deviceId=made.device_id, mcuId=made.mcu_id)
    return made


def _adopt(
    session: tools.Session, device: api.Device, request: DeviceRequest, board: api.CloudBoard
) -> DeviceCreation:
    found = compare_device(
        device, board_id=board.id, device_id=request.device_id, metadata=request.metadata
    )
    if found.ids:
        row = found.ids[-1]
        raise PolicyError(
            "cloud.wrong-owner",
            f"mcuId {request.mcu_id} is registered already, with {row.name} {row.actual}, not"
            f" {row.expected}",
        )
    if found.differing and not request.update:
        names = ", ".join(row.name for row in found.differing)
        raise PolicyError(
            "cloud.device-conflict",
            f"cloud device {device.device_id} exists with other values of: {names}",
        )
    if not found.patch:
        return DeviceCreation(device, created=False)
    with tools.journal_run(session, request.command) as run:
        changed = patched(session, run, device, found.patch)
    return DeviceCreation(changed, created=False, changed=True)


def _check_metadata(
    session: tools.Session, owner: str, board: api.CloudBoard, values: Mapping[str, str]
) -> None:
    """A registration cannot be undone, so what the board asks of its devices is checked before."""
    missing = [
        field.name
        for field in board.metadata_fields
        if field.required and not values.get(field.name)
    ]
    if missing:
        raise ProfileError(
            "metadata.missing",
            f"board {board.name!r} requires metadata: {', '.join(missing)}",
            hint="Give it with --metadata KEY=VALUE.",
        )
    for unique in board.metadata_fields:
        if not unique.unique or unique.name not in values:
            continue
        taken = session.cloud.devices_with_metadata(
            owner, board.id, unique.name, values[unique.name]
        )
        if taken:
            raise PolicyError(
                "cloud.metadata-clash",
                f"{unique.name} {values[unique.name]!r} already belongs to cloud device"
                f" {taken[0].device_id}",
            )


def update_device(
    settings: Settings,
    text: str,
    metadata: Mapping[str, str],
    *,
    soc: str | None = None,
    replace: bool = False,
) -> api.Device:
    """Change a device's metadata; `replace` drops what is not named."""
    if not metadata and not replace:
        raise UsageError("usage.bad-option", "nothing to change: give --metadata KEY=VALUE")
    with tools.opened(settings) as session:
        device = find(session, text, soc)
        with tools.journal_run(session, "device update") as run:
            return patched(session, run, device, dict(metadata), replace=replace)


def patched(
    session: tools.Session,
    run: CommandRun,
    device: api.Device,
    values: dict[str, str],
    *,
    replace: bool = False,
) -> api.Device:
    """Change a device's metadata, recorded before and after; nothing is sent where nothing would
    change.
    """
    if not values and not replace:
        return device

    def put() -> api.Device:
        change = (
            session.cloud.replace_device_metadata
            if replace
            else session.cloud.patch_device_metadata
        )
        return change(device.id, values)

    def look_up() -> api.Device | None:
        now = session.cloud.device(device.id)
        there = now is not None and (
            now.metadata == values if replace else values.items() <= now.metadata.items()
        )
        return now if there else None

    run.note(
        NoteKind.DEVICE_METADATA_INTENDED,
        deviceId=device.device_id,
        operation="replace" if replace else "patch",
        metadata=values,
        before=device.metadata,
    )
    changed = session.once.send(put, look_up)
    run.note(NoteKind.DEVICE_METADATA_CHANGED, deviceId=device.device_id)
    return changed


@dataclass(frozen=True, slots=True)
class HeardState:
    """What the cloud last heard of a device, None for one that it never heard."""

    device_id: str
    state: api.DeviceState | None


def device_state(settings: Settings, text: str, soc: str | None = None) -> HeardState:
    """What the cloud last heard of a device."""
    with tools.opened(settings) as session:
        device = find(session, text, soc)
        if text == device.id:
            state = session.cloud.device_state_by_id(device.id)
        else:
            state = session.cloud.device_state(device.device_id)
    return HeardState(device.device_id, state)


def last_routes(
    settings: Settings, texts: Sequence[str], soc: str | None = None
) -> dict[str, api.UplinkRoute | None]:
    """The way that each device's last packet came, by deviceId; several are asked for in one
    call.
    """
    with tools.opened(settings) as session:
        ids = [find(session, text, soc).device_id for text in texts]
        if len(ids) == 1:
            return {ids[0]: session.cloud.last_route(ids[0])}
        routes = {row.device_id: row.last_route for row in session.cloud.last_routes(ids)}
    return {device_id: routes.get(device_id) for device_id in ids}
