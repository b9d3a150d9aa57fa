"""Weather and company: connections dropped, 429 and 5xx at 20 % each, kills in the middle of it,
two jobs on one file.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter

import pytest

from infuse_cli.types import TokenState
from tests.batch.conftest import MINT, Job, matches, report
from tests.support.zygote import Ran

ROUGH = "cloud:drop-before=0.2, cloud:drop-after=0.2, cloud:429=0.2, cloud:5xx=0.2"
SEED = int(os.environ.get("INFUSE_STORM_SEED", str(random.SystemRandom().randrange(1 << 32))))


def both(job: Job, *, named: bool, rows: int, shared: bool) -> tuple[Ran, Ran]:
    """Two jobs begin the same file at once."""
    path, other = job.file(rows, named=named), job if shared else job.other()
    first, second = job.start(path, output="json"), other.start(path, output="json")
    return job.zygote.wait(*first), job.zygote.wait(*second)


@pytest.mark.parametrize(
    ("named", "shared"),
    [
        pytest.param(False, True, id="rows, one home"),
        pytest.param(True, False, id="tokens, two homes"),
        pytest.param(False, False, marks=pytest.mark.storm, id="rows, two homes"),
        pytest.param(True, True, marks=pytest.mark.storm, id="tokens, one home"),
    ],
)
def test_two_jobs_on_one_file_both_end_well(job: Job, *, named: bool, shared: bool) -> None:
    rows = 40
    for ran in both(job, named=named, rows=rows, shared=shared):
        assert ran.code == 0, ran.stdout + ran.stderr
        data = ran.envelope["data"]
        assert data["totals"]["created"] + data["totals"]["existed"] == rows
        matches(job, data)
    assert len(job.devices()) == rows
    if named:
        assert len(job.registry()) == rows
        assert Counter(token["status"] for token in job.world.state()["tokens"])["PENDING"] == rows


@pytest.mark.storm
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("rows", "named"), [(2000, False), (400, True)], ids=["2000 rows", "400 tokens"]
)
def test_the_storm_leaves_every_row_once(job: Job, rows: int, *, named: bool) -> None:
    job.world.set_faults(f"{ROUGH}, seed={SEED % 1000}")
    path = job.file(rows, named=named)
    ran = job.zygote.wait(*job.start(path, "--concurrency", "64", output="json"), limit_s=900)
    assert ran.code == 0, ran.stdout[-2000:] + ran.stderr
    data = ran.envelope["data"]
    assert data["totals"] == {
        "created": rows,
        "existed": 0,
        "differs": 0,
        "refused": 0,
        "unknown": 0,
    }
    assert len(job.devices()) == rows
    assert len(report(data)) == rows
    assert job.sent("POST /device", "409") == 0, "a device that exists was posted"
    matches(job, data)
    if named:
        _tokens_are_on_record(job, rows)


@pytest.mark.storm
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("named", [False, True], ids=["rows", "tokens"])
def test_kills_at_any_moment_leave_every_row_once(job: Job, *, named: bool) -> None:
    dice = random.Random(SEED)
    job.world.set_faults(
        "cloud:drop-before=0.05, cloud:drop-after=0.05, cloud:5xx=0.05, cloud:latency=5ms,"
        f" seed={SEED % 1000}"
    )
    rows = 300
    path = job.file(rows, named=named)
    for _ in range(15):
        pid, out = job.start(path, output="json")
        timer = threading.Timer(
            dice.uniform(0.3, 1.6),
            _kill,
            (pid, dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))),
        )
        timer.start()
        job.zygote.wait(pid, out)
        timer.cancel()
    job.world.set_faults("")
    data = job.done(path)
    assert len(job.devices()) == rows
    assert job.sent("POST /device", "409") == 0
    matches(job, data)
    with job.journal() as journal:
        assert journal.verify() == []
    if named:
        _tokens_are_on_record(job, rows)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _tokens_are_on_record(job: Job, rows: int) -> None:
    assert len(job.registry()) == rows
    pending = {token["id"] for token in job.world.state()["tokens"] if token["status"] == "PENDING"}
    with job.journal() as journal:
        minted = [token for token in journal.tokens() if token.state is TokenState.MINTED]
        assert {token.token_id for token in minted} == pending
        assert len(minted) == rows
        assert all(journal.secret(f"token:{token.intent}") for token in minted)
    assert job.sent(MINT, "201") >= rows
