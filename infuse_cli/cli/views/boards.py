"""Chooses how a run is shown: live on a terminal, as lines in a log, as JSON for programs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from infuse_cli.cli.views.events import JsonLines, PlainLines, Renderer, Silent

if TYPE_CHECKING:
    from infuse_cli.cli.context import Invocation
    from infuse_cli.types import Event


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


class RunRenderer:
    """A renderer for one run after another: each run's picture stays when the next one begins."""

    def __init__(self, settings: Invocation, *, stderr_is_tty: bool) -> None:
        self._settings: Final = settings
        self._stderr_is_tty: Final = stderr_is_tty
        self._renderer = make_events(settings, stderr_is_tty=stderr_is_tty)
        self._run: str | None = None
        self.leaves_errors: bool = self._renderer.leaves_errors

    def emit(self, event: Event) -> None:
        """Show one event; safe to call from any thread."""
        if event.event == "run-started":
            if self._run is not None:
                self._renderer.close()
                self._renderer = make_events(self._settings, stderr_is_tty=self._stderr_is_tty)
            self._run = event.run
        self._renderer.emit(event)

    def close(self) -> None:
        """Leave the output as it shall stay."""
        self._renderer.close()
