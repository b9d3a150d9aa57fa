"""Virtual boards on pseudo-terminals, a virtual cloud, mutual TLS check-in and faults."""

from __future__ import annotations

import importlib.util
from typing import Final

from infuse_cli.errors import UsageError

_NEEDED: Final = ("starlette", "uvicorn", "pty", "termios")


def require() -> None:
    """Check that the simulator can run here, before anything of it is imported.

    Raises UsageError usage.extra-missing where the extra `sim` is not installed or the system has no ptys.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return
    hint = "Run it on Linux or macOS." if "termios" in missing else "pip install 'infuse-line[sim]'"
    raise UsageError("usage.extra-missing", f"the simulator needs {', '.join(missing)}, which is not installed here", hint=hint)
