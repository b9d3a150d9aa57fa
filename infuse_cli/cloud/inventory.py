"""What the registry keeps beside devices and tokens: components, sensors, health, groups.

PUT replaces, so a change is GET, change, PUT, and whatever else the server holds goes along
unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from infuse_cli import api_types as api
from infuse_cli.cloud import decoding
from infuse_cli.cloud._client import ABSENT, Client
from infuse_cli.cloud.failures import Call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

O = TypeVar("O", bound=api.ApiObject)  # noqa: E741

COMPONENTS: Final = Call("GET", "/components")
CREATE_COMPONENT: Final = Call("POST", "/components", effect=True)
COMPONENT: Final = Call("GET", "/components/{id}", none=ABSENT)
UPDATE_COMPONENT: Final = Call("PUT", "/components/{id}", effect=True)
DELETE_COMPONENT: Final = Call("DELETE", "/components/{id}", effect=True, none=ABSENT)
SENSORS: Final = Call("GET", "/sensors")
HEALTH: Final = Call("GET", "/devices/{deviceId}/health")
HEALTH_LATEST: Final = Call("GET", "/devices/{deviceId}/health/latest", none=ABSENT)
HEALTH_WINDOW: Final = Call("GET", "/devices/{deviceId}/health/window")
HEALTH_SUMMARY: Final = Call("GET", "/devices/{deviceId}/health/summary", none=ABSENT)
GROUPS: Final = Call("GET", "/device-groups")
CREATE_GROUP: Final = Call("POST", "/device-groups", effect=True)
GROUP: Final = Call("GET", "/device-groups/{id}", none=ABSENT)
UPDATE_GROUP: Final = Call("PUT", "/device-groups/{id}", effect=True)
DELETE_GROUP: Final = Call("DELETE", "/device-groups/{id}", effect=True, none=ABSENT)

# Members that the server gives itself and a PUT does not send back.
_SERVERS_OWN: Final = frozenset({"id", "createdAt", "updatedAt"})


class InventoryCalls(Client):
    """Components, sensors, health and groups."""

    def components(self, registry_device_id: str | None = None) -> Sequence[api.Component]:
        """All components, or those of one registry device, the list read to its end."""
        query = {} if registry_device_id is None else {"deviceId": registry_device_id}
        # Filtered again here: the API documents no filter, so a server may ignore it.
        return tuple(
            component
            for component in self._list(COMPONENTS, api.Component, query)
            if registry_device_id in {None, component.device_id}
        )

    def component(self, component_id: str) -> api.Component | None:
        """One component by its id."""
        return self._find(COMPONENT, api.Component, {"id": component_id})

    def create_component(
        self, registry_device_id: str, name: str, sensor_profile_id: str | None = None
    ) -> api.Component:
        """POST a component, once."""
        body = {"deviceId": registry_device_id, "name": name, "sensorProfileId": sensor_profile_id}
        return self._send(CREATE_COMPONENT, api.Component, body, same=("deviceId", "name"))

    def change_component(
        self, component_id: str, changes: Mapping[str, Any]
    ) -> api.Component | None:
        """PUT a component with these members changed, once; None when there is no such
        component.
        """
        return self._change(
            COMPONENT, UPDATE_COMPONENT, {"id": component_id}, changes, api.Component
        )

    def delete_component(self, component_id: str) -> None:
        """DELETE a component, once; one that is already gone is fine."""
        self._transport.find(DELETE_COMPONENT, path={"id": component_id})

    def sensors(
        self,
        *,
        registry_device_id: str | None = None,
        group_id: str | None = None,
        value_type: str | None = None,
        tags: Sequence[str] = (),
    ) -> Sequence[api.Sensor]:
        """The organisation's sensors that fit all filters, the list read to its end."""
        query = {
            "deviceId": registry_device_id,
            "groupId": group_id,
            "valueType": value_type,
            "tags": ",".join(tags) or None,
        }
        return self._list(
            SENSORS, api.Sensor, {name: value for name, value in query.items() if value is not None}
        )

    def health_history(self, registry_device_id: str) -> Sequence[api.DeviceHealth]:
        """What a device said of itself, the list read to its end."""
        return self._health(HEALTH, registry_device_id, {})

    def health_latest(self, registry_device_id: str) -> api.DeviceHealth | None:
        """Its newest word, None where it has said nothing yet."""
        return self._find(HEALTH_LATEST, api.DeviceHealth, {"deviceId": registry_device_id})

    def health_window(
        self, registry_device_id: str, start: datetime, end: datetime
    ) -> Sequence[api.DeviceHealth]:
        """What it said between two aware times."""
        return self._health(
            HEALTH_WINDOW,
            registry_device_id,
            {"from": decoding.time_text(start) or "", "to": decoding.time_text(end) or ""},
        )

    def health_summary(self, registry_device_id: str) -> Mapping[str, Any] | None:
        """The registry's own summary, as it gives it; None where there is nothing to sum up."""
        answer = self._transport.find(HEALTH_SUMMARY, path={"deviceId": registry_device_id})
        return None if answer is None else decoding.members(answer)

    def groups(self) -> Sequence[api.DeviceGroup]:
        """All groups, the list read to its end."""
        return self._list(GROUPS, api.DeviceGroup, {})

    def group(self, group_id: str) -> api.DeviceGroup | None:
        """One group by its id."""
        return self._find(GROUP, api.DeviceGroup, {"id": group_id})

    def create_group(self, name: str, tags: Sequence[str]) -> api.DeviceGroup:
        """POST a group, once."""
        return self._send(CREATE_GROUP, api.DeviceGroup, {"name": name, "tags": list(tags)})

    def change_group(self, group_id: str, changes: Mapping[str, Any]) -> api.DeviceGroup | None:
        """PUT a group with these members changed, once; None when there is no such group."""
        return self._change(GROUP, UPDATE_GROUP, {"id": group_id}, changes, api.DeviceGroup)

    def delete_group(self, group_id: str) -> None:
        """DELETE a group, once; one that is already gone is fine."""
        self._transport.find(DELETE_GROUP, path={"id": group_id})

    def _health(
        self, call: Call, registry_device_id: str, query: Mapping[str, str]
    ) -> tuple[api.DeviceHealth, ...]:
        def fetch(offset: int) -> tuple[api.DeviceHealth, ...]:
            paged = {**query, "limit": str(decoding.PAGE), "offset": str(offset)}
            return decoding.page(
                self._transport.ask(call, path={"deviceId": registry_device_id}, query=paged),
                api.DeviceHealth,
            )

        return decoding.read_to_end(fetch, repr)

    def _change(
        self,
        get: Call,
        put: Call,
        path: Mapping[str, str],
        changes: Mapping[str, Any],
        type_: type[O],
    ) -> O | None:
        found = self._transport.find(get, path=path)
        if found is None:
            return None
        held = decoding.members(found)
        body = {
            name: value for name, value in {**held, **changes}.items() if name not in _SERVERS_OWN
        }
        answer = self._transport.ask(put, path=path, body=body)
        # What a PUT answers is not published: an answer without a body is as good, and what is
        # there now can be asked.
        if answer.raw.body.strip():
            return decoding.value(answer, type_)
        return self._find(get, type_, path)
