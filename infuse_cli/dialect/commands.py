"""The modem's commands with types: constructors of `Command`, and parsers of their information
lines.

Texts are those of Nordic's nRF91x1 AT commands reference, without frame or terminator. Time-outs in
seconds.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import BoardError, ProfileError
from infuse_cli.types import Command, StoredCredential

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.types import CredentialType, Reply

READ_S: Final = 2.0
SIGN_S: Final = 5.0
CFUN_S: Final = 10.0
WRITE_S: Final = 15.0
KEYGEN_S: Final = 30.0

FLIGHT_MODE: Final = 4
"""AT+CFUN=4: radio off, credentials writable."""

_UUID: Final = re.compile(
    r'%DEVICEUUID: *"?([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"?'
)
_IMEI: Final = re.compile(r'(?:\+CGSN: *)?"?([0-9]{15})"?')
# One word, so that a line of the application's log is not taken for it.
_NAME: Final = re.compile(r'(?:\+CG[A-Z]{2}: *)?"?([A-Za-z0-9][\w.+-]*)"?')
_ICCID: Final = re.compile(r'%XICCID: *"?([0-9]{18,20}[Ff]{0,2})"?')
_CFUN: Final = re.compile(r"\+CFUN: *(\d{1,3})")
_CMNG: Final = re.compile(r'%CMNG: *(\d{1,10}), *(\d{1,3})(?:, *"?([0-9A-Fa-f]{64})?"?)?')
_KEYGEN: Final = re.compile(r'%KEYGEN: *"([A-Za-z0-9_\-=]+(?:\.[A-Za-z0-9_\-=]+)?)"')
_ATTEST: Final = re.compile(r'%ATTESTTOKEN: *"([A-Za-z0-9_\-=]+\.[A-Za-z0-9_\-=]+)"')
_JWT: Final = re.compile(r'%JWT: *"([A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+)"')
_CHALLENGE: Final = re.compile(r"[0-9A-Fa-f]{32}")
_UNQUOTABLE: Final = re.compile(r'["\x00-\x09\x0b\x0c\x0e-\x1f]|[^\x00-\x7f]')
_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@functools.lru_cache(
    maxsize=32
)  # asked several times a certificate: for the bytes, and for their digest
def canonical_pem(text: str) -> str:
    """PEM as it goes over the wire: its blocks only, LF line ends, no empty lines, one final LF,
    ASCII.

    Comments between blocks are dropped. Raises ProfileError profile.invalid when there is no PEM
    block.
    """
    blocks = [found.group() for found in _PEM.finditer(text)]
    if not blocks or not text.isascii():
        raise ProfileError(
            "profile.invalid", "this is not PEM in ASCII: no -----BEGIN …----- block could be read"
        )
    lines = (line.strip() for block in blocks for line in block.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def wire_content(content: str) -> str:
    """What stands between the quotes of a write: PEM in canonical form, anything else as it is."""
    return canonical_pem(content) if "-----BEGIN " in content else content


def wire_digest(content: str) -> str:
    """SHA-256 of exactly the bytes between the quotes, 64 lower-case hex digits, as the modem's
    list has it.
    """
    return hashlib.sha256(wire_content(content).encode()).hexdigest()


def cmee() -> Command:
    """Refusals as numbers (`+CME ERROR: n`) from now on."""
    return Command("AT+CMEE=1", READ_S)


def read_functional_mode() -> Command:
    """Which functional mode the modem is in."""
    return Command("AT+CFUN?", READ_S, _CFUN, needs_info=True)


def set_functional_mode(mode: int) -> Command:
    """Another functional mode; flight mode has to leave the network first."""
    return Command(f"AT+CFUN={mode}", CFUN_S)


def device_uuid() -> Command:
    """Read the key of the board."""
    return Command("AT%DEVICEUUID", READ_S, _UUID, needs_info=True)


def imei() -> Command:
    """The IMEI; a module that has none answers ERROR."""
    return Command("AT+CGSN", READ_S, _IMEI)


def imei_named() -> Command:
    """The IMEI in the form with a prefix."""
    return Command("AT+CGSN=1", READ_S, _IMEI)


def revision() -> Command:
    """Name of the modem firmware."""
    return Command("AT+CGMR", READ_S, _NAME, needs_info=True)


def model() -> Command:
    """Name of the module."""
    return Command("AT+CGMM", READ_S, _NAME, needs_info=True)


def iccid() -> Command:
    """The SIM's number; ERROR without a SIM."""
    return Command("AT%XICCID", READ_S, _ICCID)


def cmng_list(sec_tag: int | None = None) -> Command:
    """The credentials under a tag, or all. An empty place answers OK alone."""
    return Command("AT%CMNG=1" if sec_tag is None else f"AT%CMNG=1,{sec_tag}", READ_S, _CMNG)


def cmng_write(
    sec_tag: int,
    type: CredentialType | int,  # noqa: A002
    content: str,
    *,
    secret: bool = False,
) -> Command:
    """Write a credential; the digest that the list then shows is `wire_digest(content)`."""
    quoted = _quotable(wire_content(content), f"credential type {int(type)} of sec_tag {sec_tag}")
    return Command(
        f'AT%CMNG=0,{sec_tag},{int(type)},"{quoted}"', WRITE_S, effect=True, secret=secret
    )


def cmng_delete(sec_tag: int, type: CredentialType | int) -> Command:  # noqa: A002
    """Delete a credential."""
    return Command(f"AT%CMNG=3,{sec_tag},{int(type)}", WRITE_S, effect=True)


def keygen(sec_tag: int, attributes: str | None = None, key_usage: str | None = None) -> Command:
    """A client key (type 2) with a CSR.

    `attributes` as `CN=…,O=…`; `key_usage` nine bits, X.509 order.
    """
    extras = [
        _quotable(attributes or "", "identity.attributes"),
        _quotable(key_usage or "", "identity.key_usage"),
    ]
    while extras and not extras[-1]:
        extras.pop()
    tail = "".join(f',"{extra}"' if extra else "," for extra in extras)
    return Command(
        f"AT%KEYGEN={sec_tag},2,0{tail}", KEYGEN_S, _KEYGEN, effect=True, needs_info=True
    )


def attest_token(challenge_hex: str | None = None) -> Command:
    """An attestation token; the challenge (32 hex digits) stands in for the modem's own nonce."""
    if challenge_hex is None:
        return Command("AT%ATTESTTOKEN", SIGN_S, _ATTEST, needs_info=True)
    if not _CHALLENGE.fullmatch(challenge_hex):
        raise ProfileError("profile.unsupported", "an attestation challenge is 32 hex digits")
    return Command(f'AT%ATTESTTOKEN="{challenge_hex}"', SIGN_S, _ATTEST, needs_info=True)


def jwt(sec_tag: int, subject: str, audience: str) -> Command:
    """An ES256 JWT without lifetime, signed with the client key of the tag."""
    sub, aud = _quotable(subject, "the JWT's subject"), _quotable(audience, "the JWT's audience")
    return Command(f'AT%JWT=0,0,"{sub}","{aud}",{sec_tag},2', SIGN_S, _JWT, needs_info=True)


def raw(
    text: str, pattern: str, timeout_s: float, *, effect: bool = False, secret: bool = False
) -> Command:
    """A profile's own command; a line that `pattern` is found in is its information line.

    Raises ProfileError profile.invalid for a pattern that is no regular expression.
    """
    try:
        info = re.compile(f".*?(?:{pattern}).*")
    except re.error as exc:
        raise ProfileError(
            "profile.invalid", f"the pattern {pattern!r} is not a regular expression: {exc}"
        ) from None
    return Command(text, timeout_s, info, effect=effect, secret=secret)


def value(command: Command, reply: Reply) -> str | None:
    """The first group (the whole line where there is none) of the first information line, None
    without one.
    """
    if command.info is None or not reply.info:
        return None
    match = command.info.fullmatch(reply.info[0])
    if match is None:
        return None
    return match.group(1) if match.re.groups else match.group()


def required(command: Command, reply: Reply) -> str:
    """As `value`; raises BoardError serial.protocol when the answer has none."""
    text = value(command, reply)
    if text is None:
        name = command.text.partition('"')[0].rstrip(",=") if not command.secret else "a command"
        raise BoardError(
            "serial.protocol", f"{name} was answered OK, but without the line that it promises"
        )
    return text


def credentials(lines: Sequence[str]) -> tuple[StoredCredential, ...]:
    """The rows of a credential list; digests in lower case, None where the modem gives none."""
    rows = (_CMNG.fullmatch(line) for line in lines)
    return tuple(
        StoredCredential(int(row[1]), int(row[2]), row[3].lower() if row[3] else None)
        for row in rows
        if row
    )


def _quotable(text: str, what: str) -> str:
    if _UNQUOTABLE.search(text):
        raise ProfileError(
            "profile.unsupported",
            f"{what} holds a quote or a character that an AT command cannot carry",
        )
    return text
