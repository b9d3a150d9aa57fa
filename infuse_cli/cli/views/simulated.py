"""What a run in a simulated world shows differently: that world ends with the run, so there is
nothing to go on with.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from infuse_cli.cli.views.events import Renderer
    from infuse_cli.types import Event

_GONE: Final = "The simulated boards and their cloud are gone; the next run has new ones."


def without_resume(value: Any) -> Any:
    """JSON values in which no error's hint speaks of `infuse resume`."""
    match value:
        case dict():
            return {
                name: _hint(str(item)) if name == "hint" else without_resume(item)
                for name, item in value.items()
            }
        case list():
            return [without_resume(item) for item in value]
        case _:
            return value


def _hint(text: str) -> str:
    return _GONE if "infuse resume" in text else text


class SimulatedEvents:
    """A renderer in front of the real one, for a simulated run."""

    def __init__(self, inner: Renderer) -> None:
        self._inner: Final = inner
        self.leaves_errors = inner.leaves_errors

    def emit(self, event: Event) -> None:
        """Pass an event on; safe to call from any thread."""
        self._inner.emit(
            dataclasses.replace(
                event, error=without_resume(event.error), data=without_resume(event.data)
            )
        )

    def close(self) -> None:
        """Leave the output as it shall stay."""
        self._inner.close()
