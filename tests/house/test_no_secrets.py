"""No secret is in what is printed, in the journal, in a file left behind, or in a command line:
green or red, however verbose.
"""

import itertools
import json
import os
import subprocess
import sys
import urllib.request

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infuse_cli.types import IdentityMode
from tests.house import leaks
from tests.support.thin import thin

MINT = "POST /devices/registration/tokens"
PROVISION = "POST /devices/provision"

GREEN = ["json", "jsonl", "human"]
TROUBLES = {
    IdentityMode.LOCAL_CA: [
        "{slot}:token=CME515",
        "{slot}:reset@token",
        "{slot}:unplug@token",
        "{slot}:garbage",
        "{slot}:echo",
        "{slot}:install=CME527",
        f"cloud:half-json@{MINT}",
        f"cloud:drop-after@{MINT}",
        "cloud:html@POST /key/derived/device",
    ],
    IdentityMode.CLOUD_CA: [
        f"cloud:{fault}@{PROVISION}" for fault in ("half-json", "5xx-after", "drop-after", "html")
    ],
}
SLOW = {IdentityMode.LOCAL_CA: "{slot}:hang@token", IdentityMode.CLOUD_CA: "{slot}:hang@install"}


@pytest.fixture(
    scope="module",
    params=thin([IdentityMode.LOCAL_CA, IdentityMode.CLOUD_CA], 2),
    ids=lambda mode: mode.value,
)
def bench(request, make_bench):
    with make_bench(24, request.param) as made:
        made.profile = impatient(made)
        yield made


def impatient(bench) -> str:
    profile = yaml.safe_load(bench.world.profile.read_text())
    profile["cloud"] |= {"lost_answer_grace_s": 0.2, "deadline_s": 2}
    path = bench.world.folder / "impatient.yaml"
    path.write_text(yaml.safe_dump(profile))
    return str(path)


def secrets_of(bench) -> dict[str, bytes]:
    """What this bench and its world keep secret, by name."""
    world = bench.world
    secrets = {
        "the credential": world.token.encode(),
        "the sealing key": bench.home.with_name("home.sealing").read_bytes().strip(),
    }
    if world.options.mode is IdentityMode.LOCAL_CA:
        passphrase = (world.folder / "passphrase").read_bytes().strip()
        secrets["the passphrase"] = passphrase
        for path in (world.folder / "ca").glob("*.key.pem"):
            key = load_pem_private_key(path.read_bytes(), passphrase)
            secrets[f"the key of {path.name}"] = key.private_numbers().private_value.to_bytes(
                32, "big"
            )
    for device in world.state()["devices"]:
        secrets[f"the derived key of {device['deviceId']}"] = derived_key(world, device["deviceId"])
    return secrets


def derived_key(world, device_id: str) -> bytes:
    body = json.dumps({"deviceId": device_id, "interface": "udp"}).encode()
    headers = {"Authorization": f"Bearer {world.token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{world.base_url}/key/derived/device", body, headers)
    ) as answer:
        return json.load(answer)["key"].encode()


def test_the_search_finds_what_is_there(tmp_path):
    token = b"drt_" + b"x" * 30
    for text in (
        b"a secret-1 b",
        b"a" + b"secret-1".hex().encode(),
        b"c2VjcmV0LTE",
        token,
        token.hex().encode(),
    ):
        (tmp_path / "file").write_bytes(text)
        assert leaks.found({"it": b"secret-1"}, leaks.files(tmp_path)), text
    assert leaks.found({"it": b"secret-2"}, {"a place": b"secret-1"}) == []


def run_all(bench, troubles: list[str]) -> tuple[dict[str, bytes], list[int]]:
    """Run a board with each trouble, the form of the output changing; what was printed by name, and
    the exit codes.
    """
    printed, codes = {}, []
    for output, trouble in zip(itertools.cycle(("human", "json", "jsonl")), troubles, strict=False):
        slot = bench.slot()
        port = bench.world.port(slot)
        bench.world.set_faults(trouble.format(slot=slot))
        ran = bench.provision(port, output=output, more=("-vv",))
        bench.world.set_faults("")
        printed |= {
            f"stdout of {output} with '{trouble}'": ran.stdout.encode(),
            f"stderr of {output} with '{trouble}'": ran.stderr.encode(),
        }
        codes.append(ran.code)
    return printed, codes


def nothing_got_out(bench, printed: dict[str, bytes], words: leaks.Words) -> None:
    secrets = secrets_of(bench)
    assert leaks.found(secrets, printed) == []
    assert leaks.found(secrets, {"a command line": b"\n".join(words.seen)}) == []
    assert leaks.found(secrets, leaks.files(bench.home)) == []


def test_a_green_run_gives_nothing_away(bench):
    with leaks.Words() as words:
        printed, codes = run_all(bench, ["", "", ""])
    assert codes == [0, 0, 0]
    nothing_got_out(bench, printed, words)


def test_trouble_gives_nothing_away(bench):
    with leaks.Words() as words:
        printed, codes = run_all(bench, TROUBLES[bench.world.options.mode])
    assert any(codes)
    nothing_got_out(bench, printed, words)


@pytest.mark.storm
def test_a_board_that_hangs_gives_nothing_away(bench):
    with leaks.Words() as words:
        printed, codes = run_all(bench, 3 * [SLOW[bench.world.options.mode]])
    assert 0 not in codes
    nothing_got_out(bench, printed, words)


def test_what_is_wrong_is_not_shown_either(bench, tmp_path):
    """A credential that the cloud refuses and a passphrase that does not fit are somebody's all the
    same.
    """
    wrong = {
        "a wrong credential": b"wrong-credential-5c1d",
        "a wrong passphrase": b"wrong-passphrase-77ab",
    }
    env = {"INFUSE_TOKEN": wrong["a wrong credential"].decode()}
    (tmp_path / "passphrase").touch(mode=0o600)
    (tmp_path / "passphrase").write_bytes(wrong["a wrong passphrase"])
    named = (
        "provision",
        "--profile",
        bench.profile,
        "--port",
        bench.world.port(bench.slot()),
        "-vv",
        "--output",
    )
    printed = {}
    for output in ("human", "json", "jsonl"):
        for what, ran in (
            ("credential", bench.infuse(*named, output, env=env)),
            (
                "passphrase",
                bench.infuse(*named, output, "--passphrase-file", str(tmp_path / "passphrase")),
            ),
        ):
            printed[f"{output} with a wrong {what}"] = (ran.stdout + ran.stderr).encode()
            assert ran.code or (
                what == "passphrase" and bench.world.options.mode is IdentityMode.CLOUD_CA
            )
    assert leaks.found(wrong, printed | leaks.files(bench.home)) == []


def test_a_simulated_run_keeps_its_secrets_and_leaves_nothing_behind(tmp_path):
    env = {key: value for key, value in os.environ.items() if not key.startswith("INFUSE_")} | {
        "TMPDIR": str(tmp_path)
    }
    secrets: dict[str, bytes] = {}
    with leaks.Words() as words:
        run = subprocess.Popen(
            [sys.executable, "-m", "infuse_cli", "provision", "--sim", "2", "-vv"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        printed = b""
        for line in run.stdout:
            printed += line
            for name in ("credential", "passphrase"):
                secrets |= {
                    f"the {name}": path.read_bytes().strip()
                    for path in tmp_path.glob(f"infuse-sim-*/{name}")
                }
        assert run.wait(60) == 0, printed.decode()
        run.stdout.close()
    assert set(secrets) == {"the credential", "the passphrase"}
    assert any(b"cloud_server" in line for line in words.seen)
    assert (
        leaks.found(secrets, {"the output": printed, "a command line": b"\n".join(words.seen)})
        == []
    )
    assert list(tmp_path.iterdir()) == []
