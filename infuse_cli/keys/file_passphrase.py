"""The passphrase of a sealed file: from a 0600 file, a file descriptor or a terminal, never from
argv or environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli.errors import CredentialError, SignerError
from infuse_cli.keys import passphrases as secrets

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.ports import Prompt
    from infuse_cli.types import Secret


@dataclass(frozen=True, slots=True)
class FilePassphrase:
    """Two options of a command that seals or opens a file; without them `prompt` is asked."""

    file: Path | None = None
    fd: int | None = None
    prompt: Prompt | None = None

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
            return _from_person(what, self.prompt, new=new)
        try:
            return secrets.passphrase(file=self.file, fd=self.fd)
        except (
            SignerError
        ) as error:  # the same sources as the CA's, and another thing that is missing
            raise CredentialError("credential.no-passphrase", error.message) from None


def _from_person(what: str, prompt: Prompt | None, *, new: bool) -> Secret:
    if prompt is None:
        raise CredentialError(
            "credential.no-passphrase",
            f"the passphrase of {what} was not given, and there is no terminal to ask on",
        )
    return prompt.secret(f"{'New passphrase' if new else 'Passphrase'} of {what}", twice=new)
