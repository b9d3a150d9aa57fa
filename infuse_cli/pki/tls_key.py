"""A private key for a TLS context, which takes keys from files only, without a file that could stay
behind.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization

if TYPE_CHECKING:
    import ssl

_IN_MEMORY: Final = hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


def load_key_pair(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    """Give a context its certificate (with those above it) and key.

    Where the system has no files in memory, the key passes through a temporary file under a
    password that nobody learns. Raises ssl.SSLError when they do not belong together, ValueError
    for a key that is none, OSError.
    """
    if _IN_MEMORY:
        _through_memory(context, f"{key_pem.strip()}\n{certificate_pem.strip()}\n".encode())
    else:
        _through_a_file(context, certificate_pem, key_pem)


def _through_memory(context: ssl.SSLContext, content: bytes) -> None:
    if sys.platform != "linux":
        raise OSError("this system has no files in memory")
    with os.fdopen(os.memfd_create("infuse-key"), "wb", buffering=0) as file:
        file.write(content)
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")


def _through_a_file(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    password = secrets.token_urlsafe(32)
    key = serialization.load_pem_private_key(key_pem.encode(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    with tempfile.NamedTemporaryFile(prefix="infuse-", suffix=".pem") as file:
        file.write(sealed + certificate_pem.encode())
        file.flush()
        context.load_cert_chain(file.name, password=password)
