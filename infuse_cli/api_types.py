"""Objects of the two cloud APIs: camelCase on the wire, snake_case here.

Unknown fields of a server's answer are ignored, a missing required one is an error, and so is an id
of another form: ids become file names, certificate subjects and text on a terminal. Sources:
`docs/reference/interfaces/infuse-iot-api.md` and `device-registry-api.md` beside it. The use cases
read these through `ports`, the client fills them.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from msgspec.structs import force_setattr

# Not `$`, which in Python lets a line end follow.
_END: Final = r"(?![\s\S])"
_HEX4: Final = "[0-9a-fA-F]{4}"

Uuid = Annotated[
    str, Meta(pattern=f"^{_HEX4}{_HEX4}-{_HEX4}-{_HEX4}-{_HEX4}-{_HEX4}{_HEX4}{_HEX4}{_END}")
]
"""An id that the Infuse IoT API gives (RFC 9562, hex with hyphens)."""

DeviceId = Annotated[str, Meta(pattern=f"^[0-9a-fA-F]{{16}}{_END}")]
"""A cloud device's deviceId: 16 hex digits, in the objects below always in lower case."""

McuId = Annotated[str, Meta(pattern=f"^[0-9a-fA-F]{{2,64}}{_END}")]
"""A chip's id in hex, in the objects below always in lower case; 16 digits on nRF."""

RegistryId = Annotated[str, Meta(pattern=f"^[!-~]{{1,200}}{_END}")]
"""An id that the registry gives, whose form is open: printable ASCII without blanks."""

Word = Annotated[str, Meta(pattern=f"^[^\\x00-\\x1f\\x7f-\\x9f]*{_END}")]
"""A text that is compared and never free: a status, a SoC, an interface. No control characters."""

Moment = Annotated[datetime, Meta(tz=True)]
"""A time with its zone; a naive one in an answer is refused."""


class ApiObject(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """Base of what a server sends: frozen, camelCase on the wire, unknown fields ignored."""


class Organisation(ApiObject, frozen=True):
    """An organisation; `id` is a UUID text."""

    id: Uuid
    name: str


class MetadataField(ApiObject, frozen=True):
    """A metadata key that a cloud board asks of its devices."""

    name: str
    required: bool = False
    unique: bool = False


class CloudBoard(ApiObject, frozen=True):
    """The cloud's product profile (not a piece of hardware): what a device is an instance of."""

    id: Uuid
    name: str
    soc: Word
    organisation_id: Uuid
    description: str = ""
    public: bool = False
    metadata_fields: tuple[MetadataField, ...] = ()


class Network(ApiObject, frozen=True):
    """A network of the organisation; its key is a secret and is not kept here."""

    id: Uuid
    name: str
    organisation_id: Uuid | None = None
    network_id: int | None = None
    description: str = ""
    public: bool = False


class Device(ApiObject, frozen=True):
    """The cloud device: `device_id` is 16 hex digits, `id` the server's UUID."""

    id: Uuid
    mcu_id: McuId
    board_id: Uuid
    organisation_id: Uuid
    device_id: DeviceId
    metadata: dict[str, str] = {}

    def __post_init__(self) -> None:
        # Some servers write hex in capitals; here ids are compared as texts.
        force_setattr(self, "mcu_id", self.mcu_id.lower())
        force_setattr(self, "device_id", self.device_id.lower())


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

    interface: Word
    interface_data: dict[str, Any] = {}
    udp: UdpRoute | None = None


class DeviceState(ApiObject, frozen=True):
    """What the cloud last heard of a device; all optional but for being there at all."""

    last_route_time: Moment | None = None
    first_packet_time: Moment | None = None
    last_route_interface: Word | None = None
    last_route_udp_address: Word | None = None
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

    device_id: DeviceId
    last_route: UplinkRoute | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "device_id", self.device_id.lower())


class MqttToken(ApiObject, frozen=True):
    """A short-lived token for the organisation's broker. `token` is a secret."""

    token: str
    expires_at: Moment
    issued_at: Moment | None = None


class SentRpc(ApiObject, frozen=True):
    """Answer to POST /rpc: the id to ask for."""

    id: Uuid
    downlink_message_id: Uuid | None = None
    created_at: Moment | None = None


class DownlinkMessage(ApiObject, frozen=True):
    """What carries an RPC to the device: status waiting, sent or completed, and when it is given
    up. `device_id` is the UUID of the device, not its deviceId.
    """

    status: Word
    id: Uuid | None = None
    device_id: Word | None = None
    expires_at: Moment | None = None
    sent_at: Moment | None = None
    completed_at: Moment | None = None
    rpc_req: dict[str, Any] | None = None
    rpc_rsp: dict[str, Any] | None = None


class RpcMessage(ApiObject, frozen=True):
    """An RPC as it stands."""

    id: Uuid
    created_at: Moment | None = None
    device: Device | None = None
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

    `id` is its registryDeviceId; `status` PENDING, ACTIVE, INACTIVE, MAINTENANCE or OFFLINE.
    """

    id: RegistryId
    name: str
    status: Word
    metadata: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    location: Location | None = None
    site_id: str | None = None
    device_profile_id: str | None = None

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

    id: RegistryId
    device_id: RegistryId
    name: str
    sensor_profile_id: str | None = None


class Sensor(ApiObject, frozen=True):
    """A typed data channel. `device_id` is the registryDeviceId."""

    id: RegistryId
    name: str = ""
    device_id: RegistryId | None = None
    component_id: RegistryId | None = None
    value_type: Word | None = None
    unit: Word | None = None
    tags: tuple[str, ...] = ()


class DeviceHealth(ApiObject, frozen=True):
    """What a device said of itself: `uptime` in seconds, `free_heap` in bytes, `signal_strength` in
    dBm.
    """

    recorded_at: Moment | None = None
    uptime: float | None = None
    free_heap: int | None = None
    signal_strength: float | None = None
    connection_type: Word | None = None
    readings_sent: int | None = None
    readings_dropped: int | None = None


class DeviceGroup(ApiObject, frozen=True):
    """All registry devices that carry the tags."""

    id: RegistryId
    name: str
    tags: tuple[str, ...] = ()


class MintedToken(ApiObject, frozen=True):
    """Answer to a mint: the one time that the token is shown.

    `device_id` is the registryDeviceId.
    """

    id: RegistryId
    device_id: RegistryId
    name: str
    token: str
    status: Word = "PENDING"
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

    id: RegistryId
    device_id: RegistryId
    name: str = ""
    status: Word = "PENDING"
    expires_at: Moment | None = None


class Provisioned(ApiObject, frozen=True):
    """What the cloud's CA gave for a token and a CSR; PEM texts.

    `ca_chain` runs from the issuer upwards.
    """

    device_id: RegistryId
    certificate: str
    ca_chain: tuple[str, ...] = ()
