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


def test_which_dialect_answers_is_found_out(at_shell):
    ran = at_shell.infuse("serial", "probe", "--port", at_shell.world.port(1), "--output", "json")
    assert ran.envelope["data"]["dialect"] == "at-shell", ran.stdout + ran.stderr


