"""SIGKILL at every step boundary and in the middle of every effect: running again brings the board
to PASS.

Afterwards cloud, CA and boards show no second live device, no token spent twice, no certificate
unaccounted for.
"""

from __future__ import annotations

import signal

import pytest

from infuse_cli.journal.store import open_journal
from infuse_cli.types import IdentityMode
from tests.support.thin import thin
from tests.support.world import audit

MINT = "POST /devices/registration/tokens"


def boundaries(*steps: str) -> list[str]:
    return [f"{place}:{step}" for step in steps for place in ("before", "begun", "ran", "done")]


LOCAL_CA = [
    *boundaries("server-ca", "keygen", "register", "token", "flash", "sign", "install"),
    *(
        f"before:{step}"
        for step in ("expect", "lookup", "vet", "read-back", "possession", "derive", "verify")
    ),
    "wire:server-ca",
    "wire:keygen",
    "wire:flash",
    "wire:flash#2",
    "wire:install",
    "sent:POST /device",
    "answered:POST /device",
    f"sent:{MINT}",
    f"answered:{MINT}",
    "signed",
]
CLOUD_CA = [
    *boundaries("token", "provision"),
    "sent:POST /devices/provision",
    "answered:POST /devices/provision",
    "before:verify",
]
FIRST_BOOT = [*boundaries("flash"), "wire:flash", "before:check-in"]
NONE = [*boundaries("register")]

GRACE = "lost_answer_grace_s: 0.2"


def quick_grace(bench):
    """The same profile with a shorter grace, since nothing in this world answers late."""
    import yaml

    path = bench.world.folder / "quick.yaml"
    profile = yaml.safe_load(bench.world.profile.read_text())
    profile["cloud"]["lost_answer_grace_s"] = 0.2
    path.write_text(yaml.safe_dump(profile))
    return str(path)


@pytest.fixture(scope="module")
def local_ca(make_bench):
    with make_bench(len(LOCAL_CA)) as bench:
        bench.profile = quick_grace(bench)
        yield bench


@pytest.fixture(scope="module")
def cloud_ca(make_bench):
    with make_bench(len(CLOUD_CA), IdentityMode.CLOUD_CA) as bench:
        bench.profile = quick_grace(bench)
        yield bench


@pytest.fixture(scope="module")
def first_boot(make_bench):
    with make_bench(len(FIRST_BOOT), IdentityMode.FIRST_BOOT, active_wait_s=20.0) as bench:
        bench.profile = quick_grace(bench)
        yield bench


@pytest.fixture(scope="module")
def none(make_bench):
    with make_bench(len(NONE), IdentityMode.NONE) as bench:
        bench.profile = quick_grace(bench)
        yield bench


def killed_then_passes(bench, point: str) -> dict:
    port = bench.world.port(bench.slot())
    killed = bench.provision(port, failpoint=point)
    assert killed.code == -signal.SIGKILL, killed.stdout + killed.stderr
    again = bench.provision(port)
    assert again.code == 0, again.stdout + again.stderr
    board = again.envelope["data"]["boards"][0]
    assert board["result"] == "PASS"
    assert audit(bench.world) == []
    assert functional_mode(bench, board["board"]["uuid"]) == 1
    return board


def functional_mode(bench, uuid: str) -> int:
    return next(
        slot["functionalMode"] for slot in bench.world.state()["slots"] if slot["uuid"] == uuid
    )


def certificates(bench, board: dict) -> list[str]:
    with open_journal(bench.home) as journal:
        return [row.serial for row in journal.certificates(board=board["board"]["uuid"])]


@pytest.mark.parametrize("point", thin(LOCAL_CA, 7))
def test_local_ca_survives_a_kill(local_ca, point):
    board = killed_then_passes(local_ca, point)
    assert certificates(local_ca, board) == [board["certificate"]["serial"]]
    assert board["possession"] == "proven"


@pytest.mark.parametrize("point", thin(CLOUD_CA, 4))
def test_cloud_ca_survives_a_kill(cloud_ca, point):
    board = killed_then_passes(cloud_ca, point)
    spent = unseen(cloud_ca, board)
    assert certificates(cloud_ca, board) == [board["certificate"]["serial"]]
    assert spent == (
        1 if point == "answered:POST /devices/provision" or point == "ran:provision" else 0
    )


def unseen(bench, board: dict) -> int:
    """Certificates that were issued and never seen: each is on record."""
    with open_journal(bench.home) as journal:
        return sum(
            "issuedUnseen" in attempt.facts for attempt in journal.attempts(board["board"]["uuid"])
        )


@pytest.mark.parametrize("point", thin(FIRST_BOOT, 3, first=1))
def test_first_boot_survives_a_kill(first_boot, point):
    killed_then_passes(first_boot, point)


@pytest.mark.parametrize("point", thin(NONE, 4, first=2))
def test_registration_alone_survives_a_kill(none, point):
    killed_then_passes(none, point)
