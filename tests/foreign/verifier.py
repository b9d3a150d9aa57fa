"""An independent reading of what green claims: openssl, the board's key, the cloud's tables, the
journal's own words.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tests.foreign.conftest import openssl

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.foreign.board import Board, Modem
    from tests.foreign.cloud import Cloud
    from tests.foreign.conftest import Bench

HEX = re.compile(r"[0-9a-f]+")


def installed(modem: Modem, sec_tag: int = 4201) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(modem.store[sec_tag, 1])


def common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def pem(*certificates: x509.Certificate) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def check_identity(bench: Bench, board: Board, shown: dict[str, Any], root: str) -> None:
    """Type 1 is leaf then intermediate, no root; the key is the board's; openssl accepts the chain
    strictly.
    """
    chain = installed(board.modem)
    leaf, above = chain[0], chain[1:]
    assert len(above) == 1
    assert all(certificate.issuer != certificate.subject for certificate in chain), (
        "the root is on the board"
    )
    assert leaf.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ) == board.modem.public_key(4201)
    assert (
        hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
        == shown["certificate"]["sha256"]
    )
    assert int(shown["certificate"]["serial"], 16) == leaf.serial_number
    assert leaf.serial_number.bit_length() >= 60
    assert leaf.not_valid_before_utc < datetime.now(leaf.not_valid_before_utc.tzinfo)
    assert leaf.not_valid_after_utc <= above[0].not_valid_after_utc
    strict_verify(bench.folder, pem(leaf), pem(*above), root)


def strict_verify(folder: Path, leaf: str, between: str, root: str) -> None:
    for name, text in (("leaf", leaf), ("between", between), ("root", root)):
        (folder / f"{name}.pem").write_text(text)
    openssl(
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-CAfile",
        str(folder / "root.pem"),
        "-untrusted",
        str(folder / "between.pem"),
        str(folder / "leaf.pem"),
    )


def local_root(bench: Bench) -> str:
    out = bench.folder / "chain.pem"
    out.unlink(missing_ok=True)
    ran = bench.infuse("ca", "export", "--chain", "--out", str(out))
    assert ran.code == 0, ran.stderr
    chain = x509.load_pem_x509_certificates(out.read_bytes())
    assert [certificate.issuer == certificate.subject for certificate in chain] == [
        False,
        True,
    ], "intermediate, then root"
    return pem(chain[1])


def audit(cloud: Cloud, modems: Iterable[Modem] = ()) -> list[str]:
    """What breaks `never twice`, or an interface, as sentences; none is right."""
    state = cloud.state
    wrong = list(cloud.wrong)
    wrong += _twice(
        "cloud devices with mcuId", [device["mcuId"] for device in state.devices.values()]
    )
    wrong += _twice(
        "registry devices named", [device["name"] for device in state.registry.values()]
    )
    wrong += [
        f"token {row['id']} was used {row['uses']} times" for row in state.minted if row["uses"] > 1
    ]
    keys = [
        hashlib.sha256(
            leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).hexdigest()
        for leaf in cloud.issuer.issued
    ]
    for modem in modems:
        found = [device for device in state.devices.values() if device["mcuId"] == "0" + modem.imei]
        wrong += [] if len(found) == 1 else [f"{len(found)} devices for IMEI {modem.imei}"]
        own = modem.public_key(4201) if 4201 in modem.keys else b""
        wrong += [f"two certificates by the cloud for the key of {modem.uuid}"] * (
            keys.count(hashlib.sha256(own).hexdigest()) > 2
        )
    return wrong


def _twice(what: str, values: list[str]) -> list[str]:
    return [f"two {what} {value}" for value in sorted(set(values)) if values.count(value) > 1]


def check_envelope(document: dict[str, Any], command: str) -> None:
    assert set(document) == {"infuse", "command", "status", "data", "errors"}
    assert document["infuse"] == 1
    assert document["command"] == command
    assert document["status"] in {"ok", "partial", "error"}
    for error in document["errors"]:
        check_error(error)


def check_error(error: dict[str, Any]) -> None:
    assert set(error) == {"code", "message", "hint", "boardSafe"}
    assert isinstance(error["boardSafe"], bool)
    assert all(isinstance(error[key], str) and error[key] for key in ("code", "message", "hint"))


def check_board(shown: dict[str, Any]) -> None:
    assert set(shown) == {
        "slot",
        "port",
        "board",
        "deviceId",
        "registryDeviceId",
        "already",
        "possession",
        "result",
        "failedStep",
        "error",
        "certificate",
        "ms",
    }
    assert shown["result"] in {"PASS", "FAIL", "ERROR", "ABORTED"}
    assert isinstance(shown["slot"], int)
    assert shown["slot"] >= 1
    assert isinstance(shown["already"], bool)
    assert shown["ms"] > 0
    assert (shown["error"] is None) == (shown["result"] == "PASS")
    if shown["board"] is not None:
        assert set(shown["board"]) == {"uuid", "imei", "mcuId"}
    if shown["certificate"] is not None:
        assert set(shown["certificate"]) == {"serial", "sha256"}
        assert HEX.fullmatch(shown["certificate"]["serial"])
        assert re.fullmatch(r"[0-9a-f]{64}", shown["certificate"]["sha256"])
    if shown["error"] is not None:
        check_error(shown["error"])
