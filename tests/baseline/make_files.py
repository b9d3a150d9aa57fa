"""Files that the program writes for later or for another bench, and the plans of profiles."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from infuse_cli.pipeline.plan import plan_for, plan_hash
from infuse_cli.profile_source import load
from make_journals import MODES, new_bench, profile_of
from world import HERE, store, write_packed, write_profile

from infuse_cli import profile as prof

if TYPE_CHECKING:
    from world import StoredBench

SECRET: Final = ("--passphrase-file", str(HERE / "passphrase"))
PROFILES: Final = ("nrf9151-dk", "thingy91x", "custom-board", "simulator")


def make_files(data: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_bench(data / "files", Path(folder))


def make_bench(data: Path, folder: Path) -> None:
    """A bench with a backup, a signed head, a hand-over, and sealed tokens and keys.

    The hand-over holds the tokens of two boards that are still to come. The board `after` went on
    after the backup and the head were made, and was killed with its token sealed.
    """
    bench = new_bench(folder, "local-ca", "127.91.51.9")
    profile = profile_of(bench, "local-ca")
    write_profile(bench, {**profile, "keys": {"interfaces": ["udp"], "to": "sealed"}})
    try:
        assert bench.on("provision", bench.board("passed")).code == 0
        bench.board("handed over")
        bench.board("handed over too")
        said = {"hand-over": hand_over(bench)}
        done(bench, "journal", "backup", "backup", "--seal", *SECRET)
        done(bench, "journal", "backup", "plain")
        done(bench, "journal", "head", "--out", "head", *SECRET)
        said["backup"] = answers(bench)
        assert bench.on("provision", bench.board("after"), failpoint="done:token").code == -9
        said["now"] = answers(bench)
        store(bench, data / "bench.tar.xz")
        write_packed(data / "bench.json.xz", said)
    finally:
        bench.close()


def hand_over(bench: StoredBench) -> dict[str, Any]:
    """Register two boards as a batch on a home of its own, and hand their tokens over."""
    boards = [bench.boards[name] for name in ("handed over", "handed over too")]
    rows = [f"0{board.modem.imei},pump-{number}" for number, board in enumerate(boards)]
    (bench.folder / "lot.csv").write_text("\n".join(["mcuId,name", *rows, ""]))
    done(bench, "batch", "register", "lot.csv", home="job")
    return done(
        bench, "batch", "export", "lot.csv", "--for-bench", "hand-over", *SECRET, home="job"
    )


def done(bench: StoredBench, *words: str, home: str = "home") -> dict[str, Any]:
    ran = bench.infuse(*words, "--output", "json", home=home)
    assert ran.code == 0, (words, ran.stdout, ran.stderr)
    found: dict[str, Any] = ran.envelope["data"]
    return found


def answers(bench: StoredBench) -> dict[str, Any]:
    return {
        words: done(bench, *words.split())
        for words in ("journal verify", "journal list --limit 0", "journal summary", "ca list")
    }


# Profiles


def make_plans(data: Path) -> None:
    """What runs would record of each built-in profile in each mode, and the plan that it gives."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        rows = {
            f"{base} {mode}": plan_of(Path(folder), base, mode)
            for base, mode in itertools.product(PROFILES, MODES)
        }
    write_packed(data / "plans.json.xz", rows)


def plan_of(folder: Path, base: str, mode: str) -> dict[str, Any]:
    (folder / "server.pem").write_text("")
    token = mode in {"local-ca", "first-boot"}
    values: dict[str, Any] = {
        "name": f"baseline-{mode}",
        "extends": base,
        "cloud": {"organisation": {"name": "Acme"}, "board": {"name": "Sensor"}},
        "identity": {"mode": mode},
        "keys": {"interfaces": ["udp"]},
    }
    if mode in {"local-ca", "cloud-ca"}:
        values["identity"] |= {"sec_tag": 4201, "server_ca": str(HERE / "server.pem")}
    if mode != "none":
        values["registry"] = {"base_url": "https://api.infuse-iot.com", "auth": "same"}
    if token:
        values["token"] = {"store": "psk", "sec_tag": 4202}
    path = folder / f"{base}-{mode}.yaml"
    path.write_text(yaml.safe_dump(values))
    profile = load(str(path), {}).profile
    return {
        "profile": prof.to_json(profile),
        "digest": prof.digest(profile),
        "plan": list(plan_for(profile)),
        "planHash": plan_hash(profile),
    }
