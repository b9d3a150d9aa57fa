"""The virtual cloud over its real socket, in the interfaces' literal JSON."""

from __future__ import annotations

import base64
import json
import re
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from infuse_cli import mqtt_packets as mqtt
from infuse_cli.sim.attest import CsrWish, csr_der
from infuse_cli.sim.authority import pem
from infuse_cli.sim.checkin import Credentials, client_context
from infuse_cli.sim.cloud_app import CloudOptions
from infuse_cli.sim.cloud_server import ServerProcess, ServerThread
from infuse_cli.sim.cloud_table import CALLS

TOKEN = "organisation-admin"
MCU = "0359890000000001"
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def server():
    server = ServerThread(CloudOptions(token=TOKEN, organisations=("Example Provider",)))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def api(server):
    address = server._ready.result().base_url
    with httpx.Client(
        base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5
    ) as client:
        yield client


@pytest.fixture
def product(api):
    organisation = api.get("/organisation/name/Example%20Provider").json()["id"]
    answer = api.post(
        "/board",
        json={
            "organisationId": organisation,
            "name": "Sensor",
            "description": "d",
            "soc": "nRF9151",
            "metadataFields": [
                {"name": "serialNumber", "required": True, "unique": True},
                {"name": "site", "required": False, "unique": False},
            ],
        },
    )
    assert answer.status_code == 201
    return {"organisationId": organisation, "boardId": answer.json()["id"]}


def device(product, serial="SN-1", **more):
    return {"mcuId": MCU, **product, "metadata": {"serialNumber": serial}, **more}


def csr(key=None, fault=None):
    der = csr_der(key or ec.generate_private_key(ec.SECP256R1()), CsrWish("CN=board", fault=fault))
    return (
        f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.encodebytes(der).decode()}-----END"
        " CERTIFICATE REQUEST-----\n"
    )


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == status
    assert answer.json()["message"]


def test_credential_is_asked_for(server):
    with httpx.Client(base_url=server._ready.result().base_url) as client:
        assert client.get("/health").json() == {"health": "ok"}
        problem(client.get("/organisation"), 401)
        problem(client.get("/organisation", headers={"Authorization": "Bearer other"}), 401)
        problem(client.get("/organisation", headers={"Authorization": f"ApiKey {TOKEN}"}), 401)
        problem(client.post("/api/v1/devices/provision", json={"token": "x", "csr": "y"}), 401)


@pytest.mark.parametrize(
    ("scheme", "header"),
    [("api-key", {"Authorization": "ApiKey k"}), ("x-api-key", {"x-api-key": "Bearer k"})],
)
def test_other_schemes(scheme, header):
    server = ServerThread(CloudOptions(token="k", scheme=scheme))
    address = server.start().base_url
    try:
        assert httpx.get(f"{address}/organisation", headers=header).status_code == 200
        problem(httpx.get(f"{address}/organisation", headers={"Authorization": "Bearer k"}), 401)
    finally:
        server.stop()


def test_organisation_and_board(api, product):
    found = api.get("/organisation/name/Example%20Provider").json()
    assert set(found) == {"id", "createdAt", "updatedAt", "name"}
    assert api.get(f"/organisation/id/{found['id']}").json() == found
    problem(api.get("/organisation/name/None"), 404)
    problem(api.post("/organisation", json={"name": "Example Provider"}), 409)
    assert api.post("/organisation", json={"name": "a/b ü"}).status_code == 201
    assert api.get("/organisation/name/a%2Fb%20%C3%BC").json()["name"] == "a/b ü"
    (board,) = api.get("/board", params={"organisationId": product["organisationId"]}).json()
    assert board["metadataFields"][0] == {"name": "serialNumber", "required": True, "unique": True}
    assert (board["soc"], board["public"]) == ("nRF9151", False)
    problem(api.post("/board", json={"name": "x"}), 400)
    problem(
        api.post(
            "/board",
            json={"organisationId": NOBODY, "name": "x", "description": "", "soc": "nRF9151"},
        ),
        422,
    )


def test_network_key_is_32_bytes(api, product):
    body = {
        "organisationId": product["organisationId"],
        "name": "N",
        "description": "",
        "public": False,
        "networkId": 1,
    }
    problem(api.post("/network", json={**body, "key": base64.b64encode(bytes(31)).decode()}), 400)
    made = api.post("/network", json={**body, "key": base64.b64encode(bytes(32)).decode()})
    assert made.status_code == 201
    problem(api.post("/network", json={**body, "networkId": 0x1000000, "key": ""}), 400)
    assert [n["networkId"] for n in api.get("/network").json()] == [1]


def test_one_device_per_soc_and_mcu_id(api, product):
    made = api.post("/device", json=device(product))
    assert made.status_code == 201
    body = made.json()
    assert set(body) == {
        "id",
        "createdAt",
        "updatedAt",
        "mcuId",
        "boardId",
        "organisationId",
        "deviceId",
        "metadata",
    }
    assert re.fullmatch("[0-9a-f]{16}", body["deviceId"])
    assert body["createdAt"].endswith("Z")
    problem(api.post("/device", json=device(product, "SN-2")), 409)
    for path in (
        f"/device/soc/nRF9151/mcuId/{MCU}",
        f"/device/deviceId/{body['deviceId']}",
        f"/device/id/{body['id']}",
    ):
        assert api.get(path).json() == body
    problem(api.get("/device/soc/nRF9151/mcuId/0000000000000000"), 404)
    problem(api.get(f"/device/deviceId/{body['deviceId']}/state"), 404)


def test_device_is_checked(api, product):
    problem(api.post("/device", json=device(product, mcuId="0359890000000G01")), 400)
    problem(api.post("/device", json={**device(product), "mcuId": MCU.upper() + "A"}), 400)
    problem(api.post("/device", json={**device(product), "boardId": NOBODY}), 422)
    problem(api.post("/device", json={**device(product), "metadata": {}}), 422)
    problem(api.post("/device", json={**device(product), "metadata": {"serialNumber": 7}}), 400)
    problem(api.post("/device", content=b"{nonsense"), 400)
    assert (
        api.post("/device", json=device(product, deviceId="00000000000000aa")).json()["deviceId"]
        == "00000000000000aa"
    )
    other = {"mcuId": "0359890000000002"}
    problem(api.post("/device", json={**device(product), **other}), 409)
    problem(
        api.post("/device", json={**device(product, "SN-9", deviceId="00000000000000aa"), **other}),
        409,
    )


def test_metadata_is_patched_and_replaced(api, product):
    first = api.post("/device", json=device(product)).json()
    second = api.post(
        "/device", json={**device(product, "SN-2"), "mcuId": "0359890000000002"}
    ).json()

    def put(thing, operation, value):
        return api.put(
            f"/device/id/{thing['id']}", json={"metadata": {"operation": operation, "value": value}}
        )

    assert put(first, "patch", {"site": "Brisbane"}).json()["metadata"] == {
        "serialNumber": "SN-1",
        "site": "Brisbane",
    }
    assert put(first, "replace", {"serialNumber": "SN-3"}).json()["metadata"] == {
        "serialNumber": "SN-3"
    }
    problem(put(second, "patch", {"serialNumber": "SN-3"}), 409)
    problem(put(second, "replace", {"site": "x"}), 422)
    assert put(second, "patch", {"serialNumber": "SN-1"}).status_code == 200
    found = api.get(
        "/device",
        params={
            "metadataName": "serialNumber",
            "metadataValue": "SN-1",
            "boardIds": product["boardId"],
        },
    ).json()
    assert [d["id"] for d in found] == [second["id"]]


def test_lists_come_in_pages(api, product):
    for n in range(103):
        api.post("/device", json={**device(product, f"SN-{n}"), "mcuId": f"{n:016x}"})
    assert len(api.get("/device").json()) == 100
    assert len(api.get("/device", params={"offset": 100}).json()) == 3
    assert len(api.get(f"/board/id/{product['boardId']}/devices", params={"limit": 7}).json()) == 7
    problem(api.get("/device", params={"limit": "many"}), 400)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("/device", {"limit": "101"}),
        ("/device", {"limit": "0"}),
        ("/device", {"offset": "-1"}),
        ("/device", {"orderBy": "metadata"}),
        ("/device", {"orderDir": "up"}),
        ("/device", {"organisationId": "mine"}),
        ("/board", {"includePublic": "perhaps"}),
        ("/rpc", {"status": "lost"}),
        ("/rpc", {"startTime": "yesterday"}),
        ("/api/v1/components", {"deviceId": "0011223344556677"}),
    ],
)
def test_a_query_has_its_types(api, path, wrong):
    problem(api.get(path, params=wrong), 400)


def test_lists_come_in_the_order_asked_for(api, product):
    for n, name in enumerate(("b", "c", "a")):
        api.post(
            "/device",
            json={**device(product, name), "mcuId": f"{n:016x}", "deviceId": f"{9 - n:016x}"},
        )

    def order(**params):
        return [one["metadata"]["serialNumber"] for one in api.get("/device", params=params).json()]

    assert order() == ["b", "c", "a"]
    assert order(orderDir="desc") == ["a", "c", "b"]
    assert order(orderBy="deviceId") == ["a", "c", "b"]
    assert order(orderBy="deviceId", orderDir="desc", limit=1, offset=1) == ["c"]


def test_several_boards_with_commas_or_one_by_one(api, product):
    api.post("/device", json=device(product))
    for boards in (f"{product['boardId']},{NOBODY}", [NOBODY, product["boardId"]]):
        assert len(api.get("/device", params={"boardIds": boards}).json()) == 1
    assert api.get("/device", params={"boardIds": NOBODY}).json() == []


def test_keys_and_broker_token(api, product):
    made = api.post("/device", json=device(product)).json()["deviceId"]
    own = x25519.X25519PrivateKey.generate()
    cloud = x25519.X25519PublicKey.from_public_bytes(
        base64.b64decode(api.get("/key/publicKey").json()["key"])
    )
    shared = api.post(
        "/key/sharedSecret",
        json={"key": base64.b64encode(own.public_key().public_bytes_raw()).decode()},
    ).json()["key"]
    assert base64.b64decode(shared) == own.exchange(cloud)
    derived = api.post("/key/derived/device", json={"deviceId": made, "interface": "udp"}).json()[
        "key"
    ]
    assert len(base64.b64decode(derived)) == 32
    assert (
        api.post("/key/derived/device", json={"deviceId": made, "interface": "serial"}).json()[
            "key"
        ]
        != derived
    )
    problem(api.post("/key/derived/device", json={"deviceId": made, "interface": "telepathy"}), 400)
    problem(api.post("/key/derived/device", json={"deviceId": "0" * 16, "interface": "udp"}), 404)
    token = api.post(
        "/mqtt/token", json={"organisationId": product["organisationId"], "ttlSeconds": 60}
    ).json()
    assert set(token) == {"token", "issuedAt", "expiresAt"}
    problem(
        api.post(
            "/mqtt/token", json={"organisationId": product["organisationId"], "ttlSeconds": 59}
        ),
        400,
    )


def test_life_of_a_token(api):
    minted = api.post(
        "/api/v1/devices/registration/tokens",
        json={"name": "d1", "metadata": {"infuseIntent": "i1"}, "expiresInSeconds": 60},
    )
    assert minted.status_code == 201
    token = minted.json()
    assert set(token) == {"id", "deviceId", "name", "token", "status", "createdAt", "expiresAt"}
    assert token["status"] == "PENDING"
    problem(api.post("/api/v1/devices/registration/tokens", json={"name": "d1"}), 409)
    (pending,) = api.get("/api/v1/devices/registration/tokens").json()
    assert "token" not in pending
    found = api.get(f"/api/v1/devices/{token['deviceId']}").json()
    assert (found["name"], found["status"], found["metadata"]) == (
        "d1",
        "PENDING",
        {"infuseIntent": "i1"},
    )
    assert api.delete(f"/api/v1/devices/registration/tokens/{token['id']}").status_code == 204
    problem(api.delete(f"/api/v1/devices/registration/tokens/{token['id']}"), 409)
    problem(api.delete("/api/v1/devices/registration/tokens/none"), 404)
    problem(
        api.post("/api/v1/devices/provision", json={"token": token["token"], "csr": csr()}), 410
    )
    assert api.delete(f"/api/v1/devices/{token['deviceId']}").status_code == 204
    assert api.post("/api/v1/devices/registration/tokens", json={"name": "d1"}).status_code == 201
    assert api.get("/api/v1/devices/summary").json() == {
        "total": 1,
        "byStatus": {"PENDING": 1, "ACTIVE": 0, "INACTIVE": 0, "MAINTENANCE": 0, "OFFLINE": 0},
    }


def test_expired_token_buys_nothing(api):
    token = api.post(
        "/api/v1/devices/registration/tokens", json={"name": "d1", "expiresInSeconds": 60}
    ).json()
    api.put("/_sim/faults", content="cloud:date=+120s")
    problem(
        api.post("/api/v1/devices/provision", json={"token": token["token"], "csr": csr()}), 410
    )
    assert api.get("/api/v1/devices/registration/tokens").json() == []


@pytest.mark.parametrize("fault", [None, "null"])
def test_a_token_buys_one_certificate(api, server, fault):
    token = api.post("/api/v1/devices/registration/tokens", json={"name": "d1"}).json()
    problem(
        api.post(
            "/api/v1/devices/provision",
            json={"token": token["token"], "csr": csr(fault="signature")},
        ),
        400,
    )
    problem(
        api.post("/api/v1/devices/provision", json={"token": token["token"], "csr": "nonsense"}),
        400,
    )
    key = ec.generate_private_key(ec.SECP256R1())
    answer = httpx.post(
        f"{server._ready.result().base_url}/api/v1/devices/provision",
        json={"token": token["token"], "csr": csr(key, fault)},
    )
    got = answer.json()
    assert (answer.status_code, set(got)) == (200, {"deviceId", "certificate", "caChain"})
    leaf = x509.load_pem_x509_certificate(got["certificate"].encode())
    issuer, root = x509.load_pem_x509_certificates(got["caChain"].encode())
    assert leaf.public_key() == key.public_key()
    assert leaf.subject.rfc4514_string() == f"CN={token['deviceId']}"
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)
    problem(
        api.post("/api/v1/devices/provision", json={"token": token["token"], "csr": csr(key)}), 409
    )
    (noted,) = server.world.state()["certificates"]
    assert noted["sha256"] == leaf.fingerprint(hashes.SHA256()).hex()


def test_other_shapes_of_lists_and_chains():
    server = ServerThread(CloudOptions(token=TOKEN, list_as_items=True, chain_as_list=True))
    with httpx.Client(
        base_url=server.start().base_url, headers={"Authorization": f"Bearer {TOKEN}"}
    ) as api:
        token = api.post("/api/v1/devices/registration/tokens", json={"name": "d1"}).json()
        assert [d["name"] for d in api.get("/api/v1/devices").json()["items"]] == ["d1"]
        assert isinstance(api.get("/organisation").json(), list)
        chain = api.post(
            "/api/v1/devices/provision", json={"token": token["token"], "csr": csr()}
        ).json()["caChain"]
        assert len(chain) == 2
    server.stop()


def test_registry_put_replaces(api):
    made = api.post(
        "/api/v1/devices", json={"name": "d1", "tags": ["a"], "metadata": {"x": 1}}
    ).json()
    changed = api.put(
        f"/api/v1/devices/{made['id']}", json={"name": "d2", "status": "MAINTENANCE"}
    ).json()
    assert (changed["name"], changed["status"], changed["tags"], changed["metadata"]) == (
        "d2",
        "MAINTENANCE",
        [],
        {},
    )
    problem(api.put(f"/api/v1/devices/{made['id']}", json={"name": "d2", "status": "BROKEN"}), 400)


def test_an_rpc_moves_on_as_its_device_is_heard(server, api, product):
    device_id = api.post("/device", json=device(product)).json()["deviceId"]
    body = {
        "deviceId": device_id,
        "sendWaitTimeoutMs": 60000,
        "rpc": {"commandName": "ping", "params": {}},
    }
    sent = api.post("/rpc", json=body)
    assert (sent.status_code, set(sent.json())) == (201, {"id", "downlinkMessageId", "createdAt"})
    rpc = sent.json()["id"]

    def status():
        return api.get(f"/rpc/{rpc}").json()["downlinkMessage"]["status"]

    assert [status() for _ in range(3)] == ["waiting"] * 3
    with server.world.clock.lock:
        server.world.cloud.heard(device_id)
    assert [status() for _ in range(4)] == ["waiting", "sent", "completed", "completed"]
    assert api.get(f"/rpc/{rpc}").json()["downlinkMessage"]["rpcRsp"]["returnCode"] == 0
    assert [
        one["id"]
        for one in api.get("/rpc", params={"deviceId": device_id, "status": "completed"}).json()
    ] == [rpc]
    assert api.get("/rpc", params={"startTime": "2099-01-01T00:00:00Z"}).json() == []
    problem(api.get("/rpc", params={"startTime": "2026-01-01T00:00:00"}), 400)
    problem(api.get("/rpc/none"), 404)
    problem(api.post("/rpc", json={**body, "deviceId": "0000000000000000"}), 400)
    problem(api.post("/rpc", json={**body, "rpc": {"params": {}}}), 400)


def test_an_iam_key_buys_a_short_lived_token(server):
    with httpx.Client(base_url=server._ready.result().base_url) as client:
        assert set(client.post("/iam/auth/token", json={"apiKey": "ik_one.two"}).json()) == {
            "token",
            "expiresAt",
        }
        problem(client.post("/iam/auth/token", json={"apiKey": "ik_one"}), 401)


def test_components_sensors_health_and_groups(server, api):
    made = api.post("/api/v1/devices", json={"name": "d1", "tags": ["roof"]}).json()
    problem(api.get(f"/api/v1/devices/{made['id']}/health/latest"), 404)
    with server.world.clock.lock:
        server.world.registry.inventory.announce(made["id"])
        server.world.registry.inventory.announce(made["id"])
    (component,) = api.get("/api/v1/components").json()
    assert (component["deviceId"], component["name"]) == (made["id"], "environment")
    problem(
        api.post("/api/v1/components", json={"deviceId": made["id"], "name": "environment"}), 409
    )
    problem(api.post("/api/v1/components", json={"deviceId": NOBODY, "name": "x"}), 422)
    group = api.post("/api/v1/device-groups", json={"name": "roofs", "tags": ["roof"]}).json()
    problem(api.post("/api/v1/device-groups", json={"name": "roofs"}), 409)
    assert (
        len(
            api.get(
                "/api/v1/sensors",
                params={"groupId": group["id"], "tags": "roof", "valueType": "number"},
            ).json()
        )
        == 1
    )
    problem(api.get("/api/v1/sensors", params={"groupId": NOBODY}), 422)
    assert [
        set(one)
        >= {
            "uptime",
            "freeHeap",
            "signalStrength",
            "connectionType",
            "readingsSent",
            "readingsDropped",
        }
        for one in api.get(f"/api/v1/devices/{made['id']}/health").json()
    ] == [True, True]
    problem(
        api.get(f"/api/v1/devices/{made['id']}/health/window", params={"from": "x", "to": "y"}), 400
    )
    assert api.delete(f"/api/v1/devices/{made['id']}").status_code == 204
    assert api.get("/api/v1/components").json() == api.get("/api/v1/sensors").json() == []
    problem(api.get(f"/api/v1/devices/{made['id']}/health"), 404)


def test_openapi_lists_every_route(api):
    document = api.get("/openapi.json").json()
    listed = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert listed == {(call.method, call.path) for call in CALLS}
    post = document["paths"]["/device"]["post"]
    assert {"201", "400", "401", "409", "422"} <= set(post["responses"])
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


def test_unknown_route_is_a_problem_too(api):
    problem(api.get("/nowhere"), 404)
    problem(api.delete("/device"), 405)
    assert api.delete("/device").headers["Allow"] == "POST, GET"
    problem(api.get("/api/v1/devices/provision"), 405)


class TestFaults:
    def post(self, api, product):
        return api.post("/device", json=device(product))

    def set(self, api, text):
        assert api.put("/_sim/faults", content=text).status_code == 204

    def devices(self, api):
        return len(api.get("/_sim/state").json()["devices"])

    @pytest.mark.parametrize(
        ("fault", "kept"), [("drop-before", 0), ("drop-after", 1), ("down", 0)]
    )
    def test_dropped_connection(self, api, product, fault, kept):
        self.set(api, f"cloud:{fault}@POST /device#1")
        with pytest.raises(httpx.RemoteProtocolError):
            self.post(api, product)
        assert self.devices(api) == kept
        assert self.post(api, product).status_code == (409 if kept else 201)

    @pytest.mark.parametrize(("fault", "kept"), [("5xx-before", 0), ("5xx-after", 1)])
    def test_server_error(self, api, product, fault, kept):
        self.set(api, f"cloud:{fault}@POST /device x1")
        assert self.post(api, product).status_code in {500, 502, 503, 504}
        assert self.devices(api) == kept

    def test_too_many(self, api, product):
        self.set(api, "cloud:429 x1")
        answer = self.post(api, product)
        problem(answer, 429)
        assert answer.headers["Retry-After"] == "1"
        assert self.post(api, product).status_code == 201

    def test_forbidden(self, api, product):
        self.set(api, "cloud:403@POST /device x1")
        problem(self.post(api, product), 403)
        assert self.devices(api) == 0

    def test_html_and_half_json(self, api, product):
        self.set(api, "cloud:html@GET /health, cloud:half-json@POST /device")
        assert api.get("/health").headers["content-type"].startswith("text/html")
        answer = self.post(api, product)
        assert answer.status_code == 201
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            answer.json()
        assert self.devices(api) == 1

    def test_slow_answers_late_but_acts(self, api, product):
        self.set(api, "cloud:slow=30s@POST /device")
        with pytest.raises(httpx.ReadTimeout):
            api.post("/device", json=device(product), timeout=0.2)
        assert self.devices(api) == 1

    def test_date(self, api):
        self.set(api, "cloud:date=+600s")
        ahead = parsedate_to_datetime(api.get("/health").headers["Date"]) - datetime.now(UTC)
        assert 590 < ahead.total_seconds() < 610

    def test_chance_is_seeded(self, api):
        def run():
            self.set(api, "cloud:429=0.5, seed=3")
            return [api.get("/health").status_code for _ in range(20)]

        first = run()
        assert {200, 429} == set(first)
        assert run() == first

    def test_a_wrong_plan_is_refused(self, api):
        problem(api.put("/_sim/faults", content="cloud:html@GET /healthy"), 400)

    def test_requests_are_counted(self, api, product):
        self.set(api, "cloud:drop-after@POST /device#1")
        with pytest.raises(httpx.RemoteProtocolError):
            self.post(api, product)
        self.post(api, product)
        assert api.get("/_sim/state").json()["requests"]["POST /device"] == {
            "count": 2,
            "committed": 1,
            "statuses": {"dropped": 1, "409": 1},
        }


def test_a_check_in_that_is_cut_at_the_end_shows_no_traceback(capfd):
    server = ServerThread(CloudOptions(token=TOKEN))
    address, authority = server.start(), server.world.authority
    key = ec.generate_private_key(ec.SECP256R1())
    chain = pem(authority.sign(csr(key), "board")) + pem(authority.intermediate)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    context = client_context(Credentials(chain, secret))
    with (
        socket.create_connection(("127.0.0.1", address.broker_port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(mqtt.connect("board")[:-3])
        assert httpx.get(f"{address.base_url}/health").status_code == 200
        server.stop()
    assert capfd.readouterr().err == ""


def test_the_process_ends_with_its_stdin():
    server = ServerProcess(CloudOptions(token=TOKEN))
    address = server.start().base_url
    assert httpx.get(f"{address}/health").json() == {"health": "ok"}
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")


def test_the_state_shows_no_secret(api):
    token = api.post("/api/v1/devices/registration/tokens", json={"name": "d1"}).json()
    text = api.get("/_sim/state").text
    assert token["token"] not in text
    assert TOKEN not in text
    assert "PRIVATE KEY" not in text
