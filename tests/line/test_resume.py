"""`infuse resume`: what was left unfinished goes on, on any port, under the profile that its run
recorded.
"""

from __future__ import annotations

import signal

import pytest
import yaml
from cryptography import x509

from infuse_cli.journal.store import open_journal
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
    untouched = next(
        slot for slot in bench.world.state()["slots"] if bench.world.port(slot["slot"]) == other
    )
    assert untouched["credentials"] == []
    assert bench.infuse("resume", "--output", "json").code == 0


def test_resume_uses_what_was_recorded_whatever_became_of_the_files(bench, tmp_path):
    """Of the profile, and of the certificate profile of one's own that it names."""
    copy, own = tmp_path / "moved.yaml", tmp_path / "plant.yaml"
    copy.write_text(
        yaml.safe_dump(
            {
                **(told := yaml.safe_load(bench.world.profile.read_text())),
                "identity": {**told["identity"], "certificate": str(own)},
            }
        )
    )
    own.write_text(
        "subject: {CN: '{name}', O: Example Provider}\nallow: {CN: '[0-9a-f]{16}'}\nlimits: {day:"
        " 9}\n"
    )
    words = (
        "provision",
        "--profile",
        str(copy),
        "--port",
        bench.world.port(bench.slot()),
        "--output",
        "json",
    )
    assert bench.infuse(*words, failpoint="done:register").code == -signal.SIGKILL
    own.write_text(own.read_text().replace("Example Provider", "Another Provider"))
    changed = bench.infuse(*words)
    assert (changed.code, changed.envelope["errors"][0]["code"]) == (8, "plan.changed")
    copy.unlink()
    own.unlink()
    board = bench.infuse("resume", "--output", "json").envelope["data"]["boards"][0]
    assert board["result"] == "PASS"
    with open_journal(bench.home) as journal:
        record = next(
            one for one in journal.certificates() if one.serial == board["certificate"]["serial"]
        )
    assert (
        x509.load_pem_x509_certificate(record.pem.encode()).subject.rfc4514_string()
        == f"O=Example Provider,CN={board['deviceId']}"
    )


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
