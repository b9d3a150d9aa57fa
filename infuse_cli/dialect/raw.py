"""A profile's own command and what its pattern finds, in every dialect that carries text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from infuse_cli.dialect import commands
from infuse_cli.dialect.cme import modem_error
from infuse_cli.errors import BoardError

if TYPE_CHECKING:
    from infuse_cli.dialect.base import Conversation


def raw_answer(
    text: str, pattern: str, timeout_s: float, *, effect: bool = False, secret: bool = False
) -> Conversation[str]:
    """Send the command; return the first group of `pattern` (the line without one) in its answer.

    Raises BoardError modem.* for a refusal, serial.protocol when no line fits.
    """
    command = commands.raw(text, pattern, timeout_s, effect=effect, secret=secret)
    what = "the profile's command" if secret else f"the profile's command {text!r}"
    reply = yield command
    if not reply.ok:
        raise modem_error(reply.cme, what)
    answer = commands.value(command, reply)
    if answer is None and re.fullmatch(pattern, "OK"):
        return "OK"  # the line that means success is the dialect's own
    if answer is None:
        raise BoardError(
            "serial.protocol",
            f"{what} was answered, but no line fits the pattern {pattern!r}",
            unknown=effect,
        )
    return answer
