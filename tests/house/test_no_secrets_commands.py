"""Every command that handles a secret, green and red, however verbose: none is in what is printed
or left behind.
"""

from __future__ import annotations

import itertools
import os
import re

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infuse_cli.keys import derivation as kd
from tests.house import leaks
from tests.house.test_no_secrets import derived_key, impatient

BACKUP = b"backup-passphrase-9d1f"
ROOT = bytes(range(7, 39))
NETWORK = bytes(range(50, 82))
PRIVATE = bytes(range(90, 122))
WRONG = b"wrong-passphrase-4c0a"
DAY = 16203


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(6) as made:
        made.profile = impatient(made)
        yield made


@pytest.fixture
def away(tmp_path):
    """Where secrets may be: outside the home, in files of their own."""
    for name, content in (
        ("backup.pass", BACKUP),
        ("root.key", ROOT.hex().encode()),
        ("network.key", NETWORK),
        ("private.key", PRIVATE),
        ("wrong.pass", WRONG),
    ):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "temporary").mkdir()
    header = kd.SecurityHeader(kd.CLOUD_PUBLIC_KEY, kd.public_key(PRIVATE), 0)
    block = kd.seal_security_block(
        ROOT, header, kd.SecurityProof(bytes(16), bytes(8), 7), bytes(12)
    )
    (tmp_path / "state").write_bytes(header.encode() + block)
    return tmp_path


def secrets_of(bench) -> dict[str, bytes]:
    world, passphrase = bench.world, (bench.world.folder / "passphrase").read_bytes().strip()
    found = {
        "the credential": world.token.encode(),
        "the CA passphrase": passphrase,
        "the backup's passphrase": BACKUP,
        "a wrong passphrase": WRONG,
        "a root key": ROOT,
        "a network key": NETWORK,
        "a private key": PRIVATE,
    }
    found |= {
        f"a key of {name}": make
        for name, make in (
            ("sign", kd.sign_key(ROOT)),
            ("the network", kd.packet_key(NETWORK, "serial", DAY)),
        )
    }
    for path in bench.home.parent.glob("home.sealing*"):
        found[f"the sealing key {path.name}"] = path.read_bytes().strip()
    for path in (world.folder / "ca").glob("*.key.pem"):
        found[f"the key of {path.name}"] = (
            load_pem_private_key(path.read_bytes(), passphrase)
            .private_numbers()
            .private_value.to_bytes(32, "big")
        )
    for device in world.state()["devices"]:
        found[f"the derived key of {device['deviceId']}"] = derived_key(world, device["deviceId"])
    return found


def commands(bench, away, board: str, port: str) -> list[tuple[int, str]]:
    """Exit code and words; in the order in which a bench might be treated."""
    ca = f"--ca {bench.world.folder / 'ca'} --passphrase-file {bench.world.folder / 'passphrase'}"
    seal = f"--passphrase-file {away}/backup.pass"
    return [
        (0, "auth status"),
        (0, "doctor"),
        (0, f"journal show {board} --events"),
        (0, "journal export"),
        (0, "journal verify"),
        (0, f"journal head --out {away}/head {ca}"),
        (
            9,
            (
                f"journal head --out {away}/head --ca {bench.world.folder / 'ca'} --passphrase-file"
                f" {away}/wrong.pass"
            ),
        ),
        (0, f"journal backup {away}/copy {seal}"),
        (4, f"journal import {away}/copy --passphrase-file {away}/wrong.pass"),
        (0, f"journal import {away}/copy {seal}"),
        (4, f"journal import {away}/copy"),
        (0, "journal rekey"),
        (0, "key public"),
        (0, f"key derive --device {board}"),
        (0, f"key derive --device {board} --out {away}/derived"),
        (0, f"key shared-secret --device {board}"),
        (0, f"key derive --root-key {away}/root.key --interface sign"),
        (0, f"key derive --root-key {away}/root.key --interface sign --out {away}/sign"),
        (0, f"key derive --private-key {away}/private.key --interface coap"),
        (2, f"key derive --root-key {away}/root.key --reveal"),
        (0, f"key network --key-file {away}/network.key --interface serial --day {DAY}"),
        (2, f"key network --key-file {away}/nothing"),
        (0, f"key verify {away}/state --root-key {away}/root.key"),
        (8, f"key verify {away}/state --private-key {away}/private.key"),
        (0, f"network create N --network-id 77 --key-file {away}/network.key"),
        (6, f"network create N --network-id 77 --key-file {away}/network.key"),
        (0, f"mqtt token --out {away}/mqtt"),
        (2, "mqtt token --reveal"),
        (0, f"registry token create gw --out {away}/gw"),
        (8, f"registry token create gw --out {away}/gw2"),
        (0, "registry token list"),
        (0, "registry token ledger"),
        (0, "registry token revoke gw --yes"),
        (0, f"device show {board}"),
        (0, f"ca show --ca {bench.world.folder / 'ca'}"),
        (9, f"key rotate {board} --port {port} --passphrase-file {away}/wrong.pass"),
        (0, f"key rotate {board} --port {port}"),
        (0, f"device retire {board} --yes"),
        (8, f"provision --port {port}"),
        (0, "journal verify"),
    ]


@pytest.mark.storm
def test_no_command_gives_a_secret_away(bench, away):
    port = bench.world.port(bench.slot())
    board = bench.provision(port).envelope["data"]["boards"][0]["deviceId"]
    printed, before = {}, secrets_of(bench)
    env = {
        "INFUSE_PROFILE": bench.profile,
        "TMPDIR": str(away / "temporary"),
        "INFUSE_TOKEN": bench.world.token,
    }
    for (code, words), output in zip(
        commands(bench, away, board, port),
        itertools.cycle(("human", "json", "jsonl")),
        strict=False,
    ):
        ran = bench.infuse(*words.split(), "-vv", "--output", output, env=env)
        assert ran.code == code, (words, ran.stdout, ran.stderr)
        printed[f"what `{words.split(' --')[0]}` ({output}) printed"] = (
            ran.stdout + ran.stderr
        ).encode()
    secrets = before | secrets_of(bench)
    assert leaks.found(secrets, printed) == []
    assert leaks.found(secrets, leaks.files(bench.home)) == []
    assert (
        leaks.found(
            secrets,
            {
                name: content
                for name, content in leaks.files(away).items()
                if name.endswith(("/head", "/copy"))
            },
        )
        == []
    )
    assert list((away / "temporary").iterdir()) == []


TROUBLES = ["html", "half-json", "drop-after", "5xx-after"]
CALLS = [
    "POST /key/derived/device",
    "POST /key/sharedSecret",
    "POST /mqtt/token",
    "POST /network",
    "POST /devices/registration/tokens",
]


def test_a_cloud_in_trouble_gets_nothing_out(bench, away):
    """Whatever the answer is: what was sent, and what came back in part, is not in what a person is
    told.
    """
    words = {
        CALLS[0]: "key derive --device {board}",
        CALLS[1]: "key shared-secret --public-key " + kd.public_key(PRIVATE).hex(),
        CALLS[2]: "mqtt token --out {away}/m",
        CALLS[3]: "network create T{n} --network-id {n} --key-file {away}/network.key",
        CALLS[4]: "registry token create g{n} --out {away}/g{n}",
    }
    board = bench.provision(bench.world.port(bench.slot())).envelope["data"]["boards"][0][
        "deviceId"
    ]
    printed = {}
    env = {"INFUSE_PROFILE": bench.profile, "INFUSE_TOKEN": bench.world.token}
    for number, (call, fault) in enumerate(
        zip(itertools.chain(CALLS, CALLS), itertools.cycle(TROUBLES), strict=False), 1000
    ):
        bench.world.set_faults(f"cloud:{fault}@{call}#1")
        ran = bench.infuse(
            *words[call].format(board=board, away=away, n=number).split(), "-vv", env=env
        )
        printed[f"{call} with {fault}"] = (ran.stdout + ran.stderr).encode()
    bench.world.set_faults("")
    secrets = secrets_of(bench)
    assert leaks.found(secrets, printed | leaks.files(bench.home)) == []


SECRET_LOOK = re.compile(
    rb"drt_[\w-]{20,}|ik_[A-Za-z0-9]{12,}\.[A-Za-z0-9]{16,}|-----BEGIN (?:EC |RSA |ENCRYPTED"
    rb" )?PRIVATE KEY-----|eyJ[\w-]{20,}\.[\w-]{20,}\."
)


def test_examples_docs_and_profiles_hold_none():
    from pathlib import Path

    home = Path(__file__).parents[2]
    places = [
        path
        for folder in ("examples", "docs", "profiles")
        for path in (home / folder).rglob("*")
        if path.is_file()
    ]
    assert len(places) > 30
    assert [str(path) for path in places if SECRET_LOOK.search(path.read_bytes())] == []
    assert not [
        name
        for name in os.listdir(home / "examples")  # noqa: PTH208
        if name.endswith((".key", ".pem", ".pass"))
    ]
