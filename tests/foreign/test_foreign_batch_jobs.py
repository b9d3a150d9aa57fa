"""`infuse batch` at a cloud that was written apart: bad days, kills, races, lost credentials, full
disks; every row exactly once.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.foreign.cloud import Fault
from tests.foreign.conftest import storms
from tests.foreign.verifier import audit, check_envelope

MINT = "POST /api/v1/devices/registration/tokens"
SERIAL = {"name": "serialNumber", "required": True, "unique": True}
HTML = (
    b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
)


@pytest.fixture
def make_job(make_bench):
    """A CI job: a profile without board work, a sealing key outside the home."""

    def make(grace=0.3, **options):
        bench = make_bench(fields=[SERIAL], **options)
        return dressed(bench, grace)

    return make


def dressed(bench, grace=0.3, **cloud):
    timing = {"lost_answer_grace_s": grace, "outage_wait_s": 20.0, "timeout_s": 5, "deadline_s": 10}
    board = {"name": "Example Sensor Board"}
    bench.write(
        "none",
        cloud={**timing, "board": board, **cloud},
        metadata={"serialNumber": {"from": "scan"}},
        registry={"base_url": bench.cloud.url, "auth": "same", "tags": ["line-1"]},
    )
    return bench


@pytest.fixture
def job(make_job):
    return make_job()


def mcu_id(number):
    return f"00b1{number:012x}"


def rows(bench, count, *, named=False, first=1, name="rows.csv"):
    path = bench.folder / name
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["mcuId", "metadata.serialNumber", *(["name"] if named else [])])
        writer.writerows(
            [mcu_id(number), f"SN-{number:05}", *([f"sensor {number}/ü"] if named else [])]
            for number in range(first, first + count)
        )
    return path


def env(bench):
    return {
        "INFUSE_PROFILE": str(bench.profile),
        "INFUSE_SEALING_KEY_FILE": f"{bench.home}.sealing",
    }


def batch(bench, *argv, output="json", failpoint=""):
    return bench.infuse(
        "batch", *map(str, argv), "--output", output, env=env(bench), failpoint=failpoint
    )


def start(bench, *argv, output="json"):
    return bench.start("batch", *map(str, argv), "--output", output, env=env(bench))


def told(ran):
    """The rows of a run's report by mcuId."""
    with Path(ran.envelope["data"]["report"]).open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [int(row["line"]) for row in found] == sorted(int(row["line"]) for row in found)
    assert Counter(row["outcome"] for row in found if row["outcome"] != "skipped") == Counter(
        +Counter(ran.envelope["data"]["totals"])
    )
    return {row["mcuId"]: row for row in found}


def check_report(bench, ran, mcu_ids):
    """Row for row what the cloud holds: there where it says so, and not there where nothing is
    said.
    """
    cloud, report = bench.cloud, told(ran)
    devices = {device["mcuId"]: device for device in cloud.state.devices.values()}
    registry = {device["id"]: device for device in cloud.state.registry.values()}
    for mcu in mcu_ids:
        row = report.get(mcu)
        if row is None or (row["outcome"] == "refused" and not row["id"]):
            assert mcu not in devices, f"{mcu} is in the cloud, and the report says {row}"
        elif row["outcome"] in {"created", "existed"}:
            assert (row["id"], row["deviceId"].lower()) == (
                devices[mcu]["id"],
                devices[mcu]["deviceId"],
            )
            if row["name"]:
                assert registry[row["registryDeviceId"]]["name"] == row["name"]
    return report


def check_world(bench, count, *, named=False, first=1):
    """Every row once, no POST for what was there, every pending token on record and sealed."""
    cloud = bench.cloud
    cloud.settle()
    assert audit(cloud) == []
    assert cloud.doubled == [], "a POST for a device that exists"
    assert sorted(device["mcuId"] for device in cloud.state.devices.values()) == [
        mcu_id(number) for number in range(first, first + count)
    ]
    assert all(
        device["metadata"]["serialNumber"] == f"SN-{int(device['mcuId'][4:], 16):05}"
        for device in cloud.state.devices.values()
    )
    if not named:
        return
    pending = {row["id"] for row in cloud.state.tokens.values() if row["status"] == "PENDING"}
    assert len(pending) == len(cloud.state.registry) == count
    sealed = sealed_tokens(bench)
    alive = {row["secret"] for row in cloud.state.tokens.values() if row["status"] == "PENDING"}
    assert sealed == alive, "every live token is kept, and no other"


def sealed_tokens(bench):
    """Token texts that this home can still open, by its own code's front door: the journal."""
    from infuse_cli.journal.store import open_journal
    from infuse_cli.keys.seal import bench_keys, load_sealer
    from infuse_cli.types import TokenState

    sealer = load_sealer(
        bench_keys(bench.home, {}, {"INFUSE_SEALING_KEY_FILE": f"{bench.home}.sealing"}),
        create=False,
    )
    with open_journal(bench.home, create=False) as journal:
        assert journal.verify() == []
        minted = [token for token in journal.tokens() if token.state is TokenState.MINTED]
        assert not [token for token in journal.tokens() if token.state is TokenState.INTENDED]
        return {
            sealer.unseal(journal.secret(f"token:{token.intent}"), f"token:{token.intent}").reveal()
            for token in minted
        }


def check_again(bench, path, count, *, named=False):
    """The same command once more: it ends well, and once more after that sends nothing."""
    ran = batch(bench, "register", path)
    assert ran.code == 0, ran.stdout + ran.stderr
    check_envelope(ran.envelope, "batch register")
    totals = ran.envelope["data"]["totals"]
    assert totals["created"] + totals["existed"] == count
    check_report(bench, ran, [mcu_id(number) for number in range(1, count + 1)])
    check_world(bench, count, named=named)
    written = len(bench.cloud.writes())
    last = batch(bench, "register", path)
    assert last.code == 0, last.stdout
    assert last.envelope["data"]["totals"] == {
        "created": 0,
        "existed": count,
        "differs": 0,
        "refused": 0,
        "unknown": 0,
    }
    assert len(bench.cloud.writes()) == written


# -- calm ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "manner",
    ["plain", *storms("short-pages", "items", "capitals", "bare", "deaf", "old_http", "dateless")],
)
def test_plan_register_status_export(make_job, manner):
    bench = make_job(items=manner == "items")
    cloud = bench.cloud
    cloud.page = 7 if manner in {"short-pages", "capitals"} else cloud.page
    cloud.capitals, cloud.bare, cloud.deaf_to_paging = (
        manner == "capitals",
        manner == "bare",
        manner == "deaf",
    )
    cloud.old_http, cloud.dateless = manner == "old_http", manner == "dateless"
    path = rows(bench, 30, named=True)
    plan = batch(bench, "plan", path)
    assert plan.code == 0, plan.stdout + plan.stderr
    check_envelope(plan.envelope, "batch plan")
    assert cloud.writes() == []
    ran = batch(bench, "register", path)
    assert ran.code == 0, ran.stdout + ran.stderr
    assert ran.envelope["data"]["totals"]["created"] == 30
    check_again(bench, path, 30, named=True)
    status = batch(bench, "status", path)
    assert (
        status.envelope["data"]["totals"]["created"] + status.envelope["data"]["totals"]["existed"]
        == 30
    )
    exported = batch(bench, "export", path, "--format", "json")
    assert {row["mcuId"]: row["id"] for row in exported.envelope["data"]["rows"]} == {
        device["mcuId"]: device["id"] for device in cloud.state.devices.values()
    }
    assert not any(
        row["secret"] in ran.stdout + ran.stderr + exported.stdout + status.stdout
        for row in cloud.state.minted
    )


# -- faults ----------------------------------------------------------------------------------------


def weather(dice, share=0.2):
    """A cloud on a bad day: each request is bent with this chance; a limit is told in seconds or as
    a date.
    """

    def bend(request):
        if dice.random() >= share:
            return None
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
        kind, value = dice.choice(
            [
                ("drop-before", None),
                ("drop-after", None),
                ("half", None),
                ("reset", None),
                ("broken", None),
                ("slow", 0.05),
                ("late", 0.1),
                ("html", "after"),
                ("status-before", (429, {"Retry-After": "0"})),
                ("status-before", (429, {"Retry-After": soon})),
                ("status-before", (503, {"Retry-After": "0"})),
                *[
                    (kind, (status, {}, HTML))
                    for kind in ("status-before", "status-after")
                    for status in (500, 502, 503, 504)
                ],
            ]
        )
        return Fault("", kind, value)

    return bend


@pytest.mark.parametrize(
    ("seed", "count", "named"),
    [(1, 10, True), *storms(*[(seed, 120, seed % 2 == 0) for seed in range(2, 12)])],
)
def test_a_bad_day(make_job, seed, count, named):
    bench = make_job()
    bench.cloud.weather = weather(random.Random(seed))
    path = rows(bench, count, named=named)
    for _ in range(4):
        ran = batch(bench, "register", path)
        if not ran.stdout or ran.envelope["data"].get("totals") is None:
            assert ran.code in {5, 6}, (
                ran.stdout + ran.stderr
            )  # too bad to begin: no answer, or a page where a list belongs
            continue
        check_report(bench, ran, [])
        if ran.code == 0:
            break
        assert ran.code in {5, 11}, ran.stdout
    bench.cloud.weather = lambda _request: None
    check_again(bench, path, count, named=named)


def test_a_row_that_is_refused_names_its_field_and_the_others_go_on(job):
    said = {
        "code": 422,
        "message": "metadata serialNumber: 'SN-00005' is on the list of stolen goods",
    }

    def bend(request):
        stolen = (
            request.call == "POST /device"
            and request.body["metadata"]["serialNumber"] == "SN-00005"
        )
        return Fault("", "status-before", (422, {}, said)) if stolen else None

    job.cloud.weather = bend
    ran = batch(job, "register", rows(job, 12))
    assert ran.code == 11
    row = check_report(job, ran, [mcu_id(number) for number in range(1, 13)])[mcu_id(5)]
    assert (row["line"], row["outcome"], row["field"]) == ("6", "refused", "metadata.serialNumber")
    assert "stolen goods" in row["message"]
    assert ran.envelope["data"]["totals"]["created"] == 11
    assert ran.envelope["status"] == "partial"


@pytest.mark.parametrize("named", [True, *storms(False)])
def test_a_credential_that_ends_in_the_middle(make_job, named):
    job = make_job()
    path = rows(job, 40, named=named)
    good = job.cloud.token
    seen = Counter()

    def expire(request):
        seen[request.call] += 1
        if seen[MINT if named else "POST /device"] == 12:
            job.cloud.token = "another"

    job.cloud.before = expire
    begun = job.start(
        "batch", "register", str(path), "--output", "json", "--concurrency", "4", env=env(job)
    )
    ran = job.wait(begun)
    assert ran.code == 4, ran.stdout + ran.stderr
    assert ran.envelope["status"] == "partial"
    assert ran.envelope["data"]["left"] > 0
    check_report(job, ran, [] if named else [mcu_id(number) for number in range(1, 41)])
    job.cloud.before, job.cloud.token = (lambda _request: None), good
    job.cloud.wrong.clear()  # the wrong credential was ours
    check_again(job, path, 40, named=named)


@pytest.mark.storm
@pytest.mark.parametrize("when", ["seconds", "date"])
def test_all_workers_wait_as_long_as_the_cloud_says(make_job, when):
    job = make_job()
    at = datetime.now(UTC) + timedelta(seconds=3)
    value = "1" if when == "seconds" else format_datetime(at, usegmt=True)
    arrived = []
    job.cloud.before = lambda request: arrived.append((datetime.now(UTC), request.call))
    job.cloud.faults.append(
        Fault("POST /device$", "status-before", (429, {"Retry-After": value}), at=4)
    )
    ran = batch(job, "register", rows(job, 30), "--concurrency", "2")
    assert ran.code == 0, ran.stdout
    posts = [moment for moment, call in arrived if call == "POST /device"]
    gaps = [(later - sooner).total_seconds() for sooner, later in pairwise(posts)]
    assert max(gaps) > 0.8
    check_world(job, 30)


# -- two at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("homes", "named"), [(1, True), (2, True), *storms((1, False), (2, False))]
)
def test_two_jobs_over_one_file(make_job, make_bench, homes, named):
    one = make_job()
    two = one if homes == 1 else dressed(make_bench(one.cloud))
    path = rows(one, 40, named=named)
    started = [start(bench, "register", path, "--concurrency", "4") for bench in (one, two)]
    ended = [bench.wait(run) for bench, run in zip((one, two), started, strict=True)]
    for bench, ran in zip((one, two), ended, strict=True):
        assert ran.code == 0, ran.stdout + ran.stderr
        check_report(bench, ran, [mcu_id(number) for number in range(1, 41)])
    assert sum(ran.envelope["data"]["totals"]["created"] for ran in ended) == 40
    assert audit(one.cloud) == []
    assert len(one.cloud.state.devices) == 40
    if homes == 1:
        assert one.cloud.doubled == []
    if named:
        alive = {
            row["secret"] for row in one.cloud.state.tokens.values() if row["status"] == "PENDING"
        }
        kept = [sealed_tokens(bench) for bench in {id(one): one, id(two): two}.values()]
        assert sorted(alive) == sorted(token for tokens in kept for token in tokens)


# -- an end at any moment --------------------------------------------------------------------------


def struck(bench, path, moment, number, *more):
    """A run that gets a signal when the cloud sees its `moment`-th request."""
    run = {}
    seen = Counter()

    def strike(_request):
        seen["all"] += 1
        if seen["all"] == moment:
            os.kill(run["pid"], number)

    begun = start(bench, "register", path, "--concurrency", "4", *more)
    run["pid"] = begun[0]
    bench.cloud.before = strike
    ran = bench.wait(begun)
    bench.cloud.before = lambda _request: None
    return ran


@pytest.mark.parametrize("seed", [2, *storms(*[(seed,) for seed in (1, *range(3, 21))])])
def test_killed_at_random_and_run_again(make_job, seed):
    dice = random.Random(seed)
    named = seed % 2 == 0
    bench = make_job()
    if seed > 2:
        bench.cloud.weather = weather(dice, 0.1)
    path = rows(bench, 40, named=named)
    for _ in range(1 if seed <= 2 else 3):
        struck(bench, path, dice.randrange(6, 70 if named else 45), signal.SIGKILL)
    bench.cloud.weather = lambda _request: None
    bench.cloud.settle()
    check_again(bench, path, 40, named=named)


@pytest.mark.parametrize(
    ("number", "named"),
    [
        (signal.SIGTERM, True),
        *storms((signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGHUP, False)),
    ],
)
def test_stopped_and_run_again(make_job, number, named):
    bench = make_job()
    path = rows(bench, 60, named=named)
    ran = struck(bench, path, 30, number)
    assert ran.code == 130, ran.stdout + ran.stderr
    check_envelope(ran.envelope, "batch register")
    stopped = next(error for error in ran.envelope["errors"] if error["code"] == "run.interrupted")
    assert "infuse resume" not in stopped["hint"]
    assert ran.envelope["data"]["left"] > 0
    check_report(bench, ran, [] if named else [mcu_id(row) for row in range(1, 61)])
    check_again(bench, path, 60, named=named)


# -- the place where it runs -----------------------------------------------------------------------


def test_a_report_that_is_swept_away_hides_neither_totals_nor_rows(job):
    path = rows(job, 6)
    job.cloud.before = lambda request: (
        shutil.rmtree(job.home / "reports")
        if request.call == "POST /device" and (job.home / "reports").exists()
        else None
    )
    ran = batch(job, "register", path)
    job.cloud.before = lambda _request: None
    assert ran.code == 2, ran.stdout
    assert ran.envelope["data"]["totals"]["created"] == 6
    assert ran.envelope["data"]["report"] is None
    assert "cannot be written" in ran.envelope["errors"][0]["message"]
    check_again(job, path, 6)


def test_an_error_of_a_batch_speaks_of_no_board(job):
    ran = batch(job, "register", job.folder / "none.csv", output="human")
    assert ran.code == 2
    assert "unplug" not in ran.stderr
    assert (
        batch(job, "register", job.folder / "none.csv").envelope["errors"][0]["boardSafe"] is True
    )


@pytest.mark.storm
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this platform has no full device")
@pytest.mark.parametrize("output", ["jsonl", "json", "human"])
def test_output_that_nobody_got_is_no_success(job, output):
    """The rows are registered all the same, and the same command says so once there is room."""
    path = rows(job, 3)
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [
                sys.executable,
                "-m",
                "infuse_cli",
                "batch",
                "register",
                str(path),
                "--output",
                output,
            ],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, **job.env, **env(job)},
            text=True,
            check=False,
        )
    assert (ran.returncode, "usage.output-lost" in ran.stderr) == (2, True), ran.stderr
    assert batch(job, "register", path).envelope["data"]["totals"]["existed"] == 3


@pytest.mark.storm
def test_a_row_that_a_slow_run_has_is_waited_for(make_job):
    """The other job lives and gets on, only more slowly than an outage is waited out."""
    job = make_job()
    dressed(job, outage_wait_s=0.5)
    path = rows(job, 3)
    job.cloud.faults = [Fault("^POST /device$", "slow", 3.0, times=3)]
    sent = threading.Event()
    job.cloud.before = lambda request: sent.set() if request.call == "POST /device" else None
    slow = start(job, "register", path)
    assert sent.wait(30)
    ran, first = batch(job, "register", path), job.wait(slow)
    assert (ran.code, first.code) == (0, 0), ran.stdout + first.stdout
    check_world(job, 3)
