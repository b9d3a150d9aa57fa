"""Dialect epacket: published vectors, the traps that frame parsers fell into, host against device
at every split.
"""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli import dialect
from infuse_cli.dialect.base import CodecOptions, Heard, LinkState
from infuse_cli.dialect.epacket import ANSWER, EpacketCodec
from infuse_cli.dialect.epacket_device import EpacketDevice, Ping, Rpc
from infuse_cli.dialect.frames import (
    LARGEST,
    PING,
    SYNC,
    FrameParser,
    Kind,
    Packet,
    frame,
    opened,
    sealed,
)
from infuse_cli.dialect.operations_epacket import EpacketOperations
from infuse_cli.dialect.token_places import TokenPlace, token_is_there, write_token
from infuse_cli.errors import BoardError, CredentialError, ProfileError
from infuse_cli.keys.frames import NetworkCipher, network_cipher
from infuse_cli.types import Command, Reply

CIPHER = network_cipher()
DEVICE_ID = 0xD291D4D66BF0A955
GPS = 1_400_000_000
# computed from the public formulas and read by the public tools
ECHO = bytes.fromhex(
    "d5ca2b0000000000000000d6d491d255a9f06b004e7253000034128acbcc6d90163bdb41813959096383e6abd0d8fe"
)


def host() -> EpacketCodec:
    return EpacketCodec(
        CodecOptions(cipher=CIPHER, gps_time=lambda: GPS, random=lambda size: b"\x07" * size)
    )


def device() -> EpacketDevice:
    return EpacketDevice(CIPHER, DEVICE_ID)


def heard(data: bytes, pieces: list[int] | None = None) -> tuple[list[bytes], bytes]:
    """Payloads that were accepted (all of them are) and console text."""
    payloads: list[bytes] = []
    text = bytearray()
    parser = FrameParser(lambda payload: payloads.append(payload) is None, text.extend)
    for part in split_at(data, pieces or []):
        parser.receive(part)
    return payloads, bytes(text)


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def test_the_published_frame_is_made_and_read():
    packet = Packet(Kind.ECHO_REQUEST, DEVICE_ID, GPS, b"ping", entropy=0x1234)
    assert frame(sealed(packet, CIPHER)) == ECHO
    assert opened(ECHO[4:], CIPHER) == packet
    assert opened(ECHO[4:-1] + b"\0", CIPHER) is None
    assert opened(ECHO[4:], NetworkCipher(bytes(32))) is None
    assert bytes.fromhex("D5CA01004D") == PING


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\xd5\xca\x00\x00",
        b"\xd5",
        b"\xd5\xd5",
        b"\xd5\xca",
        b"\xd5\xca\xff\xff",
        b"\xd5\xca\x2c\x02",
        b"boot text\r\n",
        b"\xd5\xca\x00\x00" * 3,
        b"\xca\xd5\xca\x00",
        b"log \xd5 text\n",
        SYNC + struct.pack("<H", LARGEST + 1),
    ],
    ids=lambda data: data.hex() or "nothing",
)
def test_no_trap_costs_the_frame_behind_it(before):
    """A length of 0 or beyond all frames, a stray first byte, a doubled one: each of them wedged a
    parser somewhere.
    """
    for cut in range(len(before) + len(ECHO)):
        payloads, text = heard(before + ECHO + b"after", [cut])
        assert payloads[-1:] == [ECHO[4:]], cut
        assert text.endswith(b"after")


def test_a_frame_that_nobody_accepts_is_looked_through_again():
    found: list[bytes] = []

    def accept(payload: bytes) -> bool:
        if opened(payload, CIPHER) is None:
            return False
        found.append(payload)
        return True

    inner = ECHO + b"x" * 20
    parser = FrameParser(accept, lambda _: None)
    parser.receive(SYNC + struct.pack("<H", len(inner)) + inner)
    assert found == [ECHO[4:]]


def test_a_half_frame_is_given_up_and_what_is_in_it_found():
    found: list[bytes] = []
    text = bytearray()
    parser = FrameParser(
        lambda payload: found.append(payload) is None if len(payload) == len(ECHO) - 4 else False,
        text.extend,
    )
    parser.receive(SYNC + struct.pack("<H", 500) + ECHO + b"tail")
    assert found == []
    parser.flush()
    assert text.endswith(b"tail")
    assert found == [ECHO[4:]]


def ask(
    codec: EpacketCodec,
    board: EpacketDevice,
    text: str,
    code: int,
    data: bytes,
    noise: bytes = b"",
    cuts: list[int] | None = None,
):
    [rpc] = board.receive(
        b"console\r\n" + codec.encode(Command(text, info=ANSWER, needs_info=True))
    )
    assert isinstance(rpc, Rpc)
    for part in split_at(noise + board.answer(rpc, code, data) + noise, cuts or []):
        codec.receive(part)
    return codec.next_reply()


def test_a_request_and_its_answer():
    codec, board = host(), device()
    reply = ask(
        codec, board, "kv_read 012b00", 0, b"\x2b\x00\x08\x00abcdefgh", noise=b"[inf] OK\r\n"
    )
    assert reply.ok
    found = ANSWER.fullmatch(reply.info[0])
    assert (found["device"], found["network"], found["code"]) == (
        f"{DEVICE_ID:016x}",
        "000000",
        "0",
    )
    assert bytes.fromhex(found["data"]).endswith(b"abcdefgh")
    assert reply.unsolicited == ("[inf] OK",)
    refused = ask(codec, board, "kv_write 00", -22, b"")
    assert (refused.ok, codec.state) == (False, LinkState.IDLE)


def test_an_answer_to_another_request_is_not_taken():
    codec, board = host(), device()
    [rpc] = board.receive(codec.encode(Command("kv_read 00")))
    codec.receive(board.answer(Rpc(rpc.request + 1, rpc.command, b"", GPS), 0))
    codec.receive(board.answer(Rpc(rpc.request, rpc.command + 1, b"", GPS), 0))
    assert codec.next_reply() is None
    codec.receive(board.answer(rpc, 0))
    assert codec.next_reply().ok


def test_a_ping_gets_into_step_and_boot_text_is_noticed():
    codec, board = host(), device()
    assert codec.probed() is Heard.NOTHING
    [ping] = board.receive(b"\0\0" + codec.probe())
    assert isinstance(ping, Ping)
    codec.receive(b"*** Booting Zephyr OS build v4.1 ***\r\n" + board.key_ids(0x2F33D3, GPS))
    assert codec.probed() is Heard.CLEAN
    codec.settle()
    assert codec.rebooted
    assert ask(codec, board, "kv_read 00", 0, b"").rebooted


def test_a_device_tells_its_public_keys_and_older_firmware_its_security_state():
    mine, cloud = bytes(range(32)), bytes(range(100, 132))

    def answer(code: int, data: bytes) -> Reply:
        return Reply(code >= 0, (f"{DEVICE_ID:016x} 000000 {code} {data.hex()}",))

    def asked(*replies: Reply) -> tuple[bytes, bytes | None]:
        conversation = EpacketOperations().public_keys()
        next(conversation)
        for reply in replies[:-1]:
            conversation.send(reply)
        with pytest.raises(StopIteration) as ended:
            conversation.send(replies[-1])
        return ended.value.value

    assert asked(answer(0, b"\4" + cloud + b"\3" + mine)) == (mine, cloud)
    assert asked(answer(0, b"\3" + mine)) == (mine, None)
    assert asked(answer(-134, b""), answer(0, cloud + mine + bytes(5))) == (mine, cloud)
    with pytest.raises(BoardError):
        asked(answer(0, b"\4" + cloud))


def test_auto_asks_in_turn_and_a_late_answer_still_counts():
    codec = dialect.codec("auto", CodecOptions(cipher=CIPHER))
    assert codec.probe().endswith(b"AT\r")
    assert (codec.probed(), codec.probe_s) == (Heard.NOTHING, 0.1)
    assert codec.probe() == PING
    codec.receive(b"\r\nOK\r\n")  # of the AT host that was asked before the ping
    assert codec.probed() is Heard.REFUSED
    assert codec.probe().endswith(b"AT\r")
    codec.receive(b"ERROR\r\nOK\r\n")
    assert codec.probed() is Heard.NOISY
    codec.settle()
    assert codec.name == "at"


def test_limits_are_known_before_anything_is_sent():
    with pytest.raises(BoardError, match="555") as caught:
        host().encode(Command("kv_write " + "00" * 511))
    assert caught.value.code == "serial.too-long"
    for text in ("AT+CGSN", "kv_write 0", "kv_write xx"):
        with pytest.raises(ProfileError):
            host().encode(Command(text))
    with pytest.raises(ProfileError, match="network"):
        EpacketCodec(CodecOptions())


def test_above_the_usual_speed_a_sleeping_receiver_is_woken():
    codec = EpacketCodec(CodecOptions(cipher=CIPHER, baud=1_000_000))
    assert codec.probe() == b"\0\0" + PING


def test_the_networks_key_comes_from_a_private_file(tmp_path):
    file = tmp_path / "network"
    file.write_text("e120dccfb52b511be9baa405f5cbac98738722ab5e62b90b55632cdb82a27470\n")
    file.chmod(0o600)
    packet = Packet(Kind.ECHO_REQUEST, 1, GPS, b"x", key_id=1)
    assert opened(sealed(packet, network_cipher(file, 1)), network_cipher(file, 1)) == packet
    assert opened(sealed(packet, network_cipher(file, 1)), CIPHER) is None
    file.chmod(0o644)
    with pytest.raises(CredentialError, match="0600"):
        network_cipher(file)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(CredentialError, match="64 hex digits"):
        network_cipher(file)


class Store:
    """A key-value store behind a device, joined to a host codec without wire or time; `spoil`
    changes what is kept.
    """

    def __init__(self, spoil: bytes = b"") -> None:
        self.codec, self.board, self.values, self.spoil = host(), device(), {}, spoil
        self.ops = dialect.operations("epacket")

    def run(self, conversation):
        try:
            command = next(conversation)
            while True:
                [rpc] = self.board.receive(self.codec.encode(command))
                self.codec.receive(self.board.answer(rpc, *self.obey(rpc)))
                command = conversation.send(self.codec.next_reply())
        except StopIteration as stop:
            return stop.value

    def obey(self, rpc: Rpc) -> tuple[int, bytes]:
        body = rpc.parameters
        match rpc.command:
            case 5:
                key, size = struct.unpack_from("<HH", body, 1)
                self.values[key] = body[5 : 5 + size] + self.spoil
                return 0, struct.pack("<h", size)
            case 6:
                value = self.values.get(struct.unpack_from("<H", body, 1)[0])
                return 0, (
                    struct.pack("<Hh", struct.unpack_from("<H", body, 1)[0], -2)
                    if value is None
                    else body[1:3] + struct.pack("<h", len(value)) + value
                )
            case 20:
                return 0, b"%DEVICEUUID: 50363154-3931-44f0-8022-121b6401627d\r\nOK\r\n"
        return -134, b""


def test_a_token_in_the_key_value_store_is_read_back():
    uuid, place = "50363154-3931-44f0-8022-121b6401627d", TokenPlace("kv", name="20001")
    store = Store()
    assert store.run(token_is_there(store.ops, uuid, place, "reg-1")) is False
    store.run(write_token(store.ops, uuid, place, "reg-1"))
    assert store.values == {20001: b"\x06reg-1\0"}
    assert store.run(token_is_there(store.ops, uuid, place, "reg-1")) is True
    with pytest.raises(BoardError, match="begun"):
        store.run(write_token(store.ops, "504d5632-3739-42fb-80c8-1411df972166", place, "reg-1"))
    spoilt = Store(b"!")
    spoilt.values[20001] = b"\x06reg-2\0"
    assert spoilt.run(token_is_there(spoilt.ops, uuid, place, "reg-1")) is False
    with pytest.raises(ProfileError):
        store.run(write_token(store.ops, uuid, TokenPlace("kv", name="token"), "reg-1"))


garbage = st.lists(
    st.binary(max_size=60)
    | st.sampled_from(
        [SYNC, b"\xd5", b"\xd5\xca\x00\x00", ECHO[:20], b"\xd5\xca\x10\x00", b"log\r\n"]
    ),
    max_size=10,
)


def a_request_gets_through(chunks: list[bytes], cuts: list[int]) -> None:
    """Whatever came before: after a give-up and a ping the very next answer is read."""
    codec, board = host(), device()
    for chunk in chunks:
        codec.receive(chunk)
        board.receive(chunk)
    codec.desync()
    for _ in range(2):
        pings = board.receive(codec.probe() + bytes(LARGEST))
    assert [one for one in pings if isinstance(one, Ping)]
    codec.receive(board.key_ids(1, GPS))
    codec.probe()
    codec.receive(board.key_ids(1, GPS))
    assert codec.probed() is not Heard.NOTHING
    codec.settle()
    assert ask(codec, board, "kv_read 00", 0, b"abc", cuts=cuts).info[0].endswith(b"abc".hex())


@given(garbage, st.lists(st.integers(0, 200), max_size=5))
@settings(max_examples=60)
def test_nothing_keeps_a_host_from_getting_into_step(chunks, cuts):
    a_request_gets_through(chunks, cuts)
