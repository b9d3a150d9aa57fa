"""A board as small as these tests need: device role of dialect `at` and a few modem commands over a
dict.

Written apart from the simulator, so that the host side is tried against two boards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from infuse_cli.dialect.at import AtCodec
from infuse_cli.dialect.at_device import AtDevice

UUID = "50363154-3931-44f0-8022-121b6401627d"
OTHER_UUID = "504d5632-3739-42fb-80c8-1411df972166"
BOOT = (
    b"\r\n*** Booting nRF Connect SDK v2.6.1 ***\r\n*** Using Zephyr OS v3.5.99 ***\r\nThe AT host"
    b" sample started\r\n"
)
KEYGEN_TEXT = "MIIBCjCBrwIBADAvMS0wKw.0oRDoQEmoQRBIVhL2dn3hQlQ"

Special = Callable[["TinyModem", str], bytes]


class TinyModem:
    def __init__(
        self,
        *,
        uuid=UUID,
        imei="352656100000017",
        sim=True,
        echo=False,
        blank=False,
        before_each=b"",
        digests=True,
    ):
        self.device = AtDevice(echo=echo, blank_before_answer=blank)
        self.uuid, self.imei, self.sim = uuid, imei, sim
        self.before_each, self.digests = before_each, digests
        self.cfun, self.cmee = 1, False
        self.store: dict[tuple[int, int], str] = {}
        self.seen: list[str] = []
        self.specials: list[tuple[str, Special]] = []

    def once(self, pattern: str, special: Special | bytes) -> None:
        """The next command that matches is answered by `special` instead."""
        self.specials.append(
            (pattern, special if callable(special) else lambda _modem, _command: special)
        )

    def reboot(self) -> bytes:
        self.cfun, self.cmee = 1, False
        self.device.reset()
        return BOOT

    def hear(self, data: bytes) -> bytes:
        out = self.device.echo_of(data)
        for command in self.device.receive(data):
            self.seen.append(command)
            out += self.before_each + self.obey(command)
        return out

    def obey(self, command: str) -> bytes:
        for at, (pattern, special) in enumerate(self.specials):
            if re.match(pattern, command):
                del self.specials[at]
                return special(self, command)
        return self.usual(command)

    def refuse(self, number: int) -> bytes:
        return self.device.answer(ok=False, cme=number if self.cmee else None)

    def usual(self, command: str) -> bytes:
        if written := re.fullmatch(r'AT%CMNG=0,(\d+),(\d+),"([^"]*)"', command):
            return self.write(int(written[1]), int(written[2]), written[3])
        if listed := re.fullmatch(r"AT%CMNG=1(?:,(\d+))?", command):
            return self.list(listed[1])
        if deleted := re.fullmatch(r"AT%CMNG=3,(\d+),(\d+)", command):
            return self.delete(int(deleted[1]), int(deleted[2]))
        if made := re.match(r"AT%KEYGEN=(\d+),2,0", command):
            return self.keygen(int(made[1]))
        if mode := re.fullmatch(r"AT\+CFUN=(\d+)", command):
            self.cfun = int(mode[1])
            return self.device.answer()
        return self.simple(command)

    def simple(self, command: str) -> bytes:
        match command:
            case "AT":
                return self.device.answer()
            case "AT+CMEE=1":
                self.cmee = True
                return self.device.answer()
            case "AT+CFUN?":
                return self.device.answer(info=[f"+CFUN: {self.cfun}"])
            case "AT%DEVICEUUID":
                return self.device.answer(info=[f"%DEVICEUUID: {self.uuid}"])
            case "AT+CGSN" if self.imei:
                return self.device.answer(info=[self.imei])
            case "AT+CGMR":
                return self.device.answer(info=["mfw_nrf91x1_2.0.2"])
            case "AT+CGMM":
                return self.device.answer(info=["nRF9151-LACA"])
            case "AT%XICCID" if self.sim:
                return self.device.answer(info=["%XICCID: 8901234567012345678F"])
            case _:
                return self.device.answer(ok=False)

    def write(self, tag: int, kind: int, content: str) -> bytes:
        if self.cfun != 4:
            return self.refuse(518)
        if (tag, kind) in self.store:
            return self.refuse(519)
        self.store[tag, kind] = content
        return self.device.answer()

    def delete(self, tag: int, kind: int) -> bytes:
        if self.cfun != 4:
            return self.refuse(518)
        return (
            self.refuse(513) if self.store.pop((tag, kind), None) is None else self.device.answer()
        )

    def list(self, tag: str | None) -> bytes:
        rows = [
            (key, text)
            for key, text in sorted(self.store.items())
            if tag is None or key[0] == int(tag)
        ]
        digest = (
            (lambda text: f',"{hashlib.sha256(text.encode("latin-1")).hexdigest().upper()}"')
            if self.digests
            else lambda _: ""
        )
        return self.device.answer(
            info=[f"%CMNG: {key[0]},{key[1]}{digest(text)}" for key, text in rows]
        )

    def keygen(self, tag: int) -> bytes:
        if self.cfun != 4:
            return self.refuse(518)
        if (tag, 2) in self.store:
            return self.refuse(519)
        self.store[tag, 2] = f"key {len(self.seen)}"
        return self.device.answer(info=[f'%KEYGEN: "{KEYGEN_TEXT}"'])


class SilenceError(Exception):
    """The board did not answer; a link would have waited for its deadline."""


def ask(codec: AtCodec, modem: TinyModem, command):
    codec.receive(modem.hear(codec.encode(command)))
    reply = codec.next_reply()
    if reply is None:
        # What the link does for an answer that a reboot swallowed.
        if not codec.rebooted:
            raise SilenceError(command.text)
        reply = codec.abandon()
        codec.receive(modem.hear(codec.probe()))
        codec.settle()
    return reply


def talk(conversation, modem: TinyModem, codec: AtCodec | None = None):
    codec = codec or AtCodec()
    try:
        command = next(conversation)
        while True:
            command = conversation.send(ask(codec, modem, command))
    except StopIteration as stop:
        return stop.value
