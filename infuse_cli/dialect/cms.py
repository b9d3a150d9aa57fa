"""What a line of the modem means to a person: the numbers of `+CME ERROR` and `+CMS ERROR` in
words.

Sources: `cme` for the former, 3GPP TS 27.005 §3.2.5 for the latter.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.cme import MODEM_ERRORS
from infuse_cli.errors import CODES

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBERED: Final = re.compile(r"\+(CM[ES]) ERROR: *(\d{1,5})")

CMS_ERRORS: Final[Mapping[int, str]] = {
    300: "the modem failed",
    301: "the SMS service is reserved",
    302: "operation not allowed",
    303: "operation not supported",
    304: "a PDU parameter is wrong",
    305: "a text parameter is wrong",
    310: "no SIM is inserted",
    311: "the SIM wants its PIN",
    312: "the SIM wants the phone's PIN",
    313: "the SIM failed",
    314: "the SIM is busy",
    315: "the SIM is the wrong one",
    316: "the SIM wants its PUK",
    320: "the message memory failed",
    321: "there is no such place in the message memory",
    322: "the message memory is full",
    330: "the number of the message centre is not known",
    331: "no network service",
    332: "the network did not answer in time",
    340: "no acknowledgement was expected",
    500: "an error without a name",
}


def meaning(line: str, hints: Mapping[int | None, str] | None = None) -> str | None:
    """What an error line says, in words and with what to do (`hints` by number come first); None
    for any other line.
    """
    match = _NUMBERED.search(line)
    if match is None:
        return None
    number = int(match[2])
    if match[1] == "CMS":
        return f"{number}: {CMS_ERRORS.get(number, 'an SMS error without a published meaning')}"
    info = MODEM_ERRORS.get(number)
    if info is None:
        return f"{number}: a modem error without a published meaning"
    return (
        f"{number}: {info.meaning}."
        f" {(hints or {}).get(number) or info.hint or CODES[info.code].hint}"
    )
