"""What a cloud answers is held against its form and against what was asked, where it comes in."""

import pytest

from infuse_cli.errors import CloudError
from infuse_cli.types import Secret

ORGANISATION = "0000000a-0000-4000-8000-000000000001"
BOARD = "0000000b-0000-4000-8000-000000000001"
MCU_ID = "0011223344556677"
OTHER_UUID = "0000000d-0000-4000-8000-000000000009"
ESCAPE = "\x1b[31mred"


@pytest.fixture
def server(routed):
    return routed


def create(client, **wanted):
    return client.create_device(
        mcu_id=MCU_ID, board_id=BOARD, organisation_id=ORGANISATION, **wanted
    )


ODD_DEVICES = [
    ("deviceId", "d291d4d66bf0a95"),
    ("deviceId", "d291d4d66bf0a9550"),
    ("deviceId", "d291d4d66bf0a955\n"),
    ("deviceId", "d291d4d66bf0a9\x1b["),
    ("deviceId", ""),
    ("deviceId", 15134217728),
    ("deviceId", None),
    ("id", "not-a-uuid"),
    ("id", ESCAPE),
    ("id", "0000000d-0000-4000-8000-000000000001\n"),
    ("boardId", "../../etc"),
    ("organisationId", "7"),
    ("mcuId", "0011223344556677\x00"),
    ("mcuId", "chip"),
]


@pytest.mark.parametrize(("member", "odd"), ODD_DEVICES)
def test_a_device_of_another_form_is_a_bad_answer(server, client, api, member, odd):
    device = {**api.device, member: odd}
    server.script = [api.ok(201, device), api.ok(200, device), api.ok(200, [device])]
    with pytest.raises(CloudError, match=member) as caught:
        create(client)
    assert (caught.value.code, caught.value.unknown) == ("cloud.bad-answer", True)
    for look_up in (
        lambda: client.device_by_mcu_id("nRF9151", MCU_ID),
        lambda: client.devices(ORGANISATION),
    ):
        with pytest.raises(CloudError, match=member) as caught:
            look_up()
        assert (caught.value.code, caught.value.unknown) == ("cloud.bad-answer", False)
        assert caught.value.message.isprintable()
    assert server.calls()[0] == "POST /device"
    assert server.calls().count("POST /device") == 1


def test_another_chips_device_is_never_taken(server, client, api):
    server.otherwise = api.ok(200, {**api.device, "mcuId": "ffeeddccbbaa9988"})
    with pytest.raises(CloudError, match="another Device: mcuId is 'ffeeddccbbaa9988'") as caught:
        client.device_by_mcu_id("nRF9151", MCU_ID)
    assert (caught.value.code, int(caught.value.exit)) == ("cloud.bad-answer", 6)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("mcuId", "ffeeddccbbaa9988"),
        ("boardId", OTHER_UUID),
        ("organisationId", OTHER_UUID),
        ("deviceId", "ffeeddccbbaa9988"),
    ],
)
def test_a_create_that_answers_with_another_device_is_unknown(server, client, api, member, value):
    server.otherwise = api.ok(201, {**api.device, member: value})
    with pytest.raises(CloudError, match=f"another Device: {member}") as caught:
        create(client, device_id=api.device["deviceId"])
    assert (caught.value.code, caught.value.unknown) == ("cloud.bad-answer", True)


def test_a_device_id_that_was_not_asked_for_is_the_clouds_choice(server, client, api):
    server.otherwise = api.ok(201, {**api.device, "deviceId": "ffeeddccbbaa9988"})
    assert create(client).device_id == "ffeeddccbbaa9988"


def test_ids_are_the_same_in_upper_case(server, client, api):
    server.otherwise = api.ok(200, api.device)
    assert client.device(api.device["id"].upper()).id == api.device["id"]
    assert client.device_by_device_id(api.device["deviceId"].upper()).id == api.device["id"]


def test_capitals_of_a_server_are_read_in_lower_case(server, client, api):
    server.otherwise = api.ok(
        201, {**api.device, "mcuId": "AABBCCDDEEFF0011", "deviceId": "F" * 16}
    )
    made = client.create_device(
        mcu_id="aabbccddeeff0011", board_id=BOARD, organisation_id=ORGANISATION
    )
    assert (made.mcu_id, made.device_id) == ("aabbccddeeff0011", "f" * 16)


def test_each_look_up_is_held_against_what_was_asked(server, client, registry, api):
    named = {"id": OTHER_UUID, "name": "Another"}
    board = {**named, "soc": "nRF9151", "organisationId": ORGANISATION}
    device = {**api.device, "id": OTHER_UUID, "deviceId": "ffeeddccbbaa9988"}
    registered = {**named, "status": "ACTIVE"}
    for body, look_up in (
        (named, lambda: client.organisation(id=ORGANISATION)),
        (named, lambda: client.organisation(name="Acme")),
        (named, lambda: client.create_organisation("Acme")),
        (board, lambda: client.board(BOARD)),
        (board, lambda: client.create_board(ORGANISATION, "Sensor", soc="nRF9151")),
        (device, lambda: client.device(BOARD)),
        (device, lambda: client.device_by_device_id("d291d4d66bf0a955")),
        (device, lambda: client.patch_device_metadata(BOARD, {"site": "Brisbane"})),
        ({"id": OTHER_UUID}, lambda: client.rpc(BOARD)),
        (registered, lambda: registry.device("r-1")),
        (registered, lambda: registry.create_device("Sensor", {})),
        (api.minted, lambda: registry.mint_token(name="Sensor", metadata={})),
    ):
        server.otherwise = api.ok(200, body)
        with pytest.raises(CloudError, match="answered with another") as caught:
            look_up()
        assert caught.value.code == "cloud.bad-answer"


@pytest.mark.parametrize("odd", [ESCAPE, "", "two words", "line\n", "\u202eevil", "x" * 201])
@pytest.mark.parametrize("member", ["id", "deviceId"])
def test_an_id_of_the_registry_is_one_printable_word(server, registry, api, member, odd):
    server.otherwise = api.ok(201, {**api.minted, member: odd})
    with pytest.raises(CloudError, match=member) as caught:
        registry.mint_token(name="board", metadata={})
    assert (caught.value.code, caught.value.unknown) == ("cloud.bad-answer", True)
    assert caught.value.message.isprintable()
    assert api.minted["token"] not in caught.value.message


def test_a_status_has_no_control_characters(server, registry, api):
    server.otherwise = api.ok(200, {"id": "r-1", "name": "x", "status": f"ACTIVE{ESCAPE}"})
    with pytest.raises(CloudError, match="status") as caught:
        registry.device("r-1")
    assert caught.value.code == "cloud.bad-answer"


def test_the_device_of_a_certificate_is_a_printable_word(server, registry, api):
    body = {"deviceId": ESCAPE, "certificate": "", "caChain": []}
    server.otherwise = api.ok(200, body)
    with pytest.raises(CloudError, match="deviceId") as caught:
        registry.provision(Secret("one-time-9"), "csr")
    assert caught.value.unknown
