"""A batch registers boards before they exist; at the bench `provision` adopts its devices and uses
its tokens.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infuse_cli.journal.store import open_journal
from infuse_cli.types import IdentityMode, TokenState
from tests.line.test_kill_points import quick_grace
from tests.line.trouble import MINT, eventually, profile_with, requests
from tests.support.world import Bench, audit


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(6, IdentityMode.CLOUD_CA) as bench:
        bench.profile = quick_grace(bench)
        yield bench


def row_of(bench: Bench, slot: int) -> str:
    """The mcuId of a board, as its line in the file has it."""
    return "0" + next(row["imei"] for row in bench.world.state()["slots"] if row["slot"] == slot)


def register(
    bench: Bench, *lines: str, header: str = "mcuId,name", failpoint: str = "", code: int = 0
) -> dict:
    path = Path(f"{bench.home}-{lines[0][:16]}.csv")
    path.write_text("\n".join((header, *lines)) + "\n")
    ran = bench.infuse(
        "batch",
        "register",
        str(path),
        "--profile",
        bench.profile,
        "--output",
        "json",
        failpoint=failpoint,
    )
    assert ran.code == code, ran.stdout + ran.stderr
    return json.loads(ran.stdout)["data"] if ran.stdout else {}


def pending(bench: Bench) -> set[str]:
    """Names of the registry's pending tokens; looking is what makes the virtual registry notice
    that one ran out.
    """
    listed = bench.infuse(
        "registry", "token", "list", "--profile", bench.profile, "--output", "json"
    )
    return {token["name"] for token in listed.envelope["data"]["tokens"]}


def test_the_batch_token_is_used_and_its_device_adopted(bench):
    slot = bench.slot()
    mcu_id = row_of(bench, slot)
    register(bench, f"{mcu_id},meter-7,{mcu_id[1:]}", header="mcuId,name,metadata.serialNumber")
    minted, posted = requests(bench, MINT), requests(bench, "POST /device")
    ran = bench.provision(bench.world.port(slot))
    assert ran.code == 0, ran.stdout + ran.stderr
    (board,) = ran.envelope["data"]["boards"]
    assert (requests(bench, MINT), requests(bench, "POST /device")) == (minted, posted)
    state = bench.world.state()
    (registry,) = [device for device in state["registryDevices"] if device["name"] == "meter-7"]
    assert board["registryDeviceId"] == registry["id"]
    assert registry["metadata"]["deviceId"] == board["deviceId"]
    with open_journal(bench.home) as journal:
        (token,) = journal.tokens(name="meter-7")
        assert token.state is TokenState.CONSUMED
    assert audit(bench.world) == []


@pytest.mark.storm
def test_a_batch_token_that_ran_out_is_minted_anew_under_the_same_name(bench):
    slot = bench.slot()
    mcu_id = row_of(bench, slot)
    short = profile_with(
        bench, "short", lambda profile: profile["registry"].update({"token_ttl_s": 1})
    )
    kept, bench.profile = bench.profile, short
    register(bench, f"{mcu_id},meter-8,{mcu_id[1:]}", header="mcuId,name,metadata.serialNumber")
    bench.profile = kept
    eventually(lambda: "meter-8" not in pending(bench))
    ran = bench.provision(bench.world.port(slot))
    assert ran.code == 0, ran.stdout + ran.stderr
    assert [device["name"] for device in bench.world.state()["registryDevices"]].count(
        "meter-8"
    ) == 1
    assert audit(bench.world) == []


def test_a_batch_that_died_in_its_mint_leaves_the_board_to_the_bench(bench):
    slot = bench.slot()
    mcu_id = row_of(bench, slot)
    register(
        bench,
        f"{mcu_id},meter-9,{mcu_id[1:]}",
        header="mcuId,name,metadata.serialNumber",
        code=-9,
        failpoint="answered:POST /devices/registration/tokens",
    )
    ran = bench.provision(bench.world.port(slot))
    assert ran.code == 0, ran.stdout + ran.stderr
    assert [device["name"] for device in bench.world.state()["registryDevices"]].count(
        "meter-9"
    ) == 1
    assert audit(bench.world) == []


def test_what_a_person_would_scan_comes_from_the_registered_device(bench):
    slot = bench.slot()
    mcu_id = row_of(bench, slot)
    scanned = profile_with(
        bench,
        "scanned",
        lambda profile: profile.update(
            {"metadata": {"serialNumber": {"from": "scan", "pattern": "SN-.*"}}}
        ),
    )
    kept, bench.profile = bench.profile, scanned
    register(bench, f"{mcu_id},meter-10,SN-4711", header="mcuId,name,metadata.serialNumber")
    ran = bench.provision(bench.world.port(slot))
    bench.profile = kept
    assert ran.code == 0, ran.stdout + ran.stderr
    (device,) = [device for device in bench.world.state()["devices"] if device["mcuId"] == mcu_id]
    assert device["metadata"]["serialNumber"] == "SN-4711"
