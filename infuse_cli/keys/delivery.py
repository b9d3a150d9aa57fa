"""Where derived keys go that are not kept here: a private file, or a program's standard input
(profile `keys.to`).

`file:TEMPLATE` writes base64 and a line end to a file (0600), whole or not at all. `command:WORDS`
starts a program, without a shell, and gives it the same on standard input: WORDS are split as a
shell would, then filled in, so that a value never becomes a second word. Both may happen again for
a board that is worked on again.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import CredentialError
from infuse_cli.files import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli.types import Secret

DEADLINE_S: Final = 30.0
_PLACE: Final = re.compile(r"\{([A-Za-z]+)\}")
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
"""What a program gets of the environment: nothing that may hold a credential."""


class Delivery:
    """`ports.KeySink` by the text of `keys.to`."""

    def __init__(self, to: str, deadline_s: float = DEADLINE_S) -> None:
        self._kind, _, self._template = to.partition(":")
        self._deadline_s: Final = deadline_s

    def put(self, key: Secret, values: Mapping[str, str]) -> None:
        """Hand a key over.

        Raises CredentialError keys.delivery-failed, naming the place and never what it said.
        """
        content = f"{key.reveal()}\n".encode()
        if self._kind == "file":
            self._write(Path(self._filled(self._template, values)).expanduser(), content)
        else:
            self._run([self._filled(word, values) for word in shlex.split(self._template)], content)

    def _filled(self, text: str, values: Mapping[str, str]) -> str:
        def fill(match: re.Match[str]) -> str:
            value = values.get(match[1])
            if not value or not re.fullmatch(r"[A-Za-z0-9._-]+", value):
                raise _refused(f"{{{match[1]}}} in keys.to has no value that can be used here")
            return value

        return _PLACE.sub(fill, text)

    def _write(self, path: Path, content: bytes) -> None:
        try:
            write_private(path, content)
        except OSError as error:
            raise _refused(f"{path} cannot be written: {error.strerror}") from error

    def _run(self, words: list[str], content: bytes) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise _refused(f"{words[0]} cannot be started: {error.strerror}") from error
        try:
            process.communicate(content, timeout=self._deadline_s)
        except subprocess.TimeoutExpired:
            raise _refused(
                f"{words[0]} did not end within {self._deadline_s:g} s, so it was stopped"
            ) from None
        finally:
            _end(process)
        if process.returncode:
            raise _refused(f"{words[0]} ended with {process.returncode}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a program with all that it started; nothing happens to one that has ended."""
    if process.poll() is not None:
        return
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        else:
            process.kill()
    process.wait()


def _refused(why: str) -> CredentialError:
    return CredentialError(
        "keys.delivery-failed", f"the derived key could not be handed over: {why}"
    )
