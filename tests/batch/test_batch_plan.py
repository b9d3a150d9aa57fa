"""`infuse batch plan`: what register would do, and not a byte written."""

from __future__ import annotations

import base64
import csv

import pytest

from infuse_cli.journal.rows import of_chip
from tests.batch.conftest import mcu_id


@pytest.fixture
def plan(job):
    def run(path, *more, code=0, env=None):
        ran = job.zygote.run(
            "batch", "plan", str(path), "--output", "json", *more, env={**job.env, **(env or {})}
        )
        assert (ran.code, ran.stderr) == (code, ""), ran.stdout + ran.stderr
        return ran.envelope

    return run


def effects(job):
    return sum(
        entry.count for call, entry in job.world.requests.items() if not call.startswith("GET ")
    )


def test_a_plan_says_what_register_does_and_writes_nothing(job, plan):
    first = job.file(4, named=True)
    envelope = plan(first)["data"]
    assert envelope["totals"] == {"create": 4, "existed": 0, "update": 0, "differs": 0, "bad": 0}
    assert (
        envelope["board"],
        envelope["organisation"]["name"],
        envelope["network"],
        envelope["soc"],
    ) == (
        {"id": None, "name": "Sensor"},
        "Example Provider",
        None,
        "nRF9151",
    )
    assert envelope["tokens"] == {"mint": 4, "existed": 0, "taken": 0}
    assert envelope["sealingKey"] == {"state": "would be made", "where": f"{job.home}.sealing"}
    assert effects(job) == 0
    assert not job.home.exists()

    job.done(first)
    sent, before = effects(job), sorted(job.home.rglob("*"))
    envelope = plan(job.file(6, named=True))["data"]
    assert envelope["totals"] == {"create": 2, "existed": 4, "update": 0, "differs": 0, "bad": 0}
    assert envelope["tokens"] == {"mint": 2, "existed": 4, "taken": 0}
    assert envelope["sealingKey"]["state"] == "there"
    assert (effects(job), sorted(job.home.rglob("*"))) == (sent, before)


def test_what_differs_is_named(job, plan):
    job.done(job.file(2))
    path = job.text(
        "mcuId,metadata.serialNumber,metadata.deploymentSite",
        f"{mcu_id(1)},SN-00001,Oslo",
        f"{mcu_id(2)},SN-00002,",
    )
    envelope = plan(path, code=11)
    (one,) = envelope["data"]["differs"]
    assert (one["line"], one["mcuId"], one["differences"]) == (
        2,
        mcu_id(1),
        [{"field": "metadata.deploymentSite", "have": "Brisbane", "want": "Oslo"}],
    )
    assert (envelope["status"], envelope["errors"][0]["code"]) == (
        "partial",
        "cloud.device-conflict",
    )
    assert plan(path, "--update")["data"]["totals"]["update"] == 1


def test_bad_lines_are_named_and_the_rest_is_planned_all_the_same(job, plan):
    path = job.text(
        "mcuId,metadata.serialNumber",
        f"{mcu_id(1)},SN-1",
        "3.5E+14,SN-2",
        f"{mcu_id(3)},",
        f"{mcu_id(4)},SN-1",
    )
    envelope = plan(path, code=2)
    assert [(bad["line"], bad["field"], bad["code"]) for bad in envelope["data"]["bad"]] == [
        (2, "metadata.serialNumber", "batch.duplicate"),
        (3, "mcuId", "batch.mcu-id"),
        (4, "metadata.serialNumber", "batch.metadata"),
        (5, "metadata.serialNumber", "batch.duplicate"),
    ]
    assert (envelope["status"], envelope["errors"][0]["code"]) == ("error", "batch.bad-rows")
    good = job.text("mcuId,metadata.serialNumber", f"{mcu_id(1)},SN-1", "3.5E+14,SN-2")
    assert plan(good, "--skip-bad", code=11)["data"]["totals"]["create"] == 1


def test_a_name_that_is_taken_is_found_before(job, plan):
    job.done(job.file(1, named=True))
    path = job.text("mcuId,metadata.serialNumber,name", f"{mcu_id(8)},SN-8,sensor-1")
    envelope = plan(path, code=8)
    assert (envelope["data"]["tokens"]["taken"], envelope["errors"][0]["code"]) == (
        1,
        "identity.registry-conflict",
    )
    assert "sensor-1" in envelope["data"]["taken"][0]["message"]


def test_rows_with_names_need_a_place_for_the_key(job, plan):
    path = job.file(1, named=True)
    envelope = plan(path, code=4, env={"INFUSE_SEALING_KEY_FILE": str(job.home / "inside.key")})
    assert (envelope["errors"][0]["code"], envelope["data"]["sealingKey"]["state"]) == (
        "credential.sealing-key",
        "missing",
    )


def test_files_that_are_no_batch_come_first(job, plan, tmp_path):
    assert plan(job.text("name", "x"), code=2)["errors"][0]["code"] == "batch.header"
    assert (
        plan(job.text("mcuId,metadata.serialNumber"), code=2)["errors"][0]["code"] == "batch.empty"
    )
    assert plan(tmp_path / "none.csv", code=2)["errors"][0]["code"] == "batch.unreadable"


def test_many_rows_cost_a_page_each_hundred(job, plan):
    path = job.folder / "many.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ("mcuId", "metadata.serialNumber"),
                *((mcu_id(number), f"SN-{number}") for number in range(1, 2001)),
            ]
        )
    job.done(job.file(3))
    sent = job.sent("GET /device")
    envelope = plan(path, code=11)["data"]["totals"]
    assert (envelope["create"], envelope["differs"]) == (1997, 3)
    assert job.sent("GET /device") - sent <= 2  # the second one is the end of the list


def test_people_read_a_page(job):
    job.done(job.file(1, named=True))
    path = job.text(
        "mcuId,metadata.serialNumber,name",
        f"{mcu_id(1)},SN-9,sensor-1",
        f"{mcu_id(2)},SN-2,sensor-2",
        "oops,SN-3,sensor-3",
    )
    ran = job.zygote.run("batch", "plan", str(path), env=job.env)
    assert ran.code == 2
    for words in (
        "1  would be created",
        "1  differ and would be left as they are",
        "1  bad lines",
        "registration tokens would be minted, sealed with the key from",
        f"line 2, mcuId {mcu_id(1)}: metadata.serialNumber is 'SN-00001', not 'SN-9'",
        "line 4, mcuId: 'oops' has 'o', which is no hex digit",
        "Nothing was written.",
    ):
        assert words in ran.stdout, ran.stdout


@pytest.mark.storm
def test_a_kill_before_a_hand_over_is_in_its_place_costs_an_again(job):
    key = base64.b64encode(bytes(range(32))).decode()
    path = job.text(
        "mcuId,metadata.serialNumber,name,publicKey", f"{mcu_id(1)},SN-1,sensor-1,{key}"
    )
    job.done(path)
    secret, file = job.folder / "pass", job.folder / "hand-over"
    secret.touch(0o600)
    secret.write_text("geheim\n")
    words = ("--for-bench", str(file), "--passphrase-file", str(secret), "--output", "json")
    assert (
        job.zygote.run(
            "batch", "export", str(path), *words, env=job.env, failpoint="done:hand-over"
        ).code
        == -9
    )
    assert not file.exists()
    assert (
        job.zygote.run("batch", "export", str(path), *words, env=job.env).envelope["errors"][0][
            "code"
        ]
        == "batch.handed-over"
    )
    assert (
        job.zygote.run("batch", "export", str(path), *words, "--again", env=job.env).envelope[
            "data"
        ]["tokens"]
        == 1
    )
    other = job.other()
    assert (
        job.zygote.run(
            "journal", "import", str(file), "--passphrase-file", str(secret), env=other.env
        ).code
        == 0
    )
    with other.journal() as journal:
        (row,) = of_chip(journal, mcu_id(1))
    assert row.facts["publicKey"] == key, "what the bench derives keys by came along"
