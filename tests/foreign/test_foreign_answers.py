"""A cloud that answers wrongly makes no board another one's device, and once it is right again the
board passes. A device that has connected is live, though it is gone again.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.foreign.cloud import Cloud
from tests.foreign.test_foreign_kills import check_world, prepared


class WrongCloud(Cloud):
    """Puts `wrong_answer` into what it answers about one device."""

    wrong_answer: Any = None

    def answer(self, request: Any) -> tuple[int, Any]:
        status, body = super().answer(request)
        about_one = re.search(r"/mcuId/", request.path) or request.call == "POST /device"
        wrong = self.wrong_answer if about_one and status < 300 else None
        return status, body if wrong is None else {**body, **wrong}


def result_of(ran):
    assert "Traceback" not in ran.stdout + ran.stderr
    return ran.envelope["data"]["boards"][0]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"mcuId": "0352656100000001"}, id="another-chip"),
        pytest.param({"deviceId": "ffffffffffffffff"}, id="blank"),
        pytest.param({"deviceId": "A device"}, id="form"),
    ],
)
@pytest.mark.parametrize("mode", ["local-ca", "none"])
def test_an_answer_that_is_not_about_this_board_is_the_clouds_fault(make_bench, mode, wrong):
    cloud = WrongCloud()
    cloud.seed(fields=[])
    bench = make_bench(cloud)
    bench.write(mode)
    board = bench.board()
    cloud.wrong_answer = wrong
    result = result_of(bench.provision(board))
    assert (result["result"], result["error"]["code"]) == ("ERROR", "cloud.bad-answer")
    assert result["certificate"] is None
    assert len(cloud.state.devices) == 1
    cloud.wrong_answer = None
    bench.passes(board)
    assert len(cloud.state.devices) == 1


def test_two_boards_never_pass_as_one_device(make_bench):
    cloud = WrongCloud()
    cloud.seed(fields=[])
    bench = make_bench(cloud)
    bench.write("none", keys=None)
    first, second = bench.board(), bench.board()
    cloud.wrong_answer = {"deviceId": "00112233aabbccdd"}
    ran = bench.provision(first, second)
    results = sorted(board["result"] for board in ran.envelope["data"]["boards"])
    assert results == ["ERROR", "PASS"]
    again = bench.provision(first, second)
    assert sorted(board["result"] for board in again.envelope["data"]["boards"]) == results
    cloud.wrong_answer = None
    for board in (first, second):
        bench.passes(board, more=("--restart",))


def test_a_device_that_went_offline_is_not_taken_away(make_bench):
    bench, (board,) = prepared(make_bench, "first-boot")
    bench.passes(board)
    (device,) = bench.cloud.state.registry.values()
    for status in ("OFFLINE", "INACTIVE", "MAINTENANCE"):
        device["status"] = status
        result = result_of(bench.provision(board, more=("--again",)))
        assert (result["result"], result["error"]["code"]) == ("FAIL", "identity.registry-conflict")
        assert status in result["error"]["message"]
        assert list(bench.cloud.state.registry.values()) == [device]


def test_a_board_that_connected_and_went_is_seen(make_bench):
    bench, (board,) = prepared(make_bench, "first-boot")
    connect = board.online

    def drop(modem):
        connect(modem)
        for device in bench.cloud.state.registry.values():
            if device["status"] == "ACTIVE":
                device["status"] = "OFFLINE"

    board.online = drop
    bench.passes(board)
    assert len(bench.cloud.state.minted) == 1
    for device in bench.cloud.state.registry.values():
        device["status"] = "ACTIVE"
    check_world(bench, [board], "first-boot")
