"""Certificate profiles: what a certificate says, and what may be signed, as data.

`device`, `bench` and `broker` are built in; own ones are YAML files (`config.source.certificates`
reads them, `from_values` gives them their meaning). What a template makes of a name has to fit the
profile's allow-list.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SUBJECT: Final[dict[str, ObjectIdentifier]] = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
}
SAN_KINDS: Final = ("dns", "ip", "uri", "email")
VARIABLES: Final = ("name", "deviceId", "uuid", "imei", "mcuId")
KEY_USAGES: Final = ("digitalSignature", "keyAgreement")
EXTENDED_KEY_USAGES: Final[dict[str, ObjectIdentifier]] = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
}
CURVES: Final = ("P-256", "P-384")
_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_LONGEST_PATTERN: Final = 400
_MOST_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True)
class Limits:
    """Most certificates a run, a batch and a day of UTC; None is no limit."""

    run: int | None = None
    batch: int | None = None
    day: int | None = None


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """What every certificate of this profile has.

    `subject` and `san` are (kind, template) in their order; `caller_san` the kinds of names that
    whoever asks may add; `allow` the pattern that every filled-in value of a kind has to match as a
    whole. `backdated` is how far notBefore lies in the past; `validity_days` is the default.
    """

    name: str
    extended_key_usage: tuple[ObjectIdentifier, ...]
    allow: Mapping[str, re.Pattern[str]]
    backdated: timedelta
    validity_days: int
    subject: tuple[tuple[str, str], ...] = (("CN", "{name}"),)
    san: tuple[tuple[str, str], ...] = ()
    caller_san: tuple[str, ...] = ()
    key_usage: tuple[str, ...] = ("digitalSignature",)
    curves: tuple[str, ...] = ("P-256",)
    limits: Limits = field(default_factory=Limits)
    unique_name: bool = True

    def takes_name(self, name: str | None) -> bool:
        """Whether a name may become the common name without anybody else naming it (a CSR's
        own).
        """
        template = dict(self.subject)["CN"]
        pattern = self.allow.get("CN")
        return (
            name is not None
            and pattern is not None
            and pattern.fullmatch(template.replace("{name}", name)) is not None
        )


# A host name: labels of RFC 1123 with a letter in the last, or one such label.
_LABEL: Final = r"([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = rf"(?=.{{1,64}}$)([A-Za-z0-9]{_LABEL}\.)*[A-Za-z]{_LABEL}"

DEVICE: Final = CertificateProfile(
    name="device",
    extended_key_usage=(ExtendedKeyUsageOID.CLIENT_AUTH,),
    # A cloud device id, a modem's UUID, or nrf-<IMEI>.
    allow={
        "CN": re.compile(
            r"[0-9a-f]{16}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|nrf-[0-9]{15}"
        )
    },
    backdated=timedelta(hours=24),
    validity_days=3650,
)
BENCH: Final = CertificateProfile(
    name="bench",
    extended_key_usage=(ExtendedKeyUsageOID.CLIENT_AUTH,),
    allow={"CN": re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")},
    backdated=timedelta(hours=24),
    validity_days=365,
    unique_name=False,
)
BROKER: Final = CertificateProfile(
    name="broker",
    extended_key_usage=(ExtendedKeyUsageOID.SERVER_AUTH,),
    allow={
        "CN": re.compile(_HOST),
        "dns": re.compile(_HOST.replace("1,64", "1,253")),
        "ip": re.compile(r"[0-9a-fA-F.:]{2,45}"),
    },
    backdated=timedelta(hours=24),
    validity_days=397,
    san=(("dns", "{name}"),),
    caller_san=("dns", "ip"),
    unique_name=False,
)
PROFILES: Final[dict[str, CertificateProfile]] = {
    profile.name: profile for profile in (DEVICE, BENCH, BROKER)
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in a certificate profile: the dotted key and what is wrong with it."""

    key: str
    text: str


def certificate_profile(name: str) -> CertificateProfile:
    """The built-in profile of this name.

    Raises ProfileError profile.invalid naming those that there are.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise ProfileError(
            "profile.invalid",
            f"no certificate profile {name!r}; there is: {', '.join(sorted(PROFILES))}",
            hint=(
                "Correct identity.certificate in the profile, or --certificate. Own ones lie in"
                " certificates/NAME.yaml."
            ),
        ) from None


def from_values(
    values: Mapping[str, Any], name: str
) -> tuple[CertificateProfile | None, list[Mistake]]:
    """The profile that plain values describe, or all that is wrong with them.

    `name` is for a file that gives none.
    """
    reader = _Reader(values)
    found = reader.profile(name)
    return (None if reader.mistakes else found), reader.mistakes


def to_values(profile: CertificateProfile) -> dict[str, Any]:
    """Plain values of which `from_values` makes the same profile."""
    usages = {oid: name for name, oid in EXTENDED_KEY_USAGES.items()}
    limits = {
        name: value
        for name in ("run", "batch", "day")
        if (value := getattr(profile.limits, name)) is not None
    }
    return {
        "name": profile.name,
        "subject": [dict([pair]) for pair in profile.subject],
        "san": [dict([pair]) for pair in profile.san],
        "caller_san": list(profile.caller_san),
        "allow": {kind: pattern.pattern for kind, pattern in profile.allow.items()},
        "key_usage": list(profile.key_usage),
        "extended_key_usage": [usages[oid] for oid in profile.extended_key_usage],
        "curves": list(profile.curves),
        "validity_days": profile.validity_days,
        "backdate_hours": int(profile.backdated / timedelta(hours=1)),
        "limits": limits,
        "unique_name": profile.unique_name,
    }


def content(profile: CertificateProfile) -> str:
    """Digest of what certificates of a profile of one's own say, empty for a built-in one.

    Limits and what may be asked for are left out: a certificate is the same whatever they are.
    SHA-256, hex.
    """
    if PROFILES.get(profile.name) == profile:
        return ""
    values = to_values(profile)
    said = {
        key: values[key]
        for key in (
            "name",
            "subject",
            "san",
            "key_usage",
            "extended_key_usage",
            "validity_days",
            "backdate_hours",
        )
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class _Reader:
    """Reads the values key by key, collecting what is wrong."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.mistakes: list[Mistake] = []

    def _wrong(self, key: str, text: str) -> None:
        self.mistakes.append(Mistake(key, text))

    def profile(self, name: str) -> CertificateProfile:
        for key in self._values:
            if key not in _KEYS:
                self._wrong(str(key), f"there is no such key; there are: {', '.join(_KEYS)}")
        base = DEVICE
        named = self._one("name", name, _is_name, "1 to 40 small letters, digits, _ or -")
        if named in PROFILES:
            self._wrong("name", f"{named} is built in and cannot be replaced")
        usages = self._some("extended_key_usage", ["clientAuth"], tuple(EXTENDED_KEY_USAGES))
        subject = self._templates("subject", [{"CN": "{name}"}], tuple(SUBJECT))
        san, caller = (
            self._templates("san", [], SAN_KINDS),
            self._some("caller_san", [], SAN_KINDS, empty=True),
        )
        if [kind for kind, _ in subject].count("CN") != 1:
            self._wrong("subject", "it has one CN")
        return CertificateProfile(
            name=named,
            extended_key_usage=tuple(
                EXTENDED_KEY_USAGES[one] for one in usages if one in EXTENDED_KEY_USAGES
            ),
            allow=self._allow(subject, san, caller),
            backdated=timedelta(hours=self._number("backdate_hours", 24, 0, 8784)),
            validity_days=self._number("validity_days", base.validity_days, 1, _MOST_DAYS),
            subject=subject,
            san=san,
            caller_san=caller,
            key_usage=self._some("key_usage", ["digitalSignature"], KEY_USAGES),
            curves=self._some("curves", ["P-256"], CURVES),
            limits=self._limits(),
            unique_name=self._one(
                "unique_name", True, lambda value: isinstance(value, bool), "true or false"
            ),
        )

    def _one(self, key: str, default: Any, fits: Callable[[Any], bool], what: str) -> Any:
        value = self._values.get(key, default)
        if not fits(value):
            self._wrong(key, f"it is {what}")
            return default
        return value

    def _number(self, key: str, default: int, least: int, most: int) -> int:
        value: int = self._one(
            key,
            default,
            lambda found: type(found) is int and least <= found <= most,
            f"a whole number from {least} to {most}",
        )
        return value

    def _some(
        self, key: str, default: list[str], known: Sequence[str], *, empty: bool = False
    ) -> tuple[str, ...]:
        value = self._values.get(key, default)
        if (
            not isinstance(value, list)
            or not (value or empty)
            or any(one not in known for one in value)
            or len(set(value)) != len(value)
        ):
            self._wrong(key, f"it is a list of some of {', '.join(known)}")
            return tuple(default)
        return tuple(value)

    def _templates(
        self, key: str, default: list[dict[str, str]], known: Sequence[str]
    ) -> tuple[tuple[str, str], ...]:
        """A table, or a list of tables where a kind comes more than once."""
        value = self._values.get(key, default)
        rows = [value] if isinstance(value, Mapping) else value
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            self._wrong(key, f"it is a table of {', '.join(known)}")
            return ()
        found = [(str(kind), text) for row in rows for kind, text in row.items()]
        return tuple(
            (kind, text)
            for kind, text in found
            if self._is_template(f"{key}.{kind}", kind, text, known)
        )

    def _is_template(self, key: str, kind: str, text: Any, known: Sequence[str]) -> bool:
        if kind not in known:
            self._wrong(key, f"there is no such kind; there are: {', '.join(known)}")
        elif not isinstance(text, str) or not text:
            self._wrong(key, "it is a text")
        elif unknown := [name for name in _VARIABLE.findall(text) if name not in VARIABLES]:
            self._wrong(
                key,
                f"there is no {{{unknown[0]}}}; there are:"
                f" {', '.join(f'{{{name}}}' for name in VARIABLES)}",
            )
        elif set("{}") & set(_VARIABLE.sub("", text)):
            self._wrong(key, "a brace is not closed")
        else:
            return True
        return False

    def _allow(
        self,
        subject: tuple[tuple[str, str], ...],
        san: tuple[tuple[str, str], ...],
        caller: tuple[str, ...],
    ) -> dict[str, re.Pattern[str]]:
        """Every kind that a variable or a caller fills in has a pattern: without one anything could
        be signed.
        """
        given = self._values.get("allow", {})
        given = given if isinstance(given, Mapping) else {}
        patterns = {
            str(kind): pattern
            for kind, text in given.items()
            if (pattern := self._pattern(str(kind), text)) is not None
        }
        filled = {kind for kind, text in (*subject, *san) if _VARIABLE.search(text)} | set(caller)
        for kind in sorted(filled - set(given)):
            self._wrong(
                "allow", f"it has no pattern for {kind}, which is filled in for each certificate"
            )
        return patterns

    def _pattern(self, kind: str, text: Any) -> re.Pattern[str] | None:
        if kind not in (*SUBJECT, *SAN_KINDS):
            self._wrong(
                f"allow.{kind}",
                f"there is no such kind; there are: {', '.join((*SUBJECT, *SAN_KINDS))}",
            )
            return None
        try:
            if isinstance(text, str) and 0 < len(text) <= _LONGEST_PATTERN:
                return re.compile(text)
        except re.error as error:
            self._wrong(f"allow.{kind}", f"it is not a regular expression: {error}")
            return None
        self._wrong(
            f"allow.{kind}", f"it is a regular expression of at most {_LONGEST_PATTERN} characters"
        )
        return None

    def _limits(self) -> Limits:
        given = self._values.get("limits", {})
        if not isinstance(given, Mapping) or not set(given) <= {"run", "batch", "day"}:
            self._wrong("limits", "it is a table of run, batch and day")
            return Limits()
        for key, value in given.items():
            if type(value) is not int or value < 1:
                self._wrong(f"limits.{key}", "it is a whole number from 1")
        return Limits(**given)


_KEYS: Final = (
    "name",
    "description",
    "subject",
    "san",
    "caller_san",
    "allow",
    "key_usage",
    "extended_key_usage",
    "curves",
    "validity_days",
    "backdate_hours",
    "limits",
    "unique_name",
)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
