"""`infuse registry device|component|sensor|health|group`: what the registry keeps.

PUT replaces, so changes are merged first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from infuse_cli import api_types as api
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices import session as tools
from infuse_cli.errors import CloudError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

A = TypeVar("A", bound=api.ApiObject)

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


@dataclass(frozen=True, slots=True)
class Members:
    """Members of a registry device as options give them; None or empty where they are not to be
    changed.
    """

    name: str | None = None
    status: str | None = None
    tags: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    location: str | None = None
    site: str | None = None
    device_profile: str | None = None

    def on_wire(self) -> dict[str, Any]:
        """The members that were given, as the registry names them. Raises UsageError."""
        spot = location(self.location)
        given = {
            "name": self.name,
            "status": status(self.status),
            "tags": list(self.tags) or None,
            "metadata": tools.pairs(self.metadata, "--metadata") or None,
            "location": (
                None if spot is None else {"latitude": spot.latitude, "longitude": spot.longitude}
            ),
            "siteId": self.site,
            "deviceProfileId": self.device_profile,
        }
        return {name: value for name, value in given.items() if value is not None}


def status(text: str | None) -> str | None:
    """A status in upper case. Raises UsageError."""
    if text is not None and text.upper() not in api.REGISTRY_STATUSES:
        raise UsageError(
            "usage.bad-option",
            f"--status is {text!r}, but must be one of {', '.join(api.REGISTRY_STATUSES)}",
        )
    return text.upper() if text else None


def location(text: str | None) -> api.Location | None:
    """A place from LATITUDE,LONGITUDE in degrees. Raises UsageError."""
    if text is None:
        return None
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        latitude = longitude = float("nan")
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise UsageError(
            "usage.bad-option",
            f"--location is {text!r}, but must be LATITUDE,LONGITUDE in degrees, e.g."
            " -27.47,153.03",
        )
    return api.Location(latitude=latitude, longitude=longitude)


def devices(wanted: str | None, tags: tuple[str, ...]) -> OperationResult:
    """All registry devices, or those of a status or with all of some tags."""
    only = status(wanted)
    with tools.opened() as session:
        rows = [
            row
            for row in session.registry.devices()
            if only in {None, row.status} and set(tags) <= set(row.tags)
        ]
    return views.listing(
        "registry device list", "devices", rows, _DEVICES, "The registry has no such device."
    )


def device(text: str) -> OperationResult:
    """One registry device by name or id."""
    with tools.opened() as session:
        return views.single("registry device show", "device", session.registry_device(text))


def create_device(members: Members) -> OperationResult:
    """Create a registry device without a token."""
    given = members.on_wire()
    name = given.pop("name")
    with tools.opened() as session:
        client = session.registry
        found = client.device_by_name(name)
        if found is not None:
            raise tools.exists(
                "registry device", name, found.id, "`infuse registry device update` changes it."
            )
        made = _noted(
            session,
            "registry device create",
            "registry device",
            {"name": name},
            lambda: session.once.send(
                lambda: client.create_device(name, given),
                lambda: client.device_by_name(name),
            ),
        )
    return views.single(
        "registry device create", "device", made, first=f"Created registry device {made.name!r}."
    )


def update_device(text: str, members: Members) -> OperationResult:
    """Change members of a registry device: metadata is merged, tags are replaced."""
    given = members.on_wire()
    if not given:
        raise UsageError("usage.bad-option", "nothing to change was given")
    with tools.opened() as session:
        client, found = session.registry, session.registry_device(text)
        if "metadata" in given:
            given["metadata"] = {**found.metadata, **given["metadata"]}
        made = _changed(
            session,
            "registry device update",
            "registry device",
            found.id,
            act=lambda: client.change_device(found.id, given),
            look=lambda: client.device(found.id),
            wanted=given,
        )
    return views.single(
        "registry device update", "device", made, first=f"Changed registry device {made.name!r}."
    )


def delete_device(text: str, *, yes: bool) -> OperationResult:
    """Delete a registry device; its pending token goes with it, its name is free again."""
    with tools.opened() as session:
        client, found = session.registry, session.registry_device(text)
        tools.confirm(
            f"Delete registry device {found.name!r} ({found.id}, {found.status})?", yes=yes
        )
        _deleted(
            session,
            "registry device delete",
            found.id,
            lambda: client.delete_device(found.id),
            lambda: client.device(found.id),
        )
    return OperationResult(
        "registry device delete",
        {"deleted": views.plain(found)},
        human=f"Deleted registry device {found.name!r}.",
    )


def summary() -> OperationResult:
    """How many registry devices there are, by status."""
    with tools.opened() as session:
        found = session.registry.summary()
    cells = [[name, str(count)] for name, count in found.by_status.items()] + [
        ["total", str(found.total)]
    ]
    return OperationResult(
        "registry device summary",
        views.plain(found),
        human=lambda console: views.table(console, ["status", "devices"], cells, ""),
    )


def components(device: str | None) -> OperationResult:
    """All components, or those of a device."""
    with tools.opened() as session:
        rows = session.registry.components(session.registry_device(device).id if device else None)
    return views.listing(
        "registry component list", "components", rows, _COMPONENTS, "There is no component."
    )


def component(text: str, device: str | None) -> OperationResult:
    """One component by id, or by name on its device."""
    with tools.opened() as session:
        return views.single(
            "registry component show", "component", _component(session, text, device)
        )


def make_component(
    device: str, name: str, sensor_profile: str | None, *, ensure: bool
) -> OperationResult:
    """Create a component; `ensure` is content with one that is there, e.g. because the device
    announced it itself.
    """
    command = f"registry component {'ensure' if ensure else 'create'}"
    with tools.opened() as session:
        client, owner = session.registry, session.registry_device(device)

        def look() -> api.Component | None:
            return tools.named(client.components(owner.id), name, "component")

        found = look()
        if found is not None and not ensure:
            raise tools.exists(
                "component",
                name,
                found.id,
                "`infuse registry component ensure` is content with that.",
            )
        made = found or _noted(
            session,
            command,
            "component",
            {"name": name, "registryDeviceId": owner.id},
            lambda: session.once.send(
                lambda: client.create_component(owner.id, name, sensor_profile),
                look,
                adopt_conflict=ensure,
            ),
        )
    first = f"{'There already:' if found else 'Created'} component {name!r}."
    if found and sensor_profile not in {None, found.sensor_profile_id}:
        first += f"\nNote: its sensor profile is {found.sensor_profile_id}, not {sensor_profile}."
    return views.single(command, "component", made, first=first, created=found is None)


def update_component(
    text: str, device: str | None, name: str | None, sensor_profile: str | None
) -> OperationResult:
    """Change a component's name or sensor profile."""
    given = {
        key: value
        for key, value in (("name", name), ("sensorProfileId", sensor_profile))
        if value is not None
    }
    if not given:
        raise UsageError("usage.bad-option", "nothing to change was given")
    with tools.opened() as session:
        client, found = session.registry, _component(session, text, device)
        made = _changed(
            session,
            "registry component update",
            "component",
            found.id,
            act=lambda: client.change_component(found.id, given),
            look=lambda: client.component(found.id),
            wanted=given,
        )
    return views.single(
        "registry component update", "component", made, first=f"Changed component {made.name!r}."
    )


def delete_component(text: str, device: str | None, *, yes: bool) -> OperationResult:
    """Delete a component and its sensors."""
    with tools.opened() as session:
        client, found = session.registry, _component(session, text, device)
        tools.confirm(f"Delete component {found.name!r} ({found.id})?", yes=yes)
        _deleted(
            session,
            "registry component delete",
            found.id,
            lambda: client.delete_component(found.id),
            lambda: client.component(found.id),
        )
    return OperationResult(
        "registry component delete",
        {"deleted": views.plain(found)},
        human=f"Deleted component {found.name!r}.",
    )


def _component(session: tools.Session, text: str, device: str | None) -> api.Component:
    if tools.is_id(text) and (found := session.registry.component(text)) is not None:
        return found
    return tools.pick(
        session.registry.components(session.registry_device(device).id if device else None),
        text,
        "component",
    )


def sensors(
    device: str | None, group: str | None, value_type: str | None, tags: tuple[str, ...]
) -> OperationResult:
    """The sensors that fit all filters."""
    with tools.opened() as session:
        client = session.registry
        rows = client.sensors(
            registry_device_id=session.registry_device(device).id if device else None,
            group_id=tools.pick(client.groups(), group, "group").id if group else None,
            value_type=value_type,
            tags=tags,
        )
    return views.listing(
        "registry sensor list", "sensors", rows, _SENSORS, "There is no such sensor."
    )


def health(text: str, since: str | None, until: str | None, *, window: bool) -> OperationResult:
    """What a device said of itself: all of it, or between two times."""
    from datetime import UTC, datetime

    from infuse_cli.devices.rpc import moment

    start, end = moment(since, "--from"), moment(until, "--to")
    if window and start is None:
        raise UsageError("usage.bad-option", "a window needs --from TIME")
    if start is not None and start >= (end or datetime.now(UTC)):
        raise UsageError(
            "usage.bad-option", f"--from {since!r} is not before --to {until or 'now'!r}"
        )
    with tools.opened() as session:
        found = session.registry_device(text)
        rows = (
            session.registry.health_history(found.id)
            if start is None
            else session.registry.health_window(found.id, start, end or datetime.now(UTC))
        )
    made = views.listing(
        f"registry health {'window' if window else 'show'}",
        "health",
        rows,
        _HEALTH,
        "The device has reported no health in this time.",
    )
    return OperationResult(
        made.command, {"registryDeviceId": found.id, **made.data}, human=made.human
    )


def health_latest(text: str) -> OperationResult:
    """A device's newest word of itself."""
    with tools.opened() as session:
        found = session.registry_device(text)
        newest = session.registry.health_latest(found.id)
    values = None if newest is None else views.plain(newest)
    return OperationResult(
        "registry health latest",
        {"registryDeviceId": found.id, "health": values},
        human=_fields(values, "The device has reported no health yet."),
    )


def health_summary(text: str) -> OperationResult:
    """The registry's own summary of a device's health."""
    with tools.opened() as session:
        found = session.registry_device(text)
        summed = session.registry.health_summary(found.id)
    return OperationResult(
        "registry health summary",
        {"registryDeviceId": found.id, "summary": summed},
        human=_fields(summed, "There is nothing to sum up yet."),
    )


def groups() -> OperationResult:
    """All groups."""
    with tools.opened() as session:
        return views.listing(
            "registry group list",
            "groups",
            session.registry.groups(),
            _GROUPS,
            "There is no group.",
        )


def group(text: str) -> OperationResult:
    """One group by name or id, with the devices that carry its tags."""
    with tools.opened() as session:
        found = tools.pick(session.registry.groups(), text, "group")
        members = [
            row
            for row in session.registry.devices()
            if found.tags and set(found.tags) <= set(row.tags)
        ]
    first = (
        f"It holds: {', '.join(row.name for row in members)}."
        if members
        else "No device carries its tags."
    )
    made = views.single("registry group show", "group", found, first=first)
    return OperationResult(
        made.command,
        {**made.data, "devices": [views.plain(row) for row in members]},
        human=made.human,
    )


def create_group(name: str, tags: tuple[str, ...]) -> OperationResult:
    """Create a group."""
    with tools.opened() as session:
        client = session.registry
        found = tools.named(client.groups(), name, "group")
        if found is not None:
            raise tools.exists(
                "group", name, found.id, "`infuse registry group update` changes it."
            )
        made = _noted(
            session,
            "registry group create",
            "group",
            {"name": name},
            lambda: session.once.send(
                lambda: client.create_group(name, tags),
                lambda: tools.named(client.groups(), name, "group"),
            ),
        )
    return views.single("registry group create", "group", made, first=f"Created group {name!r}.")


def update_group(text: str, name: str | None, tags: tuple[str, ...]) -> OperationResult:
    """Change a group's name or tags."""
    given: dict[str, Any] = {
        key: value
        for key, value in (("name", name), ("tags", list(tags) or None))
        if value is not None
    }
    if not given:
        raise UsageError("usage.bad-option", "nothing to change was given")
    with tools.opened() as session:
        client = session.registry
        found = tools.pick(client.groups(), text, "group")
        made = _changed(
            session,
            "registry group update",
            "group",
            found.id,
            act=lambda: client.change_group(found.id, given),
            look=lambda: client.group(found.id),
            wanted=given,
        )
    return views.single(
        "registry group update", "group", made, first=f"Changed group {made.name!r}."
    )


def delete_group(text: str, *, yes: bool) -> OperationResult:
    """Delete a group; its devices stay."""
    with tools.opened() as session:
        client = session.registry
        found = tools.pick(client.groups(), text, "group")
        tools.confirm(f"Delete group {found.name!r} ({found.id})?", yes=yes)
        _deleted(
            session,
            "registry group delete",
            found.id,
            lambda: client.delete_group(found.id),
            lambda: client.group(found.id),
        )
    return OperationResult(
        "registry group delete",
        {"deleted": views.plain(found)},
        human=f"Deleted group {found.name!r}.",
    )


def _noted(
    session: tools.Session,
    command: str,
    what: str,
    facts: Mapping[str, Any],
    create: Callable[[], A],
) -> A:
    with tools.on_record(session, command) as record:
        record.note(f"{what} intended", **facts)
        made = create()
        record.note(f"{what} created", id=getattr(made, "id", None), **facts)
    return made


def _changed(
    session: tools.Session,
    command: str,
    what: str,
    id_: str,
    *,
    act: Callable[[], A | None],
    look: Callable[[], A | None],
    wanted: Mapping[str, Any],
) -> A:
    """Change once, on record; a lost answer counts as done when the thing is as it was wanted."""

    def found() -> A | None:
        now = look()
        held = None if now is None else {**views.plain(now), "id": id_}
        return (
            now
            if held is not None and all(held.get(name) == value for name, value in wanted.items())
            else None
        )

    with tools.on_record(session, command) as record:
        record.note(f"{what} change intended", id=id_, change=dict(wanted))
        made = session.once.send(act, found)
        if made is None:
            raise CloudError("cloud.not-found", f"the {what} {id_} is gone")
        record.note(f"{what} changed", id=id_)
    return made


def _deleted(
    session: tools.Session, command: str, id_: str, act: Callable[[], None], look: Callable[[], Any]
) -> None:
    """Delete once, on record; a lost answer counts as done when the thing is gone."""
    with tools.on_record(session, command) as record:
        record.note("deletion intended", id=id_)
        session.once.delete(act, look)
        record.note("deleted", id=id_)


def _fields(values: Mapping[str, Any] | None, empty: str) -> Any:
    return empty if values is None else lambda console: views.fields(console, values)
