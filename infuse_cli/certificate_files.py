"""The one reader of files that hold certificates or requests: bytes in, DER out.

PEM (RFC 7468) may have text, comments in any encoding and a byte order mark around its blocks; DER
is one certificate. What is something else is named, with the command that converts it. A file with
a private key in it is always refused: what is in such a file gets copied to boards, brokers and
journals.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from infuse_cli import der
from infuse_cli.errors import ProfileError
from infuse_cli.files import MAX_BYTES, read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

MAX_CHAIN: Final = 16
"""Most certificates of a chain."""

MAX_BUNDLE: Final = 1000
"""Most certificates of a bundle of authorities; the lists of operating systems have about 150."""


class Kind(enum.Enum):
    """What a file or a block holds, as a person is told."""

    CERTIFICATE = "a certificate"
    REQUEST = "a certificate request"
    PRIVATE_KEY = "a private key"
    PUBLIC_KEY = "a public key"
    CRL = "a revocation list (CRL)"
    PKCS7 = "a PKCS#7 bundle"
    PKCS12 = "a PKCS#12 file, which may hold a private key"
    TRUSTED = "an OpenSSL TRUSTED CERTIFICATE"
    KEYSTORE = "a Java keystore"
    UTF16 = "UTF-16 text"
    UNKNOWN = "no certificate"


class UnfitFileError(ValueError):
    """The file is not what was expected: `reason` continues "the file …", `hint` says what helps.

    `kind` is what the file holds instead.
    """

    def __init__(self, kind: Kind, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.hint = kind, reason, hint


@dataclass(frozen=True, slots=True)
class Block:
    """A PEM block, or the whole of a DER file: `line` is where it begins, 0 for DER."""

    kind: Kind
    der: bytes = field(repr=False)
    line: int = 0


_PRIVATE_WORDS: Final = (b"PRIVATE KEY", b"PUTTY-USER-KEY-FILE")
_PRIVATE: Final = re.compile(rb"-{4,5} ?(?:BEGIN|END) [A-Z0-9 ]*PRIVATE KEY|PUTTY-USER-KEY-FILE")
_BEGIN: Final = re.compile(rb"-----BEGIN ([^\r\n-]{1,64})-----")
_PLAIN_REQUEST: Final = re.compile(
    rb"-----BEGIN ((?:NEW )?CERTIFICATE REQUEST)-----\r?\n([A-Za-z0-9+/\r\n]+={0,2})\s+"
    rb"-----END \1-----\s*"
)
_HEADINGS: Final = {
    b"CERTIFICATE": Kind.CERTIFICATE,
    b"X509 CERTIFICATE": Kind.CERTIFICATE,
    b"TRUSTED CERTIFICATE": Kind.TRUSTED,
    b"CERTIFICATE REQUEST": Kind.REQUEST,
    b"NEW CERTIFICATE REQUEST": Kind.REQUEST,
    b"PKCS7": Kind.PKCS7,
    b"PKCS #7 SIGNED DATA": Kind.PKCS7,
    b"CMS": Kind.PKCS7,
    b"PKCS12": Kind.PKCS12,
    b"PUBLIC KEY": Kind.PUBLIC_KEY,
    b"RSA PUBLIC KEY": Kind.PUBLIC_KEY,
    b"X509 CRL": Kind.CRL,
}
_MAGIC: Final = (
    (b"\xfe\xed\xfe\xed", Kind.KEYSTORE),
    (b"\xce\xce\xce\xce", Kind.KEYSTORE),
    (b"\xff\xfe", Kind.UTF16),
    (b"\xfe\xff", Kind.UTF16),
    # BER of indefinite length, as some tools write PKCS#12 and PKCS#7
    (b"\x30\x80\x02\x01\x03", Kind.PKCS12),
    (b"\x30\x80\x06\x09", Kind.PKCS7),
)
_UTF16_DASHES: Final = (b"-\0-\0-\0-", b"\0-\0-\0-")
_CONVERT: Final = {
    Kind.PKCS7: "Convert it: `openssl pkcs7 -print_certs -in FILE -out NEW`, binary: -inform DER.",
    Kind.PKCS12: "Take the certificates out: `openssl pkcs12 -nokeys -in FILE -out NEW`.",
    Kind.TRUSTED: "Convert it: `openssl x509 -in FILE -out NEW`.",
    Kind.KEYSTORE: "Export the certificate: `keytool -exportcert -rfc -keystore FILE -file NEW`.",
    Kind.UTF16: "Save it as plain text (UTF-8 or ASCII).",
    Kind.PRIVATE_KEY: (
        "Put what is public alone into a file of its own; if others could read this one, consider"
        " the key exposed."
    ),
}
_CERTIFICATES_HINT: Final = "A certificate is given as PEM or DER."
_REQUEST_HINT: Final = "Have the request sent again: one PKCS#10 request, whole, as PEM or DER."


def certificates(data: bytes, *, most: int = MAX_CHAIN, bundles: bool = False) -> tuple[bytes, ...]:
    """The certificates of a file as DER, in their order; at least one, at most `most`.

    Blocks of other public things (requests, lists, parameters) are passed over. `bundles`: PKCS#7
    is taken apart; otherwise it is refused by name. Raises UnfitFileError.
    """
    found = list[bytes]()
    others = list[Kind]()
    for block in blocks(data):
        if block.kind is Kind.CERTIFICATE:
            found.append(_checked(block))
        elif block.kind is Kind.PKCS7 and bundles:
            found += _of_pkcs7(block)
        elif block.kind in _CONVERT:
            raise _instead(block.kind)
        else:
            others.append(block.kind)
    if not found:
        raise _instead(others[0] if others else Kind.UNKNOWN)
    if len(found) > most:
        raise UnfitFileError(
            Kind.CERTIFICATE,
            f"holds {len(found)} certificates, at most {most} are read",
            "Leave only those that are needed.",
        )
    return tuple(found)


def certificates_pem(data: bytes, *, most: int = MAX_CHAIN) -> str:
    """`certificates` as clean PEM: nothing but their blocks. Raises UnfitFileError."""
    return pem(certificates(data, most=most))


def request(data: bytes) -> bytes:
    """The one PKCS#10 request of a file, as DER. Raises UnfitFileError."""
    plain = _PLAIN_REQUEST.fullmatch(data)
    if plain is not None:  # nearly all are, and ten thousand may come at once
        body = binascii.a2b_base64(plain[2])
        if kind_of_der(body) is Kind.REQUEST:
            return body
    found = [block for block in blocks(data) if block.kind is not Kind.UNKNOWN]
    requests = [block for block in found if block.kind is Kind.REQUEST]
    if len(requests) > 1:
        raise UnfitFileError(
            Kind.REQUEST, f"holds {len(requests)} requests, one is read", _REQUEST_HINT
        )
    if requests:
        return requests[0].der
    kind = found[0].kind if found else Kind.UNKNOWN
    what = "no certificate request" if kind is Kind.UNKNOWN else kind.value
    raise UnfitFileError(kind, f"holds {what}", _CONVERT.get(kind, _REQUEST_HINT))


def pem(certificates_der: Iterable[bytes]) -> str:
    """Certificates as PEM (RFC 7468): lines of 64 characters, LF, with a final LF."""
    from ssl import DER_cert_to_PEM_cert

    return "".join(map(DER_cert_to_PEM_cert, certificates_der))


def read_trusted(path: Path | str, key: str, *, most: int = MAX_CHAIN) -> str:
    """The certificates of a file that a profile key or an option names, as clean PEM.

    Raises ProfileError profile.invalid, which names `key` and the file.
    """
    try:
        return certificates_pem(read_bounded(Path(path)), most=most)
    except OSError as error:
        raise ProfileError(
            "profile.invalid", f"{key} names {path}, which cannot be read: {error.strerror}"
        ) from None
    except UnfitFileError as error:
        raise ProfileError(
            "profile.invalid", f"{key} names {path}, which {error.reason}", hint=error.hint
        ) from None


def past_stale_errors(load: Callable[[], T]) -> T:
    """Call what has OpenSSL load certificates, once more where it fails.

    A PKCS#11 module in this process can leave errors in OpenSSL's queue, which Python takes for its
    own, raises and clears. Raises ssl.SSLError.
    """
    from ssl import SSLError

    try:
        return load()
    except SSLError:
        return load()


def holds_private_key(data: bytes) -> bool:
    """Whether a private key is in a file, in PEM or DER: nothing of it may be stored then."""
    try:
        blocks(data)
    except UnfitFileError as error:
        return error.kind is Kind.PRIVATE_KEY
    return False


def blocks(data: bytes) -> tuple[Block, ...]:
    """What is in a file: its PEM blocks, or the one thing that it is in DER.

    Raises UnfitFileError for a private key anywhere in it, a file that is too long, text of two
    bytes a character, and blocks that are not whole.
    """
    if len(data) > MAX_BYTES:
        raise UnfitFileError(
            Kind.UNKNOWN,
            f"has more than {MAX_BYTES >> 20} MiB: that is no certificate",
            _CERTIFICATES_HINT,
        )
    if _has_private_key(data):
        raise _instead(Kind.PRIVATE_KEY)
    kind = _by_magic(data)
    if kind is not None:
        return (Block(kind, data),)
    if not _BEGIN.search(data):
        kind = kind_of_der(data)
        if kind is Kind.PRIVATE_KEY:
            raise _instead(kind)
        return (Block(kind, data),)
    return tuple(_pem_blocks(data))


def _has_private_key(data: bytes) -> bool:
    """Whether a heading of a private key is anywhere in a file, also in text of two bytes a
    character.
    """
    text = data.replace(b"\0", b"").upper()
    return any(word in text for word in _PRIVATE_WORDS) and _PRIVATE.search(text) is not None


def kind_of_der(data: bytes) -> Kind:
    """What a DER structure is, told from its outermost elements (X.509, PKCS#7, #8, #10, #12)."""
    whole = der.extent(data, 0)
    parts = der.children(data) or []
    if whole is None or data[0] != der.SEQUENCE:
        return Kind.UNKNOWN
    kind = Kind.UNKNOWN
    match [tag for tag, _ in parts]:
        case [der.OBJECT_ID, *_]:
            kind = Kind.PKCS7
        case [der.INTEGER, der.SEQUENCE, *_] if parts[0][1] == b"\x03":
            kind = Kind.PKCS12
        case [der.INTEGER, *_] if parts[0][1] in {b"\0", b"\x01"}:
            kind = Kind.PRIVATE_KEY
        case [der.SEQUENCE, der.OCTET_STRING]:
            kind = Kind.PRIVATE_KEY  # encrypted
        case [der.SEQUENCE, der.BIT_STRING]:
            kind = Kind.PUBLIC_KEY
        case [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
            kind = _kind_of_signed(parts[0][1])
    if whole[1] == len(data):
        return kind
    # OpenSSL writes its trust settings behind the certificate.
    is_trusted = kind is Kind.CERTIFICATE and data[whole[1]] == der.SEQUENCE
    return Kind.TRUSTED if is_trusted else Kind.UNKNOWN


def _kind_of_signed(inner: bytes) -> Kind:
    """Tell what was signed by the tags of its fields."""
    fields = der.children(der.element(der.SEQUENCE, inner)) or []
    match [tag for tag, _ in fields]:
        case [0xA0, der.INTEGER, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE, *_]:
            return Kind.CERTIFICATE
        case [der.INTEGER, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE, *_]:
            return Kind.CERTIFICATE  # X.509 version 1
        case [der.INTEGER, der.SEQUENCE, der.SEQUENCE, *rest] if rest in ([], [0xA0]):
            return Kind.REQUEST
        case [der.SEQUENCE, der.SEQUENCE, 0x17 | 0x18, *_] | [
            der.INTEGER,
            der.SEQUENCE,
            der.SEQUENCE,
            0x17 | 0x18,
            *_,
        ]:
            return Kind.CRL  # the first that has a time of its own
    return Kind.UNKNOWN


def _by_magic(data: bytes) -> Kind | None:
    if any(dashes in data for dashes in _UTF16_DASHES):
        return Kind.UTF16
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _pem_blocks(data: bytes) -> Iterator[Block]:
    begins = list(_BEGIN.finditer(data))
    ends = [begin.start() for begin in begins[1:]] + [len(data)]
    for begin, next_begin in zip(begins, ends, strict=True):
        line, label = data.count(b"\n", 0, begin.start()) + 1, begin[1]
        kind = _HEADINGS.get(label.upper(), Kind.UNKNOWN)
        end = data.find(b"-----END " + label + b"-----", begin.end(), next_begin)
        if end < 0:
            raise _damaged(line, kind, "has no end")
        yield _block(kind, data[begin.end() : end], line)


def _block(kind: Kind, text: bytes, line: int) -> Block:
    try:
        content = base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        if kind is Kind.UNKNOWN:
            return Block(kind, b"", line)
        raise _damaged(line, kind, "is damaged: it is not base64") from None
    inside = kind_of_der(content)
    if inside is Kind.PRIVATE_KEY:
        raise _instead(inside)
    if kind in {Kind.CERTIFICATE, Kind.REQUEST} and inside not in {kind, Kind.UNKNOWN}:
        raise UnfitFileError(
            inside,
            f"holds {inside.value} under the heading of {kind.value}",
            _CONVERT.get(inside, "Have the file sent again."),
        )
    return Block(kind, content, line)


def _checked(block: Block) -> bytes:
    """The certificate as DER, after a library that speaks TLS could read it."""
    import ssl  # late: every command imports this module, few read a certificate

    try:
        if not der.is_one_sequence(block.der):
            raise ssl.SSLError
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        past_stale_errors(lambda: context.load_verify_locations(cadata=block.der))
    except ssl.SSLError:
        raise _damaged(block.line, block.kind, "is damaged: it cannot be parsed") from None
    return block.der


def _of_pkcs7(block: Block) -> list[bytes]:
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

    try:
        with warnings.catch_warnings(action="ignore"):  # BER is how most tools write it
            found = pkcs7.load_der_pkcs7_certificates(block.der)
    except Exception:  # noqa: BLE001 - the parser's exceptions are not a closed set
        raise _damaged(block.line, block.kind, "cannot be parsed") from None
    return [certificate.public_bytes(Encoding.DER) for certificate in found]


def _damaged(line: int, kind: Kind, what: str) -> UnfitFileError:
    name = "a block" if kind is Kind.UNKNOWN else kind.value
    where = f" in line {line}" if line else ""
    return UnfitFileError(kind, f"holds {name}{where} that {what}", "Have the file sent again.")


def _instead(kind: Kind) -> UnfitFileError:
    return UnfitFileError(kind, f"holds {kind.value}", _CONVERT.get(kind, _CERTIFICATES_HINT))
