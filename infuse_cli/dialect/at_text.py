"""What a person's AT command does, told from its text: only reads, carries a secret, or neither.

For commands that are sent by hand: what changes a board goes on record, and a secret is never shown
again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.base import head
from infuse_cli.errors import UsageError
from infuse_cli.types import Command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_READING: Final = re.compile(
    r"AT|ATI\d?|AT[+%][A-Z]+(?:=?\?)|AT\+(?:CGMI|CGMM|CGMR|CGSN(?:=\d)?|CIMI|CESQ|CSQ)"
    r"|AT%(?:DEVICEUUID|XICCID|HWVERSION|SHORTSWVER|XMODEMUUID|XMONITOR|XVBAT|XTEMP|CMNG=[12].*)",
    re.IGNORECASE | re.DOTALL,
)
# Everything that CMNG writes but certificates (types 0 and 1); PINs and passwords; keys that open
# further commands.
_SECRET: Final = re.compile(
    r"(?:AT|.*;\s*)(?:%CMNG=0,\s*\d+,\s*(?![01]\s*,)|\+(?:CPIN|CPWD|CLCK|CGAUTH)=|%(?:XPMNG|XUSRAUTH)=).*",
    re.IGNORECASE | re.DOTALL,
)
_BEGINS: Final = re.compile(r"AT", re.IGNORECASE)
_QUOTED: Final = re.compile(r'"[^"]*"')


def is_command(text: str) -> bool:
    """Whether a word begins as AT commands do."""
    return _BEGINS.match(text) is not None


def only_reads(text: str) -> bool:
    """Whether the command is known to change nothing; what is not known may change something."""
    return _READING.fullmatch(text.strip()) is not None


def carries_secret(text: str) -> bool:
    """Whether the command hands a key, PIN or password to the modem."""
    return _SECRET.fullmatch(text.strip()) is not None


def shown(text: str) -> str:
    """The command as it may be repeated: a secret one without what it carries."""
    return f"{head(Command(text, secret=True))} ***" if carries_secret(text) else text


def for_record(text: str) -> str:
    """The command as it goes on record: nothing that stands in quotes, no secret."""
    return shown(text) if carries_secret(text) else _QUOTED.sub('"***"', text)


def script(lines: Iterable[str]) -> tuple[str, ...]:
    """The commands of a file, one a line; `#` begins a comment line, an open quote goes on in the
    next line (PEM).

    Raises UsageError usage.bad-option for a line that is no AT command and for a quote that never
    ends.
    """
    return tuple(_commands(enumerate(lines, 1)))


def _commands(lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    for number, line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not is_command(text):
            raise UsageError(
                "usage.bad-option", f"line {number} is no AT command: it does not begin with AT"
            )
        parts = [text]
        while text.count('"') % 2:
            more = next(lines, None)
            if more is None:
                raise UsageError(
                    "usage.bad-option", f"the quote that opens in line {number} is never closed"
                )
            parts.append(more[1].rstrip())
            text = "\n".join(parts)
        yield text
