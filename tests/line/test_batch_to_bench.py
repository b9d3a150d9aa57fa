"""A batch on one machine, its boards on another: the token that was minted is the one that the
board gets.
"""

from __future__ import annotations

import csv
import io

import pytest

from infuse_cli.types import IdentityMode
from tests.support.world import Bench, audit

MINT = "POST /api/v1/devices/registration/tokens"


def passphrase(folder):
    path = folder / "hand-over.pass"
    path.touch(0o600)
    path.write_text("correct horse battery staple\n")
    return str(path)


def lot_of(bench, folder, *slots):
    """A file with the boards of these slots."""
    boards = {one["slot"]: f"0{one['imei']}" for one in bench.world.state()["slots"]}
    path = folder / "lot.csv"
    path.write_text("mcuId,name\n" + "".join(f"{boards[slot]},pump-{slot}\n" for slot in slots))
    return str(path)


def data(ran, code=0):
    assert ran.code == code, ran.stdout + ran.stderr
    return ran.envelope["data"]


@pytest.fixture
def other(bench, tmp_path):
    """A CI job's home at the same world."""
    return Bench(bench.world, tmp_path / "job", bench.zygote, bench.profile)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(IdentityMode.CLOUD_CA, id="cloud-ca"),
        pytest.param(IdentityMode.LOCAL_CA, id="local-ca", marks=pytest.mark.storm),
    ],
)
def bench(make_bench, request):
    with make_bench(6, request.param) as made:
        yield made


def test_a_board_gets_the_token_that_its_batch_minted(bench, other, tmp_path):
    slot, word = bench.slot(), ("--profile", bench.profile, "--output", "json")
    lot, key, file = (
        lot_of(bench, tmp_path, slot),
        passphrase(tmp_path),
        str(tmp_path / "lot.hand-over"),
    )
    before = len(bench.world.state()["tokens"])
    assert data(other.infuse("batch", "register", lot, *word))["totals"]["created"] == 1
    assert (
        data(
            other.infuse(
                "batch", "export", lot, "--for-bench", file, "--passphrase-file", key, *word
            )
        )["tokens"]
        == 1
    )
    assert (
        data(bench.infuse("journal", "import", file, "--passphrase-file", key, *word))["tokens"]
        == 1
    )

    (board,) = data(bench.provision(bench.world.port(slot)))["boards"]
    assert board["result"] == "PASS"
    state = bench.world.state()
    assert len(state["tokens"]) == before + 1, "no second mint"
    (device,) = [one for one in state["registryDevices"] if one["name"] == f"pump-{slot}"]
    assert board["registryDeviceId"] == device["id"]
    assert audit(bench.world) == []


def test_a_token_that_was_handed_over_is_not_used_here(bench, other, tmp_path):
    slot, word = bench.slot(), ("--profile", bench.profile, "--output", "json")
    lot, key, file = (
        lot_of(bench, tmp_path, slot),
        passphrase(tmp_path),
        str(tmp_path / "lot.hand-over"),
    )
    data(other.infuse("batch", "register", lot, *word))
    data(other.infuse("batch", "export", lot, "--for-bench", file, "--passphrase-file", key, *word))
    tokens = bench.world.state()["tokens"]
    ran = other.provision(bench.world.port(slot))
    (board,) = data(ran, code=8)["boards"]
    assert (board["result"], board["failedStep"], board["error"]["code"]) == (
        "ERROR",
        "token",
        "batch.handed-over",
    )
    assert bench.world.state()["tokens"] == tokens
    assert data(other.infuse("batch", "register", lot, *word))["totals"]["existed"] == 1
    ledger = data(other.infuse("registry", "token", "ledger", "--settle", *word))
    assert (ledger["states"]["handed-over"], ledger["disagreeing"]) == (
        1,
        [],
    ), "the other bench's token is nothing to settle"
    assert bench.world.state()["tokens"] == tokens


@pytest.mark.storm
def test_a_hand_over_that_was_a_mistake_is_taken_back(bench, other, tmp_path):
    """Its file is of no use any more, and the next registration mints another token, with which the
    board PASSes here.
    """
    slot, word = bench.slot(), ("--profile", bench.profile, "--output", "json")
    lot, key, file = (
        lot_of(bench, tmp_path, slot),
        passphrase(tmp_path),
        str(tmp_path / "lot.hand-over"),
    )
    data(other.infuse("batch", "register", lot, *word))
    back = ("batch", "export", lot, "--take-back")
    assert other.infuse(*back, "--yes", *word).envelope["errors"][0]["code"] == "batch.nothing"
    data(other.infuse("batch", "export", lot, "--for-bench", file, "--passphrase-file", key, *word))
    assert other.infuse(*back, *word).envelope["errors"][0]["code"] == "usage.no-terminal"
    told = data(other.infuse(*back, "--yes", *word))
    assert (told["takenBack"], [row["state"] for row in told["tokens"]]) == (1, ["revoked"])
    assert (
        data(bench.infuse("journal", "import", file, "--passphrase-file", key, *word))["tokens"]
        == 1
    ), "the file opens, and that is all"
    assert data(other.infuse("batch", "register", lot, *word))["totals"]["existed"] == 1
    (board,) = data(other.provision(bench.world.port(slot)))["boards"]
    assert board["result"] == "PASS"
    ledger = data(other.infuse("registry", "token", "ledger", *word))
    assert (
        ledger["states"]["handed-over"],
        [row for row in ledger["disagreeing"] if row["trouble"]],
    ) == (0, [])
    assert audit(bench.world) == []


def test_onboarding_rows_are_made_of_issued_certificates(bench, tmp_path):
    slot = bench.slot()
    (board,) = data(bench.provision(bench.world.port(slot)))["boards"]
    lot = tmp_path / "lot.csv"
    lot.write_text(f"mcuId,tags\n{board['board']['mcuId']},eu|line-1\n00000000000000aa,\n")
    ran = bench.infuse(
        "batch",
        "export",
        str(lot),
        "--format",
        "onboard",
        "--fw-types",
        "APP|MODEM",
        "--output",
        "json",
    )
    told = data(ran, code=11)
    (row,) = csv.reader(io.StringIO(told["csv"]))
    # The name in the certificate is what nRF Cloud knows a device by: that of the CA which made it.
    assert row[0] in {board["deviceId"], board["registryDeviceId"]}
    assert row[1:4] == ["", "eu|line-1", "APP|MODEM"]
    assert row[4].startswith("-----BEGIN CERTIFICATE-----\n")
    assert told["refused"] == [
        {"mcuId": "00000000000000aa", "line": 3, "why": "no certificate of it is on record here"}
    ]
