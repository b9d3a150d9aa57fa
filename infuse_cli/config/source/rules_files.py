"""Rules of a profile about the files that it names, and the places that derived keys go to."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.certificate_files import MAX_BUNDLE, MAX_CHAIN, read_trusted
from infuse_cli.config.source.finding import nearest
from infuse_cli.config.source.subject import compiled
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infuse_cli.config.source.finding import Finding
    from infuse_cli.config.source.subject import Subject

KEY_FACTS: Final = ("deviceId", "interface", "dayIndex", "uuid", "imei", "mcuId")
"""Facts that `keys.to` may use."""


CERTIFICATE_FILES: Final = {
    "identity.server_ca": MAX_CHAIN,
    "cloud.ca_bundle": MAX_BUNDLE,
    "broker.ca": MAX_BUNDLE,
}
"""Keys that name files of certificates to trust, and how many each may hold."""


def files(subject: Subject) -> Iterator[Finding]:
    """Every file that the profile names is there, and holds what it should."""
    profile = subject.profile
    for key, text in (
        ("identity.server_ca", profile.identity.server_ca),
        ("cloud.ca_bundle", profile.cloud.ca_bundle),
        ("identity.passphrase.file", profile.identity.passphrase.file),
        ("cloud.auth.token_file", profile.cloud.auth.token_file),
        ("board.serial.network_key_file", profile.board.serial.network_key_file),
        ("broker.ca", profile.broker.ca if profile.broker else None),
    ):
        if text is None:
            continue
        if not Path(text).is_file():
            yield subject.error(
                key,
                f"{key!r} names {text}, but there is no such file",
                expected="a file, relative to the profile",
            )
        elif key in CERTIFICATE_FILES:
            yield from _certificate_file(subject, key, text)
    if profile.identity.passphrase.keyring and profile.identity.passphrase.file is not None:
        yield subject.error(
            "identity.passphrase",
            "the passphrase is to come from the keyring and from a file",
            expected="one of the two",
        )


def _certificate_file(subject: Subject, key: str, text: str) -> Iterator[Finding]:
    try:
        read_trusted(text, key, most=CERTIFICATE_FILES[key])
    except ProfileError as error:
        yield subject.error(key, f"{error.message}. {error.hint.removesuffix('.')}")


def keys(subject: Subject) -> Iterator[Finding]:
    """Which keys are derived, and where they go."""
    keys = subject.profile.keys
    if keys is None:
        return
    if not keys.interfaces:
        yield subject.doubt("keys.interfaces", "no interface is named, so no key is derived")
    if keys.public_key is not None and (problem := compiled(keys.public_key.pattern)[1]):
        yield subject.error(
            "keys.public_key.pattern",
            f"'keys.public_key.pattern' is not a regular expression: {problem}",
        )
    kind, _, template = keys.to.partition(":")
    if keys.to in {"none", "sealed"}:
        return
    if kind not in {"file", "command"} or not template.strip():
        yield subject.error(
            "keys.to",
            f"'keys.to' is {keys.to!r}",
            expected="none, sealed, file:TEMPLATE or command:WORDS",
        )
        return
    yield from _key_place(subject, kind, template, several=len(keys.interfaces) > 1)


def _key_place(subject: Subject, kind: str, template: str, *, several: bool) -> Iterator[Finding]:
    """A place must tell boards and keys apart, or the next board's key replaces the last one's."""
    places = set(re.findall(r"\{([^{}]*)\}", template))
    for name in sorted(places - set(KEY_FACTS)):
        yield subject.error(
            "keys.to",
            f"'keys.to' uses the unknown fact {name!r}",
            expected=", ".join(KEY_FACTS),
            meant=nearest(name, KEY_FACTS),
        )
    if kind == "command":
        try:
            shlex.split(template)
        except ValueError as error:
            yield subject.error(
                "keys.to",
                f"'keys.to' is no command line: {error}",
                expected="words as a shell would split them",
            )
        return
    if not places & {"deviceId", "mcuId", "uuid", "imei"}:
        yield subject.error(
            "keys.to",
            "every board's key would go into one file",
            expected="a template with {deviceId}, {mcuId}, {uuid} or {imei}",
        )
    if several and "interface" not in places:
        yield subject.error(
            "keys.to",
            "all interfaces' keys would go into one file",
            expected="a template with {interface}",
        )
    if not template.startswith(("/", "~")) and not re.match(r"[A-Za-z]:", template):
        yield subject.error(
            "keys.to",
            "a file for keys is named by its whole path",
            expected="file:/secure/folder/{deviceId}-{interface}.key",
        )
