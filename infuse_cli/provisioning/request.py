"""What a run of the line is asked to do, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from infuse_cli.config.model import Profile


@dataclass(frozen=True, slots=True)
class Options:
    """How boards are treated.

    `again` gives a board that PASSed a new identity; `restart` begins an unfinished board anew;
    `replace` takes over occupied sec_tag entries. `until` names the step after which boards are
    parked. `metadata` is for one board; `metadata_table` has rows by IMEI, UUID or mcuId in lower
    case.
    """

    again: bool = False
    restart: bool = False
    replace: bool = False
    update_metadata: bool = False
    dry_run: bool = False
    until: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    metadata_table: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProvisionRequest:
    """Which boards are taken, and how.

    Without `ports` those are taken on which boards are seen now, or with `watch` as they come.
    `slots` is how many at a time at most, `count` how many in all. The passphrase of the CA comes
    from `passphrase_file` (0600) or the open file descriptor `passphrase_fd`, else from where the
    profile says, else from the settings' prompt.
    """

    options: Options = Options()
    ports: tuple[str, ...] = ()
    slots: int | None = None
    count: int | None = None
    passphrase_file: Path | None = None
    passphrase_fd: int | None = None
    lot: str | None = None
    watch: bool = False


@dataclass(frozen=True, slots=True)
class RunSetup:
    """What one run is made of, once its profile is known.

    `command` is the command on record. `overridden` says what the environment changed in the
    profile. `only` are the board keys that are taken, None for all. `certificate` is the
    certificate profile of an earlier run, as that run recorded it, where this one goes on with it.
    `before` is called once all is at hand (CA unlocked, cloud resolved) and before a board is
    touched; what it raises ends the run. `simulated` boards are gone with the run.
    """

    command: str
    profile: Profile
    request: ProvisionRequest = ProvisionRequest()
    overridden: tuple[str, ...] = ()
    simulated: bool = False
    only: frozenset[str] | None = None
    certificate: Mapping[str, Any] | None = None
    before: Callable[[], None] | None = None
