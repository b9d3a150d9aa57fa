"""A batch at a cloud that the simulator has no part in: every fault at every call, and each row is
there once.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from tests.foreign.cloud import Fault
from tests.foreign.conftest import storms
from tests.foreign.test_foreign_faults import KINDS, QUICK, fault
from tests.foreign.verifier import check_envelope

ROWS = 8
CALLS = ["GET /device$", "POST /device$", "POST .*/tokens"]
REFUSALS = {"400", "422"}  # for a POST these are the cloud's last word


def register(bench, *more):
    path = bench.folder / "rows.csv"
    path.write_text(
        "mcuId,name,metadata.deploymentSite\n"
        + "".join(f"{number:016x},sensor-{number},Perth\n" for number in range(1, ROWS + 1))
    )
    ran = bench.infuse(
        "batch", "register", str(path), "--profile", str(bench.profile), "--output", "json", *more
    )
    assert "Traceback" not in ran.stdout + ran.stderr
    check_envelope(ran.envelope, "batch register")
    return ran


def once_each(bench, ran):
    """Cloud and report agree, and nothing is there twice."""
    assert ran.code == 0, ran.stdout + ran.stderr
    devices = {device["mcuId"]: device for device in bench.cloud.state.devices.values()}
    assert len(devices) == len(bench.cloud.state.devices) == ROWS
    names = Counter(device["name"] for device in bench.cloud.state.registry.values())
    assert set(names.values()) == {1}
    assert len(names) == ROWS
    with Path(ran.envelope["data"]["report"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["mcuId"], row["deviceId"]) for row in rows] == [
        (mcu_id, devices[mcu_id]["deviceId"]) for mcu_id in sorted(devices)
    ]
    assert not bench.cloud.wrong, bench.cloud.wrong


CASES = [
    (call, kind)
    for call in CALLS
    for kind in KINDS
    if not (
        call.startswith("GET")
        and kind in {"500-after", "503-after", "drop-after", "html-after", "422"}
    )
]
SOON = [("POST /device$", "drop-after"), ("POST .*/tokens", "500-after")]


@pytest.mark.parametrize(
    ("call", "kind"), [*SOON, *storms(*(case for case in CASES if case not in SOON))]
)
def test_every_fault_at_every_call(make_bench, call, kind):
    bench = make_bench()
    bench.write("cloud-ca", cloud=QUICK)
    bend = fault(call, kind)
    bend.at = 0 if call.startswith("GET") else 3
    bench.cloud.faults.append(bend)
    ran = register(bench, "--concurrency", "3")
    assert bend.seen
    if ran.code != 0:
        bench.cloud.faults.clear()
        ran = register(bench)
    once_each(bench, ran)


@pytest.mark.storm
@pytest.mark.parametrize("call", CALLS[1:])
def test_an_effect_that_comes_late_is_waited_for(make_bench, call):
    bench = make_bench()
    bench.write("cloud-ca", cloud={**QUICK, "lost_answer_grace_s": 2.0})
    bench.cloud.faults.append(Fault(call, "late", 1.0, at=2))
    once_each(bench, register(bench))
