"""Dialects of the Zephyr shell: host against device role at every split, and against transcripts of
real shells.
"""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli.dialect import commands
from infuse_cli.dialect.base import CodecOptions, Heard, LinkState
from infuse_cli.dialect.shell import LINE_LIMIT, ShellCodec
from infuse_cli.dialect.shell_device import ShellDevice, ShellError, unescaped, words
from infuse_cli.errors import BoardError, ProfileError
from infuse_cli.types import Command, Reply

UUID_LINE = "%DEVICEUUID: 50363154-3931-44f0-8022-121b6401627d"
ASKED = commands.device_uuid()
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\nOK\nabcd==\n-----END CERTIFICATE-----\n"
WRITE = commands.cmng_write(16, 1, PEM)
SETTING = Command("settings read string infuse/token", info=re.compile(r"[\w.-]+"))
GREEN, RED, NORMAL = "\x1b[1;32m", "\x1b[1;31m", "\x1b[m"

# name: command, bytes of the board, ok, information lines, error number
TRANSCRIPTS = {
    "plain": (ASKED, f"{UUID_LINE}\r\nOK\r\n\r\nuart:~$ ", True, (UUID_LINE,), None),
    "echo": (
        ASKED,
        f"at 'AT%DEVICEUUID'\r\n{UUID_LINE}\r\nOK\r\n\r\nmosh:~$ ",
        True,
        (UUID_LINE,),
        None,
    ),
    "colour": (
        ASKED,
        f"at 'AT%DEVICEUUID'\r\n{UUID_LINE}\r\nOK\r\n\r\n{GREEN}mosh:~$ {NORMAL}",
        True,
        (UUID_LINE,),
        None,
    ),
    "the prompt of before": (
        ASKED,
        f"{GREEN}mosh:~$ {NORMAL}at 'AT%DEVICEUUID'\r\n{UUID_LINE}\r\nOK\r\n",
        True,
        (UUID_LINE,),
        None,
    ),
    "a log line between": (
        ASKED,
        (
            f"\x1b[8D\x1b[J[00:00:01.2] <inf> app: up\r\n{GREEN}uart:~$ {NORMAL}at"
            " 'AT%DEV\x1b[8D\x1b[J[00:00:01.3] <inf> OK so far\r\nuart:~$ at"
            f" 'AT%DEVICEUUID'\r\n{UUID_LINE}\r\nOK\r\n"
        ),
        True,
        (UUID_LINE,),
        None,
    ),
    "wrapped echo": (
        WRITE,
        (
            "at 'AT%CMNG=0,16,1,\"-----BEGIN CERTIFICATE-----\\nMI\r\nIB\\nOK\\nabcd==\\n-----END"
            " CERTIFICATE-----\\n\"'\r\nOK\r\n"
        ),
        True,
        (),
        None,
    ),
    "refused": (WRITE, f"{RED}+CME ERROR: 518{NORMAL}\r\nuart:~$ ", False, (), 518),
    "the library's own failure": (
        WRITE,
        "Sending AT command failed with error code -7\r\nuart:~$ ",
        False,
        ("Sending AT command failed with error code -7",),
        None,
    ),
    "no such command": (
        ASKED,
        f"{RED}at: command not found{NORMAL}\r\nuart:~$ ",
        False,
        ("at: command not found",),
        None,
    ),
    "events": (
        ASKED,
        f"AT event handler:\r\n+CEREG: 2\r\n{UUID_LINE}\r\nOK\r\n",
        True,
        (UUID_LINE,),
        None,
    ),
    "a setting": (
        SETTING,
        "settings read string infuse/token\r\nabc-123\r\nuart:~$ ",
        True,
        ("abc-123",),
        None,
    ),
    "no setting": (
        SETTING,
        f"settings read string infuse/token\r\n{RED}Setting not found{NORMAL}\r\nuart:~$ ",
        False,
        ("Setting not found",),
        None,
    ),
    "chip id": (
        Command("hwinfo devid", info=re.compile("ID: .*")),
        "Length: 8\r\nID: 0x0011223344556677\r\nuart:~$ ",
        True,
        ("ID: 0x0011223344556677",),
        None,
    ),
}


def replies(command: Command, *pieces: bytes) -> list[Reply]:
    codec = ShellCodec()
    codec.encode(command)
    found = []
    for piece in pieces:
        codec.receive(piece)
        while (reply := codec.next_reply()) is not None:
            found.append(reply)
    return found


@pytest.mark.parametrize(
    ("command", "text", "ok", "info", "cme"),
    [pytest.param(*row, id=name) for name, row in TRANSCRIPTS.items()],
)
def test_a_transcript_gives_one_answer_at_every_split(command, text, ok, info, cme):
    data = text.encode()
    for pieces in (
        [data],
        [bytes([byte]) for byte in data],
        *([data[:cut], data[cut:]] for cut in range(len(data))),
    ):
        assert [(reply.ok, reply.info, reply.cme) for reply in replies(command, *pieces)] == [
            (ok, info, cme)
        ]


def test_pem_travels_in_one_line_and_arrives_with_cr_and_lf():
    line = ShellCodec().encode(WRITE)
    assert line.count(b"\r") == 1
    assert b"\n" not in line
    [word, command] = words(line.decode().rstrip("\r"))
    assert word == "at"
    assert unescaped(command) == WRITE.text.replace("\n", "\r\n")


@pytest.mark.parametrize(
    "text",
    ['AT%JWT=0,0,"it\'s"', r'AT+X="a\x41"', "settings write string a b\nreboot", "hwinfo\x07"],
)
def test_what_the_shell_would_change_is_refused(text):
    with pytest.raises(ProfileError):
        ShellCodec().encode(Command(text))


def test_a_line_over_the_shells_buffer_is_refused_before_anything_is_sent():
    codec = ShellCodec(CodecOptions(line_limit=4096))
    with pytest.raises(BoardError, match=str(LINE_LIMIT)) as caught:
        codec.encode(Command('AT%CMNG=0,16,0,"' + "x" * LINE_LIMIT + '"'))
    assert caught.value.code == "serial.too-long"
    fitting = 'AT%CMNG=0,16,0,"' + "x" * (LINE_LIMIT - 23) + '"'
    device = ShellDevice()
    assert [line for _, line in device.receive(codec.encode(Command(fitting))) if line] == [
        f"at '{fitting}'"
    ]


def test_a_half_line_is_forgotten_and_never_carried_out():
    device, codec = ShellDevice(echo=False), ShellCodec()
    device.receive(b"at 'AT%CMNG=3,16,1' ")
    assert [line for _, line in device.receive(codec.probe()) if line] == ["at AT"]


def test_a_shell_without_at_is_a_refusal_and_one_with_it_answers():
    codec = ShellCodec()
    codec.probe()
    codec.receive(b"^C\r\nuart:~$ at AT\r\nat: command not found\r\nuart:~$ ")
    assert (codec.probed(), codec.prompted) == (Heard.REFUSED, True)
    codec = ShellCodec()
    codec.probe()
    codec.receive(b"\r\nuart:~$ at AT\r\nOK\r\n\r\nuart:~$ ")
    assert codec.probed() is Heard.CLEAN
    codec.settle()
    assert codec.state is LinkState.IDLE


def test_a_prompt_of_before_ends_no_command_of_a_shell_that_echoes():
    """A board that reboots shows a prompt of its own: what was asked meanwhile is answered behind
    it.
    """
    codec = ShellCodec()
    codec.probe()
    codec.receive(b"\r\nuart:~$ at AT\r\nOK\r\n\r\nuart:~$ ")
    codec.settle()
    codec.encode(Command("settings"))
    codec.receive(b"*** Booting Zephyr OS build v4.1 ***\r\nuart:~$ ")
    assert codec.next_reply() is None
    codec.receive(b"settings\r\nsettings: wrong parameter count\r\nuart:~$ ")
    assert codec.next_reply().info == ("settings: wrong parameter count",)


def test_a_refusal_that_names_another_command_is_not_this_ones():
    codec = ShellCodec()
    codec.encode(Command("hwinfo devid", info=re.compile("ID: .*")))
    codec.receive(
        b"settings: wrong parameter count\r\nuart:~$ Length: 8\r\nID:"
        b" 0x0011223344556677\r\nuart:~$ "
    )
    assert codec.next_reply().info == ("ID: 0x0011223344556677",)
    codec.encode(Command("hwinfo devid", info=re.compile("ID: .*")))
    codec.receive(b"devid: wrong parameter count\r\nuart:~$ ")
    assert not codec.next_reply().ok


def test_a_late_refusal_of_an_earlier_question_is_not_this_ones():
    codec = ShellCodec()
    codec.probe()
    codec.receive(b"AT: command not found\r\nuart:~$ ")
    assert codec.probed() is Heard.NOTHING
    codec.receive(b"at AT\r\nOK\r\n\r\nuart:~$ ")
    assert codec.probed() is Heard.NOISY


def test_a_secret_that_comes_back_garbled_is_not_handed_on():
    codec = ShellCodec()
    codec.encode(commands.cmng_write(16, 3, "deadbeefdeadbeef", secret=True))
    codec.receive(b"uart:~$ at 'AT%CMNG=0,16,3,\"deadbe\xffefdeadbeef\"'\r\nOK\r\n")
    assert "dead" not in repr(codec.next_reply())


def test_words_keep_what_is_quoted():
    assert words("cred add 42 'A B' \"c'd\" e") == ["cred", "add", "42", "A B", "c'd", "e"]
    assert words("   ") == []
    with pytest.raises(ShellError):
        words("at 'half")


pieces = st.lists(st.binary(max_size=80), max_size=12)


def hearing_nothing_breaks(chunks: list[bytes]) -> None:
    codec = ShellCodec()
    codec.encode(ASKED)
    for chunk in chunks:
        codec.receive(chunk)
    while codec.next_reply():
        pass
    codec.desync()
    codec.probe()
    codec.receive(b"\r\n\r\nuart:~$ \r\nOK\r\n")
    codec.settle()
    codec.encode(ASKED)
    codec.receive(f"{UUID_LINE}\r\nOK\r\n".encode())
    reply = codec.next_reply()
    assert reply is not None
    assert reply.info == (UUID_LINE,)


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def a_board_is_understood(text: str, cuts: list[int], *, echo: bool, colour: bool) -> None:
    device, codec = ShellDevice(echo=echo, colour=colour), ShellCodec()
    said = b""
    for echoed, line in device.receive(
        codec.encode(Command(f'AT+X="{text}"', info=re.compile(r"\+X: .*")))
    ):
        said += echoed + (device.answer([f"+X: {len(text)}", "OK", ""]) if line else b"")
    for part in split_at(said, cuts):
        codec.receive(part)
    reply = codec.next_reply()
    assert reply is not None
    assert (reply.ok, reply.info) == (True, (f"+X: {len(text)}",))


plain = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\"'\\$"), max_size=200
)


@given(pieces)
@settings(max_examples=60)
def test_no_bytes_at_all_break_the_codec(chunks):
    hearing_nothing_breaks(chunks)


@given(plain, st.lists(st.integers(0, 4000), max_size=6), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_host_and_device_understand_each_other_at_any_split(text, cuts, echo, colour):
    a_board_is_understood(text, cuts, echo=echo, colour=colour)


def test_an_echo_is_one_even_where_any_line_is_an_answer():
    codec = ShellCodec()
    codec.probe()
    codec.receive(b"uart:~$ at AT\r\nOK\r\nuart:~$ ")
    codec.settle()
    codec.encode(Command("prov token abc", 5.0, re.compile(".*")))
    codec.receive(b"prov token abc\r\nuart:~$ ")
    assert codec.next_reply() == Reply(ok=True)
