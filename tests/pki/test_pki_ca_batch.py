"""`ca sign --batch` of many requests: two processes share the work, and a kill leaves nothing out
that is not on record.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from cryptography import x509
from pki_board import DEVICE_ID, Modem, request
from test_pki_ca_policy import HOSTILE, csr, pem

from infuse_cli.ca.forked_worker import ForkedWorker
from infuse_cli.ca.signing import write_certificates
from infuse_cli.cli.main import run
from infuse_cli.journal.store import SqliteJournal, open_journal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills by SIGKILL")


def requests(bench: Path, count: int) -> Path:
    folder = bench / "csrs"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:04}.csr").write_bytes(pem(csr(name=f"{number + 1:016x}")))
    return folder


def batch(bench: Path, **environment: str) -> subprocess.Popen[str]:
    words = [
        "ca",
        "sign",
        "--batch",
        bench / "csrs",
        "--out",
        bench / "certs",
        "--passphrase-file",
        bench / "word",
        "--output",
        "json",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "infuse_cli.cli.main", *map(str, words)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def consistent(bench: Path) -> dict[str, bytes]:
    """What is out is on record, each serial is there once, the chain holds.

    The certificates that are out, by file.
    """
    with open_journal(bench / "home") as journal:
        rows = {one.serial: one.pem for one in journal.certificates()}
        reserved = [
            event.facts["serial"] for event in journal.events() if event.kind == "serial-reserved"
        ]
        assert journal.verify() == []
    assert len(set(reserved)) == len(reserved)
    out = {path.name: path.read_bytes() for path in (bench / "certs").glob("*.pem")}
    for text in out.values():
        assert text.decode() in rows.values()
    assert len(
        {x509.load_pem_x509_certificate(text).serial_number for text in out.values()}
    ) == len(out)
    return out


def test_killed_in_the_middle_it_goes_on_where_it_was(bench):
    folder = requests(bench, 520)
    (folder / "0100.csr").write_bytes(HOSTILE["truncated"])
    (folder / "0510.csr").write_bytes(HOSTILE["10,000 names"])
    killed = batch(bench, INFUSE_FAILPOINT="signed#2")
    killed.communicate(
        timeout=60
    )  # to the end of the output, which the helpers hold open too: none of them stays behind
    assert killed.returncode == -signal.SIGKILL
    first = consistent(bench)
    assert len(first) in {0, 499}  # the first chunk, or nothing where the writer was not that far
    again = batch(bench)
    answer = json.loads(again.communicate(timeout=60)[0])
    assert again.returncode == 11
    data = answer["data"]
    assert (answer["status"], data["signed"], data["already"], data["refused"]) == (
        "partial",
        19,
        499,
        2,
    )
    assert {
        one["csr"]: one["error"]["code"] for one in data["certificates"] if one["error"]
    } == dict.fromkeys(("0100.csr", "0510.csr"), "identity.csr-unreadable")
    out = consistent(bench)
    assert {name: out[name] for name in first} == first
    assert len(out) == 518
    with open_journal(bench / "home") as journal:
        assert len(journal.certificates()) == 518


@pytest.mark.storm
def test_a_storm_of_kills(bench):
    requests(bench, 3000)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(15):
        killed = batch(bench)
        try:
            killed.communicate(timeout=chance.uniform(0.3, 4.0))
        except subprocess.TimeoutExpired:
            os.kill(killed.pid, signal.SIGKILL)
            killed.communicate(timeout=60)  # as above: the helpers end too
        consistent(bench)
    last = batch(bench)
    assert json.loads(last.communicate(timeout=120)[0])["data"]["refused"] == 0
    assert len(consistent(bench)) == 3000
    with open_journal(bench / "home") as journal:
        assert len(journal.certificates()) == 3000


def test_a_helper_that_dies_is_done_without():
    with ForkedWorker(lambda number: (number * 2, os.getpid()), fork=True) as work:
        work.submit(1)
        doubled, other = work.result()
        assert (doubled, other != os.getpid()) == (2, True)
        work.submit(2)
        os.kill(other, signal.SIGKILL)
        assert work.result()[0] == 4
        work.submit(3)
        assert work.result() == (6, os.getpid())
        assert work.result() is None


def test_an_interrupt_right_after_the_record_is_told_as_one(infuse, bench, monkeypatch):
    """The serials are used by then: that nothing of them can be voided must not hide what stopped
    the program.
    """
    commit = SqliteJournal.commit

    def stopped(self, *writes) -> None:
        commit(self, *writes)
        if type(writes[-1]).__name__ == "StoreCertificate":
            raise KeyboardInterrupt

    words = (
        "ca",
        "sign",
        request(bench, Modem()),
        "--out",
        bench / "a.pem",
        "--device-id",
        DEVICE_ID,
        "--passphrase-file",
        bench / "word",
    )
    with monkeypatch.context() as patch:
        patch.setattr(SqliteJournal, "commit", stopped)
        assert infuse(*words, code=130)["code"] == "run.interrupted"
    assert not (bench / "a.pem").exists()
    assert infuse(*words)["already"] is True


def test_a_helper_is_done_without_where_there_can_be_none_and_where_none_is_waited_for(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", Mock(side_effect=BlockingIOError))
        with ForkedWorker(lambda number: (number, os.getpid()), fork=True) as work:
            work.submit(1)
            assert work.result() == (1, os.getpid())
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as some that start programs leave it
    try:
        with ForkedWorker(lambda number: number, fork=True) as work:
            work.submit(1)
            assert work.result() == 1
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_what_is_named_like_a_request_is_signed_or_told_of(bench, capsys):
    folder = requests(bench, 1)
    (folder / "folder.csr").mkdir()
    os.mkfifo(folder / "pipe.csr")
    (folder / "loop.csr").symlink_to("loop.csr")
    (folder / "nowhere.csr").symlink_to("missing")
    (folder / f"{'a' * 251}.csr").write_bytes(pem(csr(name="e" * 16)))
    assert (
        run(
            [
                *map(
                    str,
                    (
                        "ca",
                        "sign",
                        "--batch",
                        folder,
                        "--out",
                        bench / "certs",
                        "--passphrase-file",
                        bench / "word",
                    ),
                ),
                "--output",
                "json",
            ]
        )
        == 11
    )
    told = {
        one["csr"]: one["error"] and one["error"]["message"]
        for one in json.loads(capsys.readouterr().out)["data"]["certificates"]
    }
    assert {name for name, why in told.items() if why is None} == {"0000.csr", f"{'a' * 251}.csr"}
    assert set(told) == {path.name for path in folder.iterdir()}
    assert "is not a file" in told["pipe.csr"]
    assert len(consistent(bench)) == 2


def test_a_certificate_takes_the_place_of_nothing_but_a_certificate(infuse, bench):
    folder = requests(bench, 1)
    (folder / "0000.csr").rename(folder / "0000.pem")
    request = (folder / "0000.pem").read_bytes()
    (bench / "link").symlink_to(folder)
    words = ("ca", "sign", "--passphrase-file", bench / "word", "--batch", folder, "--out")
    for out in (bench / "link", folder / ".." / folder.name):
        assert "holds the requests" in infuse(*words, out, code=2)["message"]
    certs = bench / "certs"
    certs.mkdir()
    (certs / "0000.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    assert "is not overwritten" in infuse(*words, certs, code=2)["message"]
    assert ((folder / "0000.pem").read_bytes(), (certs / "0000.pem").read_text()) == (
        request,
        "-----BEGIN PRIVATE KEY-----\n",
    )
    assert infuse("ca", "list")["certificates"] == []
    (certs / "0000.pem").write_text("")
    infuse(*words, certs)
    assert len(consistent(bench)) == 1


def test_a_folder_that_cannot_be_is_told_as_one(infuse, bench):
    requests(bench, 1)
    out = bench / ("a" * 300) / "x.pem"
    assert (
        infuse(
            "ca",
            "sign",
            "--passphrase-file",
            bench / "word",
            bench / "csrs" / "0000.csr",
            "--out",
            out,
            code=2,
        )["code"]
        == "usage.bad-option"
    )


def test_a_disk_that_takes_a_part_of_a_certificate_or_no_more(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda to, data: write(to, data[:5]))
    assert write_certificates(tmp_path, ".part", [(Path("a.csr"), "a certificate", False)]) == []
    assert (tmp_path / "a.pem").read_text() == "a certificate"
    monkeypatch.setattr(os, "write", Mock(side_effect=OSError(errno.ENOSPC, "full")))
    assert [
        one.filename
        for one in write_certificates(tmp_path, ".part", [(Path("b.csr"), "another", False)])
    ] == [str(tmp_path / "b.pem")]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pem"]


def test_two_that_give_out_the_same_certificate_do_not_meet_in_one_file(tmp_path, monkeypatch):
    replace, made = os.replace, [(Path("a.csr"), "a certificate", False)]

    def met(part, target) -> None:
        monkeypatch.setattr(os, "replace", replace)
        assert write_certificates(tmp_path, ".other", made) == []
        replace(part, target)

    monkeypatch.setattr(os, "replace", met)
    assert write_certificates(tmp_path, ".part", made) == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.pem"]
