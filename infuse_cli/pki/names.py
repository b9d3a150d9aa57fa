"""Subject and alternative names of a certificate: templates filled in, and each result held against
the allow-list.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from cryptography import x509

from infuse_cli.errors import PolicyError
from infuse_cli.pki.certificate_profiles import SUBJECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infuse_cli.pki.certificate_profiles import CertificateProfile

_VARIABLE: Final = re.compile(r"\{([A-Za-z]+)\}")
_LONGEST: Final = {
    "CN": 64,
    "O": 64,
    "OU": 64,
    "C": 2,
    "ST": 128,
    "L": 128,
    "serialNumber": 64,
}  # RFC 5280, appendix A
_LONGEST_SAN: Final = 253
_MOST_SAN: Final = 32


def subject_of(profile: CertificateProfile, values: Mapping[str, str]) -> x509.Name:
    """The subject for these values (`name` is always among them).

    Raises PolicyError identity.csr-policy.
    """
    found = [(kind, _filled(profile, kind, template, values)) for kind, template in profile.subject]
    for kind, text in found:
        if not 1 <= len(text) <= _LONGEST[kind] or not text.isprintable():
            raise _refused(f"its subject's {kind} has 1 to {_LONGEST[kind]} printable characters")
    try:
        return x509.Name([x509.NameAttribute(SUBJECT[kind], text) for kind, text in found])
    except ValueError as error:
        raise _refused(f"its subject cannot be written: {error}") from None


def common_name(profile: CertificateProfile, values: Mapping[str, str]) -> str:
    """The common name for these values. Raises PolicyError identity.csr-policy."""
    return _filled(profile, "CN", dict(profile.subject)["CN"], values)


def alternatives(
    profile: CertificateProfile, values: Mapping[str, str], asked: Sequence[tuple[str, str]] = ()
) -> x509.SubjectAlternativeName | None:
    """The alternative names: the profile's, then those that were asked for.

    Raises PolicyError identity.csr-policy.
    """
    found = [(kind, _filled(profile, kind, template, values)) for kind, template in profile.san]
    for kind, text in asked:
        if kind not in profile.caller_san:
            raise _refused(
                f"certificate profile {profile.name!r} takes no {kind} name from whoever asks"
            )
        found.append((kind, _checked(profile, kind, text)))
    found = list(dict.fromkeys(found))
    if len(found) > _MOST_SAN:
        raise _refused(
            f"it would have {len(found)} alternative names, at most {_MOST_SAN} are signed"
        )
    return (
        x509.SubjectAlternativeName([_general(kind, text) for kind, text in found])
        if found
        else None
    )


def _filled(
    profile: CertificateProfile, kind: str, template: str, values: Mapping[str, str]
) -> str:
    missing = [name for name in _VARIABLE.findall(template) if name not in values]
    if missing:
        raise _refused(
            f"certificate profile {profile.name!r} needs {missing[0]}, which is not known here"
        )
    text = _VARIABLE.sub(lambda match: values[match[1]], template)
    return _checked(profile, kind, text) if text != template else text


def _checked(profile: CertificateProfile, kind: str, text: str) -> str:
    pattern = profile.allow.get(kind)
    if pattern is None or pattern.fullmatch(text) is None:
        raise _refused(f"certificate profile {profile.name!r} does not allow the {kind} {text!r}")
    return text


def _general(kind: str, text: str) -> x509.GeneralName:
    try:
        if not 1 <= len(text) <= _LONGEST_SAN or not text.isascii() or not text.isprintable():
            raise ValueError("1 to 253 printable ASCII characters")
        match kind:
            case "dns":
                return x509.DNSName(text)
            case "ip":
                return x509.IPAddress(ipaddress.ip_address(text))
            case "uri":
                return x509.UniformResourceIdentifier(text)
            case _:
                return x509.RFC822Name(text)
    except ValueError as error:
        raise _refused(f"{text!r} is no {kind} name: {error}") from None


def _refused(why: str) -> PolicyError:
    return PolicyError("identity.csr-policy", f"nothing is signed: {why}")
