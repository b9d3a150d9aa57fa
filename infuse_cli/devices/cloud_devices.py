"""`infuse device`: the cloud device, found by any of its numbers, created once and never moved."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices import session as tools
from infuse_cli.errors import CloudError, PolicyError, ProfileError, UsageError
from infuse_cli.identities import IdentityKind, refuse_blank
from infuse_cli.types import DEVICE_ID, IMEI, MCU_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console

    from infuse_cli import api_types as api
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.journal.store import SqliteJournal

_COLUMNS: Final = {"deviceId": "device id", "mcuId": "mcu id", "metadata": "metadata", "id": "id"}
_MOST: Final = 8
_NOT_HEARD: Final = "The cloud has not heard this device yet."


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
                " of its metadata are taken, and what is on record here."
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
        boards = {one.board for one in queries.find_boards(journal, text)}
        attempts = [one for one in queries.newest_attempts(journal) if one.board in boards]
    ids = {
        device_id for one in attempts if (device_id := queries.device_ids(queries.facts_of(one))[0])
    }
    if len(ids) > _MOST:
        raise CloudError(
            "cloud.ambiguous",
            f"{text!r} fits {len(ids)} boards on record",
            hint="Give more of it, or the device id.",
        )
    found = [session.cloud.device_by_device_id(device_id) for device_id in sorted(ids)]
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


def listed(organisation: str | None, board: str | None, metadata: str | None) -> OperationResult:
    """The devices of an organisation, a board, or with a metadata value."""
    wanted = tools.pairs([metadata], "--metadata") if metadata else {}
    with tools.opened() as session:
        if organisation is None and board is not None and tools.is_id(board):
            rows: Sequence[api.Device] = session.cloud.board_devices(board)
        else:
            owner = session.organisation(organisation)
            rows = session.cloud.devices(
                owner.id, session.board(board, lambda: owner).id if board else None
            )
    rows = [row for row in rows if wanted.items() <= row.metadata.items()]
    return views.listing("device list", "devices", rows, _COLUMNS, "There is no such cloud device.")


def shown(text: str, soc: str | None) -> OperationResult:
    """Cloud device, registry device, state, last route and the local record of one device."""
    with tools.opened() as session:
        device = find(session, text, soc)
        state = session.cloud.device_state(device.device_id)
        route = session.cloud.last_route(device.device_id)
        record = _local(session, device)
        registry = _registry_device(session, device, record)
    data: dict[str, Any] = {
        "device": views.plain(device),
        "state": _maybe(state),
        "lastRoute": _maybe(route),
        "registryDevice": _maybe(registry),
        "record": record,
    }
    data["differences"] = _differences(data)
    return OperationResult("device show", data, human=_sides(data))


_SIDES: Final = {
    "device": "cloud device",
    "registryDevice": "registry device",
    "state": "state",
    "lastRoute": "last route",
    "record": "on record here",
}


def _sides(data: Mapping[str, Any]) -> Callable[[Console], None]:
    def human(console: Console) -> None:
        for key, title in _SIDES.items():
            if data[key] is None:
                views.say(console, f"{title}: none")
                continue
            views.say(console, title)
            views.fields(console, {f"  {name}": value for name, value in data[key].items()})
        for told in data["differences"]:
            views.say(console, f"Differs: {told}")

    return human


def _differences(data: Mapping[str, Any]) -> list[str]:
    """What the two clouds and the record here say otherwise of the same thing."""
    device, record, registry = data["device"], data["record"], data["registryDevice"]
    if record is None:
        return []
    told = [
        f"{name}: in the cloud {device[name]}, on record {record[name]}"
        for name in ("deviceId", "mcuId")
        if record[name] and device[name] != record[name]
    ]
    told += [
        f"metadata {name}: in the cloud {device['metadata'].get(name)!r}, on record {value!r}"
        for name, value in sorted(record["metadata"].items())
        if device["metadata"].get(name) != value
    ]
    if record["registryDeviceId"] and registry is None:
        told.append(
            f"registry device {record['registryDeviceId']} is on record, and the registry does not"
            " know it"
        )
    return told


def _maybe(thing: api.ApiObject | None) -> dict[str, Any] | None:
    return None if thing is None else views.plain(thing)


def _local(session: tools.Session, device: api.Device) -> dict[str, Any] | None:
    """What this bench's journal knows of the device; None without one, or without a record."""
    from infuse_cli.cli.views.journal import brief
    from infuse_cli.journal import queries

    with _journal(session) as journal:
        if journal is None:
            return None
        boards = {
            one.board: one
            for text in (device.device_id, device.mcu_id)
            for one in queries.find_boards(journal, text)
        }
        found = [one for one in queries.newest_attempts(journal) if one.board in boards]
    if not found:
        return None
    told, board = brief(found[-1]), boards[found[-1].board]
    own = {
        name: _text(told[name])
        for name in (
            "board",
            "result",
            "state",
            "failedStep",
            "opened",
            "deviceId",
            "registryDeviceId",
        )
    }
    return {
        **own,
        "imei": board.imei,
        "mcuId": board.mcu_id,
        "metadata": queries.facts_of(found[-1]).get("metadata") or {},
    }


def _text(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else value


def _registry_device(
    session: tools.Session, device: api.Device, record: Mapping[str, Any] | None
) -> api.RegistryDevice | None:
    if not session.has_registry:
        return None
    known = record.get("registryDeviceId") if record else None
    found = session.registry.device(known) if known else None
    return found or session.registry.device_by_name(device.device_id)


@dataclass(frozen=True, slots=True)
class DeviceWish:
    """What a cloud device is to be."""

    mcu_id: str
    board: str | None
    organisation: str | None
    device_id: str | None
    metadata: tuple[str, ...]
    update: bool = False
    initial_state: str | None = None
    command: str = "device create"


def make(wish: DeviceWish) -> OperationResult:
    """Create a cloud device, or adopt the one that soc and mcuId name already."""
    values, initial = (
        tools.pairs(wish.metadata, "--metadata"),
        tools.json_object(wish.initial_state, "--initial-state"),
    )
    for name, given, form, kind in (
        ("MCU_ID", wish.mcu_id, MCU_ID, IdentityKind.MCU_ID),
        ("--device-id", wish.device_id, DEVICE_ID, IdentityKind.DEVICE_ID),
    ):
        if given is not None and not form.fullmatch(given):
            hint = (
                f"Did you mean {given.lower()}?"
                if form.fullmatch(given.lower())
                else "It is 16 lower-case hex digits."
            )
            raise UsageError(
                "usage.bad-option",
                f"{name} is {given!r}, which is not 16 lower-case hex digits",
                hint=hint,
            )
        refuse_blank(kind, given, name)
    with tools.opened() as session:
        owner = session.organisation(wish.organisation)
        board = session.board(wish.board, lambda: owner)
        found = session.cloud.device_by_mcu_id(board.soc, wish.mcu_id)
        if found is not None:
            return _adopt(session, found, wish, board, values)
        _check_metadata(session, owner.id, board, values)
        made = _create(session, wish, board, owner.id, values, initial=initial)
    return views.single(
        wish.command, "device", made, first=f"Created cloud device {made.device_id}.", created=True
    )


def _create(
    session: tools.Session,
    wish: DeviceWish,
    board: api.CloudBoard,
    owner: str,
    values: dict[str, str],
    *,
    initial: dict[str, Any] | None,
) -> api.Device:
    with tools.on_record(session, wish.command) as record:
        record.note(
            "device intended",
            soc=board.soc,
            mcuId=wish.mcu_id,
            boardId=board.id,
            organisationId=owner,
        )
        try:
            made = session.once.send(
                lambda: session.cloud.create_device(
                    mcu_id=wish.mcu_id,
                    board_id=board.id,
                    organisation_id=owner,
                    device_id=wish.device_id,
                    metadata=values,
                    initial_state=initial,
                ),
                lambda: session.cloud.device_by_mcu_id(board.soc, wish.mcu_id),
            )
        except CloudError as error:
            if error.status != 409:
                raise
            raise PolicyError(
                "cloud.metadata-clash",
                f"the cloud has no device {board.soc}/{wish.mcu_id}, but refused it:"
                f" {error.message}",
            ) from error
        record.note("device created", id=made.id, deviceId=made.device_id, mcuId=made.mcu_id)
    return made


def _adopt(
    session: tools.Session,
    found: api.Device,
    wish: DeviceWish,
    board: api.CloudBoard,
    values: dict[str, str],
) -> OperationResult:
    if found.board_id != board.id or wish.device_id not in {None, found.device_id}:
        what = (
            f"board {found.board_id}, not {board.id}"
            if found.board_id != board.id
            else f"deviceId {found.device_id}, not {wish.device_id}"
        )
        raise PolicyError(
            "cloud.device-elsewhere", f"mcuId {wish.mcu_id} is registered already, with {what}"
        )
    differing = {
        name
        for name, value in values.items()
        if name in found.metadata and found.metadata[name] != value
    }
    if differing and not wish.update:
        raise PolicyError(
            "cloud.device-conflict",
            f"cloud device {found.device_id} exists with other values of:"
            f" {', '.join(sorted(differing))}",
        )
    wanted = {name: value for name, value in values.items() if found.metadata.get(name) != value}
    device = _patch(session, wish.command, found, wanted) if wanted else found
    first = (
        f"There already: cloud device {device.device_id}{', metadata changed' if wanted else ''}."
    )
    return views.single(wish.command, "device", device, first=first, created=False)


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
    for field in board.metadata_fields:
        if not field.unique or field.name not in values:
            continue
        taken = session.cloud.devices_with_metadata(owner, board.id, field.name, values[field.name])
        if taken:
            raise PolicyError(
                "cloud.metadata-clash",
                f"{field.name} {values[field.name]!r} already belongs to cloud device"
                f" {taken[0].device_id}",
            )


def updated(
    text: str, soc: str | None, metadata: Sequence[str], *, replace: bool
) -> OperationResult:
    """Change a device's metadata; `replace` drops what is not named."""
    values = tools.pairs(metadata, "--metadata")
    if not values and not replace:
        raise UsageError("usage.bad-option", "nothing to change: give --metadata KEY=VALUE")
    with tools.opened() as session:
        device = _patch(session, "device update", find(session, text, soc), values, replace=replace)
    return views.single(
        "device update", "device", device, first=f"Changed cloud device {device.device_id}."
    )


def _patch(
    session: tools.Session,
    command: str,
    device: api.Device,
    values: dict[str, str],
    *,
    replace: bool = False,
) -> api.Device:
    with tools.on_record(session, command) as record:
        return patched(session, record, device, values, replace=replace)


def patched(
    session: tools.Session,
    record: CommandRun,
    device: api.Device,
    values: dict[str, str],
    *,
    replace: bool = False,
) -> api.Device:
    """Change a device's metadata, on record before and after; nothing is sent where nothing would
    change.
    """
    if not values and not replace:
        return device

    def act() -> api.Device:
        change = (
            session.cloud.replace_device_metadata
            if replace
            else session.cloud.patch_device_metadata
        )
        return change(device.id, values)

    def look() -> api.Device | None:
        now = session.cloud.device(device.id)
        there = now is not None and (
            now.metadata == values if replace else values.items() <= now.metadata.items()
        )
        return now if there else None

    record.note(
        "device metadata intended",
        deviceId=device.device_id,
        operation="replace" if replace else "patch",
        metadata=values,
        before=device.metadata,
    )
    changed = session.once.send(act, look)
    record.note("device metadata changed", deviceId=device.device_id)
    return changed


def state(text: str, soc: str | None) -> OperationResult:
    """What the cloud last heard of a device."""
    with tools.opened() as session:
        device = find(session, text, soc)
        found = (
            session.cloud.device_state_by_id(device.id)
            if text == device.id
            else session.cloud.device_state(device.device_id)
        )
    data = {"deviceId": device.device_id, "heard": found is not None, "state": _maybe(found)}
    return OperationResult("device state", data, human=_heard(data["state"]))


def routes(texts: Sequence[str], soc: str | None) -> OperationResult:
    """The way that each device's last packet came; several are asked for in one call."""
    with tools.opened() as session:
        devices = [find(session, text, soc).device_id for text in texts]
        if len(devices) == 1:
            found = {devices[0]: session.cloud.last_route(devices[0])}
        else:
            found = {row.device_id: row.last_route for row in session.cloud.last_routes(devices)}
    rows = [{"deviceId": one, "lastRoute": _maybe(found.get(one))} for one in devices]
    if len(rows) == 1:
        return OperationResult("device route", {"routes": rows}, human=_heard(rows[0]["lastRoute"]))
    cells = [[str(row["deviceId"]), *_route_cells(found.get(str(row["deviceId"])))] for row in rows]
    return OperationResult(
        "device route",
        {"routes": rows},
        human=lambda console: views.table(
            console, ["device id", "interface", "address", "time"], cells, ""
        ),
    )


def _route_cells(route: api.UplinkRoute | None) -> list[str]:
    if route is None:
        return ["not heard", "", ""]
    return [
        route.interface,
        views.text(route.udp.address if route.udp else None),
        views.text(views.plain(route).get("udp", {}).get("time") if route.udp else None),
    ]


def _heard(values: Any) -> Any:
    return _NOT_HEARD if values is None else lambda console: views.fields(console, values)
