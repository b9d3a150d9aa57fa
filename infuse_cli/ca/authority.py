"""Where CSRs become certificates: vetted, looked up, reserved, signed, on record, and only then
given out.

A desk takes CSRs in chunks; each chunk is two durable commits, whatever its size.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from infuse_cli import failpoint
from infuse_cli import records as rec
from infuse_cli.errors import InfuseError, JournalError, PolicyError
from infuse_cli.identities import IdentityKind, refuse_blank
from infuse_cli.journal import certificates, manual_changes
from infuse_cli.journal.queries import device_ids, facts_of
from infuse_cli.pki import issuing
from infuse_cli.pki.certificate_profiles import Limits
from infuse_cli.pki.names import common_name
from infuse_cli.pki.vetting import vet_file, vet_keygen
from infuse_cli.types import DEVICE_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Signer
    from infuse_cli.records import CertificateRecord

_TRIES: Final = 5
_HINTS: Final = {
    "identity.csr-unreadable": (
        "Have the request sent again: one PKCS#10 request, whole, as PEM or DER."
    ),
    "identity.csr-policy": (
        "Have another request made, or name the certificate profile that takes it with"
        " --certificate."
    ),
    "identity.bad-signature": "Have the request made anew, by whoever holds the key.",
    "identity.weak-key": "Have a new key made, and find out where this one came from.",
}
"""What to do about a request in a file, where CODES speaks of a board."""
_KEPT: Final = 16_384  # bytes of a refused CSR on record; none that could be signed is longer


@dataclass(frozen=True, slots=True)
class Job:
    """A CSR to be signed: where it came from, its bytes, and the name to give (None: its own, if
    that is allowed).
    """

    source: Path
    data: bytes = field(repr=False)
    name: str | None = None
    names: tuple[tuple[str, str], ...] = ()
    other_name: str | None = None  # taken where the CSR's own is not allowed
    keygen: str | None = field(
        default=None, repr=False
    )  # what the modem said when it made the key, whole


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: a certificate, or the error that refused it.

    `already`: it was on record before.
    """

    job: Job
    issued: issuing.IssuedCertificate | None = None
    already: bool = False
    error: InfuseError | None = None


@dataclass(frozen=True, slots=True)
class Vetted:
    """A request that may be signed as far as can be told from itself: its public key, common name
    and variables.
    """

    spki_der: bytes = field(repr=False)
    spki_sha256: str
    name: str
    values: dict[str, str]
    board: str = ""  # that the modem's own text names


@dataclass(frozen=True, slots=True)
class _Asked(Vetted):
    job: Job = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Desk:
    """A signer with its profile and journal; `again` signs once more what is on record already.

    `issuers` (SHA-256) are others of this CA whose certificates hold.
    """

    journal: SqliteJournal
    signer: Signer
    profile: CertificateProfile
    again: bool = False
    issuers: frozenset[str] = frozenset()

    def sign(
        self, jobs: Sequence[Job], judged: Sequence[Vetted | InfuseError] | None = None
    ) -> list[Outcome]:
        """Sign what may be signed.

        What is refused is on record with its CSR, and does not stop the others.

        `judged` is what `judge` said of each job, where it was asked before. Where another process
        signed some of it in the same moment, its certificates are given out.

        Raises what stops all: SignerError (clock, issuer, token), JournalError, PolicyError
        identity.quota.
        """
        judged = judged or [judge(job, self.profile) for job in jobs]
        for left in reversed(range(_TRIES)):
            try:
                return self._sign(jobs, judged)
            except JournalError as error:
                if error.code != "journal.raced" or left == 0:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _sign(self, jobs: Sequence[Job], judged: Sequence[Vetted | InfuseError]) -> list[Outcome]:
        issuing.check_clock(datetime.now(UTC), None, self.journal.newest())
        outcomes: dict[int, Outcome] = {}
        asked: dict[int, _Asked] = {}
        for number, (job, found) in enumerate(zip(jobs, judged, strict=True)):
            if isinstance(found, Vetted):
                asked[number] = _Asked(
                    found.spki_der,
                    found.spki_sha256,
                    found.name,
                    found.values,
                    found.board,
                    job=job,
                )
            else:
                outcomes[number] = Outcome(job, error=found)
        left = self._looked_up(asked, outcomes)
        outcomes.update(self._signed(left))
        self._repeat(asked, outcomes)
        done = [outcomes[number] for number in range(len(jobs))]
        if refused := [one for one in done if one.error is not None]:
            self.journal.commit(*(refusal(one) for one in refused))
        return done

    def _looked_up(
        self, asked: dict[int, _Asked], outcomes: dict[int, Outcome]
    ) -> dict[int, _Asked]:
        """What is not on record yet; what is on record is given out again, or stands in the way."""
        spkis = [one.spki_sha256 for one in asked.values()]
        known, owners = (
            certificates.of_keys(self.journal, spkis),
            certificates.owners_of(self.journal, spkis),
        )
        exposed = certificates.exposed_keys(self.journal, spkis)
        taken = (
            certificates.keys_of_names(
                self.journal, [one.name for one in asked.values()], self.profile.name
            )
            if self.profile.unique_name
            else {}
        )
        left: dict[int, _Asked] = {}
        seen: set[str] = set()
        for number, one in asked.items():
            spki = one.spki_sha256
            try:
                if spki in exposed:
                    raise PolicyError(
                        "identity.weak-key",
                        f"certificate {exposed[spki]} of this key was revoked because the key is"
                        " compromised",
                        hint="Have a new key made: this one is signed no more.",
                    )
                found = self._on_record(one, known.get(spki, ()))
                self._check_owner(one, owners.get(spki), known.get(spki, ()))
                if taken.get(one.name, {spki}) - {spki}:
                    raise PolicyError(
                        "identity.name-taken",
                        f"{one.name} has a certificate for another key already",
                    )
            except PolicyError as error:
                outcomes[number] = Outcome(one.job, error=error)
                continue
            if found is not None:
                outcomes[number] = Outcome(one.job, found, already=True)
            elif spki not in seen:
                seen.add(spki)
                left[number] = one
                taken.setdefault(one.name, set()).add(spki)
        return left

    def _check_owner(
        self, one: _Asked, owner: str | None, known: Iterable[CertificateRecord]
    ) -> None:
        """A key is of one device: the same key under another name is a clone, or a request given in
        twice.

        One that was made by hand on a board of this bench (`infuse serial csr`) is signed under the
        cloud device of that board, or where the board has none on record under any name.
        """
        others = sorted(
            {record.name for record in known if record.name and record.name != one.name}
        )
        if others:
            raise PolicyError(
                "identity.key-reused",
                f"this public key has a certificate as {others[0]} already",
                hint="Revoke that one first, if the device got a new name.",
            )
        if one.board and owner is not None and one.board != owner:
            raise PolicyError(
                "identity.key-reused",
                f"this public key was already seen on board {owner}, and the modem's text names"
                f" {one.board}",
            )
        if owner is None or owner == one.name or any(record.name == one.name for record in known):
            return
        if not manual_changes.made_key(self.journal, one.spki_sha256):
            raise PolicyError(
                "identity.key-reused", f"this public key was already seen on board {owner}"
            )
        attempts = self.journal.attempts(owner)
        device = device_ids(facts_of(attempts[-1]))[0] if attempts else None
        if device is not None and device != one.name:
            raise PolicyError(
                "identity.key-reused",
                f"this public key is of board {owner}, whose cloud device is {device}, not"
                f" {one.name}",
                hint=f"Sign it as --device-id {device}.",
            )

    def _on_record(
        self, one: _Asked, known: Iterable[CertificateRecord]
    ) -> issuing.IssuedCertificate | None:
        """The newest certificate that this CA gave this key and name, still valid: asking twice
        does not make a second one.

        One of an issuer that was replaced is as good as before, one of an issuer that was revoked
        is none.
        """
        good = self.issuers | {issuing.issuer_id(self.signer)}
        same = [
            record
            for record in known
            if (record.profile, record.name) == (self.profile.name, one.name)
            and record.issuer in good
        ]
        return None if self.again or not same else issuing.of_record(same[-1])

    def _signed(self, left: dict[int, _Asked]) -> dict[int, Outcome]:
        if not left:
            return {}
        issuer, serials = (
            issuing.issuer_id(self.signer),
            {number: issuing.new_serial() for number in left},
        )
        limits = self.profile.limits
        check = (
            ()
            if limits == Limits()
            else (
                rec.CheckLimits(
                    profile=self.profile.name,
                    adding=len(left),
                    per_run=limits.run,
                    per_day=limits.day,
                ),
            )
        )
        self.journal.commit(
            *check,
            *(
                rec.ReserveSerial(serial=issuing.serial_hex(serial), issuer=issuer)
                for serial in serials.values()
            ),
        )
        outcomes: dict[int, Outcome] = {}
        try:
            press = issuing.Press(
                self.signer, self.profile, datetime.now(UTC), self.profile.validity_days
            )
            for number, one in left.items():
                outcomes[number] = _issue(press, one, serials[number])
            failpoint.hit("signed")
            self.journal.commit(
                *(
                    (
                        self._row(one.issued, left[number])
                        if one.issued is not None
                        else rec.VoidSerial(
                            serial=issuing.serial_hex(serials[number]), issuer=issuer
                        )
                    )
                    for number, one in outcomes.items()
                )
            )
        except BaseException:
            self._void(serials.values(), issuer)
            raise
        return outcomes

    def _void(self, serials: Iterable[int], issuer: str) -> None:
        """Void what was reserved and not used.

        Refused where it came out right after the certificates' commit: then all of it is used. What
        stopped the signing is what has to be told, and what stays reserved here is voided by the
        next command.
        """
        with suppress(JournalError):
            self.journal.commit(
                *(
                    rec.VoidSerial(serial=issuing.serial_hex(serial), issuer=issuer)
                    for serial in serials
                )
            )

    def _row(self, issued: issuing.IssuedCertificate, one: _Asked) -> rec.StoreCertificate:
        return rec.StoreCertificate(
            serial=issued.serial,
            issuer=issued.issuer,
            sha256=issued.sha256,
            spki_sha256=issued.spki_sha256,
            not_before=issued.not_before,
            not_after=issued.not_after,
            pem=issued.pem,
            profile=self.profile.name,
            device_id=one.values.get("deviceId"),
            name=issued.name,
            unique_name=self.profile.unique_name and not self.again,
        )

    @staticmethod
    def _repeat(asked: dict[int, _Asked], outcomes: dict[int, Outcome]) -> None:
        """The same key twice in one chunk gets one certificate, under one name."""
        made = {
            one.spki_sha256: (one, outcomes[number])
            for number, one in asked.items()
            if number in outcomes and outcomes[number].issued is not None
        }
        for number, one in asked.items():
            if number in outcomes:
                continue
            first = made.get(one.spki_sha256)
            if first is not None and first[0].name == one.name:
                outcomes[number] = Outcome(one.job, first[1].issued, already=True)
            else:
                error = PolicyError(
                    "identity.key-reused",
                    f"the same key comes under two names, {one.name} is one of them",
                )
                outcomes[number] = Outcome(one.job, error=error)


def judge(job: Job, profile: CertificateProfile) -> Vetted | PolicyError:
    """What a request says of itself: neither a signer nor the journal is asked."""
    try:
        csr = vet_file(
            job.data,
            curves=profile.curves,
            usages=profile.extended_key_usage,
            names=bool(profile.san or profile.caller_san),
        )
        name = next(
            (
                name
                for name in (job.name, csr.common_name, job.other_name)
                if name and (name == job.name or profile.takes_name(name))
            ),
            None,
        )
        if name is None:
            raise PolicyError(
                "identity.csr-policy",
                f"certificate profile {profile.name!r} does not take the CSR's common name"
                f" {csr.common_name!r}",
                hint="Give the cloud device id with --device-id.",
            )
        if DEVICE_ID.fullmatch(name):
            refuse_blank(IdentityKind.DEVICE_ID, name, "the request")
        values = {"name": name, **({"deviceId": name} if DEVICE_ID.fullmatch(name) else {})}
        return Vetted(
            csr.spki_der,
            csr.spki_sha256,
            common_name(profile, values),
            values,
            "" if job.keygen is None else vet_keygen(job.keygen, csr),
        )
    except PolicyError as error:
        return PolicyError(
            error.code,
            error.message,
            hint=(
                _HINTS.get(error.code, error.hint) if error.hint == error.info.hint else error.hint
            ),
            details=error.details,
        )


def _issue(press: issuing.Press, one: _Asked, serial: int) -> Outcome:
    try:
        return Outcome(one.job, press.issue(one.spki_der, serial, one.values, one.job.names))
    except PolicyError as error:
        return Outcome(one.job, error=error)


def refusal(one: Outcome) -> rec.RefuseCsr:
    """What goes on record of a request that was refused."""
    error = one.error
    assert error is not None  # noqa: S101 - the caller chose
    return rec.RefuseCsr(
        csr=base64.b64encode(one.job.data[:_KEPT]).decode(),
        sha256=hashlib.sha256(one.job.data).hexdigest(),
        code=error.code,
        message=error.message,
        source=one.job.source.name,
    )
