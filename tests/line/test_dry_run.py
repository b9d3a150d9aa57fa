"""--dry-run only reads: nothing is made in the cloud, on the board or in the journal."""

from __future__ import annotations

from infuse_cli.journal.store import open_journal


def test_a_dry_run_before_the_cloud_board_exists_looks_and_makes_nothing(make_bench):
    with make_bench(1) as bench:
        before = bench.world.state()
        ran = bench.provision(bench.world.port(1), more=("--dry-run",))
        assert ran.code == 0, ran.stdout + ran.stderr
        board = ran.envelope["data"]["boards"][0]
        assert (board["result"], board["error"], ran.envelope["data"]["dryRun"]) == (
            None,
            None,
            True,
        )
        after = bench.world.state()
        assert after["devices"] == before["devices"] == []
        assert after["boards"] == before["boards"] == []
        assert after["slots"][0]["credentials"] == before["slots"][0]["credentials"]
        with open_journal(bench.home) as journal:
            assert journal.attempts(board["board"]["uuid"]) == []
        assert bench.provision(bench.world.port(1)).code == 0
