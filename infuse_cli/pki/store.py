"""The CA's folder: made in one move.

A folder holds `root.pem`, `intermediate.pem` and `intermediate.key.pem`; `root.key.pem` lies in the
folder given as `root_out` and only in its absence here. Keys are encrypted PKCS#8 PEM,
0600, in a folder of 0700. Issuers that came later are in folders of their own (`issuers.py`).
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from infuse_cli.errors import SignerError, UsageError
from infuse_cli.files import PRIVATE, PUBLIC, private_folder, sync_folder, write_file
from infuse_cli.pki.ca_certificates import NewCa, make_ca
from infuse_cli.pki.issuers import ROOT_KEY, key_is_loose, load_ca, read_chain, root_key_here
from infuse_cli.pki.key_file import encrypted_pem
from infuse_cli.pki.renewal import NewKey, new_key
from infuse_cli.pki.signers.file import INTERMEDIATE, ROOT, UnlockedIssuer, check_dates

if TYPE_CHECKING:
    from infuse_cli.types import Secret

__all__ = [
    "UnlockedIssuer",
    "ca_folder",
    "check_dates",
    "init_ca",
    "key_is_loose",
    "load_ca",
    "read_chain",
    "root_key_here",
]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def ca_folder(home: Path, ca: str) -> Path:
    """The folder of a CA: `ca` is a name under INFUSE_HOME/ca or an absolute path (profile
    `identity.ca`).

    Raises UsageError usage.bad-option for anything else.
    """
    path = Path(ca).expanduser()
    if path.is_absolute():
        return path
    if _NAME.fullmatch(ca) is None:
        raise UsageError(
            "usage.bad-option",
            f"{ca!r} is neither a CA name (letters, digits, . _ -) nor an absolute folder",
        )
    return home / "ca" / ca


def init_ca(
    folder: Path,
    name: str,
    passphrase: Secret,
    *,
    root_out: Path | None = None,
    now: datetime | None = None,
    key: NewKey | None = None,
) -> None:
    """Make root and intermediate and put them on disk; the folder appears whole or not at all.

    `key` is the intermediate's, by default a fresh one in a file. Of several processes at once one
    wins. Raises SignerError ca.exists (the folder holds something, or `root_out` holds a root key),
    ca.no-passphrase (an empty one), ca.corrupt (the disk refused), UsageError usage.bad-option (an
    unfit name).
    """
    if not passphrase.reveal():
        raise SignerError("ca.no-passphrase", "the CA passphrase is empty")
    key = key or new_key(passphrase)
    made = make_ca(name, now or datetime.now(UTC), key.key)
    try:
        folder = folder.resolve()
        root_out = _apart(root_out, folder)
        _refuse_existing(folder, root_out)
        _write(folder, root_out, made, key, passphrase)
    except OSError as error:
        raise SignerError(
            "ca.corrupt",
            f"the CA could not be written to {root_out or folder}: {error.strerror}",
            hint="Check the folder's permissions and the room on the disk; nothing was made.",
        ) from None


def _apart(root_out: Path | None, folder: Path) -> Path | None:
    """The root's folder, None where it is the CA's own; inside of it there is no room for it."""
    if root_out is None or (root_out := root_out.resolve()) == folder:
        return None
    if folder in root_out.parents:
        raise UsageError(
            "usage.bad-option", f"the root's folder {root_out} lies inside the CA's folder {folder}"
        )
    return root_out


def _refuse_existing(folder: Path, root_out: Path | None) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SignerError("ca.exists", f"{folder} exists and is not empty")
    if root_out is not None and (root_out / ROOT_KEY).exists():
        raise SignerError("ca.exists", f"{root_out / ROOT_KEY} exists and is not overwritten")


def _write(
    folder: Path, root_out: Path | None, made: NewCa, key: NewKey, passphrase: Secret
) -> None:
    private_folder(folder.parent)
    building = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    building.mkdir(mode=0o700)
    placed: list[Path] = []
    try:
        _write_bench(building, made, key)
        _write_root(root_out or building, made, passphrase, placed)
        _publish(building, folder)
    except BaseException:
        if building.exists():  # else the CA is there, and its root must stay
            _withdraw(building, placed)
        raise
    sync_folder(folder.parent)


def _withdraw(building: Path, placed: list[Path]) -> None:
    for path in placed:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    shutil.rmtree(building, ignore_errors=True)


def _write_bench(folder: Path, made: NewCa, key: NewKey) -> None:
    write_file(
        folder / ROOT, made.root.public_bytes(Encoding.PEM), PRIVATE
    )  # public, but every file of a home is 0600
    write_file(folder / INTERMEDIATE, made.intermediate.public_bytes(Encoding.PEM), PRIVATE)
    key.write(folder)


def _write_root(folder: Path, made: NewCa, passphrase: Secret, placed: list[Path]) -> None:
    """Put the root's key, and its certificate beside it, where nothing is overwritten."""
    private_folder(folder)
    try:
        write_file(
            folder / ROOT_KEY, encrypted_pem(made.root_key, passphrase), PRIVATE, replace=False
        )
    except FileExistsError:
        raise SignerError(
            "ca.exists", f"{folder / ROOT_KEY} exists and is not overwritten"
        ) from None
    placed.append(folder / ROOT_KEY)
    with contextlib.suppress(FileExistsError):
        write_file(folder / ROOT, made.root.public_bytes(Encoding.PEM), PUBLIC, replace=False)
        placed.append(folder / ROOT)


def _publish(building: Path, folder: Path) -> None:
    """Give the finished folder its name: a rename that only one of several processes can win."""
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()  # an empty folder somebody made beforehand; a full one refuses
        building.rename(folder)
    except OSError:
        if folder.exists():
            raise SignerError(
                "ca.exists", f"{folder} was made by another process just now"
            ) from None
        raise
