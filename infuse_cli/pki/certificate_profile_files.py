"""Which certificate profile a name or path means: a built-in one, or a file in the home or where
the path says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from infuse_cli.config.source import certificates
from infuse_cli.errors import ProfileError
from infuse_cli.pki.certificate_profiles import PROFILES, certificate_profile, from_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli.pki.certificate_profiles import CertificateProfile


def resolve(named: str, home: Path) -> CertificateProfile:
    """The certificate profile of `identity.certificate` or --certificate.

    Raises ProfileError profile.invalid (unknown, or mistakes, each with file and line),
    .unreadable, .bad-yaml.
    """
    if named in PROFILES:
        return PROFILES[named]
    path = Path(named).expanduser() if _is_path(named) else certificates.find(named, None, home)
    if path is None:
        own = certificates.available([home])
        if own:
            raise ProfileError(
                "profile.invalid",
                f"no certificate profile {named!r}; there is:"
                f" {', '.join(sorted({*PROFILES, *own}))}",
                hint="Correct identity.certificate in the profile, or --certificate.",
            )
        return certificate_profile(named)
    return load(path)


def load(path: Path) -> CertificateProfile:
    """The certificate profile in a file.

    Raises ProfileError with file and line of every mistake.
    """
    file = certificates.read(path)
    profile, mistakes = from_values(file.values, path.stem)
    if profile is None:
        told = "; ".join(f"{file.place(one.key)}: {one.key}: {one.text}" for one in mistakes)
        raise ProfileError(
            "profile.invalid",
            told,
            hint="docs/reference/certificate-profile.md lists the keys.",
            details={
                "mistakes": [f"{file.place(one.key)}: {one.key}: {one.text}" for one in mistakes]
            },
        )
    return profile


def recorded(values: Mapping[str, Any]) -> CertificateProfile:
    """The certificate profile that a run has on record.

    Raises ProfileError profile.invalid where this version cannot use it.
    """
    profile, mistakes = from_values(values, str(values.get("name")))
    if profile is None:
        told = "; ".join(f"{one.key}: {one.text}" for one in mistakes)
        raise ProfileError(
            "profile.invalid", f"the certificate profile on record cannot be used: {told}"
        )
    return profile


def _is_path(named: str) -> bool:
    return any(sign in named for sign in "/\\~") or named.endswith((".yaml", ".yml"))
