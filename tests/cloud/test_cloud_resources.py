"""The calls beside provisioning, in the literal JSON of the interfaces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from infuse_cli.errors import CloudError, CredentialError
from infuse_cli.types import Secret

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ORGANISATION = "5f0f9a34-5a59-4a2b-8d68-6f7ad2b90c11"
DEVICE = "d291d4d66bf0a955"
STAMPS = {"createdAt": "2026-01-02T03:04:05.000Z", "updatedAt": "2026-01-02T03:04:05.000Z"}
NETWORK = {
    "id": "0000000e-0000-4000-8000-000000000001",
    "name": "Field Network",
    "description": "Primary field deployment network",
    "key": KEY,
    "organisationId": ORGANISATION,
    "public": False,
    "networkId": 1001,
    **STAMPS,
}
STATE = {
    "id": "s-1",
    "applicationId": 7,
    "applicationVersion": {"major": 1, "minor": 2, "revision": 3, "buildNum": 4},
    "lastRouteInterface": "udp",
    "lastRouteUdpAddress": "192.0.2.7:4433",
    "lastRouteTime": "2026-01-02T03:04:05Z",
    "firstPacketTime": "2026-01-01T00:00:00+10:00",
    **STAMPS,
}
ROUTE = {
    "interface": "udp",
    "interfaceData": {"sequence": 12},
    "udp": {"address": "192.0.2.7:4433", "time": "2026-01-02T03:04:05Z"},
    "hops": 1,
}
RPC = {
    "id": "0000000c-0000-4000-8000-000000000001",
    "createdAt": "2026-01-02T03:04:05Z",
    "downlinkMessageId": "0000000f-0000-4000-8000-000000000001",
    "downlinkMessage": {
        "id": "0000000f-0000-4000-8000-000000000001",
        "deviceId": DEVICE,
        "status": "completed",
        "expiresAt": "2026-01-02T03:05:05Z",
        "rpcReq": {"commandName": "ping", "params": {}},
        "rpcRsp": {"returnCode": 0},
        "payloadType": "RPC_CMD",
    },
}
REGISTERED = {
    "id": "r-1",
    "name": "roof/1",
    "status": "ACTIVE",
    "tags": ["a"],
    "metadata": {"room": "7"},
    "siteId": "s-9",
    "somethingNew": 5,
    **STAMPS,
}


@pytest.fixture
def server(routed):
    return routed


def test_a_network_is_created_as_the_seed_has_it(server, client, api):
    server.otherwise = api.ok(201, NETWORK)
    made = client.create_network(
        ORGANISATION,
        "Field Network",
        key=Secret(KEY),
        network_id=1001,
        description="Primary field deployment network",
    )
    assert (made.id, made.network_id) == ("0000000e-0000-4000-8000-000000000001", 1001)
    assert KEY not in repr(made)
    assert server.requests[0].json == {
        "organisationId": ORGANISATION,
        "name": "Field Network",
        "key": KEY,
        "public": False,
        "networkId": 1001,
        "description": "Primary field deployment network",
    }


def test_a_networks_key_is_never_in_an_error(server, client, api):
    server.otherwise = api.ok(400, {"code": 400, "message": f"bad key {KEY}"})
    with pytest.raises(CloudError) as caught:
        client.create_network(ORGANISATION, "N", key=Secret(KEY), network_id=1)
    assert KEY not in str(caught.value)


def test_state_and_routes(server, client, api):
    server.script = [
        api.ok(200, STATE),
        api.ok(200, ROUTE),
        api.ok(404),
        api.ok(
            200,
            [
                {"deviceId": DEVICE, "lastRoute": ROUTE},
                {"deviceId": DEVICE[::-1], "lastRoute": None},
            ],
        ),
    ]
    state = client.device_state(DEVICE)
    assert state.application_version.build_num == 4
    assert state.first_packet_time == datetime(2025, 12, 31, 14, tzinfo=UTC)
    assert client.last_route(DEVICE).udp.address == "192.0.2.7:4433"
    assert client.last_route(DEVICE) is None
    assert [row.last_route is None for row in client.last_routes([DEVICE, DEVICE[::-1]])] == [
        False,
        True,
    ]
    assert server.calls()[1:] == [f"GET /device/deviceId/{DEVICE}/lastRoute"] * 2 + [
        "POST /device/lastRoute"
    ]


def test_an_mqtt_token(server, client, api):
    server.otherwise = api.ok(
        200,
        {"token": "mq-1", "issuedAt": "2026-01-02T03:04:05Z", "expiresAt": "2026-01-02T04:04:05Z"},
    )
    token = client.mqtt_token(ORGANISATION, 3600)
    assert token.expires_at - token.issued_at == timedelta(hours=1)
    assert server.requests[0].json == {"organisationId": ORGANISATION, "ttlSeconds": 3600}


def test_an_rpc_as_the_seed_has_it(server, client, api):
    server.script = [
        api.ok(
            201,
            {
                "id": "0000000c-0000-4000-8000-000000000001",
                "downlinkMessageId": "0000000f-0000-4000-8000-000000000001",
                "createdAt": "2026-01-02T03:04:05Z",
            },
        ),
        api.ok(200, RPC),
        api.ok(404),
    ]
    assert client.send_rpc(DEVICE, "ping", {}).id == "0000000c-0000-4000-8000-000000000001"
    assert server.requests[0].json == {
        "deviceId": DEVICE,
        "sendWaitTimeoutMs": 60000,
        "rpc": {"commandName": "ping", "params": {}},
    }
    assert client.rpc("0000000c-0000-4000-8000-000000000001").downlink_message.rpc_rsp == {
        "returnCode": 0
    }
    assert client.rpc("0000000c-0000-4000-8000-000000000002") is None


def test_an_rpc_by_number(server, client, api):
    server.otherwise = api.ok(201, {"id": "0000000c-0000-4000-8000-000000000001"})
    client.send_rpc(DEVICE, 30000, {"challenge": "x"}, wait_ms=5)
    assert server.requests[0].json == {
        "deviceId": DEVICE,
        "sendWaitTimeoutMs": 5,
        "rpc": {"commandId": 30000, "params": {"challenge": "x"}},
    }


def test_times_travel_as_utc(server, client, api):
    client.rpcs(
        ORGANISATION,
        device_id=DEVICE,
        status="sent",
        start=datetime(2026, 1, 2, 13, tzinfo=timezone(timedelta(hours=10))),
    )
    assert server.requests[0].query == {
        "organisationId": ORGANISATION,
        "deviceId": DEVICE,
        "status": "sent",
        "startTime": "2026-01-02T03:00:00.000Z",
        "limit": "100",
        "offset": "0",
    }


@pytest.mark.parametrize("answer", [{"token": "short"}, {"accessToken": "short"}])
@pytest.mark.parametrize("end", [{"expiresAt": "2026-01-02T03:04:05Z"}, {"expiresIn": 900}, {}])
def test_an_iam_key_is_exchanged_without_the_admin_credential(server, client, api, answer, end):
    server.otherwise = api.ok(200, {**answer, **end})
    token = client.exchange_key(Secret("ik_one.two"))
    assert token.token == "short"
    assert (token.expires_at is None) == (not end)
    sent = server.requests[0]
    assert (sent.call, sent.json) == ("POST /iam/auth/token", {"apiKey": "ik_one.two"})
    assert "authorization" not in sent.headers


def test_a_refused_iam_key_is_not_shown(server, client, api):
    server.otherwise = api.ok(401, {"code": 401, "message": "key ik_one.two is revoked"})
    with pytest.raises(CredentialError, match=r"key \*\*\* is revoked") as caught:
        client.exchange_key(Secret("ik_one.two"))
    assert caught.value.code == "credential.revoked"


def _effects(client, registry):
    return {
        "network": lambda: client.create_network(ORGANISATION, "N", key=Secret(KEY), network_id=1),
        "rpc": lambda: client.send_rpc(DEVICE, "ping", {}),
        "replace": lambda: client.replace_device_metadata(
            "0000000d-0000-4000-8000-000000000001", {"a": "b"}
        ),
        "registry device": lambda: registry.create_device("n", {}),
        "component": lambda: registry.create_component("r-1", "c"),
        "component gone": lambda: registry.delete_component("c-1"),
        "group": lambda: registry.create_group("g", ["a"]),
        "group gone": lambda: registry.delete_group("g-1"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "network",
        "rpc",
        "replace",
        "registry device",
        "component",
        "component gone",
        "group",
        "group gone",
    ],
)
@pytest.mark.parametrize("how", ["dropped", "500"])
def test_an_effect_whose_answer_is_lost_is_sent_once(server, client, registry, api, name, how):
    server.otherwise = (
        api.drop() if how == "dropped" else api.ok(500, {"code": 500, "message": "fault"})
    )
    with pytest.raises(CloudError) as caught:
        _effects(client, registry)[name]()
    assert caught.value.unknown
    assert len(server.requests) == 1


def test_what_leaves_nothing_behind_is_asked_again(server, client, api):
    server.script = [
        api.drop(),
        api.ok(200, {"token": "t", "expiresAt": "2026-01-02T03:04:05Z"}),
    ] * 2 + [api.drop(), api.ok(200, [])]
    assert client.mqtt_token(ORGANISATION, 60).token == "t"
    assert client.exchange_key(Secret("ik_a.b")).token == "t"
    assert client.last_routes([DEVICE]) == ()
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"token": "t"}, ("POST /mqtt/token", "expiresAt")),
        ({"token": "t", "expiresAt": "2026-01-02T03:04:05"}, ("POST /mqtt/token", "timezone")),
        ([], ("POST /mqtt/token",)),
    ],
)
def test_what_an_answer_lacks_is_named(server, client, api, body, words):
    server.otherwise = api.ok(200, body)
    with pytest.raises(CloudError) as caught:
        client.mqtt_token(ORGANISATION, 60)
    assert caught.value.code == "cloud.bad-answer"
    assert all(word in str(caught.value) for word in words)


def test_a_forbidden_rpc_says_credential(server, client, api):
    server.otherwise = api.ok(403, {"code": 403, "message": "no role for rpc"})
    with pytest.raises(CredentialError, match="no role for rpc"):
        client.send_rpc(DEVICE, "ping", {})


def test_a_registry_device_keeps_what_is_not_changed(server, registry, api):
    server.script = [api.ok(200, REGISTERED), api.ok(200, {**REGISTERED, "status": "MAINTENANCE"})]
    assert registry.change_device("r-1", {"status": "MAINTENANCE"}).status == "MAINTENANCE"
    assert server.calls() == ["GET /api/v1/devices/r-1", "PUT /api/v1/devices/r-1"]
    assert server.requests[1].json == {
        "name": "roof/1",
        "status": "MAINTENANCE",
        "tags": ["a"],
        "metadata": {"room": "7"},
        "siteId": "s-9",
        "somethingNew": 5,
    }


def test_a_put_may_answer_nothing(server, registry, api):
    server.script = [
        api.ok(200, {"id": "g-1", "name": "g", "tags": ["a"]}),
        api.ok(204),
        api.ok(200, {"id": "g-1", "name": "g", "tags": ["b"]}),
        api.ok(404),
    ]
    assert registry.change_group("g-1", {"tags": ["b"]}).tags == ("b",)
    assert registry.change_group("g-2", {"tags": ["b"]}) is None


def test_components_sensors_and_summary(server, registry, api):
    component = {
        "id": "c-1",
        "deviceId": "r-1",
        "name": "environment",
        "sensorProfileId": None,
        **STAMPS,
    }
    server.script = [
        api.ok(200, [component, {**component, "id": "c-2", "deviceId": "r-2"}]),
        api.ok(200, []),
        api.ok(
            200,
            {
                "items": [
                    {
                        "id": "x-1",
                        "name": "t",
                        "deviceId": "r-1",
                        "valueType": "number",
                        "tags": ["a"],
                    }
                ]
            },
        ),
        api.ok(200, {"items": []}),
        api.ok(
            200,
            {
                "total": 3,
                "byStatus": {
                    "PENDING": 1,
                    "ACTIVE": 2,
                    "INACTIVE": 0,
                    "MAINTENANCE": 0,
                    "OFFLINE": 0,
                },
            },
        ),
    ]
    assert [one.id for one in registry.components("r-1")] == ["c-1"]
    assert (
        registry.sensors(
            registry_device_id="r-1", group_id="g-1", value_type="number", tags=("a", "b")
        )[0].value_type
        == "number"
    )
    assert server.requests[2].query == {
        "deviceId": "r-1",
        "groupId": "g-1",
        "valueType": "number",
        "tags": "a,b",
        "limit": "100",
        "offset": "0",
    }
    assert registry.summary().by_status["ACTIVE"] == 2


def test_health(server, registry, api):
    record = {
        "timestamp": "2026-01-02T03:04:05Z",
        "uptime": 60,
        "freeHeap": 65536,
        "signalStrength": -95,
        "connectionType": "LTE-M",
        "readingsSent": 10,
        "readingsDropped": 1,
    }
    server.script = [
        api.ok(200, [record]),
        api.ok(200, []),
        api.ok(200, record),
        api.ok(404),
        api.ok(200, []),
        api.ok(200, {"records": 1}),
    ]
    assert registry.health_history("r-1")[0].recorded_at == datetime(
        2026, 1, 2, 3, 4, 5, tzinfo=UTC
    )
    assert registry.health_latest("r-1").readings_dropped == 1
    assert registry.health_latest("r-1") is None
    registry.health_window(
        "r-1", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    )
    assert (server.requests[4].query["from"], server.requests[4].query["to"]) == (
        "2026-01-01T00:00:00.000Z",
        "2026-01-02T00:00:00.000Z",
    )
    assert registry.health_summary("r-1") == {"records": 1}


@pytest.mark.parametrize("count", [0, 100, 250])
def test_devices_are_read_to_the_end(server, client, api, count):
    rows = [{**api.device, "id": f"0000000d-0000-4000-8000-{n:012d}"} for n in range(count)]

    def act(sock, request):
        offset, limit = int(request.query["offset"]), int(request.query["limit"])
        return api.ok(200, rows[offset : offset + limit])(sock, request)

    server.otherwise = act
    assert len(client.devices(ORGANISATION, "0000000b-0000-4000-8000-000000000001")) == count
    assert server.requests[0].query["boardIds"] == "0000000b-0000-4000-8000-000000000001"
