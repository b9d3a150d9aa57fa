"""The whole line over each dialect, on real pseudo-terminals."""

from __future__ import annotations

import pytest

from infuse_cli.types import CredentialType
from tests.line.conftest import audit

pytestmark = pytest.mark.posix


@pytest.fixture(scope="module")
def at_shell(make_bench):
    with make_bench(3, faults="*:dialect=at-shell, 2:no-echo, 3:urc") as bench:
        yield bench


def test_three_boards_with_an_at_shell_pass(at_shell):
    ran = at_shell.provision(*at_shell.world.ports)
    assert ran.code == 0, ran.stdout + ran.stderr
    boards = ran.envelope["data"]["boards"]
    assert [(board["result"], board["possession"]) for board in boards] == [("PASS", "proven")] * 3
    assert audit(at_shell.world) == []
    for slot in at_shell.world.state()["slots"]:
        kinds = {(row["secTag"], row["type"]) for row in slot["credentials"]}
        assert {(4201, CredentialType.ROOT_CA), (4201, CredentialType.CLIENT_CERTIFICATE), (4202, CredentialType.PSK)} <= kinds


def test_boards_with_a_credential_shell_pass_and_are_known_by_their_chip(make_bench):
    with make_bench(2, faults="*:dialect=cred-shell, 2:no-echo") as bench:
        ran = bench.provision(*bench.world.ports)
        assert ran.code == 0, ran.stdout + ran.stderr
        boards = ran.envelope["data"]["boards"]
        assert [(board["result"], board["possession"]) for board in boards] == [("PASS", "unproven")] * 2
        assert [board["board"]["uuid"] for board in boards] == [f"nRF9151:{board['board']['mcuId']}" for board in boards]
        assert audit(bench.world) == []
        again = bench.provision(*bench.world.ports)
        assert [board["already"] for board in again.envelope["data"]["boards"]] == [True, True]


def test_a_plan_that_the_dialect_cannot_carry_out_is_refused_before_a_board_is_touched(make_bench, tmp_path):
    with make_bench(1) as bench:
        profile = tmp_path / "strict.yaml"
        profile.write_text(f"name: strict\nextends: {bench.profile}\ntoken: {{store: settings, name: infuse/token}}\n")
        ran = bench.infuse("provision", "--profile", str(profile), "--port", bench.world.port(1), "--output", "json")
        assert ran.code == 3, ran.stdout + ran.stderr
        assert "store the registration token in settings" in ran.envelope["data"]["boards"][0]["error"]["message"]
        assert bench.world.state()["slots"][0]["credentials"] == []
        assert bench.world.state()["devices"] == []


def test_which_dialect_answers_is_found_out(at_shell):
    ran = at_shell.infuse("serial", "probe", "--port", at_shell.world.port(1), "--output", "json")
    assert ran.envelope["data"]["dialect"] == "at-shell", ran.stdout + ran.stderr


