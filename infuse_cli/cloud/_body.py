"""The body of an answer: unpacked once at most, and never more of it in memory than the limit."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BODY_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of a body that are read at most, as they came and again after unpacking."""

_GZIP_WINDOW: Final = zlib.MAX_WBITS | 16
_ZLIB_HEADER_METHOD: Final = 8


class BodyTooLongError(Exception):
    """The body is longer than BODY_LIMIT, packed or unpacked."""


class BadEncodingError(Exception):
    """The body cannot be unpacked; the text says why."""


class _Decoder(Protocol):
    """What `read_body` uses of `zlib.decompressobj`."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def read_body(chunks: Iterable[bytes], encodings: Sequence[str]) -> bytes:
    """The whole body without its Content-Encoding (RFC 9110, 8.4).

    `chunks` are the bytes as they came, `encodings` the values of all Content-Encoding fields.
    Raises BodyTooLongError; BadEncodingError for more than one layer, for one that was not asked
    for, and for bytes that are not what they are called.
    """
    layers = [
        layer
        for field in encodings
        for part in field.split(",")
        if (layer := part.strip().lower()) not in {"", "identity"}
    ]
    packed = _joined(chunks)
    if not layers or not packed:
        return packed
    if len(layers) > 1:
        raise BadEncodingError("it is packed more than once")
    return _unpacked(packed, _decoder(layers[0], packed))


def _joined(chunks: Iterable[bytes]) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > BODY_LIMIT:
            raise BodyTooLongError
    return bytes(body)


def _decoder(layer: str, packed: bytes) -> _Decoder:
    match layer:
        case "gzip" | "x-gzip":
            return zlib.decompressobj(_GZIP_WINDOW)
        case "deflate":
            # Some servers leave out the zlib header that the RFC asks for.
            has_header = packed[0] & 0x0F == _ZLIB_HEADER_METHOD
            return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        case _:
            raise BadEncodingError("it is packed in a way that was not asked for")


def _unpacked(packed: bytes, decoder: _Decoder) -> bytes:
    try:
        body = decoder.decompress(packed, BODY_LIMIT + 1)
    except zlib.error as error:
        raise BadEncodingError(str(error)) from error
    if len(body) > BODY_LIMIT:
        raise BodyTooLongError
    if not decoder.eof:
        raise BadEncodingError("it is cut off")
    return body
