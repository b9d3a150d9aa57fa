"""Looks for secrets where none may be: in what is printed, in files, in the words that processes
were started with.
"""

from __future__ import annotations

import base64
import os
import re
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

MINTED = re.compile(rb"drt_[\w-]{20,}|6472745f[0-9a-fA-F]{40,}|ZHJ0X[\w+/-]{20,}")
"""Any registration token of the virtual cloud: as text, in hex as it goes to a board, in base64."""


def forms(secret: bytes) -> set[bytes]:
    """How these bytes may be written; a text of several lines also line by line, since it may be
    shown indented.
    """
    plain, url = (
        encode(secret).rstrip(b"=") for encode in (base64.b64encode, base64.urlsafe_b64encode)
    )
    return {secret, secret.hex().encode(), secret.hex().upper().encode(), plain, url}


def found(secrets: dict[str, bytes], places: dict[str, bytes]) -> list[str]:
    """Sentences that say which secret is where; none is right.

    Of a secret only its name is told.
    """
    wrong = [
        f"{name} is in {place}"
        for place, text in places.items()
        for name, secret in secrets.items()
        if any(form in text for form in forms(secret))
    ]
    return wrong + [
        f"a registration token is in {place}"
        for place, text in places.items()
        if MINTED.search(text)
    ]


def files(*folders: Path) -> dict[str, bytes]:
    """Every file below these folders, and every database also as SQL text: long values lie in
    pieces in its file.
    """
    places = {}
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        places[str(path)] = path.read_bytes()
        if places[str(path)].startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                places[f"the tables of {path}"] = "\n".join(database.iterdump()).encode()
    return places


class Words:
    """Collects the command lines of all that descends from this process, for as long as the context
    lasts.
    """

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for pid in _descendants(os.getpid()):
                with suppress(OSError):
                    self.seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())


def _descendants(root: int) -> set[int]:
    family, fresh = {root}, {root}
    while fresh := {child for pid in fresh for child in _children(pid)} - family:
        family |= fresh
    return family - {root}


def _children(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found
