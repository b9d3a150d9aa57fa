"""What the two clients send and understand, by the interface pages."""

import threading

import pytest

from infuse_cli.api_types import MetadataField
from infuse_cli.errors import CloudError
from infuse_cli.types import Secret

PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


@pytest.fixture
def server(routed):
    return routed


def test_create_device_sends_what_is_given_and_nothing_else(server, client, api):
    server.otherwise = api.ok(201, api.device)
    made = client.create_device(
        mcu_id="0011223344556677",
        board_id="0000000b-0000-4000-8000-000000000001",
        organisation_id="0000000a-0000-4000-8000-000000000001",
        metadata={"serialNumber": "SN-00001"},
    )
    assert made.metadata == {"serialNumber": "SN-00001"}
    sent = server.requests[0]
    assert sent.json == {
        "mcuId": "0011223344556677",
        "boardId": "0000000b-0000-4000-8000-000000000001",
        "organisationId": "0000000a-0000-4000-8000-000000000001",
        "metadata": {"serialNumber": "SN-00001"},
    }
    assert sent.headers["authorization"] == "Bearer legacy-admin-token-7731"
    assert sent.headers["user-agent"].startswith("infuse/")


def test_a_taken_device_carries_its_status(server, client, api):
    server.otherwise = api.ok(409, {"code": 409, "message": "mcuId exists"})
    with pytest.raises(CloudError, match="mcuId exists") as caught:
        client.create_device(
            mcu_id="00",
            board_id="0000000b-0000-4000-8000-000000000001",
            organisation_id="0000000a-0000-4000-8000-000000000001",
        )
    assert (caught.value.code, caught.value.status, caught.value.unknown) == (
        "cloud.refused",
        409,
        False,
    )
    assert caught.value.call == "POST /device"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Example Provider", "/organisation/name/Example%20Provider"),
        ("A/B?c#d", "/organisation/name/A%2FB%3Fc%23d"),
        ("..", "/organisation/name/%2E%2E"),
        ("Zürich", "/organisation/name/Z%C3%BCrich"),
        ("100%", "/organisation/name/100%25"),
    ],
)
def test_names_are_escaped_in_paths(server, client, api, name, path):
    server.otherwise = api.ok(200, {"id": "0000000a-0000-4000-8000-000000000001", "name": name})
    assert client.organisation(name=name).name == name
    assert server.requests[0].target == path


def test_a_name_that_the_server_does_not_find_by_its_path_is_looked_up_in_the_list(
    server, client, api
):
    nowhere = api.ok(404, {"code": 404, "message": "no such path"})
    server.script = [
        nowhere,
        api.ok(
            200,
            [
                {"id": "0000000a-0000-4000-8000-000000000001", "name": "A"},
                {"id": "0000000a-0000-4000-8000-000000000002", "name": "A/B"},
            ],
        ),
    ]
    assert client.organisation(name="A/B").id == "0000000a-0000-4000-8000-000000000002"
    server.script, server.otherwise = [], nowhere
    assert client.organisation(name="Acme Inc. 2") is None, (
        "a plain name is not there, and that is all"
    )


def test_an_empty_name_never_turns_into_another_call(server, client):
    with pytest.raises(CloudError):
        client.device("")
    assert server.requests == []


def test_an_unknown_thing_is_none(server, client, registry, api):
    server.otherwise = api.ok(404, {"code": 404, "message": "not found"})
    assert client.organisation(id="0000000a-0000-4000-8000-000000000009") is None
    assert client.board("0000000b-0000-4000-8000-000000000009") is None
    assert client.device_by_mcu_id("nRF9151", "0011223344556677") is None
    assert client.device_state("d291d4d66bf0a955") is None
    assert registry.device("r-9") is None
    server.otherwise = api.ok(404)
    assert client.device("0000000d-0000-4000-8000-000000000009") is None


def test_the_only_organisation_is_found_and_several_are_named(server, client, api):
    server.script = [
        api.ok(200, [{"id": "0000000a-0000-4000-8000-000000000001", "name": "One"}]),
        api.ok(200, []),
    ]
    assert client.organisation().id == "0000000a-0000-4000-8000-000000000001"
    assert client.organisation() is None
    server.script = [
        api.ok(
            200,
            [
                {"id": "0000000a-0000-4000-8000-000000000001", "name": "One"},
                {"id": "0000000a-0000-4000-8000-000000000002", "name": "Two"},
            ],
        )
    ]
    with pytest.raises(
        CloudError,
        match=r"'One' \(0000000a-.*1\), 'Two' \(0000000a-.*2\)",
    ) as caught:
        client.organisation()
    assert caught.value.code == "cloud.ambiguous"


def _paged(items, api, *, honest=True, shape=list, most=100):
    def act(sock, request):
        offset, limit = int(request.query["offset"]), min(most, int(request.query["limit"]))
        page = items[offset : offset + limit] if honest else items
        return api.ok(200, {"items": page} if shape is dict else page)(sock, request)

    return act


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
@pytest.mark.parametrize("shape", [list, dict])
def test_lists_are_read_to_the_end(server, client, api, count, shape):
    items = [
        {
            "id": f"0000000b-0000-4000-8000-{n:012d}",
            "name": "x",
            "soc": "nRF9151",
            "organisationId": "0000000a-0000-4000-8000-000000000001",
        }
        for n in range(count)
    ]
    server.otherwise = _paged(items, api, shape=shape)
    assert [board.id for board in client.boards("0000000a-0000-4000-8000-000000000001")] == [
        item["id"] for item in items
    ]
    assert len(server.requests) == -(-count // 100) + 1


@pytest.mark.parametrize("most", [1, 37, 50, 99])
@pytest.mark.parametrize("shape", [list, dict])
def test_a_server_that_gives_fewer_than_asked_is_read_to_the_end_too(
    server, client, api, most, shape
):
    items = [
        {**api.device, "id": f"0000000d-0000-4000-8000-{n:012d}"}
        for n in range(250 if most > 1 else 25)
    ]
    server.otherwise = _paged(items, api, shape=shape, most=most)
    assert [device.id for device in client.devices("0000000a-0000-4000-8000-000000000001")] == [
        item["id"] for item in items
    ]


def test_a_server_that_ignores_the_offset_does_not_loop(server, client, api):
    items = [{"id": f"0000000e-0000-4000-8000-{n:012d}", "name": "x"} for n in range(130)]
    server.otherwise = _paged(items, api, honest=False)
    assert len(client.networks("0000000a-0000-4000-8000-000000000001")) == 130
    assert len(server.requests) == 2


def test_metadata_matches_are_checked_again_here(server, client, api):
    other = {
        **api.device,
        "id": "0000000d-0000-4000-8000-000000000002",
        "metadata": {"serialNumber": "SN-000011"},
    }
    elsewhere = {
        **api.device,
        "id": "0000000d-0000-4000-8000-000000000003",
        "boardId": "0000000b-0000-4000-8000-000000000002",
    }
    server.otherwise = api.ok(200, [api.device, other, elsewhere])
    assert [
        one.id
        for one in client.devices_with_metadata(
            "0000000a-0000-4000-8000-000000000001",
            "0000000b-0000-4000-8000-000000000001",
            "serialNumber",
            "SN-00001",
        )
    ] == ["0000000d-0000-4000-8000-000000000001"]
    assert server.requests[0].query == {
        "organisationId": "0000000a-0000-4000-8000-000000000001",
        "boardIds": "0000000b-0000-4000-8000-000000000001",
        "metadataName": "serialNumber",
        "metadataValue": "SN-00001",
        "limit": "100",
        "offset": "0",
    }


def test_create_board_and_organisation(server, client, api):
    server.script = [
        api.ok(
            201,
            {
                "id": "0000000b-0000-4000-8000-000000000001",
                "name": "N",
                "soc": "nRF9151",
                "organisationId": "0000000a-0000-4000-8000-000000000001",
                "metadataFields": [{"name": "serialNumber", "required": True, "unique": True}],
            },
        ),
        api.ok(201, {"id": "0000000a-0000-4000-8000-000000000001", "name": "N"}),
    ]
    board = client.create_board(
        "0000000a-0000-4000-8000-000000000001",
        "N",
        soc="nRF9151",
        metadata_fields=[MetadataField(name="serialNumber", required=True, unique=True)],
    )
    assert board.metadata_fields[0].unique
    assert client.create_organisation("N").id == "0000000a-0000-4000-8000-000000000001"
    assert server.requests[0].json == {
        "organisationId": "0000000a-0000-4000-8000-000000000001",
        "name": "N",
        "description": "",
        "soc": "nRF9151",
        "metadataFields": [{"name": "serialNumber", "required": True, "unique": True}],
    }


def test_patching_metadata_takes_any_success_but_checks_it(server, client, api):
    patched = {**api.device, "metadata": {"site": "Brisbane"}}
    server.script = [api.ok(200, patched)]
    assert client.patch_device_metadata(
        "0000000d-0000-4000-8000-000000000001", {"site": "Brisbane"}
    ).metadata == {"site": "Brisbane"}
    assert server.requests[0].json == {
        "metadata": {"operation": "patch", "value": {"site": "Brisbane"}}
    }
    server.script = [api.ok(204), api.ok(200, patched)]
    assert (
        client.patch_device_metadata(
            "0000000d-0000-4000-8000-000000000001", {"site": "Brisbane"}
        ).id
        == "0000000d-0000-4000-8000-000000000001"
    )
    server.script = [api.ok(204), api.ok(200, api.device)]
    with pytest.raises(CloudError) as caught:
        client.patch_device_metadata("0000000d-0000-4000-8000-000000000001", {"site": "Brisbane"})
    assert caught.value.unknown


def test_keys(server, client, api):
    server.otherwise = api.ok(200, {"key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="})
    assert client.cloud_public_key() == bytes(range(32))
    assert client.shared_secret(bytes(32)).reveal().startswith("AAEC")
    assert server.requests[1].json == {"key": "A" * 43 + "="}
    server.otherwise = api.ok(200, {"key": "c2hvcnQ="})
    with pytest.raises(CloudError, match="32 bytes") as caught:
        client.derived_key("d291d4d66bf0a955", "udp")
    assert "c2hvcnQ" not in str(caught.value)


def test_mint_and_revoke(server, registry, api):
    server.script = [
        api.ok(201, api.minted),
        api.ok(204),
        api.ok(404),
        api.ok(409, {"code": 409, "message": "used"}),
    ]
    minted = registry.mint_token(
        name="board", metadata={"infuseIntent": "i-1"}, tags=("line-1",), expires_in_s=3600
    )
    assert (minted.id, minted.device_id, minted.token) == ("t-1", "r-1", "one-time-9")
    assert server.requests[0].path == "/api/v1/devices/registration/tokens"
    assert server.requests[0].json == {
        "name": "board",
        "metadata": {"infuseIntent": "i-1"},
        "tags": ["line-1"],
        "expiresInSeconds": 3600,
    }
    assert [registry.revoke_token("t-1") for _ in range(3)] == [True, True, False]


def test_a_lost_mint_is_unknown_and_sent_once(server, registry, api):
    server.script = [api.drop()]
    with pytest.raises(CloudError) as caught:
        registry.mint_token(name="board", metadata={})
    assert caught.value.unknown
    assert len(server.requests) == 1


def test_registry_devices_by_name_and_id(server, registry, api):
    rows = [
        {"id": "r-1", "name": "board-1", "status": "PENDING"},
        {"deviceId": "r-2", "name": "board-2", "status": "ACTIVE", "tags": None},
    ]
    server.otherwise = api.ok(200, {"items": rows})
    assert registry.device_by_name("board-2").id == "r-2"
    assert registry.device_by_name("board") is None
    server.otherwise = api.ok(200, [*rows, {"id": "r-3", "name": "board-1", "status": "PENDING"}])
    with pytest.raises(CloudError, match="r-1, r-3"):
        registry.device_by_name("board-1")


def test_pending_tokens_and_delete(server, registry, api):
    server.script = [
        api.ok(200, [{"id": "t-1", "deviceId": "r-1", "name": "b"}]),
        api.ok(200, []),
        api.ok(204),
        api.ok(404),
    ]
    assert registry.pending_tokens()[0].device_id == "r-1"
    registry.delete_device("r-1")
    registry.delete_device("r-1")
    assert server.calls()[2] == "DELETE /api/v1/devices/r-1"


@pytest.mark.parametrize(
    "chain",
    [
        PEM.format("aW0=") + PEM.format("cm9vdA=="),
        [PEM.format("aW0="), PEM.format("cm9vdA==").replace("\n", "\r\n")],
    ],
)
def test_provision_shows_the_token_and_no_credential(server, registry, api, chain):
    server.otherwise = api.ok(
        200,
        {
            "deviceId": "r-1",
            "certificate": "# leaf\n" + PEM.format("bGVhZg==").strip(),
            "caChain": chain,
        },
    )
    done = registry.provision(Secret("one-time-9"), "CSR")
    assert done.certificate == PEM.format("bGVhZg==")
    assert done.ca_chain == (PEM.format("aW0="), PEM.format("cm9vdA=="))
    sent = server.requests[0]
    assert (sent.call, sent.json) == (
        "POST /api/v1/devices/provision",
        {"token": "one-time-9", "csr": "CSR"},
    )
    assert "authorization" not in sent.headers
    assert "x-api-key" not in sent.headers


def test_an_unknown_token_is_the_tokens_fault_and_never_shown(server, registry, api):
    server.otherwise = api.ok(401, {"code": 401, "message": "no such token one-time-9"})
    with pytest.raises(CloudError, match=r"no such token \*\*\*") as caught:
        registry.provision(Secret("one-time-9"), "CSR")
    assert (caught.value.code, caught.value.status) == ("cloud.refused", 401)


def test_a_certificate_that_is_none_is_unknown(server, registry, api):
    server.otherwise = api.ok(200, {"deviceId": "r-1", "certificate": "soon", "caChain": ""})
    with pytest.raises(CloudError, match="certificate") as caught:
        registry.provision(Secret("one-time-9"), "CSR")
    assert caught.value.unknown


def test_eight_threads_share_one_client(server, client, api):
    server.otherwise = api.ok(200, api.device)
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.extend(
                client.device("0000000d-0000-4000-8000-000000000001").id for _ in range(5)
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["0000000d-0000-4000-8000-000000000001"] * 40
