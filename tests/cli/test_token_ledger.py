"""The ledger of registration tokens against the virtual registry: every token ends in exactly one
way, and both sides agree.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from infuse_cli import records as rec
from infuse_cli.cli import main
from infuse_cli.devices.token_ledger import Seen, judge
from infuse_cli.journal.store import open_journal
from infuse_cli.sim.cloud_app import CloudOptions
from infuse_cli.sim.cloud_server import ServerThread
from infuse_cli.types import TokenState as S

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def token(state, over=False, token_id="t"):
    return rec.TokenRecord(
        intent="i",
        name="n",
        state=state,
        token_id=token_id,
        registry_device_id="d",
        expires_at=NOW + timedelta(hours=-1 if over else 1),
    )


@pytest.mark.parametrize(
    ("state", "over", "seen", "ends"),
    [
        (S.MINTED, False, Seen(True, "PENDING"), None),
        (S.DELIVERED, False, Seen(True, "PENDING"), None),
        (S.CONSUMED, False, Seen(False, "ACTIVE"), None),
        (S.REVOKED, False, Seen(False, None), None),
        (S.DELIVERED, False, Seen(False, "ACTIVE"), S.CONSUMED),
        (S.DELIVERED, True, Seen(False, "OFFLINE"), S.CONSUMED),
        (S.MINTED, True, Seen(False, "PENDING"), S.EXPIRED),
        (S.DELIVERED, True, Seen(True, "PENDING"), S.EXPIRED),
        (S.MINTED, False, Seen(False, "PENDING"), S.REVOKED),
        (S.DELIVERED, False, Seen(False, None), S.REVOKED),
        (S.DELIVERED, False, Seen(False, "PENDING"), S.COMPROMISED),
    ],
)
def test_what_ends_a_token(state, over, seen, ends):
    verdict = judge(token(state, over), seen, NOW)
    assert (None if verdict is None else verdict.state) == ends


def test_what_has_ended_here_and_not_there_is_revoked_and_a_lost_mint_is_named():
    assert judge(token(S.COMPROMISED), Seen(True, "PENDING"), NOW).revoke
    lost = judge(token(S.INTENDED, token_id=None), Seen(False, None), NOW)
    assert (lost.state, lost.revoke) == (None, False)


@pytest.fixture
def infuse(tmp_path, monkeypatch, capsys):
    server = ServerThread(CloudOptions(token="admin", organisations=("Example Provider",)))
    url = server.start().base_url
    for name in ("OUTPUT", "REGISTRY_TOKEN", "PROFILE"):
        monkeypatch.delenv(f"INFUSE_{name}", raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "bench.yaml").write_text("station: line-2\n")
    for name, value in (
        ("HOME", tmp_path / "home"),
        ("BASE_URL", url),
        ("REGISTRY_URL", url),
        ("TOKEN", "admin"),
    ):
        monkeypatch.setenv(f"INFUSE_{name}", str(value))

    def run(*argv, code=0):
        got = main.run([*map(str, argv), "--output", "json"])
        told = capsys.readouterr()
        assert got == code, told
        return json.loads(told.out)

    run.world, run.home = server.world, tmp_path / "home"
    run.mint = lambda name: run("registry", "token", "create", name, "--out", tmp_path / name)[
        "data"
    ]["token"]
    yield run
    server.stop()


def test_the_ledger_counts_names_and_settles(infuse):
    tokens = {name: infuse.mint(name) for name in ("one", "two", "three")}
    data = infuse("registry", "token", "ledger")["data"]
    assert not any(row["trouble"] for row in data["disagreeing"])
    assert (
        data["tokens"],
        data["states"]["minted"],
        data["disagreeing"],
        data["pendingElsewhere"],
    ) == (3, 3, [], 0)
    world = infuse.world
    with world.clock.lock:
        world.registry.tokens[tokens["one"]["id"]].status = "REVOKED"
        world.registry.tokens[tokens["two"]["id"]].status = "CONSUMED"
        world.registry.devices[tokens["two"]["registryDeviceId"]].status = "ACTIVE"
    told = infuse("registry", "token", "ledger")
    assert {row["name"]: row["settles"] for row in told["data"]["disagreeing"]} == {
        "one": "revoked",
        "two": "consumed",
    }
    assert infuse("registry", "token", "ledger", "--offline")["data"]["states"]["minted"] == 3
    settled = infuse("registry", "token", "ledger", "--settle")["data"]["states"]
    assert {name: count for name, count in settled.items() if count} == {
        "minted": 1,
        "revoked": 1,
        "consumed": 1,
    }
    assert infuse("registry", "token", "ledger")["data"]["disagreeing"] == []


def test_what_ended_here_is_revoked_there(infuse):
    minted = infuse.mint("one")
    with open_journal(infuse.home) as journal:
        (row,) = journal.tokens()
        journal.commit(
            rec.MoveToken(intent=row.intent, from_state=S.MINTED, to_state=S.COMPROMISED)
        )
    assert (
        infuse("registry", "token", "ledger", code=10)["data"]["disagreeing"][0]["revoke"] is True
    )
    infuse("registry", "token", "ledger", "--settle")
    assert infuse.world.registry.tokens[minted["id"]].status == "REVOKED"


def test_all_tokens_of_a_stolen_bench(infuse):
    infuse.mint("one")
    infuse.mint("two")
    (infuse.home / "bench.yaml").write_text("station: line-1\n")
    mine = infuse.mint("mine")
    infuse("registry", "token", "revoke", "--station", "nowhere", "--yes", code=10)
    infuse("registry", "token", "revoke", "--station", "line-2", code=2)
    infuse("registry", "token", "revoke", code=2)
    data = infuse("registry", "token", "revoke", "--station", "line-2", "--yes")["data"]
    assert [row["state"] for row in data["tokens"]] == ["revoked", "revoked"]
    assert [one.id for one in infuse.world.registry.tokens.values() if one.status == "PENDING"] == [
        mine["id"]
    ]
    assert (
        infuse("registry", "token", "revoke", "--station", "line-2", "--yes")["data"]["tokens"]
        == []
    )
    assert infuse("registry", "token", "ledger")["data"]["states"]["revoked"] == 2
