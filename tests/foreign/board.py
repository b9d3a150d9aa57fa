"""A virtual nRF9151 on a pty, written from the interface pages and the public AT reference alone, not
from the simulator.

It is stricter than a lenient modem: bytes that arrive while a command is at work are lost and
counted, a line past 4096 bytes inside quotes kills the port until reset, %CMNG writes are refused
while the modem is active, and what is not a PEM with real line ends is 527. `Style` makes it answer
as different firmware does; `Modem` is what survives a reset; `Fault` bends one command.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
import select
import threading
import time
import tty
import uuid as uuids
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

LINE_LIMIT = 4096
_NEVER = threading.Event()


def pause(seconds: float) -> None:
    """The time that hardware takes."""
    _NEVER.wait(seconds)


ALGORITHM = bytes.fromhex("300a06082a8648ce3d040302")
ALGORITHM_WITH_NULL = bytes.fromhex("300c06082a8648ce3d0403020500")


@dataclass
class Style:
    """How this firmware talks."""

    echo: bool = False
    empty_line: bool = False  # an empty line between command and answer (newer AT hosts)
    terminators: bytes = b"\r"  # what ends a command outside quotes
    noise: bool = False  # unsolicited lines between the lines of an answer
    slow: bool = False  # byte by byte
    boot_mode: int = 1
    cgsn_needs_form: bool = False  # AT+CGSN alone is an error
    cgsn_bare: bool = False  # AT+CGSN=1 without quotes
    null_in_csr: bool = False
    cose: bool = True
    jwt: bool = True
    jwt_needs_no_time: bool = False
    digests: str = "upper"  # upper, lower, none
    log: bool = False  # the application's log on the same UART
    cfun_s: float = 0.0  # leaving the network takes time
    boot_s: float = 0.0  # deaf while it boots
    banner: tuple[str, ...] = (
        "*** Booting nRF Connect SDK v2.9.0 ***",
        "The AT host sample started",
        "Ready",
    )


@dataclass
class Modem:
    """What a reset does not take away, and counters of everything that changed it."""

    uuid: str = field(default_factory=lambda: str(uuids.uuid4()))
    imei: str = field(
        default_factory=lambda: "35" + "".join(secrets.choice("0123456789") for _ in range(13))
    )
    model: str = "nRF9151-LACA"
    firmware: str = "mfw_nrf91x1_2.0.2"
    iccid: str | None = "89012345678901234567"
    store: dict[tuple[int, int], bytes] = field(default_factory=dict)
    keys: dict[int, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    identity: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    mode: int = 1
    cmee: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    lie: str = ""  # what is wrong with its CSR: uuid, tag, digest, signature, key
    borrowed: ec.EllipticCurvePrivateKey | None = None  # with lie "key": another board's

    def occupy(self, sec_tag: int, kind: int, content: bytes = b"") -> None:
        """Something is in the slot that nobody of this bench put there."""
        if kind == 2:
            self.keys[sec_tag] = ec.generate_private_key(ec.SECP256R1())
        else:
            self.store[sec_tag, kind] = content

    def public_key(self, sec_tag: int) -> bytes:
        return (
            self.keys[sec_tag]
            .public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )

    def rows(self) -> list[tuple[int, int, str]]:
        rows = [
            (tag, kind, hashlib.sha256(content).hexdigest())
            for (tag, kind), content in self.store.items()
        ]
        for tag, key in self.keys.items():
            raw = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            rows.append((tag, 2, hashlib.sha256(raw).hexdigest()))
        return sorted(rows)


@dataclass
class Fault:
    """Bend the `at`-th command (from 0) that matches: see `Board._bent` for the kinds."""

    match: str
    # cme, silent-before, silent-after, reset-before, reset-after, unplug-before, unplug-after, call
    kind: str
    value: Any = None
    at: int = 0
    seen: int = 0
    spent: bool = False


LOG = [
    "LTE link is up",
    "[00:00:12.345,678] <inf> mqtt: connecting to broker.example",
    "app: heartbeat 17",
    "<wrn> net: +12 dBm?",
]


class CmeError(Exception):
    """A command is refused with a number; None is a bare ERROR."""

    def __init__(self, number: int | None) -> None:
        super().__init__(number)
        self.number = number


class Board:
    """The port: a pty behind a stable symbolic link, served by one thread."""

    def __init__(
        self, folder: Path, modem: Modem | None = None, style: Style | None = None, name: str = ""
    ) -> None:
        self.modem = modem or Modem()
        self.style = style or Style()
        self.path = folder / (name or f"tty-{self.modem.uuid[:8]}")
        self.port = str(self.path)
        self.commands: list[str] = []
        self.faults: list[Fault] = []
        self.early_bytes = 0
        self.dead = False
        self.echo = self.style.echo
        self.keygen_s = 0.0
        self.online = lambda _modem: (
            None
        )  # called when the modem goes active: what the application would do then
        self._master: int | None = None
        self._thread: threading.Thread | None = None
        self.modem.mode = self.style.boot_mode
        self.plug()

    # -- the cable ---------------------------------------------------------------------------------

    def plug(self) -> None:
        """Appear on a fresh pty under the same name."""
        master, slave = os.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        os.close(slave)
        # Held by nobody but the tool: then a closed port is seen as EIO here, as on a real pty with
        # no user.
        self._master = master
        self._buffer = bytearray()
        self._thread = threading.Thread(target=self._serve, args=(master,), daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Vanish; state stays."""
        master, self._master = self._master, None
        self.path.unlink(missing_ok=True)
        if master is not None:
            with contextlib.suppress(OSError):
                os.close(master)

    def swap(self, modem: Modem) -> Modem:
        """Another board in the same jig: the port stays, the board does not."""
        before, self.modem = self.modem, modem
        modem.mode, modem.cmee = self.style.boot_mode, 0
        self._buffer.clear()
        return before

    def reset(self, *, banner: bool = True) -> None:
        """Boot again: CMEE and CFUN as the firmware starts, boot text on the line."""
        self.modem.mode, self.modem.cmee, self.echo, self.dead = (
            self.style.boot_mode,
            0,
            self.style.echo,
            False,
        )
        self.modem.counts["reset"] += 1
        pause(self.style.boot_s)
        self._lose_early()
        if banner:
            for line in self.style.banner:
                self._send(line.encode() + b"\r\n")

    def close(self) -> None:
        self.unplug()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2)

    # -- bytes -------------------------------------------------------------------------------------

    def _serve(self, master: int) -> None:
        while self._master == master:
            try:
                ready, _, _ = select.select([master], [], [], 0.1)
                if not ready:
                    continue
                data = os.read(master, 4096)
            except OSError:  # no user on the slave side, or the cable was pulled
                if self._master != master:
                    return
                pause(0.005)
                self._buffer.clear()
                continue
            except ValueError:
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        for place, value in enumerate(data):
            if self.dead:
                return
            inside = self._buffer.count(b'"') % 2 == 1
            if not inside and value in self.style.terminators:
                line = bytes(self._buffer).strip()
                self._buffer.clear()
                if line:
                    rest = data[place + 1 :].strip(b"\r\n")
                    self.early_bytes += len(rest)
                    self._command(line.decode("latin-1"))
                    return  # what came in the same read is lost, as with the UART off
                continue
            self._buffer.append(value)
            if len(self._buffer) > LINE_LIMIT:
                self.dead = inside
                self._buffer.clear()

    def _lose_early(self) -> None:
        """What came while the command was at work is lost: the UART was off."""
        if self._master is None:
            return
        with contextlib.suppress(OSError, ValueError):
            if select.select([self._master], [], [], 0)[0]:
                self.early_bytes += len(os.read(self._master, 4096).strip(b"\r\n"))

    def _send(self, data: bytes) -> None:
        if self._master is None:
            return
        with contextlib.suppress(OSError):
            if not self.style.slow:
                os.write(self._master, data)
                return
            for value in data:
                os.write(self._master, bytes([value]))
                pause(0.0003)

    # -- lines -------------------------------------------------------------------------------------

    def _command(self, text: str) -> None:
        self.commands.append(text)
        if self.echo:
            self._send(
                text.encode("latin-1") + b"\r\n"
                if not self.style.empty_line
                else text.encode("latin-1") + b"\r"
            )
        fault = self._fault(text)
        if fault is not None and not self._bent_before(fault):
            return
        try:
            if fault is not None and fault.kind == "cme":
                raise CmeError(fault.value)
            info, final = self._act(text), "OK"
        except CmeError as error:
            info = []
            final = (
                f"+CME ERROR: {error.number}"
                if self.modem.cmee and error.number is not None
                else "ERROR"
            )
        if fault is not None and not self._bent_after(fault):
            return
        self._answer(info, final)
        if text.upper().startswith("AT+CFUN=1") and final == "OK":
            self.online(self.modem)

    def _answer(self, info: list[str], final: str) -> None:
        self._lose_early()
        lines: list[str] = []
        for row in info:
            if self.style.noise or self.style.log:
                lines.append(
                    secrets.choice(
                        LOG
                        if self.style.log
                        else [
                            "%CESQ: 54,2,16,2",
                            '+CEREG: 5,"4E2A","0A1B2C3D",7',
                            "%MDMEV: SEARCH STATUS 1",
                            "",
                        ]
                    )
                )
            lines.append(row)
        if self.style.noise:
            lines.append("+CSCON: 0")
        lead = b"\r\n" if self.style.empty_line else b""
        self._send(lead + "".join(f"{line}\r\n" for line in [*lines, final]).encode("latin-1"))

    def _fault(self, text: str) -> Fault | None:
        for fault in self.faults:
            if fault.spent or not re.search(fault.match, text, re.IGNORECASE):
                continue
            fault.seen += 1
            if fault.seen > fault.at:
                fault.spent = True
                return fault
        return None

    def _bent_before(self, fault: Fault) -> bool:
        match fault.kind:
            case "silent-before":
                return False
            case "reset-before":
                self.reset()
                return False
            case "unplug-before":
                self.unplug()
                return False
            case "call-before":
                fault.value()
        return True

    def _bent_after(self, fault: Fault) -> bool:
        match fault.kind:
            case "silent-after":
                return False
            case "reset-after":
                self.reset()
                return False
            case "unplug-after":
                self.unplug()
                return False
            case "call-after":
                fault.value()
            case "garbage":
                self._send(fault.value)
        return True

    # -- commands ----------------------------------------------------------------------------------

    def _act(self, text: str) -> list[str]:
        upper = text.upper()
        if upper in {"AT", "ATE0", "ATE1"}:
            self.echo = {"ATE0": False, "ATE1": True}.get(upper, self.echo)
            return []
        for pattern, action in self._table().items():
            if match := re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL):
                found: list[str] = action(*match.groups())
                return found
        raise CmeError(None)

    def _table(self) -> dict[str, Any]:
        return {
            r"AT\+CMEE=([01])": self._cmee,
            r"AT\+CMEE\?": lambda: [f"+CMEE: {self.modem.cmee}"],
            r"AT\+CFUN\?": lambda: [f"+CFUN: {self.modem.mode}"],
            r"AT\+CFUN=(\d+)": self._cfun,
            r"AT\+CGMR": lambda: [self.modem.firmware],
            r"AT\+CGMM": lambda: [self.modem.model],
            r"AT\+CGMI": lambda: ["Nordic Semiconductor ASA"],
            r"AT\+CGSN(?:=([0123]))?": self._cgsn,
            r"AT%HWVERSION": lambda: ["%HWVERSION: nRF9151 LACA A0A"],
            r"AT%DEVICEUUID": lambda: [f"%DEVICEUUID: {self.modem.uuid}"],
            r"AT%XICCID": self._iccid,
            r"AT%CMNG=1(?:,(\d+))?(?:,(\d+))?": self._list,
            r'AT%CMNG=0,(\d+),(\d+),"(.*)"': self._write,
            r"AT%CMNG=2,(\d+),(\d+)": self._read,
            r"AT%CMNG=3,(\d+),(\d+)": self._delete,
            r'AT%KEYGEN=(\d+),2(?:,(0))?(?:,"([^"]*)")?(?:,"([01]{9})")?': self._keygen,
            r'AT%JWT=0?,(\d*),(?:"([^"]*)")?,(?:"([^"]*)")?(?:,(\d+),(\d+))?': self._jwt,
        }

    def _cmee(self, value: str) -> list[str]:
        self.modem.cmee = int(value)
        return []

    def _cfun(self, value: str) -> list[str]:
        if int(value) not in {0, 1, 2, 4, 20, 21, 30, 31, 40, 41, 44}:
            raise CmeError(None)
        pause(self.style.cfun_s)
        self.modem.mode = int(value)
        self.modem.counts["cfun"] += 1
        return []

    def _cgsn(self, form: str | None) -> list[str]:
        if not self.modem.imei:
            raise CmeError(None)
        if form is None and self.style.cgsn_needs_form:
            raise CmeError(50)
        if form in {None, "0"}:
            return [self.modem.imei]
        text = {"1": self.modem.imei, "2": self.modem.imei[:14] + "01", "3": "01"}[form]
        return [f"+CGSN: {text}" if self.style.cgsn_bare else f'+CGSN: "{text}"']

    def _iccid(self) -> list[str]:
        if self.modem.iccid is None or self.modem.mode in {0, 4}:
            raise CmeError(None)
        return [f"%XICCID: {self.modem.iccid}"]

    def _list(self, tag: str | None, kind: str | None) -> list[str]:
        rows = [
            row
            for row in self.modem.rows()
            if tag in {None, str(row[0])} and kind in {None, str(row[1])}
        ]
        shown = {"upper": str.upper, "lower": str.lower}.get(self.style.digests)
        # The modem keeps entries of its own above the user range, with and without digests.
        own = [] if tag else ["%CMNG: 4294967292,11", "%CMNG: 4294967293,10," + "AB" * 32]
        return [
            f"%CMNG: {row[0]},{row[1]}" + (f",{shown(row[2])}" if shown else "") for row in rows
        ] + own

    def _idle(self) -> None:
        if self.modem.mode not in {0, 4, 20, 44}:
            raise CmeError(518)

    def _write(self, tag: str, kind: str, content: str) -> list[str]:
        self._idle()
        place = (int(tag), int(kind))
        taken = place in self.modem.store or (place[1] == 2 and place[0] in self.modem.keys)
        if int(tag) > 2147483647 or place[1] not in range(6):
            raise CmeError(514)
        if taken:
            raise CmeError(519)
        if place[1] in {0, 1} and not _is_pem(content):
            raise CmeError(527)
        if place[1] == 3 and not re.fullmatch(r"(?:[0-9a-fA-F]{2})+", content):
            raise CmeError(None)
        self.modem.counts["write"] += 1
        self.modem.counts[f"write:{tag}:{kind}"] += 1
        self.modem.store[place] = content.encode("latin-1")
        return []

    def _read(self, tag: str, kind: str) -> list[str]:
        place = (int(tag), int(kind))
        if place[1] in {2, 3}:
            raise CmeError(514)
        if place not in self.modem.store:
            raise CmeError(513)
        content = self.modem.store[place]
        return [
            (
                "%CMNG:"
                f' {tag},{kind},"{hashlib.sha256(content).hexdigest().upper()}","{content.decode("latin-1")}"'
            )
        ]

    def _delete(self, tag: str, kind: str) -> list[str]:
        self._idle()
        place = (int(tag), int(kind))
        if place[1] == 2 and place[0] in self.modem.keys:
            del self.modem.keys[place[0]]
        elif place in self.modem.store:
            del self.modem.store[place]
        else:
            raise CmeError(513)
        self.modem.counts["delete"] += 1
        self.modem.counts[f"delete:{tag}:{kind}"] += 1
        return []

    def _keygen(
        self, tag: str, _content: str | None, attributes: str | None, usage: str | None
    ) -> list[str]:
        self._idle()
        if int(tag) in self.modem.keys:
            raise CmeError(519)
        pause(self.keygen_s)
        key = self.modem.borrowed or ec.generate_private_key(ec.SECP256R1())
        self.modem.keys[int(tag)] = key
        self.modem.counts["keygen"] += 1
        return [f'%KEYGEN: "{self._csr(int(tag), key, attributes, usage or "111010000")}"']

    def _csr(
        self, tag: int, key: ec.EllipticCurvePrivateKey, attributes: str | None, usage: str
    ) -> str:
        name = (attributes or "").removeprefix("CN=") or self.modem.uuid
        bits = [bit == "1" for bit in usage]
        body = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .add_extension(
                x509.KeyUsage(*bits[:7], encipher_only=bits[7], decipher_only=bits[8]),
                critical=False,
            )
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )
        if self.modem.lie == "signature":
            body = body[:-1] + bytes([body[-1] ^ 1])
        if self.style.null_in_csr:
            body = _with_null(body)
        if not self.style.cose:
            return _b64(body)
        return f"{_b64(body)}.{_b64(self._cose(tag, body))}"

    def _cose(self, tag: int, body: bytes) -> bytes:
        lie = self.modem.lie
        uuid, tag = str(uuids.uuid4()) if lie == "uuid" else self.modem.uuid, tag + (lie == "tag")
        body += b"\x00" * (lie == "digest")
        payload = cbor2.dumps(
            cbor2.CBORTag(
                55799,
                [
                    9,
                    uuids.UUID(uuid).bytes,
                    cbor2.dumps(tag),
                    hashlib.sha256(body).digest(),
                    secrets.token_bytes(16),
                ],
            )
        )
        protected = cbor2.dumps({1: -7})
        signed = cbor2.dumps(["Signature1", protected, b"", payload])
        return cbor2.dumps(
            cbor2.CBORTag(
                18, [protected, {4: b"\x21"}, payload, _raw_signature(self.modem.identity, signed)]
            )
        )

    def _jwt(
        self,
        delta: str,
        subject: str | None,
        audience: str | None,
        tag: str | None,
        kind: str | None,
    ) -> list[str]:
        if not self.style.jwt:
            raise CmeError(None)
        if delta not in {"", "0"} and self.modem.mode != 1:
            raise CmeError(525)  # no network, no time, no exp
        if tag is not None and (int(tag) not in self.modem.keys or kind != "2"):
            raise CmeError(513)
        key = self.modem.identity if tag is None else self.modem.keys[int(tag)]
        claims = {
            "iss": f"nRF9151.{self.modem.uuid}",
            "jti": f"nRF9151.{self.modem.uuid}.{secrets.token_hex(8)}",
        }
        claims |= {} if subject is None else {"sub": subject}
        claims |= {} if audience is None else {"aud": audience}
        if delta not in {"", "0"}:
            claims |= {"iat": int(time.time()), "exp": int(time.time()) + int(delta)}  # type: ignore[dict-item]
        head = _b64(json.dumps({"typ": "JWT", "alg": "ES256"}).encode())
        text = f"{head}.{_b64(json.dumps(claims).encode())}"
        return [f'%JWT: "{text}.{_b64(_raw_signature(key, text.encode()))}"']


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _with_null(body: bytes) -> bytes:
    """The encoding fault of real modem firmware: a NULL in the outer signature algorithm."""
    inner = body[4:] if body[1] == 0x82 else body[3:]
    place = inner.rindex(ALGORITHM)
    inner = inner[:place] + ALGORITHM_WITH_NULL + inner[place + len(ALGORITHM) :]
    size = len(inner)
    return (
        b"\x30\x82" + size.to_bytes(2, "big") if size > 255 else b"\x30\x81" + bytes([size])
    ) + inner


def _is_pem(content: str) -> bool:
    """Real line ends, and every certificate of the bundle parses."""
    if "\\n" in content or "-----BEGIN CERTIFICATE-----\n" not in content.replace("\r\n", "\n"):
        return False
    try:
        return bool(x509.load_pem_x509_certificates(content.encode("latin-1")))
    except ValueError:
        return False
