"""Dialect cred-shell and the tokens outside the modem, host side against a virtual board's shell,
without a port.
"""

from __future__ import annotations

import hashlib

import pytest

from infuse_cli import dialect
from infuse_cli.capabilities import Capability
from infuse_cli.dialect.base import Heard
from infuse_cli.dialect.shell import CredCodec, ShellCodec
from infuse_cli.dialect.token_places import TokenPlace, token_is_there, write_token
from infuse_cli.errors import BoardError, ProfileError
from infuse_cli.sim.board import Send, VirtualBoard, identity_for
from infuse_cli.sim.faults import parse
from infuse_cli.sim.modem import Delays, Modem
from infuse_cli.types import CredentialType as Type

PEM = "-----BEGIN CERTIFICATE-----\n" + "MIIBabcd\n" * 60 + "-----END CERTIFICATE-----\n"
TOKEN = "reg-0123456789abcdef"


class Line:
    """A virtual board's shell and a host codec, joined without wire or time."""

    def __init__(self, faults: str = "1:dialect=cred-shell", codec=CredCodec) -> None:
        self.board = VirtualBoard(
            1, lambda n: Modem(identity_for(1, n, 7), delays=Delays(0, 0)), parse(faults).of_slot(1)
        )
        self.codec = codec()
        self.ops = dialect.operations(
            "cred-shell" if codec is CredCodec else "at-shell", credential_buffer=4096
        )
        self.uuid = f"nRF9151:{self.modem.identity.hardware_id.hex()}"

    @property
    def modem(self) -> Modem:
        return self.board.modem

    def say(self, data: bytes) -> None:
        for reaction in self.board.receive(data):
            if isinstance(reaction, Send):
                self.codec.receive(reaction.data)

    def run(self, conversation):
        try:
            command = next(conversation)
            while True:
                self.say(self.codec.encode(command))
                reply = self.codec.next_reply()
                if reply is None:  # as the link does for an answer that a reboot swallowed
                    assert self.codec.rebooted, command
                    reply = self.codec.abandon()
                    self.say(self.codec.probe())
                    self.codec.settle()
                command = conversation.send(reply)
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def line():
    return Line()


def refused(line, conversation) -> str:
    with pytest.raises((BoardError, ProfileError)) as caught:
        line.run(conversation)
    return caught.value.code


def test_the_chip_stands_in_for_the_modems_uuid(line):
    assert line.run(line.ops.identify()).uuid == line.modem.identity.hardware_id.hex()
    line.run(line.ops.same_board(line.uuid))
    assert refused(line, line.ops.same_board("nRF9151:0011223344556677")) == "board.changed"


def test_what_is_written_is_listed_with_the_digest_that_was_foreseen(line):
    line.run(line.ops.write_credential(line.uuid, 4201, Type.ROOT_CA, PEM))
    [row] = line.run(line.ops.list_credentials(4201))
    assert (
        {row.sha256}
        == line.ops.digests(Type.ROOT_CA, PEM)
        == {hashlib.sha256(PEM.encode() + b"\0").hexdigest()}
    )
    assert line.modem.nvm.read(4201, Type.ROOT_CA).content == PEM.encode()
    assert line.run(line.ops.list_credentials()) == (row,)
    assert (
        refused(line, line.ops.write_credential(line.uuid, 4201, Type.ROOT_CA, PEM))
        == "modem.exists"
    )
    line.run(line.ops.delete_credential(line.uuid, 4201, Type.ROOT_CA))
    line.run(line.ops.delete_credential(line.uuid, 4201, Type.ROOT_CA))
    assert line.run(line.ops.list_credentials(4201)) == ()


def test_a_key_is_made_with_its_csr_listed_by_its_point_and_deleted(line):
    csr = line.run(line.ops.keygen(line.uuid, 4201, attributes="CN=x"))
    assert csr.startswith("MI")
    assert "." not in csr
    [key] = line.run(line.ops.list_credentials(4201))
    assert (key.type, len(key.sha256)) == (Type.CLIENT_KEY, 64)
    assert refused(line, line.ops.keygen(line.uuid, 4201)) == "modem.exists"
    line.run(line.ops.delete_credential(line.uuid, 4201, Type.CLIENT_KEY))
    assert line.run(line.ops.list_credentials(4201)) == ()


def test_too_much_for_the_buffer_is_refused_before_a_piece_goes_up(line):
    ops = dialect.operations("cred-shell")
    assert (
        refused(line, ops.write_credential(line.uuid, 4201, Type.ROOT_CA, PEM * 2))
        == "serial.too-long"
    )
    assert line.board.commands == []


@pytest.mark.parametrize(
    "fault",
    ["reset@server-ca", "reset-before@server-ca", "reset@any#4", "reset@any#6", "urc", "no-echo"],
)
def test_a_reboot_in_the_middle_of_an_upload(fault):
    line = Line(f"1:dialect=cred-shell, 1:{fault}")
    line.run(line.ops.write_credential(line.uuid, 4201, Type.ROOT_CA, PEM))
    assert line.modem.nvm.read(4201, Type.ROOT_CA).content == PEM.encode()
    assert line.modem.counts["write"] == 1


def test_what_the_firmware_was_built_without_is_known_beforehand(line):
    wanted = frozenset({Capability.CSR, Capability.TOKEN_SETTINGS, Capability.HWINFO})
    assert line.run(line.ops.lacks(wanted)) == frozenset()
    line.board._front._commands._known -= {"nrf_cloud_cred"}
    assert line.run(line.ops.lacks(wanted)) == {Capability.CSR}
    assert line.run(line.ops.list_credentials(4201)) == ()


def test_what_the_dialect_cannot_is_said(line):
    assert refused(line, line.ops.jwt(4201, "s", "a")) == "profile.unsupported"
    assert refused(line, line.ops.attestation_token()) == "profile.unsupported"
    assert Capability.POSSESSION not in dialect.capabilities("cred-shell")


def test_each_shell_says_no_to_the_others_question():
    for faults, codec in (("1:dialect=at-shell", CredCodec), ("1:dialect=cred-shell", ShellCodec)):
        line = Line(faults, codec)
        line.say(line.codec.probe())
        assert line.codec.probed() is Heard.REFUSED


@pytest.mark.parametrize("codec", [CredCodec, ShellCodec])
def test_a_token_in_the_settings_is_read_back(codec):
    line = Line(f"1:dialect={'cred-shell' if codec is CredCodec else 'at-shell'}", codec)
    uuid = line.uuid if codec is CredCodec else str(line.modem.identity.uuid)
    place = TokenPlace("settings", name="infuse/token")
    assert line.run(token_is_there(line.ops, uuid, place, TOKEN)) is False
    line.run(write_token(line.ops, uuid, place, TOKEN))
    assert line.modem.settings == {"infuse/token": TOKEN}
    assert line.run(token_is_there(line.ops, uuid, place, TOKEN)) is True
    assert line.run(token_is_there(line.ops, uuid, place, TOKEN[:-1])) is False
    assert not any(TOKEN in command for command in line.board.commands)


def test_a_token_by_the_profiles_command(line):
    place = TokenPlace("command", command="settings write string x {token}", success="OK")
    line.run(write_token(line.ops, line.uuid, place, TOKEN))
    assert line.modem.settings == {"x": TOKEN}
    assert line.run(token_is_there(line.ops, line.uuid, place, TOKEN)) is None
    readable = TokenPlace(
        "command",
        command="settings write string x {token}",
        success="OK",
        read_back="settings read string x",
    )
    assert line.run(token_is_there(line.ops, line.uuid, readable, TOKEN)) is True
    assert line.run(token_is_there(line.ops, line.uuid, readable, "other")) is False
    unheard = TokenPlace("command", command="settings write string x {token}", success="stored")
    assert refused(line, write_token(line.ops, line.uuid, unheard, TOKEN)) == "serial.protocol"


@pytest.mark.parametrize("token", ["two words", "quote'd", "line\nend", ""])
def test_a_token_that_would_not_arrive_as_it_is(line, token):
    place = TokenPlace("settings", name="infuse/token")
    assert refused(line, write_token(line.ops, line.uuid, place, token)) == "profile.unsupported"
    assert line.board.commands == []
