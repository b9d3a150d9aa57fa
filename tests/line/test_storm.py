"""The storm: random SIGKILLs over runs of eight boards, then running again brings every board to
PASS.

INFUSE_STORM_KILLS says how many (100), INFUSE_STORM_SEED which (printed when it fails).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading

import pytest

from infuse_cli.journal.store import open_journal
from infuse_cli.sim.modem import Delays
from infuse_cli.sim.up import SimOptions, running
from infuse_cli.types import AttemptState, IdentityMode, TokenState
from tests.line.test_kill_points import quick_grace
from tests.support.world import Bench, audit

KILLS = int(os.environ.get("INFUSE_STORM_KILLS", "100"))
SEED = int(os.environ.get("INFUSE_STORM_SEED", str(random.SystemRandom().randrange(1 << 32))))
BOARDS = 8
LIVE = {TokenState.MINTED, TokenState.DELIVERED, TokenState.INTENDED}

CALM = ""
ROUGH = "cloud:drop-before=0.05, cloud:drop-after=0.05, cloud:429=0.05, cloud:5xx=0.05"


def killed_after(bench: Bench, ports: list[str], seconds: float) -> bool:
    """Begin a run and kill it; whether it was still there."""
    named = [word for port in ports for word in ("--port", port)]
    pid, out = bench.zygote.start(
        "provision", "--profile", bench.profile, *named, "--output", "json", env=bench.env
    )
    timer = threading.Timer(seconds, _kill, (pid,))
    timer.start()
    ran = bench.zygote.wait(pid, out)
    timer.cancel()
    return ran.code == -signal.SIGKILL


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def all_pass(bench: Bench, ports: list[str]) -> None:
    for _ in range(
        6
    ):  # in rough weather a run may end with a board parked; it is run again, as a person would
        ran = bench.provision(*ports)
        if ran.code == 0:
            break
        if spent := [
            board["port"]
            for board in ran.envelope["data"]["boards"]
            if (board["error"] or {}).get("code") == "identity.token-spent"
        ]:
            bench.provision(
                *spent, more=("--restart",)
            )  # two answers were lost: that is for a person to decide
    assert ran.code == 0, ran.stdout
    assert {board["result"] for board in ran.envelope["data"]["boards"]} == {"PASS"}


def accounts_balance(bench: Bench) -> None:
    """Every certificate, token and registry device is accounted for, in the journal and in the
    world.
    """
    state = bench.world.state()
    with open_journal(bench.home) as journal:
        rows = list(journal.certificates())
        live = [row for row in rows if row.state == "issued"]
        assert len({row.spki_sha256 for row in rows}) == len(rows), "two certificates for one key"
        assert len({row.board for row in live}) == len(live), "two live certificates for one board"
        assert not [
            attempt
            for attempt in journal.open_attempts()
            if attempt.state is not AttemptState.PASSED
        ]
        known = {row.token_id for row in journal.tokens()}
        pending = {token["id"] for token in state["tokens"] if token["status"] == "PENDING"}
        assert pending <= known, "a live token that the journal does not know"
        alive = [row for row in journal.tokens() if row.state in LIVE]
        assert len({row.board for row in alive}) == len(alive), "two live tokens for one board"


@pytest.mark.storm
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("weather", [CALM, ROUGH], ids=["calm", "rough"])
@pytest.mark.parametrize(
    "mode", [IdentityMode.LOCAL_CA, IdentityMode.CLOUD_CA], ids=lambda mode: mode.value
)
def test_the_storm_leaves_nothing_twice_and_nothing_lost(mode, weather, zygote, tmp_path):
    dice = random.Random(f"{SEED}-{mode.value}-{weather}")
    kills, world_number, longest = 0, 0, 1.2
    share = KILLS // 4 or 1
    while kills < share:
        world_number += 1
        options = SimOptions(
            boards=BOARDS,
            mode=mode,
            delays=Delays(keygen_s=0.1, nvm_s=0.01),
            baud=460800,
            faults=weather,
            seed=dice.randrange(1 << 30),
            active_wait_s=0.0,
        )
        with running(options) as world:
            bench = Bench(world, tmp_path / f"home{world_number}", zygote, "")
            bench.profile = quick_grace(bench)
            for _ in range(dice.randint(3, 8)):
                if not killed_after(bench, world.ports, dice.uniform(0.05, longest)):
                    longest = max(0.2, 0.8 * longest)  # on a quick machine a run is over sooner
                    break
                kills, longest = kills + 1, min(1.2, 1.1 * longest)
            all_pass(bench, world.ports)
            assert audit(world) == [], f"INFUSE_STORM_SEED={SEED}"
            accounts_balance(bench)
