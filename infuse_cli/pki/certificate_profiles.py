"""Named certificate profiles: what a certificate says, as data (rule 39)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from infuse_cli.errors import ProfileError


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """What every certificate of this profile has. Its subject is one CN, it has no SAN.

    `common_name` is what a CN may be where the caller gives none of its own (`ca sign` without `--device-id`);
    `backdated` is how far notBefore lies in the past; `validity_days` is the default.
    """

    name: str
    extended_key_usage: tuple[ObjectIdentifier, ...]
    common_name: re.Pattern[str]
    backdated: timedelta
    validity_days: int


DEVICE: Final = CertificateProfile(
    name="device",
    extended_key_usage=(ExtendedKeyUsageOID.CLIENT_AUTH,),
    # A cloud device id, a modem's UUID, or nrf-<IMEI>.
    common_name=re.compile(r"[0-9a-f]{16}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|nrf-[0-9]{15}"),
    backdated=timedelta(hours=24),
    validity_days=3650,
)

PROFILES: Final[dict[str, CertificateProfile]] = {profile.name: profile for profile in (DEVICE,)}


def certificate_profile(name: str) -> CertificateProfile:
    """The profile of this name. Raises ProfileError profile.invalid naming those that there are."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ProfileError("profile.invalid", f"no certificate profile {name!r}; there is: {', '.join(sorted(PROFILES))}",
                           hint="Correct identity.certificate in the profile, or --certificate.") from None
