"""`infuse resume`: what was left unfinished goes on, on any port, under the profile that its run recorded."""

from __future__ import annotations

import signal

import pytest

from tests.support.world import audit


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(8) as bench:
        yield bench


def test_resume_finishes_a_killed_board_without_being_told_anything(bench):
    port = bench.world.port(bench.slot())
    assert bench.provision(port, failpoint="begun:install").code == -signal.SIGKILL
    resumed = bench.infuse("resume", "--output", "json")
    assert resumed.code == 0, resumed.stdout
    data = resumed.envelope["data"]
    assert [board["result"] for board in data["boards"]] == ["PASS"]
    assert data["absent"] == []
    assert audit(bench.world) == []


def test_resume_with_nothing_to_do_says_so(bench):
    resumed = bench.infuse("resume")
    assert resumed.code == 0
    assert "Nothing to go on with" in resumed.stdout


@pytest.mark.storm
def test_resume_leaves_other_boards_alone_and_lists_the_absent(bench):
    begun, other = bench.world.port(bench.slot()), bench.world.port(bench.slot())
    assert bench.provision(begun, failpoint="ran:keygen").code == -signal.SIGKILL
    resumed = bench.infuse("resume", "--port", other, "--output", "json")
    assert resumed.code == 7
    assert resumed.envelope["data"]["boards"] == []
    assert len(resumed.envelope["data"]["absent"]) == 1
    untouched = next(slot for slot in bench.world.state()["slots"] if bench.world.port(slot["slot"]) == other)
    assert untouched["credentials"] == []
    assert bench.infuse("resume", "--output", "json").code == 0


def test_resume_uses_the_recorded_profile_even_if_the_file_has_gone(bench, tmp_path):
    copy = tmp_path / "moved.yaml"
    copy.write_text(bench.world.profile.read_text())
    port = bench.world.port(bench.slot())
    killed = bench.infuse("provision", "--profile", str(copy), "--port", port, failpoint="done:register")
    assert killed.code == -signal.SIGKILL
    copy.unlink()
    assert bench.infuse("resume", "--output", "json").envelope["data"]["boards"][0]["result"] == "PASS"


def test_provision_goes_on_too_and_names_what_is_unfinished(bench):
    port = bench.world.port(bench.slot())
    assert bench.provision(port, failpoint="begun:sign").code == -signal.SIGKILL
    ran = bench.infuse("provision", "--profile", bench.profile, "--port", port)
    assert ran.code == 0
    assert "unfinished" in ran.stderr.lower()


def test_a_board_that_was_written_to_by_somebody_else_is_not_resumed_blindly(bench):
    slot = bench.slot()
    port = bench.world.port(slot)
    assert bench.provision(port, failpoint="begun:install").code == -signal.SIGKILL
    nvm = bench.world.bench.boards[slot - 1].modem.nvm
    bench.world.bench.call(lambda: [nvm.delete(tag, kind) for tag, kind, _ in nvm.listed()])
    resumed = bench.infuse("resume", "--output", "json")
    assert resumed.code == 8
    assert resumed.envelope["data"]["boards"][0]["error"]["code"] == "identity.key-changed"
    restarted = bench.provision(port, more=("--restart",))
    assert restarted.code == 0, restarted.stdout
