"""Results of `infuse registry device|component|sensor|health|group`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infuse_cli import api_types as api
    from infuse_cli.devices.organisations import Creation
    from infuse_cli.devices.registry import Group, Health, HealthSummary

_DEVICES: Final = {
    "name": "name",
    "status": "status",
    "registryDeviceId": "registry device id",
    "tags": "tags",
    "siteId": "site",
}
_COMPONENTS: Final = {
    "name": "name",
    "registryDeviceId": "registry device id",
    "id": "id",
    "sensorProfileId": "sensor profile",
}
_SENSORS: Final = {
    "name": "name",
    "valueType": "value type",
    "unit": "unit",
    "registryDeviceId": "registry device id",
    "tags": "tags",
    "id": "id",
}
_GROUPS: Final = {"name": "name", "tags": "tags", "id": "id"}
_HEALTH: Final = {
    "recordedAt": "recorded",
    "uptime": "uptime s",
    "freeHeap": "free heap",
    "signalStrength": "signal dBm",
    "connectionType": "connection",
    "readingsSent": "sent",
    "readingsDropped": "dropped",
}
_KEYS: Final = {"registry device": "device"}
"""Names of things in the envelope, where they are not their own."""


def devices(rows: Sequence[api.RegistryDevice]) -> OperationResult:
    """`registry device list`."""
    empty = "The registry has no such device."
    return views.listing("registry device list", "devices", rows, _DEVICES, empty)


def components(rows: Sequence[api.Component]) -> OperationResult:
    """`registry component list`."""
    empty = "There is no component."
    return views.listing("registry component list", "components", rows, _COMPONENTS, empty)


def sensors(rows: Sequence[api.Sensor]) -> OperationResult:
    """`registry sensor list`."""
    empty = "There is no such sensor."
    return views.listing("registry sensor list", "sensors", rows, _SENSORS, empty)


def groups(rows: Sequence[api.DeviceGroup]) -> OperationResult:
    """`registry group list`."""
    return views.listing("registry group list", "groups", rows, _GROUPS, "There is no group.")


def created(what: str, thing: api.ApiObject, name: str) -> OperationResult:
    """`registry device|group create`."""
    return _single(what, "create", thing, f"Created {what} {name!r}.")


def changed(what: str, thing: api.ApiObject, name: str) -> OperationResult:
    """`registry device|component|group update`."""
    return _single(what, "update", thing, f"Changed {what} {name!r}.")


def deleted(what: str, thing: api.ApiObject, name: str) -> OperationResult:
    """`registry device|component|group delete`."""
    data = {"deleted": views.plain(thing)}
    return OperationResult(_command(what, "delete"), data, human=f"Deleted {what} {name!r}.")


def _single(what: str, verb: str, thing: api.ApiObject, first: str) -> OperationResult:
    return views.single(_command(what, verb), _KEYS.get(what, what), thing, first=first)


def _command(what: str, verb: str) -> str:
    return f"registry {_KEYS.get(what, what)} {verb}"


def component_created(
    command: str, result: Creation[api.Component], sensor_profile: str | None
) -> OperationResult:
    """`registry component create|ensure`."""
    component = result.thing
    lines = [f"{'Created' if result.created else 'There already:'} component {component.name!r}."]
    if result.differs:
        lines.append(
            f"Note: its sensor profile is {component.sensor_profile_id}, not {sensor_profile}."
        )
    return views.single(
        command, "component", component, first="\n".join(lines), created=result.created
    )


def summary(result: api.RegistrySummary) -> OperationResult:
    """`registry device summary`."""
    cells = [[name, str(count)] for name, count in result.by_status.items()]
    cells.append(["total", str(result.total)])
    return OperationResult(
        "registry device summary",
        views.plain(result),
        human=lambda console: views.table(console, ["status", "devices"], cells, ""),
    )


def health(command: str, result: Health) -> OperationResult:
    """`registry health show|window`."""
    empty = "The device has reported no health in this time."
    listing = views.listing(command, "health", result.reports, _HEALTH, empty)
    data = {"registryDeviceId": result.device_id, **listing.data}
    return OperationResult(command, data, human=listing.human)


def health_latest(result: Health) -> OperationResult:
    """`registry health latest`."""
    values = views.plain(result.reports[0]) if result.reports else None
    data = {"registryDeviceId": result.device_id, "health": values}
    human = _fields(values, "The device has reported no health yet.")
    return OperationResult("registry health latest", data, human=human)


def health_summary(result: HealthSummary) -> OperationResult:
    """`registry health summary`."""
    data = {"registryDeviceId": result.device_id, "summary": result.summary}
    human = _fields(result.summary, "There is nothing to sum up yet.")
    return OperationResult("registry health summary", data, human=human)


def group(result: Group) -> OperationResult:
    """`registry group show`."""
    names = ", ".join(device.name for device in result.devices)
    first = f"It holds: {names}." if names else "No device carries its tags."
    members = [views.plain(device) for device in result.devices]
    return views.single("registry group show", "group", result.group, first=first, devices=members)


def _fields(values: Mapping[str, Any] | None, empty: str) -> Any:
    return empty if values is None else lambda console: views.fields(console, values)
