"""Both cloud APIs, written from the interface pages alone, not from the simulator, on the standard
library's HTTP server.

Strict about what it is sent: unknown fields and parameters, missing fields, wrong ids, a missing or
wrong credential (or one where none belongs) are refused and put in `wrong`. Lax in what it answers,
as servers are: extra fields, times with and without fractions, lists in either form. `faults` bend
single calls; every request is in `requests`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import socket
import struct
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.foreign.board import pause

JSON = dict[str, Any]
PAGE = 100


class RefusedError(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Fault:
    """Bend the `at`-th request (from 0) that matches `METHOD path`, `times` times.

    Kinds: drop-before, drop-after, late (value: seconds), status-before / status-after (value:
    status, or status and headers, or these and the body), html, half, reset (half an answer, then
    RST), broken, slow (value: seconds), redirect (value: URL prefix), date (value: seconds of
    skew).
    """

    match: str
    kind: str
    value: Any = None
    at: int = 0
    times: int = 1
    seen: int = 0

    def takes(self, call: str) -> bool:
        """Count a request; whether it is bent."""
        if not re.search(self.match, call):
            return False
        self.seen += 1
        return self.at < self.seen <= self.at + self.times


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    status: int | None = None

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"


class Issuer:
    """The cloud's own CA for /devices/provision: root, intermediate, device."""

    def __init__(self) -> None:
        self.root_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.root = self._sign("Foreign Root", self.root_key.public_key(), None, 1)
        self.intermediate = self._sign("Foreign Issuing", self.key.public_key(), self.root, 0)
        self.issued: list[x509.Certificate] = []

    def _sign(
        self, name: str, public: Any, issuer: x509.Certificate | None, length: int | None
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        signing = self.key if length is None else self.root_key
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=365 if length is None else 3650))
            .add_extension(
                x509.BasicConstraints(ca=length is not None, path_length=length), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.KeyUsage(
                    length is None,
                    False,
                    False,
                    False,
                    False,
                    length is not None,
                    length is not None,
                    False,
                    False,
                ),
                critical=True,
            )
        )
        if issuer is not None:
            identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
                critical=False,
            )
        return builder.sign(signing, hashes.SHA256())

    def certify(self, csr_pem: str, name: str) -> x509.Certificate:
        """Raise RefusedError 400 for what is not a PEM PKCS#10 request with a good signature."""
        try:
            csr = x509.load_pem_x509_csr(csr_pem.encode())
        except ValueError as error:
            raise RefusedError(400, f"bad CSR: {error}") from error
        if not csr.is_signature_valid:
            raise RefusedError(400, "the CSR's signature is wrong")
        self.issued.append(self._sign(name, csr.public_key(), self.intermediate, None))
        return self.issued[-1]


@dataclass
class State:
    """What the cloud knows."""

    organisations: dict[str, JSON] = field(default_factory=dict)
    boards: dict[str, JSON] = field(default_factory=dict)
    networks: dict[str, JSON] = field(default_factory=dict)
    devices: dict[str, JSON] = field(default_factory=dict)
    states: dict[str, JSON] = field(default_factory=dict)
    registry: dict[str, JSON] = field(default_factory=dict)
    tokens: dict[str, JSON] = field(default_factory=dict)
    minted: list[JSON] = field(default_factory=list)  # every token ever, also of deleted devices


class Cloud:
    """The server.

    `url` is cloud.base_url, `registry_url` the registry's (the same host, another path).
    """

    def __init__(
        self, *, items: bool = False, chain_as_list: bool = False, put_answer: str = "device"
    ) -> None:
        self.token = "legacy-" + secrets.token_urlsafe(24)
        self.items, self.chain_as_list, self.put_answer = items, chain_as_list, put_answer
        self.state, self.issuer = State(), Issuer()
        self.requests: list[Request] = []
        self.wrong: list[str] = []
        self.faults: list[Fault] = []
        self.skew_s = 0.0
        self.page = PAGE
        self.deaf_to_paging = False
        self.scheme = "bearer"
        self.dateless = False
        self.old_http = False
        self.names_are_unique = True
        self.bare = False  # nothing but what is required, nulls for the rest
        self.mixed_up = False  # a look-up by chip is answered with another chip's device
        self.capitals = False  # ids are shown with capital hex digits
        self.before: Callable[[Request], None] = lambda _request: None
        self.weather: Callable[[Request], Fault | None] = lambda _request: None
        self.doubled: list[str] = []  # mcuIds of devices that were there when a POST for them came
        self._lock = threading.RLock()
        self._timers: list[threading.Timer] = []
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.up()

    # -- the machine -------------------------------------------------------------------------------

    def up(self) -> None:
        """Come (back) to the network on the same port."""
        cloud = self

        class Handler(_Handler):
            owner = cloud

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def down(self) -> None:
        """Go away: no new connections, the open ones are cut."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        with self._lock:
            for connection in list(self._open):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for timer in self._timers:
            timer.join()
        self.down()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- looking from outside ----------------------------------------------------------------------

    def calls(self, pattern: str) -> list[Request]:
        return [request for request in self.requests if re.search(pattern, request.call)]

    def writes(self) -> list[str]:
        """Requests with a lasting effect or the wish for one."""
        harmless = ("POST /key/", "POST /mqtt/token", "POST /device/lastRoute")
        return [
            request.call
            for request in self.requests
            if request.method != "GET" and not request.call.startswith(harmless)
        ]

    def device_of(self, mcu_id: str) -> JSON:
        found = [device for device in self.state.devices.values() if device["mcuId"] == mcu_id]
        assert len(found) == 1, f"{len(found)} devices for mcuId {mcu_id}"
        return found[0]

    def settle(self) -> None:
        """Wait for what commits late."""
        for timer in self._timers:
            timer.join()
        self._timers.clear()

    def seed(
        self,
        *,
        fields: list[JSON] | None = None,
        soc: str = "nRF9151",
        organisation: str = "Example Provider",
        board: str = "Example Sensor Board",
        network: str | None = "Field Network",
    ) -> tuple[str, str]:
        """Organisation, board and network as a tenant has them; the ids of the first two."""
        owner = self._stored(self.state.organisations, {"name": organisation})
        made = self._stored(
            self.state.boards,
            {
                "organisationId": owner["id"],
                "name": board,
                "description": "seeded",
                "soc": soc,
                "public": False,
                "metadataFields": fields or [],
            },
        )
        if network is not None:
            self._stored(
                self.state.networks,
                {
                    "organisationId": owner["id"],
                    "name": network,
                    "description": "",
                    "public": False,
                    "networkId": 1001,
                    "key": base64.b64encode(bytes(range(32))).decode(),
                },
            )
        return owner["id"], made["id"]

    def check_in(self, registry_device_id: str, token: str | None = None) -> None:
        """A device came over mutual TLS; with a token it is consumed."""
        with self._lock:
            self.state.registry[registry_device_id]["status"] = "ACTIVE"
            for row in self.state.tokens.values():
                if token is not None and row["secret"] == token and row["status"] == "PENDING":
                    row["status"] = "USED"

    # -- one request -------------------------------------------------------------------------------

    def answer(self, request: Request) -> tuple[int, Any]:
        with self._lock:
            try:
                status, body = self._route(request)
                body = _bare(body) if self.bare else body
                body = _shouted(body) if self.capitals else body
            except RefusedError as error:
                status, body = error.status, {"code": error.status, "message": error.message}
                if error.status in {400, 401, 405}:
                    self.wrong.append(f"{request.call}: {error.status} {error.message}")
            request.status = status
            return status, body

    def _route(self, request: Request) -> tuple[int, Any]:
        registry = request.path.startswith("/api/v1/")
        path = request.path.removeprefix("/api/v1") if registry else request.path
        self._credential(request, path)
        for method, pattern, action in _REGISTRY if registry else _INFUSE:
            match = re.fullmatch(pattern, path)
            if match and method == request.method:
                found: tuple[int, Any] = action(
                    self, request, *(unquote(part) for part in match.groups())
                )
                return found
        raise RefusedError(405 if request.method != "GET" else 404, f"no such call: {request.call}")

    def _credential(self, request: Request, path: str) -> None:
        sent = request.headers.get("authorization")
        if path == "/devices/provision":
            if sent is not None or "x-api-key" in request.headers:
                raise RefusedError(
                    400, "an organisation credential was sent where the token is the credential"
                )
            return
        wanted = {
            "bearer": ("authorization", f"Bearer {self.token}"),
            "api-key": ("authorization", f"ApiKey {self.token}"),
            "x-api-key": ("x-api-key", f"Bearer {self.token}"),
        }[self.scheme]
        if path != "/health" and request.headers.get(wanted[0]) != wanted[1]:
            raise RefusedError(401, "no credential" if sent is None else "wrong credential")

    def _fields(self, request: Request, required: str, optional: str = "") -> JSON:
        body = request.body
        if not isinstance(body, dict):
            raise RefusedError(400, "the body is not a JSON object")
        if missing := set(required.split()) - set(body):
            raise RefusedError(400, f"missing {sorted(missing)}")
        if unknown := set(body) - set(required.split()) - set(optional.split()):
            raise RefusedError(400, f"unknown {sorted(unknown)}")
        return body

    def _parameters(self, request: Request, allowed: str = "") -> dict[str, str]:
        if (
            unknown := set(request.query)
            - {"limit", "offset", "orderBy", "orderDir"}
            - set(allowed.split())
        ):
            raise RefusedError(400, f"unknown parameter {sorted(unknown)}")
        return request.query

    def _paged(self, request: Request, rows: list[JSON]) -> tuple[int, Any]:
        try:
            limit, offset = (
                int(request.query.get("limit", self.page)),
                int(request.query.get("offset", 0)),
            )
        except ValueError as error:
            raise RefusedError(400, "limit and offset are numbers") from error
        if not 1 <= limit <= PAGE or offset < 0:
            raise RefusedError(400, "limit is 1..100")
        return 200, rows[offset : offset + min(limit, self.page)]

    def _stored(self, table: dict[str, JSON], values: JSON) -> JSON:
        now = _time()
        row = {"id": str(uuid.uuid4()), "createdAt": now, "updatedAt": now, "revision": 7, **values}
        table[row["id"]] = row
        return row

    def _one(self, table: dict[str, JSON], key: str, value: str) -> tuple[int, Any]:
        found = next((row for row in table.values() if row[key] == value), None)
        if found is None:
            raise RefusedError(404, f"no such {key}")
        return 200, found

    # -- Infuse IoT --------------------------------------------------------------------------------

    def health(self, _request: Request) -> tuple[int, Any]:
        return 200, {"health": "ok"}

    def organisations(self, request: Request) -> tuple[int, Any]:
        self._parameters(request)
        return self._paged(request, list(self.state.organisations.values()))

    def organisation(self, _request: Request, key: str, value: str) -> tuple[int, Any]:
        return self._one(self.state.organisations, key, value)

    def create_organisation(self, request: Request) -> tuple[int, Any]:
        body = self._fields(request, "name")
        if any(row["name"] == body["name"] for row in self.state.organisations.values()):
            raise RefusedError(409, "the organisation exists")
        return 201, self._stored(self.state.organisations, body)

    def boards(self, request: Request) -> tuple[int, Any]:
        query = self._parameters(request, "organisationId includePublic")
        return self._paged(
            request,
            [
                row
                for row in self.state.boards.values()
                if query.get("organisationId", row["organisationId"]) == row["organisationId"]
            ],
        )

    def board(self, _request: Request, value: str) -> tuple[int, Any]:
        return self._one(self.state.boards, "id", value)

    def create_board(self, request: Request) -> tuple[int, Any]:
        body = self._fields(request, "organisationId name description soc", "public metadataFields")
        if body["organisationId"] not in self.state.organisations:
            raise RefusedError(422, "unknown organisation")
        for row in body.get("metadataFields", []):
            if set(row) != {"name", "required", "unique"}:
                raise RefusedError(400, f"metadata field {row}")
        if self.names_are_unique and any(
            (row["name"], row["organisationId"]) == (body["name"], body["organisationId"])
            for row in self.state.boards.values()
        ):
            raise RefusedError(409, "the board exists")
        return 201, self._stored(self.state.boards, {"public": False, "metadataFields": [], **body})

    def networks(self, request: Request) -> tuple[int, Any]:
        query = self._parameters(request, "organisationId includePublic")
        return self._paged(
            request,
            [
                row
                for row in self.state.networks.values()
                if query.get("organisationId", row["organisationId"]) == row["organisationId"]
            ],
        )

    def create_device(self, request: Request) -> tuple[int, Any]:
        body = self._fields(
            request, "mcuId boardId organisationId", "deviceId metadata initialDeviceState"
        )
        if not re.fullmatch(r"[0-9a-f]{16}", str(body["mcuId"])):
            raise RefusedError(400, "mcuId is 16 lower-case hex digits")
        if "deviceId" in body and not re.fullmatch(r"[0-9a-f]{16}", str(body["deviceId"])):
            raise RefusedError(400, "deviceId is 16 hex digits")
        board = self.state.boards.get(body["boardId"])
        if board is None or body["organisationId"] not in self.state.organisations:
            raise RefusedError(422, "unknown board or organisation")
        metadata = body.get("metadata", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise RefusedError(400, "metadata is text to text")
        for row in self.state.devices.values():
            same = (
                row["mcuId"] == body["mcuId"]
                and self.state.boards[row["boardId"]]["soc"] == board["soc"]
            )
            self.doubled += [body["mcuId"]] * same
            if same or row["deviceId"] == body.get("deviceId"):
                raise RefusedError(409, "the device exists")
        self._unique(board, metadata, None, whole=True)
        values = {"deviceId": secrets.token_hex(8), "metadata": {}, **body}
        values.pop("initialDeviceState", None)
        return 201, self._stored(self.state.devices, values)

    def _unique(self, board: JSON, metadata: JSON, but: str | None, *, whole: bool) -> None:
        for field_ in board["metadataFields"]:
            name = field_["name"]
            if whole and field_["required"] and not metadata.get(name):
                raise RefusedError(422, f"metadata {name} is required")
            others = [
                row
                for row in self.state.devices.values()
                if row["boardId"] == board["id"] and row["id"] != but
            ]
            if (
                field_["unique"]
                and name in metadata
                and any(row["metadata"].get(name) == metadata[name] for row in others)
            ):
                raise RefusedError(409, f"metadata {name} is taken")

    def device_by_mcu_id(self, _request: Request, soc: str, mcu_id: str) -> tuple[int, Any]:
        for row in self.state.devices.values():
            if self.mixed_up:
                return 200, row
            if row["mcuId"] == mcu_id and self.state.boards[row["boardId"]]["soc"] == soc:
                return 200, row
        raise RefusedError(404, "no such device")

    def device(self, _request: Request, key: str, value: str) -> tuple[int, Any]:
        return self._one(self.state.devices, key, value)

    def devices(self, request: Request) -> tuple[int, Any]:
        query = self._parameters(request, "organisationId boardIds metadataName metadataValue")
        if ("metadataName" in query) != ("metadataValue" in query):
            raise RefusedError(400, "metadataName and metadataValue belong together")
        rows = [
            row
            for row in self.state.devices.values()
            if query.get("organisationId", row["organisationId"]) == row["organisationId"]
            and ("boardIds" not in query or row["boardId"] in query["boardIds"].split(","))
            and (
                "metadataName" not in query
                or row["metadata"].get(query["metadataName"]) == query["metadataValue"]
            )
        ]
        return self._paged(request, rows)

    def update_device(self, request: Request, value: str) -> tuple[int, Any]:
        body = self._fields(request, "metadata")
        change = body["metadata"]
        if (
            not isinstance(change, dict)
            or set(change) != {"operation", "value"}
            or change["operation"] not in {"patch", "replace"}
        ):
            raise RefusedError(400, "metadata is {operation, value}")
        _, row = self._one(self.state.devices, "id", value)
        self._unique(self.state.boards[row["boardId"]], change["value"], value, whole=False)
        row["metadata"] = {
            **(row["metadata"] if change["operation"] == "patch" else {}),
            **change["value"],
        }
        row["updatedAt"] = _time()
        return 200, row if self.put_answer == "device" else {}

    def device_state(self, _request: Request, key: str, value: str) -> tuple[int, Any]:
        _, row = self._one(self.state.devices, key, value)
        if row["deviceId"] not in self.state.states:
            raise RefusedError(404, "the device has not been heard")
        return 200, self.state.states[row["deviceId"]]

    def public_key(self, _request: Request) -> tuple[int, Any]:
        return 200, {"key": base64.b64encode(b"\x09" * 32).decode()}

    def derived_key(self, request: Request) -> tuple[int, Any]:
        body = self._fields(request, "deviceId interface", "securityState")
        if body["interface"] not in {"udp", "serial", "bt_adv", "bt_gatt"}:
            raise RefusedError(400, "no such interface")
        self._one(self.state.devices, "deviceId", body["deviceId"])
        return 200, {"key": base64.b64encode(secrets.token_bytes(32)).decode()}

    # -- registry ----------------------------------------------------------------------------------

    def _listed(self, request: Request, rows: list[JSON]) -> tuple[int, Any]:
        if self.deaf_to_paging:
            return 200, {"items": rows} if self.items else rows
        _, page = self._paged(request, rows)
        return 200, {"items": page, "total": len(rows)} if self.items else page

    def mint(self, request: Request) -> tuple[int, Any]:
        body = self._fields(
            request, "name", "tags metadata location deviceProfileId siteId expiresInSeconds"
        )
        if any(value is None for value in body.values()):
            raise RefusedError(400, "a field is null")
        if any(row["name"] == body["name"] for row in self.state.registry.values()):
            raise RefusedError(409, "the name is taken")
        device = self._stored(
            self.state.registry,
            {
                "name": body["name"],
                "status": "PENDING",
                "tags": body.get("tags", []),
                "metadata": body.get("metadata", {}),
                "siteId": body.get("siteId"),
                "deviceProfileId": body.get("deviceProfileId"),
                "location": None,
            },
        )
        expires = datetime.now(UTC) + timedelta(seconds=body.get("expiresInSeconds", 3600))
        row = self._stored(
            self.state.tokens,
            {
                "deviceId": device["id"],
                "name": body["name"],
                "status": "PENDING",
                "expiresAt": _time(expires),
                "secret": "rt_" + secrets.token_urlsafe(24),
                "uses": 0,
            },
        )
        self.state.minted.append(row)
        return 201, {**_shown(row), "token": row["secret"]}

    def pending(self, request: Request) -> tuple[int, Any]:
        return self._listed(
            request,
            [_shown(row) for row in self.state.tokens.values() if row["status"] == "PENDING"],
        )

    def revoke(self, _request: Request, value: str) -> tuple[int, Any]:
        row = self.state.tokens.get(value)
        if row is None:
            raise RefusedError(404, "no such token")
        if row["status"] != "PENDING":
            raise RefusedError(409, "the token was used or revoked")
        row["status"] = "REVOKED"
        return 204, None

    def provision(self, request: Request) -> tuple[int, Any]:
        body = self._fields(request, "token csr")
        row = next(
            (row for row in self.state.tokens.values() if row["secret"] == body["token"]), None
        )
        if row is None:
            raise RefusedError(401, "unknown token")
        if row["status"] != "PENDING":
            raise RefusedError(409, "the token was used or revoked")
        if datetime.fromisoformat(row["expiresAt"]) < datetime.now(UTC):
            raise RefusedError(410, "the token has expired")
        leaf = self.issuer.certify(body["csr"], row["deviceId"])
        row["status"], row["uses"] = "USED", row["uses"] + 1
        chain = [_pem(self.issuer.intermediate), _pem(self.issuer.root)]
        return 200, {
            "deviceId": row["deviceId"],
            "certificate": _pem(leaf),
            "caChain": chain if self.chain_as_list else "".join(chain),
            "brokerUrl": "mqtts://broker.example",
        }

    def registry_devices(self, request: Request) -> tuple[int, Any]:
        return self._listed(request, list(self.state.registry.values()))

    def registry_device(self, _request: Request, value: str) -> tuple[int, Any]:
        return self._one(self.state.registry, "id", value)

    def delete_registry_device(self, _request: Request, value: str) -> tuple[int, Any]:
        if self.state.registry.pop(value, None) is None:
            raise RefusedError(404, "no such device")
        for row in self.state.tokens.values():
            if row["deviceId"] == value and row["status"] == "PENDING":
                row["status"] = "ORPHANED"
                self.wrong.append("a device was deleted before its pending token was revoked")
        return 204, None


def _shown(row: JSON) -> JSON:
    return {key: value for key, value in row.items() if key not in {"secret", "uses"}}


def _shouted(body: Any) -> Any:
    """Hex in capitals, as another server writes the same ids."""
    if isinstance(body, list):
        return [_shouted(row) for row in body]
    if not isinstance(body, dict):
        return body
    return {
        key: (
            value.upper()
            if key in {"mcuId", "deviceId"} and isinstance(value, str) and len(value) == 16
            else _shouted(value)
        )
        for key, value in body.items()
    }


def _bare(body: Any) -> Any:
    """Optional things absent or null, times with a numeric zone and no fraction."""
    if isinstance(body, list):
        return [_bare(row) for row in body]
    if not isinstance(body, dict):
        return body
    gone = {
        "revision",
        "updatedAt",
        "tags",
        "location",
        "siteId",
        "deviceProfileId",
        "brokerUrl",
        "description",
        "public",
    }
    found = {key: _bare(value) for key, value in body.items() if key not in gone}
    for key in {"createdAt", "expiresAt"} & set(found):
        found[key] = re.sub(r"\.\d+Z$", "+00:00", found[key])
    for key in ("metadata", "metadataFields"):
        if key in found and not found[key]:
            found[key] = None
    return found


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _time(at: datetime | None = None) -> str:
    return (at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_INFUSE: list[tuple[str, str, Any]] = [
    ("GET", "/health", Cloud.health),
    ("GET", "/organisation", Cloud.organisations),
    ("POST", "/organisation", Cloud.create_organisation),
    ("GET", "/organisation/(id|name)/([^/]+)", Cloud.organisation),
    ("GET", "/board", Cloud.boards),
    ("POST", "/board", Cloud.create_board),
    ("GET", "/board/id/([^/]+)", Cloud.board),
    ("GET", "/network", Cloud.networks),
    ("POST", "/device", Cloud.create_device),
    ("GET", "/device", Cloud.devices),
    ("GET", "/device/soc/([^/]+)/mcuId/([^/]+)", Cloud.device_by_mcu_id),
    ("GET", "/device/(deviceId|id)/([^/]+)", Cloud.device),
    ("PUT", "/device/id/([^/]+)", Cloud.update_device),
    ("GET", "/device/(deviceId|id)/([^/]+)/state", Cloud.device_state),
    ("GET", "/key/publicKey", Cloud.public_key),
    ("POST", "/key/derived/device", Cloud.derived_key),
]
_REGISTRY: list[tuple[str, str, Any]] = [
    ("POST", "/devices/registration/tokens", Cloud.mint),
    ("GET", "/devices/registration/tokens", Cloud.pending),
    ("DELETE", "/devices/registration/tokens/([^/]+)", Cloud.revoke),
    ("POST", "/devices/provision", Cloud.provision),
    ("GET", "/devices", Cloud.registry_devices),
    ("GET", "/devices/([^/]+)", Cloud.registry_device),
    ("DELETE", "/devices/([^/]+)", Cloud.delete_registry_device),
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    owner: Cloud
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.owner._open.add(self.connection)

    def finish(self) -> None:
        self.owner._open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are kept in `Cloud.requests`."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(
            datetime.now(UTC) + timedelta(seconds=self.owner.skew_s), usegmt=True
        )

    def _serve(self) -> None:
        cloud = self.owner
        address = urlsplit(self.path)
        if cloud.old_http:
            self.protocol_version, self.close_connection = "HTTP/1.0", True
        size = int(self.headers.get("content-length") or 0)
        data = self.rfile.read(size)
        if len(data) < size:
            return self._drop()  # the client died in the middle of its request
        try:
            body = json.loads(data) if data else None
        except ValueError:
            body = data
        request = Request(
            self.command,
            address.path,
            dict(parse_qsl(address.query)),
            {key.lower(): value for key, value in self.headers.items()},
            body,
        )
        cloud.requests.append(request)
        cloud.before(request)
        fault = next(
            (fault for fault in cloud.faults if fault.takes(request.call)), None
        ) or cloud.weather(request)
        if fault is None:
            self._send(*cloud.answer(request))
        else:
            _FAULTS[fault.kind](self, request, fault.value)
        return None

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def send_header(self, keyword: str, value: str) -> None:
        if not (self.owner.dateless and keyword == "Date"):
            super().send_header(keyword, value)

    def _send(
        self,
        status: int,
        body: Any,
        headers: dict[str, str] | None = None,
        *,
        kind: str = "application/json",
    ) -> None:
        data = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Request-Id", secrets.token_hex(4))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _drop_before(self, _request: Request, _value: Any) -> None:
        self._drop()

    def _drop_after(self, request: Request, _value: Any) -> None:
        self.owner.answer(request)
        self._drop()

    def _late(self, request: Request, value: float) -> None:
        timer = threading.Timer(value, self.owner.answer, [request])
        self.owner._timers.append(timer)
        timer.start()
        self._drop()

    def _status_before(self, _request: Request, value: Any) -> None:
        status, headers, *body = value if isinstance(value, tuple) else (value, {})
        message = body[0] if body else {"code": status, "message": "a fault on purpose"}
        self._send(
            status,
            message,
            headers,
            kind="text/html" if isinstance(message, bytes) else "application/json",
        )

    def _status_after(self, request: Request, value: Any) -> None:
        self.owner.answer(request)
        self._status_before(request, value)

    def _html(self, request: Request, value: Any) -> None:
        if value == "after":
            self.owner.answer(request)
        self._send(200, b"<html><body><h1>Please sign in</h1></body></html>", kind="text/html")

    def _half(self, request: Request, _value: Any, end: Callable[[], None] | None = None) -> None:
        status, body = self.owner.answer(request)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        (end or self._drop)()

    def _reset(self, request: Request, _value: Any) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._half(request, None, end=self._rst)

    def _rst(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _broken(self, request: Request, _value: Any) -> None:
        status, body = self.owner.answer(request)
        data = json.dumps(body).encode()
        self._send(status, data[: len(data) // 2])

    def _slow(self, request: Request, value: float) -> None:
        pause(value)
        self._send(*self.owner.answer(request))

    def _redirect(self, request: Request, value: str) -> None:
        self._send(307, None, {"Location": value + request.path})

    def _date(self, request: Request, value: float) -> None:
        self.owner.skew_s = value
        self._send(*self.owner.answer(request))


_FAULTS: dict[str, Any] = {
    "drop-before": _Handler._drop_before,
    "drop-after": _Handler._drop_after,
    "late": _Handler._late,
    "status-before": _Handler._status_before,
    "status-after": _Handler._status_after,
    "html": _Handler._html,
    "half": _Handler._half,
    "reset": _Handler._reset,
    "broken": _Handler._broken,
    "slow": _Handler._slow,
    "redirect": _Handler._redirect,
    "date": _Handler._date,
}
