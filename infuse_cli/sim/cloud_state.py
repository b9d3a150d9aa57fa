"""The Infuse IoT half of the virtual cloud: organisations, boards, networks, devices, keys, in
memory.

One device per soc and mcuId, deviceId unique, metadata fields required and unique within their
board. There is no DELETE. Handlers take an `Ask`, return a value of `schemas` and raise `Refused`.
Source: `docs/reference/interfaces/infuse-iot-api.md`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import struct
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import UNSET
from msgspec.structs import asdict

from infuse_cli.keys import derivation
from infuse_cli.sim import schemas
from infuse_cli.sim.rpc_state import RpcState
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

GPS_EPOCH: Final = 315964800
LEAP_SECONDS: Final = 18


class CloudState:
    """Everything that the Infuse IoT API remembers. Callers hold `clock.lock`."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self.organisations: Final = Collection[schemas.Organisation]("organisation")
        self.boards: Final = Collection[schemas.Board]("board")
        self.networks: Final = Collection[schemas.Network]("network")
        self.devices: Final = Collection[schemas.Device]("device")
        self.states: Final = Collection[schemas.DeviceState]("state")
        self._by_mcu: Final[dict[tuple[str, str], str]] = {}
        self._by_device_id: Final[dict[str, str]] = {}
        self._unique: Final[dict[tuple[str, str, str], str]] = {}
        self._key: Final = X25519PrivateKey.generate()
        self.rpc: Final = RpcState(clock, self)

    # Organisations

    def list_organisations(self, ask: Ask) -> list[schemas.Organisation]:
        """GET /organisation."""
        return page(list(self.organisations.values()), ask.query)

    def organisation_by_id(self, ask: Ask) -> schemas.Organisation:
        """GET /organisation/id/{id}."""
        return self.organisations.get_or_refuse(ask.path["id"])

    def organisation_by_name(self, ask: Ask) -> schemas.Organisation:
        """GET /organisation/name/{name}."""
        name = ask.path["name"]
        for organisation in self.organisations.values():
            if organisation.name == name:
                return organisation
        raise Refused(404, f"no organisation named {name}")

    def create_organisation(self, ask: Ask) -> schemas.Organisation:
        """POST /organisation."""
        body: schemas.OrganisationRequest = ask.body
        return self.add_organisation(body.name)

    def add_organisation(self, name: str) -> schemas.Organisation:
        """A new organisation. Refuses 409 when the name is taken."""
        _free(o.name == name for o in self.organisations.values())
        return self.organisations.add(schemas.Organisation(name=name, **self._clock.stamps()))

    # Boards and networks

    def list_boards(self, ask: Ask) -> list[schemas.Board]:
        """GET /board."""
        return page(_visible(self.boards.values(), ask.query), ask.query)

    def board_by_id(self, ask: Ask) -> schemas.Board:
        """GET /board/id/{id}."""
        return self.boards.get_or_refuse(ask.path["id"])

    def board_devices(self, ask: Ask) -> list[schemas.Device]:
        """GET /board/id/{id}/devices."""
        board = self.board_by_id(ask)
        return page([d for d in self.devices.values() if d.board_id == board.id], ask.query)

    def create_board(self, ask: Ask) -> schemas.Board:
        """POST /board."""
        body: schemas.BoardRequest = ask.body
        self._known_organisation(body.organisation_id)
        _free(
            b.name == body.name and b.organisation_id == body.organisation_id
            for b in self.boards.values()
        )
        return self.boards.add(schemas.Board(**asdict(body), **self._clock.stamps()))

    def list_networks(self, ask: Ask) -> list[schemas.Network]:
        """GET /network."""
        return page(_visible(self.networks.values(), ask.query), ask.query)

    def create_network(self, ask: Ask) -> schemas.Network:
        """POST /network."""
        body: schemas.NetworkRequest = ask.body
        self._known_organisation(body.organisation_id)
        _free(
            n.name == body.name and n.organisation_id == body.organisation_id
            for n in self.networks.values()
        )
        return self.networks.add(schemas.Network(**asdict(body), **self._clock.stamps()))

    # Devices

    def create_device(self, ask: Ask) -> schemas.Device:
        """POST /device."""
        body: schemas.DeviceRequest = ask.body
        board = self._board_for(body)
        device_id = body.device_id or secrets.token_hex(8)
        if board.soc.lower().startswith("nrf") and len(body.mcu_id) != 16:
            raise Refused(422, f"the mcuId of a {board.soc} has 16 hex digits")
        if (board.soc, body.mcu_id) in self._by_mcu:
            raise Refused(409, f"a device with soc {board.soc} and mcuId {body.mcu_id} exists")
        if device_id in self._by_device_id:
            raise Refused(409, f"a device with deviceId {device_id} exists")
        self._check_metadata(board, body.metadata, None)
        made = schemas.Device(
            mcu_id=body.mcu_id,
            board_id=board.id,
            organisation_id=body.organisation_id,
            device_id=device_id,
            metadata=dict(body.metadata),
            **self._clock.stamps(),
        )
        self.devices.add(made)
        self._by_mcu[board.soc, made.mcu_id] = made.id
        self._by_device_id[device_id] = made.id
        self._claim_metadata(board, made)
        return made

    def device_by_mcu_id(self, ask: Ask) -> schemas.Device:
        """GET /device/soc/{soc}/mcuId/{mcuId}."""
        return self.devices.get_or_refuse(
            self._by_mcu.get((ask.path["soc"], ask.path["mcuId"]), "")
        )

    def device_by_device_id(self, ask: Ask) -> schemas.Device:
        """GET /device/deviceId/{deviceId}."""
        return self.by_device_id(ask.path["deviceId"])

    def device_by_id(self, ask: Ask) -> schemas.Device:
        """GET /device/id/{id}."""
        return self.devices.get_or_refuse(ask.path["id"])

    def list_devices(self, ask: Ask) -> list[schemas.Device]:
        """GET /device."""
        query: schemas.DeviceQuery = ask.query
        return page(
            [
                device
                for device in self.devices.values()
                if filter_matches(query.organisation_id, device.organisation_id)
                and (not query.board_ids or device.board_id in query.board_ids)
                and _has(device.metadata, query)
            ],
            query,
        )

    def change_device(self, ask: Ask) -> schemas.Device:
        """PUT /device/id/{id}."""
        device, change = self.device_by_id(ask), ask.body.metadata
        board = self.boards[device.board_id]
        values = (
            {**device.metadata, **change.value}
            if change.operation == "patch"
            else dict(change.value)
        )
        self._check_metadata(board, values, device.id)
        for key in [key for key, owner in self._unique.items() if owner == device.id]:
            del self._unique[key]
        device.metadata, device.updated_at = values, stamp(self._clock.now())
        self._claim_metadata(board, device)
        return device

    def by_device_id(self, device_id: str) -> schemas.Device:
        """The device of that deviceId. Refuses 404."""
        return self.devices.get_or_refuse(self._by_device_id.get(device_id, ""))

    # State and route

    def device_state(self, ask: Ask) -> schemas.DeviceState:
        """GET /device/…/state: 404 until the device was heard."""
        device = self.device_by_id(ask) if "id" in ask.path else self.device_by_device_id(ask)
        return self.states.get_or_refuse(device.id)

    def last_route(self, ask: Ask) -> schemas.UplinkRoute:
        """GET /device/deviceId/{deviceId}/lastRoute."""
        route = self.device_state(ask).last_route
        if route is None:
            raise Refused(404, "no such route")
        return route

    def last_routes(self, ask: Ask) -> list[schemas.DeviceRoute]:
        """POST /device/lastRoute."""
        heard = {i: self.states.get(self._by_device_id.get(i, "")) for i in ask.body.device_ids}
        return [
            schemas.DeviceRoute(device_id=i, last_route=state.last_route)
            for i, state in heard.items()
            if state is not None and state.last_route is not None
        ]

    def heard(self, device_id: str) -> bool:
        """Note that the device was heard just now; False when there is no such device."""
        found = self._by_device_id.get(device_id)
        if found is None:
            return False
        now = stamp(self._clock.now())
        state = self.states.setdefault(
            found,
            schemas.DeviceState(
                id=new_id(),
                created_at=now,
                updated_at=now,
                first_packet_time=now,
                application_id=1,
                application_version=schemas.ApplicationVersion(),
            ),
        )
        state.updated_at = state.last_route_time = now
        state.last_route_interface, state.last_route_udp_address = "udp", "127.0.0.1:4433"
        state.last_route = schemas.UplinkRoute(
            interface="udp",
            interface_data={"sequence": 1},
            udp={"address": "127.0.0.1:4433", "time": now},
        )
        return True

    def route_of(self, device: schemas.Device) -> schemas.UplinkRoute | None:
        """The way that the device's last packet came; None where it was never heard."""
        state = self.states.get(device.id)
        return None if state is None else state.last_route

    # Keys and tokens

    def public_key(self, _: Ask) -> schemas.Key:
        """GET /key/publicKey."""
        return _key(
            self._key.public_key().public_bytes(
                serialization.Encoding.Raw, serialization.PublicFormat.Raw
            )
        )

    def shared_secret(self, ask: Ask) -> schemas.Key:
        """POST /key/sharedSecret."""
        try:
            return _key(
                self._key.exchange(
                    X25519PublicKey.from_public_bytes(base64.b64decode(ask.body.key))
                )
            )
        except ValueError:
            raise Refused(
                400, "key is no X25519 public key that a secret can be shared with"
            ) from None

    def device_secret(self, ask: Ask) -> schemas.Key:
        """POST /key/sharedSecret/device."""
        return _key(self._root_of(self.by_device_id(ask.body.device_id), ask.body.security_state))

    def derived_key(self, ask: Ask) -> schemas.Key:
        """POST /key/derived/device: today's packet key of an interface."""
        root = self._root_of(self.by_device_id(ask.body.device_id), ask.body.security_state)
        day = (int(self._clock.now().timestamp()) - GPS_EPOCH + LEAP_SECONDS) // 86400
        return _key(
            HKDF(
                hashes.SHA256(), 32, day.to_bytes(4, "little"), ask.body.interface.encode()
            ).derive(root)
        )

    def mqtt_token(self, ask: Ask) -> schemas.MqttToken:
        """POST /mqtt/token."""
        self._known_organisation(ask.body.organisation_id)
        now = self._clock.now()
        until = now + timedelta(seconds=ask.body.ttl_seconds)
        return schemas.MqttToken(
            token=secrets.token_urlsafe(32), issued_at=stamp(now), expires_at=stamp(until)
        )

    def _root_of(self, device: schemas.Device, proof: dict[str, Any] | None) -> bytes:
        """The root that is shared with a device: by the key pair that it proves to have, else one
        made from the cloud's key and its id.
        """
        if proof is not None and "devicePublicKey" in proof:
            return self._proven_root(proof)
        return hashlib.sha256(
            self._key.private_bytes_raw() + bytes.fromhex(device.device_id)
        ).digest()

    def _proven_root(self, proof: dict[str, Any]) -> bytes:
        try:
            device, challenge, response = (
                base64.b64decode(proof[name], validate=True)
                for name in ("devicePublicKey", "challenge", "challengeResponse")
            )
            root = self._key.exchange(X25519PublicKey.from_public_bytes(device))
            header = derivation.SecurityHeader(
                base64.b64decode(proof["cloudPublicKey"]),
                device,
                proof["networkId"],
                proof["challengeResponseType"],
            )
            if derivation.open_security_block(root, header, response).challenge != challenge:
                raise ValueError
        except (KeyError, TypeError, ValueError, struct.error):
            raise Refused(
                400, "securityState proves no key that a secret can be shared with"
            ) from None
        return root

    def _known_organisation(self, organisation_id: str) -> None:
        if organisation_id not in self.organisations:
            raise Refused(422, f"there is no organisation {organisation_id}")

    def _board_for(self, body: schemas.DeviceRequest) -> schemas.Board:
        self._known_organisation(body.organisation_id)
        board = self.boards.get(body.board_id)
        if board is None or not (board.public or board.organisation_id == body.organisation_id):
            raise Refused(422, f"the organisation has no board {body.board_id}")
        return board

    def _check_metadata(
        self, board: schemas.Board, values: Mapping[str, str], device: str | None
    ) -> None:
        for field in board.metadata_fields:
            value = values.get(field.name)
            if field.required and not value:
                raise Refused(422, f"metadata {field.name} is required")
            if (
                field.unique
                and value
                and self._unique.get((board.id, field.name, value)) not in {None, device}
            ):
                raise Refused(409, f"metadata {field.name} = {value} is taken")

    def _claim_metadata(self, board: schemas.Board, device: schemas.Device) -> None:
        for field in board.metadata_fields:
            if field.unique and (value := device.metadata.get(field.name)):
                self._unique[board.id, field.name, value] = device.id


def _free(clashes: Any) -> None:
    if any(clashes):
        raise Refused(409, "the name is taken")


def _visible(things: Any, query: schemas.OwnedQuery) -> list[Any]:
    return [
        thing
        for thing in things
        if filter_matches(query.organisation_id, thing.organisation_id)
        or (query.include_public and thing.public)
    ]


def _has(metadata: Mapping[str, str], query: schemas.DeviceQuery) -> bool:
    name = query.metadata_name
    return name is UNSET or (
        name in metadata and filter_matches(query.metadata_value, metadata[name])
    )


def _key(raw: bytes) -> schemas.Key:
    return schemas.Key(key=base64.b64encode(raw).decode())
