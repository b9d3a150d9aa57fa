"""The private file that a secret goes to, reserved before anything is asked of the cloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from infuse_cli.effects.results import RESULTS, TOKEN_FILES, Results
from infuse_cli.errors import UsageError
from infuse_cli.files import create_private, write_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from infuse_cli.settings import Settings
    from infuse_cli.types import Secret

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file of mode 0600 for one secret; `path` None is a secret that goes to no file."""

    path: Path | None

    def check(self, settings: Settings) -> None:
        """Raise UsageError usage.bad-option for a place that can take no secret."""
        path = self.path
        if path is None:
            return
        Results(settings).check(path, replaces=RESULTS | TOKEN_FILES)
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise UsageError(
                "usage.bad-option", f"--out {path} is a folder, or in one that does not exist"
            )

    def reserve(self) -> None:
        """Make the file, empty and private, so that what comes next cannot be lost.

        Raises UsageError usage.bad-option where it holds something.
        """
        path = self.path
        if path is None or self._written(lambda: create_private(path, b"")):
            return
        # An empty one is left by an earlier run that died before it had something to write.
        if not path.is_file() or path.stat().st_size:
            raise UsageError(
                "usage.bad-option",
                f"--out {path} exists already",
                hint="Name another file: one secret must not replace another.",
            )

    def release(self) -> None:
        """Remove a file that was reserved and got nothing."""
        path = self.path
        if path is not None and path.is_file() and not path.stat().st_size:
            path.unlink()

    def write(self, secret: Secret) -> None:
        """Write the secret and a line end, in one step. Raises UsageError usage.bad-option."""
        path = self.path
        if path is not None:
            self._written(lambda: write_private(path, f"{secret.reveal()}\n".encode()))

    def _written(self, write: Callable[[], T]) -> T:
        try:
            return write()
        except OSError as error:
            raise UsageError(
                "usage.bad-option", f"--out {self.path} cannot be written: {error.strerror}"
            ) from error
