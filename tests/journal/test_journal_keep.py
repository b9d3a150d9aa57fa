"""Copies, imports, heads and new keys of a journal, as a person at a bench makes them."""

from __future__ import annotations

import base64
import io
import json
import shutil
import signal
import sqlite3
import stat
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_line import Line

from infuse_cli import records as rec
from infuse_cli.cli import main
from infuse_cli.errors import CredentialError
from infuse_cli.journal import chain
from infuse_cli.journal.store import open_journal
from infuse_cli.keys import seal, sealed_file
from infuse_cli.types import AttemptState, Secret, StepState
from tests.support.thin import thin

S = StepState
PASSPHRASE = "correct horse"
MAGIC = b"magic\n"


class Shell:
    def __init__(self, folder, capsys):
        self.folder, self.capsys, self.home = folder, capsys, folder / "home"
        self.pass_file = folder / "passphrase"
        self.pass_file.touch(0o600)
        self.pass_file.write_text(PASSPHRASE)

    def __call__(self, *words, home=None, code=0):
        self.capsys.readouterr()
        got = main.run([*map(str, words), "--home", str(home or self.home), "--output", "json"])
        out = self.capsys.readouterr()
        assert got == code, out
        return json.loads(out.out)

    def error(self, *words, code=10, home=None):
        (error,) = self(*words, code=code, home=home)["errors"]
        return error

    def edit(self, *sql, home=None):
        with (
            closing(sqlite3.connect((home or self.home) / "journal.sqlite3")) as connection,
            connection,
        ):
            for statement in sql:
                connection.execute(statement)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home whose journal holds a passed board, a failed one, and a sealed token."""
    folder = tmp_path_factory.mktemp("made")
    sealer = seal.load_sealer(
        seal.bench_keys(folder / "home", {"key_file": str(folder / "sealing.key")}, {}), create=True
    )
    with open_journal(folder / "home", station="bench-1") as journal:
        line = Line(journal)
        line.start()
        one = line.open("b1", "a1", imei="350457790000001", mcu_id="0123456789abcdef")
        line.move(one, "keygen", S.PENDING, S.BEGUN)
        line.move(one, "keygen", S.BEGUN, S.DONE, facts={"digest": "d"})
        line.certify(one, board="b1")
        journal.commit(rec.IntendToken(intent="i1", name="n1", board="b1", attempt=one))
        journal.commit(
            rec.MintToken(intent="i1", token_id="t1", registry_device_id="r1", sha256="h"),
            rec.StoreSecret(name="token:i1", sealed=sealer.seal(Secret("secret-one"), "token:i1")),
        )
        line.end(one, facts={"deviceId": "d0d0d0d0d0d0d0d0"})
        two = line.open("b2", "a2")
        line.move(two, "keygen", S.PENDING, S.BEGUN)
        line.end(
            two,
            AttemptState.FAILED,
            "FAIL",
            error={"code": "modem.error"},
            facts={"failedStep": "keygen"},
        )
        journal.commit(rec.ReserveSerial(serial="b2", issuer="ca", attempt=two))
        journal.end_run("run-1", {"pass": 1})
    (folder / "home" / "bench.yaml").write_text(
        f"station: bench-1\nsealing: {{key_file: {folder / 'sealing.key'}}}\n"
    )
    return folder


@pytest.fixture
def infuse(tmp_path, made, capsys, monkeypatch):
    for name in ("INFUSE_OUTPUT", "INFUSE_PROFILE", "INFUSE_HOME", "INFUSE_SEALING_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sealed_file, "_LOG2_N", 4)  # a slow passphrase is tried once, below
    shutil.copytree(made / "home", tmp_path / "home")
    shutil.copy2(made / "sealing.key", tmp_path / "sealing.key")
    (tmp_path / "home" / "bench.yaml").write_text(
        f"station: bench-1\nsealing: {{key_file: {tmp_path / 'sealing.key'}}}\n"
    )
    return Shell(tmp_path, capsys)


def more(infuse, board="b9", station="bench-1", home=None):
    with open_journal(home or infuse.home, station=station) as journal:
        journal.commit(rec.SeeKey(spki_sha256=f"key-{board}", board=board))


class TestProjections:
    @pytest.mark.parametrize(
        ("sql", "told"),
        [
            (
                "UPDATE attempt SET state = 'passed', outcome = 'PASS' WHERE attempt = 'a2'",
                "attempt a2: it differs from the chain in state, outcome",
            ),
            (
                "UPDATE attempt SET facts = '{}' WHERE attempt = 'a1'",
                "attempt a1: it differs from the chain in facts",
            ),
            (
                "DELETE FROM attempt WHERE attempt = 'a2'",
                "attempt a2: it is in the chain, but its row is gone",
            ),
            (
                "UPDATE step SET state = 'done' WHERE attempt = 'a2'",
                "step a2 keygen: it differs from the chain in state",
            ),
            (
                "UPDATE certificate SET pem = 'another', name = 'another'",
                "certificate a1 ca: it differs from the chain in pem, name",
            ),
            (
                "INSERT INTO serial (serial, issuer, state) VALUES ('ff', 'ca', 'issued')",
                "serial ff ca: no event of the chain made it",
            ),
            (
                "UPDATE serial SET state = 'reserved' WHERE serial = 'a1'",
                "serial a1 ca: it differs from the chain in state",
            ),
            ("DELETE FROM token", "token i1: it is in the chain, but its row is gone"),
            (
                "UPDATE board SET imei = '350457790000002' WHERE uuid = 'b1'",
                "board b1: it differs from the chain in imei",
            ),
            (
                "UPDATE run SET operator = 'somebody else'",
                "run run-1: it differs from the chain in operator",
            ),
        ],
    )
    def test_a_table_that_was_edited_behind_the_chain_is_found(self, infuse, sql, told):
        assert infuse("journal", "verify")["data"]["sound"]
        infuse.edit(sql)
        error = infuse.error("journal", "verify")
        assert error["code"] == "journal.corrupt"
        assert told in error["message"]

    def test_an_event_of_a_later_kind_leaves_what_it_is_about_unjudged(self, infuse):
        with open_journal(infuse.home) as journal:
            tx_events = list(journal.events())
            last = tx_events[-1]
            link = chain.Link(
                station="bench-1",
                seq=last.seq + 1,
                ts="2030-01-01T00:00:00.000000Z",
                operator="",
                tool_version="9",
                kind="certificate-blessed",
                run=None,
                board=None,
                attempt=None,
                step=None,
                from_state=None,
                to_state="blessed",
                facts='{"issuer":"ca","serial":"a1"}',
                prev=last.hash,
            )
        row = (
            link.station,
            link.seq,
            link.ts,
            link.operator,
            link.tool_version,
            link.kind,
            *[None] * 5,
            link.to_state,
            link.facts,
            link.prev,
            chain.digest(link),
        )
        with closing(sqlite3.connect(infuse.home / "journal.sqlite3")) as connection, connection:
            connection.execute(f"INSERT INTO event VALUES ({','.join('?' * 15)})", row)
            connection.execute(
                "UPDATE chain SET seq = seq + 1, hash = ?, newest = ?",
                (chain.digest(link), link.ts),
            )
            connection.execute("UPDATE certificate SET state = 'blessed'")
        assert infuse("journal", "verify")["data"]["sound"]


class TestBackup:
    @pytest.mark.parametrize("sealed", [False, True])
    def test_there_and_back(self, infuse, sealed, tmp_path):
        options = ["--passphrase-file", infuse.pass_file] if sealed else []
        data = infuse("journal", "backup", tmp_path / "copy", *options)["data"]
        assert (data["sealed"], data["stations"]) == (sealed, ["bench-1"])
        assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
        assert (b"350457790000001" in (tmp_path / "copy").read_bytes()) is not sealed
        other = tmp_path / "other"
        got = infuse("journal", "import", tmp_path / "copy", *options, home=other)["data"]
        assert (got["imported"], got["events"]) == (True, data["events"])
        assert infuse("journal", "verify", home=other)["data"]["sound"]
        assert [
            one["board"] for one in infuse("journal", "list", home=other)["data"]["boards"]
        ] == ["b1", "b2"]
        again = infuse("journal", "import", tmp_path / "copy", *options, home=other)["data"]
        assert again["imported"] is False
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "copy",
            "home",
            "other",
            "passphrase",
            "sealing.key",
        ]

    def test_a_folder_gets_a_dated_file_and_an_older_copy_is_replaced_whole(self, infuse, tmp_path):
        (tmp_path / "safe").mkdir()
        out = infuse("journal", "backup", tmp_path / "safe")["data"]["out"]
        assert [str(path) for path in (tmp_path / "safe").iterdir()] == [out]
        infuse.edit("UPDATE event SET operator = 'nobody' WHERE seq = 3")
        before = (tmp_path / "safe").joinpath(out).read_bytes()
        assert infuse.error("journal", "backup", out)["code"] == "journal.corrupt"
        assert (tmp_path / "safe").joinpath(out).read_bytes() == before, (
            "a good copy is not replaced by a bad one"
        )
        assert "empty home" in infuse.error("journal", "import", out)["hint"], (
            "nor is a journal that does not hold said to hold all"
        )

    def test_nothing_else_is_replaced_by_a_copy_nor_a_journal_or_a_key_by_a_list(
        self, infuse, tmp_path
    ):
        key = tmp_path / "root.key.pem"
        key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
        for out in (infuse.pass_file, key):
            before = out.read_bytes()
            assert infuse.error("journal", "backup", out, code=2)["code"] == "usage.bad-option"
            assert out.read_bytes() == before
        (tmp_path / "empty").touch()
        infuse("journal", "backup", tmp_path / "empty")
        for out in (infuse.home / "journal.sqlite3", tmp_path / "empty", key):
            assert (
                "not overwritten"
                in infuse.error("journal", "export", "--out", out, code=2)["message"]
            )
        infuse("journal", "verify")
        assert (
            "too long"
            in infuse.error("journal", "export", "--out", tmp_path / ("a" * 300), code=2)["message"]
        )

    def test_a_backup_that_goes_on_where_the_journal_here_ends_is_taken_in(self, infuse, tmp_path):
        infuse("journal", "backup", tmp_path / "old")
        more(infuse)
        infuse("journal", "backup", tmp_path / "new")
        other = tmp_path / "other"
        infuse("journal", "import", tmp_path / "new", home=other)
        shutil.rmtree(other)
        other.mkdir()
        shutil.copy(tmp_path / "old", other / "journal.sqlite3")
        assert infuse("journal", "import", tmp_path / "new", home=other)["data"]["imported"]
        assert (
            infuse("journal", "import", tmp_path / "old", home=other)["data"]["imported"] is False
        )
        assert infuse("journal", "verify", home=other)["data"]["sound"]

    def test_two_chains_of_one_station_are_never_merged(self, infuse, tmp_path):
        infuse("journal", "backup", tmp_path / "old")
        more(infuse, "b8")
        infuse("journal", "backup", tmp_path / "one-way")
        other = tmp_path / "other"
        other.mkdir()
        shutil.copy(tmp_path / "old", other / "journal.sqlite3")
        more(infuse, "b9", home=other)
        before = (other / "journal.sqlite3").read_bytes()
        error = infuse.error("journal", "import", tmp_path / "one-way", home=other)
        assert error["code"] == "journal.diverged"
        assert "station bench-1" in error["message"]
        assert (other / "journal.sqlite3").read_bytes() == before

    def test_what_is_damaged_edited_or_something_else_is_refused(self, infuse, tmp_path):
        infuse("journal", "backup", tmp_path / "copy")
        with closing(sqlite3.connect(tmp_path / "copy")) as connection, connection:
            connection.execute("DELETE FROM event WHERE seq = 4")
        other = tmp_path / "other"
        assert (
            infuse.error("journal", "import", tmp_path / "copy", home=other)["code"]
            == "journal.corrupt"
        )
        (tmp_path / "text").write_text("hello")
        assert (
            infuse.error("journal", "import", tmp_path / "text", home=other)["code"]
            == "journal.not-backup"
        )
        assert (
            infuse.error("journal", "import", tmp_path / "none", home=other, code=2)["code"]
            == "usage.bad-option"
        )
        with closing(sqlite3.connect(tmp_path / "else.db")) as connection, connection:
            connection.execute("CREATE TABLE t (x)")
        assert (
            infuse.error("journal", "import", tmp_path / "else.db", home=other)["code"]
            == "journal.corrupt"
        )
        assert not (other / "journal.sqlite3").exists()

    def test_nothing_is_taken_in_while_a_run_is_at_work(self, infuse, tmp_path):
        infuse("journal", "backup", tmp_path / "copy")
        with open_journal(infuse.home) as journal:
            Line(journal).start("run-2")
            assert (
                infuse.error("journal", "import", tmp_path / "copy")["code"] == "journal.conflict"
            )
            assert infuse("journal", "backup", tmp_path / "copy")["data"]["events"], (
                "a copy is made all the same"
            )

    @pytest.mark.parametrize("change", ["passphrase", "byte", "tail", "head", "empty"])
    def test_a_sealed_file_that_does_not_open_makes_nothing(self, infuse, tmp_path, change):
        infuse("journal", "backup", tmp_path / "copy", "--passphrase-file", infuse.pass_file)
        data = bytearray((tmp_path / "copy").read_bytes())
        match change:
            case "passphrase":
                infuse.pass_file.write_text("wrong horse")
            case "byte":
                data[-5000] ^= 1
            case "tail":
                del data[-65_552:]
            case "head":
                del data[40:]
            case "empty":
                infuse.pass_file.write_text("")
        (tmp_path / "copy").write_bytes(data)
        error = infuse.error(
            "journal",
            "import",
            tmp_path / "copy",
            "--passphrase-file",
            infuse.pass_file,
            home=tmp_path / "other",
            code=4,
        )
        assert error["code"] == (
            "credential.no-passphrase" if change == "empty" else "credential.bad-passphrase"
        )
        assert not (tmp_path / "other" / "journal.sqlite3").exists()
        assert "horse" not in json.dumps(error)

    def test_a_guess_at_the_passphrase_costs_memory_and_time(self, infuse, tmp_path, monkeypatch):
        monkeypatch.undo()
        sealed = io.BytesIO()
        sealed_file.seal(io.BytesIO(b"x"), sealed, Secret("p"), MAGIC)
        assert sealed.getvalue()[len(MAGIC) :][:4] == bytes([1, 16, 8, 1])

    def test_without_a_terminal_nothing_asks(self, infuse, tmp_path):
        assert (
            infuse.error("journal", "backup", tmp_path / "copy", "--seal", code=4)["code"]
            == "credential.no-passphrase"
        )


@pytest.fixture(scope="module")
def quick_passphrases():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed_file, "_LOG2_N", 4)
        yield


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([0, 1, 65_535, 65_536, 65_537, 200_000]), st.binary(min_size=1, max_size=8))
def test_sealed_pieces_come_back_and_no_piece_may_be_missing(quick_passphrases, size, grain):
    plain = (grain * (size // len(grain) + 1))[:size]
    sealed, back = io.BytesIO(), io.BytesIO()
    sealed_file.seal(io.BytesIO(plain), sealed, Secret("p"), MAGIC)
    sealed_file.unseal(io.BytesIO(sealed.getvalue()), back, Secret("p"), MAGIC)
    assert back.getvalue() == plain
    if size > 65_536:
        with pytest.raises(CredentialError):
            sealed_file.unseal(
                io.BytesIO(sealed.getvalue()[: len(MAGIC) + 27 + 65_552]),
                io.BytesIO(),
                Secret("p"),
                MAGIC,
            )


class TestHead:
    @pytest.fixture
    def head(self, infuse, tmp_path):
        infuse("ca", "init", "--passphrase-file", infuse.pass_file, "--root-out", tmp_path / "root")
        infuse(
            "journal",
            "head",
            "--out",
            tmp_path / "head.json",
            "--passphrase-file",
            infuse.pass_file,
        )
        return tmp_path / "head.json"

    def test_a_tail_that_was_cut_off_with_its_own_record_is_found_only_with_the_head(
        self, infuse, head
    ):
        assert (
            infuse("journal", "verify", "--head", head)["data"]["head"]["signer"]
            == "CN=default Intermediate"
        )
        more(infuse)
        assert infuse("journal", "verify", "--head", head)["data"]["sound"], "a journal may grow"
        infuse.edit(
            "DELETE FROM event WHERE seq > 12",
            "DELETE FROM serial WHERE serial = 'b2'",
            "DELETE FROM seen_key WHERE board = 'b9'",
            "UPDATE run SET ended = NULL, totals = '{}'",
            "UPDATE chain SET seq = 12, hash = (SELECT hash FROM event WHERE seq = 12)",
        )
        assert infuse("journal", "verify")["data"]["sound"]
        error = infuse.error("journal", "verify", "--head", head)
        assert (
            "event 13 of station bench-1: cut: the chain ends at 12, but the head names event 14"
            in error["message"]
        )

    def test_a_chain_that_was_made_anew_is_found(self, infuse, head, tmp_path):
        shutil.rmtree(infuse.home / "locks")
        (infuse.home / "journal.sqlite3").unlink()
        with open_journal(infuse.home) as journal:
            for number in range(30):
                journal.commit(rec.SeeKey(spki_sha256=str(number), board="b"))
        assert "made anew" in infuse.error("journal", "verify", "--head", head)["message"]

    def test_a_head_that_was_changed_or_signed_by_somebody_else_is_refused(
        self, infuse, head, tmp_path
    ):
        told = json.loads(head.read_text())
        told["stations"]["bench-1"]["seq"] = 3
        head.with_name("edited").write_text(json.dumps(told))
        assert (
            infuse.error("journal", "verify", "--head", head.with_name("edited"))["code"]
            == "journal.bad-head"
        )
        other = tmp_path / "other"
        infuse("journal", "backup", tmp_path / "copy")
        infuse("journal", "import", tmp_path / "copy", home=other)
        assert (
            "no trusted root"
            in infuse.error("journal", "verify", "--head", head, home=other)["message"]
        )
        root = infuse.home / "ca" / "default" / "root.pem"
        assert infuse("journal", "verify", "--head", head, "--root", root, home=other)["data"][
            "sound"
        ]
        for text in (
            "",
            "{}",
            "[1]",
            json.dumps({**told, "signature": {"value": "!", "chain": []}}),
        ):
            head.with_name("bad").write_text(text)
            assert (
                infuse.error("journal", "verify", "--head", head.with_name("bad"))["code"]
                == "journal.bad-head"
            )


class TestRekey:
    def opened(self, infuse, key_file="sealing.key"):
        with open_journal(infuse.home) as journal:
            sealer = seal.load_sealer(
                seal.bench_keys(infuse.home, {"key_file": str(infuse.folder / key_file)}, {}),
                create=False,
            )
            return sealer.unseal(journal.secret("token:i1"), "token:i1").reveal()

    def keys(self, infuse):
        return sorted(path.name for path in infuse.folder.glob("sealing.key*"))

    def test_every_secret_is_sealed_anew(self, infuse):
        old = (infuse.folder / "sealing.key").read_bytes()
        assert infuse("journal", "rekey")["data"] == {"secrets": 1, "oldKeyKept": False}
        assert (infuse.folder / "sealing.key").read_bytes() != old
        assert self.keys(infuse) == ["sealing.key"]
        assert stat.S_IMODE((infuse.folder / "sealing.key").stat().st_mode) == 0o600
        assert self.opened(infuse) == "secret-one"
        (infuse.folder / "before").touch(0o600)
        (infuse.folder / "before").write_bytes(old)
        with pytest.raises(CredentialError):
            self.opened(infuse, "before")
        assert base64.b64decode(old) not in (infuse.home / "journal.sqlite3").read_bytes()
        assert infuse("journal", "verify")["data"]["sound"]

    def test_a_secret_that_opens_with_no_key_changes_nothing(self, infuse):
        with open_journal(infuse.home) as journal:
            journal.commit(rec.StoreSecret(name="token:lost", sealed=b"\x01" + bytes(60)))
        old = (infuse.folder / "sealing.key").read_bytes()
        error = infuse.error("journal", "rekey", code=4)
        assert (error["code"], "token:lost" in error["message"]) == ("credential.sealing-key", True)
        assert (infuse.folder / "sealing.key").read_bytes() == old
        assert self.opened(infuse) == "secret-one"

    def test_not_while_a_run_is_at_work_and_not_without_a_key(self, infuse):
        with open_journal(infuse.home) as journal:
            Line(journal).start("run-2")
            assert infuse.error("journal", "rekey")["code"] == "journal.conflict"
        (infuse.folder / "sealing.key").unlink()
        assert infuse.error("journal", "rekey", code=4)["code"] == "credential.sealing-key"
        assert self.keys(infuse) == []


@pytest.mark.parametrize("place", thin(["rekey:resealed", "rekey:next", "rekey:promoted"], 2))
def test_a_rekey_that_was_killed_loses_nothing_and_is_run_again(infuse, zygote, place):
    env = {"INFUSE_HOME": str(infuse.home), "INFUSE_OUTPUT": "json"}
    assert zygote.run("journal", "rekey", env=env, failpoint=place).code == -signal.SIGKILL
    assert TestRekey().opened(infuse) == "secret-one"
    assert zygote.run("journal", "rekey", env=env).envelope["data"]["secrets"] == 1
    assert TestRekey().opened(infuse) == "secret-one"
    assert TestRekey().keys(infuse) == ["sealing.key"]


@pytest.mark.parametrize("place", ["before:import", "imported"])
def test_an_import_that_was_killed_is_whole_or_not_there(infuse, zygote, place, tmp_path):
    infuse("journal", "backup", tmp_path / "copy")
    env = {"INFUSE_HOME": str(tmp_path / "other"), "INFUSE_OUTPUT": "json"}
    assert (
        zygote.run("journal", "import", str(tmp_path / "copy"), env=env, failpoint=place).code
        == -signal.SIGKILL
    )
    assert zygote.run("journal", "import", str(tmp_path / "copy"), env=env).code == 0
    assert infuse("journal", "verify", home=tmp_path / "other")["data"]["events"] >= 14
