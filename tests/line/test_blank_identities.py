"""What an erased, locked or unprogrammed chip gives is no identity, wherever it comes from."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from infuse_cli.errors import PolicyError
from infuse_cli.identities import IdentityKind, blank_reason, refuse_blank
from tests.foreign.board import Board, Modem
from tests.line.trouble import ended, passes, well_said

UUID, IMEI = IdentityKind.UUID, IdentityKind.IMEI
MCU_ID, DEVICE_ID = IdentityKind.MCU_ID, IdentityKind.DEVICE_ID


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (UUID, "00000000-0000-0000-0000-000000000000"),
        (UUID, "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"),
        (UUID, "deaddead-dead-dead-dead-deaddeaddead"),
        (IMEI, "000000000000000"),
        (IMEI, "004999010640000"),
        (IMEI, "004999010640008"),
        (IMEI, "999999999999999"),
        (MCU_ID, "0000000000000000"),
        (MCU_ID, "FFFFFFFFFFFFFFFF"),
        (MCU_ID, "deaddeaddeaddead"),
        (MCU_ID, "addeaddeaddeadde"),
        (MCU_ID, "0123456789abcdef".replace("89abcdef", "deaddead")),
        (MCU_ID, "ffffffff01234567"),
        (MCU_ID, "0004999010640000"),
        (DEVICE_ID, "ffffffffffffffff"),
        (DEVICE_ID, "0000000000000000"),
    ],
)
def test_a_blank_is_refused_with_its_value_and_its_source(kind, value):
    with pytest.raises(PolicyError, match=f"{kind.value} {value} of the test is") as caught:
        refuse_blank(kind, value, "the test")
    assert caught.value.code == "identity.blank"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (UUID, "50503041-3633-4261-803d-1e2b8f70111a"),
        (IMEI, "352656100367872"),
        (MCU_ID, "0352656100367872"),
        (MCU_ID, "0011223344556677"),
        (MCU_ID, "1deaddead0000001"),  # not on a word's border
        (DEVICE_ID, "0000000000000001"),
    ],
)
def test_what_may_be_an_identity_passes(kind, value):
    assert blank_reason(kind, value) is None


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(1) as made:
        yield made


@pytest.mark.parametrize(
    "modem",
    [
        pytest.param({"imei": "000000000000000"}, id="imei"),
        pytest.param({"imei": "004999010640000"}, id="test-imei"),
        pytest.param({"uuid": "00000000-0000-0000-0000-000000000000"}, id="uuid-zeros"),
        pytest.param({"uuid": "ffffffff-ffff-ffff-ffff-ffffffffffff"}, id="uuid-erased"),
    ],
)
def test_a_blank_board_fails_before_anything_is_asked_for_it(bench, tmp_path, modem):
    board = Board(tmp_path, Modem(**modem))
    before = len(bench.world.state()["devices"])
    try:
        ran = bench.provision(str(board.path))
    finally:
        board.close()
    result = ended(ran)
    assert (result["result"], result["failedStep"]) == ("FAIL", "identify")
    assert well_said(result["error"])["code"] == "identity.blank"
    assert ran.code == 8
    assert len(bench.world.state()["devices"]) == before


def test_a_good_board_passes_beside_them(bench):
    passes(bench, 1)


def device_ids(bench):
    """Of all cloud devices; what else there is of them changes while boards send."""
    return sorted(device["id"] for device in bench.world.state()["devices"])


def test_a_batch_names_each_blank_row_and_registers_none(bench, tmp_path):
    profile = tmp_path / "batch.yaml"
    profile.write_text(
        f"extends: {bench.profile}\nname: batch\nboard: {{mcu_id: {{from: scan}}}}\n"
    )
    rows = [
        "0000000000000000,",
        "ffffffffffffffff,",
        "deaddeaddeaddead,",
        "0011223344556677,ffffffffffffffff",
        "0011223344556688,0000000000000000",
    ]
    file = tmp_path / "devices.csv"
    file.write_text("mcuId,deviceId\n" + "\n".join(rows) + "\n")
    before = device_ids(bench)
    ran = bench.infuse(
        "batch", "register", str(file), "--profile", str(profile), "--output", "json"
    )
    assert ran.code not in {0, 1}, ran.stdout + ran.stderr
    assert device_ids(bench) == before
    message = ran.envelope["errors"][0]["message"]
    assert all(why in message for why in ("all zeros", "all FF", "0xDEADDEAD")), message


def test_a_certificate_is_not_signed_for_an_empty_device_id(bench, tmp_path):
    request = tmp_path / "device.csr"
    request.write_bytes(
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    ran = bench.infuse(
        *("ca", "sign", str(request), "--device-id", "F" * 16),
        *("--out", str(tmp_path / "leaf.pem"), "--output", "json"),
    )
    assert ran.code == 8, ran.stdout + ran.stderr
    assert ran.envelope["errors"][0]["code"] == "identity.blank"
