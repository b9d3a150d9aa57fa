"""The steps of SECURITY.md after a bench was stolen, as they are written there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from cryptography import x509

from tests.line.test_kill_points import quick_grace

PAGE = Path(__file__).parents[2] / "SECURITY.md"


def steps() -> list[str]:
    block = re.search(
        r"```sh\n(export INFUSE_HOME.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert block is not None
    return [line for line in block[1].splitlines() if line.startswith("infuse ")]


@pytest.fixture
def bench(make_bench):
    with make_bench(2) as made:
        made.home.mkdir(mode=0o700)
        (made.home / "bench.yaml").write_text("station: line-2\n")
        made.profile = quick_grace(made)
        yield made


def test_the_steps_do_what_they_say(bench, tmp_path, monkeypatch):
    world, passphrase = bench.world, bench.world.folder / "passphrase"
    board = bench.provision(world.port(bench.slot())).envelope["data"]["boards"][0]
    env = {"INFUSE_PROFILE": bench.profile}
    (tmp_path / "backup.pass").touch(0o600)
    (tmp_path / "backup.pass").write_text("backup passphrase")
    assert (
        bench.infuse(
            "registry", "token", "create", "gw", "--out", str(tmp_path / "gw"), env=env
        ).code
        == 0
    )
    for words in (
        f"journal backup {tmp_path}/line-2.backup --passphrase-file {tmp_path}/backup.pass",
        (
            f"journal head --out {tmp_path}/line-2.head --ca {world.folder / 'ca'}"
            f" --passphrase-file {passphrase}"
        ),
    ):
        assert bench.infuse(*words.split(), env=env).code == 0
    safe = tmp_path / "line-2-ca"
    safe.mkdir()
    for path in (world.folder / "ca").rglob("*"):
        if path.is_file() and "key" not in path.name:
            (safe / path.relative_to(world.folder / "ca")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, safe / path.relative_to(world.folder / "ca"))
    root_key = next((world.folder / "ca").rglob("root.key.pem"))
    shutil.copy(root_key, tmp_path / "root.key.pem")
    shutil.copy(passphrase, tmp_path / "root.pass")
    home = {"INFUSE_HOME": str(tmp_path / "home"), "INFUSE_PROFILE": bench.profile}
    done = []
    for line in steps():
        words = [
            re.sub(
                r"^(/safe/)?((line-2|root|backup|boards)[\w./-]*)$",
                lambda match: (
                    str(tmp_path / match[2]) if match[2] not in {"line-2", "root"} else match[2]
                ),
                word,
            )
            for word in shlex.split(line)[1:]
        ]
        ran = bench.infuse(*words, "--output", "json", env=home)
        assert ran.code == 0, (line, ran.stdout, ran.stderr)
        done.append(ran.envelope)
    assert len(done) == 7
    (listed,) = x509.load_pem_x509_crl((tmp_path / "root.crl").read_bytes())
    chain = x509.load_pem_x509_certificates((safe / "intermediate.pem").read_bytes())
    assert listed.serial_number == chain[0].serial_number
    assert [row["name"] for row in done[4]["data"]["tokens"] if row["state"] == "revoked"] == ["gw"]
    assert board["certificate"]["serial"] in (tmp_path / "boards.csv").read_text()


@pytest.mark.storm
def test_a_board_gets_an_identity_of_another_bench(bench, tmp_path):
    """As the page says, and as the first refusal there says too."""
    board, home = (
        bench.provision(bench.world.port(bench.slot())).envelope["data"]["boards"][0],
        tmp_path / "line-3",
    )
    for words in ("registry device delete {deviceId}", "provision --replace"):
        assert words.format(deviceId="DEVICE") in PAGE.read_text(encoding="utf-8")
    env, port = (
        {
            "INFUSE_HOME": str(home),
            "INFUSE_SEALING_KEY_FILE": f"{home}.sealing",
            "INFUSE_PROFILE": bench.profile,
        },
        board["port"],
    )
    (told,) = bench.infuse(
        "provision", "--replace", "--port", port, "--output", "json", env=env
    ).envelope["errors"]
    (named,) = re.findall(r"`infuse (registry device delete .*?)`", told["hint"])
    assert (told["code"], named) == (
        "identity.registry-conflict",
        f"registry device delete {board['deviceId']}",
    )
    assert bench.infuse(*named.split(), "--yes", env=env).code == 0
    (after,) = bench.infuse(
        "provision", "--replace", "--port", port, "--output", "json", env=env
    ).envelope["data"]["boards"]
    assert (after["result"], after["deviceId"]) == ("PASS", board["deviceId"])
    assert after["certificate"]["sha256"] != board["certificate"]["sha256"]
