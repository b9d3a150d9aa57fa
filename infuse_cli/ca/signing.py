"""`infuse ca sign` and `issue`: CSRs that came another way than through a board's port, and keys
for people and brokers.
"""

from __future__ import annotations

import gc
import os
import secrets
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.ca import common as ca_common
from infuse_cli.ca.authority import Desk, Job, Outcome, Vetted, judge, refusal
from infuse_cli.ca.forked_worker import Aside, can_spare
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import Exit, PolicyError, UsageError
from infuse_cli.files import read_bounded
from infuse_cli.identities import IdentityKind, refuse_blank
from infuse_cli.pki import chain, issuing, store
from infuse_cli.pki.certificate_profile_files import resolve
from infuse_cli.pki.files import (
    PRIVATE,
    PUBLIC,
    is_folder,
    is_regular,
    write_atomic,
)
from infuse_cli.pki.issuers import all_issuers
from infuse_cli.serial_tools.csr import RAW
from infuse_cli.types import DEVICE_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from infuse_cli.ca.common import PassphraseOptions
    from infuse_cli.errors import InfuseError
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Signer

    _Request = tuple[Job, Vetted | InfuseError]
    _Made = tuple[Path, str, bool]

_CHUNK: Final = 500
_MANY: Final = 200  # requests from which on a second process pays for its start
_ENDINGS: Final = frozenset({".csr", ".pem", ".der", ".req", ".p10"})
_TOLD: Final = 20  # refusals that a person is shown one by one


@dataclass(frozen=True, slots=True)
class SignOptions:
    """Options of `ca sign`; None: the profile's, else the built-in default."""

    device_id: str | None = None
    certificate: str | None = None
    ca: str | None = None
    again: bool = False
    names: tuple[str, ...] = ()


def sign(
    csrs: Sequence[Path],
    batch: Path | None,
    out: Path,
    options: SignOptions,
    passphrase: PassphraseOptions,
) -> OperationResult:
    """Sign one CSR into a file, or several into a folder."""
    if bool(csrs) == (batch is not None):
        raise UsageError("usage.bad-option", "either CSR files or --batch DIR says what is signed")
    if batch is not None:
        return _many(_in_folder(batch), out, options, passphrase)
    if len(csrs) > 1 or is_folder(out):
        return _many(list(csrs), out, options, passphrase)
    return _one(csrs[0], out, options, passphrase)


def _one(
    csr: Path, out: Path, options: SignOptions, passphrase: PassphraseOptions
) -> OperationResult:
    ca_common.check_writable(out, csr)
    profile = _profile(options.certificate)
    job = Job(
        csr, _read(csr), _device_id(options.device_id), _names(options.names), keygen=_keygen(csr)
    )
    if isinstance(early := judge(job, profile), PolicyError):  # before a passphrase is asked for
        with ca_common.recorded("ca sign") as journal:
            journal.commit(refusal(Outcome(job, error=early)))
        raise early
    with _desk(options, profile, passphrase) as desk:
        made = desk.sign([job])[0]
    if made.error is not None or made.issued is None:
        raise made.error or AssertionError("neither signed nor refused")
    issued = made.issued
    ca_common.write(out, issued.pem.encode())
    data = {
        **ca_common.issued_data(issued),
        "commonName": issued.name,
        "profile": profile.name,
        "already": made.already,
        "out": str(out.absolute()),
        "keygen": None if job.keygen is None else str(_beside(csr).absolute()),
    }
    verb = "On record already, given out again" if made.already else "Signed"
    return OperationResult(
        "ca sign",
        data,
        human=(
            f"{verb}: CN={issued.name}, serial {issued.serial}, valid to"
            f" {issued.not_after:%Y-%m-%d}, in {out}"
        )
        + ("" if job.keygen is None else f"\n  it agrees with what the modem said: {_beside(csr)}"),
    )


def _many(
    files: list[Path], out: Path, options: SignOptions, passphrase: PassphraseOptions
) -> OperationResult:
    """Each certificate goes into the folder under the name of its request; running it again gives
    the same ones out.
    """
    profile = _profile(options.certificate)
    if options.device_id is not None:
        raise UsageError(
            "usage.bad-option", "--device-id is for one CSR; of several each has its own name"
        )
    _check_folder(files, out)
    if profile.limits.batch is not None and len(files) > profile.limits.batch:
        raise PolicyError(
            "identity.quota",
            f"certificate profile {profile.name!r} allows {profile.limits.batch} certificates a"
            f" batch, these are {len(files)}",
        )
    names, outcomes = _names(options.names), list[Outcome]()
    apart = len(files) >= _MANY and can_spare()
    reading: Aside[list[Path], list[_Request]] = Aside(
        lambda some: [_judged(path, names, profile) for path in some], apart=apart
    )
    writing: Aside[list[_Made], list[OSError]] = Aside(
        partial(_give_out, out, f".{secrets.token_hex(8)}.part"), apart=apart
    )
    with (
        reading,
        writing,
        _desk(options, profile, passphrase) as desk,
        _progress(len(files)) as advance,
        _without_collector(),
    ):
        for read in _ahead(reading, files):
            done = desk.sign([job for job, _ in read], [found for _, found in read])
            _check_written(writing.end())
            writing.begin(
                [
                    (one.job.source, one.issued.pem, one.already)
                    for one in done
                    if one.issued is not None
                ]
            )
            outcomes += done
            advance(len(done))
        _check_written(writing.end())
    return _summed(outcomes, out, profile)


def _ahead(
    reading: Aside[list[Path], list[_Request]], files: list[Path]
) -> Iterator[list[_Request]]:
    """Chunks of requests; the next one is read while this one is worked on."""
    reading.begin(files[:_CHUNK])
    for start in range(_CHUNK, len(files) + _CHUNK, _CHUNK):
        read = reading.end() or []
        if start < len(files):
            reading.begin(files[start : start + _CHUNK])
        yield read


def _judged(
    path: Path, names: tuple[tuple[str, str], ...], profile: CertificateProfile
) -> _Request:
    """A request of a folder with what is to be said of it alone; one that cannot be read does not
    stop the others.
    """
    try:
        job = Job(path, _read(path), None, names, path.stem, _keygen(path))
    except UsageError as error:
        return Job(path, b""), error.with_traceback(None)
    return job, judge(job, profile)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing here makes cycles, and looking for them among ten thousand outcomes costs a fifth of
    the rate.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _summed(outcomes: list[Outcome], out: Path, profile: CertificateProfile) -> OperationResult:
    refused = [one for one in outcomes if one.error is not None]
    already = sum(one.already for one in outcomes)
    signed = len(outcomes) - len(refused) - already
    errors = [
        {**one.error.as_json(), "message": f"{one.job.source.name}: {one.error.message}"}
        for one in refused
        if one.error is not None
    ]
    data = {
        "signed": signed,
        "already": already,
        "refused": len(refused),
        "profile": profile.name,
        "out": str(out.absolute()),
        "certificates": [_told(one, out) for one in outcomes],
    }
    text = f"{signed} signed, {already} on record already, {len(refused)} refused, in {out}"
    if len(errors) > _TOLD:
        text += f"\nThe first {_TOLD} refusals follow; all: infuse ca list --state refused"
    status = "ok" if not refused else "partial" if signed + already else "error"
    code = (
        0
        if not refused
        else (
            int(refused[0].error.exit)
            if len(outcomes) == 1 and refused[0].error
            else int(Exit.SOME_FAILED)
        )
    )
    return OperationResult(
        "ca sign",
        data,
        status=status,  # type: ignore[arg-type]
        errors=errors,
        exit_code=code,
        human=text,
    )


def _told(one: Outcome, out: Path) -> dict[str, Any]:
    issued = one.issued
    return {
        "csr": one.job.source.name,
        "commonName": issued.name if issued else None,
        "serial": issued.serial if issued else None,
        "already": one.already,
        "out": str(_target(one.job.source, out).absolute()) if issued else None,
        "error": one.error.as_json() if one.error else None,
    }


def _give_out(out: Path, part: str, made: Sequence[_Made]) -> list[OSError]:
    """Certificates into their files, up to the first that cannot be written.

    `part` is a file's name until it is whole, of this program alone: another may write the same
    ones at the same time.
    """
    for source, pem, already in made:
        try:
            _write(out, source.stem, pem.encode(), part, already=already)
        except OSError as error:
            with suppress(OSError):
                (out / part).unlink()
            return [OSError(error.errno, error.strerror, str(_target(source, out)))]
    return []


def _write(out: Path, stem: str, data: bytes, name: str, *, already: bool) -> None:
    """On record it is safe already, so no file waits for the disk; what is there already is left as
    it is.
    """
    target, part = f"{out}{os.sep}{stem}.pem", f"{out}{os.sep}{name}"
    if already and _holds(target, data):
        return
    descriptor = os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), PUBLIC
    )
    try:
        while data:
            data = data[os.write(descriptor, data) :]  # a disk that is nearly full takes a part
    finally:
        os.close(descriptor)
    os.replace(part, target)  # noqa: PTH105 - a path object for each of ten thousand files costs more than the file


def _check_written(errors: list[OSError] | None) -> None:
    for error in errors or ():
        raise UsageError(
            "usage.bad-option",
            f"{error.filename} cannot be written: {error.strerror}",
            hint="What was signed is on record: run it again when there is room.",
        )


def _holds(path: str, data: bytes) -> bool:
    try:
        return Path(path).read_bytes() == data
    except FileNotFoundError:
        return False


def _target(source: Path, out: Path) -> Path:
    return out / f"{source.stem}.pem"


def _in_folder(batch: Path) -> list[Path]:
    """Whatever is named like a request: one that cannot be read is told of, not passed over."""
    if not is_folder(batch):
        raise UsageError("usage.bad-option", f"--batch {batch} is not a folder")
    try:
        found = sorted(path for path in batch.iterdir() if path.suffix.lower() in _ENDINGS)
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"--batch {batch} cannot be read: {error.strerror}"
        ) from None
    if not found:
        raise UsageError(
            "usage.bad-option", f"{batch} has no requests ({', '.join(sorted(_ENDINGS))})"
        )
    return found


def _check_folder(files: list[Path], out: Path) -> None:
    """A certificate takes the place of nothing but a certificate."""
    targets = dict[Path, Path]()
    for path in files:
        if (other := targets.setdefault(_target(path, out), path)) is not path:
            raise UsageError(
                "usage.bad-option",
                f"{other.name} and {path.name} have the same name, so one certificate would take"
                " the other's place",
            )
    try:
        out.mkdir(exist_ok=True)
        held = set(os.listdir(out))  # noqa: PTH208 - names alone
        own = {
            folder
            for folder in {path.parent for path in files}
            if is_folder(folder) and folder.samefile(out)
        }
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"--out {out} cannot be made: {error.strerror}"
        ) from None
    if any(path.name == target.name and path.parent in own for target, path in targets.items()):
        raise UsageError(
            "usage.bad-option",
            f"--out {out} holds the requests; certificates go into another folder",
        )
    for target in targets:
        if target.name in held:
            ca_common.check_writable(target)


@contextmanager
def _desk(
    options: SignOptions, profile: CertificateProfile, passphrase: PassphraseOptions
) -> Iterator[Desk]:
    signer = _signer(options.ca, passphrase)
    with ca_common.recorded("ca sign") as journal:
        issuing.check_issuer(signer, journal.is_revoked)
        good = frozenset(
            one.sha256
            for one in all_issuers(ca_common.folder_of(options.ca))
            if not issuing.is_revoked(one.chain, journal.is_revoked)
        )
        yield Desk(journal, signer, profile, options.again, good)


def _signer(ca: str | None, passphrase: PassphraseOptions) -> Signer:
    return store.load_ca(ca_common.folder_of(ca), ca_common.passphrase(ca, passphrase))


def _profile(named: str | None) -> CertificateProfile:
    return resolve(named or ca_common.identity().certificate, context.current().home)


def _device_id(text: str | None) -> str | None:
    if text is not None and DEVICE_ID.fullmatch(text.lower()) is None:
        raise UsageError("usage.bad-option", f"--device-id is 16 hex digits, not {text!r}")
    refuse_blank(IdentityKind.DEVICE_ID, text, "--device-id")
    return None if text is None else text.lower()


def _names(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for text in texts:
        kind, colon, name = text.partition(":")
        if not colon or not name:
            raise UsageError(
                "usage.bad-option", f"--san is KIND:NAME such as dns:broker.example, not {text!r}"
            )
        found.append((kind.lower(), name))
    return tuple(found)


def _beside(csr: Path) -> Path:
    return csr.with_name(csr.name + RAW)


def _keygen(csr: Path) -> str | None:
    """The modem's own text that `infuse serial csr` left beside a CSR; it is checked where it is
    there.
    """
    beside = _beside(csr)
    return _read(beside).decode("ascii", errors="replace") if is_regular(beside) else None


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path)
    except OSError as error:
        raise UsageError(
            "usage.bad-option",
            f"{path} cannot be read: {error.strerror}",
            hint="A request is a file that you may read.",
        ) from None


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if context.current().output != "human" or not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("signing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, no_color=context.current().no_color or None),
    )
    with bar:
        task = bar.add_task("signing", total=total)
        yield lambda count: bar.advance(task, count)


@dataclass(frozen=True, slots=True)
class IssueOptions:
    """Options of `ca issue`: where certificate and key go, alternative names, days instead of the
    profile's.
    """

    out: Path
    key_out: Path
    certificate: str = "bench"
    names: tuple[str, ...] = ()
    ca: str | None = None


def issue(name: str, options: IssueOptions, passphrase: PassphraseOptions) -> OperationResult:
    """Make a key and its certificate for a person, a bench or a broker.

    The key is new, so it always is a new certificate.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    profile = _profile(options.certificate)
    ca_common.check_writable(options.out, options.key_out)
    if options.key_out.exists():
        raise UsageError("usage.bad-option", f"{options.key_out} exists and is not overwritten")
    key = ec.generate_private_key(ec.SECP256R1())
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    job = Job(Path(name), csr, name, _names(options.names))
    with _desk(SignOptions(ca=options.ca), profile, passphrase) as desk:
        made = desk.sign([job])[0]
        signer = desk.signer
    if made.error is not None or made.issued is None:
        raise made.error or AssertionError("neither signed nor refused")
    issued: issuing.IssuedCertificate = made.issued
    above = [one for one in signer.chain if not chain.is_self_issued(one)]
    try:
        write_atomic(
            options.key_out,
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            PRIVATE,
            replace=False,
        )
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"{options.key_out} cannot be written: {error.strerror}"
        ) from None
    ca_common.write(options.out, issued.pem.encode() + chain.pem_bundle(above).encode())
    data = {
        **ca_common.issued_data(issued),
        "commonName": issued.name,
        "profile": profile.name,
        "out": str(options.out.absolute()),
        "keyOut": str(options.key_out.absolute()),
    }
    return OperationResult(
        "ca issue",
        data,
        human=(
            f"CN={issued.name}, serial {issued.serial}, valid to {issued.not_after:%Y-%m-%d}\n "
            f" {options.out}: certificate, then its intermediate\n  {options.key_out}: its key, not"
            " encrypted, for its owner alone"
        ),
    )
