"""Where only a look at the other side tells what happened: a board that may be made, a token that
may be spent.
"""

from __future__ import annotations

import signal

import pytest

from infuse_cli.types import IdentityMode
from tests.support.world import audit


@pytest.mark.storm
def test_killed_while_the_cloud_makes_its_board_makes_no_second_one(make_bench):
    """Names of cloud boards need not be unique: the run after it looks until the first POST has had
    its time.
    """
    with make_bench(1) as bench:
        bench.world.set_faults("cloud:latency=500ms@POST /board#1")
        killed = bench.provision(bench.world.port(1), failpoint="sent:POST /board")
        assert killed.code == -signal.SIGKILL
        assert bench.world.state()["boards"] == []
        ran = bench.provision(bench.world.port(1))
        assert ran.code == 0, ran.stdout + ran.stderr
        state = bench.world.state()
        assert len(state["boards"]) == 1
        assert state["requests"]["POST /board"]["count"] == 1
        assert audit(bench.world) == []


def test_a_first_boot_board_whose_answer_was_lost_is_no_bad_board(make_bench):
    with make_bench(
        1,
        IdentityMode.FIRST_BOOT,
        active_wait_s=2.0,
        faults="cloud:drop-after@POST /devices/provision",
    ) as bench:
        ran = bench.provision(bench.world.port(1))
        (board,) = ran.envelope["data"]["boards"]
        assert (board["result"], board["error"]["code"], ran.code) == (
            "ERROR",
            "identity.token-spent",
            8,
        )
        assert "its token was used" in board["error"]["message"]
        assert "antenna" not in ran.stdout
