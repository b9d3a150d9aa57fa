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


def test_a_dry_run_says_what_the_run_would_do(make_bench):
    with make_bench(2) as bench:
        port, other = bench.world.port(1), bench.world.port(2)

        def devices():
            return [device["deviceId"] for device in bench.world.state()["devices"]]

        def looked_at(at):
            before = devices()
            ran = bench.provision(at, more=("--dry-run",))
            assert ran.code == 0, ran.stdout + ran.stderr
            assert devices() == before
            return ran.envelope["data"]["boards"][0]

        begun = looked_at(port)
        assert begun["decision"] == "begin"
        assert begun["steps"][:2] == ["expect", "lookup"]
        assert "verify" in begun["steps"]
        assert bench.provision(port).code == 0
        done = looked_at(port)
        assert (done["decision"], done["already"]) == ("recheck", True)
        assert done["steps"] == ["read-back", "verify"]
        again = bench.provision(port, more=("--dry-run", "--again")).envelope["data"]["boards"][0]
        assert again["decision"] == "begin-anew"
        assert again["error"]["code"] == "identity.registry-conflict"  # its device is live
        assert bench.provision(other, more=("--until", "register")).code == 0
        assert looked_at(other)["decision"] == "continue"
        ran = bench.provision(port, more=("--dry-run",), output="human")
        assert "would PASS already" in ran.stdout
        assert bench.provision(port).envelope["data"]["boards"][0]["already"]
