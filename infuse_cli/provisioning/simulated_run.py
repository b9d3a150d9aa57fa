"""What a run in a simulated world tells differently: that world ends with the run, so there is
nothing to go on with.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from infuse_cli.cli.views.events import Renderer
    from infuse_cli.types import Event

_GONE: Final = "The simulated boards and their cloud are gone; the next run has new ones."


def truly(value: Any) -> Any:
    """JSON values in which no error's hint speaks of `infuse resume`."""
    match value:
        case dict():
            return {
                name: _GONE if name == "hint" and "infuse resume" in str(item) else truly(item)
                for name, item in value.items()
            }
        case list():
            return [truly(item) for item in value]
        case _:
            return value


class SimulatedEvents:
    """A renderer in front of the real one, for a simulated run."""

    def __init__(self, inner: Renderer) -> None:
        self._inner: Final = inner
        self.leaves_errors = inner.leaves_errors

    def emit(self, event: Event) -> None:
        """Pass an event on; safe to call from any thread."""
        self._inner.emit(
            dataclasses.replace(event, error=truly(event.error), data=truly(event.data))
        )

    def close(self) -> None:
        """Leave the output as it shall stay."""
        self._inner.close()
