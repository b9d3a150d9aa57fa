"""Keys made here or in the cloud, and what a device proves with its own.

What is made here needs a root: 32 bytes from a private file, the exchange of an X25519 private key
with the other side's public one, or the cloud's answer to POST /key/sharedSecret. Formulas:
`docs/reference/interfaces/key-derivation.md`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from infuse_cli.devices import session as tools
from infuse_cli.devices.keys import KeyResult, key_id_of, parse_public_key
from infuse_cli.devices.organisations import read_key
from infuse_cli.errors import PolicyError, UsageError
from infuse_cli.keys import derivation as kd
from infuse_cli.types import DEVICE_ID, Secret

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.settings import Settings

FIXED: Final = {"sign": kd.sign_key, "coap": kd.coap_psk}
"""Keys that do not change with the day; only the device itself and its cloud have their root."""

BUILT_IN: Final = "built-in"
_STATE_SIZE: Final = kd.SecurityHeader.SIZE + 68
_DAYS: Final = 2**32
_PEM: Final = b"-----BEGIN PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Material:
    """What a device's key is made of; `local` True: here, False: in the cloud, None: whatever is
    possible, and compared.
    """

    device: str | None = None
    public_key: str | None = None
    root_key: Path | None = None
    private_key: Path | None = None
    cloud_public_key: str | None = None
    local: bool | None = None

    @property
    def _roots(self) -> list[str | Path]:
        roots = (self.public_key, self.root_key, self.private_key)
        return [root for root in roots if root is not None]

    @property
    def has_root(self) -> bool:
        """Whether a root can be had without the device being known to the cloud."""
        return bool(self._roots)

    @property
    def has_several_roots(self) -> bool:
        """Whether it says more than once what the root is."""
        return len(self._roots) > 1

    @property
    def here(self) -> bool:
        """Whether the key is derived here."""
        return self.local is not False and (self.has_root or self.local is True)

    @property
    def there(self) -> bool:
        """Whether the cloud is asked for the derived key."""
        return self.local is not True and self.device is not None


def derive(
    settings: Settings,
    material: Material,
    interface: str,
    day: int | None = None,
    out: Path | None = None,
) -> KeyResult:
    """A device's key for one purpose and day; where it can be had both ways the two are compared.

    `day` is a day index (GPS seconds / 86400), today's without. The two may differ at the turn of a
    day, since the cloud's answer names none. Raises UsageError, CloudError.
    """
    _check(material, interface, day)
    index = today() if day is None else day
    theirs = ours = device_id = None
    root = Root(b"", None)
    with tools.opened(settings) as session:
        if material.device is not None:
            from infuse_cli.devices.cloud_devices import find

            device_id = find(session, material.device).device_id
        if material.there and device_id is not None:
            theirs = session.cloud.derived_key(device_id, interface)
        if material.here:
            root = _root(session, material, device_id)
            ours = _secret(_derive(root.key, interface, index))
    return KeyResult(
        ours or theirs or Secret(""),
        "local" if material.here else "cloud",
        out,
        interface,
        None if interface in FIXED else index,
        None if ours is None or theirs is None else ours == theirs,
        device_id,
        root.source,
        root.key_id,
    ).stored()


def _derive(root: bytes, interface: str, index: int) -> bytes:
    if interface in FIXED:
        return FIXED[interface](root)
    return kd.packet_key(root, cast("kd.Interface", interface), index)


def _check(material: Material, interface: str, day: int | None) -> None:
    if material.device is None and not material.has_root:
        raise UsageError(
            "usage.bad-option",
            "whose key: give --device DEVICE, --public-key, --root-key FILE or --private-key FILE",
        )
    if material.has_several_roots:
        raise UsageError(
            "usage.bad-option",
            "--public-key, --root-key and --private-key each say what the root is; give one of"
            " them",
        )
    if material.local is False and material.device is None:
        raise UsageError(
            "usage.bad-option", "--cloud derives for a device that the cloud knows: give --device"
        )
    if not material.here and interface in FIXED:
        raise UsageError(
            "usage.bad-option",
            f"the cloud derives no key for {interface}",
            hint="--local makes it here.",
        )
    if not material.here and day is not None:
        raise UsageError(
            "usage.bad-option", "the cloud derives for today only; --day goes with --local"
        )
    _check_day(day)


def _check_day(day: int | None) -> None:
    if day is not None and not 0 <= day < _DAYS:
        raise UsageError("usage.bad-option", f"--day is {day}, but a day index is 0 to {_DAYS - 1}")


@dataclass(frozen=True, slots=True)
class Root:
    """A root key, how it was come by, and the id that a device gives it."""

    key: bytes = field(repr=False)
    source: str | None
    key_id: str | None = None


def _root(session: tools.Session, material: Material, device_id: str | None) -> Root:
    if material.root_key is not None:
        return Root(read_key(material.root_key), "file")
    if material.private_key is not None:
        private = read_private_key(material.private_key)
        cloud, _ = _cloud_key(session, material.cloud_public_key)
        id_ = key_id_of(cloud, kd.public_key(private))
        return Root(_exchange(private, cloud), "private key", id_)
    if material.public_key is not None:
        peer = parse_public_key(material.public_key)
        secret = session.cloud.shared_secret(peer)
        id_ = key_id_of(session.cloud.cloud_public_key(), peer)
        return Root(base64.b64decode(secret.reveal()), "POST /key/sharedSecret", id_)
    secret = session.cloud.device_secret(device_id or "")
    return Root(base64.b64decode(secret.reveal()), "POST /key/sharedSecret/device")


def derive_network_key(
    key_file: Path, interface: str, day: int | None = None, out: Path | None = None
) -> KeyResult:
    """A network's packet key for one day, from its key in a private file."""
    _check_day(day)
    index = today() if day is None else day
    key = kd.packet_key(read_key(key_file), cast("kd.Interface", interface), index)
    return KeyResult(_secret(key), "local", out, interface, index).stored()


def today() -> int:
    """Day index of packet keys, now."""
    return kd.day_index(kd.gps_seconds(datetime.now(UTC)))


@dataclass(frozen=True, slots=True)
class KeyId:
    """The id that a device gives its key, 24 bits in hex, and the cloud's public key in it."""

    key_id: str
    cloud_public_key: bytes
    cloud_key_from: str


def key_id(settings: Settings, device_public_key: str, cloud_public_key: str | None) -> KeyId:
    """The id that a device gives its key: 24 bits over both public keys."""
    device = parse_public_key(device_public_key, "PUBLIC_KEY")
    with tools.opened(settings) as session:
        cloud, source = _cloud_key(session, cloud_public_key)
    return KeyId(key_id_of(cloud, device), cloud, source)


def _cloud_key(session: tools.Session, named: str | None) -> tuple[bytes, str]:
    """The cloud's public key and where it is from; the cloud is asked only where nothing
    was named.
    """
    if named is None:
        return session.cloud.cloud_public_key(), "GET /key/publicKey"
    if named == BUILT_IN:
        return kd.CLOUD_PUBLIC_KEY, BUILT_IN
    return parse_public_key(named, "--cloud-public-key"), "given"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a `security_state` answer is checked against; None is not compared."""

    challenge: str | None = None
    device_id: str | None = None
    hardware_id: str | None = None


@dataclass(frozen=True, slots=True)
class VerifiedState:
    """What a `security_state` answer proves.

    `compared` names what was compared with a claim. `cloud_key_is_ours` is None where no private
    key was given that could say so.
    """

    challenge: bytes
    hardware_id: bytes
    device_id: str
    device_public_key: bytes
    network_id: int
    key_id: str
    compared: tuple[str, ...]
    cloud_key_is_ours: bool | None = None


def verify(
    state: Path, root_key: Path | None, private_key: Path | None, claim: Claim
) -> VerifiedState:
    """Open the block of a `security_state` answer and compare what it proves.

    Raises PolicyError identity.security-state where it does not open or proves something else.
    """
    if (root_key is None) == (private_key is None):
        raise UsageError(
            "usage.bad-option",
            "give either --private-key FILE, the secondary root's X25519 key, or --root-key FILE,"
            " the shared secret",
        )
    wanted = _wanted(claim)
    header, block = _state(state)
    is_ours = None
    if root_key is not None:
        root = read_key(root_key)
    else:
        private = read_private_key(cast("Path", private_key))
        root = _exchange(private, header.device_public)
        is_ours = header.cloud_public == kd.public_key(private)
    proof = _open(root, header, block)
    proved = {
        "challenge": proof.challenge.hex(),
        "hardwareId": proof.hardware_id.hex(),
        "deviceId": proof.device_id_hex,
    }
    differing = [
        f"{name} is {proved[name]}, not {value}"
        for name, value in wanted.items()
        if proved[name] != value
    ]
    if differing:
        raise PolicyError("identity.security-state", f"the proof opens, but {'; '.join(differing)}")
    return VerifiedState(
        proof.challenge,
        proof.hardware_id,
        proof.device_id_hex,
        header.device_public,
        header.network_id,
        key_id_of(header.cloud_public, header.device_public),
        tuple(sorted(wanted)),
        is_ours,
    )


def _open(root: bytes, header: kd.SecurityHeader, block: bytes) -> Any:
    if not block:
        raise PolicyError(
            "identity.security-state",
            "the device answered without a proof: it could not encrypt one",
        )
    try:
        return kd.open_security_block(root, header, block)
    except ValueError as error:
        raise PolicyError("identity.security-state", str(error)) from None


def _wanted(claim: Claim) -> dict[str, str]:
    """The values to compare, each in the form in which it comes out of the proof."""
    wanted: dict[str, str] = {}
    for option, name, text, least, most in (
        ("--challenge", "challenge", claim.challenge, 32, 32),
        ("--hardware-id", "hardwareId", claim.hardware_id, 2, 32),
    ):
        if text is None:
            continue
        if not re.fullmatch(r"([0-9a-fA-F]{2})+", text) or not least <= len(text) <= most:
            raise UsageError(
                "usage.bad-option",
                f"{option} is {text!r}, but must be"
                f" {f'{least}' if least == most else f'up to {most}'} hex digits",
            )
        wanted[name] = text.lower().ljust(32, "0")
    if claim.device_id is not None:
        if not DEVICE_ID.fullmatch(claim.device_id.lower()):
            raise UsageError(
                "usage.bad-option",
                f"--device-id is {claim.device_id!r}, which is not 16 hex digits",
            )
        wanted["deviceId"] = claim.device_id.lower()
    return wanted


def _state(path: Path) -> tuple[kd.SecurityHeader, bytes]:
    """Header and block of an answer in a file: the bytes themselves, hex or base64; a device that
    has no proof sends the header alone.
    """
    try:
        with path.open("rb") as file:
            content = file.read(4096)
    except OSError as error:
        raise UsageError("usage.bad-option", f"{path} cannot be read: {error.strerror}") from error
    sizes = {_STATE_SIZE, kd.SecurityHeader.SIZE}
    data = next((form for form in _forms(content) if len(form) in sizes), None)
    if data is None:
        raise UsageError(
            "usage.bad-option",
            f"{path} holds no security_state answer: {_STATE_SIZE} bytes, as they are, in hex or in"
            " base64",
        )
    return kd.parse_security_header(data[: kd.SecurityHeader.SIZE]), data[kd.SecurityHeader.SIZE :]


def _forms(content: bytes) -> list[bytes]:
    text = b"".join(content.split())
    forms = [content]
    for decode in (binascii.unhexlify, lambda text: base64.b64decode(text, validate=True)):
        try:
            forms.append(decode(text))
        except (binascii.Error, ValueError):
            continue
    return forms


def read_private_key(path: Path) -> bytes:
    """An X25519 private key from a private file: PEM (PKCS#8, not encrypted), base64, hex, or the
    32 bytes. Raises as `read_key`.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from infuse_cli.keys.files import read_private

    try:
        content = read_private(path, "the key file")
    except FileNotFoundError:
        raise UsageError("usage.bad-option", f"there is no key file {path}") from None
    if not content.lstrip().startswith(_PEM):
        return read_key(path)
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise UsageError("usage.bad-option", f"the key file {path} holds no X25519 key")
    return key.private_bytes_raw()


def _exchange(private: bytes, peer: bytes) -> bytes:
    try:
        return kd.shared_secret(private, peer)
    except ValueError:
        raise PolicyError(
            "identity.security-state", "the other side's public key is a point that makes no secret"
        ) from None


def _secret(key: bytes) -> Secret:
    return Secret(base64.b64encode(key).decode())
