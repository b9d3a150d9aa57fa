"""The schema of a profile: what a product is and how its boards get their identity.

Values only. Reading YAML, `extends`, `${VAR}` and the checks with line numbers are in
`config/source/`. Keys are written as here (snake_case) except `siteId` and `deviceProfileId`,
which are the registry's own names. Unknown keys are refused. A profile never holds a secret; it may
name the file or keyring that does.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import typing
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from infuse_cli.dialect import AUTO, DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    DialectName = str
else:
    DialectName = Literal[(AUTO, *DIALECTS)]


class Names(enum.Enum):
    """What the text of a key names."""

    FILE = "file"
    NAME_OR_FILE = "name or file"


FilePath = Annotated[str, Names.FILE]
"""A file: relative to the profile that names it, absolute once the profile is read."""

NameOrPath = Annotated[str, Names.NAME_OR_FILE]
"""A name, or a path where it has a separator."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: frozen, unknown keys refused."""


class Serial(Section, frozen=True):
    """How the port is set. `baud` in bit/s; `terminator` ends a command in dialect `at`.

    `line_limit` is the firmware's line buffer in bytes, `credential_buffer` that of its `cred`
    shell in characters. `network_key_file` names the 0600 file with the key of network
    `network_id`, for dialect `epacket`; without it the public default network of the firmware's SDK
    is meant.
    """

    baud: int = 115200
    rtscts: bool = False
    xonxoff: bool = False
    dialect: DialectName = AUTO
    terminator: Literal["cr", "crlf", "lf"] = "cr"
    line_limit: int = 4096
    credential_buffer: int = 1024
    network_id: int = 0
    network_key_file: FilePath | None = None


class McuIdSource(Section, frozen=True):
    """Where mcuId comes from.

    `command` and `pattern` (one group, 16 hex digits) serve `from: command`.
    """

    source: Literal["hwinfo", "nrfutil", "epacket", "imei", "scan", "command"] = msgspec.field(
        name="from"
    )
    command: str | None = None
    pattern: str | None = None


class Expect(Section, frozen=True):
    """What the board must be; `modem_firmware` is a comparison such as '>=2.0.2'."""

    model: str | None = None
    modem_firmware: str | None = None


class UsbMatch(Section, frozen=True):
    """USB identity of a board's port: ids as hex text, interface number where several ports
    exist.
    """

    vid: str
    pid: str
    interface: int | None = None
    serial_prefix: str | None = None


class BoardSection(Section, frozen=True):
    """Facts of the hardware.

    `write_id` puts the cloud's device id into the chip's one-time memory, through a debug probe.
    """

    soc: str | None = None
    usb: tuple[UsbMatch, ...] = ()
    serial: Serial = Serial()
    presence: Literal["port", "answer"] = "port"
    mcu_id: McuIdSource | None = None
    write_id: bool = False
    expect: Expect = Expect()


class Auth(Section, frozen=True):
    """How the credential travels; `token_file` names a 0600 file that holds it.

    `exchanged` trades an IAM key (ik_…) for short-lived bearer tokens at POST /iam/auth/token, and
    renews them.
    """

    scheme: Literal["bearer", "api-key", "x-api-key", "exchanged"] = "bearer"
    token_file: FilePath | None = None


class NamedThing(Section, frozen=True):
    """An organisation or network by name or id; `create` makes it where it is missing."""

    id: str | None = None
    name: str | None = None
    create: bool = False


class MetadataFieldSpec(Section, frozen=True):
    """A metadata field of a cloud board that is to be created."""

    name: str
    required: bool = False
    unique: bool = False


class CloudBoardSpec(Section, frozen=True):
    """The cloud's product profile by name or id, and what to create it with."""

    id: str | None = None
    name: str | None = None
    create: bool = False
    description: str = ""
    metadata_fields: tuple[MetadataFieldSpec, ...] = ()


class Cloud(Section, frozen=True):
    """The Infuse IoT API. All times in seconds."""

    base_url: str = "https://api.infuse-iot.com"
    auth: Auth = Auth()
    organisation: NamedThing = NamedThing()
    board: CloudBoardSpec = CloudBoardSpec()
    network: NamedThing | None = None
    timeout_s: float = 10.0
    deadline_s: float = 30.0
    outage_wait_s: float = 120.0
    lost_answer_grace_s: float = 5.0
    ca_bundle: FilePath | None = None


class Broker(Section, frozen=True):
    """The MQTT broker that the boards connect to, for `infuse mqtt check`.

    `ca` names the PEM file of whom to trust in it; without it that is identity.server_ca.
    """

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8883
    ca: FilePath | None = None


class Place(Section, frozen=True):
    """Where the devices of this product stand, in degrees."""

    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]


class Registry(Section, frozen=True):
    """The device registry (`/api/v1`).

    `name` is a template over the facts, `{deviceId}` by default.

    `auth`: `same-host` sends the cloud's credential to a registry on the cloud's own host, `same`
    wherever the registry is, `own` only INFUSE_REGISTRY_TOKEN, `none` nothing.
    """

    base_url: str
    auth: Literal["same-host", "same", "own", "none"] = "same-host"
    name: str = "{deviceId}"
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    location: Place | None = None
    siteId: str | None = None  # noqa: N815 - the registry's own spelling
    deviceProfileId: str | None = None  # noqa: N815 - the registry's own spelling
    token_ttl_s: int = 3600


class Passphrase(Section, frozen=True):
    """Where the CA passphrase comes from: a 0600 file or the keyring."""

    keyring: bool = False
    file: FilePath | None = None


class Identity(Section, frozen=True):
    """How the board gets its certificate.

    `ca` is a name under INFUSE_HOME/ca or an absolute path.
    """

    mode: Literal["first-boot", "cloud-ca", "local-ca", "none"] = "local-ca"
    sec_tag: int = 4201
    existing: Literal["refuse", "replace"] = "refuse"
    ca: NameOrPath = "default"
    passphrase: Passphrase = Passphrase()
    certificate: NameOrPath = "device"
    validity_days: int = 3650
    server_ca: FilePath | None = None
    attestation: Literal["required", "if-offered"] = "if-offered"
    attributes: str | None = None
    key_usage: str | None = None


class Token(Section, frozen=True):
    """Where the registration token goes on the board.

    `name` and `command` by store.
    """

    store: Literal["psk", "settings", "kv", "command"] = "psk"
    sec_tag: int = 4202
    name: str | None = None
    command: str | None = None
    success: str | None = None
    read_back: str | None = None


class MetadataValue(Section, frozen=True):
    """A metadata value that is read or given per board; `pattern` is a regular expression that it
    must match.
    """

    source: Literal["scan", "imei", "uuid", "mcuId", "iccid"] = msgspec.field(name="from")
    pattern: str | None = None


class PublicKeySource(Section, frozen=True):
    """How a device's X25519 public key is read: a command, and a pattern with one group, hex or
    base64 of 32 bytes.
    """

    command: str
    pattern: str = r"([0-9a-fA-F]{64}|[A-Za-z0-9+/]{43}=)"


class Keys(Section, frozen=True):
    """Which derived keys are made, and where they go.

    `to`: none, sealed (in the journal), file:TEMPLATE (0600) or command:WORDS (on its standard
    input, no shell); places for both: {deviceId} {interface} {dayIndex} {uuid} {imei} {mcuId}.
    """

    interfaces: tuple[Literal["udp", "serial", "bt_adv", "bt_gatt"], ...] = ("udp",)
    to: str = "none"
    public_key: PublicKeySource | None = None


class Verify(Section, frozen=True):
    """What green needs beyond read-back. Waits in seconds; 0 does not wait."""

    possession: Literal["required", "if-offered"] = "if-offered"
    active_wait_s: float = 0.0
    state_wait_s: float = 0.0
    rpc: str | None = None


class Profile(Section, frozen=True):
    """A product, resolved: `extends` applied, variables filled in."""

    name: str
    description: str = ""
    board: BoardSection = BoardSection()
    cloud: Cloud = Cloud()
    registry: Registry | None = None
    broker: Broker | None = None
    identity: Identity = Identity()
    token: Token | None = None
    metadata: dict[str, str | MetadataValue] = {}
    keys: Keys | None = None
    verify: Verify = Verify()


def to_json(profile: Profile) -> dict[str, Any]:
    """The resolved profile as JSON values, for the journal."""
    values: dict[str, Any] = msgspec.to_builtins(profile)
    return values


def from_json(values: dict[str, Any]) -> Profile:
    """The profile that `to_json` gave. Raises msgspec.ValidationError on anything else."""
    return msgspec.convert(values, Profile)


def digest(profile: Profile) -> str:
    """SHA-256 of the resolved profile in canonical JSON, 64 lower-case hex digits."""
    return hashlib.sha256(msgspec.json.encode(profile, order="sorted")).hexdigest()


@functools.cache
def path_keys() -> dict[str, Names]:
    """Dotted keys that name a file, and whether each may also be a plain name."""
    return dict(_path_keys(Profile, ""))


def _path_keys(section: type[Section], above: str) -> Iterator[tuple[str, Names]]:
    for name, hint in typing.get_type_hints(section, include_extras=True).items():
        for kind in (hint, *typing.get_args(hint)):
            for mark in getattr(kind, "__metadata__", ()):
                if isinstance(mark, Names):
                    yield f"{above}{name}", mark
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from _path_keys(kind, f"{above}{name}.")
