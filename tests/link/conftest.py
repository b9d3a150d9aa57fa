from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "dialect"))

from pty_board import PtyBoard

from infuse_cli.config.model import BoardSection
from infuse_cli.link.source import SerialSource


@pytest.fixture
def boards():
    """Make boards on ptys; all are unplugged at the end."""
    made: list[PtyBoard] = []

    def make(**more) -> PtyBoard:
        made.append(PtyBoard(**more))
        return made[-1]

    yield make
    for board in made:
        board.end()


@pytest.fixture
def board(boards):
    return boards()


@pytest.fixture
def abort():
    return threading.Event()


@pytest.fixture
def open_link(abort):
    """Open a port as the pipeline does; all are closed at the end."""
    opened = []

    def opening(port: str, section: BoardSection | None = None):
        session = SerialSource(section or BoardSection(), [port], abort).open(port)
        opened.append(session)
        return session

    yield opening
    for session in opened:
        session.close()
