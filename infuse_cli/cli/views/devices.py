"""Results of `infuse device list|show|create|ensure|update|state|route`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from infuse_cli import api_types as api
    from infuse_cli.devices.cloud_devices import (
        DeviceCreation,
        DeviceOverview,
        HeardState,
        LocalRecord,
    )

_COLUMNS: Final = {"deviceId": "device id", "mcuId": "mcu id", "metadata": "metadata", "id": "id"}
_NOT_HEARD: Final = "The cloud has not heard this device yet."
_SIDES: Final = {
    "device": "cloud device",
    "registryDevice": "registry device",
    "state": "state",
    "lastRoute": "last route",
    "record": "in the journal here",
}


def listed(rows: Sequence[api.Device]) -> OperationResult:
    """`device list`."""
    empty = "There is no such cloud device."
    return views.listing("device list", "devices", rows, _COLUMNS, empty)


def overview(result: DeviceOverview) -> OperationResult:
    """`device show`."""
    data: dict[str, Any] = {
        "device": views.plain(result.device),
        "state": _plain(result.state),
        "lastRoute": _plain(result.last_route),
        "registryDevice": _plain(result.registry_device),
        "record": None if result.record is None else _record(result.record),
        "differences": _differences(result),
    }

    def human(console: Console) -> None:
        for key, title in _SIDES.items():
            if data[key] is None:
                views.say(console, f"{title}: none")
                continue
            views.say(console, title)
            views.fields(console, {f"  {name}": value for name, value in data[key].items()})
        for difference in data["differences"]:
            views.say(console, f"Differs: {difference}")

    return OperationResult("device show", data, human=human)


def _differences(result: DeviceOverview) -> list[str]:
    found = result.comparison
    lines = [f"{row.name}: in the cloud {row.actual}, recorded {row.expected}" for row in found.ids]
    lines += [
        f"metadata {row.name}: in the cloud {row.actual!r}, recorded {row.expected!r}"
        for row in found.metadata
    ]
    if result.lost_registry_device:
        lines.append(
            f"registry device {result.lost_registry_device} is recorded here, and the registry does"
            " not know it"
        )
    return lines


def _record(record: LocalRecord) -> dict[str, Any]:
    from infuse_cli.journal.board_json import brief

    values = brief(record.attempt)
    opened = values["opened"]
    return {
        "board": values["board"],
        "result": values["result"],
        "state": values["state"],
        "failedStep": values["failedStep"],
        "opened": opened.isoformat().replace("+00:00", "Z") if opened is not None else None,
        "deviceId": record.device_id,
        "registryDeviceId": record.registry_device_id,
        "imei": record.board.imei,
        "mcuId": record.board.mcu_id,
        "metadata": record.metadata,
    }


def created(command: str, result: DeviceCreation) -> OperationResult:
    """`device create|ensure`."""
    device = result.device
    first = f"Created cloud device {device.device_id}."
    if not result.created:
        change = ", metadata changed" if result.changed else ""
        first = f"There already: cloud device {device.device_id}{change}."
    return views.single(command, "device", device, first=first, created=result.created)


def updated(device: api.Device) -> OperationResult:
    """`device update`."""
    first = f"Changed cloud device {device.device_id}."
    return views.single("device update", "device", device, first=first)


def state(result: HeardState) -> OperationResult:
    """`device state`."""
    values = _plain(result.state)
    data = {"deviceId": result.device_id, "heard": values is not None, "state": values}
    return OperationResult("device state", data, human=_heard(values))


def routes(result: Mapping[str, api.UplinkRoute | None]) -> OperationResult:
    """`device route`."""
    rows = [
        {"deviceId": device_id, "lastRoute": _plain(route)} for device_id, route in result.items()
    ]
    data = {"routes": rows}
    if len(rows) == 1:
        return OperationResult("device route", data, human=_heard(rows[0]["lastRoute"]))
    cells = [[device_id, *_route_cells(route)] for device_id, route in result.items()]
    titles = ["device id", "interface", "address", "time"]
    return OperationResult(
        "device route", data, human=lambda console: views.table(console, titles, cells, "")
    )


def _route_cells(route: api.UplinkRoute | None) -> list[str]:
    if route is None:
        return ["not heard", "", ""]
    udp: dict[str, Any] = views.plain(route).get("udp") or {}
    return [route.interface, views.text(udp.get("address")), views.text(udp.get("time"))]


def _plain(thing: api.ApiObject | None) -> dict[str, Any] | None:
    return None if thing is None else views.plain(thing)


def _heard(values: Any) -> Any:
    return _NOT_HEARD if values is None else lambda console: views.fields(console, values)
