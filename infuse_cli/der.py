"""As much DER as is needed where no library writes or repairs what we need (X.690)."""

from __future__ import annotations

from typing import Final

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_ID: Final = 0x06
SEQUENCE: Final = 0x30


def element(tag: int, *contents: bytes) -> bytes:
    """One element: tag, length, contents."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def integer(value: int) -> bytes:
    """A non-negative INTEGER."""
    return element(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def extent(der: bytes, at: int) -> tuple[int, int] | None:
    """(start of content, end) of the element at an offset, None when it does not fit into the
    bytes.
    """
    if at + 2 > len(der):
        return None
    size, start = der[at + 1], at + 2
    if size & 0x80:
        octets = size & 0x7F
        start += octets
        if not 1 <= octets <= 3 or start > len(der):
            return None
        size = int.from_bytes(der[at + 2 : start], "big")
    end = start + size
    return (start, end) if end <= len(der) else None


def is_one_sequence(der: bytes) -> bool:
    """Whether the bytes are one whole SEQUENCE, nothing missing and nothing after it."""
    outer = extent(der, 0)
    return outer is not None and der[0] == SEQUENCE and outer[1] == len(der)


def children(der: bytes) -> list[tuple[int, bytes]] | None:
    """Tag and content of each element inside the outermost one, None where they do not fit."""
    outer = extent(der, 0)
    if outer is None:
        return None
    at, found = outer[0], list[tuple[int, bytes]]()
    while at < outer[1]:
        inner = extent(der, at)
        if inner is None or inner[1] > outer[1]:
            return None
        found.append((der[at], der[inner[0] : inner[1]]))
        at = inner[1]
    return found
