"""A board by hand, on the board that was written apart: written, made, deleted,
and killed in between.
"""

from __future__ import annotations

import pytest

from infuse_cli.pki.vetting import vet
from tests.foreign.board import Fault, Style
from tests.foreign.conftest import storms


def by_hand(bench, board, *words, **more):
    ran = bench.infuse("serial", *words, "--port", board.port, "--output", "json", **more)
    assert "Traceback" not in ran.stdout + ran.stderr
    return ran


def data(ran):
    assert ran.code == 0, ran.stdout + ran.stderr
    return ran.envelope["data"]


STYLES = [
    Style(echo=True, empty_line=True),
    *storms(
        Style(),
        Style(noise=True),
        Style(null_in_csr=True),
        Style(digests="lower"),
        Style(log=True),
        Style(boot_mode=4),
        Style(cfun_s=0.3),
    ),
]
FAULTS = [
    "silent-before",
    "silent-after",
    "reset-before",
    "reset-after",
    "unplug-before",
    "unplug-after",
]


def psk_in(tmp_path):
    path = tmp_path / "psk"
    path.write_text("00112233\n")
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize("style", STYLES)
def test_a_key_a_certificate_and_their_end(bench, tmp_path, style):
    board = bench.board(style=style)
    made = data(
        by_hand(bench, board, "csr", "--out", str(tmp_path / "board.csr"), "--sec-tag", "16")
    )
    raw = (tmp_path / "board.csr.keygen").read_text().strip()
    assert (
        vet(raw, uuid=board.modem.uuid, sec_tag=16, attestation_required=False).spki_sha256
        == made["publicKeySha256"]
    )
    data(
        by_hand(
            bench,
            board,
            "creds",
            "write",
            "--sec-tag",
            "17",
            "--type",
            "psk",
            "--file",
            psk_in(tmp_path),
        )
    )
    assert {(tag, kind) for tag, kind, _ in board.modem.rows()} == {(16, 2), (17, 3)}
    data(by_hand(bench, board, "creds", "delete", "--sec-tag", "16", "--yes"))
    assert {(tag, kind) for tag, kind, _ in board.modem.rows()} == {(17, 3)}
    assert board.modem.mode == style.boot_mode


@pytest.mark.storm
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize(
    "match", ["AT%CMNG=0", "AT+CFUN=4", "AT+CFUN=1", "AT%DEVICEUUID", "AT%CMNG=1"]
)
def test_trouble_in_the_middle_is_named_and_the_same_command_ends_it(bench, tmp_path, match, kind):
    board = bench.board()
    words = ("creds", "write", "--sec-tag", "17", "--type", "psk", "--file", psk_in(tmp_path))
    board.faults = [Fault(match, kind)]
    ran = by_hand(bench, board, *words)
    assert ran.code in {0, 7}, ran.stdout
    board.faults = []
    board.unplug()
    board.plug()
    assert (
        data(by_hand(bench, board, *words))["credentials"][0]["sha256"] == board.modem.rows()[0][2]
    )
    assert [(tag, kind_) for tag, kind_, _ in board.modem.rows()] == [(17, 3)]


@pytest.mark.storm
@pytest.mark.parametrize("command", ["csr", "write", "delete"])
def test_a_kill_half_way_through_leaves_a_true_record(bench, tmp_path, command):
    board = bench.board()
    board.modem.occupy(17, 4, b"somebody")
    words = {
        "csr": ("csr", "--out", str(tmp_path / "b.csr")),
        "write": ("creds", "write", "--sec-tag", "17", "--type", "psk", "--file", psk_in(tmp_path)),
        "delete": ("creds", "delete", "--sec-tag", "17", "--yes"),
    }[command]
    assert by_hand(bench, board, *words, failpoint="wire:").code == -9
    assert bench.infuse("journal", "verify", "--output", "json").code == 0
    ran = by_hand(
        bench, board, *(("csr", "--out", str(tmp_path / "c.csr")) if command == "csr" else words)
    )
    assert ran.code == 0, ran.stdout
    assert not [row for row in board.modem.rows() if command == "delete"]
