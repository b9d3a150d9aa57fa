"""Client of the Infuse IoT API, an adapter of `ports.InfuseApi`.

Source: `docs/reference/interfaces/infuse-iot-api.md`.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import api_types as api
from infuse_cli.cloud import decoding
from infuse_cli.cloud._client import ABSENT, Client
from infuse_cli.cloud.failures import Call
from infuse_cli.cloud.messages import MessageCalls
from infuse_cli.errors import CloudError, InfuseError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# One row a call; the keys of devices have no lasting effect although they are POSTs.
ORGANISATIONS: Final = Call("GET", "/organisation")
ORGANISATION_BY_ID: Final = Call("GET", "/organisation/id/{id}", none=ABSENT)
ORGANISATION_BY_NAME: Final = Call("GET", "/organisation/name/{name}", none=ABSENT)
CREATE_ORGANISATION: Final = Call("POST", "/organisation", effect=True)
BOARDS: Final = Call("GET", "/board")
BOARD_BY_ID: Final = Call("GET", "/board/id/{id}", none=ABSENT)
CREATE_BOARD: Final = Call("POST", "/board", effect=True)
BOARD_DEVICES: Final = Call("GET", "/board/id/{id}/devices")
NETWORKS: Final = Call("GET", "/network")
CREATE_NETWORK: Final = Call("POST", "/network", effect=True)
DEVICES: Final = Call("GET", "/device")
DEVICE_BY_MCU_ID: Final = Call("GET", "/device/soc/{soc}/mcuId/{mcuId}", none=ABSENT)
DEVICE_BY_DEVICE_ID: Final = Call("GET", "/device/deviceId/{deviceId}", none=ABSENT)
DEVICE_BY_ID: Final = Call("GET", "/device/id/{id}", none=ABSENT)
CREATE_DEVICE: Final = Call("POST", "/device", effect=True)
UPDATE_DEVICE: Final = Call("PUT", "/device/id/{id}", effect=True)
DEVICE_STATE: Final = Call("GET", "/device/deviceId/{deviceId}/state", none=ABSENT)
DEVICE_STATE_BY_ID: Final = Call("GET", "/device/id/{id}/state", none=ABSENT)
PUBLIC_KEY: Final = Call("GET", "/key/publicKey")
SHARED_SECRET: Final = Call("POST", "/key/sharedSecret")
DEVICE_SECRET: Final = Call("POST", "/key/sharedSecret/device")
DERIVED_KEY: Final = Call("POST", "/key/derived/device")

_UNSAFE: Final = re.compile(r"[^\w .-]|^\.+$")
"""In names that not every server finds by their path."""


class InfuseClient(MessageCalls, Client):
    """The Infuse IoT API over one transport; safe to share between threads."""

    def organisations(self) -> Sequence[api.Organisation]:
        """All organisations that the credential can see."""
        return self._list(ORGANISATIONS, api.Organisation, {})

    def organisation(
        self,
        *,
        id: str | None = None,  # noqa: A002
        name: str | None = None,
    ) -> api.Organisation | None:
        """By id, else by name, else the only one that the credential can see.

        Raises CloudError cloud.ambiguous when neither is given and there are several.
        """
        if id is not None:
            return self._find(ORGANISATION_BY_ID, api.Organisation, {"id": id})
        if name is not None:
            return self._find(
                ORGANISATION_BY_NAME, api.Organisation, {"name": name}
            ) or self._listed_organisation(name)
        return self._only_organisation()

    def _listed_organisation(self, name: str) -> api.Organisation | None:
        """One whose name does not get through a path: servers unescape a slash before they take the
        path apart.
        """
        if not _UNSAFE.search(name):
            return None
        return next((row for row in self.organisations() if row.name == name), None)

    def create_organisation(self, name: str) -> api.Organisation:
        """POST /organisation, once."""
        return self._send(CREATE_ORGANISATION, api.Organisation, {"name": name}, same=("name",))

    def boards(self, organisation_id: str, *, public: bool = False) -> Sequence[api.CloudBoard]:
        """The organisation's own cloud boards, with `public` everybody's public ones too, the list
        read to its end.
        """
        return self._list(
            BOARDS,
            api.CloudBoard,
            {"organisationId": organisation_id, "includePublic": _flag(public)},
        )

    def board(self, board_id: str) -> api.CloudBoard | None:
        """One cloud board by its id."""
        return self._find(BOARD_BY_ID, api.CloudBoard, {"id": board_id})

    def create_board(
        self,
        organisation_id: str,
        name: str,
        *,
        soc: str,
        description: str = "",
        metadata_fields: Sequence[api.MetadataField] = (),
        public: bool | None = None,
    ) -> api.CloudBoard:
        """POST /board, once."""
        body = {
            "organisationId": organisation_id,
            "name": name,
            "description": description,
            "soc": soc,
            "metadataFields": tuple(metadata_fields),
            "public": public,
        }
        same = ("name", "soc", "organisationId")
        return self._send(CREATE_BOARD, api.CloudBoard, body, same=same)

    def board_devices(self, board_id: str) -> Sequence[api.Device]:
        """All devices of a cloud board, the list read to its end."""
        return self._list(BOARD_DEVICES, api.Device, {}, path={"id": board_id})

    def networks(self, organisation_id: str, *, public: bool = False) -> Sequence[api.Network]:
        """The organisation's own networks, with `public` everybody's public ones too, the list read
        to its end.
        """
        return self._list(
            NETWORKS,
            api.Network,
            {"organisationId": organisation_id, "includePublic": _flag(public)},
        )

    def create_network(
        self,
        organisation_id: str,
        name: str,
        *,
        key: Secret,
        network_id: int,
        description: str = "",
        public: bool = False,
    ) -> api.Network:
        """POST /network, once; `key` is base64 of exactly 32 bytes, `network_id` 0 to 0xFFFFFF."""
        body = {
            "organisationId": organisation_id,
            "name": name,
            "description": description,
            "key": key.reveal(),
            "public": public,
            "networkId": network_id,
        }
        same = ("name", "networkId")
        return self._send(CREATE_NETWORK, api.Network, body, hide=(key,), same=same)

    def device_by_mcu_id(self, soc: str, mcu_id: str) -> api.Device | None:
        """The natural key: looked up before a create and after any answer that got lost.

        An answer with another chip's device is a bad one.
        """
        return self._find(DEVICE_BY_MCU_ID, api.Device, {"soc": soc, "mcuId": mcu_id})

    def device(self, id: str) -> api.Device | None:  # noqa: A002
        """One cloud device by the server's id (a UUID, not the deviceId)."""
        return self._find(DEVICE_BY_ID, api.Device, {"id": id})

    def device_by_device_id(self, device_id: str) -> api.Device | None:
        """One cloud device by its deviceId (16 hex digits)."""
        return self._find(
            DEVICE_BY_DEVICE_ID,
            api.Device,
            {"deviceId": device_id},
        )

    def devices(self, organisation_id: str, board_id: str | None = None) -> Sequence[api.Device]:
        """All devices of an organisation, or of one of its boards, the list read to its end."""
        boards = {} if board_id is None else {"boardIds": board_id}
        return self._list(DEVICES, api.Device, {"organisationId": organisation_id, **boards})

    def device_pages(self, organisation_id: str) -> Iterator[Sequence[api.Device]]:
        """The devices of an organisation page by page, for those that are more than memory
        holds.
        """
        return self._pages(DEVICES, api.Device, {"organisationId": organisation_id})

    def devices_with_metadata(
        self, organisation_id: str, board_id: str, name: str, value: str
    ) -> Sequence[api.Device]:
        """Devices of a board whose metadata `name` equals `value`, the list read to its end."""
        query = {
            "organisationId": organisation_id,
            "boardIds": board_id,
            "metadataName": name,
            "metadataValue": value,
        }
        # Filtered again here: a server may match loosely, or ignore what it does not know.
        return tuple(
            device
            for device in self._list(DEVICES, api.Device, query)
            if device.board_id == board_id and device.metadata.get(name) == value
        )

    def create_device(
        self,
        *,
        mcu_id: str,
        board_id: str,
        organisation_id: str,
        device_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        initial_state: Mapping[str, Any] | None = None,
    ) -> api.Device:
        """POST /device, once.

        A 409 raises CloudError with status 409. `initial_state` is passed on as it is.
        """
        body = {
            "mcuId": mcu_id,
            "boardId": board_id,
            "organisationId": organisation_id,
            "deviceId": device_id,
            "metadata": dict(metadata) if metadata else None,
            "initialDeviceState": initial_state,
        }
        same = ("mcuId", "boardId", "organisationId", "deviceId")
        return self._send(CREATE_DEVICE, api.Device, body, same=same)

    def patch_device_metadata(self, id: str, values: Mapping[str, str]) -> api.Device:  # noqa: A002
        """PUT /device/id/{id} with operation patch, once; the device as it is afterwards."""
        return self._change_metadata(id, "patch", values)

    def replace_device_metadata(self, id: str, values: Mapping[str, str]) -> api.Device:  # noqa: A002
        """PUT /device/id/{id} with operation replace, once: what is not named is gone
        afterwards.
        """
        return self._change_metadata(id, "replace", values)

    def _change_metadata(self, id: str, operation: str, values: Mapping[str, str]) -> api.Device:  # noqa: A002
        body = {"metadata": {"operation": operation, "value": dict(values)}}
        answer = self._transport.ask(UPDATE_DEVICE, path={"id": id}, body=body)
        try:
            return decoding.value(answer, api.Device, {"id": id})
        except InfuseError:
            # What a PUT answers is not published; what is there now can be asked.
            device = self.device(id)
            if device is None or values.items() - device.metadata.items():
                raise
            return device

    def device_state(self, device_id: str) -> api.DeviceState | None:
        """What the cloud last heard of a device, None until it has been heard."""
        return self._find(DEVICE_STATE, api.DeviceState, {"deviceId": device_id})

    def device_state_by_id(self, id: str) -> api.DeviceState | None:  # noqa: A002
        """The same by the server's id (a UUID, not the deviceId)."""
        return self._find(DEVICE_STATE_BY_ID, api.DeviceState, {"id": id})

    def cloud_public_key(self) -> bytes:
        """GET /key/publicKey: X25519 public key, 32 bytes."""
        answer = self._transport.ask(PUBLIC_KEY)
        return decoding.key32(answer)

    def shared_secret(self, device_public_key: bytes) -> Secret:
        """POST /key/sharedSecret: the device's root secret as base64 of 32 bytes."""
        return self._key(SHARED_SECRET, {"key": base64.b64encode(device_public_key).decode()})

    def device_secret(
        self, device_id: str, security_state: Mapping[str, Any] | None = None
    ) -> Secret:
        """POST /key/sharedSecret/device: the root secret of a device that the cloud knows, as
        base64 of 32 bytes.

        `security_state` is what the device said of its keys, passed on as it is.
        """
        return self._key(DEVICE_SECRET, {"deviceId": device_id, "securityState": security_state})

    def derived_key(
        self, device_id: str, interface: str, security_state: Mapping[str, Any] | None = None
    ) -> Secret:
        """POST /key/derived/device: the key as base64 of 32 bytes."""
        return self._key(
            DERIVED_KEY,
            {"deviceId": device_id, "interface": interface, "securityState": security_state},
        )

    def _only_organisation(self) -> api.Organisation | None:
        found = self.organisations()
        if len(found) > 1:
            names = ", ".join(f"'{row.name}' ({row.id})" for row in found)
            raise CloudError(
                "cloud.ambiguous",
                f"the credential sees {len(found)} organisations: {names}",
                call=ORGANISATIONS.name,
            )
        return found[0] if found else None

    def _key(self, call: Call, body: Mapping[str, Any]) -> Secret:
        answer = self._transport.ask(call, body=body)
        return Secret(base64.b64encode(decoding.key32(answer)).decode())


def _flag(value: bool) -> str:
    return "true" if value else "false"
