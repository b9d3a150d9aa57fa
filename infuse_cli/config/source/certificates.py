"""Certificate profiles from YAML files: found beside the profile or in the home, read with their
places.

What the values mean is not known here; who does (`pki.certificate_profiles`) names keys, and
`place` their lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.config.source import nodes
from infuse_cli.config.source.finding import Source
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER: Final = "certificates"
"""Folder beside a profile and in INFUSE_HOME."""

_LONGEST: Final = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A certificate profile as it is written: plain values, and where each stands."""

    path: Path
    values: dict[str, Any]
    tree: nodes.Table

    def place(self, key: str) -> str:
        """File and line of a dotted key, or of the nearest table around it."""
        return f"{self.path}:{nodes.place(self.tree, key).line}"


def find(name: str, beside: Path | None, home: Path | None) -> Path | None:
    """The file of a certificate profile: beside the profile, else in the home; None where there is
    none.
    """
    return next(
        (
            path
            for folder in (beside, home)
            if folder is not None and (path := folder / FOLDER / f"{name}.yaml").is_file()
        ),
        None,
    )


def available(folders: Sequence[Path]) -> list[str]:
    """Names of the certificate profiles in these folders."""
    return sorted({path.stem for folder in folders for path in (folder / FOLDER).glob("*.yaml")})


def read(path: Path) -> CertificateFile:
    """Read a file. Raises ProfileError profile.unreadable, profile.bad-yaml."""
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError("profile.unreadable", f"{path} cannot be read: {error}") from None
    if len(data) > _LONGEST:
        raise ProfileError("profile.unreadable", f"{path} has more than {_LONGEST // 1024} KiB")
    tree, findings = nodes.read(text, Source(str(path), path.parent, path, path.stem), {})
    if findings:
        raise ProfileError(
            "profile.bad-yaml",
            "; ".join(str(finding) for finding in findings),
            hint="Correct the line that is named.",
        )
    return CertificateFile(path, nodes.plain(tree), tree)
