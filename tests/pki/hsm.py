"""A SoftHSM with a token of its own, in a folder that can be taken away: what a test pulls out."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PIN = "246813"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)
MODULE = next((path for path in MODULES if Path(path).exists()), None)
MISSING = "SoftHSM (Debian: softhsm2) or python-pkcs11 is not installed"


def installed() -> bool:
    import importlib.util

    return (
        MODULE is not None
        and shutil.which("softhsm2-util") is not None
        and importlib.util.find_spec("pkcs11") is not None
    )


@dataclass
class Token:
    folder: Path

    def uri(self, label: str) -> str:
        return f"pkcs11:token=line;object={label}?module-path={MODULE}"

    def pull_out(self) -> None:
        self.folder.rename(self.folder.with_name("elsewhere"))
        self.folder.mkdir()
        self._look_again()

    def put_back(self) -> None:
        self.folder.rmdir()
        self.folder.with_name("elsewhere").rename(self.folder)

    @staticmethod
    def _look_again() -> None:
        """The library forgets what it holds in memory, as it does when the device is gone."""
        import pkcs11

        pkcs11.lib(MODULE).reinitialize()


def make_token(base: Path) -> Token:
    folder = base / "tokens"
    folder.mkdir()
    conf = base / "softhsm2.conf"
    conf.write_text(
        f"directories.tokendir = {folder}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(conf)
    subprocess.run(
        [
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            "line",
            "--pin",
            PIN,
            "--so-pin",
            "0000",
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return Token(folder)
