"""Every parser of serial bytes, and of what people type about them, over a hundred thousand streams
of garbage each.

No bytes raise anything but the named errors, memory stays bounded, the split makes no difference
where none is to be made, and a board that answers afterwards is understood. A storm: `pytest
--storm -n0 tests/dialect/test_dialect_long.py`.
"""

from __future__ import annotations

import contextlib
import re

import pytest
from test_dialect_at_codec import ASKED, UUID_LINE
from test_dialect_epacket import a_request_gets_through, device, heard, host

from infuse_cli.dialect import at_text, cme, cms, commands, frame_words, noise
from infuse_cli.dialect.at import LONGEST_LINE, AtCodec
from infuse_cli.dialect.at_device import AtDevice
from infuse_cli.dialect.auto import AutoCodec
from infuse_cli.dialect.base import CodecOptions, Heard, LinkState
from infuse_cli.dialect.epacket import ANSWER
from infuse_cli.dialect.shell import CredCodec, ShellCodec
from infuse_cli.dialect.shell_device import ShellDevice, ShellError, unescaped, words
from infuse_cli.errors import UsageError
from infuse_cli.keys.frames import network_cipher
from infuse_cli.serial_tools import console_text
from infuse_cli.types import Command
from tests.support.garbage import many, stream

pytestmark = [pytest.mark.storm, pytest.mark.timeout(3600)]

PROBE_ANSWERS = {
    AtCodec: b"\r\n\r\nOK\r\n",
    ShellCodec: b"\r\n\r\nuart:~$ \r\nOK\r\n",
    CredCodec: b"\r\n\r\nuart:~$ \r\n0 credentials found.\r\n",
}
ANSWERS = {
    AtCodec: (ASKED, f"{UUID_LINE}\r\nOK\r\n"),
    ShellCodec: (ASKED, f"{UUID_LINE}\r\nOK\r\n"),
    CredCodec: (
        Command("hwinfo devid", info=re.compile("ID: .*")),
        "Length: 8\r\nID: 0x0011223344556677\r\nuart:~$ ",
    ),
}


@pytest.mark.parametrize("kind", PROBE_ANSWERS, ids=lambda kind: kind.NAME)
@many
def test_a_host_gets_into_step_again_after_any_bytes(kind, data):
    codec = kind(CodecOptions())
    command, answer = ANSWERS[kind]
    codec.encode(command)
    for part in stream(data):
        codec.receive(part)
        assert len(codec._tail) <= LONGEST_LINE
    while codec.next_reply():
        pass
    codec.desync()
    for _ in range(2):
        codec.probe()
        codec.receive(PROBE_ANSWERS[kind])
    assert codec.probed() in {Heard.CLEAN, Heard.NOISY}
    codec.settle()
    codec.encode(command)
    codec.receive(answer.encode())
    assert codec.next_reply().info == (answer.splitlines()[-2],)


@many
def test_noise_before_an_answer_changes_nothing_of_it(data):
    """Whole lines that are no part of a protocol; a final line among them ends the command, and is
    not drawn here.
    """
    noise = re.sub(rb"OK|ERROR|DEVICEUUID|Booting|Ready|[\r\n]+", b" ", b"".join(stream(data)))
    codec = AtCodec()
    codec.encode(ASKED)
    for part in (
        noise[:7],
        noise[7:],
        f"\r\n{UUID_LINE}\r\n".encode(),
        noise[:5],
        noise[5:],
        b"\r\nOK\r\n",
    ):
        codec.receive(part)
    reply = codec.next_reply()
    assert (reply.ok, reply.info, reply.cme) == (True, (UUID_LINE,), None)


@many
def test_a_frame_parser_loses_no_byte_and_minds_no_split(data):
    parts = stream(data)
    whole = b"".join(parts)
    cuts = [len(part) * number for number, part in enumerate(parts, 1)]
    payloads, text = heard(whole, cuts)
    assert (payloads, text) == heard(whole)
    assert len(text) + sum(len(payload) + 4 for payload in payloads) <= len(whole)


@many
def test_a_host_of_frames_gets_into_step_again(data):
    a_request_gets_through(stream(data), [data[0], data[-1]])


@many
def test_a_host_of_frames_waits_for_its_own_answer(data):
    codec, board = host(), device()
    [rpc] = board.receive(codec.encode(Command("kv_read 00", info=ANSWER, needs_info=True)))
    for part in stream(data):
        codec.receive(part)
        assert codec.next_reply() is None
    codec.receive(b"\0" * 600)  # longer than any frame that the garbage may have begun
    codec.receive(board.answer(rpc, 0, b"abc"))
    assert codec.next_reply().info[0].endswith(b"abc".hex())


@many
def test_no_bytes_break_the_search_for_a_dialect(data):
    codec = AutoCodec(CodecOptions(cipher=network_cipher()))
    parts = stream(data)
    for number, part in enumerate(parts):
        if number % 3 == 0:
            codec.probe()
        codec.receive(part)
        codec.probed()
    if codec.state is not LinkState.PROBING:
        codec.probe()
    for _ in range(3):
        codec.receive(b"\r\nOK\r\n")
    if codec.probed() in {Heard.CLEAN, Heard.NOISY}:
        codec.settle()
        assert codec.name in {"at", "at-shell", "cred-shell", "epacket"}
    codec.desync()
    codec.close()


@many
def test_a_board_makes_the_same_commands_of_any_split(data):
    parts = stream(data)
    whole = b"".join(parts)
    apart, together = AtDevice(), AtDevice()
    assert [line for part in parts for line in apart.receive(part)] == together.receive(whole)
    one, other = ShellDevice(), ShellDevice()
    lines = [line for part in parts for _, line in one.receive(part) if line is not None]
    assert lines == [line for _, line in other.receive(whole) if line is not None]
    for line in lines:
        with contextlib.suppress(ShellError):
            words(line)
        unescaped(line)
    frames, again = device(), device()
    assert [rpc for part in parts for rpc in frames.receive(part)] == again.receive(whole)


@many
def test_a_consoles_lines_move_no_cursor(data):
    parts = stream(data)
    apart, together = console_text.Lines(), console_text.Lines()
    lines = [line for part in parts for line in apart.receive(part)]
    shown = together.receive(b"".join(parts))
    assert [*lines, apart.rest()] == [*shown, together.rest()] or b"\x1b" in b"".join(parts)
    for line in [*lines, *shown]:
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", line)
        assert cms.meaning(line) is None or "ERROR" in line


@many
def test_what_a_port_said_and_frames_are_told_of_in_plain_words(data):
    whole = b"".join(stream(data))
    for said in (
        noise.classify_noise(whole),
        frame_words.outline(whole) or "",
        frame_words.outline(b"\0" + whole) or "",
    ):
        assert said.isprintable()
    assert noise.classify_noise(whole)[:2] in {"", "; "}


@many
def test_what_people_type_is_read_or_refused_and_no_secret_kept(data):
    lines = b"".join(stream(data)).decode("latin-1").splitlines()
    with contextlib.suppress(UsageError):
        for text in at_text.script(lines):
            assert at_text.is_command(text)
            at_text.only_reads(text)
    for line in lines:
        console_text.is_open(line)
        console_text.changes(line)
        console_text.for_record(line)
    secret = "7f3a" * 8
    for typed in (
        f'{"".join(lines)};AT%CMNG=0,16,3,"{secret}"',
        f"at 'AT%CMNG=0,16,3,\"{secret}\"'",
        f"cred add 1 PSK DEFAULT bin {secret} {lines[:1]}",
    ):
        log = console_text.LogText()
        if console_text.is_secret(typed):
            assert secret not in log.sent(typed)
            assert secret not in log.received(f"uart:~$ {typed}")


@many
def test_a_modems_lines_give_values_or_nothing(data):
    lines = b"".join(stream(data)).decode("latin-1").splitlines()
    for row in commands.credentials([*lines, *(f'%CMNG: 16,1,"{line}"' for line in lines)]):
        assert row.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", row.sha256)
    for line in lines:
        number = re.search(r"\d{1,5}", line)
        assert cme.modem_error(None if number is None else int(number[0]), "this").code.startswith(
            "modem."
        )
