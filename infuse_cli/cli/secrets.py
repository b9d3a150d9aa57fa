"""Where the CA passphrase comes from (rule 35): option file, file descriptor, profile, keyring, then a terminal.

Never from argv, never from the environment. What is asked for is never shown.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import CredentialError, SignerError, UsageError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from infuse_cli.profile import Passphrase

KEYRING_SERVICE: Final = "infuse"
_MAX_BYTES: Final = 4096
_DESCRIPTOR_WAIT_S: Final = 30.0
_LOOSE: Final = 0o077


def ca_keyring_name(ca: str) -> str:
    """The keyring's user name (service `infuse`) for the passphrase of a CA named as in `identity.ca`."""
    return f"ca:{ca}"


def passphrase(*, file: Path | None = None, fd: int | None = None, profile: Passphrase | None = None,
               keyring_name: str | None = None, confirm: bool = False, what: str = "CA passphrase") -> Secret:
    """The first passphrase found; `confirm` is for a new one: the keyring is left out, a prompt asks twice.

    `what` is what a person is asked for. Raises SignerError ca.no-passphrase (none found, an empty one, an unreadable file), CredentialError
    credential.unsafe-file, UsageError usage.bad-option (both options given, a bad descriptor).
    """
    if file is not None and fd is not None:
        raise UsageError("usage.bad-option", "--passphrase-file and --passphrase-fd exclude each other")
    if file is not None:
        return read_secret_file(file)
    if fd is not None:
        return _from_descriptor(fd)
    if profile is not None and profile.file is not None:
        return read_secret_file(Path(profile.file).expanduser())
    if keyring_name is not None and not confirm and (found := _from_keyring(keyring_name)) is not None:
        return found
    return _from_terminal(what, confirm=confirm)


def read_secret_file(path: Path) -> Secret:
    """A secret from a 0600 file, one trailing newline stripped.

    Raises CredentialError credential.unsafe-file, SignerError ca.no-passphrase.
    """
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & _LOOSE:
                raise CredentialError("credential.unsafe-file", f"the passphrase file {path} can be read by other users of this machine")
            return _secret(file.read(_MAX_BYTES + 1), f"the passphrase file {path}")
    except OSError as error:
        raise SignerError("ca.no-passphrase", f"the passphrase file {path} cannot be read: {error.strerror}") from None


def _secret(data: bytes, source: str) -> Secret:
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not line or len(line) > _MAX_BYTES:
        raise SignerError("ca.no-passphrase", f"{source} is empty" if not line else f"{source} has more than {_MAX_BYTES} bytes")
    try:
        return Secret(line.decode())
    except UnicodeDecodeError:
        raise SignerError("ca.no-passphrase", f"{source} is not UTF-8 text") from None


def _from_descriptor(fd: int) -> Secret:
    """Up to a newline or the end, so that a writer which keeps its end open does not hold us up."""
    data = b""
    try:
        os.fstat(fd)  # not everywhere does a wait on a descriptor that is not open end at once
        while len(data) <= _MAX_BYTES and not data.endswith(b"\n"):
            _await_readable(fd)
            chunk = os.read(fd, 1)
            if not chunk:
                break
            data += chunk
    except (OSError, ValueError, OverflowError):
        raise UsageError("usage.bad-option", f"file descriptor {fd} cannot be read") from None
    return _secret(data, f"file descriptor {fd}")


def _await_readable(fd: int) -> None:
    """Waits for pipes have a deadline where the platform can wait on them."""
    if os.name != "posix":
        return
    import select

    if not select.select([fd], [], [], _DESCRIPTOR_WAIT_S)[0]:
        raise SignerError("ca.no-passphrase", f"nothing came from file descriptor {fd} within {_DESCRIPTOR_WAIT_S:.0f} s")


def _from_keyring(name: str) -> Secret | None:
    """None when the keyring has none, or there is no keyring: that is normal on a line PC."""
    try:
        import keyring

        found = keyring.get_password(KEYRING_SERVICE, name)
    except Exception:  # noqa: BLE001 - back ends raise what they like; the next source is tried
        return None
    return Secret(found) if found else None


def keep_in_keyring(name: str, secret: Secret) -> bool:
    """Put a secret into the keyring; False when there is none that takes it."""
    try:
        import keyring

        keyring.set_password(KEYRING_SERVICE, name, secret.reveal())
    except Exception:  # noqa: BLE001 - back ends raise what they like
        return False
    return True


def _from_terminal(what: str, *, confirm: bool) -> Secret:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SignerError("ca.no-passphrase", f"no {what} was given, and there is no terminal to ask on")
    import typer

    text: str = typer.prompt(f"New {what}" if confirm else what, hide_input=True, confirmation_prompt=confirm, err=True)
    return _secret(text.encode(), "the passphrase")
