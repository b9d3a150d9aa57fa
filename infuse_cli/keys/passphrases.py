"""Where the CA passphrase comes from: option file, file descriptor, profile, keyring,
then a terminal.

Never from argv, never from the environment. What is asked for is never shown.

Guaranteed: `docs/reference/guarantees.md#where-the-ca-passphrase-comes-from`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import CredentialError, SignerError, UsageError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from infuse_cli.config.model import Passphrase
    from infuse_cli.ports import Prompt

KEYRING_SERVICE: Final = "infuse"
_MAX_BYTES: Final = 4096
_DESCRIPTOR_WAIT_S: Final = 30.0
_LOOSE: Final = 0o077


def ca_keyring_name(ca: str) -> str:
    """The keyring's user name (service `infuse`) for the passphrase of a CA named as in
    `identity.ca`.
    """
    return f"ca:{ca}"


def passphrase(
    *,
    file: Path | None = None,
    fd: int | None = None,
    profile: Passphrase | None = None,
    keyring_name: str | None = None,
    confirm: bool = False,
    what: str = "CA passphrase",
    prompt: Prompt | None = None,
) -> Secret:
    """The first passphrase found; `confirm` is for a new one: the keyring is left out, a prompt
    asks twice.

    `what` is what a person is asked for; `prompt` is who is asked, None where nobody can be.

    Raises SignerError ca.no-passphrase (none found, an empty one, an unreadable file),
    CredentialError credential.unsafe-file, UsageError usage.bad-option (both options given, a bad
    descriptor).
    """
    if file is not None and fd is not None:
        raise UsageError(
            "usage.bad-option", "--passphrase-file and --passphrase-fd exclude each other"
        )
    if file is not None:
        return read_secret_file(file)
    if fd is not None:
        return _from_descriptor(fd)
    if profile is not None and profile.file is not None:
        return read_secret_file(Path(profile.file).expanduser())
    if (
        keyring_name is not None
        and not confirm
        and (found := _from_keyring(keyring_name)) is not None
    ):
        return found
    return _from_person(what, prompt, confirm=confirm)


def read_secret_file(path: Path) -> Secret:
    """A secret from a 0600 file, one trailing newline stripped.

    Raises CredentialError credential.unsafe-file, SignerError ca.no-passphrase.
    """
    try:
        # O_NONBLOCK: a FIFO without a writer must not hang the tool.
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
    except OSError as error:
        raise SignerError(
            "ca.no-passphrase", f"the passphrase file {path} cannot be read: {error.strerror}"
        ) from None
    try:
        return _from_open_file(descriptor, path)
    except OSError as error:
        raise SignerError(
            "ca.no-passphrase", f"the passphrase file {path} cannot be read: {error.strerror}"
        ) from None
    finally:
        os.close(descriptor)


def _from_open_file(descriptor: int, path: Path) -> Secret:
    mode, what = os.fstat(descriptor).st_mode, f"the passphrase file {path}"
    if os.name == "posix" and mode & _LOOSE:
        raise CredentialError(
            "credential.unsafe-file", f"{what} can be read by other users of this machine"
        )
    if stat.S_ISFIFO(mode):  # as the shell's <(…) makes one
        return _secret(_line(descriptor, what), what)
    if not stat.S_ISREG(mode):
        raise SignerError("ca.no-passphrase", f"{what} is neither a file nor a pipe")
    return _secret(os.read(descriptor, _MAX_BYTES + 1), what)


def _secret(data: bytes, source: str) -> Secret:
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not line or len(line) > _MAX_BYTES:
        raise SignerError(
            "ca.no-passphrase",
            f"{source} is empty" if not line else f"{source} has more than {_MAX_BYTES} bytes",
        )
    try:
        return Secret(line.decode())
    except UnicodeDecodeError:
        raise SignerError("ca.no-passphrase", f"{source} is not UTF-8 text") from None


def _from_descriptor(fd: int) -> Secret:
    try:
        os.fstat(fd)  # not everywhere does a wait on a descriptor that is not open end at once
        data = _line(fd, f"file descriptor {fd}")
    except (OSError, ValueError, OverflowError):
        raise UsageError("usage.bad-option", f"file descriptor {fd} cannot be read") from None
    return _secret(data, f"file descriptor {fd}")


def _line(fd: int, what: str) -> bytes:
    """Up to a newline or the end, so that a writer which keeps its end open does not hold us up."""
    data = b""
    while len(data) <= _MAX_BYTES and not data.endswith(b"\n"):
        _await_readable(fd, what)
        chunk = os.read(fd, 1)
        if not chunk:
            break
        data += chunk
    return data


def _await_readable(fd: int, what: str) -> None:
    """Waits for pipes have a deadline where the platform can wait on them."""
    if os.name != "posix":
        return
    import select

    if not select.select([fd], [], [], _DESCRIPTOR_WAIT_S)[0]:
        raise SignerError(
            "ca.no-passphrase", f"nothing came from {what} within {_DESCRIPTOR_WAIT_S:.0f} s"
        )


def _from_keyring(name: str) -> Secret | None:
    """None when the keyring has none, or there is no keyring: that is normal on a line PC."""
    from infuse_cli.keys import ring

    return ring.get(name, service=KEYRING_SERVICE).value


def keep_in_keyring(name: str, secret: Secret) -> bool:
    """Put a secret into the keyring; False when there is none that takes it."""
    from infuse_cli.keys import ring

    return bool(ring.put(name, secret, service=KEYRING_SERVICE).value)


def _from_person(what: str, prompt: Prompt | None, *, confirm: bool) -> Secret:
    if prompt is None:
        raise SignerError(
            "ca.no-passphrase", f"no {what} was given, and there is no terminal to ask on"
        )
    secret = prompt.secret(f"New {what}" if confirm else what, twice=confirm)
    return _secret(secret.reveal().encode(), "the passphrase")
