"""What the `infuse ca` commands share: which CA, its passphrase, files in and out, certificates as
data.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from infuse_cli import records as rec
from infuse_cli.cli import context
from infuse_cli.effects.results import CERTIFICATE_FILES, Content, Results
from infuse_cli.errors import UsageError
from infuse_cli.files import PUBLIC, is_folder
from infuse_cli.keys import passphrases as secrets
from infuse_cli.pki import issuing, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography import x509

    from infuse_cli.config.model import Identity
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.pki.issuers import Issuer
    from infuse_cli.types import Secret


@dataclass(frozen=True, slots=True)
class PassphraseOptions:
    """The two options every CA command takes."""

    file: Path | None = None
    fd: int | None = None

    @property
    def given(self) -> bool:
        """Whether either was given, so that neither profile nor keyring is asked."""
        return self.file is not None or self.fd is not None


def identity() -> Identity:
    """The identity section of the profile that was named, else the built-in defaults."""
    settings = context.current()
    return _identity_of(settings.profile, settings.home)


@lru_cache(maxsize=1)
def _identity_of(profile: str | None, _home: Path) -> Identity:
    from infuse_cli.config.model import Identity

    if profile is None:
        return Identity()
    from infuse_cli.config.source import load

    return load(profile, context.current().env).profile.identity


def folder_of(ca: str | None) -> Path:
    """The folder of the CA that --ca names, else the profile's, else `default`."""
    return store.ca_folder(context.current().home, ca or identity().ca)


def naming(folder: Path) -> str:
    """What the next command needs in order to mean this CA: ` --ca NAME`, nothing where it is the
    one meant anyway.
    """
    if folder == folder_of(None):
        return ""
    return (
        " --ca"
        f" {folder.name if folder == store.ca_folder(context.current().home, folder.name) else folder}"
    )


def passphrase(
    ca: str | None,
    options: PassphraseOptions,
    *,
    confirm: bool = False,
    what: str = "CA passphrase",
) -> Secret:
    """The secret of a CA, from the first source that has it; the PIN where its key is in a
    token.
    """
    profile = None if options.given else identity().passphrase
    return secrets.passphrase(
        file=options.file,
        fd=options.fd,
        profile=profile,
        keyring_name=secrets.ca_keyring_name(ca or identity().ca),
        confirm=confirm,
        what=what,
        prompt=context.current().settings.prompt,
    )


def secret_name(issuer: Issuer) -> str:
    """What a person is asked for to unlock an issuer."""
    return "CA passphrase" if issuer.key_uri is None else "PIN of the CA's token"


@contextmanager
def recorded(command: str) -> Iterator[SqliteJournal]:
    """The journal with a run of this command, so that what it reserved is known to be left over if
    it is killed.

    What earlier commands left over is voided first.
    """
    from infuse_cli.effects.journal_run import command_run
    from infuse_cli.journal import certificates

    with command_run(context.current().home, command) as run:
        run.totals["done"] = 0
        if left := certificates.abandoned(run.journal):
            run.journal.commit(
                *(rec.VoidSerial(serial=serial, issuer=issuer) for serial, issuer in left)
            )
        yield run.journal
        run.totals["done"] = 1


def check_writable(
    out: Path, *inputs: Path, replaces: frozenset[Content] = CERTIFICATE_FILES
) -> None:
    """An existing file is replaced only if it holds the same kind of thing: a slip must not cost a
    key or a request.

    Raises UsageError usage.bad-option.
    """
    Results(context.current().settings, inputs).check(out, replaces=replaces)
    if not is_folder(out.absolute().parent):
        raise UsageError("usage.bad-option", f"{out} cannot be written: its folder does not exist")


def write(out: Path, data: bytes) -> None:
    """Write a public file whole or not at all. Raises UsageError usage.bad-option."""
    Results(context.current().settings).write(out, data, mode=PUBLIC)


def certificate_data(certificate: x509.Certificate) -> dict[str, Any]:
    """A certificate as JSON values."""
    described = issuing.describe(certificate, certificate)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": described.serial,
        "sha256": described.sha256,
        "notBefore": described.not_before,
        "notAfter": described.not_after,
    }


def issued_data(issued: issuing.IssuedCertificate) -> dict[str, Any]:
    """A certificate that was issued, as JSON values."""
    return {
        "serial": issued.serial,
        "sha256": issued.sha256,
        "issuerSha256": issued.issuer,
        "publicKeySha256": issued.spki_sha256,
        "notBefore": issued.not_before,
        "notAfter": issued.not_after,
        "certificate": issued.pem,
    }
