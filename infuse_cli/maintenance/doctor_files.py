"""Checks of `infuse doctor` on the bench's own files: bench.yaml, the sealing key, permissions."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from infuse_cli.maintenance.doctor import Finding, Subject, doubtful, passed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_NAMED: Final = 3


def bench(subject: Subject) -> Sequence[Finding]:
    """Whether bench.yaml and the sealing key are read as a run reads them.

    Raises ProfileError, CredentialError as a run would.
    """
    from infuse_cli.config.bench import load_bench
    from infuse_cli.keys.seal import bench_keys, load_sealer

    found = load_bench(subject.home)
    keys = bench_keys(
        subject.home,
        {"key_file": found.sealing.key_file, "keyring": found.sealing.keyring},
        subject.env,
    )
    if keys.keyring or keys.key_file.exists():
        where = load_sealer(keys, create=False).where
    else:
        where = f"{keys.key_file}, made by the first run that needs it"
    text = f"station {found.station}; secrets are sealed with the key from {where}"
    return [passed("bench", text, station=found.station)]


def permissions(subject: Subject) -> Sequence[Finding]:
    """Whether other users can reach the home, or write to the profile."""
    if os.name != "posix":
        return []
    loose = [*_loose(subject.home), *_writable(subject)]
    if not loose:
        return [passed("permissions", "nobody else can reach the files of this bench")]
    named = ", ".join(map(str, loose[:_MOST_NAMED]))
    more = f" and {len(loose) - _MOST_NAMED} more" if len(loose) > _MOST_NAMED else ""
    chmod = "\n".join(f"chmod go= {path}" for path in loose[:_MOST_NAMED])
    return [doubtful("permissions", f"others can reach {named}{more}", chmod)]


def _loose(home: Path) -> Iterator[Path]:
    """The home, files in it and folders below it that others can reach; a public certificate in a
    closed folder may be readable.
    """
    if home.is_dir() and home.stat().st_mode & _OTHERS:
        yield home
    for folder, folders, files in os.walk(home):
        here = home.__class__(folder)
        for path in sorted(here / name for name in folders):
            if path.lstat().st_mode & _OTHERS_WRITE and not path.is_symlink():
                yield path
        for path in sorted(here / name for name in files):
            wrong = _OTHERS if here == home else _OTHERS_WRITE
            if stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_mode & wrong:
                yield path


def _writable(subject: Subject) -> Iterator[Path]:
    """Files of the profile that others can write to: they say where credentials are sent."""
    from infuse_cli.config import source
    from infuse_cli.errors import ProfileError

    if subject.profile_name is None:
        return
    try:
        chain = source.read(subject.profile_name, subject.env).chain
    except ProfileError:  # the line of the profile says so
        return
    for link in chain:
        path = link.path
        if path is None or link.built_in or path.is_relative_to(subject.home):
            continue
        if path.stat().st_mode & _OTHERS_WRITE:
            yield path
