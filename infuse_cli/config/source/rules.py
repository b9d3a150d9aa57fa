"""What a profile must make sense of, beyond its form.

Each rule is a function from the profile to findings.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from infuse_cli.capabilities import CERTIFICATE_MODES, MCU_ID_SOURCES, TOKEN_STORES, Capability
from infuse_cli.config.model import MetadataValue
from infuse_cli.config.source.finding import Finding, nearest
from infuse_cli.config.source.rules_files import files, keys
from infuse_cli.config.source.subject import Subject, compiled
from infuse_cli.dialect import able

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOCS: Final = ("nRF9151", "nRF9161", "nRF9131", "nRF9160")
"""SoC names as the cloud writes them (source: the public client)."""


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


_VERSIONS: Final = re.compile(
    r"\s*(>=|<=|==|!=|>|<)?\s*\d+(\.\d+)*\s*(,\s*(>=|<=|==|!=|>|<)?\s*\d+(\.\d+)*\s*)*"
)
_PLACEHOLDER: Final = re.compile(r"<.*>")
_LOOPBACK: Final = ("localhost", "::1")


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
    fit = able(MCU_ID_SOURCES.get(source.source, frozenset()))
    if dialect not in {"auto", *fit}:
        yield subject.error(
            f"{key}.from",
            f"mcuId from {source.source!r} cannot be read over the dialect {dialect!r}",
            expected=f"board.serial.dialect {' or '.join(fit)}",
            code="profile.unsupported",
        )


def _dialect(subject: Subject) -> Iterator[Finding]:
    profile, dialect = subject.profile, subject.profile.board.serial.dialect
    mode = profile.identity.mode
    fit = able(CERTIFICATE_MODES.get(mode, frozenset()))
    if dialect not in {"auto", *fit}:
        yield subject.error(
            "identity.mode",
            f"identity.mode {mode!r} puts a certificate on the board, which"
            f" dialect {dialect!r} cannot",
            expected="first-boot or none, or another board.serial.dialect",
            code="profile.unsupported",
        )
    proving = {"auto", *able(frozenset({Capability.POSSESSION}))}
    if dialect not in proving and profile.verify.possession == "required":
        yield subject.error(
            "verify.possession",
            f"possession cannot be proved over the dialect {dialect!r}",
            expected="if-offered",
            code="profile.unsupported",
        )


def _one_group(subject: Subject, key: str, pattern: str | None) -> Iterator[Finding]:
    expected = "a regular expression with one group that gives 16 hex digits"
    if pattern is None:
        yield subject.error(key, f"there is no {key}", expected=expected)
        return
    groups, problem = compiled(pattern)
    if problem:
        yield subject.error(
            key, f"{key!r} is not a regular expression: {problem}", expected=expected
        )
    elif groups != 1:
        yield subject.error(key, f"{key!r} has {groups} groups", expected=expected)


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
            code="profile.unsupported",
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
    fit = able(TOKEN_STORES[token.store])
    if dialect not in {"auto", *fit}:
        yield subject.error(
            "token.store",
            f"token.store {token.store!r} cannot be done over the dialect {dialect!r}",
            expected=f"board.serial.dialect {' or '.join(fit)}",
            code="profile.unsupported",
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
    if success is not None and (problem := compiled(success)[1]):
        yield subject.error(
            "token.success", f"'token.success' is not a regular expression: {problem}"
        )


def _metadata(subject: Subject) -> Iterator[Finding]:
    for name, value in subject.profile.metadata.items():
        if not isinstance(value, MetadataValue):
            continue
        if value.pattern is not None and (problem := compiled(value.pattern)[1]):
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
            code="profile.unsupported",
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
    files,
    _identity,
    keys,
    _proof,
)
