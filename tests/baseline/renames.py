"""The only place where the program may differ from commit dadc716.

The tests of this folder translate the stored data with these tables before they compare. To rename
something, add its row here in the commit that renames it everywhere. Each table maps an old name to
its new one; a test fails for a row whose old name is still in use or whose new name is not. Rows of
`PLANNED_…` are decided but not in force: move a row to the table above it when the code changes.
"""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "tool.bug": "internal.error",
    "profile.cannot": "profile.unsupported",
    "journal.raced": "journal.conflict",
    "ca.broken": "ca.corrupt",
    "cloud.device-elsewhere": "cloud.wrong-owner",
    "mqtt.open": "mqtt.anonymous-allowed",
    "keys.not-delivered": "keys.delivery-failed",
    "serial.garbled": "serial.protocol",
    "serial.line-ended": "serial.closed",
}
"""Error codes."""

PLANNED_CODES: Final[dict[str, str]] = {}

TOKEN_STATES: Final[dict[str, str]] = {"exposed": "delivered", "burnt": "compromised"}
"""States of registration tokens, as journal and command line show them."""

PLANNED_TOKEN_STATES: Final[dict[str, str]] = {}

STATES: Final[dict[str, str]] = {}
"""States of steps, attempts and batch rows."""

COMMANDS: Final[dict[str, str]] = {}
"""Commands: all words, e.g. {"registry token list": "registry token show"}."""

OPTIONS: Final[dict[str, str]] = {}
"""Options of one command, e.g. {"provision --again": "provision --new-identity"}."""

PARAMETERS: Final[dict[str, dict[str, object]]] = {}
"""Other values of a parameter: {"provision --again": {"metavar": "WHY"}}."""

HINTS: Final[dict[str, frozenset[str]]] = {}
"""Code to the commands and options that its hint no longer names."""

FAIL_POINTS: Final[dict[str, str]] = {}
"""Names of fail-points; a placeholder is written {}."""

KEYS: Final[dict[str, str]] = {}
"""Keys of JSON: "COMMAND: PATH" to the path with the new key, e.g.
{"journal show: data.attempts[].byHand": "data.attempts[].manualChanges"}. Of events in jsonl the
path begins with the event: {"provision: step-done.ms": "step-done.milliseconds"}."""

TYPES: Final[dict[str, str]] = {}
"""Values that have another type in JSON; places are written as in `KEYS`, why in a comment."""

EVENTS: Final[dict[str, str]] = {}
"""Names of events in jsonl."""
