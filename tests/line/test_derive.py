"""Derived keys: where the profile sends them, what is made here and what in the cloud, and nothing
of it anywhere else.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import stat
import sys
import urllib.request

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from infuse_cli import records as rec
from infuse_cli.journal.store import open_journal
from infuse_cli.keys import derivation as kd
from infuse_cli.keys import seal
from infuse_cli.types import IdentityMode
from tests.house import leaks


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(12, IdentityMode.NONE) as made:
        yield made


_count = itertools.count()


def run(bench, keys, code=0, slot=None):
    """Provision a fresh board under these keys: its object, and what its journal says of
    the step.
    """
    profile = yaml.safe_load(bench.world.profile.read_text())
    path = bench.world.folder / f"keys-{next(_count)}.yaml"
    path.write_text(yaml.safe_dump(profile | {"keys": keys}))
    port = bench.world.port(slot or bench.slot())
    ran = bench.infuse(
        "provision",
        "--profile",
        str(path),
        "--port",
        port,
        "--output",
        "json",
        "-vv",
        env={"HOME": str(bench.home.parent)},
    )
    assert ran.code == code, ran.stdout + ran.stderr
    board = ran.envelope["data"]["boards"][0]
    if code:
        return board, ran
    with open_journal(bench.home, create=False) as journal:
        facts = journal.attempts(board["board"]["uuid"])[-1].facts
    return board, facts


def cloud_key(bench, device_id, interface="udp"):
    body = json.dumps({"deviceId": device_id, "interface": interface}).encode()
    headers = {"Authorization": f"Bearer {bench.world.token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{bench.world.base_url}/key/derived/device", body, headers)
    ) as answer:
        return json.load(answer)["key"]


def test_a_file_for_each_key(bench, tmp_path):
    board, facts = run(
        bench,
        {"interfaces": ["udp", "serial"], "to": f"file:{tmp_path}/{{deviceId}}/{{interface}}.key"},
    )
    for interface in ("udp", "serial"):
        path = tmp_path / board["deviceId"] / f"{interface}.key"
        assert path.read_text() == cloud_key(bench, board["deviceId"], interface) + "\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(row["interface"], row["source"]) for row in facts["derived"]] == [
        ("udp", "cloud"),
        ("serial", "cloud"),
    ]
    assert (
        leaks.found(
            {"the key": cloud_key(bench, board["deviceId"]).encode()}, leaks.files(bench.home)
        )
        == []
    )


def test_a_program_gets_it_on_standard_input_and_nothing_else_of_ours(bench, tmp_path):
    program = tmp_path / "take key"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, json\njson.dump([sys.argv[1:], sys.stdin.read(),"
        f" dict(os.environ)], open({str(tmp_path / 'got')!r}, 'w'))\nprint('noise')\n"
    )
    program.chmod(0o755)
    board, _ = run(
        bench,
        {
            "interfaces": ["udp"],
            "to": f"command:'{program}' --device {{deviceId}} --for={{interface}}",
        },
    )
    words, given, environment = json.loads((tmp_path / "got").read_text())
    assert words == ["--device", board["deviceId"], "--for=udp"]
    assert given == cloud_key(bench, board["deviceId"]) + "\n"
    assert not [name for name in environment if name.startswith("INFUSE")]


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("command:/no/such/program", "cannot be started"),
        (f"command:{sys.executable} -c 'import sys; sys.exit(3)'", "ended with 3"),
        ("file:/proc/nothing/{deviceId}", "cannot be written"),
    ],
)
def test_a_place_that_does_not_take_it_is_our_error_and_running_again_goes_on(bench, to, told):
    slot = bench.slot()
    board, ran = run(bench, {"interfaces": ["udp"], "to": to}, code=4, slot=slot)
    assert (board["result"], board["failedStep"], board["error"]["code"]) == (
        "ERROR",
        "derive",
        "keys.delivery-failed",
    )
    assert told in board["error"]["message"]
    assert cloud_key(bench, board["deviceId"]) not in ran.stdout + ran.stderr
    assert run(bench, {"interfaces": ["udp"], "to": "none"}, slot=slot)[0]["result"] == "PASS"


def test_sealed_in_the_journal(bench):
    board, _ = run(bench, {"interfaces": ["udp"], "to": "sealed"})
    sealer = seal.load_sealer(
        seal.bench_keys(bench.home, {"key_file": str(bench.home) + ".sealing"}, {}), create=False
    )
    with open_journal(bench.home, create=False) as journal:
        name = f"key:{journal.attempts(board['board']['uuid'])[-1].attempt}:udp"
        assert sealer.unseal(journal.secret(name), name).reveal() == cloud_key(
            bench, board["deviceId"]
        )


def test_a_public_key_that_a_batch_named_makes_the_keys_here(bench, tmp_path):
    slot = bench.slot()
    shown = bench.infuse(
        "provision",
        "--profile",
        bench.profile,
        "--port",
        bench.world.port(slot),
        "--dry-run",
        "--output",
        "json",
    ).envelope
    mcu_id = shown["data"]["boards"][0]["board"]["mcuId"]
    mine = X25519PrivateKey.generate()
    public = base64.b64encode(mine.public_key().public_bytes_raw()).decode()
    with open_journal(bench.home) as journal:
        journal.start_run(
            rec.RunStart(
                run="batch-1",
                command="batch register",
                profile_name="p",
                profile_hash="h",
                profile={},
                operator="o",
            )
        )
        journal.commit(
            rec.EndRow(
                run="batch-1",
                organisation="org",
                soc="nRF9151",
                mcu_id=mcu_id,
                line=2,
                state="created",
                facts={"publicKey": public},
            )
        )
        journal.end_run("batch-1", {})
    board, facts = run(
        bench, {"interfaces": ["udp"], "to": f"file:{tmp_path}/{{mcuId}}"}, slot=slot
    )
    key = facts["deviceKey"]
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{bench.world.base_url}/key/publicKey",
            headers={"Authorization": f"Bearer {bench.world.token}"},
        )
    ) as answer:
        cloud = base64.b64decode(json.load(answer)["key"])
    (row,) = facts["derived"]
    assert row["source"] == "local"
    assert base64.b64decode((tmp_path / mcu_id).read_text()) == kd.packet_key(
        kd.shared_secret(mine.private_bytes_raw(), cloud), "udp", row["dayIndex"]
    )
    assert (key["publicKey"], key["from"], key["keyId"]) == (
        public,
        "batch",
        f"{kd.device_key_id(cloud, base64.b64decode(public)):06x}",
    )
    assert key["agrees"] is False, "the virtual cloud does not know this key pair"
    assert f"day {row['dayIndex']}" in key["warning"]
    assert board["result"] == "PASS", "a difference is told, and no reason to fail"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"to": "elsewhere"}, "none, sealed, file:TEMPLATE"),
        ({"to": "file:/k/{deviceID}"}, "unknown fact 'deviceID'"),
        ({"to": "file:/k/all"}, "one file"),
        ({"to": "file:/k/{deviceId}", "interfaces": ["udp", "serial"]}, "{interface}"),
        ({"to": "file:k/{deviceId}"}, "whole path"),
        ({"to": "command:a 'b"}, "no command line"),
        ({"public_key": {"command": "AT#KEY", "pattern": "("}}, "not a regular expression"),
    ],
)
def test_a_place_that_makes_no_sense_is_found_before(bench, tmp_path, keys, told):
    profile = yaml.safe_load(bench.world.profile.read_text())
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(profile | {"keys": {"interfaces": ["udp"], **keys}}))
    ran = bench.infuse(
        "profile", "check", str(path), "--output", "json", env={"PATH": os.environ["PATH"]}
    )
    assert ran.code == 3
    assert told in ran.stdout
