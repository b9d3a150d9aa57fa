"""What travels between a client and the virtual cloud, written down from the contract alone.

Requests forbid nothing (as a server does), answers carry every field that the contract names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Hex16 = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Interface = Literal["udp", "serial", "bt_adv", "bt_gatt"]
Status = Literal["PENDING", "ACTIVE", "INACTIVE", "MAINTENANCE", "OFFLINE"]


class Wire(msgspec.Struct, kw_only=True, rename="camel"):
    """Base: camelCase on the wire."""


class Request(Wire, omit_defaults=True):
    """Base of what a client sends."""


class Problem(Wire):
    """Body of every error."""

    code: int
    message: str


class Health(Wire):
    """GET /health."""

    health: str = "ok"


class Stored(Wire):
    """What every object carries."""

    id: str
    created_at: str
    updated_at: str


class Organisation(Stored):
    """An organisation."""

    name: str


class OrganisationRequest(Request):
    """POST /organisation."""

    name: Name


class MetadataField(Wire):
    """A field that a cloud board asks of its devices."""

    name: Name
    required: bool = False
    unique: bool = False


class Board(Stored):
    """A cloud board."""

    name: str
    description: str
    soc: str
    organisation_id: str
    public: bool
    metadata_fields: list[MetadataField]


class BoardRequest(Request):
    """POST /board."""

    organisation_id: str
    name: Name
    description: str
    soc: Name
    public: bool = False
    metadata_fields: list[MetadataField] = []


class Network(Stored):
    """A network; its key is shown, as the contract has it."""

    name: str
    description: str
    key: str
    organisation_id: str
    public: bool
    network_id: int


class NetworkRequest(Request):
    """POST /network; `key` is base64 of exactly 32 bytes."""

    organisation_id: str
    name: Name
    description: str
    key: str
    public: bool
    network_id: Annotated[int, Meta(ge=0, le=0xFFFFFF)]


class Device(Stored):
    """A cloud device."""

    mcu_id: str
    board_id: str
    organisation_id: str
    device_id: str
    metadata: dict[str, str]


class DeviceState(Wire, omit_defaults=True):
    """What was heard of a device."""

    created_at: str
    updated_at: str
    id: str
    last_route_interface: str | None = None
    last_route_udp_address: str | None = None
    last_route_time: str | None = None
    first_packet_time: str | None = None


class DeviceRequest(Request):
    """POST /device."""

    mcu_id: Hex16
    board_id: str
    organisation_id: str
    device_id: Hex16 | None = None
    metadata: dict[str, str] = {}
    initial_device_state: dict[str, Any] | None = None


class MetadataChange(Request):
    """How metadata is changed."""

    operation: Literal["patch", "replace"]
    value: dict[str, str]


class DeviceChange(Request):
    """PUT /device/id/{id}."""

    metadata: MetadataChange


class UplinkRoute(Wire, omit_defaults=True):
    """The way the last packet came."""

    interface: str
    interface_data: dict[str, Any]
    udp: dict[str, Any] | None = None


class RoutesRequest(Request):
    """POST /device/lastRoute."""

    device_ids: list[str]


class DeviceRoute(Wire):
    """One row of POST /device/lastRoute."""

    device_id: str
    last_route: UplinkRoute | None


class Key(Wire):
    """A key in base64."""

    key: str


class SharedSecretRequest(Request):
    """POST /key/sharedSecret: an X25519 public key in base64."""

    key: str


class DeviceKeyRequest(Request):
    """POST /key/sharedSecret/device."""

    device_id: str
    security_state: dict[str, Any] | None = None


class DerivedKeyRequest(Request):
    """POST /key/derived/device."""

    device_id: str
    interface: Interface
    security_state: dict[str, Any] | None = None


class MqttTokenRequest(Request):
    """POST /mqtt/token."""

    organisation_id: str
    ttl_seconds: Annotated[int, Meta(ge=60, le=86400)] = 3600


class MqttToken(Wire):
    """Answer of POST /mqtt/token."""

    token: str
    issued_at: str
    expires_at: str


class Location(Wire):
    """Where a registry device is, in degrees."""

    latitude: float
    longitude: float


class MintRequest(Request):
    """POST /devices/registration/tokens."""

    name: Name
    tags: list[str] = []
    metadata: dict[str, Any] = {}
    location: Location | None = None
    device_profile_id: str | None = None
    site_id: str | None = None
    expires_in_seconds: Annotated[int, Meta(ge=1)] = 86400


class PendingToken(Wire):
    """A row of the list of pending tokens: never the secret."""

    id: str
    device_id: str
    name: str
    status: str
    created_at: str
    expires_at: str


class MintedToken(PendingToken):
    """The one time that a token is shown."""

    token: str


class ProvisionRequest(Request):
    """POST /devices/provision; `csr` is PEM."""

    token: str
    csr: str


class Provisioned(Wire):
    """Certificate and chain in PEM; the chain is one bundle or a list of PEMs."""

    device_id: str
    certificate: str
    ca_chain: str | list[str]


class RegistryDeviceRequest(Request):
    """POST and PUT /devices."""

    name: Name
    status: Status = "PENDING"
    tags: list[str] = []
    metadata: dict[str, Any] = {}
    location: Location | None = None
    site_id: str | None = None
    device_profile_id: str | None = None


class RegistryDevice(Stored):
    """A registry device."""

    name: str
    status: Status
    tags: list[str]
    metadata: dict[str, Any]
    location: Location | None
    site_id: str | None
    device_profile_id: str | None


class Summary(Wire):
    """GET /devices/summary."""

    total: int
    by_status: dict[str, int]


class RpcCall(Request):
    """The command of an RPC: by name or by number."""

    command_name: str | None = None
    command_id: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    params: dict[str, Any] = {}
    params_encoded: str | None = None


class RpcRequest(Request):
    """POST /rpc."""

    device_id: str
    rpc: RpcCall
    send_wait_timeout_ms: Annotated[int, Meta(ge=0)] = 60000


class SentRpc(Wire):
    """Answer of POST /rpc."""

    id: str
    downlink_message_id: str
    created_at: str


class Downlink(Wire, omit_defaults=True):
    """What carries an RPC to its device."""

    id: str
    device_id: str
    status: str
    expires_at: str
    rpc_req: RpcCall
    sent_at: str | None = None
    completed_at: str | None = None
    rpc_rsp: dict[str, Any] | None = None


def copied(downlink: Downlink) -> Downlink:
    """The message as it is now."""
    return msgspec.structs.replace(downlink)


class RpcMessage(Wire):
    """An RPC as it stands."""

    id: str
    created_at: str
    downlink_message_id: str
    downlink_message: Downlink


class IamRequest(Request):
    """POST /iam/auth/token."""

    api_key: str


class IamToken(Wire):
    """Answer of POST /iam/auth/token."""

    token: str
    expires_at: str


class ComponentRequest(Request):
    """POST and PUT /components."""

    device_id: str
    name: Name
    sensor_profile_id: str | None = None


class Component(Stored):
    """A part of a registry device."""

    device_id: str
    name: str
    sensor_profile_id: str | None


class Sensor(Stored):
    """A typed data channel."""

    name: str
    device_id: str
    component_id: str
    value_type: str
    unit: str
    tags: list[str]


class HealthRecord(Wire):
    """What a device said of itself."""

    recorded_at: str
    uptime: int
    free_heap: int
    signal_strength: int
    connection_type: str
    readings_sent: int
    readings_dropped: int


class GroupRequest(Request):
    """POST and PUT /device-groups."""

    name: Name
    tags: list[str] = []


class Group(Stored):
    """All registry devices that carry the tags."""

    name: str
    tags: list[str]
