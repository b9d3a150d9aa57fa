"""Chooses how a run is shown: live on a terminal, as lines in a log, as JSON for programs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from infuse_cli.cli.views.events import JsonLines, PlainLines, Renderer, Silent

if TYPE_CHECKING:
    from infuse_cli.cli.context import Invocation


def make_events(settings: Invocation, *, stderr_is_tty: bool) -> Renderer:
    """The renderer of this invocation: jsonl on stdout, nothing for json, else live or plain on
    stderr.
    """
    if settings.output == "jsonl":
        return JsonLines(sys.stdout)
    if settings.output == "json":
        return Silent()
    if stderr_is_tty and os.environ.get("TERM", "") not in {"dumb", "unknown"}:
        from infuse_cli.cli.views.boards_live import LiveBoards

        return LiveBoards(no_color=settings.no_color)
    return PlainLines(sys.stderr, begun=settings.verbose > 0)
