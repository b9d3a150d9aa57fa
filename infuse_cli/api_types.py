"""Objects of the two cloud APIs, as the contract names them (camelCase on the wire, snake_case here).

Unknown fields of a server's answer are ignored, a missing required one is an error (contract: Infuse IoT API).
The pipeline reads these through `ports`, the client fills them, the simulator serves them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

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


class Device(ApiObject, frozen=True):
    """The cloud device (rule 3): `device_id` is 16 hex digits, `id` the server's UUID."""

    id: str
    mcu_id: str
    board_id: str
    organisation_id: str
    device_id: str
    metadata: dict[str, str] = {}


class DeviceState(ApiObject, frozen=True):
    """What the cloud last heard of a device; all optional but for being there at all."""

    last_route_time: Moment | None = None
    first_packet_time: Moment | None = None
    last_route_interface: str | None = None


class RegistryDevice(ApiObject, frozen=True):
    """The registry device (rule 3). `id` is its registryDeviceId; `status` one of the contract's five."""

    id: str
    name: str
    status: str
    metadata: dict[str, Any] = {}
    tags: tuple[str, ...] = ()


class MintedToken(ApiObject, frozen=True):
    """Answer to a mint: the one time that the token is shown. `device_id` is the registryDeviceId."""

    id: str
    device_id: str
    name: str
    token: str
    status: str = "PENDING"
    expires_at: Moment | None = None


class PendingToken(ApiObject, frozen=True):
    """A row of the list of pending tokens, without the secret."""

    id: str
    device_id: str
    name: str = ""
    status: str = "PENDING"
    expires_at: Moment | None = None


class Provisioned(ApiObject, frozen=True):
    """What the cloud's CA gave for a token and a CSR; PEM texts. `ca_chain` runs from the issuer upwards."""

    device_id: str
    certificate: str
    ca_chain: tuple[str, ...] = ()
