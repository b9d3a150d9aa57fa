"""Certificates of files as objects; what a file may hold is said in `certificate_files`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from infuse_cli import certificate_files as files
from infuse_cli.errors import SignerError, UsageError
from infuse_cli.files import read_bounded

if TYPE_CHECKING:
    from pathlib import Path


def parsed(data: bytes, *, bundles: bool = False) -> tuple[x509.Certificate, ...]:
    """The certificates of a file's bytes, in their order, one at least.

    `bundles`: PKCS#7 is taken apart too. Raises certificate_files.UnfitFileError.
    """
    found = files.certificates(data, bundles=bundles)
    try:
        return tuple(map(x509.load_der_x509_certificate, found))
    except ValueError as error:
        raise files.UnfitFileError(
            files.Kind.CERTIFICATE,
            f"holds a certificate that cannot be parsed ({error})",
            "Have the certificate sent again.",
        ) from None


def read_certificates(path: Path, *, bundles: bool = False) -> tuple[x509.Certificate, ...]:
    """`parsed` of a file that a person named.

    Raises UsageError usage.bad-option (it cannot be read), SignerError ca.verify-failed (it holds
    something else).
    """
    try:
        return parsed(read_bounded(path), bundles=bundles)
    except OSError as error:
        raise UsageError("usage.bad-option", f"{path} cannot be read: {error.strerror}") from None
    except files.UnfitFileError as error:
        raise SignerError("ca.verify-failed", f"{path} {error.reason}", hint=error.hint) from None
