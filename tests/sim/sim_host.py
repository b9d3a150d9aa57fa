"""A plain host for the tests: raw reads and writes on a pty, nothing of the tool."""

from __future__ import annotations

import base64
import os
import re
import select
import time
from dataclasses import dataclass
from typing import Self

import cbor2


@dataclass(frozen=True)
class Said:
    info: list[str]
    final: str


class Host:
    def __init__(self, port: str) -> None:
        self.fd = os.open(port, os.O_RDWR | os.O_NOCTTY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def raw(self, data: bytes) -> None:
        os.write(self.fd, data)

    def read(self, quiet_s: float = 0.1) -> bytes:
        """Everything until nothing comes for a while."""
        out = b""
        while select.select([self.fd], [], [], quiet_s)[0]:
            out += os.read(self.fd, 4096)
        return out

    def wire(self, command: str, within_s: float = 5.0) -> bytes:
        """The bytes up to and with the final line."""
        self.raw(command.encode("latin-1") + b"\r")
        out, end = b"", time.monotonic() + within_s
        while not _final(out):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise TimeoutError(out)
            out += os.read(self.fd, 4096)
        return out

    def ask(self, command: str, within_s: float = 5.0) -> Said:
        *info, final = self.wire(command, within_s).decode("latin-1").split("\r\n")[:-1]
        return Said(info, final)

    def ready(self) -> Host:
        assert self.ask("AT+CMEE=1").final == "OK"
        assert self.ask("AT+CFUN=4").final == "OK"
        return self


def _final(out: bytes) -> bool:
    return re.search(rb"(?:^|[\r\n])(?:OK|ERROR|\+CME ERROR: \d+)\r\n$", out) is not None


def b64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True)
class Keygen:
    body: bytes
    protected: dict
    unprotected: dict
    payload: list
    signed: bytes
    signature: bytes


def parse_keygen(line: str) -> Keygen:
    body, _, cose = line.removeprefix('%KEYGEN: "').removesuffix('"').partition(".")
    tagged = cbor2.loads(b64(cose))
    assert tagged.tag == 18
    protected, unprotected, payload, signature = tagged.value
    inner = cbor2.loads(payload)
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    return Keygen(
        b64(body),
        cbor2.loads(protected),
        unprotected,
        inner.value if hasattr(inner, "value") else inner,
        signed,
        signature,
    )


def keygen(host: Host, tag: int = 4201) -> Keygen:
    said = host.ask(f"AT%KEYGEN={tag},2,0")
    assert said.final == "OK", said
    return parse_keygen(said.info[0])
