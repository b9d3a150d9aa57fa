"""`infuse serial console` on a real terminal, with a virtual board that can be unplugged; and its
words by themselves.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infuse_cli.cli.console import Screen
from infuse_cli.cli.console_history import SafeHistory
from infuse_cli.dialect.cms import meaning
from infuse_cli.dialect.frame_words import outline
from infuse_cli.dialect.frames import FrameParser, frame
from infuse_cli.journal.store import open_journal
from infuse_cli.serial_tools import console_text
from infuse_cli.serial_tools.console import BoardConsole, ConsoleRequest
from infuse_cli.serial_tools.ports import BoardPort
from infuse_cli.settings import Settings
from tests.line.trouble import in_slot, refused

LEAVE = b"\x1d"
SECRET = "00aa11bb22cc33dd"


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(6) as bench:
        yield bench


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_log_that_takes_no_more_ends_no_console(capsys):
    console = BoardConsole(
        Settings(Path("/nowhere")),
        BoardPort("/dev/ttyACM0"),
        ConsoleRequest(log=Path("/dev/full")),
        Screen(timestamps=True).show,
    )
    console.open_log()
    console.receive("+CFUN: 1", "OK")
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.index("+CFUN: 1") < shown.index("goes on without") < shown.index("OK")
    assert (shown.count("cannot be written"), console.error.code) == (1, "usage.output-lost")


class Terminal:
    """`infuse serial console` under a pty of 200 columns; what it showed, without control
    sequences.
    """

    def __init__(self, *words, env):
        self.shown = ""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execve(
                sys.executable,
                [sys.executable, "-m", "infuse_cli", "serial", "console", *words],
                {**os.environ, "TERM": "xterm", "COLUMNS": "200", **env},
            )
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))

    def type(self, text, enter=True):
        os.write(
            self._master,
            (text if isinstance(text, bytes) else text.encode()) + (b"\r" if enter else b""),
        )

    def until(self, wanted, limit_s=20.0):
        end = time.monotonic() + limit_s
        while wanted not in self.shown:
            assert time.monotonic() < end, f"{wanted!r} never came: {self.shown[-2000:]}"
            if select.select([self._master], [], [], 0.2)[0]:
                try:
                    data = os.read(self._master, 65536)
                except OSError:
                    data = b""
                assert data, f"it ended before {wanted!r}: {self.shown[-2000:]}"
                self._answer(data)
                self.shown += re.sub(
                    r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", data.decode("utf-8", "replace")
                )
        self.shown = self.shown.partition(wanted)[2]

    def _answer(self, data):
        if b"\x1b[6n" in data:  # where is the cursor?
            os.write(self._master, b"\x1b[1;1R")

    def end(self):
        """Its exit code, once it has ended by itself."""
        end = time.monotonic() + 20
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                os.close(self._master)
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self._master, 65536).decode("utf-8", "replace")
                except OSError:
                    continue


def test_a_session_with_a_board(bench, tmp_path):
    slot, home = bench.slot(), tmp_path / "home"
    terminal = Terminal(
        bench.world.port(slot),
        "--log",
        str(tmp_path / "console.log"),
        env={**bench.env, "INFUSE_HOME": str(home)},
    )
    uuid = in_slot(bench, slot)["uuid"]
    terminal.until(f"board {uuid}")
    for words in (
        bench.provisioning(bench.world.port(slot)),
        ("serial", "at", bench.world.port(slot), "AT+CFUN=4", "--output", "json"),
        ("serial", "check", bench.world.port(slot), "--output", "json"),
    ):
        assert f"(pid {terminal.pid})" in refused(bench.infuse(*words), "serial.busy", 7)["message"]
    terminal.type("AT+CGMM")
    terminal.until("nRF9151-LACA")
    terminal.type("AT+CMEE=1")
    terminal.until("OK")
    terminal.type("AT%CMNG=3,77,1")
    terminal.until("+CME ERROR: 518")
    terminal.until("AT+CFUN=4 first")
    terminal.type("AT+CFUN=4")
    terminal.until("OK")
    terminal.type(f'AT%CMNG=0,77,3,"{SECRET}"')
    terminal.until("OK")
    terminal.type(LEAVE, enter=False)
    assert terminal.end() == 0
    assert [(row["secTag"], row["type"]) for row in in_slot(bench, slot)["credentials"]] == [
        (77, 3)
    ]
    with open_journal(home) as journal:
        notes = [
            event.facts["facts"]["command"]
            for event in journal.events(board=uuid)
            if event.kind == "run-noted"
        ]
        assert journal.verify() == []
    assert notes == ["AT+CMEE=1", "AT%CMNG=3,77,1", "AT+CFUN=4", "AT%CMNG=0,77,3 ***"]
    log = (tmp_path / "console.log").read_text()
    assert re.search(r"^\d{4}-\S+ > AT\+CGMM\n\S+ < nRF9151-LACA\n", log, re.MULTILINE)
    for path in (tmp_path / "console.log", home / "console-history"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert all(
        SECRET not in path.read_bytes().decode("latin-1")
        for path in tmp_path.rglob("*")
        if path.is_file()
    )
    assert "AT+CGMM" in (home / "console-history").read_text()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.storm)]
)
def test_a_console_that_is_told_to_go_leaves_the_port(bench, tmp_path, number):
    terminal = Terminal(bench.world.port(1), env={**bench.env, "INFUSE_HOME": str(tmp_path)})
    terminal.until("Ctrl-] leaves")
    os.kill(terminal.pid, number)
    assert terminal.end() == 130


@pytest.mark.storm
def test_a_second_console_on_a_port_names_the_first_and_sends_nothing(bench, tmp_path):
    slot = bench.slot()
    env = {**bench.env, "INFUSE_HOME": str(tmp_path)}
    first = Terminal(bench.world.port(slot), env=env)
    first.until("Ctrl-] leaves")
    before = bench.world.bench.call(lambda: list(bench.world.bench.board(slot).commands))
    second = Terminal(bench.world.port(slot), env=env)
    second.until("error serial.busy")
    second.until(f"(pid {first.pid})")
    assert second.end() == 7
    assert bench.world.bench.call(lambda: list(bench.world.bench.board(slot).commands)) == before
    first.type(LEAVE, enter=False)
    assert first.end() == 0


@pytest.mark.storm
def test_an_unplugged_board_is_waited_for_where_that_is_asked_and_ends_the_console_elsewhere(
    bench, tmp_path
):
    slot, name = (
        bench.slot(),
        tmp_path / "board",
    )  # a name that stays, as udev's /dev/serial/by-id does
    name.symlink_to(bench.world.port(slot))
    env = {**bench.env, "INFUSE_HOME": str(tmp_path)}
    terminal = Terminal(str(name), "--reconnect", "--no-timestamps", env=env)
    terminal.until("Ctrl-] leaves")
    bench.world.bench.unplug(slot)
    terminal.until("went away")
    name.unlink()
    terminal.until("waiting for it")
    name.symlink_to(bench.world.bench.plug(slot))
    terminal.until("is back")
    terminal.type("AT+CGMM")
    terminal.until("nRF9151-LACA")
    terminal.type(LEAVE, enter=False)
    assert terminal.end() == 0
    terminal = Terminal(str(name), env=env)
    terminal.until("Ctrl-] leaves")
    bench.world.bench.unplug(slot)
    terminal.until("error serial.unplugged")
    assert terminal.end() == 7


def test_without_a_terminal_the_way_for_scripts_is_named(bench):
    ran = bench.infuse("serial", "console", bench.world.port(1), "--output", "json")
    assert "serial at" in refused(ran, "usage.no-terminal", 2)["hint"]


@given(st.lists(st.binary(max_size=12), max_size=12))
def test_lines_are_the_same_however_the_bytes_are_split(parts):
    whole, split = console_text.Lines(), console_text.Lines()
    data = b"".join(parts)
    together = whole.receive(data)
    apart = [line for part in parts for line in split.receive(part)]
    if b"\x1b" not in data:
        assert [*together, whole.rest()] == [*apart, split.rest()]
    assert all(
        line.isprintable() or "\t" in line or "\xad" in line or "\xa0" in line for line in together
    )


def test_nothing_that_a_board_says_moves_the_cursor():
    lines = console_text.Lines()
    assert lines.receive(b"\x1b[1;32muart:~$ \x1b[m\x1b[2Jhello\x07\x08\xd5\xca\x00\r\n") == [
        "uart:~$ hello\\x07\\x08\xd5\xca\\x00"
    ]
    assert lines.receive(b"mosh:~$ ") == []
    assert (lines.rest(), lines.rest()) == ("mosh:~$", "")


@pytest.mark.parametrize(
    ("text", "secret", "kept"),
    [
        ("AT+CGMM", False, "AT+CGMM"),
        (f'AT%CMNG=0,7,3,"{SECRET}"', True, "AT%CMNG=0,7,3 ***"),
        ('AT%CMNG=0,7,0,"PEM"', False, 'AT%CMNG=0,7,0,"***"'),
        (f"at 'AT%CMNG=0,7,3,\"{SECRET}\"'", True, "AT%CMNG=0,7,3 ***"),
        (f"cred buf {SECRET}", True, "cred buf ***"),
        ("kernel version", False, "kernel version"),
        ('AT+CPIN="1234"', True, "AT+CPIN= ***"),
    ],
)
def test_what_may_be_kept_of_a_line(text, secret, kept, tmp_path):
    assert (console_text.is_secret(text), console_text.for_record(text)) == (secret, kept)
    history = SafeHistory(tmp_path / "home" / "history")
    history.append_string(text)
    assert list(SafeHistory(tmp_path / "home" / "history").load_history_strings()) == (
        [] if secret else [text]
    )


def test_an_open_quote_goes_on_in_the_next_line():
    assert console_text.is_open('AT%CMNG=0,1,0,"-----BEGIN')
    assert not console_text.is_open('AT%CMNG=0,1,0,"x"')
    assert not console_text.is_open('say "hello')


def test_the_log_masks_the_echo_of_a_secret():
    log = console_text.LogText()
    assert log.sent(f'AT%CMNG=0,7,3,"{SECRET}"') == "AT%CMNG=0,7,3 ***"
    assert SECRET not in log.received(f'AT%CMNG=0,7,3,"{SECRET}"')
    assert log.received("OK") == "OK"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("+CME ERROR: 513", "513: no such credential"),
        ("+CMS ERROR: 331", "331: no network service"),
        ("+CME ERROR: 9999", "without a published meaning"),
        ("+CMS ERROR: 9999", "without a published meaning"),
    ],
)
def test_error_numbers_in_words(line, said):
    assert said in meaning(line)


def test_other_lines_have_no_meaning_to_tell():
    assert meaning("OK") is None


def test_a_frame_is_told_of_and_text_around_it_stays_text():
    told = []

    def accept(payload):
        said = outline(payload)
        told.append(said)
        return said is not None

    head = struct.pack(
        "<BBH3sIIIHH", 0, 127, 0, (0x1234).to_bytes(3, "little"), 0xAABBCCDD, 0x11223344, 7, 5, 9
    )
    data = b"log line\r\n" + frame(head + bytes(19)) + b"\xd5rest\r\n" + b"\xd5\xca\x03\x00abc\r\n"
    text = bytearray()
    parser = FrameParser(accept, text.extend)
    for byte in data:
        parser.receive(bytes([byte]))
    parser.flush()
    assert bytes(text) == b"log line\r\n\xd5rest\r\n\xd5\xca\x03\x00abc\r\n"
    assert [said for said in told if said] == [
        "frame KEY_IDS, device aabbccdd11223344, network key 001234, sequence 5, 3 bytes sealed"
    ]
