"""`infuse batch register|status` as a CI job sees it: each row once, differences named, refusals
with their line.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from infuse_cli.sim import schemas
from infuse_cli.sim.store import Ask
from infuse_cli.types import TokenState
from tests.batch.conftest import MINT, Job, matches, mcu_id, report

TOTALS = {"created": 0, "existed": 0, "differs": 0, "refused": 0, "unknown": 0}


def totals(**counts: int) -> dict[str, int]:
    return {**TOTALS, **counts}


def test_rows_are_created_and_the_second_run_finds_them(job: Job) -> None:
    path = job.file(120)
    data = job.done(path)
    assert data["totals"] == totals(created=120)
    assert [int(row["line"]) for row in report(data)] == list(range(2, 122))
    matches(job, data)
    again = job.done(path)
    assert again["totals"] == totals(existed=120)
    assert job.sent("POST /device") == 120
    device = job.devices()[mcu_id(7)]
    assert device["metadata"] == {"serialNumber": "SN-00007", "deploymentSite": "Brisbane"}


def test_a_moved_line_is_the_same_row(job: Job) -> None:
    job.done(job.file(3))
    path = job.text(
        "metadata.serialNumber,mcuId",
        f"SN-00003,{mcu_id(3)}",
        f"SN-00009,{mcu_id(9)}",
        f"SN-00001,{mcu_id(1)}",
    )
    assert job.done(path)["totals"] == totals(created=1, existed=2)


def test_a_row_that_differs_is_left_alone_without_update(job: Job) -> None:
    job.done(job.file(2))
    path = job.text(
        "mcuId,metadata.serialNumber,metadata.site",
        f"{mcu_id(1)},SN-00001,Perth",
        f"{mcu_id(2)},SN-00099,Perth",
        f"{mcu_id(3)},SN-00003,Perth",
    )
    ran = job.register(path)
    assert ran.code == 11
    assert ran.envelope["status"] == "partial"
    assert ran.envelope["data"]["totals"] == totals(created=1, differs=2)
    rows = report(ran.envelope["data"])
    assert [(row["line"], row["outcome"], row["field"]) for row in rows] == [
        ("2", "differs", "metadata.site"),
        ("3", "differs", "metadata.serialNumber"),
        ("4", "created", ""),
    ]
    assert job.sent("PUT /device/id/{id}") == 0
    assert job.done(path, "--update")["totals"] == totals(existed=3)
    assert job.devices()[mcu_id(2)]["metadata"] == {
        "serialNumber": "SN-00099",
        "site": "Perth",
        "deploymentSite": "Brisbane",
    }
    assert job.done(path)["totals"] == totals(existed=3)


def test_a_device_of_another_board_is_never_touched(job: Job) -> None:
    job.done(job.file(1))
    state = job.world.cloud
    device = next(iter(state.devices.values()))
    with job.world.clock.lock:
        other = state.create_board(
            Ask(
                body=schemas.BoardRequest(
                    organisation_id=device.organisation_id,
                    name="Other",
                    description="",
                    soc="nRF9151",
                )
            )
        )
        device.board_id = other.id
    ran = job.register(job.file(1), "--update")
    assert ran.code == 8
    assert ran.envelope["data"]["totals"] == totals(differs=1)
    (error,) = ran.envelope["errors"]
    assert error["code"] == "cloud.wrong-owner"
    assert job.sent("POST /device") == 1
    assert job.sent("PUT /device/id/{id}") == 0


def test_what_the_cloud_refuses_is_named_with_line_field_and_its_words(job: Job) -> None:
    job.done(job.file(1))
    path = job.text(
        "mcuId,metadata.serialNumber",
        f"{mcu_id(2)},SN-00002",
        f"{mcu_id(3)},SN-00001",
        f"{mcu_id(4)},SN-00004",
    )
    ran = job.register(path)
    assert ran.code == 11
    assert ran.envelope["data"]["totals"] == totals(created=2, refused=1)
    (row,) = [row for row in report(ran.envelope["data"]) if row["outcome"] == "refused"]
    assert (row["line"], row["field"], row["code"]) == (
        "3",
        "metadata.serialNumber",
        "cloud.metadata-clash",
    )
    assert "serialNumber = SN-00001 is taken" in row["message"]
    (error,) = ran.envelope["errors"]
    assert error["message"].startswith(f"line 3, mcuId {mcu_id(3)}: ")


def test_a_bad_file_sends_nothing_unless_bad_lines_are_left_out(job: Job) -> None:
    path = job.text(
        "mcuId,metadata.serialNumber", f"{mcu_id(1)},SN-00001", "12345,SN-00002", f"{mcu_id(3)},"
    )
    ran = job.register(path)
    assert ran.code == 2
    (error,) = ran.envelope["errors"]
    assert error["code"] == "batch.bad-rows"
    assert "line 3" in error["message"]
    assert "line 4" in error["message"]
    assert job.sent("POST /device") == job.sent("POST /board") == 0
    assert not job.home.joinpath("reports").exists()
    ran = job.register(path, "--skip-bad")
    assert ran.code == 11
    assert ran.envelope["data"]["totals"] == totals(created=1)
    assert ran.envelope["data"]["skipped"] == 2
    assert [row["outcome"] for row in report(ran.envelope["data"])] == [
        "created",
        "skipped",
        "skipped",
    ]


def test_a_name_brings_a_token_that_is_sealed_and_minted_once(job: Job) -> None:
    path = job.file(5, named=True)
    data = job.done(path)
    matches(job, data)
    assert job.done(path)["totals"] == totals(existed=5)
    assert job.sent(MINT) == 5
    with job.journal() as journal:
        tokens = journal.tokens()
        assert {token.state for token in tokens} == {TokenState.MINTED}
        assert all(journal.secret(f"token:{token.intent}") for token in tokens)
        facts = json.dumps([event.facts for event in journal.events()])
    made = job.registry()["sensor-1"]
    assert (made["metadata"]["mcuId"], made["metadata"]["deviceId"]) == (
        mcu_id(1),
        job.devices()[mcu_id(1)]["deviceId"],
    )
    assert "drt_" not in facts + Path(data["report"]).read_text()


def test_without_a_sealing_key_nothing_is_sent(job: Job) -> None:
    ran = job.register(
        job.file(2, named=True), env={"INFUSE_SEALING_KEY_FILE": str(job.home / "inside.key")}
    )
    assert ran.code == 4
    assert ran.envelope["errors"][0]["code"] == "credential.sealing-key"
    assert job.sent("POST /device") == job.sent("POST /board") == 0


def test_a_name_that_a_stranger_has_is_refused_and_its_device_untouched(job: Job) -> None:
    with job.world.clock.lock:
        stranger = job.world.registry.mint(
            Ask(
                body=schemas.MintRequest(
                    name="sensor-2", metadata={"infuseIntent": "other", "mcuId": mcu_id(77)}
                )
            )
        )
    ran = job.register(job.file(3, named=True))
    assert ran.code == 11
    assert ran.envelope["data"]["totals"] == totals(created=2, refused=1)
    (row,) = [row for row in report(ran.envelope["data"]) if row["outcome"] == "refused"]
    assert (row["line"], row["field"], row["code"]) == ("3", "name", "identity.registry-conflict")
    assert job.registry()["sensor-2"]["id"] == stranger.device_id
    with job.journal() as journal:
        assert sorted(token.state.value for token in journal.tokens()) == [
            "minted",
            "minted",
            "revoked",
        ]


def test_a_lost_mint_is_cleared_and_minted_anew(job: Job) -> None:
    job.world.set_faults(f"cloud:drop-after@{MINT}#2")
    data = job.done(job.file(4, named=True))
    matches(job, data)
    with job.journal() as journal:
        assert sorted(token.state.value for token in journal.tokens()) == ["minted"] * 4 + [
            "revoked"
        ]
    assert len(job.world.registry.deleted) == 1


@pytest.mark.parametrize("fault", ["drop-before", "5xx-after", "half-json"])
def test_a_lost_answer_is_looked_up_before_it_is_sent_again(job: Job, fault: str) -> None:
    job.world.set_faults(f"cloud:{fault}@POST /device#3")
    data = job.done(job.file(6))
    assert data["totals"] == totals(created=6)
    assert job.sent("POST /device") == (7 if fault.endswith("before") else 6)
    matches(job, data)


def test_a_run_that_was_told_to_stop_parks_and_goes_on_later(job: Job) -> None:
    job.world.set_faults("cloud:latency=60ms")
    path = job.file(150)
    pid, out = job.start(path, "--concurrency", "4")
    for line in _lines(out):
        if json.loads(line)["event"] == "row-ended":
            break
    os.kill(pid, signal.SIGTERM)
    ran = job.zygote.wait(pid, out)
    assert ran.code == 130, ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert events[-1]["event"] == "run-ended"
    told = [event for event in events if event["event"] == "row-ended"]
    assert len(told) == events[-1]["data"]["totals"]["created"] == len(job.devices())
    job.world.set_faults("")
    with job.journal() as journal:
        assert not [run for run in journal.runs() if run.ended is None]
    data = job.done(path)
    assert data["totals"] == totals(created=150 - len(told), existed=len(told))
    assert job.sent("POST /device") == 150


def _lines(out: Path) -> Any:
    from threading import Event

    pause, path = Event(), out.with_suffix(".stdout")
    for _ in range(2000):
        yield from (
            line
            for line in (path.read_text().splitlines(keepends=True) if path.exists() else [])
            if line.endswith("\n")
        )
        pause.wait(0.01)


def test_too_many_failures_stop_the_batch(job: Job) -> None:
    job.world.set_faults("")
    path = job.text(
        "mcuId,metadata.serialNumber",
        *(
            f"{mcu_id(number)},{'SN-00001' if number == 1 else f'SN-{number}'}"
            for number in range(1, 200)
        ),
    )
    job.done(
        job.text(
            "mcuId,metadata.serialNumber",
            *(f"{mcu_id(1000 + number)},SN-{number}" for number in range(2, 60)),
        )
    )
    before = job.sent("POST /device")
    ran = job.register(path, "--max-failures", "3", "--concurrency", "2")
    assert ran.code == 11
    data = ran.envelope["data"]
    assert data["totals"]["created"] == 1
    assert 3 <= data["totals"]["refused"] <= 5
    assert data["left"] == 199 - 1 - data["totals"]["refused"]
    assert job.sent("POST /device") - before == 1 + data["totals"]["refused"]
    assert "batch.stopped" in {error["code"] for error in ran.envelope["errors"]}


def test_one_row_has_its_own_exit_code_and_no_rows_are_no_success(job: Job) -> None:
    ran = job.register(job.text("mcuId,metadata.serialNumber"))
    assert (ran.code, ran.envelope["errors"][0]["code"]) == (2, "batch.empty")
    job.done(job.file(1))
    ran = job.register(job.text("mcuId,metadata.serialNumber", f"{mcu_id(5)},SN-00001"))
    assert (ran.code, ran.envelope["status"]) == (8, "error")


def test_status_tells_from_the_journal_alone(job: Job) -> None:
    path = job.file(4)
    nothing = job.zygote.run("batch", "status", str(path), "--output", "json", env=job.env)
    assert nothing.envelope["data"]["totals"]["notBegun"] == 4
    assert not job.home.exists()
    data = job.done(job.file(3))
    asked = job.sent("GET /device")
    told = job.zygote.run(
        "batch", "status", str(path), "--output", "json", env={**job.env, "INFUSE_TOKEN": ""}
    )
    assert told.code == 0, told.stderr
    assert (
        told.envelope["data"]["totals"]["created"],
        told.envelope["data"]["totals"]["notBegun"],
    ) == (3, 1)
    assert [run["run"] for run in told.envelope["data"]["runs"]] == [data["run"]]
    assert job.sent("GET /device") == asked


def test_people_see_totals_and_where_the_report_is(job: Job) -> None:
    ran = job.register(job.file(2), "--report", str(job.folder / "out.csv"), output="human")
    assert ran.code == 0
    assert ran.stdout.splitlines()[0] == "created 2"
    assert ran.stdout.splitlines()[-1] == f"report {job.folder / 'out.csv'}"
    assert "2 rows to register" in ran.stderr


def test_what_all_rows_wait_for_is_asked_through_an_outage(job: Job) -> None:
    job.profile.write_text(job.profile.read_text().replace("deadline_s: 10", "deadline_s: 0.5"))
    job.world.set_faults("cloud:5xx-before@GET /board x4, cloud:429@GET /device x1")
    ran = job.register(job.file(3), output="human")
    assert ran.code == 0, ran.stdout + ran.stderr
    assert "asked again for up to 120 s (5 s if it cannot be connected to)" in ran.stderr
    assert len(job.devices()) == 3


@pytest.mark.storm
def test_a_plan_says_why_it_takes_long(job: Job) -> None:
    job.profile.write_text(job.profile.read_text().replace("deadline_s: 10", "deadline_s: 0.5"))
    job.world.set_faults("cloud:5xx-before@GET /board x4")
    ran = job.zygote.run("batch", "plan", str(job.file(3)), env=job.env)
    assert ran.code == 0, ran.stdout + ran.stderr
    assert "asked again for up to 120 s" in ran.stderr
