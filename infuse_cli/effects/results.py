"""Writing the result of a command: never over a file of this bench, never over an input.

A file that exists is replaced only where it is an older result of the same kind. Files are compared
by device and inode, so a hard link or a symbolic link to a file of ours is that file.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli import home
from infuse_cli.errors import InfuseError, UsageError
from infuse_cli.files import PRIVATE, StagedFile, is_folder, read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from infuse_cli.settings import Settings

_OF_A_CA: Final = frozenset({"intermediate.pem", "root.pem", "above.pem", "current.json"})
_ISSUERS: Final = "issuers"
_MARKS_OF_A_CA: Final = ("intermediate.key.pem", "intermediate.key.uri", "root.key.pem", _ISSUERS)

_SEALED: Final = (b"infuse-journal-backup ", b"infuse-hand-over ")
_SQLITE: Final = (b"SQLite format 3\x00", b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_KEY_IN_DER: Final = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)\x02\x01[\x00\x01]", re.DOTALL)


class Content(Enum):
    """What a file holds, as far as its bytes show it."""

    NOTHING = "nothing"
    JOURNAL = "a journal, a copy of one or a hand-over"
    KEY = "a key or a credential"
    CERTIFICATE = "a certificate"
    REQUEST = "a certificate request"
    REVOCATIONS = "a revocation list"
    DER = "a certificate or a list in DER"
    OBJECT = "a JSON object"
    ROWS = "rows in JSON"
    TABLE = "rows in CSV"
    YAML = "settings"
    TOKEN = "a token"  # noqa: S105 - a kind, not a secret
    LOG = "lines with their times"
    OTHER = "something else"


RESULTS: Final = frozenset(
    {
        Content.NOTHING,
        Content.CERTIFICATE,
        Content.REQUEST,
        Content.REVOCATIONS,
        Content.DER,
        Content.OBJECT,
        Content.ROWS,
        Content.TABLE,
    }
)
"""What a result may replace, unless its command says otherwise."""

CERTIFICATE_FILES: Final = frozenset({Content.NOTHING, Content.CERTIFICATE, Content.DER})
REVOCATION_FILES: Final = frozenset({Content.NOTHING, Content.REVOCATIONS, Content.DER})
REQUEST_FILES: Final = frozenset({Content.NOTHING, Content.REQUEST})
TOKEN_FILES: Final = frozenset({Content.NOTHING, Content.TOKEN})
NEW_FILES: Final = frozenset({Content.NOTHING})
REPORT_FILES: Final = frozenset({Content.NOTHING, Content.TABLE})
BACKUP_FILES: Final = frozenset({Content.NOTHING, Content.JOURNAL})

_ONE_KIND: Final = (
    CERTIFICATE_FILES,
    REVOCATION_FILES,
    frozenset({Content.ROWS, Content.TABLE}),
)


def content_of(data: bytes) -> Content:
    """What a file holds, by its first megabyte."""
    if not data.strip():
        return Content.NOTHING
    if data.startswith((*_SQLITE, *_SEALED)):
        return Content.JOURNAL
    if b"PRIVATE KEY-----" in data or _KEY_IN_DER.match(data):
        return Content.KEY
    for mark, content in _PEM:
        if re.search(rb"^-----BEGIN " + mark, data, re.MULTILINE):
            return content
    if data[:1] == b"\x30" and len(data) > 64 and b"\x06\x03\x55\x04" in data:
        return Content.DER  # with an attribute of a name, which is what these have
    return _text_of(data)


_PEM: Final = (
    (b"(?:X509 |TRUSTED )?CERTIFICATE-----", Content.CERTIFICATE),
    (b"(?:NEW )?CERTIFICATE REQUEST-----", Content.REQUEST),
    (b"X509 CRL-----", Content.REVOCATIONS),
)


_CELL: Final = rb'(?:[^\x00-\x1f",]*|"[^"]*")'
_FORMS: Final = (
    (re.compile(rb'\{\s*"credentials"'), Content.KEY),
    (re.compile(rb"\{"), Content.OBJECT),
    (re.compile(rb"\["), Content.ROWS),
    (re.compile(_CELL + rb"(?:," + _CELL + rb"){2,}\r?(?:\n|$)"), Content.TABLE),
    (re.compile(rb"(?![0-9a-fA-F]{64}\s*$)[\w.~+/-]{32,}\s*$"), Content.TOKEN),  # no hex key
    (re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d"), Content.LOG),
    (re.compile(rb"(?:#[^\n]*\n\s*)*[A-Za-z_]+:(?:\s|$)"), Content.YAML),
)


def _text_of(data: bytes) -> Content:
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((content for form, content in _FORMS if form.match(text)), Content.OTHER)


@dataclass(frozen=True)
class Results:
    """Writes what one command makes.

    `inputs` are the files and folders that the command reads: none of them is replaced, and no file
    in such a folder.
    """

    settings: Settings
    inputs: tuple[Path, ...] = ()

    def check(
        self,
        path: Path,
        *,
        option: str = "--out",
        replaces: frozenset[Content] = RESULTS,
        replaces_profile: bool = False,
    ) -> None:
        """Raise UsageError usage.bad-option where a result must not go there.

        `replaces` are the contents that an existing file may have. `replaces_profile`: the result
        is a profile, so that of the home may be replaced.
        """
        named = _real(path)
        if (owner := self._owner(named, profiles=not replaces_profile)) is not None:
            raise _refused(f"{option} {path} is {owner}; it is not overwritten")
        if not is_folder(named):
            content = _content(named, path, option)
            if content not in replaces:
                raise _refused(
                    f"{option} {path} exists and holds {content.value}; it is not overwritten"
                )

    def write(
        self,
        path: Path,
        data: bytes | Iterable[bytes],
        *,
        option: str = "--out",
        mode: int = PRIVATE,
        replaces: frozenset[Content] = RESULTS,
    ) -> None:
        """Write a result whole or not at all, from one piece or several; a symbolic link keeps
        pointing where it did.

        Raises UsageError usage.bad-option as `check`, where the file holds a result of another
        kind, or where it cannot be written.
        """
        pieces = iter((data,) if isinstance(data, bytes) else data)
        first = next(pieces, b"")
        self.check(path, option=option, replaces=replaces)
        held, new = _content(_real(path), path, option), content_of(first)
        if held not in {Content.NOTHING, new} and not any(
            {held, new} <= kind for kind in _ONE_KIND
        ):
            raise _refused(f"{option} {path} exists and holds {held.value}; it is not overwritten")
        try:
            with StagedFile(path, mode) as file:
                file.write(first)
                for piece in pieces:
                    file.write(piece)
                file.place()
        except OSError as error:
            raise _refused(
                f"{option} {path} cannot be written: {error.strerror or error}"
            ) from error

    def _owner(self, named: Path, *, profiles: bool) -> str | None:
        """Whose file this is, in words; None where it may be a result."""
        for ours, owner in self._ours:
            if not is_folder(named) and (named == ours or _same_file(named, ours)):
                return owner
        for folder, owner in self._folders:
            if named != folder and named.is_relative_to(folder) and _there(named):
                return owner
        own = _real(self.settings.home)
        kept = (home.CA, home.LOCKS, *((home.PROFILES,) if profiles else ()))
        if any(named.is_relative_to(own / name) for name in kept):
            return "in a folder of this bench's own files"
        return _owner_elsewhere(named)

    @cached_property
    def _ours(self) -> tuple[tuple[Path, str], ...]:
        own = _real(self.settings.home)
        files = [(own / name, "the journal") for name in home.JOURNAL_PARTS]
        files += [
            (own / name, "a file of this bench")
            for name in (home.BENCH, home.CREDENTIALS, home.CONSOLE_HISTORY)
        ]
        files += [(_real(path), "the sealing key") for path in _sealing_keys(self.settings)]
        files += [(_real(path), "named by the profile") for path in _of_profile(self.settings)]
        files += [(_real(path), "read by this command") for path in self.inputs]
        bundle = self.settings.env.get("INFUSE_CA_BUNDLE")
        files += [(_real(Path(bundle)), "read by this command")] if bundle else []
        files += [(path, "a file of a CA") for path in _below(own / home.CA)]
        return tuple(files)

    @cached_property
    def _folders(self) -> tuple[tuple[Path, str], ...]:
        return tuple(
            (_real(path), "in a folder that this command reads")
            for path in self.inputs
            if is_folder(path)
        )


def _refused(message: str) -> UsageError:
    return UsageError("usage.bad-option", message, hint="Name another file.")


def _real(path: Path) -> Path:
    """The path without links; what cannot be looked at stays as it is named."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _there(path: Path) -> bool:
    with suppress(OSError):
        return path.exists()
    return False


def _same_file(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False


def _content(named: Path, path: Path, option: str) -> Content:
    try:
        return content_of(read_bounded(named)) if named.exists() else Content.NOTHING
    except OSError as error:
        raise UsageError(
            "usage.bad-option",
            f"{option} {path} cannot be written: {error.strerror or error}",
            hint="Name a file, or leave it away where the result may go to standard output.",
        ) from error


def _sealing_keys(settings: Settings) -> Iterator[Path]:
    from infuse_cli.config.bench import Sealing, load_bench, sealing_key_file
    from infuse_cli.keys.rekey import NEXT, OLD

    sealing = Sealing()
    with suppress(InfuseError):
        sealing = load_bench(settings.home).sealing
    file = sealing_key_file(settings.home, sealing.key_file, settings.env)
    yield file
    yield from (file.with_name(f"{file.name}.{which}") for which in (NEXT, OLD))


def _of_profile(settings: Settings) -> Iterator[Path]:
    """The profile's own files and those that it names."""
    if settings.profile is None:
        return
    from infuse_cli.config import source

    with suppress(InfuseError):
        reading = source.read(settings.profile, settings.env)
        yield from (link.path for link in reading.chain if link.path is not None)
        yield from source.files_named(reading)


def _below(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        yield from (Path(where) / name for name in names)


def _owner_elsewhere(named: Path) -> str | None:
    """Whose file this is where it belongs to another bench or CA of this machine."""
    if _there(named) and _in_ca(named):
        return "a file of a CA"
    if named.name == home.JOURNAL and _there(named.parent / home.LOCKS):
        return "the journal of a bench"
    return "part of a journal" if _beside_journal(named) else None


def _in_ca(named: Path) -> bool:
    """Whether a file is one of a CA, wherever its folder is."""
    folder = named.parent
    if named.name in _OF_A_CA and any(_there(folder / name) for name in _MARKS_OF_A_CA):
        return True
    return _ISSUERS in {folder.name, folder.parent.name}


def _beside_journal(named: Path) -> bool:
    """Whether a name is one that SQLite gives to what lies beside a database."""
    for end in ("-wal", "-shm", "-journal"):
        if named.name.endswith(end):
            database = named.with_name(named.name.removesuffix(end))
            with suppress(OSError):
                return content_of(read_bounded(database, 64)) is Content.JOURNAL
    return False
