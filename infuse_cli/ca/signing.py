"""CSRs in files become certificates in files, and new keys for people and brokers."""

from __future__ import annotations

import gc
import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.ca import common
from infuse_cli.ca.authority import checked_device_id
from infuse_cli.ca.forked_worker import ForkedWorker, can_spare
from infuse_cli.ca.recorded_signer import SigningRequest, SigningResult, VettedRequest, vet
from infuse_cli.effects.results import CERTIFICATE_FILES, Results
from infuse_cli.errors import PolicyError, UsageError
from infuse_cli.files import PRIVATE, PUBLIC, is_folder, is_regular, read_bounded, write_file
from infuse_cli.serial_tools.csr import RAW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from infuse_cli.ca.authority import CertificateAuthority
    from infuse_cli.errors import InfuseError
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.pki.issuing import IssuedCertificate
    from infuse_cli.settings import Settings
    from infuse_cli.types import Secret

    _Vetted = tuple[SigningRequest, VettedRequest | InfuseError]
    _Made = tuple[Path, str, bool]
    Progress = Callable[[int, int], None]

_CHUNK: Final = 500
_MANY: Final = 200  # requests from which on a second process pays for its start
_ENDINGS: Final = frozenset({".csr", ".pem", ".der", ".req", ".p10"})


@dataclass(frozen=True, slots=True)
class SignOptions:
    """How requests are signed; None: as the profile says, else the built-in default.

    `names` are alternative names such as `dns:broker.example`; `again` signs what has a certificate
    once more.
    """

    device_id: str | None = None
    certificate: str | None = None
    again: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A certificate in a file; `keygen` is the modem's own text beside the request, which agrees
    with it.
    """

    issued: IssuedCertificate
    profile: str
    already: bool
    out: Path
    keygen: Path | None


@dataclass(frozen=True, slots=True)
class SignedFolder:
    """What came of several requests, in their order; certificates are in the folder `out`."""

    results: tuple[SigningResult, ...]
    profile: str
    out: Path

    @property
    def refused(self) -> tuple[SigningResult, ...]:
        """The requests that got no certificate."""
        return tuple(result for result in self.results if result.error is not None)

    @property
    def already(self) -> int:
        """How many had their certificate before."""
        return sum(result.already for result in self.results)

    def file_of(self, result: SigningResult) -> Path:
        """Where the certificate of a request is."""
        return _target(result.request.source, self.out)


def sign_file(
    authority: CertificateAuthority, csr: Path, out: Path, options: SignOptions
) -> SignedFile:
    """Sign one request into a file.

    Raises UsageError, PolicyError (`identity.…`: what is refused), SignerError, JournalError.
    """
    common.check_writable(authority.settings, out, csr)
    profile = authority.certificate_profile(options.certificate)
    request = SigningRequest(
        csr,
        _read(csr),
        checked_device_id(options.device_id),
        alternative_names(options.names),
        keygen=_keygen(csr),
    )
    result = authority.sign_request(request, profile, again=options.again)
    issued = result.certificate
    common.write(authority.settings, out, issued.pem.encode())
    keygen = None if request.keygen is None else _beside(csr)
    return SignedFile(issued, profile.name, result.already, out, keygen)


def sign_files(
    authority: CertificateAuthority,
    csrs: Sequence[Path],
    out: Path,
    options: SignOptions,
    progress: Progress = lambda _done, _total: None,
) -> SignedFolder:
    """Sign several requests; each certificate goes into the folder `out` under the name of its
    request. Running it again gives the same ones out.

    `progress` gets how many are done of how many. Raises UsageError, PolicyError identity.quota,
    SignerError, JournalError; what is refused of the requests is in the result.
    """
    profile = authority.certificate_profile(options.certificate)
    if options.device_id is not None:
        raise UsageError(
            "usage.bad-option", "--device-id is for one CSR; of several each has its own name"
        )
    _check_folder(authority.settings, csrs, out)
    most = profile.limits.batch
    if most is not None and len(csrs) > most:
        raise PolicyError(
            "identity.quota",
            f"certificate profile {profile.name!r} allows {most} certificates a batch, these are"
            f" {len(csrs)}",
        )
    names, results = alternative_names(options.names), list[SigningResult]()
    fork = len(csrs) >= _MANY and can_spare()
    reader: ForkedWorker[list[Path], list[_Vetted]] = ForkedWorker(
        lambda paths: [_vetted(path, names, profile) for path in paths], fork=fork
    )
    writer: ForkedWorker[list[_Made], list[OSError]] = ForkedWorker(
        partial(write_certificates, out, f".{secrets.token_hex(8)}.part"), fork=fork
    )
    with (
        reader,
        writer,
        authority.signing(profile, again=options.again) as signer,
        _without_collector(),
    ):
        progress(0, len(csrs))
        for chunk in _read_ahead(reader, list(csrs)):
            signed = signer.sign([request for request, _ in chunk], [found for _, found in chunk])
            _check_written(writer.result())
            writer.submit(
                [
                    (result.request.source, result.issued.pem, result.already)
                    for result in signed
                    if result.issued is not None
                ]
            )
            results += signed
            progress(len(results), len(csrs))
        _check_written(writer.result())
    return SignedFolder(tuple(results), profile.name, out)


def _read_ahead(
    reader: ForkedWorker[list[Path], list[_Vetted]], files: list[Path]
) -> Iterator[list[_Vetted]]:
    """Chunks of requests; the next one is read while this one is worked on."""
    reader.submit(files[:_CHUNK])
    for start in range(_CHUNK, len(files) + _CHUNK, _CHUNK):
        chunk = reader.result() or []
        if start < len(files):
            reader.submit(files[start : start + _CHUNK])
        yield chunk


def _vetted(path: Path, names: tuple[tuple[str, str], ...], profile: CertificateProfile) -> _Vetted:
    """A request of a folder with what is to be said of it alone; one that cannot be read does not
    stop the others.
    """
    try:
        request = SigningRequest(path, _read(path), None, names, path.stem, _keygen(path))
    except UsageError as error:
        return SigningRequest(path, b""), error.with_traceback(None)
    return request, vet(request, profile)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing here makes cycles, and looking for them among ten thousand results costs a fifth of
    the rate.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def write_certificates(out: Path, part: str, made: Sequence[_Made]) -> list[OSError]:
    """Certificates as (request, PEM, was there already) into their files, up to the first that
    cannot be written.

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
    """In the journal it is safe already, so no file waits for the disk; what is there already is
    left as it is.
    """
    target, part = f"{out}{os.sep}{stem}.pem", f"{out}{os.sep}{name}"
    if already and _holds(target, data):
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    descriptor = os.open(part, flags, PUBLIC)
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


def requests_in(folder: Path) -> list[Path]:
    """The files of a folder that are named like requests. Raises UsageError where there is none."""
    if not is_folder(folder):
        raise UsageError("usage.bad-option", f"--batch {folder} is not a folder")
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"--batch {folder} cannot be read: {error.strerror}"
        ) from None
    if not found:
        raise UsageError(
            "usage.bad-option", f"{folder} has no requests ({', '.join(sorted(_ENDINGS))})"
        )
    return found


def _check_folder(settings: Settings, files: Sequence[Path], out: Path) -> None:
    """A certificate takes the place of nothing but a certificate."""
    targets = dict[Path, Path]()
    for path in files:
        other = targets.setdefault(_target(path, out), path)
        if other is not path:
            raise UsageError(
                "usage.bad-option",
                f"{other.name} and {path.name} have the same name, so one certificate would take"
                " the other's place",
            )
    try:
        out.mkdir(exist_ok=True)
        held = set(os.listdir(out))  # noqa: PTH208 - names alone
        folders = {path.parent for path in files}
        own = {folder for folder in folders if is_folder(folder) and folder.samefile(out)}
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"--out {out} cannot be made: {error.strerror}"
        ) from None
    if any(path.name == target.name and path.parent in own for target, path in targets.items()):
        raise UsageError(
            "usage.bad-option",
            f"--out {out} holds the requests; certificates go into another folder",
        )
    results = Results(settings)
    for target in targets:
        if target.name in held:
            results.check(target, replaces=CERTIFICATE_FILES)


def alternative_names(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Alternative names as (kind, name). Raises UsageError usage.bad-option."""
    names = []
    for text in texts:
        kind, colon, name = text.partition(":")
        if not colon or not name:
            raise UsageError(
                "usage.bad-option", f"--san is KIND:NAME such as dns:broker.example, not {text!r}"
            )
        names.append((kind.lower(), name))
    return tuple(names)


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


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """A certificate with a new key for `name`: where both go, and its alternative names such as
    `dns:broker.example`.
    """

    name: str
    out: Path
    key_out: Path
    certificate: str = "bench"
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IssuedFiles:
    """A certificate and its key, each in a file."""

    issued: IssuedCertificate
    profile: str
    out: Path
    key_out: Path


def issue_files(authority: CertificateAuthority, request: IssueRequest) -> IssuedFiles:
    """Make a key and its certificate for a person, a bench or a broker; the key's file is 0600 and
    never replaces another.

    Raises UsageError, PolicyError, SignerError, JournalError.
    """
    profile = authority.certificate_profile(request.certificate)
    common.check_writable(authority.settings, request.out, request.key_out)
    if request.key_out.exists():
        raise UsageError("usage.bad-option", f"{request.key_out} exists and is not overwritten")

    stored: list[Path] = []

    def store_key(key: Secret) -> None:
        try:
            write_file(request.key_out, key.reveal().encode(), PRIVATE, replace=False)
        except OSError as error:
            raise UsageError(
                "usage.bad-option", f"{request.key_out} cannot be written: {error.strerror}"
            ) from None
        stored.append(request.key_out)

    try:
        issued = authority.issue(
            request.name,
            certificate=profile,
            names=alternative_names(request.names),
            store_key=store_key,
        )
    except PolicyError:  # nothing was signed: the key belongs to no certificate
        for path in stored:
            path.unlink(missing_ok=True)
        raise
    common.write(authority.settings, request.out, issued.bundle.encode())
    return IssuedFiles(issued.certificate, profile.name, request.out, request.key_out)
