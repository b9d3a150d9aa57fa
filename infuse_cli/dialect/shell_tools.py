"""Conversations that both shell dialects share: the chip's id, and which commands the firmware was
built with.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect import commands
from infuse_cli.errors import BoardError
from infuse_cli.types import Command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli.capabilities import Capability
    from infuse_cli.dialect.base import Conversation
    from infuse_cli.types import Reply

_ID: Final = re.compile(r"ID: *(?:0x)?([0-9A-Fa-f]{16})[0-9A-Fa-f]*")


def hardware_id() -> Conversation[str]:
    """The first 8 bytes of the chip's id as `hwinfo devid` shows them, 16 lower-case hex digits.

    Raises BoardError board.no-mcu-id.
    """
    command = Command("hwinfo devid", commands.READ_S, _ID)
    reply = yield command
    if not reply.ok and reply.rebooted:
        reply = yield command
    match = _ID.fullmatch(reply.info[0]) if reply.ok and reply.info else None
    if match is None:
        answer = reply.info[0] if reply.info else "no id of at least 8 bytes"
        raise BoardError(
            "board.no-mcu-id",
            f"hwinfo devid gave {answer!r}",
            hint=(
                "Build the firmware with CONFIG_HWINFO and CONFIG_HWINFO_SHELL: without it boards"
                " cannot be told apart."
            ),
        )
    return match[1].lower()


def is_missing(reply: Reply) -> bool:
    """Whether the shell does not know the command."""
    return any(line.endswith(": command not found") for line in reply.info)


def found_nowhere(
    wanted: frozenset[Capability], needed: Mapping[Capability, str]
) -> Conversation[frozenset[Capability]]:
    """Of what is wanted, what the firmware was built without: each command is asked for by its bare
    name.
    """
    absent = set()
    for can, name in needed.items():
        if can in wanted:
            reply = yield Command(name, commands.READ_S)
            if is_missing(reply):
                absent.add(can)
    return frozenset(absent)
