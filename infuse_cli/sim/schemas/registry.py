"""Types of the device registry, in one place so that a change of the interface is one edit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from infuse_cli.sim.schemas._base import Moment, Name, Page, Request, Schema, Stamp, Stored, Uuid

TokenStatus = Literal["PENDING", "CONSUMED", "REVOKED", "EXPIRED"]
Status = Literal["PENDING", "ACTIVE", "INACTIVE", "MAINTENANCE", "OFFLINE"]


class RegistryDeviceQuery(Page):
    """Which registry devices."""

    name: str | UnsetType = UNSET


class ComponentQuery(Page):
    """Which components."""

    device_id: Uuid | UnsetType = UNSET


class SensorQuery(Page):
    """Which sensors; all of the tags."""

    device_id: Uuid | UnsetType = UNSET
    group_id: Uuid | UnsetType = UNSET
    value_type: str | UnsetType = UNSET
    tags: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=list)


class HealthWindowQuery(Page, kw_only=True, rename={"from_": "from"}):
    """From when to when, both included."""

    from_: Moment
    to: Moment


class Location(Schema):
    """Where a registry device is, in degrees."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]


class MintRequest(Request):
    """POST /devices/registration/tokens."""

    name: Name
    tags: list[str] = msgspec.field(default_factory=list)
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    location: Location | None = None
    device_profile_id: str | None = None
    site_id: str | None = None
    expires_in_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 86400


class PendingToken(Schema):
    """A row of the list of pending tokens: never the secret."""

    id: Uuid
    device_id: Uuid
    name: str
    status: TokenStatus
    created_at: Stamp
    expires_at: Stamp


class MintedToken(PendingToken):
    """The one time that a token is shown."""

    token: str


class ProvisionRequest(Request):
    """POST /devices/provision; `csr` is PEM."""

    token: str
    csr: str


class Provisioned(Schema):
    """Certificate and chain in PEM; the chain is one bundle or a list of PEMs."""

    device_id: Uuid
    certificate: str
    ca_chain: str | list[str]


class RegistryDeviceRequest(Request):
    """POST and PUT /devices."""

    name: Name
    status: Status = "PENDING"
    tags: list[str] = msgspec.field(default_factory=list)
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
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


class Summary(Schema):
    """GET /devices/summary."""

    total: int
    by_status: dict[str, int]


class ComponentRequest(Request):
    """POST and PUT /components."""

    device_id: Uuid
    name: Name
    sensor_profile_id: str | None = None


class Component(Stored):
    """A part of a registry device."""

    device_id: Uuid
    name: str
    sensor_profile_id: str | None


class Sensor(Stored):
    """A typed data channel."""

    name: str
    device_id: Uuid
    component_id: Uuid
    value_type: str
    unit: str
    tags: list[str]


class HealthRecord(Schema):
    """What a device said of itself."""

    recorded_at: Stamp
    uptime: int
    free_heap: int
    signal_strength: int
    connection_type: str
    readings_sent: int
    readings_dropped: int


class GroupRequest(Request):
    """POST and PUT /device-groups."""

    name: Name
    tags: list[str] = msgspec.field(default_factory=list)


class Group(Stored):
    """All registry devices that carry the tags."""

    name: str
    tags: list[str]
