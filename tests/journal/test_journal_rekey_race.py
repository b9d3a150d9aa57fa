"""`infuse journal rekey` while another process of this bench loads its key, begins a run, seals a
secret and ends, at any moment of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations_with_replacement

import pytest

from infuse_cli import failpoint
from infuse_cli import records as rec
from infuse_cli.cli import main
from infuse_cli.journal.store import open_journal
from infuse_cli.keys import seal
from infuse_cli.types import Secret

OTHER = """
import sys
from pathlib import Path
from infuse_cli import records as rec
from infuse_cli.journal.store import open_journal
from infuse_cli.keys import seal
from infuse_cli.types import Secret
for word in map(str.strip, sys.stdin):
    if word.startswith("/"):
        home, key_file = Path(word) / "home", str(Path(word) / "sealing.key")
        journal = open_journal(home)
    elif word == "load":
        sealer = seal.load_sealer(seal.bench_keys(home, {"key_file": key_file}, {}), create=True)
    elif word == "start":
        nameless = {"profile_name": "", "profile_hash": "", "profile": {}}
        journal.start_run(rec.RunStart(run="other", command="provision", operator="o", **nameless))
    elif word == "seal":
        sealed = sealer.seal(Secret("secret-two"), "token:i2")
        journal.commit(rec.StoreSecret(name="token:i2", sealed=sealed))
    elif word == "end":
        journal.end_run("other", {})
    elif word == "open":
        print(sealer.unseal(journal.secret("token:i1"), "token:i1").reveal(), flush=True)
        continue
    print("done", flush=True)
"""
WORDS = ("load", "start", "seal", "end")
PLACES = ("before", "rekey:next", "rekey:resealed", "rekey:promoted", "rekey:asked", "after")
CASES = list(combinations_with_replacement(range(len(PLACES)), len(WORDS)))
QUICK = {(0, 5, 5, 5), (0, 1, 3, 5)}
"""Where each word is said: the key loaded and all else done after the change; begun within it and
ended after it.
"""


class Other:
    """The other process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, word: str) -> str:
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


@pytest.fixture(scope="module")
def process():
    other = Other()
    yield other
    other.end()


@pytest.fixture
def bench(tmp_path, monkeypatch, process):
    """A bench with one sealed secret, and the other process at it."""
    for name in ("INFUSE_OUTPUT", "INFUSE_PROFILE", "INFUSE_HOME", "INFUSE_SEALING_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "bench.yaml").write_text(
        f"station: bench-1\nsealing: {{key_file: {tmp_path / 'sealing.key'}}}\n"
    )
    with open_journal(tmp_path / "home") as journal:
        journal.commit(
            rec.StoreSecret(
                name="token:i1",
                sealed=keys(tmp_path, create=True).seal(Secret("secret-one"), "token:i1"),
            )
        )
    process.folder = tmp_path
    assert process(str(tmp_path)) == "done"
    return process


def keys(folder, *, create=False):
    return seal.load_sealer(
        seal.bench_keys(folder / "home", {"key_file": str(folder / "sealing.key")}, {}),
        create=create,
    )


def rekey(folder, capsys) -> tuple[int, dict]:
    code = main.run(["journal", "rekey", "--home", str(folder / "home"), "--output", "json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case in QUICK else pytest.mark.storm) for case in CASES],
    ids=lambda case: "".join(map(str, case)),
)
def test_nothing_that_is_sealed_meanwhile_is_lost(bench, monkeypatch, capsys, case):
    said = dict(zip(WORDS, case, strict=True))

    def at(place: str) -> None:
        for word in WORDS:
            if PLACES[said[word]] == place:
                assert bench(word) == "done"

    monkeypatch.setattr(failpoint, "hit", at)
    at("before")
    code, told = rekey(bench.folder, capsys)
    if (said["start"], said["end"]) != (0, 0) and said["start"] == 0:
        assert (code, told["errors"][0]["code"]) == (10, "journal.conflict")
        for place in PLACES[1:-1]:
            at(place)
    else:
        assert code == 0, told
        assert said["load"] == 5 or bench("open") == "secret-one"
    at("after")
    everything_opens(bench.folder)
    monkeypatch.undo()
    assert rekey(bench.folder, capsys)[0] == 0
    everything_opens(bench.folder)
    assert sorted(path.name for path in bench.folder.glob("sealing.key*")) == ["sealing.key"]


def everything_opens(folder) -> None:
    sealer = keys(folder)
    with open_journal(folder / "home") as journal:
        assert [
            sealer.unseal(journal.secret(name), name).reveal() for name in ("token:i1", "token:i2")
        ] == ["secret-one", "secret-two"]


@pytest.mark.storm
def test_two_that_change_the_key_at_once(bench, monkeypatch, capsys):
    seen = []

    def at(place: str) -> None:
        if place == "rekey:next" and not seen:
            seen.append(place)
            words = ["journal", "rekey", "--home", str(bench.folder / "home"), "--output", "json"]
            second = subprocess.run(
                [sys.executable, "-m", "infuse_cli", *words],
                capture_output=True,
                text=True,
                check=False,
            )
            seen.append(json.loads(second.stdout)["errors"][0]["code"])

    monkeypatch.setattr(failpoint, "hit", at)
    assert rekey(bench.folder, capsys)[0] == 0
    assert seen[1:] == ["journal.conflict"]
    with open_journal(bench.folder / "home") as journal:
        assert (
            keys(bench.folder).unseal(journal.secret("token:i1"), "token:i1").reveal()
            == "secret-one"
        )
