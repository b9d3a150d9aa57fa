"""Types of the Infuse IoT API, written down from its interface page alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from infuse_cli.sim.schemas._base import (
    Hex16,
    Key32,
    Moment,
    Name,
    Page,
    Request,
    Schema,
    Stamp,
    Stored,
    Uuid,
)

Interface = Literal["udp", "serial", "bt_adv", "bt_gatt"]
RpcStatus = Literal["waiting", "sent", "completed"]
McuId = Annotated[str, Meta(pattern="^[0-9a-f]{2,64}$")]


class Health(Schema):
    """GET /health."""

    health: str = "ok"


class OwnedQuery(Page):
    """Which boards or networks."""

    organisation_id: Uuid | UnsetType = UNSET
    include_public: bool = False


class DeviceQuery(Page):
    """Which devices."""

    organisation_id: Uuid | UnsetType = UNSET
    board_ids: Annotated[list[Uuid], Meta(min_length=1)] = msgspec.field(default_factory=list)
    metadata_name: str | UnsetType = UNSET
    metadata_value: str | UnsetType = UNSET


class RpcQuery(Page):
    """Which RPCs; from `start_time` on, before `end_time`."""

    organisation_id: Uuid | UnsetType = UNSET
    device_id: Hex16 | UnsetType = UNSET
    status: RpcStatus | UnsetType = UNSET
    start_time: Moment | UnsetType = UNSET
    end_time: Moment | UnsetType = UNSET


class Organisation(Stored):
    """An organisation."""

    name: str


class OrganisationRequest(Request):
    """POST /organisation."""

    name: Name


class MetadataField(Schema):
    """A field that a cloud board asks of its devices."""

    name: Name
    required: bool = False
    unique: bool = False


class Board(Stored):
    """A cloud board."""

    name: str
    description: str
    soc: str
    organisation_id: Uuid
    public: bool
    metadata_fields: list[MetadataField]


class BoardRequest(Request):
    """POST /board."""

    organisation_id: Uuid
    name: Name
    description: str
    soc: Name
    public: bool = False
    metadata_fields: list[MetadataField] = msgspec.field(default_factory=list)


class Network(Stored):
    """A network; its key is shown, as the API documents it."""

    name: str
    description: str
    key: Key32
    organisation_id: Uuid
    public: bool
    network_id: Annotated[int, Meta(ge=0, le=0xFFFFFF)]


class NetworkRequest(Request):
    """POST /network; `key` is base64 of exactly 32 bytes."""

    organisation_id: Uuid
    name: Name
    description: str
    key: Key32
    public: bool
    network_id: Annotated[int, Meta(ge=0, le=0xFFFFFF)]


class Device(Stored):
    """A cloud device."""

    mcu_id: str
    board_id: Uuid
    organisation_id: Uuid
    device_id: Hex16
    metadata: dict[str, str]


class ApplicationVersion(Schema):
    """Version of a device's firmware."""

    major: int = 1
    minor: int = 2
    revision: int = 3
    build_num: int = 4


class UplinkRoute(Schema, omit_defaults=True):
    """The way the last packet came."""

    interface: str
    interface_data: dict[str, Any]
    udp: dict[str, Any] | None = None


class DeviceState(Schema, omit_defaults=True):
    """What was heard of a device."""

    created_at: Stamp
    updated_at: Stamp
    id: Uuid
    last_route_interface: str | None = None
    last_route_udp_address: str | None = None
    last_route_time: Stamp | None = None
    first_packet_time: Stamp | None = None
    application_id: int | None = None
    application_version: ApplicationVersion | None = None
    last_route: UplinkRoute | None = None


class DeviceRequest(Request):
    """POST /device."""

    mcu_id: McuId
    board_id: Uuid
    organisation_id: Uuid
    device_id: Hex16 | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    initial_device_state: dict[str, Any] | None = None


class MetadataChange(Request):
    """How metadata is changed."""

    operation: Literal["patch", "replace"]
    value: dict[str, str]


class DeviceChange(Request):
    """PUT /device/id/{id}."""

    metadata: MetadataChange


class RoutesRequest(Request):
    """POST /device/lastRoute."""

    device_ids: list[Hex16]


class DeviceRoute(Schema):
    """One row of POST /device/lastRoute; a device that was never heard has none."""

    device_id: Hex16
    last_route: UplinkRoute


class Key(Schema):
    """A key in base64."""

    key: Key32


class SharedSecretRequest(Request):
    """POST /key/sharedSecret: an X25519 public key in base64."""

    key: Key32


class DeviceKeyRequest(Request):
    """POST /key/sharedSecret/device."""

    device_id: Hex16
    security_state: dict[str, Any] | None = None


class DerivedKeyRequest(Request):
    """POST /key/derived/device."""

    device_id: Hex16
    interface: Interface
    security_state: dict[str, Any] | None = None


class MqttTokenRequest(Request):
    """POST /mqtt/token."""

    organisation_id: Uuid
    ttl_seconds: Annotated[int, Meta(ge=60, le=86400)] = 3600


class MqttToken(Schema):
    """Answer of POST /mqtt/token."""

    token: str
    issued_at: Stamp
    expires_at: Stamp


class RpcCall(Schema):
    """The command of an RPC, by name or by number."""

    command_name: str | UnsetType | None = UNSET
    command_id: Annotated[int, Meta(ge=0, le=65535)] | UnsetType | None = UNSET
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    params_encoded: str | UnsetType | None = UNSET


class RpcRequest(Request):
    """POST /rpc."""

    device_id: Hex16
    rpc: RpcCall
    send_wait_timeout_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 60000


class SentRpc(Schema):
    """Answer of POST /rpc."""

    id: Uuid
    downlink_message_id: Uuid
    created_at: Stamp


class RpcReq(Schema, omit_defaults=True):
    """The command as it goes to the device, by its number, with the name that was sent."""

    request_id: int
    command_id: int
    command_name: str | None = None
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    params_encoded: str | None = None


class RpcRsp(Schema):
    """What the device answered."""

    route: UplinkRoute
    return_code: int = 0
    params: dict[str, Any] = msgspec.field(default_factory=dict)


class Downlink(Stored, omit_defaults=True):
    """What carries an RPC to its device; `device_id` is the UUID of the device."""

    device_id: Uuid
    payload_type: int
    auth: int
    status: RpcStatus
    rpc_req: RpcReq
    send_wait_timeout_ms: int
    expires_at: Stamp
    sent_at: Stamp | None = None
    completed_at: Stamp | None = None
    rpc_rsp: RpcRsp | None = None


class RpcMessage(Schema):
    """An RPC as it stands; `device` has the deviceId of 16 hex digits."""

    id: Uuid
    created_at: Stamp
    downlink_message_id: Uuid
    device: Device
    downlink_message: Downlink


class IamRequest(Request):
    """POST /iam/auth/token."""

    api_key: Annotated[str, Meta(min_length=1)]


class IamToken(Schema):
    """Answer of POST /iam/auth/token."""

    token: str
    expires_at: Stamp
