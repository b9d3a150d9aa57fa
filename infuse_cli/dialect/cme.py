"""What the modem's error numbers mean, and the errors that they become.

Sources: Nordic's nRF91x1 AT commands reference for the commands used here, 3GPP TS 27.007 for those
under 500. Numbers whose meaning is not published keep the general code and say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import BoardError

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_FOUND: Final = 513
ACTIVE: Final = 518
EXISTS: Final = 519
POWER_OFF_WARNING: Final = 528


@dataclass(frozen=True, slots=True)
class ModemErrorInfo:
    """A number of `+CME ERROR`: its code in `errors.CODES`, its meaning, and what to do (None: the
    code's hint).
    """

    code: str
    meaning: str
    hint: str | None = None


_UNPUBLISHED: Final = ModemErrorInfo(
    "modem.error",
    "a modem error without a published meaning",
    "Run again; if it stays, keep the number and ask the modem's maker.",
)
_ARGUMENTS: Final = (
    "Check sec_tag, attributes and key usage in the profile, and the modem firmware's version."
)

# number: code, meaning, what to do where the code's own hint does not say it.
MODEM_ERRORS: Final[Mapping[int, ModemErrorInfo]] = {
    0: ModemErrorInfo(
        "modem.error",
        "the modem firmware does not know the command or failed inside",
        "Update the modem firmware.",
    ),
    3: ModemErrorInfo(
        "modem.error", "operation not allowed", "Check the modem firmware and the functional mode."
    ),
    4: ModemErrorInfo("modem.error", "operation not supported", "Update the modem firmware."),
    10: ModemErrorInfo(
        "modem.error", "no SIM is inserted", "Insert a SIM, or leave out what needs one."
    ),
    11: ModemErrorInfo(
        "modem.error", "the SIM wants its PIN", "Unlock the SIM, or leave out what needs one."
    ),
    13: ModemErrorInfo(
        "modem.error",
        "the SIM fails or there is none",
        "Check that a SIM is seated, or leave out what needs one.",
    ),
    14: ModemErrorInfo("modem.error", "the SIM is busy", "Run again."),
    15: ModemErrorInfo(
        "modem.error", "the wrong SIM", "Insert the SIM that the modem is locked to."
    ),
    50: ModemErrorInfo("modem.error", "incorrect parameters", _ARGUMENTS),
    51: ModemErrorInfo(
        "modem.error",
        "the command is not permitted now",
        "Run again; if it stays, check the modem firmware.",
    ),
    NOT_FOUND: ModemErrorInfo("modem.not-found", "no such credential"),
    514: ModemErrorInfo("modem.not-allowed", "not allowed"),
    515: ModemErrorInfo("modem.full", "the credential memory is full"),
    516: _UNPUBLISHED,
    517: _UNPUBLISHED,
    ACTIVE: ModemErrorInfo("modem.active", "not allowed while the modem is active"),
    EXISTS: ModemErrorInfo("modem.exists", "the credential exists already"),
    520: ModemErrorInfo(
        "modem.error",
        "not authenticated for this command",
        "The modem guards this command: ask who owns its keys.",
    ),
    521: _UNPUBLISHED,
    522: _UNPUBLISHED,
    523: ModemErrorInfo("modem.keygen-failed", "key generation failed"),
    524: _UNPUBLISHED,
    525: ModemErrorInfo(
        "modem.error",
        "the modem has no valid time",
        "Leave the token's lifetime out, or set the modem's clock.",
    ),
    526: _UNPUBLISHED,
    527: ModemErrorInfo("modem.bad-certificate", "invalid certificate content"),
    POWER_OFF_WARNING: ModemErrorInfo(
        "modem.power", "power-off warning, the supply is too weak to write"
    ),
    529: ModemErrorInfo(
        "modem.error",
        "the answer could not be made inside the modem's secure side",
        "Run again; if it stays, set the board aside.",
    ),
}


def modem_error(cme: int | None, what: str) -> BoardError:
    """The error for a refusal: what was tried, the number and its meaning.

    `cme` is None for a bare ERROR.
    """
    if cme is None:
        return BoardError("modem.error", f"{what}: the modem answered ERROR without a number")
    info = MODEM_ERRORS.get(cme, _UNPUBLISHED)
    return BoardError(
        info.code, f"{what}: the modem answered {cme}, {info.meaning}", hint=info.hint, cme=cme
    )
