"""Components, sensors, health and groups of the virtual registry.

A device that checks in announces one component with one sensor, and its health, as firmware does;
people add others.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import UNSET
from msgspec.structs import asdict

from infuse_cli.sim import schemas
from infuse_cli.sim.store import Ask, Clock, Collection, Refused, filter_matches, page, stamp

if TYPE_CHECKING:
    from infuse_cli.sim.registry_state import RegistryState

S = TypeVar("S", bound=schemas.Stored)

ANNOUNCED: Final = "environment"
"""Name of the component that a virtual device announces itself."""


class InventoryState:
    """What the registry remembers beside devices and tokens. Callers hold `clock.lock`."""

    def __init__(self, clock: Clock, registry: RegistryState) -> None:
        self._clock: Final = clock
        self._registry: Final = registry
        self.components: Final = Collection[schemas.Component]("component")
        self.sensors: Final = Collection[schemas.Sensor]("sensor")
        self.health: Final[dict[str, list[schemas.HealthRecord]]] = {}
        self.groups: Final = Collection[schemas.Group]("group")

    def announce(self, device_id: str) -> None:
        """A device checked in: its component exists from now on, and one more health record."""
        if not any(
            component.device_id == device_id and component.name == ANNOUNCED
            for component in self.components.values()
        ):
            component = self._add_component(
                schemas.ComponentRequest(device_id=device_id, name=ANNOUNCED)
            )
            sensor = schemas.Sensor(
                name="temperature",
                device_id=device_id,
                component_id=component.id,
                value_type="number",
                unit="°C",
                tags=list(self._registry.devices[device_id].tags),
                **self._clock.stamps(),
            )
            self.sensors.add(sensor)
        records = self.health.setdefault(device_id, [])
        records.append(
            schemas.HealthRecord(
                recorded_at=stamp(self._clock.now()),
                uptime=60 * (len(records) + 1),
                free_heap=65536,
                signal_strength=-95,
                connection_type="LTE-M",
                readings_sent=len(records),
                readings_dropped=0,
            )
        )

    def forget(self, device_id: str) -> None:
        """A device is gone, and with it all that was its own."""
        for things in (self.components, self.sensors):
            for thing in [item for item in things.values() if item.device_id == device_id]:
                del things[thing.id]
        self.health.pop(device_id, None)

    # Components

    def list_components(self, ask: Ask) -> list[schemas.Component]:
        """GET /components."""
        return page(
            [
                component
                for component in self.components.values()
                if filter_matches(ask.query.device_id, component.device_id)
            ],
            ask.query,
        )

    def component(self, ask: Ask) -> schemas.Component:
        """GET /components/{id}."""
        return self.components.get_or_refuse(ask.path["id"])

    def create_component(self, ask: Ask) -> schemas.Component:
        """POST /components."""
        return self._add_component(ask.body)

    def replace_component(self, ask: Ask) -> schemas.Component:
        """PUT /components/{id}."""
        return self._replace(self.component(ask), ask.body)

    def delete_component(self, ask: Ask) -> None:
        """DELETE /components/{id}: its sensors go with it."""
        component = self.component(ask)
        for sensor in list(self.sensors.values()):
            if sensor.component_id == component.id:
                del self.sensors[sensor.id]
        del self.components[component.id]

    def list_sensors(self, ask: Ask) -> list[schemas.Sensor]:
        """GET /sensors, filtered by device, group, value type and tags."""
        query: schemas.SensorQuery = ask.query
        group = None if query.group_id is UNSET else self._members(query.group_id)
        return page(
            [
                sensor
                for sensor in self.sensors.values()
                if filter_matches(query.device_id, sensor.device_id)
                and filter_matches(query.value_type, sensor.value_type)
                and set(query.tags) <= set(sensor.tags)
                and (group is None or sensor.device_id in group)
            ],
            query,
        )

    # Health

    def health_history(self, ask: Ask) -> list[schemas.HealthRecord]:
        """GET /devices/{deviceId}/health."""
        return page(self._records(ask), ask.query)

    def health_latest(self, ask: Ask) -> schemas.HealthRecord:
        """GET /devices/{deviceId}/health/latest."""
        records = self._records(ask)
        if not records:
            raise Refused(404, "the device has reported no health yet")
        return records[-1]

    def health_window(self, ask: Ask) -> list[schemas.HealthRecord]:
        """GET /devices/{deviceId}/health/window?from&to."""
        query: schemas.HealthWindowQuery = ask.query
        return page(
            [
                record
                for record in self._records(ask)
                if query.from_ <= datetime.fromisoformat(record.recorded_at) <= query.to
            ],
            query,
        )

    def health_summary(self, ask: Ask) -> dict[str, Any]:
        """GET /devices/{deviceId}/health/summary."""
        records = self._records(ask)
        return {
            "records": len(records),
            "readingsSent": sum(record.readings_sent for record in records),
            "readingsDropped": sum(record.readings_dropped for record in records),
            "lastRecordedAt": records[-1].recorded_at if records else None,
        }

    # Groups

    def list_groups(self, ask: Ask) -> list[schemas.Group]:
        """GET /device-groups."""
        return page(list(self.groups.values()), ask.query)

    def group(self, ask: Ask) -> schemas.Group:
        """GET /device-groups/{id}."""
        return self.groups.get_or_refuse(ask.path["id"])

    def create_group(self, ask: Ask) -> schemas.Group:
        """POST /device-groups."""
        body: schemas.GroupRequest = ask.body
        if any(group.name == body.name for group in self.groups.values()):
            raise Refused(409, f"the name {body.name} is taken")
        return self.groups.add(schemas.Group(**asdict(body), **self._clock.stamps()))

    def replace_group(self, ask: Ask) -> schemas.Group:
        """PUT /device-groups/{id}."""
        return self._replace(self.group(ask), ask.body)

    def delete_group(self, ask: Ask) -> None:
        """DELETE /device-groups/{id}."""
        del self.groups[self.group(ask).id]

    def _add_component(self, body: schemas.ComponentRequest) -> schemas.Component:
        if body.device_id not in self._registry.devices:
            raise Refused(422, f"there is no device {body.device_id}")
        if any(
            component.device_id == body.device_id and component.name == body.name
            for component in self.components.values()
        ):
            raise Refused(409, f"the device has a component {body.name}")
        return self.components.add(schemas.Component(**asdict(body), **self._clock.stamps()))

    def _replace(self, held: S, body: schemas.Request) -> S:
        for name in body.__struct_fields__:
            setattr(held, name, getattr(body, name))
        held.updated_at = stamp(self._clock.now())
        return held

    def _records(self, ask: Ask) -> list[schemas.HealthRecord]:
        if ask.path["deviceId"] not in self._registry.devices:
            raise Refused(404, "no such device")
        return self.health.get(ask.path["deviceId"], [])

    def _members(self, group_id: str) -> set[str]:
        if group_id not in self.groups:
            raise Refused(422, f"there is no group {group_id}")
        tags = set(self.groups[group_id].tags)
        return {device.id for device in self._registry.devices.values() if tags <= set(device.tags)}
