"""The commands, by name: help and shell completion read this table and import nothing (start-up is a feature).

A test compares every row with the command it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """A top-level command: its name, its help in one line, and where it lives. `attr` is a function or a Typer app."""

    name: str
    help: str
    module: str
    attr: str


_COMMANDS: Final = "infuse_cli.cli.commands"

ROWS: Final[tuple[Row, ...]] = (
    Row("provision", "Bring boards into the cloud: plug in and watch them turn green.", f"{_COMMANDS}.provision", "command"),
    Row("resume", "Go on with what an earlier run left unfinished.", f"{_COMMANDS}.resume", "command"),
    Row("journal", "What happened, board by board: list, show, summary, export.", f"{_COMMANDS}.journal", "app"),
    Row("profile", "Product profiles: list, show, check, new.", f"{_COMMANDS}.profile", "app"),
    Row("ca", "The local CA that signs the boards' certificates.", f"{_COMMANDS}.ca", "app"),
    Row("auth", "The API credential: login, logout, status.", f"{_COMMANDS}.auth", "app"),
    Row("serial", "One board by hand: ports, probe, info, at, creds, check.", f"{_COMMANDS}.serial", "app"),
    Row("sim", "Virtual boards and a virtual cloud to try everything with.", f"{_COMMANDS}.sim", "app"),
    Row("completion", "Print the completion script of a shell: bash, zsh or fish.", f"{_COMMANDS}.completion", "command"),
)

VALUE_OPTIONS: Final[frozenset[str]] = frozenset({
    "--base", "--board", "--boards", "--by", "--ca", "--certificate", "--count", "--day", "--device-id", "--faults",
    "--file", "--folder", "--format", "--latency-ms", "--limit", "--lot", "--metadata", "--metadata-from", "--mode",
    "--name", "--organisation", "--out", "--passphrase-fd", "--passphrase-file", "--port", "--reason",
    "--registry-url", "--root", "--run", "--root-out", "--scan", "--seed", "--server-ca", "--sim", "--slots", "--tag",
    "--timeout",
    "--token-fd", "--token-file", "--until", "--url",
})
"""Options of any command that take a value, so that a value is never mistaken for a global option."""
