import threading
import time
import tracemalloc

import pytest
from tiny_modem import BOOT, KEYGEN_TEXT, OTHER_UUID, UUID

from infuse_cli import dialect, ports
from infuse_cli.dialect import commands
from infuse_cli.dialect.at import AtCodec
from infuse_cli.dialect.base import CodecOptions
from infuse_cli.errors import BoardError, Interrupted
from infuse_cli.link import session as session_module
from infuse_cli.link.session import SerialLink
from infuse_cli.link.transcript import MOST_BYTES, Transcript
from infuse_cli.types import Command

pytestmark = pytest.mark.posix

AT = dialect.operations("at")
PEM = "-----BEGIN CERTIFICATE-----\n" + "MIIBabcd" * 100 + "\n-----END CERTIFICATE-----\n"


def ask(command):
    return (yield command)


def refusal(link, conversation) -> BoardError:
    with pytest.raises(BoardError) as caught:
        link.run(conversation)
    return caught.value


def test_a_session_is_a_board(board, open_link):
    link: ports.BoardLink = open_link(board.port)
    assert (link.port, link.dialect) == (board.port, "at")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"echo": True},
        {"blank": True},
        {"echo": True, "blank": True},
        {"before_each": b"+CEREG: 2\r\n\x00\xfe\r\n<inf> app: OK\r\n"},
    ],
)
def test_a_board_from_identify_to_read_back(boards, open_link, more):
    board = boards(**more)
    link = open_link(board.port)
    found = link.run(AT.identify())
    link.run(AT.go_offline())
    assert link.run(AT.keygen(found.uuid, 16)) == KEYGEN_TEXT
    link.run(AT.write_credential(found.uuid, 16, 1, PEM))
    digests = {row.type: row.sha256 for row in link.run(AT.list_credentials(16))}
    assert digests[1] == commands.wire_digest(PEM)
    link.run(AT.restore(found.functional_mode))
    assert board.modem.cfun == 1


def test_whatever_the_conversation_raises_passes_through(board, open_link):
    def conversation():
        yield commands.cmee()
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        open_link(board.port).run(conversation())


def test_a_swapped_board_is_not_written_to(board, open_link):
    link = open_link(board.port)
    link.run(AT.go_offline())
    board.modem.uuid = OTHER_UUID
    assert refusal(link, AT.write_credential(UUID, 16, 1, PEM)).code == "board.changed"
    assert board.modem.store == {}


# Silence


def test_a_mute_board_times_out_and_an_effect_is_unknown(board, open_link):
    link = open_link(board.port)
    board.mute = True
    error = refusal(link, ask(Command("AT%CMNG=3,16,1", 0.1, effect=True)))
    assert (error.code, error.unknown) == ("serial.timeout", True)
    assert "AT%CMNG=3,16,1" in error.message


def test_a_mute_board_times_out_and_a_read_is_not_unknown(board, open_link):
    link = open_link(board.port)
    board.mute = True
    assert not refusal(link, ask(Command("AT+CFUN?", 0.1))).unknown


def test_after_a_time_out_the_late_answer_is_not_taken_for_the_next(board, open_link):
    link = open_link(board.port)
    board.modem.once("AT%DEVICEUUID", b"")
    refusal(link, ask(Command("AT%DEVICEUUID", 0.1)))
    board.say(f"%DEVICEUUID: {OTHER_UUID}\r\nOK\r\n".encode())
    link.run(AT.same_board(UUID))


def test_half_an_answer_is_a_time_out_and_then_works_again(board, open_link):
    link = open_link(board.port)
    board.modem.once("AT%DEVICEUUID", f"%DEVICEUUID: {UUID[:20]}".encode())
    refusal(link, ask(Command("AT%DEVICEUUID", 0.1, commands.device_uuid().info)))
    link.run(AT.same_board(UUID))


def test_a_garbled_final_line_does_not_hang(board, open_link):
    link = open_link(board.port)
    board.modem.once("AT%DEVICEUUID", f"%DEVICEUUID: {UUID}\r\nO\xffK\r\n".encode("latin-1"))
    assert refusal(link, ask(Command("AT%DEVICEUUID", 0.1))).code == "serial.timeout"
    link.run(AT.same_board(UUID))


def test_a_board_that_died_is_not_sent_anything_new(board, open_link, monkeypatch):
    monkeypatch.setattr(AtCodec, "_PROBE_S", 0.05)
    link = open_link(board.port)
    board.mute = True
    refusal(link, ask(Command("AT+CFUN?", 0.05)))
    error = refusal(link, ask(Command("AT%CMNG=3,16,1", 0.05, effect=True)))
    assert (error.code, error.unknown) == ("serial.timeout", False)
    assert b"CMNG" not in board.raw


# Out of step


def test_an_ok_that_belongs_to_something_else_is_found_out_and_the_read_repeated(board, open_link):
    link = open_link(board.port)
    board.modem.once("AT%DEVICEUUID", b"OK\r\n")
    link.run(AT.same_board(UUID))
    assert board.modem.seen.count("AT%DEVICEUUID") == 2


def test_a_key_whose_text_was_lost_is_unknown_and_not_made_again(board, open_link):
    link = open_link(board.port)
    link.run(AT.go_offline())
    board.modem.once("AT%KEYGEN", lambda m, c: m.usual(c) and m.device.answer())
    error = refusal(link, AT.keygen(UUID, 16))
    assert (error.code, error.unknown) == ("serial.protocol", True)
    link.run(AT.same_board(UUID))
    assert len([command for command in board.modem.seen if command.startswith("AT%KEYGEN")]) == 1


def test_a_stray_final_line_while_idle_is_swept_away(board, open_link):
    link = open_link(board.port)
    board.say(b"OK\r\nOK\r\n")
    board.modem.before_each = b""
    link.run(AT.same_board(UUID))
    link.run(AT.same_board(UUID))


# Reboots


def test_518_is_repeated_after_going_offline_again(board, open_link):
    link = open_link(board.port)
    link.run(AT.go_offline())
    board.modem.cfun = 1
    link.run(AT.write_credential(UUID, 16, 1, PEM))
    assert board.modem.store == {(16, 1): PEM}


@pytest.mark.parametrize("first", [True, False])
def test_a_reboot_in_the_middle_of_a_write(board, open_link, monkeypatch, first):
    def reboot(modem, command):
        if not first:
            modem.usual(command)
        return modem.reboot()

    monkeypatch.setattr(session_module, "REBOOT_GRACE_S", 0.05)
    link = open_link(board.port)
    link.run(AT.go_offline())
    board.modem.once("AT%CMNG=0", reboot)
    link.run(AT.write_credential(UUID, 16, 1, PEM))
    assert board.modem.store == {(16, 1): PEM}
    assert board.modem.cfun == 4


def test_boot_text_between_commands_sends_the_settings_again(board, open_link):
    link = open_link(board.port)
    link.run(AT.go_offline())
    board.modem.reboot()
    board.say(BOOT)
    link.run(AT.write_credential(UUID, 16, 1, PEM))
    assert board.modem.store == {(16, 1): PEM}


# Unplugging


@pytest.mark.parametrize(("at", "unknown"), [("AT%DEVICEUUID", False), ("AT%CMNG=0", True)])
def test_unplugged_during_a_write(board, open_link, at, unknown):
    link = open_link(board.port)
    link.run(AT.go_offline())
    board.unplug_at(at)
    error = refusal(link, AT.write_credential(UUID, 16, 1, PEM))
    assert (error.code, error.unknown) == ("serial.unplugged", unknown)
    assert board.port in error.message
    later = refusal(link, AT.same_board(UUID))
    assert (later.code, later.unknown) == ("serial.unplugged", False)


def test_unplugged_between_commands(board, open_link):
    link = open_link(board.port)
    board.unplug_at("AT$")
    refusal(link, ask(Command("AT", 1.0)))
    error = refusal(link, AT.write_credential(UUID, 16, 1, PEM))
    assert (error.code, error.unknown) == ("serial.unplugged", False)


def test_closed_is_closed(board, open_link):
    link = open_link(board.port)
    link.close()
    link.close()
    assert refusal(link, AT.same_board(UUID)).code == "serial.closed"


# Stopping at once


def test_the_second_stop_ends_a_wait_at_once_and_leaves_an_effect_unknown(board, open_link, abort):
    link = open_link(board.port)
    board.mute = True
    threading.Timer(0.05, abort.set).start()
    begun = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        link.run(ask(Command("AT%KEYGEN=1,2,0", 30, effect=True)))
    assert caught.value.unknown
    assert time.monotonic() - begun < 20


def test_after_the_second_stop_nothing_is_sent(board, open_link, abort):
    link = open_link(board.port)
    abort.set()
    seen = len(board.raw)
    with pytest.raises(Interrupted) as caught:
        link.run(ask(Command("AT%KEYGEN=1,2,0", 30, effect=True)))
    assert not caught.value.unknown
    assert len(board.raw) == seen


# The wire


def test_half_of_the_bytes_are_out_when_the_fail_point_is_reached(board, open_link, monkeypatch):
    reached = []

    def hit(name):
        deadline = time.monotonic() + 5
        while b"CMNG=0" not in board.raw and time.monotonic() < deadline:
            threading.Event().wait(0.005)
        reached.append((name, board.raw.count(b"MIIBabcd"), dict(board.modem.store)))

    link = open_link(board.port)
    link.run(AT.go_offline())
    link.current_step = "install"
    monkeypatch.setattr(session_module.failpoint, "armed", lambda: True)
    monkeypatch.setattr(session_module.failpoint, "hit", hit)
    link.run(AT.write_credential(UUID, 16, 1, PEM))
    [(name, pieces, stored)] = reached
    assert name == "wire:install"
    assert pieces < 100
    assert stored == {}


def test_a_command_too_long_for_the_board_is_refused_unsent(board, open_link):
    link = open_link(board.port)
    link.run(AT.go_offline())
    error = refusal(link, AT.write_credential(UUID, 16, 3, "a" * 5000))
    assert error.code == "serial.too-long"
    assert b"aaa" not in board.raw
    link.run(AT.same_board(UUID))


def test_a_long_answer_is_read_at_once(board, open_link):
    link = open_link(board.port)
    rows = "".join(f'%CMNG: {tag},0,"{"A" * 64}"\r\n' for tag in range(500))
    board.modem.once("AT%CMNG=1", lambda _m, _c: b"")
    threading.Timer(
        0.02,
        lambda: (
            [board.say(rows[at : at + 1000].encode()) for at in range(0, len(rows), 1000)]
            + [board.say(b"OK\r\n")]
        ),
    ).start()
    assert len(link.run(AT.list_credentials())) == 500


# Transcript


def test_the_transcript_has_both_sides(board, open_link):
    link = open_link(board.port)
    link.run(AT.go_offline())
    text = link.transcript()
    assert "> AT+CFUN=4" in text
    assert "< OK" in text


@pytest.mark.parametrize("echo", [True, False])
def test_a_secret_is_in_no_transcript_and_no_message(boards, open_link, echo):
    board = boards(echo=echo)
    link = open_link(board.port)
    link.run(AT.go_offline())
    secret = "00112233445566778899aabbccddeeff"
    link.run(AT.write_credential(UUID, 16, 3, secret, secret=True))
    board.modem.once("AT%CMNG=0", lambda m, c: c.encode() + b"\r\n" + m.refuse(515))
    error = refusal(link, AT.write_credential(UUID, 17, 3, secret, secret=True))
    board.modem.once("AT%DEVICEUUID", lambda m, c: f"log {secret}\r\n".encode() + m.usual(c))
    link.run(AT.same_board(UUID))
    shown = link.transcript() + error.message + repr(error)
    assert secret not in shown
    assert secret[:12] not in shown
    assert 'AT%CMNG=0,16,3,"***"' in shown
    assert board.modem.store[16, 3] == secret


def test_a_secret_without_quotes_is_masked_too():
    transcript = Transcript(lambda: 0.0)
    transcript.sent(Command("prov token s3cret-value", secret=True))
    transcript.received(b"prov token s3cret-value\r\nstored s3cret-value\r\nOK\r\n")
    transcript.sent(Command("AT"))
    transcript.received(b"again s3cret-value\r\n")
    assert "s3cret" not in transcript.text()


def test_masking_a_secret_does_not_hide_other_commands():
    transcript = Transcript(lambda: 0.0)
    transcript.sent(Command('AT%CMNG=0,16,3,"00112233"', secret=True))
    transcript.sent(Command("AT%CMNG=1"))
    transcript.received(b"AT%CMNG=1\r\n%CMNG: 16,3\r\nO")
    assert "< %CMNG: 16,3" in transcript.text()
    assert "< AT%CMNG=1" in transcript.text()
    assert transcript.text().endswith("# unfinished: O\n")


def test_the_transcript_is_bounded_and_says_so():
    transcript = Transcript(lambda: 0.0)
    tracemalloc.start()
    for _ in range(20_000):
        transcript.received(b"x" * 200 + b"\r\n")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(transcript.text()) <= MOST_BYTES + 100
    assert transcript.text().startswith("# ")
    assert peak < 8 * MOST_BYTES


def test_a_stalled_port_is_a_time_out(abort):
    from serial import SerialTimeoutException

    class Stalled:
        in_waiting = 0
        sent = 0

        def read(self, _size=1):
            return b"OK\r\n" if self.sent == 1 else b""

        def write(self, data):
            self.sent += 1
            if self.sent > 1:
                raise SerialTimeoutException("Write timeout")
            return len(data)

        def flush(self): ...
        def close(self): ...

    row = dialect.dialect("at")
    link = SerialLink(Stalled(), row.codec(CodecOptions()), port="jig", abort=abort)
    link.start()
    error = refusal(link, ask(Command("AT%CMNG=3,1,1", 1, effect=True)))
    assert (error.code, error.unknown) == ("serial.timeout", True)
    assert "flow control" in error.message
