"""Writes of the CA: serials, certificates, revocations, CRLs, and what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, insert, select, update

from infuse_cli import records as rec
from infuse_cli.errors import JournalError, PolicyError
from infuse_cli.journal import schema
from infuse_cli.journal.codec import maybe_text, to_text
from infuse_cli.journal.identity import check_key
from infuse_cli.journal.prepared import DuplicateError
from infuse_cli.journal.transaction import Transaction, add, compare_and_swap

if TYPE_CHECKING:
    from collections.abc import Callable

_serial, _certificate, _crl = schema.serial.c, schema.certificate.c, schema.crl.c

_ADD_SERIAL = insert(schema.serial)
_MOVE_SERIAL = (
    update(schema.serial)
    .where(
        _serial.serial == bindparam("n"),
        _serial.issuer == bindparam("i"),
        _serial.state == "reserved",
    )
    .values(state=bindparam("new"))
)
_SERIAL = select(_serial.state, _serial.attempt).where(
    _serial.serial == bindparam("n"), _serial.issuer == bindparam("i")
)
_UNDER_WAY = select(func.count()).where(
    _serial.state == "reserved", _serial.reserved >= bindparam("d")
)
_OF_RUN = select(func.count()).where(
    _certificate.profile == bindparam("p"), _certificate.run == bindparam("r")
)
_OF_DAY = select(func.count()).where(
    _certificate.profile == bindparam("p"), _certificate.stored >= bindparam("d")
)
_ADD_CERTIFICATE = insert(schema.certificate)
_MOVE_CERTIFICATE = (
    update(schema.certificate)
    .where(
        _certificate.serial == bindparam("n"),
        _certificate.issuer == bindparam("i"),
        _certificate.state != "revoked",
    )
    .values(state=bindparam("new"))
)
_CERTIFICATE = select(_certificate.state, _certificate.board, _certificate.attempt).where(
    _certificate.serial == bindparam("n"), _certificate.issuer == bindparam("i")
)
# Of the profile it is asked here below: named in the statement, SQLite would read all certificates
# of the profile for one name.
_NAMESAKE = select(
    _certificate.profile,
    _certificate.issuer,
    _certificate.serial,
    _certificate.spki_sha256,
    _certificate.board,
).where(
    _certificate.name == bindparam("c"),
    _certificate.state == "issued",
    _certificate.not_after > bindparam("t"),
)
_ADD_REVOCATION = insert(schema.revocation)
_NEWEST_CRL = select(func.max(_crl.number)).where(_crl.issuer == bindparam("i"))
_ADD_CRL = insert(schema.crl)

_DAY: Final = 10  # characters of a time that say its day
_MIDNIGHT: Final = "T00:00:00.000000Z"


def _reserve_serial(tx: Transaction, write: rec.ReserveSerial) -> None:
    where = tx.of_attempt(write.attempt)
    row = {
        "serial": write.serial,
        "issuer": write.issuer,
        "state": "reserved",
        "attempt": write.attempt,
        "run": where["run"] or tx.author.run,
        "reserved": tx.now,
    }
    add(tx, _ADD_SERIAL, row, f"certificate serial {write.serial} is taken")
    tx.event("serial-reserved", write, **where, to="reserved")


def _void_serial(tx: Transaction, write: rec.VoidSerial) -> None:
    key = {"n": write.serial, "i": write.issuer}
    found = tx.sql.first(_SERIAL, key)
    compare_and_swap(
        tx,
        _MOVE_SERIAL,
        {**key, "new": "void"},
        f"certificate serial {write.serial} is not reserved",
    )
    tx.event(
        "serial-voided",
        write,
        **tx.of_attempt(found[1] if found else None),
        from_="reserved",
        to="void",
    )


def _check_limits(tx: Transaction, write: rec.CheckLimits) -> None:
    """Counted inside the transaction that reserves, so that slots and processes at once cannot pass
    it together.
    """
    day = {"d": tx.now[:_DAY] + _MIDNIGHT}
    under_way = int(tx.sql.value(_UNDER_WAY, day))
    asked = (
        (write.per_run, "run", _OF_RUN, {"p": write.profile, "r": tx.author.run}),
        (write.per_day, "day", _OF_DAY, {"p": write.profile, **day}),
    )
    for limit, what, statement, values in asked:
        if (
            limit is not None
            and (there := int(tx.sql.value(statement, values)) + under_way) + write.adding > limit
        ):
            raise PolicyError(
                "identity.quota",
                f"the certificate profile allows {limit} certificates a {what}; {there} were made,"
                f" {write.adding} more are asked for",
            )


def _store_certificate(tx: Transaction, write: rec.StoreCertificate) -> None:
    key = {"n": write.serial, "i": write.issuer}
    found = tx.sql.first(_SERIAL, key)
    if found is None or found[1] != write.attempt:
        raise JournalError(
            "journal.conflict",
            f"certificate serial {write.serial} was not reserved for this attempt",
        )
    compare_and_swap(
        tx,
        _MOVE_SERIAL,
        {**key, "new": "issued"},
        f"certificate serial {write.serial} is {found[0]}, not reserved",
    )
    if write.board is not None:
        check_key(tx.sql, write.spki_sha256, write.board)
    if write.unique_name:
        _check_name(tx, write)
    where = tx.of_attempt(write.attempt)
    row = {
        "serial": write.serial,
        "issuer": write.issuer,
        "sha256": write.sha256,
        "spki_sha256": write.spki_sha256,
        "not_before": to_text(write.not_before),
        "not_after": to_text(write.not_after),
        "pem": write.pem,
        "profile": write.profile,
        "state": write.state,
        "board": write.board,
        "attempt": write.attempt,
        "device_id": write.device_id,
        "stored": tx.now,
        "name": write.name or write.device_id,
        "station": tx.author.station,
        "run": where["run"] or tx.author.run,
    }
    add(tx, _ADD_CERTIFICATE, row, f"certificate {write.serial} is on record already")
    tx.event(
        "certificate-stored",
        write,
        **{**where, "board": write.board or where["board"]},
        to=write.state,
    )


def _check_name(tx: Transaction, write: rec.StoreCertificate | rec.CheckName) -> None:
    """One live certificate a name: another key may take it over only on the same board, the same
    key gets no second one of an issuer.
    """
    for profile, issuer, serial, spki, board in tx.sql.all(
        _NAMESAKE, {"c": write.name, "t": tx.now}
    ):
        if profile != write.profile:
            continue
        if (
            spki == write.spki_sha256
            and isinstance(write, rec.StoreCertificate)
            and issuer == write.issuer
        ):
            raise JournalError(
                "journal.conflict",
                f"{write.name} was signed by another process just now: serial {serial}",
            )
        if spki != write.spki_sha256 and (board is None or board != write.board):
            raise PolicyError(
                "identity.name-taken",
                f"{write.name} has a certificate for another key already: serial {serial}"
                + (f", board {board}" if board else ""),
                details={"serial": serial},
            )


def _move_certificate(tx: Transaction, write: rec.MoveCertificate) -> None:
    key = {"n": write.serial, "i": write.issuer}
    found = tx.sql.first(_CERTIFICATE, key)
    if found is None:
        raise JournalError(
            "journal.not-found", f"no certificate with serial {write.serial} is on record"
        )
    if tx.sql.change(
        _MOVE_CERTIFICATE, {**key, "new": write.to_state}
    ):  # a revoked one stays revoked
        tx.event(
            "certificate-moved",
            write,
            **{**tx.of_attempt(found[2]), "board": found[1]},
            from_=found[0],
            to=write.to_state,
        )


def _revoke(tx: Transaction, write: rec.RevokeCertificate) -> None:
    key = {"n": write.serial, "i": write.issuer}
    row = {
        "serial": write.serial,
        "issuer": write.issuer,
        "at": tx.now,
        "reason": write.reason,
        "not_after": maybe_text(write.not_after),
        "name": write.name,
    }
    try:
        tx.sql.change(_ADD_REVOCATION, row)
    except DuplicateError:
        return  # the first one counts: its date and reason may be published already
    found = tx.sql.first(_CERTIFICATE, key)
    tx.sql.change(_MOVE_CERTIFICATE, {**key, "new": "revoked"})
    state, board, attempt = found or (None, None, None)
    tx.event(
        "certificate-revoked",
        write,
        **{**tx.of_attempt(attempt), "board": board},
        from_=state,
        to="revoked",
    )


def _store_crl(tx: Transaction, write: rec.StoreCrl) -> None:
    if write.number != (tx.sql.value(_NEWEST_CRL, {"i": write.issuer}) or 0) + 1:
        raise JournalError(
            "journal.conflict", f"another process made CRL {write.number} of this issuer just now"
        )
    row = {
        "issuer": write.issuer,
        "number": write.number,
        "this_update": to_text(write.this_update),
        "next_update": to_text(write.next_update),
        "sha256": write.sha256,
        "content": write.content,
        "entries": write.entries,
    }
    add(tx, _ADD_CRL, row, f"CRL {write.number} is on record already")
    tx.event("crl-issued", write)


def _refuse(tx: Transaction, write: rec.RefuseCsr) -> None:
    tx.event("csr-refused", write)


APPLY: Final[dict[type[rec.Write], Callable[[Transaction, Any], None]]] = {
    rec.ReserveSerial: _reserve_serial,
    rec.VoidSerial: _void_serial,
    rec.CheckLimits: _check_limits,
    rec.CheckName: _check_name,
    rec.StoreCertificate: _store_certificate,
    rec.MoveCertificate: _move_certificate,
    rec.RevokeCertificate: _revoke,
    rec.StoreCrl: _store_crl,
    rec.RefuseCsr: _refuse,
}
