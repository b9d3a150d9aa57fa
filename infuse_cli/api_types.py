"""Objects of the two cloud APIs: camelCase on the wire, snake_case here.

Unknown fields of a server's answer are ignored, a missing required one is an error. Sources:
`docs/reference/interfaces/infuse-iot-api.md` and `device-registry-api.md` beside
it. The pipeline reads these through `ports`, the client fills them, the simulator
serves them.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its zone; a naive one in an answer is refused."""


class ApiObject(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """Base of what a server sends: frozen, camelCase on the wire, unknown fields ignored."""


class Organisation(ApiObject, frozen=True):
    """An organisation; `id` is a UUID text."""

    id: str
    name: str


class MetadataField(ApiObject, frozen=True):
    """A metadata key that a cloud board asks of its devices."""

    name: str
    required: bool = False
    unique: bool = False


class CloudBoard(ApiObject, frozen=True):
    """The cloud's product profile (not a piece of hardware): what a device is an instance of."""

    id: str
    name: str
    soc: str
    organisation_id: str
    description: str = ""
    public: bool = False
    metadata_fields: tuple[MetadataField, ...] = ()


class Network(ApiObject, frozen=True):
    """A network of the organisation; its key is a secret and is not kept here."""

    id: str
    name: str
    organisation_id: str | None = None
    network_id: int | None = None
    description: str = ""
    public: bool = False


class Device(ApiObject, frozen=True):
    """The cloud device: `device_id` is 16 hex digits, `id` the server's UUID."""

    id: str
    mcu_id: str
    board_id: str
    organisation_id: str
    device_id: str
    metadata: dict[str, str] = {}


class ApplicationVersion(ApiObject, frozen=True):
    """Version of the firmware that a device said it runs."""

    major: int = 0
    minor: int = 0
    revision: int = 0
    build_num: int = 0


class UdpRoute(ApiObject, frozen=True):
    """Where a packet over UDP came from, and when."""

    address: str | None = None
    time: Moment | None = None


class UplinkRoute(ApiObject, frozen=True):
    """The way that a device's last packet came, such as udp, serial or bt_adv."""

    interface: str
    interface_data: dict[str, Any] = {}
    udp: UdpRoute | None = None


class DeviceState(ApiObject, frozen=True):
    """What the cloud last heard of a device; all optional but for being there at all."""

    last_route_time: Moment | None = None
    first_packet_time: Moment | None = None
    last_route_interface: str | None = None
    last_route_udp_address: str | None = None
    application_id: int | str | None = None
    application_version: ApplicationVersion | None = None
    last_route: UplinkRoute | None = None

    def newer_than(self, moment: datetime) -> bool:
        """Whether the cloud heard the device after a moment of its own clock.

        A state that tells no time counts as newer: there is nothing to hold against it.
        """
        udp = None if self.last_route is None else self.last_route.udp
        told = (self.last_route_time, self.first_packet_time, None if udp is None else udp.time)
        times = [time for time in told if time is not None]
        return not times or max(times) > moment


class DeviceRoute(ApiObject, frozen=True):
    """One row of POST /device/lastRoute; `last_route` is None for a device that was never heard."""

    device_id: str
    last_route: UplinkRoute | None = None


class MqttToken(ApiObject, frozen=True):
    """A short-lived token for the organisation's broker. `token` is a secret."""

    token: str
    expires_at: Moment
    issued_at: Moment | None = None


class SentRpc(ApiObject, frozen=True):
    """Answer to POST /rpc: the id to ask for."""

    id: str
    downlink_message_id: str | None = None
    created_at: Moment | None = None


class DownlinkMessage(ApiObject, frozen=True):
    """What carries an RPC to the device: status waiting, sent or completed, and when it is given
    up.
    """

    status: str
    id: str | None = None
    device_id: str | None = None
    expires_at: Moment | None = None
    sent_at: Moment | None = None
    completed_at: Moment | None = None
    rpc_req: dict[str, Any] | None = None
    rpc_rsp: dict[str, Any] | None = None


class RpcMessage(ApiObject, frozen=True):
    """An RPC as it stands."""

    id: str
    created_at: Moment | None = None
    device_id: str | None = None
    rpc: dict[str, Any] | None = None
    downlink_message: DownlinkMessage | None = None


class BearerToken(ApiObject, frozen=True):
    """What POST /iam/auth/token gives for an IAM key: a short-lived bearer token, which is a
    secret.

    `life_s` is how many seconds it was good for when it came, None where the server names no end.
    """

    token: str
    expires_at: Moment | None = None
    life_s: float | None = None


class Location(ApiObject, frozen=True):
    """Where a registry device is, in degrees."""

    latitude: float
    longitude: float


class RegistryDevice(ApiObject, frozen=True):
    """The registry device.

    `id` is its registryDeviceId; `status` PENDING, ACTIVE, INACTIVE, MAINTENANCE or
    OFFLINE.
    """

    id: str
    name: str
    status: str
    metadata: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    location: Location | None = None
    site_id: str | None = None
    device_profile_id: str | None = None

    @property
    def never_connected(self) -> bool:
        """Whether the device is PENDING; any other status, an unknown one too, may be a live
        device's, which is never taken away unasked.
        """
        return self.status.upper() == "PENDING"

    @property
    def was_seen(self) -> bool:
        """Whether the device connected at least once.

        OFFLINE is what a disconnect leaves, so it was there. INACTIVE and MAINTENANCE may be set by
        a person and prove nothing.
        """
        return self.status.upper() in {"ACTIVE", "OFFLINE"}


REGISTRY_STATUSES: Final = ("PENDING", "ACTIVE", "INACTIVE", "MAINTENANCE", "OFFLINE")
"""What a registry device may be. All but PENDING are of devices that have connected before."""


def never_connected(status: str) -> bool:
    """Whether a registry device of this status has never connected: only PENDING says so.

    Nothing that has connected, nor a status that is not known here, is an unfinished device that
    may be cleared away.
    """
    return status.upper() == "PENDING"


def has_connected(status: str | None) -> bool:
    """Whether a registry device of this status is known to have connected; None is one that is
    gone.
    """
    known = status is not None and status.upper() in REGISTRY_STATUSES
    return known and not never_connected(status or "")


class RegistrySummary(ApiObject, frozen=True):
    """How many registry devices there are, and how many of each status."""

    total: int
    by_status: dict[str, int] = {}


class Component(ApiObject, frozen=True):
    """An addressable part of a registry device. `device_id` is the registryDeviceId."""

    id: str
    device_id: str
    name: str
    sensor_profile_id: str | None = None


class Sensor(ApiObject, frozen=True):
    """A typed data channel. `device_id` is the registryDeviceId."""

    id: str
    name: str = ""
    device_id: str | None = None
    component_id: str | None = None
    value_type: str | None = None
    unit: str | None = None
    tags: tuple[str, ...] = ()


class DeviceHealth(ApiObject, frozen=True):
    """What a device said of itself: `uptime` in seconds, `free_heap` in bytes, `signal_strength` in
    dBm.
    """

    recorded_at: Moment | None = None
    uptime: float | None = None
    free_heap: int | None = None
    signal_strength: float | None = None
    connection_type: str | None = None
    readings_sent: int | None = None
    readings_dropped: int | None = None


class DeviceGroup(ApiObject, frozen=True):
    """All registry devices that carry the tags."""

    id: str
    name: str
    tags: tuple[str, ...] = ()


class MintedToken(ApiObject, frozen=True):
    """Answer to a mint: the one time that the token is shown.

    `device_id` is the registryDeviceId.
    """

    id: str
    device_id: str
    name: str
    token: str
    status: str = "PENDING"
    expires_at: Moment | None = None


class TokenEnd(enum.Enum):
    """How DELETE of a registration token was answered: 204, 404, or 409 for one that was used or
    revoked before.
    """

    REVOKED = "revoked"
    UNKNOWN = "unknown"
    USED = "used"


class PendingToken(ApiObject, frozen=True):
    """A row of the list of pending tokens, without the secret."""

    id: str
    device_id: str
    name: str = ""
    status: str = "PENDING"
    expires_at: Moment | None = None


class Provisioned(ApiObject, frozen=True):
    """What the cloud's CA gave for a token and a CSR; PEM texts.

    `ca_chain` runs from the issuer upwards.
    """

    device_id: str
    certificate: str
    ca_chain: tuple[str, ...] = ()
