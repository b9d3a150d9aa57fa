"""The registry half of the virtual cloud: devices by name, one-time tokens, certificates for token
and CSR, check-ins.

Source: `docs/reference/interfaces/device-registry-api.md`. A name is taken as long as its
device exists; a token is used at most once.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from msgspec.structs import asdict

from infuse_cli.api_types import REGISTRY_STATUSES
from infuse_cli.sim import schemas
from infuse_cli.sim.authority import Authority, BadCsr, pem
from infuse_cli.sim.inventory_state import InventoryState
from infuse_cli.sim.store import (
    Ask,
    Clock,
    Collection,
    Refused,
    filter_matches,
    new_id,
    page,
    stamp,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

    from infuse_cli.sim.cloud_state import CloudState

_SEEN_TO: Final[Mapping[schemas.Status, schemas.Status]] = {
    "PENDING": "ACTIVE",
    "OFFLINE": "ACTIVE",
}
_LEFT_TO: Final[Mapping[schemas.Status, schemas.Status]] = {"ACTIVE": "OFFLINE"}
STATUSES: Final = ("PENDING", "ACTIVE", "INACTIVE", "MAINTENANCE", "OFFLINE")


@dataclass(slots=True)
class Token:
    """A registration token.

    `status` is PENDING, CONSUMED, REVOKED or EXPIRED; `uses` counts what it bought.
    """

    id: str
    device_id: str
    name: str
    secret: str
    created: datetime
    expires: datetime
    metadata: dict[str, Any]
    status: schemas.TokenStatus = "PENDING"
    uses: int = 0

    def shown(self) -> dict[str, Any]:
        """The fields that lists show."""
        return {
            "id": self.id,
            "device_id": self.device_id,
            "name": self.name,
            "status": self.status,
            "created_at": stamp(self.created),
            "expires_at": stamp(self.expires),
        }


class RegistryState:
    """Everything that the registry remembers. Callers hold `clock.lock`."""

    def __init__(
        self, clock: Clock, cloud: CloudState, authority: Authority, *, chain_as_list: bool = False
    ) -> None:
        self._clock: Final = clock
        self._cloud: Final = cloud
        self._authority: Final = authority
        self._chain_as_list: Final = chain_as_list
        self.devices: Final = Collection[schemas.RegistryDevice]("device")
        self.tokens: Final[dict[str, Token]] = {}
        self.certificates: Final[list[dict[str, Any]]] = []
        self.check_ins: Final[list[dict[str, Any]]] = []
        self.deleted: Final[list[str]] = []
        self._connections: Final[dict[str, int]] = {}
        self.inventory: Final = InventoryState(clock, self)

    # Tokens

    def mint(self, ask: Ask) -> schemas.MintedToken:
        """POST /devices/registration/tokens: the device exists from now on, PENDING."""
        body: schemas.MintRequest = ask.body
        device = self._add_device(
            schemas.RegistryDeviceRequest(
                name=body.name,
                tags=body.tags,
                metadata=body.metadata,
                location=body.location,
                site_id=body.site_id,
                device_profile_id=body.device_profile_id,
            )
        )
        now = self._clock.now()
        token = Token(
            new_id(),
            device.id,
            device.name,
            f"drt_{secrets.token_urlsafe(32)}",
            now,
            now + timedelta(seconds=body.expires_in_seconds),
            body.metadata,
        )
        self.tokens[token.id] = token
        return schemas.MintedToken(token=token.secret, **token.shown())

    def pending(self, ask: Ask) -> list[schemas.PendingToken]:
        """GET /devices/registration/tokens."""
        return page(
            [
                schemas.PendingToken(**t.shown())
                for t in self.tokens.values()
                if self._fresh(t).status == "PENDING"
            ],
            ask.query,
        )

    def revoke(self, ask: Ask) -> None:
        """DELETE /devices/registration/tokens/{tokenId}."""
        token = self.tokens.get(ask.path["tokenId"])
        if token is None:
            raise Refused(404, "no such token")
        if token.status in {"CONSUMED", "REVOKED"}:
            raise Refused(409, f"the token is {token.status}")
        token.status = "REVOKED"

    def provision(self, ask: Ask) -> schemas.Provisioned:
        """POST /devices/provision: the token buys one certificate for the CSR's key."""
        token = self._by_secret(ask.body.token)
        if token is None:
            raise Refused(401, "unknown token")
        self._refuse_spent(token)
        try:
            certificate = self._authority.sign(ask.body.csr, token.device_id)
        except BadCsr as error:
            raise Refused(400, str(error)) from None
        self._consume(token)
        self.certificates.append(_certificate(certificate, token))
        chain = self._authority.chain
        return schemas.Provisioned(
            device_id=token.device_id,
            certificate=pem(certificate),
            ca_chain=chain if self._chain_as_list else "".join(chain),
        )

    # Devices

    def list_devices(self, ask: Ask) -> list[schemas.RegistryDevice]:
        """GET /devices."""
        return page(
            [d for d in self.devices.values() if filter_matches(ask.query.name, d.name)], ask.query
        )

    def create_device(self, ask: Ask) -> schemas.RegistryDevice:
        """POST /devices."""
        return self._add_device(ask.body)

    def device(self, ask: Ask) -> schemas.RegistryDevice:
        """GET /devices/{deviceId}."""
        return self.devices.get_or_refuse(ask.path["deviceId"])

    def replace_device(self, ask: Ask) -> schemas.RegistryDevice:
        """PUT /devices/{deviceId}: replaces all that is given."""
        device, body = self.devices.get_or_refuse(ask.path["deviceId"]), ask.body
        if body.name != device.name:
            self._refuse_taken(body.name)
        for name in schemas.RegistryDeviceRequest.__struct_fields__:
            setattr(device, name, getattr(body, name))
        device.updated_at = stamp(self._clock.now())
        return device

    def delete_device(self, ask: Ask) -> None:
        """DELETE /devices/{deviceId}: its pending tokens go with it."""
        device = self.devices.get_or_refuse(ask.path["deviceId"])
        for token in self.tokens.values():
            if token.device_id == device.id and token.status == "PENDING":
                token.status = "REVOKED"
        del self.devices[device.id]
        self.inventory.forget(device.id)
        self.deleted.append(device.id)

    def summary(self, _: Ask) -> schemas.Summary:
        """GET /devices/summary."""
        counts = {
            status: sum(d.status == status for d in self.devices.values())
            for status in REGISTRY_STATUSES
        }
        return schemas.Summary(total=len(self.devices), by_status=counts)

    # Check-in

    def check_in(self, certificate: x509.Certificate, secret: str | None) -> str | None:
        """The broker let a board in by its certificate: token consumed, device ACTIVE and heard.

        Returns the registryDeviceId, None where the registry does not know the board.
        """
        name = _common_name(certificate)
        token = self._by_secret(secret) if secret else None
        if token is not None and self._fresh(token).status == "PENDING":
            self._consume(token)
        device = self._registry_device_of(name, token)
        names = [name]
        if device is not None:
            self._connections[device.id] = self._connections.get(device.id, 0) + 1
            self._move(device, _SEEN_TO)
            self.inventory.announce(device.id)
            names += [device.name, *map(str, device.metadata.values())]
        registry_device_id = device.id if device else None
        entry = {
            **_certificate(certificate, token),
            "token": token is not None,
            "deviceId": next((id_ for id_ in names if self._cloud.heard(id_)), None),
            "registryDeviceId": registry_device_id,
            "at": stamp(self._clock.now()),
        }
        self.check_ins.append(entry)
        return registry_device_id

    def disconnected(self, registry_device_id: str) -> None:
        """The broker saw a connection of the device end: OFFLINE, where it was the last one."""
        left = self._connections.pop(registry_device_id, 1) - 1
        if left > 0:
            self._connections[registry_device_id] = left
        elif (device := self.devices.get(registry_device_id)) is not None:
            self._move(device, _LEFT_TO)

    def _move(
        self, device: schemas.RegistryDevice, moves: Mapping[schemas.Status, schemas.Status]
    ) -> None:
        """Change what the broker may change: MAINTENANCE and INACTIVE are set by people."""
        if device.status in moves:
            device.status, device.updated_at = moves[device.status], stamp(self._clock.now())

    def _registry_device_of(self, name: str, token: Token | None) -> schemas.RegistryDevice | None:
        if token is not None and token.device_id in self.devices:
            return self.devices[token.device_id]
        if name in self.devices:
            return self.devices[name]
        return next(
            (d for d in self.devices.values() if name == d.name or name in d.metadata.values()),
            None,
        )

    def _add_device(self, body: schemas.RegistryDeviceRequest) -> schemas.RegistryDevice:
        self._refuse_taken(body.name)
        return self.devices.add(schemas.RegistryDevice(**asdict(body), **self._clock.stamps()))

    def _refuse_taken(self, name: str) -> None:
        if any(device.name == name for device in self.devices.values()):
            raise Refused(409, f"the name {name} is taken")

    def _by_secret(self, secret: str) -> Token | None:
        return next(
            (t for t in self.tokens.values() if secrets.compare_digest(t.secret, secret)), None
        )

    def _fresh(self, token: Token) -> Token:
        if token.status == "PENDING" and token.expires <= self._clock.now():
            token.status = "EXPIRED"
        return token

    def _refuse_spent(self, token: Token) -> None:
        match self._fresh(token).status:
            case "PENDING":
                return
            case "CONSUMED":
                raise Refused(409, "the token was used")
            case status:
                raise Refused(410, f"the token is {status.lower()}")

    def _consume(self, token: Token) -> None:
        token.status = "CONSUMED"
        token.uses += 1


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _certificate(certificate: x509.Certificate, token: Token | None) -> dict[str, Any]:
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "serial": f"{certificate.serial_number:x}",
        "cn": _common_name(certificate),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "spkiSha256": hashlib.sha256(spki).hexdigest(),
        "issuer": certificate.issuer.rfc4514_string(),
        "tokenId": token.id if token else None,
    }
