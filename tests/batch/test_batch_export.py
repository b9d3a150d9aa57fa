"""`infuse batch export` and `infuse journal import`: what leaves a journal, and what arrives at
another bench.
"""

from __future__ import annotations

import csv
import io
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infuse_cli import failpoint
from infuse_cli import records as rec
from infuse_cli.cli import main
from infuse_cli.journal.rows import of_chip
from infuse_cli.journal.store import open_journal
from infuse_cli.keys import sealed_file
from infuse_cli.keys.seal import BenchKeys, load_sealer
from infuse_cli.records.rows import cloud_key
from infuse_cli.types import Secret, TokenState

ORGANISATION, SOC = "3f0b7a52-8d52-4f43-9df5-7a4cbb1b1c11", "nRF9151"
SECRETS = {number: f"drt_very-secret-{number:04d}" for number in range(1, 10)}
PASSPHRASE = "corect horse batery stable"


def mcu(number):
    return f"{number:016x}"


class Home:
    """A bench: its home, its sealing key, and `infuse` in this process."""

    def __init__(self, folder: Path, name: str, monkeypatch, capsys):
        self.home, self.key, self._patch, self._capsys = (
            folder / name,
            folder / f"{name}.sealing",
            monkeypatch,
            capsys,
        )
        self.home.mkdir(mode=0o700)
        (self.home / "bench.yaml").write_text(f"station: {name}\n")
        self.file = folder / "lot.hand-over"

    def __call__(self, *words, code=0):
        """The envelope of a command."""
        got, out, err = self.raw(*words, "--output", "json")
        assert (got, err) == (code, ""), (out, err)
        return json.loads(out)

    def raw(self, *words):
        self._patch.setenv("INFUSE_SEALING_KEY_FILE", str(self.key))
        code = main.run([*words, "--home", str(self.home)])
        told = self._capsys.readouterr()
        for secret in SECRETS.values():
            assert secret not in told.out + told.err
        assert "Traceback" not in told.err
        return code, told.out, told.err

    def data(self, *words):
        return self(*words)["data"]

    def error(self, *words, code):
        (error,) = self(*words, code=code)["errors"]
        return error["code"], error["message"]

    def export(self, *words, code=0):
        return self(
            "batch",
            "export",
            *words,
            "--for-bench",
            str(self.file),
            "--passphrase-file",
            str(self.passphrase()),
            code=code,
        )

    def take_over(self, code=0, passphrase=PASSPHRASE):
        return self(
            "journal",
            "import",
            str(self.file),
            "--passphrase-file",
            str(self.passphrase(passphrase)),
            code=code,
        )

    def passphrase(self, text=PASSPHRASE):
        path = self.file.with_suffix(".pass")
        path.touch(0o600)
        path.write_text(f"{text}\n")
        return path

    def journal(self):
        return open_journal(self.home, create=False)

    def tokens(self):
        with self.journal() as journal:
            assert journal.verify() == []
            return {token.name: token.state for token in journal.tokens()}

    def secret(self, number):
        with self.journal() as journal:
            (token,) = journal.tokens(board=cloud_key(SOC, mcu(number)))
            name = f"token:{token.intent}"
            return (
                load_sealer(BenchKeys(self.home, self.key), create=False)
                .unseal(journal.secret(name), name)
                .reveal()
            )


def register(home, numbers, *, named=(), state="created", expires=timedelta(hours=1), exposed=()):
    """What `batch register` leaves behind."""
    sealer = load_sealer(BenchKeys(home.home, home.key), create=True)
    with open_journal(home.home) as journal:
        run = f"run-{state}-{min(numbers)}"
        journal.start_run(
            rec.RunStart(
                run=run,
                command="batch register",
                profile_name="p",
                profile_hash="",
                profile={},
                operator="ci",
            )
        )
        together = []
        for number in numbers:
            key = {
                "organisation": ORGANISATION,
                "soc": SOC,
                "mcu_id": mcu(number),
                "run": run,
                "line": number + 1,
            }
            ids = (
                {"device_id": f"d{number:015x}", "id": f"00000000-0000-4000-8000-{number:012x}"}
                if state in {"created", "existed"}
                else {}
            )
            writes = [rec.BeginRow(**key)]
            if number in named:
                intent, secret = f"{number:032x}", Secret(SECRETS[number])
                writes += [
                    rec.IntendToken(
                        intent=intent, name=f"pump-{number}", board=cloud_key(SOC, mcu(number))
                    ),
                    rec.MintToken(
                        intent=intent,
                        token_id=f"t{number}",
                        registry_device_id=f"r{number}",
                        sha256=secret.sha256(),
                        expires_at=datetime.now(UTC) + expires,
                    ),
                    rec.StoreSecret(
                        name=f"token:{intent}", sealed=sealer.seal(secret, f"token:{intent}")
                    ),
                ]
                ids |= {
                    "registry_device_id": f"r{number}",
                    "token_intent": intent,
                    "name": f"pump-{number}",
                }
            if number in exposed:
                writes.append(
                    rec.MoveToken(
                        intent=intent, from_state=TokenState.MINTED, to_state=TokenState.DELIVERED
                    )
                )
            together += [*writes, rec.EndRow(**key, state=state, **ids)]
        journal.commit(*together)
        journal.end_run(run, {})


@pytest.fixture
def benches(tmp_path, monkeypatch, capsys):
    for name in ("INFUSE_OUTPUT", "INFUSE_PROFILE", "INFUSE_HOME"):
        monkeypatch.delenv(name, raising=False)
    # The real cost of a passphrase is a third of a second each time.
    monkeypatch.setattr(sealed_file, "_LOG2_N", 1)
    return Home(tmp_path, "line-a", monkeypatch, capsys), Home(
        tmp_path, "line-b", monkeypatch, capsys
    )


@pytest.fixture
def home(benches):
    return benches[0]


@pytest.fixture
def other(benches):
    return benches[1]


class TestIds:
    def test_rows_as_csv_and_json(self, home, tmp_path):
        register(home, [1, 2], named=[2])
        register(home, [3], state="refused")
        code, out, _ = home.raw("batch", "export")
        assert code == 0
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [list(row.values())[:6] for row in rows] == [
            [mcu(1), "d000000000000001", "00000000-0000-4000-8000-000000000001", "", "", "created"],
            [
                mcu(2),
                "d000000000000002",
                "00000000-0000-4000-8000-000000000002",
                "r2",
                "pump-2",
                "created",
            ],
            [mcu(3), "", "", "", "", "refused"],
        ]
        assert list(rows[0])[:6] == [
            "mcuId",
            "deviceId",
            "id",
            "registryDeviceId",
            "name",
            "outcome",
        ]
        as_json = json.loads(home.raw("batch", "export", "--format", "json")[1])
        assert [row["mcuId"] for row in as_json] == [mcu(1), mcu(2), mcu(3)]
        assert home.data("batch", "export")["rows"] == as_json
        out = tmp_path / "ids.csv"
        assert home.data("batch", "export", "--out", str(out)) == {
            "rows": 3,
            "outcomes": {"created": 2, "refused": 1},
            "out": str(out),
        }
        assert len(out.read_text().splitlines()) == 4

    def test_only_the_rows_of_a_file_in_its_order(self, home, tmp_path):
        register(home, [1, 2])
        lot = tmp_path / "lot.csv"
        lot.write_text(f"mcuId\n{mcu(2)}\n{mcu(7)}\nbad\n")
        rows = home.data("batch", "export", str(lot))["rows"]
        assert [(row["mcuId"], row["outcome"]) for row in rows] == [
            (mcu(2), "created"),
            (mcu(7), "not-begun"),
        ]

    def test_nothing_on_record(self, home, tmp_path):
        lot, out = tmp_path / "lot.csv", tmp_path / "ids.csv"
        lot.write_text(f"mcuId\n{mcu(7)}\n")
        assert home.error("batch", "export", code=10)[0] == "journal.not-found"
        register(home, [1])
        assert (
            home.error("batch", "export", str(lot), "--out", str(out), code=10)[0]
            == "journal.not-found"
        )
        assert not out.exists()

    def test_places_that_cannot_be_written(self, home, tmp_path):
        register(home, [1])
        assert (
            home.error("batch", "export", "--out", str(tmp_path), code=2)[0] == "usage.bad-option"
        )
        assert (
            home.error("batch", "export", "--out", str(tmp_path / "no" / "ids.csv"), code=2)[0]
            == "usage.bad-option"
        )
        assert home.error("batch", "export", "--again", code=2)[0] == "usage.bad-option"
        assert (
            home.error("batch", "export", "--for-bench", "x", "--out", "y", code=2)[0]
            == "usage.bad-option"
        )


class TestHandOver:
    def test_tokens_and_ids_arrive_at_another_bench_once(self, home, other):
        register(home, [1, 2, 3], named=[1, 2])
        told = home.export()["data"]
        assert (told["devices"], told["tokens"], told["withoutToken"]) == (3, 2, 1)
        assert told["firstExpiry"] is not None
        assert stat.S_IMODE(home.file.stat().st_mode) == 0o600
        assert home.file.read_bytes().startswith(b"infuse-hand-over 1\n")
        assert b"pump-1" not in home.file.read_bytes()
        assert home.tokens() == {"pump-1": TokenState.HANDED_OVER, "pump-2": TokenState.HANDED_OVER}

        first = other.take_over()["data"]
        assert (first["station"], first["devices"], first["tokens"], first["already"]) == (
            "line-a",
            3,
            2,
            0,
        )
        assert other.tokens() == {"pump-1": TokenState.MINTED, "pump-2": TokenState.MINTED}
        assert [other.secret(number) for number in (1, 2)] == [SECRETS[1], SECRETS[2]]
        with other.journal() as journal:
            (row,) = of_chip(journal, mcu(1))
            events = journal.event_count()
        assert (row.state, row.device_id, row.registry_device_id, row.name) == (
            "existed",
            "d000000000000001",
            "r1",
            "pump-1",
        )

        again = other.take_over()["data"]
        assert (again["devices"], again["tokens"], again["already"], again["tokensAlready"]) == (
            0,
            0,
            3,
            2,
        )
        with other.journal() as journal:
            assert journal.event_count() == events + 3, "a run and what it found, and nothing else"

    def test_a_token_is_not_handed_over_twice(self, home):
        register(home, [1, 2], named=[1])
        home.export()
        home.file = home.file.with_name("second")
        assert home.export(code=8)["errors"][0]["code"] == "batch.handed-over"
        assert not home.file.exists()
        assert home.export("--again")["data"]["tokens"] == 1
        register(home, [3], named=[3])
        home.file = home.file.with_name("third")
        told = home.export()["data"]
        assert (told["tokens"], told["handedOverBefore"], told["devices"]) == (1, 1, 3)

    def test_what_is_used_expired_or_not_registered_stays(self, home):
        register(home, [1], named=[1], expires=timedelta(seconds=-1))
        register(home, [2], named=[2], exposed=[2])
        register(home, [3], state="refused")
        register(home, [4], named=[4])
        told = home.export()["data"]
        assert (
            told["devices"],
            told["tokens"],
            told["expired"],
            told["inUse"],
            told["leftOut"],
        ) == (3, 1, 1, 1, 1)
        assert home.tokens() == {
            "pump-1": TokenState.MINTED,
            "pump-2": TokenState.DELIVERED,
            "pump-4": TokenState.HANDED_OVER,
        }

    def test_nothing_registered(self, home):
        register(home, [3], state="refused")
        assert home.export(code=2)["errors"][0]["code"] == "batch.nothing"

    def test_a_file_that_exists_is_never_replaced(self, home):
        register(home, [1], named=[1])
        home.file.write_text("mine")
        assert home.export(code=2)["errors"][0]["code"] == "usage.bad-option"
        assert home.tokens() == {"pump-1": TokenState.MINTED}

    def test_a_kill_before_the_file_is_in_its_place_keeps_the_promise(self, home, monkeypatch):
        register(home, [1], named=[1])

        def die(name):
            if name == "done:hand-over":
                raise KeyboardInterrupt

        monkeypatch.setattr(failpoint, "hit", die)
        home.raw(
            "batch",
            "export",
            "--for-bench",
            str(home.file),
            "--passphrase-file",
            str(home.passphrase()),
        )
        monkeypatch.undo()
        assert not home.file.exists()
        assert home.tokens() == {"pump-1": TokenState.HANDED_OVER}

    def test_without_a_passphrase(self, home):
        register(home, [1], named=[1])
        assert (
            home.error("batch", "export", "--for-bench", str(home.file), code=4)[0]
            == "credential.no-passphrase"
        )

    @pytest.mark.parametrize(
        ("spoil", "code"),
        [
            (lambda data: data[:-20], 4),
            (lambda data: data[:40], 4),
            (lambda data: data[:-1] + bytes([data[-1] ^ 1]), 4),
            (lambda data: data + b"x", 4),
            (lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:], 4),
            (lambda data: b"", 10),
            (lambda data: b"PK" + data, 10),
        ],
        ids=[
            "cut",
            "cut in the head",
            "a bit changed",
            "added",
            "head changed",
            "empty",
            "another file",
        ],
    )
    def test_a_spoilt_file_is_refused_and_changes_nothing(self, home, other, spoil, code):
        register(home, [1, 2], named=[1])
        home.export()
        home.file.write_bytes(spoil(home.file.read_bytes()))
        assert (
            other.take_over(code=code)["errors"][0]["code"]
            == {4: "credential.bad-passphrase", 10: "journal.not-backup"}[code]
        )
        assert not (other.home / "journal.sqlite3").exists()

    def test_another_passphrase(self, home, other):
        register(home, [1], named=[1])
        home.export()
        error = other.take_over(code=4, passphrase="correct horse battery staple")["errors"][0]
        assert (error["code"], "the passphrase is another one" in error["message"]) == (
            "credential.bad-passphrase",
            True,
        )

    def test_a_token_that_ran_out_on_the_way_is_left_out(self, home, other):
        register(home, [1], named=[1])
        home.export()
        with home.journal() as journal:
            (token,) = journal.tokens()
        lines = [
            {"handOver": "x", "station": "line-a", "created": "2026-03-31T12:00:00Z"},
            {
                "organisationId": ORGANISATION,
                "soc": SOC,
                "mcuId": mcu(1),
                "line": 2,
                "deviceId": "d000000000000001",
                "token": {
                    "intent": token.intent,
                    "name": "pump-1",
                    "tokenId": "t1",
                    "registryDeviceId": "r1",
                    "token": SECRETS[1],
                    "expiresAt": "2020-01-01T00:00:00Z",
                },
            },
        ]
        with home.file.open("wb") as file:
            sealed_file.seal(
                io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in lines)),
                file,
                Secret(PASSPHRASE),
                b"infuse-hand-over 1\n",
            )
        told = other.take_over()["data"]
        assert (told["devices"], told["tokens"], told["expired"]) == (1, 0, 1)

    def test_a_hand_over_of_another_form(self, home, other):
        with home.file.open("wb") as file:
            sealed_file.seal(
                io.BytesIO(b'{"handOver": 1}\n'), file, Secret(PASSPHRASE), b"infuse-hand-over 1\n"
            )
        error = other.take_over(code=10)["errors"][0]
        assert (error["code"], "another version" in error["message"]) == (
            "journal.not-backup",
            True,
        )

    def test_many_devices_arrive(self, home, other):
        """More than a piece of the file, and more than one commit."""
        register(home, range(1, 451), named=[7])
        assert home.export()["data"]["devices"] == 450
        assert home.file.stat().st_size > 70_000
        told = other.take_over()["data"]
        assert (told["devices"], told["tokens"]) == (450, 1)
        assert other.secret(7) == SECRETS[7]
