"""What the use cases of the CA share: which CA, its passphrase, its runs in the journal, results in
files.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli import records as rec
from infuse_cli.effects.results import CERTIFICATE_FILES, Content, Results
from infuse_cli.errors import UsageError
from infuse_cli.files import PUBLIC, is_folder
from infuse_cli.keys import passphrases
from infuse_cli.pki import store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from infuse_cli.config.model import Identity
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.settings import Settings
    from infuse_cli.types import Secret


@dataclass(frozen=True, slots=True)
class PassphraseOptions:
    """Where the passphrase is read from: a private file, or a file descriptor; with neither, as the
    profile says, from the keyring, or from a person.
    """

    file: Path | None = None
    fd: int | None = None

    @property
    def given(self) -> bool:
        """Whether either was given, so that neither profile nor keyring is asked."""
        return self.file is not None or self.fd is not None


def identity(settings: Settings) -> Identity:
    """The identity section of the profile that was named, else the built-in defaults."""
    if settings.profile is None:
        from infuse_cli.config.model import Identity

        return Identity()
    from infuse_cli.config.source import load

    return load(settings.profile, settings.env).profile.identity


def folder_of(settings: Settings, ca: str | None = None) -> Path:
    """The folder of the CA of this name, else of the profile's, else of `default`.

    Raises UsageError usage.bad-option for what is no name.
    """
    return store.ca_folder(settings.home, ca or identity(settings).ca)


def passphrase(
    settings: Settings,
    ca: str | None,
    options: PassphraseOptions,
    *,
    confirm: bool = False,
    what: str = "CA passphrase",
) -> Secret:
    """The secret of a CA, from the first source that has it; `what` is what a person is asked for.

    Raises SignerError ca.no-passphrase, CredentialError credential.unsafe-file, UsageError.
    """
    section = identity(settings)
    return passphrases.passphrase(
        file=options.file,
        fd=options.fd,
        profile=None if options.given else section.passphrase,
        keyring_name=passphrases.ca_keyring_name(ca or section.ca),
        confirm=confirm,
        what=what,
        prompt=settings.prompt,
    )


@contextmanager
def ca_run(settings: Settings, command: str) -> Iterator[SqliteJournal]:
    """The journal with a run of this command, so that what it reserved is known to be left over if
    it is killed.

    What earlier commands left over is voided first. Raises JournalError.
    """
    from infuse_cli.effects.journal_run import command_run
    from infuse_cli.journal import certificates

    with command_run(settings.home, command) as run:
        run.totals["done"] = 0
        if left := certificates.abandoned(run.journal):
            run.journal.commit(
                *(rec.VoidSerial(serial=serial, issuer=issuer) for serial, issuer in left)
            )
        yield run.journal
        run.totals["done"] = 1


def check_writable(
    settings: Settings,
    out: Path,
    *inputs: Path,
    replaces: frozenset[Content] = CERTIFICATE_FILES,
) -> None:
    """An existing file is replaced only if it holds the same kind of thing: a slip must not cost a
    key or a request.

    Raises UsageError usage.bad-option.
    """
    Results(settings, inputs).check(out, replaces=replaces)
    if not is_folder(out.absolute().parent):
        raise UsageError("usage.bad-option", f"{out} cannot be written: its folder does not exist")


def write(
    settings: Settings,
    out: Path,
    data: bytes,
    *,
    replaces: frozenset[Content] = CERTIFICATE_FILES,
) -> None:
    """Write a public file whole or not at all. Raises UsageError usage.bad-option."""
    Results(settings).write(out, data, mode=PUBLIC, replaces=replaces)
