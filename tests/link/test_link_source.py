import errno
import os
import socket
import subprocess
import sys
import threading

import pytest
from tiny_modem import UUID, TinyModem

from infuse_cli import dialect
from infuse_cli.config.model import BoardSection, Serial
from infuse_cli.dialect.base import PROBE_S, PROBES, CodecOptions
from infuse_cli.dialect.frames import PING
from infuse_cli.errors import BoardError, Interrupted, ProfileError
from infuse_cli.keys.frames import network_cipher
from infuse_cli.link import holder
from infuse_cli.link.session import POLL_S
from infuse_cli.link.source import SerialSource, open_error

AT = dialect.operations("at")


def opening_fails(open_link, port, section=None) -> BoardError:
    with pytest.raises(BoardError) as caught:
        open_link(port, section)
    return caught.value


def test_named_ports_are_present_in_their_order(abort):
    source = SerialSource(BoardSection(), ["b", "a"], abort)
    assert [port.port for port in source.present()] == ["b", "a"]


@pytest.mark.posix
@pytest.mark.parametrize("flow", [{}, {"rtscts": True}, {"xonxoff": False, "baud": 9600}])
def test_open_with_the_profiles_settings(board, open_link, flow):
    open_link(board.port, BoardSection(serial=Serial(**flow))).run(AT.same_board(UUID))


@pytest.mark.posix
def test_a_silent_port_is_found_within_two_seconds(board, open_link):
    board.mute = True
    error = opening_fails(open_link, board.port)
    assert error.code == "serial.silent"
    assert error.board_safe
    assert PROBES * (PROBE_S + POLL_S) < 2
    codec = dialect.codec("auto", CodecOptions(cipher=network_cipher(), random=os.urandom))
    asked = []
    for _ in range(codec.probes):
        asked.append(codec.probe())
        asked.append(codec.probe_s + POLL_S)
    assert sum(asked[1::2]) < 2
    assert asked[::2].count(PING) == 2
    board.mute = False
    open_link(board.port).run(AT.same_board(UUID))


@pytest.mark.posix
def test_a_board_that_is_deaf_at_first_is_found(board, open_link):
    board.modem.once("AT$", b"")
    open_link(board.port).run(AT.same_board(UUID))


@pytest.mark.posix
@pytest.mark.parametrize("left", [b"AT%CMNG=0,1", b'AT%CMNG=0,16,1,"-----BEGIN CERTI', b'AT"'])
def test_what_a_killed_run_left_on_the_line_does_no_harm(board, open_link, left):
    board.modem.cfun = 4
    board.modem.hear(left)
    open_link(board.port).run(AT.same_board(UUID))
    assert board.modem.store == {}


@pytest.mark.posix
def test_what_waits_in_the_port_is_not_taken_for_an_answer(board, open_link):
    board.say(b"*** Booting nRF Connect SDK ***\r\nOK\r\n%DEVICEUUID: half")
    open_link(board.port).run(AT.same_board(UUID))


@pytest.mark.posix
def test_a_port_held_by_us_is_busy_and_names_us(board, open_link):
    open_link(board.port)
    error = opening_fails(open_link, board.port)
    assert error.code == "serial.busy"
    assert str(os.getpid()) in error.message


HOLD = (
    "import serial,sys; s=serial.Serial(sys.argv[1], exclusive=True); print('held', flush=True);"
    " sys.stdin.read()"
)


@pytest.mark.posix
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the holder is seen in /proc")
def test_a_port_held_by_another_program_is_busy_and_names_it(board, open_link):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, board.port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        error = opening_fails(open_link, board.port)
        other.stdin.close()
        other.wait(10)
    assert error.code == "serial.busy"
    assert f"pid {other.pid}" in error.message
    open_link(board.port)


@pytest.mark.posix
def test_closing_frees_the_port(board, open_link):
    open_link(board.port).close()
    open_link(board.port)


def test_no_such_port(open_link):
    error = opening_fails(open_link, "/dev/no-such-board")
    assert error.code == "serial.no-port"
    assert "/dev/no-such-board" in error.message


def test_what_is_no_serial_port(open_link, tmp_path):
    (tmp_path / "file").write_text("x")
    error = opening_fails(open_link, str(tmp_path / "file"))
    assert error.code == "serial.no-port"
    assert "not a serial port" in error.message


def test_a_url_that_is_none(open_link):
    assert opening_fails(open_link, "gopher://x").code == "serial.no-port"


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (OSError(errno.EACCES, "Permission denied"), "serial.denied"),
        (OSError(errno.EBUSY, "busy"), "serial.busy"),
        (OSError(errno.EIO, "I/O error"), "serial.unplugged"),
        (OSError(errno.ENODEV, "gone"), "serial.unplugged"),
        (
            OSError(
                "could not open port 'COM3': PermissionError(13, 'Access is denied.', None, 5)"
            ),
            "serial.busy",
        ),
        (
            OSError(
                "could not open port 'COM9': FileNotFoundError(2, 'The system cannot …', None, 2)"
            ),
            "serial.no-port",
        ),
        (OSError("[Errno 11] Could not exclusively lock port x"), "serial.busy"),
        (OSError("Could not configure port: (5, 'Input/output error')"), "serial.unplugged"),
    ],
)
def test_reasons_by_name(exc, code):
    assert open_error("COM3", exc).code == code


def test_denied_says_which_group_owns_the_port(tmp_path):
    device = tmp_path / "tty"
    device.touch()
    assert device.group() in open_error(str(device), PermissionError(errno.EACCES, "no")).message


def test_nobody_holds_what_is_not_there():
    assert holder.holder_of("/dev/no-such-board") is None


def test_frames_without_their_networks_key_are_refused_before_the_port_is_opened(open_link):
    with pytest.raises(ProfileError):
        open_link("/dev/no-such-board", BoardSection(serial=Serial(dialect="epacket")))


@pytest.mark.posix
def test_the_second_stop_ends_opening(board, open_link, abort):
    board.mute = True
    abort.set()
    with pytest.raises(Interrupted):
        open_link(board.port)


@pytest.mark.posix
def test_unplugged_while_opening(board, open_link):
    board.unplug_at("AT$")
    assert opening_fails(open_link, board.port).code == "serial.unplugged"


def test_a_port_by_url(open_link):
    modem = TinyModem()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            peer, _ = server.accept()
            with peer:
                while data := peer.recv(4096):
                    peer.sendall(modem.hear(data))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        link = open_link(f"socket://127.0.0.1:{server.getsockname()[1]}")
        assert link.run(AT.identify()).uuid == UUID
        link.close()
        thread.join(5)
