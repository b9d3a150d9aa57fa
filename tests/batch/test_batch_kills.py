"""SIGKILL at every boundary of a batch: the same command again, and each row exists exactly
once.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest

from infuse_cli.types import TokenState
from tests.batch.conftest import Job, matches

ROWS = 12
CLIENT_MINT = "POST /devices/registration/tokens"
POINTS = [
    "begun:row",
    "begun:row#2",
    "ran:row",
    "done:row",
    "done:row#2",
    "sent:POST /device",
    "sent:POST /device#5",
    "answered:POST /device",
    "answered:POST /device#7",
]
MINTS = [
    f"sent:{CLIENT_MINT}",
    f"sent:{CLIENT_MINT}#6",
    f"answered:{CLIENT_MINT}",
    f"answered:{CLIENT_MINT}#6",
]
QUICK = {"begun:row#2", "answered:POST /device#7", f"answered:{CLIENT_MINT}#6"}


def points(*names: str) -> list[Any]:
    """The whole matrix is for the storm; a few of it run always."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.storm) for name in names]


@pytest.mark.parametrize("point", points(*POINTS))
def test_rows_survive_a_kill(job: Job, point: str) -> None:
    path = job.file(ROWS)
    killed = job.register(path, "--concurrency", "2", failpoint=point)
    assert killed.code == -signal.SIGKILL, killed.stdout + killed.stderr
    data = job.done(path)
    assert data["totals"]["created"] + data["totals"]["existed"] == ROWS
    assert len(job.devices()) == ROWS
    assert job.sent("POST /device", "409") == 0, "a device that exists was posted again"
    matches(job, data)
    with job.journal() as journal:
        assert journal.verify() == []


@pytest.mark.parametrize("point", points(*POINTS[2:], *MINTS))
def test_rows_with_tokens_survive_a_kill(job: Job, point: str) -> None:
    path = job.file(ROWS, named=True)
    killed = job.register(path, "--concurrency", "2", failpoint=point)
    assert killed.code == -signal.SIGKILL, killed.stdout + killed.stderr
    data = job.done(path)
    assert len(job.devices()) == len(job.registry()) == ROWS
    assert job.sent("POST /device", "409") == 0
    matches(job, data)
    pending = {token["id"] for token in job.world.state()["tokens"] if token["status"] == "PENDING"}
    with job.journal() as journal:
        minted = [token for token in journal.tokens() if token.state is TokenState.MINTED]
        assert {token.token_id for token in minted} == pending, (
            "every live token is on record, and no other"
        )
        assert all(journal.secret(f"token:{token.intent}") for token in minted)
        assert not [token for token in journal.tokens() if token.state is TokenState.INTENDED]
        assert journal.verify() == []
