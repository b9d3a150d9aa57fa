"""A token that can't be given to its board any more is no dead end: a new one is minted, and no
second live device is left.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from infuse_cli.types import IdentityMode
from tests.line.trouble import passes


@pytest.fixture(
    scope="module",
    params=[IdentityMode.LOCAL_CA, IdentityMode.CLOUD_CA, IdentityMode.FIRST_BOOT],
    ids=lambda mode: mode.value,
)
def bench(make_bench, request):
    with make_bench(4, request.param) as made:
        made.next_step = "provision" if request.param is IdentityMode.CLOUD_CA else "flash"
        yield made


@pytest.mark.parametrize("place", ["before", "begun"])
def test_the_sealing_key_is_lost(bench, place):
    slot = bench.slot()
    port = bench.world.port(slot)
    killed = bench.provision(port, failpoint=f"{place}:{bench.next_step}")
    assert killed.code == -signal.SIGKILL
    Path(bench.env["INFUSE_SEALING_KEY_FILE"]).unlink()
    passes(bench, slot)


def test_the_token_is_revoked_by_a_person(bench):
    slot = bench.slot()
    port = bench.world.port(slot)
    assert bench.provision(port, failpoint=f"before:{bench.next_step}").code == -signal.SIGKILL
    listed = bench.infuse(
        *("registry", "token", "list", "--profile", bench.profile, "--output", "json")
    )
    (row,) = [row for row in listed.envelope["data"]["tokens"] if row["status"] == "PENDING"]
    revoked = bench.infuse(
        *("registry", "token", "revoke", row["id"], "--yes"),
        *("--profile", bench.profile, "--output", "json"),
    )
    assert revoked.code == 0, revoked.stdout + revoked.stderr
    passes(bench, slot)
