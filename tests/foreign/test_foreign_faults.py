"""Everything that can happen to a call on its way, call by call: the board ends green, and nothing
is there twice.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.foreign.cloud import Fault
from tests.foreign.verifier import audit, check_envelope

QUICK = {"lost_answer_grace_s": 0.3, "timeout_s": 2.0, "deadline_s": 4.0, "outage_wait_s": 3.0}

CALLS = {
    "local-ca": [
        "GET /organisation",
        "GET /board",
        "GET /network",
        "GET /device/soc",
        "POST /device$",
        "GET /key/publicKey",
        "POST /key/derived",
        "POST .*/tokens",
        "GET .*/devices/[0-9a-f-]{36}$",
    ],
    "cloud-ca": ["POST .*/tokens", "POST .*/provision"],
}
KINDS = {
    "drop-before": (None, 1),
    "drop-after": (None, 1),
    "429": ((429, {"Retry-After": "1"}), 1),
    "429-date": (None, 1),
    "503-retry": ((503, {"Retry-After": "1"}), 2),
    "503": (503, 1),
    "500": (500, 1),
    "502": (502, 2),
    "504": (504, 1),
    "500-after": (500, 1),
    "503-after": (503, 1),
    "html": (None, 1),
    "html-after": ("after", 1),
    "half": (None, 1),
    "broken": (None, 1),
    "slow": (3.0, 1),
    "429-bare": (429, 1),
    "400": (400, 1),
    "422": (422, 1),
    "403": (403, 1),
}


def fault(call, kind):
    value, times = KINDS[kind]
    if kind == "429-date":
        value = (
            429,
            {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)},
        )
    name = kind.split("-")[0]
    known = {"html": "html", "half": "half", "broken": "broken", "slow": "slow"}
    if kind in {"drop-before", "drop-after"}:
        return Fault(call, kind, None, times=times)
    if name in known:
        return Fault(call, known[name], value, times=times)
    return Fault(
        call, "status-after" if kind.endswith("-after") else "status-before", value, times=times
    )


def cases():
    for mode, calls in CALLS.items():
        for call, kind in itertools.product(calls, KINDS):
            if not (
                call.startswith("GET")
                and kind in {"500-after", "503-after", "drop-after", "html-after", "422"}
            ):
                yield pytest.param(mode, call, kind, id=f"{mode}:{call.split('/')[-1]}:{kind}")


SOON = {"drop-after", "429"}


def run(bench, mode, call, kind):
    bench.write(mode, token=mode == "local-ca", cloud=QUICK)
    board = bench.board()
    bend = fault(call, kind)
    bench.cloud.faults.append(bend)
    ran = bench.provision(board)
    check_envelope(ran.envelope, "provision")
    assert bend.seen, "the fault was never met"
    ended = ran.code, [error["code"] for error in ran.envelope["errors"]]
    if ran.code != 0:
        assert ran.code in {4, 5, 6, 8}, ended
        if bench.cloud.requests and ran.envelope["data"] and ran.envelope["data"].get("boards"):
            assert board.modem.mode == 1
    bench.cloud.faults.clear()
    bench.passes(board)
    assert audit(bench.cloud, [board.modem]) == []
    assert board.modem.counts["keygen"] == 1
    live = [row for row in bench.cloud.state.tokens.values() if row["status"] == "PENDING"]
    assert len(live) == (1 if mode == "local-ca" else 0)
    assert len(bench.cloud.issuer.issued) <= 2
    return ended


@pytest.mark.parametrize(
    ("call", "kind"),
    [("POST /device$", kind) for kind in sorted(SOON)] + [("POST .*/tokens", "drop-after")],
)
def test_a_call_of_local_ca_goes_wrong(make_bench, call, kind):
    run(make_bench(), "local-ca", call, kind)


@pytest.mark.parametrize("kind", ["half"])
def test_provision_by_the_cloud_goes_wrong(make_bench, kind):
    run(make_bench(), "cloud-ca", "POST .*/provision", kind)


@pytest.mark.storm
@pytest.mark.parametrize(("mode", "call", "kind"), list(cases()))
def test_storm_any_call_goes_wrong(make_bench, mode, call, kind):
    print(run(make_bench(), mode, call, kind))


@pytest.mark.storm
@pytest.mark.parametrize("late_s", [0.5, 3.0])
@pytest.mark.parametrize(
    ("mode", "call"),
    [
        ("local-ca", "POST /device$"),
        ("local-ca", "POST .*/tokens"),
        ("cloud-ca", "POST .*/provision"),
    ],
)
def test_storm_a_commit_that_comes_late(make_bench, mode, call, late_s):
    bench = make_bench()
    bench.write(mode, token=mode == "local-ca")
    board = bench.board()
    bench.cloud.faults.append(Fault(call, "late", late_s))
    ran = bench.provision(board)
    bench.cloud.settle()
    print(ran.code, ran.envelope["errors"])
    bench.passes(board)
    assert audit(bench.cloud, [board.modem]) == []
