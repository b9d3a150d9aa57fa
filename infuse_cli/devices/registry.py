"""What the device registry keeps: devices, components, sensors, health, groups.

PUT replaces, so changes are merged first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from infuse_cli import api_types as api
from infuse_cli.devices import session as tools
from infuse_cli.devices.organisations import Creation
from infuse_cli.errors import CloudError, UsageError
from infuse_cli.records.notes import NoteKind, changed_kinds, created_kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.settings import Settings

A = TypeVar("A", api.RegistryDevice, api.Component, api.DeviceGroup)


@dataclass(frozen=True, slots=True)
class RegistryDeviceRequest:
    """Members of a registry device; None or empty where they are not to be changed."""

    name: str | None = None
    status: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    location: api.Location | None = None
    site: str | None = None
    device_profile: str | None = None

    def members(self) -> dict[str, Any]:
        """The members that were given, as the registry names them."""
        return _given(
            name=self.name,
            status=self.status,
            tags=list(self.tags) or None,
            metadata=dict(self.metadata) or None,
            location=None if self.location is None else msgspec.to_builtins(self.location),
            siteId=self.site,
            deviceProfileId=self.device_profile,
        )


@dataclass(frozen=True, slots=True)
class Group:
    """A group and the devices that carry all of its tags."""

    group: api.DeviceGroup
    devices: tuple[api.RegistryDevice, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """Reports of a registry device on itself; its id is the registryDeviceId."""

    device_id: str
    reports: Sequence[api.DeviceHealth]


@dataclass(frozen=True, slots=True)
class HealthSummary:
    """The registry's own summary of a device's health, None where there is none yet."""

    device_id: str
    summary: Mapping[str, Any] | None


def list_devices(
    settings: Settings, status: str | None = None, tags: Sequence[str] = ()
) -> list[api.RegistryDevice]:
    """All registry devices, or those of a status or with all of some tags."""
    with tools.opened(settings) as session:
        return [
            device
            for device in session.registry.devices()
            if status in {None, device.status} and set(tags) <= set(device.tags)
        ]


def find_device(settings: Settings, text: str) -> api.RegistryDevice:
    """One registry device by name or id."""
    with tools.opened(settings) as session:
        return session.registry_device(text)


def create_device(settings: Settings, request: RegistryDeviceRequest) -> api.RegistryDevice:
    """Create a registry device without a token. Raises CloudError cloud.refused for one that
    exists.
    """
    members = request.members()
    name = members.pop("name")
    with tools.opened(settings) as session:
        client = session.registry
        existing = client.device_by_name(name)
        if existing is not None:
            raise tools.exists(
                "registry device", name, existing.id, "`infuse registry device update` changes it."
            )
        return _create(
            session,
            "registry device",
            {"name": name},
            lambda: client.create_device(name, members),
            lambda: client.device_by_name(name),
        )


def update_device(
    settings: Settings, text: str, request: RegistryDeviceRequest
) -> api.RegistryDevice:
    """Change members of a registry device: metadata is merged, tags are replaced."""
    members = _something(request.members())
    with tools.opened(settings) as session:
        client, device = session.registry, session.registry_device(text)
        if "metadata" in members:
            members["metadata"] = {**device.metadata, **members["metadata"]}
        return _change(
            session,
            "registry device",
            device.id,
            members,
            put=lambda: client.change_device(device.id, members),
            look_up=lambda: client.device(device.id),
        )


def delete_device(settings: Settings, text: str, *, yes: bool) -> api.RegistryDevice:
    """Delete a registry device; its pending token goes with it, its name is free again."""
    with tools.opened(settings) as session:
        client, device = session.registry, session.registry_device(text)
        settings.confirm(
            f"Delete registry device {device.name!r} ({device.id}, {device.status})?", yes=yes
        )
        _delete(session, "registry device", device.id, client.delete_device, client.device)
    return device


def summarise(settings: Settings) -> api.RegistrySummary:
    """How many registry devices there are, by status."""
    with tools.opened(settings) as session:
        return session.registry.summary()


def list_components(settings: Settings, device: str | None = None) -> Sequence[api.Component]:
    """All components, or those of a device."""
    with tools.opened(settings) as session:
        return _components(session, device)


def find_component(settings: Settings, text: str, device: str | None = None) -> api.Component:
    """One component by id, or by name on its device."""
    with tools.opened(settings) as session:
        return _component(session, text, device)


def create_component(
    settings: Settings, device: str, name: str, sensor_profile: str | None, *, ensure: bool
) -> Creation[api.Component]:
    """Create a component; `ensure` is content with one that exists, e.g. because the device
    announced it itself.
    """
    with tools.opened(settings) as session:
        client, owner = session.registry, session.registry_device(device)

        def look_up() -> api.Component | None:
            return tools.named(client.components(owner.id), name, "component")

        existing = look_up()
        if existing is not None and not ensure:
            raise tools.exists(
                "component",
                name,
                existing.id,
                "`infuse registry component ensure` is content with that.",
            )
        if existing is not None:
            is_other = sensor_profile not in {None, existing.sensor_profile_id}
            return Creation(existing, created=False, differs=("sensorProfileId",) * is_other)
        made = _create(
            session,
            "component",
            {"name": name, "registryDeviceId": owner.id},
            lambda: client.create_component(owner.id, name, sensor_profile),
            look_up,
            ensure=ensure,
        )
    return Creation(made, created=True)


def update_component(
    settings: Settings,
    text: str,
    device: str | None,
    name: str | None,
    sensor_profile: str | None,
) -> api.Component:
    """Change a component's name or sensor profile."""
    members = _something(_given(name=name, sensorProfileId=sensor_profile))
    with tools.opened(settings) as session:
        client, component = session.registry, _component(session, text, device)
        return _change(
            session,
            "component",
            component.id,
            members,
            put=lambda: client.change_component(component.id, members),
            look_up=lambda: client.component(component.id),
        )


def delete_component(
    settings: Settings, text: str, device: str | None, *, yes: bool
) -> api.Component:
    """Delete a component and its sensors."""
    with tools.opened(settings) as session:
        client, component = session.registry, _component(session, text, device)
        settings.confirm(f"Delete component {component.name!r} ({component.id})?", yes=yes)
        _delete(session, "component", component.id, client.delete_component, client.component)
    return component


def _components(session: tools.Session, device: str | None) -> Sequence[api.Component]:
    owner = session.registry_device(device).id if device else None
    return session.registry.components(owner)


def _component(session: tools.Session, text: str, device: str | None) -> api.Component:
    by_id = session.registry.component(text) if tools.is_id(text) else None
    return by_id or tools.pick(_components(session, device), text, "component")


def list_sensors(
    settings: Settings,
    device: str | None = None,
    group: str | None = None,
    value_type: str | None = None,
    tags: Sequence[str] = (),
) -> Sequence[api.Sensor]:
    """The sensors that fit all filters."""
    with tools.opened(settings) as session:
        client = session.registry
        return client.sensors(
            registry_device_id=session.registry_device(device).id if device else None,
            group_id=tools.pick(client.groups(), group, "group").id if group else None,
            value_type=value_type,
            tags=tuple(tags),
        )


def health(settings: Settings, text: str) -> Health:
    """All that a device reported of itself."""
    with tools.opened(settings) as session:
        device = session.registry_device(text)
        return Health(device.id, session.registry.health_history(device.id))


def health_window(settings: Settings, text: str, start: datetime, end: datetime | None) -> Health:
    """What a device reported of itself between two times (aware), until now without `end`.

    Raises UsageError for a window without length.
    """
    until = end or datetime.now(UTC)
    if start >= until:
        raise UsageError(
            "usage.bad-option",
            f"--from {start.isoformat()} is not before --to"
            f" {'now' if end is None else end.isoformat()}",
        )
    with tools.opened(settings) as session:
        device = session.registry_device(text)
        return Health(device.id, session.registry.health_window(device.id, start, until))


def health_latest(settings: Settings, text: str) -> Health:
    """A device's newest report of itself; `reports` is empty where there is none."""
    with tools.opened(settings) as session:
        device = session.registry_device(text)
        newest = session.registry.health_latest(device.id)
    return Health(device.id, () if newest is None else (newest,))


def health_summary(settings: Settings, text: str) -> HealthSummary:
    """The registry's own summary of a device's health."""
    with tools.opened(settings) as session:
        device = session.registry_device(text)
        return HealthSummary(device.id, session.registry.health_summary(device.id))


def list_groups(settings: Settings) -> Sequence[api.DeviceGroup]:
    """All groups."""
    with tools.opened(settings) as session:
        return session.registry.groups()


def find_group(settings: Settings, text: str) -> Group:
    """One group by name or id, with the devices that carry its tags."""
    with tools.opened(settings) as session:
        group = tools.pick(session.registry.groups(), text, "group")
        devices = [
            device
            for device in session.registry.devices()
            if group.tags and set(group.tags) <= set(device.tags)
        ]
    return Group(group, tuple(devices))


def create_group(settings: Settings, name: str, tags: Sequence[str]) -> api.DeviceGroup:
    """Create a group. Raises CloudError cloud.refused for one that exists."""
    with tools.opened(settings) as session:
        client = session.registry

        def look_up() -> api.DeviceGroup | None:
            return tools.named(client.groups(), name, "group")

        existing = look_up()
        if existing is not None:
            raise tools.exists(
                "group", name, existing.id, "`infuse registry group update` changes it."
            )
        return _create(
            session,
            "group",
            {"name": name},
            lambda: client.create_group(name, tuple(tags)),
            look_up,
        )


def update_group(
    settings: Settings, text: str, name: str | None, tags: Sequence[str]
) -> api.DeviceGroup:
    """Change a group's name or tags."""
    members = _something(_given(name=name, tags=list(tags) or None))
    with tools.opened(settings) as session:
        client = session.registry
        group = tools.pick(client.groups(), text, "group")
        return _change(
            session,
            "group",
            group.id,
            members,
            put=lambda: client.change_group(group.id, members),
            look_up=lambda: client.group(group.id),
        )


def delete_group(settings: Settings, text: str, *, yes: bool) -> api.DeviceGroup:
    """Delete a group; its devices stay."""
    with tools.opened(settings) as session:
        client = session.registry
        group = tools.pick(client.groups(), text, "group")
        settings.confirm(f"Delete group {group.name!r} ({group.id})?", yes=yes)
        _delete(session, "group", group.id, client.delete_group, client.group)
    return group


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _something(members: dict[str, Any]) -> dict[str, Any]:
    if not members:
        raise UsageError("usage.bad-option", "nothing to change was given")
    return members


def _command(what: str, verb: str) -> str:
    return f"registry {what.removeprefix('registry ')} {verb}"


def _create(
    session: tools.Session,
    what: str,
    facts: Mapping[str, Any],
    post: Callable[[], A],
    look_up: Callable[[], A | None],
    *,
    ensure: bool = False,
) -> A:
    """Create once, recorded before and after."""
    intended, created = created_kinds(what)
    with tools.journal_run(session, _command(what, "ensure" if ensure else "create")) as run:
        run.note(intended, **facts)
        made = session.once.send(post, look_up, adopt_conflict=ensure)
        run.note(created, id=made.id, **facts)
    return made


def _change(
    session: tools.Session,
    what: str,
    id_: str,
    members: Mapping[str, Any],
    *,
    put: Callable[[], A | None],
    look_up: Callable[[], A | None],
) -> A:
    """Change once, recorded before and after; a lost answer counts as done when the thing is as it
    was wanted.
    """
    intended, changed = changed_kinds(what)

    def look_up_changed() -> A | None:
        thing = look_up()
        values = {} if thing is None else msgspec.to_builtins(thing)
        is_changed = all(values.get(name) == value for name, value in members.items())
        return thing if is_changed else None

    with tools.journal_run(session, _command(what, "update")) as run:
        run.note(intended, id=id_, change=dict(members))
        made = session.once.send(put, look_up_changed)
        if made is None:
            raise CloudError("cloud.not-found", f"the {what} {id_} is gone")
        run.note(changed, id=id_)
    return made


def _delete(
    session: tools.Session,
    what: str,
    id_: str,
    delete: Callable[[str], object],
    look_up: Callable[[str], object | None],
) -> None:
    """Delete once, recorded before and after; a lost answer counts as done when the thing is
    gone.
    """
    with tools.journal_run(session, _command(what, "delete")) as run:
        run.note(NoteKind.DELETION_INTENDED, id=id_)
        session.once.delete(lambda: delete(id_), lambda: look_up(id_))
        run.note(NoteKind.DELETED, id=id_)
