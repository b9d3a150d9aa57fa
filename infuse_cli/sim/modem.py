"""The virtual nRF9151: state and AT commands, no I/O and no clock of its own.

A command gives an `Answer`, which says how long the real modem would take. After boot CMEE is 0
(bare ERROR) and the modem is active: the firmware connects by itself. Source:
`docs/reference/interfaces/board-serial.md#at-commands`.
"""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infuse_cli.sim import attest
from infuse_cli.sim.nvm import (
    ACTIVE_STATE,
    KEYGEN_FAILED,
    MAX_SEC_TAG,
    NOT_ALLOWED,
    NOT_FOUND,
    POWER_OFF_WARNING,
    ModemRefusal,
    Nvm,
)
from infuse_cli.types import CredentialType

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL: Final = "nRF9151-LACA"
FIRMWARE: Final = "mfw_nrf91x1_2.0.2"
HARDWARE: Final = "nRF9151 LACA A0A"
SOFTWARE_VERSION: Final = "01"
"""The last two digits of an IMEISV."""
ACTIVE_MODES: Final = frozenset({1, 2, 21})
"""Functional modes in which credentials can't be written."""
_MODES: Final = frozenset({0, 1, 2, 4, 20, 21, 30, 31, 40, 41, 44})
_CONSTANTS: Final = {
    "+CGMI": "Nordic Semiconductor ASA",
    "%SHORTSWVER": "%SHORTSWVER: nrf91x1_2.0.2",
    "+CPIN?": "+CPIN: READY",
    "+CMEE=?": "+CMEE: (0,1)",
    "+CFUN=?": f"+CFUN: ({','.join(map(str, sorted(_MODES)))})",
    "+CGSN=?": "+CGSN: (0-3)",
}
"""What never changes, for people and tools that look around."""


@dataclass(frozen=True, slots=True)
class Delays:
    """How long the modem takes for an effect, in seconds."""

    keygen_s: float = 0.3
    nvm_s: float = 0.02
    cfun_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ModemIdentity:
    """What makes one modem that one: UUID, 15-digit IMEI with check digit, ICCID, key that attests.

    `hardware_id` is the chip's own, 8 bytes as `hwinfo devid` shows them.
    """

    uuid: UUID
    imei: str
    iccid: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    hardware_id: bytes = b"\0\1\2\3\4\5\6\7"

    @classmethod
    def make(cls, seed: str | None = None) -> ModemIdentity:
        """A new identity; the same UUID and IMEI for the same seed. The key is always new."""
        chance = random.Random(seed) if seed is not None else random.SystemRandom()  # noqa: S311 - identities, not keys
        uuid = UUID(bytes=chance.randbytes(16), version=4)
        serial = f"35989{chance.randrange(10**9):09d}"
        iccid = f"8901{chance.randrange(10**15):015d}F"
        return cls(uuid, serial + _luhn(serial), iccid, new_key(), chance.randbytes(8))


@dataclass(frozen=True, slots=True)
class Answer:
    """Information lines, then OK unless refused; `cme` None and not ok is a bare ERROR.

    `delay_s` in seconds.
    """

    info: tuple[str, ...] = ()
    ok: bool = True
    cme: int | None = None
    delay_s: float = 0.0


OWN_KEYS: Final = ((4294967292, 11), (4294967293, 10), (4294967294, 6))
"""sec_tag and type of the keys that a modem leaves its maker with."""


@dataclass(slots=True)
class Quirks:
    """How this modem departs from a good one; set by the fault plan."""

    no_imei: bool = False
    no_digest: bool = False
    no_jwt: bool = False
    bad_jwt: bool = False
    no_cose: bool = False
    csr_fault: str | None = None
    wrong_write: bool = False
    brown_out: bool = False


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


class KeyMaker:
    """Keys of all boards of a bench, always new, unless a board's fault is to come up with another
    board's.
    """

    def __init__(self) -> None:
        self._made: Final[list[tuple[tuple[int, int], ec.EllipticCurvePrivateKey]]] = []

    def maker(self, owner: tuple[int, int]) -> Callable[[bool], ec.EllipticCurvePrivateKey]:
        """What makes the keys of one board; called with True it gives the newest key of another, if
        there is any.
        """

        def make(reuse: bool) -> ec.EllipticCurvePrivateKey:
            others = [key for whose, key in self._made if whose != owner]
            key = others[-1] if reuse and others else new_key()
            self._made.append((owner, key))
            return key

        return make


class Modem:
    """One virtual modem. `make_key(reuse)` gives the key of a KEYGEN."""

    def __init__(
        self,
        identity: ModemIdentity,
        *,
        delays: Delays | None = None,
        make_key: Callable[[bool], ec.EllipticCurvePrivateKey] | None = None,
    ) -> None:
        self.identity: Final = identity
        self.nvm: Final = Nvm()
        self.quirks: Final = Quirks()
        self.counts: Final[dict[str, int]] = {"keygen": 0, "write": 0, "delete": 0, "boot": 0}
        self.settings: Final[dict[str, str]] = {}
        """What the application keeps in Zephyr's settings; it survives resets as the credentials
        do.
        """
        self.kv: Final[dict[int, bytes]] = {}
        """What Infuse-IoT firmware keeps in its key-value store, by key."""
        self.packet_key: Final = secrets.token_bytes(32)
        """The X25519 private key that such firmware made at its first boot."""
        self.functional_mode = 1
        self.echo = False
        self._cmee = 0
        self.delays = delays or Delays()
        self._make_key: Final = make_key or KeyMaker().maker((0, 0))

    @property
    def active(self) -> bool:
        """Whether the modem is on the air, and so refuses writes."""
        return self.functional_mode in ACTIVE_MODES

    def boot(self) -> None:
        """Start afresh: NVM stays, settings don't."""
        self.functional_mode, self._cmee, self.echo = 1, 0, False
        self.counts["boot"] += 1

    def execute(self, text: str) -> Answer:
        """Carry out one AT command; what is unknown or malformed is ERROR."""
        for pattern, handler in _TABLE:
            found = pattern.fullmatch(text.strip())
            if found:
                try:
                    return handler(self, found)
                except ModemRefusal as refusal:
                    return self.refused(refusal.cme)
        return Answer(ok=False)

    def refused(self, cme: int | None) -> Answer:
        """A refusal as CMEE has it: bare ERROR until the host asked for numbers."""
        return Answer(ok=False, cme=cme if self._cmee else None)

    def add_raw(self, tag: int, kind: int, content: bytes, *, terminated: bool = False) -> None:
        """Store a credential past the modem's own command, as firmware with another shell does;
        `terminated` with a NUL.
        """
        if self.quirks.wrong_write:
            content += b"\n"
        self.nvm.overwrite(
            tag,
            kind,
            content[: len(content) // 2] if self.quirks.brown_out else content,
            terminated=terminated,
        )
        self.counts["write"] += 1

    def generate(self, tag: int, wish: attest.CsrWish | None = None) -> bytes:
        """Make a key in (tag, 2) and return its CSR in DER. Refuses as %KEYGEN does."""
        if tag > MAX_SEC_TAG:
            raise ModemRefusal(NOT_ALLOWED)
        self.nvm.check_new(tag, CredentialType.CLIENT_KEY)
        key = self._make_key(wish is not None and wish.fault == "reused-key")
        try:
            der = attest.csr_der(key, wish or attest.CsrWish(f"CN={self.identity.uuid}"))
        except ValueError:
            raise ModemRefusal(KEYGEN_FAILED) from None
        self.nvm.store_key(tag, key)
        self.counts["keygen"] += 1
        return der

    def _plain(self, _: re.Match[str]) -> Answer:
        return Answer()

    def _set_echo(self, found: re.Match[str]) -> Answer:
        self.echo = found[1] == "1"
        return Answer()

    def _show_cmee(self, _: re.Match[str]) -> Answer:
        return Answer((f"+CMEE: {self._cmee}",))

    def _set_cmee(self, found: re.Match[str]) -> Answer:
        self._cmee = int(found[1])
        return Answer()

    def _show_cfun(self, _: re.Match[str]) -> Answer:
        return Answer((f"+CFUN: {self.functional_mode}",))

    def _set_cfun(self, found: re.Match[str]) -> Answer:
        if int(found[1]) not in _MODES:
            return Answer(ok=False)
        self.functional_mode = int(found[1])
        return Answer(delay_s=self.delays.cfun_s)

    def _imei(self, found: re.Match[str]) -> Answer:
        if self.quirks.no_imei:
            return Answer(ok=False)
        imei = self.identity.imei
        forms = {"1": imei, "2": imei[:-1] + SOFTWARE_VERSION, "3": SOFTWARE_VERSION}
        return Answer((f'+CGSN: "{forms[found[1]]}"' if found[1] in forms else imei,))

    def _registration(self, _: re.Match[str]) -> Answer:
        return Answer((f"+CEREG: 0,{int(self.active)}",))

    def _constant(self, found: re.Match[str]) -> Answer:
        return Answer((_CONSTANTS[found[1].upper()],))

    def _firmware(self, _: re.Match[str]) -> Answer:
        return Answer((FIRMWARE,))

    def _model(self, _: re.Match[str]) -> Answer:
        return Answer((MODEL,))

    def _hardware(self, _: re.Match[str]) -> Answer:
        return Answer((f"%HWVERSION: {HARDWARE}",))

    def _uuid(self, _: re.Match[str]) -> Answer:
        return Answer((f"%DEVICEUUID: {self.identity.uuid}",))

    def _iccid(self, _: re.Match[str]) -> Answer:
        return Answer((f"%XICCID: {self.identity.iccid}",))

    def _list(self, found: re.Match[str]) -> Answer:
        tag, kind = (None if text is None else int(text) for text in found.groups())
        rows = [
            row
            for row in (*self.nvm.listed(), *self._own())
            if tag in {None, row[0]} and kind in {None, row[1]}
        ]
        return Answer(
            tuple(
                f"%CMNG: {tag},{kind}" + ("" if self.quirks.no_digest else f',"{digest}"')
                for tag, kind, digest in rows
            )
        )

    def _own(self) -> list[tuple[int, int, str]]:
        """Keys that the modem was born with: it lists them, and nobody can write, read or delete
        them.
        """
        return [
            (tag, kind, hashlib.sha256(f"{self.identity.uuid} {kind}".encode()).hexdigest().upper())
            for tag, kind in OWN_KEYS
        ]

    def _write(self, found: re.Match[str]) -> Answer:
        self._refuse_active()
        content = found[3].encode("latin-1")
        self.nvm.write(int(found[1]), int(found[2]), content)
        if self.quirks.brown_out:
            self.nvm.overwrite(int(found[1]), int(found[2]), content[: len(content) // 2])
            raise ModemRefusal(POWER_OFF_WARNING)
        if self.quirks.wrong_write:
            self.nvm.overwrite(int(found[1]), int(found[2]), content + b"\n")
        self.counts["write"] += 1
        return Answer(delay_s=self.delays.nvm_s)

    def _read(self, found: re.Match[str]) -> Answer:
        entry = self.nvm.read(int(found[1]), int(found[2]))
        return Answer(
            (f'%CMNG: {found[1]},{found[2]},"{entry.digest}","{entry.content.decode("latin-1")}"',)
        )

    def _delete(self, found: re.Match[str]) -> Answer:
        self._refuse_active()
        self.nvm.delete(int(found[1]), int(found[2]))
        self.counts["delete"] += 1
        return Answer(delay_s=self.delays.nvm_s)

    def _keygen(self, found: re.Match[str]) -> Answer:
        self._refuse_active()
        tag, want_key = int(found["tag"]), found["content"] == "1"
        wish = attest.CsrWish(
            found["attributes"] or f"CN={self.identity.uuid}",
            found["usage"] or attest.DEFAULT_KEY_USAGE,
            self.quirks.csr_fault,
        )
        body = self.generate(tag, wish)
        if want_key:
            body = self._public_key(tag)
        kind = attest.PUBLIC_KEY_MESSAGE if want_key else attest.CSR_MESSAGE
        text = attest.message(
            body, self.identity.key, self.identity.uuid, tag, kind=kind, fault=self.quirks.csr_fault
        )
        shown = text.partition(".")[0] if self.quirks.no_cose else text
        return Answer((f'%KEYGEN: "{shown}"',), delay_s=self.delays.keygen_s)

    def _public_key(self, tag: int) -> bytes:
        entry = self.nvm.get(tag, CredentialType.CLIENT_KEY)
        if entry is None or entry.key is None:
            raise ModemRefusal(NOT_FOUND)
        return entry.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def _attest_token(self, found: re.Match[str]) -> Answer:
        nonce = bytes.fromhex(found[1]) if found[1] else secrets.token_bytes(16)
        return Answer(
            (
                (
                    "%ATTESTTOKEN:"
                    f' "{attest.identity_message(self.identity.key, self.identity.uuid, nonce)}"'
                ),
            )
        )

    def _jwt(self, found: re.Match[str]) -> Answer:
        if self.quirks.no_jwt:
            return Answer(ok=False)
        key = self._jwt_key(found["tag"])
        issuer = f"nRF9151.{self.identity.uuid}"
        claims: dict[str, object] = {"iss": issuer, "jti": f"{issuer}.{secrets.token_hex(8)}"}
        claims |= {
            name: found[group]
            for name, group in (("sub", "subject"), ("aud", "audience"))
            if found[group]
        }
        if int(found["expires"] or 0):
            claims |= {"iat": int(time.time()), "exp": int(time.time()) + int(found["expires"])}
        return Answer((f'%JWT: "{attest.jwt(key, claims)}"',))

    def _jwt_key(self, tag: str | None) -> ec.EllipticCurvePrivateKey:
        if self.quirks.bad_jwt:
            return new_key()
        if tag is None:
            return self.identity.key
        entry = self.nvm.get(int(tag), CredentialType.CLIENT_KEY)
        if entry is None or entry.key is None:
            raise ModemRefusal(NOT_FOUND)
        return entry.key

    def _refuse_active(self) -> None:
        if self.active:
            raise ModemRefusal(ACTIVE_STATE)


def _luhn(digits: str) -> str:
    doubled = (int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(digits))
    return str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)


def _at(pattern: str) -> re.Pattern[str]:
    return re.compile(f"AT{pattern}", re.IGNORECASE | re.DOTALL)


_TABLE: Final[tuple[tuple[re.Pattern[str], Callable[[Modem, re.Match[str]], Answer]], ...]] = (
    (_at(""), Modem._plain),  # noqa: SLF001 - the class's own table
    (_at("E([01])"), Modem._set_echo),  # noqa: SLF001
    (_at(r"\+CMEE\?"), Modem._show_cmee),  # noqa: SLF001
    (_at(r"\+CMEE=([01])"), Modem._set_cmee),  # noqa: SLF001
    (_at(r"\+CFUN\?"), Modem._show_cfun),  # noqa: SLF001
    (_at(r"\+CFUN=(\d{1,2})"), Modem._set_cfun),  # noqa: SLF001
    (_at(f"({'|'.join(map(re.escape, _CONSTANTS))})"), Modem._constant),  # noqa: SLF001
    (_at(r"\+CEREG\?"), Modem._registration),  # noqa: SLF001
    (_at(r"\+CGSN(?:=([0-3]))?"), Modem._imei),  # noqa: SLF001
    (_at(r"\+CGMR"), Modem._firmware),  # noqa: SLF001
    (_at(r"\+CGMM"), Modem._model),  # noqa: SLF001
    (_at("%HWVERSION"), Modem._hardware),  # noqa: SLF001
    (_at("%DEVICEUUID"), Modem._uuid),  # noqa: SLF001
    (_at("%XICCID"), Modem._iccid),  # noqa: SLF001
    (_at(r'%CMNG=0,(\d{1,10}),([0-4]),"([^"]+)"'), Modem._write),  # noqa: SLF001
    (_at(r"%CMNG=1(?:,(\d{1,10})(?:,(\d{1,2}))?)?"), Modem._list),  # noqa: SLF001
    (_at(r"%CMNG=2,(\d{1,10}),(\d{1,2})"), Modem._read),  # noqa: SLF001
    (_at(r"%CMNG=3,(\d{1,10}),(\d{1,2})"), Modem._delete),  # noqa: SLF001
    (
        _at(
            r'%KEYGEN=(?P<tag>\d{1,10}),2(?:,(?P<content>[01])?(?:,(?:"(?P<attributes>[^"]*)")?(?:,"(?P<usage>[01]{9})")?)?)?'
        ),
        Modem._keygen,  # noqa: SLF001
    ),
    (_at(r'%ATTESTTOKEN(?:="?([0-9A-F]{32})"?)?'), Modem._attest_token),  # noqa: SLF001
    (
        _at(
            r'%JWT(?:=0?(?:,(?P<expires>\d{1,9})?(?:,(?:"(?P<subject>[^"]*)")?(?:,(?:"(?P<audience>[^"]*)")?'
            r"(?:,(?P<tag>\d{1,10}),2)?)?)?)?)?"
        ),
        Modem._jwt,  # noqa: SLF001
    ),
)
