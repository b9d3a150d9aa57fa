"""Client of the Infuse IoT API (contract: infuse-iot-api.md), an adapter of `ports.InfuseApi`."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, TypeVar

from infuse_cli import api_types as api
from infuse_cli.cloud import wire
from infuse_cli.cloud.failures import Call
from infuse_cli.cloud.wire import body_of, read_to_end
from infuse_cli.errors import CloudError, InfuseError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infuse_cli.cloud._http import Transport

T = TypeVar("T", api.Organisation, api.CloudBoard, api.Network, api.Device)
O = TypeVar("O", bound=api.ApiObject)  # noqa: E741

PAGE: Final = 100
"""Items of a page: the most that the API gives (contract: Paging)."""

_ABSENT: Final = frozenset({404})

# One row a call; the keys of devices have no lasting effect although they are POSTs (rule 11).
ORGANISATIONS: Final = Call("GET", "/organisation")
ORGANISATION_BY_ID: Final = Call("GET", "/organisation/id/{id}", none=_ABSENT)
ORGANISATION_BY_NAME: Final = Call("GET", "/organisation/name/{name}", none=_ABSENT)
CREATE_ORGANISATION: Final = Call("POST", "/organisation", effect=True)
BOARDS: Final = Call("GET", "/board")
BOARD_BY_ID: Final = Call("GET", "/board/id/{id}", none=_ABSENT)
CREATE_BOARD: Final = Call("POST", "/board", effect=True)
NETWORKS: Final = Call("GET", "/network")
DEVICES: Final = Call("GET", "/device")
DEVICE_BY_MCU_ID: Final = Call("GET", "/device/soc/{soc}/mcuId/{mcuId}", none=_ABSENT)
DEVICE_BY_ID: Final = Call("GET", "/device/id/{id}", none=_ABSENT)
CREATE_DEVICE: Final = Call("POST", "/device", effect=True)
UPDATE_DEVICE: Final = Call("PUT", "/device/id/{id}", effect=True)
DEVICE_STATE: Final = Call("GET", "/device/deviceId/{deviceId}/state", none=_ABSENT)
PUBLIC_KEY: Final = Call("GET", "/key/publicKey")
SHARED_SECRET: Final = Call("POST", "/key/sharedSecret")
DERIVED_KEY: Final = Call("POST", "/key/derived/device")


class InfuseClient:
    """The Infuse IoT API over one transport; safe to share between threads (rules 10, 11)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def organisations(self) -> Sequence[api.Organisation]:
        """All organisations that the credential can see."""
        return self._list(ORGANISATIONS, api.Organisation, {})

    def organisation(self, *, id: str | None = None, name: str | None = None) -> api.Organisation | None:  # noqa: A002
        """By id, else by name, else the only one that the credential can see.

        Raises CloudError cloud.ambiguous when neither is given and there are several.
        """
        if id is not None:
            return self._find(ORGANISATION_BY_ID, api.Organisation, id=id)
        if name is not None:
            return self._find(ORGANISATION_BY_NAME, api.Organisation, name=name)
        return self._only_organisation()

    def create_organisation(self, name: str) -> api.Organisation:
        """POST /organisation, once."""
        return self._send(CREATE_ORGANISATION, api.Organisation, body_of(name=name))

    def boards(self, organisation_id: str) -> Sequence[api.CloudBoard]:
        """The organisation's own cloud boards, the list read to its end."""
        return self._list(BOARDS, api.CloudBoard, {"organisationId": organisation_id, "includePublic": "false"})

    def board(self, board_id: str) -> api.CloudBoard | None:
        """One cloud board by its id."""
        return self._find(BOARD_BY_ID, api.CloudBoard, id=board_id)

    def create_board(self, organisation_id: str, name: str, *, soc: str, description: str = "",
                     metadata_fields: Sequence[api.MetadataField] = ()) -> api.CloudBoard:
        """POST /board, once."""
        body = body_of(organisationId=organisation_id, name=name, description=description, soc=soc,
                       metadataFields=tuple(metadata_fields))
        return self._send(CREATE_BOARD, api.CloudBoard, body)

    def networks(self, organisation_id: str) -> Sequence[api.Network]:
        """The organisation's own networks, the list read to its end."""
        return self._list(NETWORKS, api.Network, {"organisationId": organisation_id, "includePublic": "false"})

    def device_by_mcu_id(self, soc: str, mcu_id: str) -> api.Device | None:
        """The natural key: looked up before a create and after any answer that got lost."""
        return self._find(DEVICE_BY_MCU_ID, api.Device, soc=soc, mcuId=mcu_id)

    def device(self, id: str) -> api.Device | None:  # noqa: A002
        """One cloud device by the server's id (a UUID, not the deviceId)."""
        return self._find(DEVICE_BY_ID, api.Device, id=id)

    def devices_with_metadata(self, organisation_id: str, board_id: str, name: str, value: str) -> Sequence[api.Device]:
        """Devices of a board whose metadata `name` equals `value`, the list read to its end."""
        query = {"organisationId": organisation_id, "boardIds": board_id, "metadataName": name, "metadataValue": value}
        # Filtered again here: a server may match loosely, or ignore what it does not know.
        return tuple(device for device in self._list(DEVICES, api.Device, query)
                     if device.board_id == board_id and device.metadata.get(name) == value)

    def create_device(self, *, mcu_id: str, board_id: str, organisation_id: str, device_id: str | None = None,
                      metadata: Mapping[str, str] | None = None) -> api.Device:
        """POST /device, once. A 409 raises CloudError with status 409."""
        body = body_of(mcuId=mcu_id, boardId=board_id, organisationId=organisation_id, deviceId=device_id,
                       metadata=dict(metadata) if metadata else None)
        return self._send(CREATE_DEVICE, api.Device, body)

    def patch_device_metadata(self, id: str, values: Mapping[str, str]) -> api.Device:  # noqa: A002
        """PUT /device/id/{id} with operation patch, once; the device as it is afterwards."""
        body = body_of(metadata={"operation": "patch", "value": dict(values)})
        answer = self._transport.ask(UPDATE_DEVICE, path={"id": id}, body=body)
        try:
            return wire.value(answer, api.Device)
        except InfuseError:
            # What a PUT answers is not published; what is there now can be asked.
            device = self.device(id)
            if device is None or values.items() - device.metadata.items():
                raise
            return device

    def device_state(self, device_id: str) -> api.DeviceState | None:
        """What the cloud last heard of a device, None until it has been heard."""
        return self._find(DEVICE_STATE, api.DeviceState, deviceId=device_id)

    def cloud_public_key(self) -> bytes:
        """GET /key/publicKey: X25519 public key, 32 bytes."""
        answer = self._transport.ask(PUBLIC_KEY)
        return wire.key32(answer)

    def shared_secret(self, device_public_key: bytes) -> Secret:
        """POST /key/sharedSecret: the device's root secret as base64 of 32 bytes."""
        return self._key(SHARED_SECRET, body_of(key=base64.b64encode(device_public_key).decode()))

    def derived_key(self, device_id: str, interface: str) -> Secret:
        """POST /key/derived/device: the key as base64 of 32 bytes."""
        return self._key(DERIVED_KEY, body_of(deviceId=device_id, interface=interface))

    def server_time_offset_s(self) -> float | None:
        """Server's Date minus this machine's clock in seconds, from the newest answer; None before any."""
        return self._transport.server_time_offset_s

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        self._transport.close()

    def _only_organisation(self) -> api.Organisation | None:
        found = self.organisations()
        if len(found) > 1:
            names = ", ".join(f"'{one.name}' ({one.id})" for one in found)
            raise CloudError("cloud.ambiguous", f"the credential sees {len(found)} organisations: {names}", call=ORGANISATIONS.name)
        return found[0] if found else None

    def _find(self, call: Call, type_: type[O], **path: str) -> O | None:
        answer = self._transport.find(call, path=path)
        return None if answer is None else wire.value(answer, type_)

    def _send(self, call: Call, type_: type[O], body: bytes) -> O:
        answer = self._transport.ask(call, body=body)
        return wire.value(answer, type_)

    def _key(self, call: Call, body: bytes) -> Secret:
        answer = self._transport.ask(call, body=body)
        return Secret(base64.b64encode(wire.key32(answer)).decode())

    def _list(self, call: Call, type_: type[T], query: Mapping[str, str]) -> tuple[T, ...]:
        def fetch(offset: int) -> tuple[T, ...]:
            paged = {**query, "limit": str(PAGE), "offset": str(offset)}
            answer = self._transport.ask(call, query=paged)
            return wire.page(answer, type_)

        return read_to_end(fetch, lambda item: item.id, PAGE)
