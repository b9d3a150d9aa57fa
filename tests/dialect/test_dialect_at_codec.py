import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_modem import BOOT, TinyModem

from infuse_cli.dialect import commands
from infuse_cli.dialect.at import LONGEST_LINE, AtCodec
from infuse_cli.dialect.at_device import AtDevice
from infuse_cli.dialect.base import TRANSITIONS, CodecOptions, Heard, LinkEvent, LinkState
from infuse_cli.errors import BoardError, InfuseError, ProfileError
from infuse_cli.types import Command, Reply

UUID_LINE = "%DEVICEUUID: 50363154-3931-44f0-8022-121b6401627d"
ASKED = commands.device_uuid()
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\nOK+/\nabcd==\n-----END CERTIFICATE-----\n"
WRITE = commands.cmng_write(16, 1, PEM)

# name: command, bytes of the board, ok, information lines, error number
TRANSCRIPTS = {
    "plain": (ASKED, f"{UUID_LINE}\r\nOK\r\n", True, (UUID_LINE,), None),
    "cr only": (ASKED, f"{UUID_LINE}\rOK\r", True, (UUID_LINE,), None),
    "lf only": (ASKED, f"{UUID_LINE}\nOK\n", True, (UUID_LINE,), None),
    "empty lines": (ASKED, f"\r\n\r\n{UUID_LINE}\r\n\r\nOK\r\n", True, (UUID_LINE,), None),
    "echo": (ASKED, f"AT%DEVICEUUID\r{UUID_LINE}\r\nOK\r\n", True, (UUID_LINE,), None),
    "colours": (ASKED, f"\x1b[1;32m{UUID_LINE}\x1b[0m\r\n\x1b[mOK\r\n", True, (UUID_LINE,), None),
    "unsolicited": (
        ASKED,
        f"+CEREG: 2\r\n{UUID_LINE}\r\n%MDMEV: SEARCH STATUS 1\r\nOK\r\n",
        True,
        (UUID_LINE,),
        None,
    ),
    "log text": (
        ASKED,
        f"[00:01.2] <inf> app: state OK\r\nOK then\r\n{UUID_LINE}\r\nOK\r\n",
        True,
        (UUID_LINE,),
        None,
    ),
    "nul bytes": (ASKED, f"\0\0{UUID_LINE}\r\n\0OK\r\n", True, (UUID_LINE,), None),
    "refused": (ASKED, "ERROR\r\n", False, (), None),
    "numbered": (ASKED, "+CME ERROR: 518\r\n", False, (), 518),
    "cms": (ASKED, "+CMS ERROR: 500\r\n", False, (), None),
    "words": (ASKED, "+CME ERROR: SIM not inserted\r\n", False, (), None),
    "pem echo": (WRITE, WRITE.text + "\r\r\nOK\r\n", True, (), None),
    "pem echo with crlf": (WRITE, WRITE.text.replace("\n", "\r\n") + "\r\nOK\r\n", True, (), None),
    "pem echo between noise": (
        WRITE,
        WRITE.text.replace("MIIB\n", "MIIB\n+CSCON: 0\r\n") + "\r\n+CME ERROR: 527\r\n",
        False,
        (),
        527,
    ),
    "list": (
        commands.cmng_list(),
        f'%CMNG: 1,0,"{"A" * 64}"\r\n%CMNG: 1,1\r\n%CMNG: 4294967292,11,{"b" * 64}\r\nOK\r\n',
        True,
        (f'%CMNG: 1,0,"{"A" * 64}"', "%CMNG: 1,1", f"%CMNG: 4294967292,11,{'b' * 64}"),
        None,
    ),
}
STREAMS = [pytest.param(*row, id=name) for name, row in TRANSCRIPTS.items()]


def replies(command, *pieces: bytes):
    codec = AtCodec()
    codec.encode(command)
    found = []
    for piece in pieces:
        codec.receive(piece)
        while (reply := codec.next_reply()) is not None:
            found.append(reply)
    return found


@pytest.mark.parametrize(("command", "text", "ok", "info", "cme"), STREAMS)
def test_a_transcript_gives_one_answer_at_every_split(command, text, ok, info, cme):
    data = text.encode()
    whole = replies(command, data)
    assert [(reply.ok, reply.info, reply.cme) for reply in whole] == [(ok, info, cme)]
    assert replies(command, *(bytes([byte]) for byte in data)) == whole
    for cut in range(len(data)):
        assert replies(command, data[:cut], data[cut:]) == whole


def test_what_else_was_heard_is_handed_on():
    [reply] = replies(ASKED, f"+CEREG: 2\r\n{UUID_LINE}\r\nlog\r\nOK\r\n".encode())
    assert reply.unsolicited == ("+CEREG: 2", "log")
    assert not reply.rebooted


@pytest.mark.parametrize(
    "boot",
    [
        BOOT,
        b"Ready\r\n",
        b"\xff\x00*** Booting Zephyr OS build v3.7 ***\r\n",
        b"The AT host sample started\r\n",
        b"[INF] Booting TF-M v2.0\r\n",
    ],
)
def test_boot_text_is_noticed_and_told_once(boot):
    codec = AtCodec()
    codec.encode(ASKED)
    codec.receive(boot + f"{UUID_LINE}\r\nOK\r\n".encode())
    assert codec.next_reply().rebooted
    codec.encode(ASKED)
    codec.receive(f"{UUID_LINE}\r\nOK\r\n".encode())
    assert not codec.next_reply().rebooted


def test_boot_text_between_two_commands_shows_in_the_next_reply():
    codec = AtCodec()
    codec.receive(BOOT)
    assert codec.rebooted
    codec.encode(ASKED)
    codec.receive(b"ERROR\r\n")
    assert codec.next_reply().rebooted


noise_lines = (
    st.binary(max_size=60)
    .map(lambda line: line.replace(b"\r", b"").replace(b"\n", b""))
    .filter(lambda line: not re.search(rb"OK|ERROR|DEVICEUUID|Booting|Using|Ready|started", line))
)


def garbage_changes_nothing(before, between):
    stream = b"".join(line + b"\r\n" for line in (*before, UUID_LINE.encode(), *between, b"OK"))
    [reply] = replies(ASKED, stream)
    assert (reply.ok, reply.info, reply.cme) == (True, (UUID_LINE,), None)


def bytes_break_nothing(pieces):
    codec = AtCodec()
    codec.encode(ASKED)
    for piece in pieces:
        codec.receive(piece)
    while codec.next_reply():
        pass
    codec.desync()
    assert codec.state is LinkState.DESYNC


garbage = (st.lists(noise_lines, max_size=6), st.lists(noise_lines, max_size=6))
stream_pieces = st.lists(st.binary(max_size=300), max_size=20)


@given(*garbage)
@settings(max_examples=150)
def test_garbage_between_lines_changes_nothing(before, between):
    garbage_changes_nothing(before, between)


@given(stream_pieces)
@settings(max_examples=150)
def test_no_bytes_at_all_break_the_codec(pieces):
    bytes_break_nothing(pieces)


def test_a_line_without_end_is_bounded_and_the_next_answer_still_read():
    codec = AtCodec()
    codec.encode(ASKED)
    for _ in range(300):
        codec.receive(b"x" * 1000)
        assert len(codec._tail) <= LONGEST_LINE
    codec.receive(f"\r\n{UUID_LINE}\r\nOK\r\n".encode())
    assert codec.next_reply().info == (UUID_LINE,)


def test_endless_unsolicited_lines_are_bounded():
    codec = AtCodec()
    codec.receive(b"+CEREG: 2\r\n" * 10_000)
    codec.encode(ASKED)
    codec.receive(b"OK\r\n")
    assert len(codec.next_reply().unsolicited) <= 128


def test_a_secret_whose_echo_lost_bytes_is_not_handed_on():
    codec = AtCodec()
    codec.encode(commands.cmng_write(16, 3, "deadbeefdeadbeef", secret=True))
    codec.receive(b'AT%CMNG=0,16,3,"deadbeefdeadbef"\r\nOK\r\n')
    assert "dead" not in repr(codec.next_reply())


def test_a_command_over_the_line_limit_is_refused_before_anything_is_sent():
    codec = AtCodec(CodecOptions(line_limit=64))
    with pytest.raises(BoardError) as caught:
        codec.encode(Command('AT%CMNG=0,16,0,"' + "x" * 60 + '"'))
    assert caught.value.code == "serial.too-long"
    assert "64" in caught.value.message
    assert "xx" not in caught.value.message
    assert codec.state is LinkState.IDLE
    codec.encode(Command("A" * 63))


def test_what_fits_the_limit_fits_the_boards_buffer():
    device = AtDevice(line_limit=4096)
    text = 'AT%CMNG=0,16,0,"' + "x" * (4096 - 18) + '"'
    assert device.receive(AtCodec().encode(Command(text))) == [text]


@pytest.mark.parametrize(
    "text", ['AT="open', "AT\rAT+CFUN=1", "AT\nAT", "ATé", 'AT="\x00"', 'AT="é"', "AT\x1b[m"]
)
def test_text_that_cannot_travel_is_refused(text):
    with pytest.raises(ProfileError) as caught:
        AtCodec().encode(Command(text))
    assert caught.value.code == "profile.unsupported"


@pytest.mark.parametrize(("terminator", "end"), [("cr", b"\r"), ("lf", b"\n"), ("crlf", b"\r\n")])
def test_terminators(terminator, end):
    assert AtCodec(CodecOptions(terminator=terminator)).encode(Command("AT")) == b"AT" + end


def test_one_command_at_a_time():
    codec = AtCodec()
    codec.encode(ASKED)
    with pytest.raises(InfuseError):
        codec.encode(ASKED)


def test_a_final_line_that_nobody_waits_for_puts_the_link_out_of_step():
    codec = AtCodec()
    codec.receive(b"OK\r\n")
    assert codec.state is LinkState.DESYNC
    with pytest.raises(InfuseError):
        codec.encode(ASKED)


def test_a_late_answer_is_not_taken_for_the_next_one():
    codec = AtCodec()
    codec.encode(ASKED)
    codec.desync()
    codec.receive(f"{UUID_LINE}\r\nOK\r\n".encode())
    assert codec.next_reply() is None
    codec.probe()
    codec.receive(b"OK\r\n")
    assert codec.probed() is Heard.NOISY
    codec.settle()
    assert codec.state is LinkState.IDLE
    codec.encode(ASKED)
    assert codec.next_reply() is None


def test_a_probe_into_silence_then_a_clean_one():
    codec = AtCodec()
    assert codec.probe() == b"\rAT\r"
    assert codec.probed() is Heard.NOTHING
    codec.receive(b"AT\r\r\nOK\r\n")
    assert codec.probed() is Heard.CLEAN


@pytest.mark.parametrize("cut", range(1, 60))
def test_probes_free_a_board_from_any_half_command(cut):
    modem = TinyModem()
    modem.cfun = 4
    half = AtCodec().encode(
        commands.cmng_write(16, 0, "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n")
    )[:cut]
    codec = AtCodec()
    codec.receive(modem.hear(half))
    for _ in range(3):
        codec.receive(modem.hear(codec.probe()))
        if codec.probed() is not Heard.NOTHING:
            break
    codec.settle()
    codec.receive(modem.hear(codec.encode(ASKED)))
    assert codec.next_reply() == Reply(True, (UUID_LINE,), None, False, ())
    assert modem.store == {}


def test_three_probes_leave_no_quote_open():
    device, codec = AtDevice(), AtCodec()
    heard = [device.receive(codec.probe()) for _ in range(3)]
    assert heard[0] == ["AT"]
    assert heard[2][-1] == "AT"
    assert device.receive(b"AT\r") == ["AT"]


def test_closed_is_the_end():
    codec = AtCodec()
    codec.close()
    codec.close()
    with pytest.raises(BoardError) as caught:
        codec.encode(ASKED)
    assert caught.value.code == "serial.closed"
    assert not [
        key for key in TRANSITIONS if key[0] is LinkState.CLOSED and key[1] is not LinkEvent.CLOSE
    ]


@given(
    st.text(
        st.characters(codec="ascii", exclude_characters='"\x7f', exclude_categories=["Cc"]),
        min_size=1,
    ),
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
)
def test_host_against_device(content, step, echo, blank):
    modem = TinyModem(echo=echo, blank=blank)
    modem.cfun = 4
    codec = AtCodec()
    data = codec.encode(commands.cmng_write(16, 3, content))
    for start in range(0, len(data), step):
        codec.receive(modem.hear(data[start : start + step]))
    assert codec.next_reply().ok
    assert modem.store == {(16, 3): content}
