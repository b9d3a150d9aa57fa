"""A hand-over that is taken back, at a registry that was written apart: what counts as taken back,
and what is left alone.
"""

from __future__ import annotations

import signal

import pytest

from tests.foreign.cloud import Cloud, Fault
from tests.foreign.conftest import storms
from tests.foreign.test_foreign_batch_jobs import (
    SERIAL,
    batch,
    check_world,
    dressed,
    env,
    mcu_id,
    rows,
)
from tests.foreign.verifier import audit


def handed_over(make_bench, count):
    """Rows of a batch, whose tokens went into a file for another bench."""
    bench = dressed(make_bench(fields=[SERIAL]))
    path = rows(bench, count, named=True)
    assert batch(bench, "register", path).code == 0
    ran = batch(
        bench,
        "export",
        path,
        "--for-bench",
        bench.folder / "hand-over",
        "--passphrase-file",
        bench.folder / "passphrase",
    )
    assert ran.envelope["data"]["tokens"] == count, ran.stdout
    return bench, path


def back(bench, path, **kwargs):
    return batch(bench, "export", path, "--take-back", "--yes", **kwargs)


def statuses(bench):
    return [row["status"] for row in bench.cloud.state.tokens.values()]


def test_what_a_board_may_have_used_is_not_taken_back(make_bench):
    """Its registry device would be cleared by the next registration, and it may be that of a good
    board that waits to be switched on.
    """
    bench, path = handed_over(make_bench, 3)
    used, online, alive = bench.cloud.state.tokens.values()
    used["status"] = "USED"
    bench.cloud.check_in(online["deviceId"], online["secret"])

    told = back(bench, path)
    assert told.code == 11, told.stdout
    states = {row["tokenId"]: row["state"] for row in told.envelope["data"]["tokens"]}
    assert states == {used["id"]: "handed-over", online["id"]: "consumed", alive["id"]: "revoked"}
    assert batch(bench, "register", path).code == 0
    assert {used["deviceId"], online["deviceId"]} <= set(bench.cloud.state.registry)
    assert statuses(bench) == ["USED", "USED", "REVOKED", "PENDING"]
    assert audit(bench.cloud) == []


@pytest.mark.parametrize("elsewhere", ["organisation", *storms("nowhere")])
def test_nothing_is_taken_back_where_it_was_not_minted(make_bench, elsewhere):
    bench, path = handed_over(make_bench, 2)
    there, other = bench.cloud, Cloud()
    other.seed(fields=[SERIAL])
    if elsewhere == "organisation":
        bench.cloud = other
        dressed(bench)
    else:
        bench.write("none", registry=None)
    ran = back(bench, path)
    assert (ran.code, ran.envelope["errors"][0]["code"]) == (
        (2, "batch.nothing") if elsewhere == "organisation" else (3, "profile.invalid")
    )
    other.close()
    bench.cloud = there
    dressed(bench)
    assert statuses(bench) == ["PENDING", "PENDING"]
    assert back(bench, path).envelope["data"]["takenBack"] == 2
    assert statuses(bench) == ["REVOKED", "REVOKED"]


@pytest.mark.storm
@pytest.mark.parametrize(
    "kind", ["drop-before", "drop-after", "half", "reset", "killed", "killed-after"]
)
def test_taken_back_through_trouble(make_bench, kind):
    """A token whose revocation was cut off anywhere is taken back by the next run, and its row gets
    another.
    """
    bench, path = handed_over(make_bench, 6)
    if kind == "killed-after":
        assert back(bench, path, failpoint="done:take-back#3").code == -signal.SIGKILL
    elif kind == "killed":
        assert (
            back(bench, path, failpoint="sent:DELETE /devices/registration/tokens/{tokenId}#3").code
            == -signal.SIGKILL
        )
    else:
        bench.cloud.faults = [Fault("^DELETE ", kind, at=2)]
        back(bench, path)
    ran = back(bench, path)
    assert ran.code == 0 or ran.envelope["errors"][0]["code"] == "batch.nothing", ran.stdout
    assert set(statuses(bench)) == {"REVOKED"}
    assert batch(bench, "register", path).code == 0
    check_world(bench, 6, named=True)


@pytest.mark.storm
def test_a_device_that_is_retired_leaves_no_token_with_another_bench(make_bench):
    bench, _ = handed_over(make_bench, 2)
    ran = bench.infuse(
        "device",
        "retire",
        mcu_id(1),
        "--reason",
        "lost",
        "--yes",
        "--output",
        "json",
        env=env(bench),
    )
    assert ran.code == 0, ran.stdout
    assert statuses(bench) == ["REVOKED", "PENDING"]
    assert audit(bench.cloud) == []
