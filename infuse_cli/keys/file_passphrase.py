"""The passphrase of a sealed file: from a 0600 file, a file descriptor or a terminal, never from
argv or environment.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli.errors import CredentialError, SignerError
from infuse_cli.keys import passphrases as secrets
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class FilePassphrase:
    """The two options of a command that seals or opens a file."""

    file: Path | None = None
    fd: int | None = None

    @property
    def given(self) -> bool:
        """Whether either option was given."""
        return self.file is not None or self.fd is not None

    def get(self, what: str, *, new: bool = False) -> Secret:
        """The passphrase; without an option it is asked for on a terminal, a new one twice.

        `what` names the file in the question.

        Raises CredentialError credential.no-passphrase, credential.unsafe-file; UsageError for both
        options at once.
        """
        if not self.given:
            return _asked(what, new=new)
        try:
            return secrets.passphrase(file=self.file, fd=self.fd)
        except (
            SignerError
        ) as error:  # the same sources as the CA's, and another thing that is missing
            raise CredentialError("credential.no-passphrase", error.message) from None


def _asked(what: str, *, new: bool) -> Secret:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CredentialError(
            "credential.no-passphrase",
            f"the passphrase of {what} was not given, and there is no terminal to ask on",
        )
    import typer

    text: str = typer.prompt(
        f"{'New passphrase' if new else 'Passphrase'} of {what}",
        hide_input=True,
        confirmation_prompt=new,
        err=True,
    )
    return Secret(text)
