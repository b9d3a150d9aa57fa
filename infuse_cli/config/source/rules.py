"""What a profile must make sense of, beyond its form.

Each rule is a function from the profile to findings.
"""

from __future__ import annotations

import re
import shlex
import string
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from infuse_cli.certificate_files import MAX_BUNDLE, MAX_CHAIN, read_trusted
from infuse_cli.config.model import MetadataValue, Profile
from infuse_cli.config.source.finding import Finding, at, nearest
from infuse_cli.config.source.nodes import Table, place
from infuse_cli.dialect import AUTO, DIALECTS, MCU_ID_SOURCES, TOKEN_STORES, speakers
from infuse_cli.dialect.capability import Capability
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOCS: Final = ("nRF9151", "nRF9161", "nRF9131", "nRF9160")
"""SoC names as the cloud writes them (source: the public client)."""

KEY_FACTS: Final = ("deviceId", "interface", "dayIndex", "uuid", "imei", "mcuId")
"""Facts that `keys.to` may use."""

NAME_FACTS: Final = ("deviceId", "mcuId", "imei", "uuid", "iccid", "soc", "model")
"""Facts that `registry.name` may use, beside the metadata keys."""

RANGES: Final[tuple[tuple[str, float, float, str], ...]] = (
    ("identity.sec_tag", 0, 2147483647, "0 to 2147483647"),
    ("token.sec_tag", 0, 2147483647, "0 to 2147483647"),
    ("identity.validity_days", 1, 36500, "1 to 36500 days"),
    ("board.serial.baud", 1200, 4_000_000, "1200 to 4000000 bit/s"),
    ("board.serial.line_limit", 256, 65536, "256 to 65536 bytes"),
    ("board.serial.network_id", 0, 0xFFFFFF, "0 to 16777215"),
    ("board.serial.credential_buffer", 256, 65536, "256 to 65536 characters"),
    ("cloud.timeout_s", 0.1, 3600, "0.1 to 3600 seconds"),
    ("cloud.deadline_s", 0.1, 86400, "0.1 to 86400 seconds"),
    ("cloud.outage_wait_s", 0, 86400, "0 to 86400 seconds"),
    ("cloud.lost_answer_grace_s", 0, 3600, "0 to 3600 seconds"),
    ("registry.token_ttl_s", 1, 31_536_000, "1 to 31536000 seconds"),
    ("verify.active_wait_s", 0, 86400, "0 to 86400 seconds"),
    ("verify.state_wait_s", 0, 86400, "0 to 86400 seconds"),
)
"""Numbers and the range they must be in."""

CERTIFICATE_FILES: Final = {
    "identity.server_ca": MAX_CHAIN,
    "cloud.ca_bundle": MAX_BUNDLE,
    "broker.ca": MAX_BUNDLE,
}
"""Keys that name files of certificates to trust, and how many each may hold."""

_VERSIONS: Final = re.compile(
    r"\s*(>=|<=|==|!=|>|<)?\s*\d+(\.\d+)*\s*(,\s*(>=|<=|==|!=|>|<)?\s*\d+(\.\d+)*\s*)*"
)
_PLACEHOLDER: Final = re.compile(r"<.*>")
_LOOPBACK: Final = ("localhost", "::1")


@dataclass(frozen=True, slots=True)
class Subject:
    """A profile under check.

    `base`: a built-in one, which need not be complete; `simulated`: no real hardware.
    """

    profile: Profile
    tree: Table
    base: bool
    simulated: bool

    def error(
        self,
        key: str,
        message: str,
        *,
        expected: str = "",
        meant: str | None = None,
        code: str = "profile.invalid",
    ) -> Finding:
        """An error at a key."""
        return at(place(self.tree, key), key, message, expected=expected, nearest=meant, code=code)

    def missing(self, key: str, message: str, expected: str) -> Finding:
        """Something that a base may leave to the products that extend it."""
        severity: Literal["error", "warning"] = "warning" if self.base else "error"
        return at(place(self.tree, key), key, message, expected=expected, severity=severity)

    def doubt(self, key: str, message: str) -> Finding:
        """A warning at a key."""
        return at(place(self.tree, key), key, message, severity="warning")


def all_of(subject: Subject) -> list[Finding]:
    """The findings of every rule."""
    return [finding for rule in RULES for finding in rule(subject)]


def _soc(subject: Subject) -> Iterator[Finding]:
    soc, key = subject.profile.board.soc, "board.soc"
    if soc is None or soc in SOCS:
        return
    if (meant := nearest(soc, SOCS)) is not None:
        yield subject.error(
            key, f"unknown soc {soc!r}", expected="the cloud's spelling", meant=meant
        )
    else:
        yield subject.doubt(
            key, f"the soc {soc!r} is not one that is known here ({', '.join(SOCS)})"
        )


def _ranges(subject: Subject) -> Iterator[Finding]:
    for key, least, most, expected in RANGES:
        value: object = subject.profile
        for word in key.split("."):
            value = getattr(value, word, None)
        if isinstance(value, int | float) and not least <= value <= most:
            yield subject.error(key, f"{key!r} is {value}", expected=expected)


def _usb(subject: Subject) -> Iterator[Finding]:
    for number, match in enumerate(subject.profile.board.usb):
        for name, value in (("vid", match.vid), ("pid", match.pid)):
            if not re.fullmatch(r"[0-9A-Fa-f]{4}", value):
                yield subject.error(
                    "board.usb",
                    f"board.usb[{number}].{name} is {value!r}",
                    expected="four hex digits in quotes, such as '1366'",
                )


def _mcu_id(subject: Subject) -> Iterator[Finding]:
    source, key = subject.profile.board.mcu_id, "board.mcu_id"
    dialect = subject.profile.board.serial.dialect
    if source is None:
        yield subject.missing(
            key,
            "nothing says where mcuId comes from",
            "board.mcu_id: {from: nrfutil}, or another source",
        )
        return
    if source.source == "imei" and not subject.simulated:
        yield subject.doubt(
            key,
            "mcuId is made from the IMEI: a device registered so is another cloud device than one"
            " registered by the chip's own id",
        )
    if source.source == "command":
        if not source.command:
            yield subject.error(
                key,
                "board.mcu_id.from is 'command', but there is no board.mcu_id.command",
                expected="the command to send",
            )
        yield from _one_group(subject, f"{key}.pattern", source.pattern)
    needed = MCU_ID_SOURCES.get(source.source)
    if needed is not None and not _covers(dialect, needed):
        yield subject.error(
            f"{key}.from",
            f"mcuId from {source.source!r} cannot be read over the dialect {dialect!r}",
            expected=f"board.serial.dialect {' or '.join(speakers(needed))}",
            code="profile.cannot",
        )


def _covers(dialect: str, capability: Capability) -> bool:
    """Whether a dialect can do something; what is found by asking may."""
    return dialect == AUTO or capability in DIALECTS[dialect].can


def _dialect(subject: Subject) -> Iterator[Finding]:
    profile, dialect = subject.profile, subject.profile.board.serial.dialect
    certified = profile.identity.mode in {"local-ca", "cloud-ca"}
    if certified and not _covers(dialect, Capability.WRITE):
        yield subject.error(
            "identity.mode",
            f"identity.mode {profile.identity.mode!r} puts a certificate on the board, which"
            f" dialect {dialect!r} cannot",
            expected="first-boot or none, or another board.serial.dialect",
            code="profile.cannot",
        )
    possession = profile.verify.possession == "required"
    if possession and not _covers(dialect, Capability.POSSESSION):
        yield subject.error(
            "verify.possession",
            f"possession cannot be proved over the dialect {dialect!r}",
            expected="if-offered",
            code="profile.cannot",
        )


def _one_group(subject: Subject, key: str, pattern: str | None) -> Iterator[Finding]:
    expected = "a regular expression with one group that gives 16 hex digits"
    if pattern is None:
        yield subject.error(key, f"there is no {key}", expected=expected)
        return
    groups, problem = _compiled(pattern)
    if problem:
        yield subject.error(
            key, f"{key!r} is not a regular expression: {problem}", expected=expected
        )
    elif groups != 1:
        yield subject.error(key, f"{key!r} has {groups} groups", expected=expected)


def _compiled(pattern: str) -> tuple[int, str]:
    try:
        return re.compile(pattern).groups, ""
    except re.error as error:
        return 0, str(error)


def _expect(subject: Subject) -> Iterator[Finding]:
    wanted = subject.profile.board.expect.modem_firmware
    if wanted is not None and not _VERSIONS.fullmatch(wanted):
        yield subject.error(
            "board.expect.modem_firmware",
            f"{wanted!r} is not a comparison of versions",
            expected="such as '>=2.0.2'",
        )


def _urls(subject: Subject) -> Iterator[Finding]:
    registry = subject.profile.registry
    for key, url in (
        ("cloud.base_url", subject.profile.cloud.base_url),
        ("registry.base_url", registry.base_url if registry else None),
    ):
        if url is not None and (problem := _url_problem(url)):
            shown = "not shown" if "@" in url else repr(url)
            yield subject.error(
                key,
                f"{key!r} is {shown}: {problem}",
                expected="https://HOST, or http:// on this machine only",
            )


def _url_problem(url: str) -> str:
    if "@" in url:
        return "it holds a user name or password before the host"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"http", "https"} or not host:
        return "not a web address"
    if parts.scheme == "http" and host not in _LOOPBACK and not host.startswith("127."):
        return "the credential would travel in the clear"
    if parts.query or parts.fragment:
        return "it must not have a query"
    return ""


def _things(subject: Subject) -> Iterator[Finding]:
    cloud = subject.profile.cloud
    for key, thing in (("cloud.organisation", cloud.organisation), ("cloud.board", cloud.board)):
        if thing.id is None and thing.name is None:
            yield subject.missing(key, f"{key} has neither a name nor an id", "name: or id:")
        if thing.create and thing.name is None:
            yield subject.error(key, f"{key}.create needs a name to create", expected="name:")
    if cloud.network is not None and cloud.network.id is None and cloud.network.name is None:
        yield subject.error(
            "cloud.network",
            "cloud.network has neither a name nor an id",
            expected="name: or id:, or no section",
        )
    if cloud.board.create and subject.profile.board.soc is None:
        yield subject.missing(
            "cloud.board", "cloud.board.create needs board.soc", f"board.soc, such as {SOCS[0]}"
        )
    if cloud.network is not None and cloud.network.create:
        yield subject.error(
            "cloud.network.create",
            "a network is never created by a run, its key is a secret",
            expected="create it with `infuse network create`",
            code="profile.cannot",
        )


def _registry(subject: Subject) -> Iterator[Finding]:
    profile = subject.profile
    mode, registry = profile.identity.mode, profile.registry
    if registry is None:
        if mode in {"first-boot", "cloud-ca"}:
            yield subject.missing(
                "registry",
                f"identity.mode is {mode!r}, but there is no registry",
                "registry: {base_url: …}",
            )
        elif profile.token is not None:
            yield subject.missing(
                "registry",
                "a token is to be flashed, but there is no registry to mint it",
                "registry: {base_url: …}",
            )
        return
    known = (*NAME_FACTS, *profile.metadata)
    try:
        names = [
            name for _, name, _, _ in string.Formatter().parse(registry.name) if name is not None
        ]
    except ValueError as error:
        yield subject.error(
            "registry.name",
            f"'registry.name' is not a template: {error}",
            expected="text with {deviceId} or the like",
        )
        return
    for name in names:
        if name not in known:
            yield subject.error(
                "registry.name",
                f"'registry.name' uses the unknown fact {name!r}",
                expected=", ".join(known),
                meant=nearest(name, known),
            )


def _token(subject: Subject) -> Iterator[Finding]:
    token, dialect = subject.profile.token, subject.profile.board.serial.dialect
    if token is None:
        return
    needed = TOKEN_STORES[token.store]
    if not _covers(dialect, needed):
        able = " or ".join(speakers(needed))
        yield subject.error(
            "token.store",
            f"token.store {token.store!r} cannot be done over the dialect {dialect!r}",
            expected=f"board.serial.dialect {able}",
            code="profile.cannot",
        )
    if token.store == "settings" and not token.name:
        yield subject.error(
            "token",
            "token.store is 'settings', but there is no token.name",
            expected="the name of the setting",
        )
    if token.store == "kv" and not re.fullmatch(r"\d{1,5}", token.name or ""):
        yield subject.error(
            "token",
            "token.store is 'kv', but token.name is no number of a key",
            expected="such as name: '20'",
        )
    if token.store == "command":
        yield from _token_command(subject, token.command, token.success)
    if (
        token.store == "psk"
        and token.sec_tag == subject.profile.identity.sec_tag
        and subject.profile.identity.mode != "none"
    ):
        yield subject.doubt(
            "token.sec_tag",
            f"token and identity share the sec_tag {token.sec_tag}: allowed, but a TLS client"
            " cannot then choose between them",
        )
    if subject.profile.identity.mode in {"cloud-ca", "none"}:
        yield subject.doubt(
            "token",
            f"with identity.mode {subject.profile.identity.mode!r} no token is put on the board, so"
            " this section does nothing",
        )


def _token_command(subject: Subject, command: str | None, success: str | None) -> Iterator[Finding]:
    if not command or "{token}" not in command:
        yield subject.error(
            "token.command",
            "token.store is 'command', but token.command has no {token}",
            expected="such as 'prov token {token}'",
        )
    if not success:
        yield subject.error(
            "token.success",
            "token.store is 'command', but there is no token.success",
            expected="the line that means success",
        )
    if success is not None and (problem := _compiled(success)[1]):
        yield subject.error(
            "token.success", f"'token.success' is not a regular expression: {problem}"
        )


def _metadata(subject: Subject) -> Iterator[Finding]:
    for name, value in subject.profile.metadata.items():
        if not isinstance(value, MetadataValue):
            continue
        if value.pattern is not None and (problem := _compiled(value.pattern)[1]):
            yield subject.error(
                f"metadata.{name}.pattern",
                f"the pattern of {name!r} is not a regular expression: {problem}",
            )
    for field in subject.profile.cloud.board.metadata_fields:
        if field.required and field.name not in subject.profile.metadata:
            yield subject.doubt(
                "cloud.board.metadata_fields",
                f"the metadata {field.name!r} is required, but only --metadata can give it a value",
            )


def _files(subject: Subject) -> Iterator[Finding]:
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


def _identity(subject: Subject) -> Iterator[Finding]:
    identity = subject.profile.identity
    if identity.key_usage is not None and not re.fullmatch(r"[01]{9}", identity.key_usage):
        yield subject.error(
            "identity.key_usage",
            f"'identity.key_usage' is {identity.key_usage!r}",
            expected="nine bits in quotes, such as '101010000'",
        )
    if identity.attributes is not None and '"' in identity.attributes:
        yield subject.error(
            "identity.attributes",
            "'identity.attributes' must not hold a quotation mark",
            expected="such as 'CN=name,O=company'",
        )


def _keys(subject: Subject) -> Iterator[Finding]:
    keys = subject.profile.keys
    if keys is None:
        return
    if not keys.interfaces:
        yield subject.doubt("keys.interfaces", "no interface is named, so no key is derived")
    if keys.public_key is not None and (problem := _compiled(keys.public_key.pattern)[1]):
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


def _proof(subject: Subject) -> Iterator[Finding]:
    verify, mode = subject.profile.verify, subject.profile.identity.mode
    if subject.base or mode == "none":
        return
    waits = verify.active_wait_s or verify.state_wait_s or verify.rpc
    if not waits and verify.possession == "if-offered" and mode != "first-boot":
        yield subject.doubt(
            "verify",
            "green proves nothing to the broker: set verify.active_wait_s or verify.state_wait_s,"
            " or verify.possession: required",
        )
    if verify.active_wait_s and subject.profile.registry is None:
        yield subject.error(
            "verify.active_wait_s",
            "verify.active_wait_s waits for the registry, but there is none",
            expected="registry: {base_url: …}",
            code="profile.cannot",
        )


def _placeholders(subject: Subject) -> Iterator[Finding]:
    cloud = subject.profile.cloud
    for key, thing in (
        ("cloud.organisation", cloud.organisation),
        ("cloud.board", cloud.board),
        ("cloud.network", cloud.network),
    ):
        if thing is not None and thing.name is not None and _PLACEHOLDER.fullmatch(thing.name):
            yield subject.error(
                f"{key}.name",
                f"{thing.name} stands for a name that is still to be put in",
                expected="the name as the cloud has it",
            )


RULES: Final[tuple[Callable[[Subject], Iterator[Finding]], ...]] = (
    _soc,
    _ranges,
    _usb,
    _mcu_id,
    _dialect,
    _expect,
    _urls,
    _things,
    _placeholders,
    _registry,
    _token,
    _metadata,
    _files,
    _identity,
    _keys,
    _proof,
)
