"""The commands, by name: help and shell completion read this table and import nothing (start-up is
a feature).

A test compares every row with the command it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """A top-level command: its name, its help in one line, and where it lives.

    `attr` is a function or a Typer app.

    `words` is how many words name one of its commands, e.g. three in `registry token list`.
    """

    name: str
    help: str
    module: str
    attr: str
    words: int = 2


_COMMANDS: Final = "infuse_cli.cli.commands"

ROWS: Final[tuple[Row, ...]] = (
    Row(
        "provision",
        "Bring boards into the cloud: plug in and watch them turn green.",
        f"{_COMMANDS}.provision",
        "command",
    ),
    Row(
        "resume",
        "Go on with what an earlier run left unfinished.",
        f"{_COMMANDS}.resume",
        "command",
    ),
    Row(
        "batch",
        "Many devices from a CSV: plan, register, status, export.",
        f"{_COMMANDS}.batch",
        "app",
    ),
    Row(
        "journal",
        "What happened, board by board: list, show, verify, backup.",
        f"{_COMMANDS}.journal",
        "app",
    ),
    Row("profile", "Product profiles: list, show, check, new.", f"{_COMMANDS}.profile", "app"),
    Row("ca", "The local CA that signs the boards' certificates.", f"{_COMMANDS}.ca", "app"),
    Row(
        "org", "Organisations in the cloud: list, show, create, ensure.", f"{_COMMANDS}.org", "app"
    ),
    Row(
        "board",
        "The cloud's product profiles, called boards: list, show, create.",
        f"{_COMMANDS}.board",
        "app",
    ),
    Row("network", "Networks in the cloud: list, show, create.", f"{_COMMANDS}.network", "app"),
    Row(
        "device",
        "Devices in the cloud: list, show, create, update, retire, replace.",
        f"{_COMMANDS}.device",
        "app",
    ),
    Row("key", "Keys of devices: derive, network, id, verify, rotate.", f"{_COMMANDS}.key", "app"),
    Row("mqtt", "Access to the organisation's broker: token, check.", f"{_COMMANDS}.mqtt", "app"),
    Row(
        "rpc",
        "Commands to a device through the cloud: send, show, wait, list.",
        f"{_COMMANDS}.rpc",
        "app",
    ),
    Row(
        "registry",
        "The registry: token, device, component, sensor, health, group.",
        f"{_COMMANDS}.registry",
        "app",
        words=3,
    ),
    Row("auth", "The API credential: login, logout, status, exchange.", f"{_COMMANDS}.auth", "app"),
    Row(
        "serial",
        "By hand, one board: ports, console, at, creds, csr, write-id.",
        f"{_COMMANDS}.serial",
        "app",
        words=3,
    ),
    Row(
        "doctor",
        "Look this bench over: what is wrong, and what to do about it.",
        f"{_COMMANDS}.doctor",
        "command",
    ),
    Row(
        "sim",
        "Virtual boards and a virtual cloud to try everything with.",
        f"{_COMMANDS}.sim",
        "app",
    ),
    Row(
        "completion",
        "Print the completion script of a shell: bash, zsh or fish.",
        f"{_COMMANDS}.completion",
        "command",
    ),
)

BOARDLESS: Final[frozenset[str]] = frozenset(
    {
        "batch",
        "ca",
        "org",
        "board",
        "network",
        "device",
        "mqtt",
        "rpc",
        "registry",
        "auth",
        "key public",
        "key id",
        "key shared-secret",
        "key derive",
        "key network",
        "key verify",
    }
)
"""Commands that have nothing to do with a board on a cable: their errors need not say whether it
may be pulled.
"""

VALUE_OPTIONS: Final[frozenset[str]] = frozenset(
    {
        "--concurrency",
        "--for-bench",
        "--fw-types",
        "--max-failures",
        "--rate",
        "--report",
        "--sub-type",
        "--initial-state",
        "--params-encoded",
        "--security-state",
        "--base",
        "--board",
        "--bundle",
        "--boards",
        "--by",
        "--ca",
        "--certificate",
        "--count",
        "--day",
        "--description",
        "--device",
        "--device-id",
        "--device-profile",
        "--expires",
        "--faults",
        "--field",
        "--file",
        "--folder",
        "--format",
        "--from",
        "--group",
        "--head",
        "--interface",
        "--key-file",
        "--latency-ms",
        "--limit",
        "--location",
        "--lot",
        "--mcu-id",
        "--metadata",
        "--metadata-from",
        "--mode",
        "--name",
        "--network-id",
        "--organisation",
        "--out",
        "--passphrase-fd",
        "--passphrase-file",
        "--port",
        "--public-key",
        "--reason",
        "--registry-url",
        "--root",
        "--root-out",
        "--run",
        "--scan",
        "--scheme",
        "--seed",
        "--send-wait",
        "--sensor-profile",
        "--server-ca",
        "--sim",
        "--since",
        "--site",
        "--slots",
        "--soc",
        "--status",
        "--tag",
        "--timeout",
        "--to",
        "--token-fd",
        "--token-file",
        "--ttl",
        "--until",
        "--url",
        "--type",
        "--value-type",
        "--sec-tag",
        "--attributes",
        "--key-usage",
        "--log",
        "--csr-out",
        "--days",
        "--issuer",
        "--key",
        "--pin-fd",
        "--pin-file",
        "--root-key",
        "--serial",
        "--state",
        "--station",
        "--challenge",
        "--host",
        "--user-name",
        "--cloud-public-key",
        "--hardware-id",
        "--move",
        "--private-key",
        "--replaces",
        "--batch",
        "--key-out",
        "--san",
    }
)
"""Options of any command that take a value, so that a value is never mistaken for a global option.
"""
