"""What comes from a port that does not answer: a hint for the person, from the bytes alone."""

from __future__ import annotations

import re
from typing import Final

_NMEA: Final = re.compile(rb"\$G[A-Z]{4},[^\r\n]*\*[0-9A-Fa-f]{2}")
_PROMPT: Final = re.compile(rb"[\w.@-]{1,24}:~\$ ")
_ENOUGH: Final = 8
_PLAIN_SHARE: Final = 0.7


def classify_noise(data: bytes) -> str:
    """A sentence part that begins with a semicolon, empty where the bytes show nothing."""
    if _NMEA.search(data):
        return "; it sends NMEA sentences: this is a GPS receiver"
    if _PROMPT.search(data):
        return "; there is a shell, but not the commands that are needed"
    if len(data) < _ENOUGH:
        return ""
    plain = sum(byte in b"\r\n\t\x1b" or 0x20 <= byte < 0x7F for byte in data)
    if plain / len(data) < _PLAIN_SHARE:
        return "; what came is no text: the baud rate may be wrong, or this is no board"
    return "; text came, but no answer"
