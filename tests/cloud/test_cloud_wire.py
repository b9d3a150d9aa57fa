"""Both sides against the same literal JSON, typed from `docs/reference/interfaces/`: `wire/*.json`,
one file a call.

Each has `request` (method, path, query, body) and `answer` (status, body). `other_spellings` are
bodies that mean the same, `optional` members that may be absent, `before` names the GET that a
change begins with.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from infuse_cli import api_types as api
from infuse_cli.cloud.build import connect_openly
from infuse_cli.config.model import Cloud
from infuse_cli.sim.attest import CsrWish, csr_der
from infuse_cli.sim.cloud_app import CloudOptions
from infuse_cli.sim.cloud_server import ServerThread
from infuse_cli.sim.cloud_table import CALLS
from infuse_cli.types import Secret

WIRE = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "wire").glob("*.json"))
}
ID = "5f0c2a54-3d0e-4a54-9a3f-0f2f6c1d7e{:02}".format
ORGANISATION, BOARD, DEVICE, RPC, NODE, TOKEN, COMPONENT, GROUP = (
    ID(n) for n in (1, 2, 4, 5, 21, 12, 13, 15)
)
HEARD = "d291d4d66bf0a955"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
MORNING, LATER = datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2199, 1, 2, 4, tzinfo=UTC)
PLACE = api.Location(latitude=-27.47, longitude=153.03)

# What a program calls to have the request of that name sent.
CLOUD = {
    "health": lambda c: c.health(),
    "organisation-list": lambda c: c.organisations(),
    "organisation-create": lambda c: c.create_organisation("Example Provider"),
    "organisation-by-id": lambda c: c.organisation(id=ORGANISATION),
    "organisation-by-name": lambda c: c.organisation(name="Example Provider"),
    "board-create": lambda c: c.create_board(
        ORGANISATION,
        "Example Sensor Board",
        soc="nRF9151",
        description="Low-power field sensor board",
        metadata_fields=[api.MetadataField(name="serialNumber", required=True, unique=True)],
    ),
    "board-list": lambda c: c.boards(ORGANISATION),
    "board-by-id": lambda c: c.board(BOARD),
    "board-devices": lambda c: c.board_devices(BOARD),
    "network-create": lambda c: c.create_network(
        ORGANISATION,
        "Field Network",
        key=Secret(KEY),
        network_id=1001,
        description="Primary field deployment network",
    ),
    "network-list": lambda c: c.networks(ORGANISATION),
    "device-create": lambda c: c.create_device(
        mcu_id="0011223344556677",
        board_id=BOARD,
        organisation_id=ORGANISATION,
        metadata={"serialNumber": "SN-10001", "deploymentSite": "Brisbane"},
    ),
    "device-by-mcu-id": lambda c: c.device_by_mcu_id("nRF9151", "0011223344556677"),
    "device-by-device-id": lambda c: c.device_by_device_id(HEARD),
    "device-by-id": lambda c: c.device(DEVICE),
    "device-list": lambda c: c.devices_with_metadata(
        ORGANISATION, BOARD, "serialNumber", "SN-10001"
    ),
    "device-patch": lambda c: c.patch_device_metadata(DEVICE, {"deploymentSite": "Cairns"}),
    "device-replace": lambda c: c.replace_device_metadata(DEVICE, {"serialNumber": "SN-10001"}),
    "device-state": lambda c: c.device_state(HEARD),
    "device-last-route": lambda c: c.last_route(HEARD),
    "device-last-routes": lambda c: c.last_routes([HEARD]),
    "key-public": lambda c: c.cloud_public_key(),
    "key-shared-secret": lambda c: c.shared_secret(
        bytes.fromhex("20dddfb3a607af5586c6bfbe50148e2abfd7d9835e4fe288c7797a458fc4f64f")
    ),
    "key-device-secret": lambda c: c.device_secret(HEARD),
    "key-derived": lambda c: c.derived_key(HEARD, "udp"),
    "mqtt-token": lambda c: c.mqtt_token(ORGANISATION, 3600),
    "rpc-send": lambda c: c.send_rpc(HEARD, "ping", {}),
    "rpc-by-id": lambda c: c.rpc(RPC),
    "rpc-list": lambda c: c.rpcs(
        ORGANISATION, device_id=HEARD, status="completed", start=MORNING, end=LATER
    ),
    "iam-token": lambda c: c.exchange_key(Secret("ik_principal.very-secret")),
}
REGISTRY = {
    "registration-token-create": lambda r: r.mint_token(
        name="field-sensor-1",
        metadata={"infuseIntent": "9a8b"},
        tags=["line-1"],
        site_id=ID(16),
        device_profile_id=ID(17),
        expires_in_s=3600,
        location=PLACE,
    ),
    "registration-token-list": lambda r: r.pending_tokens(),
    "registration-token-revoke": lambda r: r.revoke_token(TOKEN),
    "provision": lambda r: r.provision(
        Secret("one-time-registration-token"), WIRE["provision"]["request"]["body"]["csr"]
    ),
    "registry-device-create": lambda r: r.create_device(
        "field-sensor-2",
        {
            "tags": ["line-1"],
            "metadata": {"bay": "7"},
            "location": PLACE,
            "siteId": ID(16),
            "deviceProfileId": ID(17),
        },
    ),
    "registry-device-list": lambda r: r.devices(),
    "registry-device-by-id": lambda r: r.device(NODE),
    "registry-device-update": lambda r: r.change_device(NODE, {"status": "MAINTENANCE"}),
    "registry-device-delete": lambda r: r.delete_device(NODE),
    "registry-summary": lambda r: r.summary(),
    "component-create": lambda r: r.create_component(NODE, "probe", ID(18)),
    "component-list": lambda r: r.components(NODE),
    "component-by-id": lambda r: r.component(COMPONENT),
    "component-update": lambda r: r.change_component(COMPONENT, {"name": "probe-b"}),
    "component-delete": lambda r: r.delete_component(COMPONENT),
    "sensor-list": lambda r: r.sensors(
        registry_device_id=NODE, group_id=GROUP, value_type="number", tags=["line-1"]
    ),
    "device-health": lambda r: r.health_history(NODE),
    "device-health-latest": lambda r: r.health_latest(NODE),
    "device-health-window": lambda r: r.health_window(NODE, MORNING, LATER),
    "device-health-summary": lambda r: r.health_summary(NODE),
    "group-create": lambda r: r.create_group("line one", ["line-1"]),
    "group-list": lambda r: r.groups(),
    "group-by-id": lambda r: r.group(GROUP),
    "group-update": lambda r: r.change_group(GROUP, {"tags": ["line-1", "night"]}),
    "group-delete": lambda r: r.delete_group(GROUP),
}


def test_there_is_a_file_for_every_call():
    def shape(path):
        return re.sub(
            rf"(?<=/)({ID(0)[:-2]}\d\d|{HEARD}|nRF9151|0011223344556677|Example%20Provider)(?=/|$)",
            "{}",
            path,
        )

    written = {(one["request"]["method"], shape(one["request"]["path"])) for one in WIRE.values()}
    assert written == {(call.method, re.sub(r"\{\w+\}", "{}", call.path)) for call in CALLS}
    assert {name for name, one in WIRE.items() if one.get("client", True)} == {*CLOUD, *REGISTRY}


def _says(answer, value):
    """Whether what a client made of an answer is what the answer says: every member that it read
    has the same value.
    """
    match value:
        case msgspec.Struct():
            read = {
                name: item
                for name, item in (
                    (one.encode_name, getattr(value, one.name))
                    for one in msgspec.structs.fields(value)
                )
                if item is not None
            }
            return all(name in answer and _says(answer[name], item) for name, item in read.items())
        case datetime():
            return value == datetime.fromisoformat(answer)
        case tuple() | list():
            return len(value) == len(answer) and all(map(_says, answer, value))
        case dict():
            return value == answer
        case _:
            return value == answer


def _sent(request):
    return {
        "method": request.method,
        "path": request.path,
        **({"query": request.query} if request.query else {}),
        **({"body": request.json} if request.body else {}),
    }


def _called(name, server, client, registry, answer):
    """What the client makes of this answer, and the last request that it sent."""
    one = WIRE[name]
    server.requests.clear()
    server.script = [answer(200, WIRE[one["before"]]["answer"]["body"])] if "before" in one else []
    server.script.append(answer(one["answer"]["status"], one["answer"].get("body")))
    return CLOUD[name](client) if name in CLOUD else REGISTRY[name](registry)


@pytest.fixture
def openly(server):
    client = connect_openly(
        Cloud(base_url=server.url, timeout_s=2.0, deadline_s=5.0), lambda _: False
    )
    yield client
    client.close()


@pytest.mark.parametrize("name", [*CLOUD, *REGISTRY])
def test_a_client_sends_the_request_and_reads_the_answer(
    name, server, client, registry, openly, api
):
    made = _called(name, server, openly if name == "iam-token" else client, registry, api.ok)
    one = WIRE[name]
    # A list is asked for once more, from where its first page ended.
    sent = next(
        request for request in reversed(server.requests) if request.query.get("offset", "0") == "0"
    )
    assert _sent(sent) == one["request"]
    assert ("authorization" in sent.headers) == one.get("credential", name != "health")
    body = one["answer"].get("body")
    match made:
        case msgspec.Struct() if name == "provision":
            assert made.device_id == body["deviceId"]
            assert (
                made.certificate + "".join(made.ca_chain) == body["certificate"] + body["caChain"]
            )
        case msgspec.Struct() | tuple():
            assert _says(body, made)
            assert made
        case dict():
            assert made == body
        case bytes():
            assert made == bytes(range(32))
        case Secret():
            assert made.reveal() == body["key"]
        case str():
            assert made == body["health"]
        case _:
            assert body is None


@pytest.mark.parametrize("name", [name for name, one in WIRE.items() if "other_spellings" in one])
def test_another_spelling_means_the_same(name, server, client, registry, api):
    one = WIRE[name]
    usual = _called(name, server, client, registry, api.ok)
    for body in one["other_spellings"]:
        server.otherwise = api.ok(one["answer"]["status"], body)
        made = CLOUD[name](client) if name in CLOUD else REGISTRY[name](registry)
        if "expiresIn" in body:
            assert (
                abs((made.expires_at - datetime.now(UTC)).total_seconds() - body["expiresIn"]) < 60
            )
            made = msgspec.structs.replace(made, expires_at=usual.expires_at, life_s=usual.life_s)
        assert made == usual


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, one in WIRE.items()
        if isinstance(one["answer"].get("body"), list) and name in REGISTRY
    ],
)
def test_a_list_may_come_as_items(name, server, client, registry, api):
    usual = _called(name, server, client, registry, api.ok)
    server.otherwise = api.ok(200, {"items": WIRE[name]["answer"]["body"]})
    assert REGISTRY[name](registry) == usual


# In an order in which each finds what it needs; `!` are things that happen outside of the API.
STORY = """
health organisation-create organisation-list organisation-by-id organisation-by-name
board-create board-list board-by-id network-create network-list device-create device-by-mcu-id
device-by-device-id device-by-id board-devices device-list device-patch device-replace rpc-send
rpc-by-id !heard device-state device-state-by-id device-last-route device-last-routes rpc-by-id
rpc-by-id rpc-list key-public key-shared-secret key-device-secret key-derived mqtt-token
iam-token registration-token-create registration-token-list registration-token-revoke !again
registration-token-create provision !gone registry-device-create registry-device-list
registry-device-by-id registry-summary component-create component-list component-by-id
component-update !component-gone !announced group-create group-list group-by-id sensor-list
device-health device-health-latest device-health-window device-health-summary group-update
group-delete registry-device-update registry-device-delete
""".split()  # noqa: SIM905 - it is a story


class Told:
    """The virtual cloud as the story goes: ids of the files stand for those that it gave."""

    def __init__(self, server, client):
        self.registry, self.cloud, self.client = server.world.registry, server.world.cloud, client
        self.real = {}

    def send(self, one):
        request = one["request"]
        answer = self.client.request(
            request["method"],
            quote(self._real(unquote(request["path"]))),
            params=self._real(request.get("query")),
            json=self._real(request.get("body")),
            headers={} if one.get("credential", True) else {"Authorization": ""},
        )
        assert answer.status_code == one["answer"]["status"], answer.text
        return answer.json() if answer.content else None

    def learn(self, written, given):
        """Ids and tokens of the file, and what the cloud has in their place."""
        match written:
            case dict():
                for name in written.keys() & given.keys():
                    if name in {"id", "deviceId", "downlinkMessageId", "token"} and isinstance(
                        given[name], str
                    ):
                        self.real[written[name]] = given[name]
                    self.learn(written[name], given[name])
            case list():
                for one, other in zip(written, given, strict=True):
                    self.learn(one, other)

    def _real(self, value):
        match value:
            case str():
                for name, real in self.real.items():
                    value = value.replace(name, real)
                return value
            case dict():
                return {name: self._real(item) for name, item in value.items()}
            case list():
                return [self._real(item) for item in value]
            case _:
                return value

    def happen(self, what):
        match what:
            case "!heard":
                assert self.cloud.heard(self.real[HEARD])
            case "!again" | "!gone":
                assert self.client.delete(f"/api/v1/devices/{self.real[ID(11)]}").status_code == 204
            case "!component-gone":
                self.send(WIRE["component-delete"])
            case "!announced":
                self.registry.inventory.announce(self.real[NODE])


def _same_form(written, given, optional, where="answer"):
    """Whether two JSON values have the same members, of the same types."""
    match written:
        case dict():
            assert {*written} - {*optional} == {*given} - {*optional}, where
            for name in written.keys() & given.keys():
                _same_form(written[name], given[name], optional, f"{where}.{name}")
        case list():
            assert len(written) == len(given), where
            for one, other in zip(written, given, strict=True):
                _same_form(one, other, optional, f"{where}[]")
        case _:
            assert type(written) is type(given), where
            if isinstance(written, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", written):
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", given), where
            elif not re.search(r"(?i)id$|token|key|certificate|chain|address|time|status", where):
                assert written == given, where


def _csr():
    der = csr_der(ec.generate_private_key(ec.SECP256R1()), CsrWish("CN=board"))
    return (
        f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.encodebytes(der).decode()}-----END"
        " CERTIFICATE REQUEST-----\n"
    )


def test_the_virtual_cloud_takes_the_requests_and_gives_the_answers():
    assert {*STORY} - {"!heard", "!again", "!gone", "!component-gone", "!announced"} == {*WIRE} - {
        "component-delete"
    }
    server = ServerThread(CloudOptions(token="t"))
    with httpx.Client(
        base_url=server.start().base_url, headers={"Authorization": "Bearer t"}
    ) as client:
        told = Told(server, client)
        for name in STORY:
            if name.startswith("!"):
                told.happen(name)
                continue
            one = WIRE[name]
            if name == "provision":
                told.real[one["request"]["body"]["csr"]] = _csr()
            given = told.send(one)
            told.learn(one["answer"].get("body"), given)
            if not one.get("free"):
                _same_form(one["answer"].get("body"), given, one.get("optional", ()))
    server.stop()
