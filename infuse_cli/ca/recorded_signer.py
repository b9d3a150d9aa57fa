"""Where CSRs become certificates: vetted, looked up, reserved, signed, recorded, and only then
given out.

A signer takes CSRs in chunks; each chunk is two durable commits, whatever its size.

Guaranteed: `docs/reference/guarantees.md#a-serial-number-is-reserved-before-signing`.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from infuse_cli import records as rec
from infuse_cli.certificate_files import holds_private_key
from infuse_cli.effects.certificates import LeafRequest, sign_and_store
from infuse_cli.errors import InfuseError, JournalError, PolicyError
from infuse_cli.identities import IdentityKind, refuse_blank
from infuse_cli.journal import certificates, manual_changes
from infuse_cli.journal.queries import device_ids, facts_of
from infuse_cli.pki import issuing
from infuse_cli.pki.names import common_name
from infuse_cli.pki.vetting import vet_file, vet_keygen
from infuse_cli.types import DEVICE_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.pki.issuing import IssuedCertificate
    from infuse_cli.ports import Signer
    from infuse_cli.records import CertificateRecord

_MOST_TRIES: Final = 5
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
_MOST_STORED: Final = 16_384  # bytes of a refused CSR; none that could be signed is longer


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A CSR to be signed: where it came from, its bytes, and the name to give (None: its own, if
    that is allowed, else `fallback_name`).

    `names` are alternative names as (kind, text); `keygen` is what the modem answered when it made
    the key, whole.
    """

    source: Path
    csr: bytes = field(repr=False)
    name: str | None = None
    names: tuple[tuple[str, str], ...] = ()
    fallback_name: str | None = None
    keygen: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SigningResult:
    """What came of a request: a certificate, or the error that refused it.

    `already`: the certificate was in the journal before.
    """

    request: SigningRequest
    issued: IssuedCertificate | None = None
    already: bool = False
    error: InfuseError | None = None

    @property
    def certificate(self) -> IssuedCertificate:
        """The certificate. Raises what refused the request."""
        if self.issued is None:
            raise self.error or AssertionError("neither signed nor refused")
        return self.issued


@dataclass(frozen=True, slots=True)
class VettedRequest:
    """A request that may be signed as far as can be told from itself: its public key, common name
    and variables; `board` is what the modem's own text names.
    """

    spki_der: bytes = field(repr=False)
    spki_sha256: str
    name: str
    values: dict[str, str]
    board: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the journal knows of the keys and names of a chunk, by SHA-256 of the key or by name."""

    certificates: Mapping[str, Sequence[CertificateRecord]]
    owners: Mapping[str, str]
    compromised: Mapping[str, str]
    keys_of_names: dict[str, set[str]]


@dataclass(frozen=True, slots=True)
class RecordedSigner:
    """A signer with its profile and journal; `again` signs once more what has a certificate.

    `issuers` (SHA-256) are others of this CA whose certificates hold.
    """

    journal: SqliteJournal
    signer: Signer
    profile: CertificateProfile
    again: bool = False
    issuers: frozenset[str] = frozenset()

    def sign(
        self,
        requests: Sequence[SigningRequest],
        vetted: Sequence[VettedRequest | InfuseError] | None = None,
    ) -> list[SigningResult]:
        """Sign what may be signed.

        What is refused is recorded with its CSR, and does not stop the others. `vetted` is what
        `vet` said of each request, where it was asked before. Where another process signed some of
        it in the same moment, its certificates are given out.

        Raises what stops all: SignerError (clock, issuer, token), JournalError, PolicyError
        identity.quota.
        """
        vetted = vetted or [vet(request, self.profile) for request in requests]
        for left in reversed(range(_MOST_TRIES)):
            try:
                return self._sign(requests, vetted)
            except JournalError as error:
                if error.code != "journal.conflict" or left == 0:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _sign(
        self, requests: Sequence[SigningRequest], vetted: Sequence[VettedRequest | InfuseError]
    ) -> list[SigningResult]:
        now = datetime.now(UTC)
        issuing.check_clock(now, None, self.journal.newest())
        results: dict[int, SigningResult] = {}
        wanted: dict[int, VettedRequest] = {}
        for number, found in enumerate(vetted):
            if isinstance(found, VettedRequest):
                wanted[number] = found
            else:
                results[number] = SigningResult(requests[number], error=found)
        new = self._without_known(requests, wanted, results)
        leaves = [
            LeafRequest(found.spki_der, found.values, requests[number].names)
            for number, found in new.items()
        ]
        unique = self.profile.unique_name and not self.again
        signed = sign_and_store(
            self.journal, self.signer, self.profile, leaves, now=now, unique_name=unique
        )
        for number, made in zip(new, signed, strict=True):
            results[number] = (
                SigningResult(requests[number], error=made)
                if isinstance(made, PolicyError)
                else SigningResult(requests[number], made)
            )
        _repeat(requests, wanted, results)
        in_order = [results[number] for number in range(len(requests))]
        refused = [result for result in in_order if result.error is not None]
        if refused:
            self.journal.commit(*map(refusal, refused))
        return in_order

    def _without_known(
        self,
        requests: Sequence[SigningRequest],
        wanted: dict[int, VettedRequest],
        results: dict[int, SigningResult],
    ) -> dict[int, VettedRequest]:
        """What has no certificate yet; a certificate in the journal is given out again, or stands
        in the way.
        """
        known = self._look_up(list(wanted.values()))
        new: dict[int, VettedRequest] = {}
        keys: set[str] = set()
        for number, found in wanted.items():
            spki = found.spki_sha256
            try:
                self._check(found, known)
            except PolicyError as error:
                results[number] = SigningResult(requests[number], error=error)
                continue
            issued = self._issued_before(found, known)
            if issued is not None:
                results[number] = SigningResult(requests[number], issued, already=True)
            elif spki not in keys:
                keys.add(spki)
                new[number] = found
                known.keys_of_names.setdefault(found.name, set()).add(spki)
        return new

    def _look_up(self, wanted: Sequence[VettedRequest]) -> _Known:
        spkis = [found.spki_sha256 for found in wanted]
        names = [found.name for found in wanted] if self.profile.unique_name else []
        return _Known(
            certificates.of_keys(self.journal, spkis),
            certificates.owners_of(self.journal, spkis),
            certificates.exposed_keys(self.journal, spkis),
            certificates.keys_of_names(self.journal, names, self.profile.name),
        )

    def _check(self, found: VettedRequest, known: _Known) -> None:
        spki = found.spki_sha256
        if spki in known.compromised:
            raise PolicyError(
                "identity.weak-key",
                f"certificate {known.compromised[spki]} of this key was revoked because the key is"
                " compromised",
                hint="Have a new key made: this one is signed no more.",
            )
        self._check_owner(found, known.owners.get(spki), known.certificates.get(spki, ()))
        if self.profile.unique_name and known.keys_of_names.get(found.name, {spki}) - {spki}:
            raise PolicyError(
                "identity.name-taken", f"{found.name} has a certificate for another key already"
            )

    def _check_owner(
        self, found: VettedRequest, owner: str | None, known: Sequence[CertificateRecord]
    ) -> None:
        """A key is of one device: the same key under another name is a clone, or a request given in
        twice.

        One that was made manually on a board of this bench (`infuse serial csr`) is signed under
        the cloud device of that board, or, where the board has none, under any name.
        """
        names = {record.name for record in known if record.name}
        if others := sorted(names - {found.name}):
            raise PolicyError(
                "identity.key-reused",
                f"this public key has a certificate as {others[0]} already",
                hint="Revoke that one first, if the device got a new name.",
            )
        if owner is None:
            return
        seen = f"this public key was already seen on board {owner}"
        if found.board and found.board != owner:
            raise PolicyError(
                "identity.key-reused", f"{seen}, and the modem's text names {found.board}"
            )
        if owner == found.name or found.name in names:
            return
        if not manual_changes.made_key(self.journal, found.spki_sha256):
            raise PolicyError("identity.key-reused", seen)
        attempts = self.journal.attempts(owner)
        device = device_ids(facts_of(attempts[-1]))[0] if attempts else None
        if device is not None and device != found.name:
            raise PolicyError(
                "identity.key-reused",
                f"this public key is of board {owner}, whose cloud device is {device}, not"
                f" {found.name}",
                hint=f"Sign it as --device-id {device}.",
            )

    def _issued_before(self, found: VettedRequest, known: _Known) -> IssuedCertificate | None:
        """The newest certificate that this CA gave this key and name, still valid: asking twice
        does not make a second one.

        One of an issuer that was replaced is as good as before, one of an issuer that was revoked
        is none.
        """
        if self.again:
            return None
        good = self.issuers | {issuing.issuer_id(self.signer)}
        same = [
            record
            for record in known.certificates.get(found.spki_sha256, ())
            if (record.profile, record.name) == (self.profile.name, found.name)
            and record.issuer in good
        ]
        return issuing.of_record(same[-1]) if same else None


def _repeat(
    requests: Sequence[SigningRequest],
    wanted: dict[int, VettedRequest],
    results: dict[int, SigningResult],
) -> None:
    """The same key twice in one chunk gets one certificate, under one name."""
    made = {
        found.spki_sha256: (found.name, results[number].issued)
        for number, found in wanted.items()
        if number in results and results[number].issued is not None
    }
    for number, found in wanted.items():
        if number in results:
            continue
        name, issued = made.get(found.spki_sha256, (None, None))
        if name == found.name:
            results[number] = SigningResult(requests[number], issued, already=True)
        else:
            error = PolicyError(
                "identity.key-reused",
                f"the same key comes under two names, {found.name} is one of them",
            )
            results[number] = SigningResult(requests[number], error=error)


def vet(request: SigningRequest, profile: CertificateProfile) -> VettedRequest | PolicyError:
    """What a request says of itself: neither a signer nor the journal is asked."""
    try:
        return _vetted(request, profile)
    except PolicyError as error:
        is_default = error.hint == error.info.hint
        hint = _HINTS.get(error.code, error.hint) if is_default else error.hint
        return PolicyError(error.code, error.message, hint=hint, details=error.details)


def _vetted(request: SigningRequest, profile: CertificateProfile) -> VettedRequest:
    csr = vet_file(
        request.csr,
        curves=profile.curves,
        usages=profile.extended_key_usage,
        names=bool(profile.san or profile.caller_san),
    )
    proposed = (csr.common_name, request.fallback_name)
    name = request.name or next(filter(profile.takes_name, filter(None, proposed)), None)
    if name is None:
        raise PolicyError(
            "identity.csr-policy",
            f"certificate profile {profile.name!r} does not take the CSR's common name"
            f" {csr.common_name!r}",
            hint="Give the cloud device id with --device-id.",
        )
    values = {"name": name}
    if DEVICE_ID.fullmatch(name):
        refuse_blank(IdentityKind.DEVICE_ID, name, "the request")
        values["deviceId"] = name
    board = "" if request.keygen is None else vet_keygen(request.keygen, csr)
    return VettedRequest(csr.spki_der, csr.spki_sha256, common_name(profile, values), values, board)


def refusal(result: SigningResult) -> rec.RefuseCsr:
    """The record of a request that was refused; of a file with a private key only its digest."""
    error, csr = result.error, result.request.csr
    assert error is not None  # noqa: S101 - the caller chose
    shown = b"" if holds_private_key(csr) else csr[:_MOST_STORED]
    return rec.RefuseCsr(
        csr=base64.b64encode(shown).decode(),
        sha256=hashlib.sha256(csr).hexdigest(),
        code=error.code,
        message=error.message,
        source=result.request.source.name,
    )
