"""What `register` would do with a file: checked and compared with the cloud, nothing is written."""

from __future__ import annotations

import enum
import os
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.batch.adapters import Adapters, sealing_keys
from infuse_cli.batch.compare import by_column, compare
from infuse_cli.batch.existing import Existing
from infuse_cli.batch.outage import Outage, report_outage
from infuse_cli.batch.source import RowFile, Summary, open_rows, rules_of
from infuse_cli.clock import RunClock
from infuse_cli.config.source import load_profile
from infuse_cli.errors import (
    CredentialError,
    Exit,
    InfuseError,
    Interrupted,
    PolicyError,
    UsageError,
)
from infuse_cli.journal.spill_store import DiskSpillStore
from infuse_cli.provisioning.resolve import NOT_YET, resolve
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infuse_cli.api_types import Device
    from infuse_cli.effects.comparison import Difference
    from infuse_cli.ports import RegistryApi
    from infuse_cli.provisioning.context import Resolved
    from infuse_cli.records.rows import BadRow, Row
    from infuse_cli.settings import Settings

LISTED: Final = 100
"""Differing rows, taken names and bad lines that a plan lists; the counts are of all."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """The file, and the options of `register` under which it is planned."""

    file: Path
    update: bool = False
    skip_bad: bool = False


class RowPlan(enum.Enum):
    """What `register` would do with a row."""

    CREATE = "create"
    EXISTED = "existed"
    UPDATE = "update"
    DIFFERS = "differs"


class NamePlan(enum.Enum):
    """What `register` would do with a row's registry name."""

    MINT = "mint"
    EXISTED = "existed"
    TAKEN = "taken"


class KeyState(enum.Enum):
    """Where the sealing key stands."""

    THERE = "there"
    WOULD_BE_MADE = "would be made"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The key that tokens would be sealed with. `where` is its place, None where it is missing."""

    state: KeyState
    where: str | None = None


@dataclass(frozen=True, slots=True)
class DifferingRow:
    """A row whose cloud device has other values."""

    line: int
    mcu_id: str
    device_id: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class TakenName:
    """A row whose registry name belongs to another device."""

    line: int
    mcu_id: str
    name: str


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The outcome of a plan. `sealing_key` is None where no row asks for a token.

    `errors` are in the order of their weight. One that is no PolicyError would keep `register` from
    sending anything.
    """

    file: Path
    summary: Summary
    resolved: Resolved
    rows: Mapping[RowPlan, int]
    names: Mapping[NamePlan, int]
    differing: tuple[DifferingRow, ...]
    taken: tuple[TakenName, ...]
    bad: tuple[BadRow, ...]
    sealing_key: SealingKey | None
    errors: tuple[InfuseError, ...]

    @property
    def blocking(self) -> InfuseError | None:
        """What would keep `register` from sending anything at all."""
        return next((error for error in self.errors if not isinstance(error, PolicyError)), None)

    @property
    def exit(self) -> Exit:
        """The exit code with which `register` would end."""
        if self.blocking is not None:
            return self.blocking.exit
        if not self.errors and not self.summary.bad:
            return Exit.OK
        if self.summary.lines == 1 and self.errors:
            return self.errors[0].exit
        return Exit.SOME_FAILED


def plan(
    settings: Settings,
    request: PlanRequest,
    clock: RunClock | None = None,
    *,
    on_outage: Callable[[Outage], None] | None = None,
) -> BatchPlan:
    """Check the file and compare its rows with the cloud; nothing is written anywhere.

    Raises UsageError batch.… for a file that cannot be read, ProfileError, CredentialError,
    CloudError, Interrupted.
    """
    profile, clock = load_profile(settings.profile, settings.env).profile, clock or RunClock()
    with open_rows(request.file) as file, Adapters(settings, profile, clock) as adapters:
        cloud = adapters.patient_cloud
        with report_outage(clock, profile.cloud, on_outage):
            resolved = resolve(profile, cloud, None, "", clock)
            rules = rules_of(profile, resolved.board.metadata_fields)
            summary = file.check(rules, stopped=lambda: clock.wait(0))
            planner = _Planner(request, adapters, resolved, summary)
            planner.compare_rows(file, clock)
        return planner.finish(file)


@dataclass(slots=True)
class _Planner:
    """Collects what is seen while the rows are compared."""

    request: PlanRequest
    adapters: Adapters
    resolved: Resolved
    summary: Summary
    rows: Counter[RowPlan] = field(default_factory=Counter)
    names: Counter[NamePlan] = field(default_factory=Counter)
    differing: list[DifferingRow] = field(default_factory=list)
    taken: list[TakenName] = field(default_factory=list)
    sealing_key: SealingKey | None = None
    errors: list[InfuseError] = field(default_factory=list)

    def compare_rows(self, file: RowFile, clock: RunClock) -> None:
        """Compare every good row with what the cloud and the registry have."""
        registry, cloud = self._registry(), self.adapters.patient_cloud
        existing, holders = Existing(DiskSpillStore()), DiskSpillStore()
        organisation_exists = self.resolved.organisation.id != NOT_YET
        if organisation_exists:
            existing.read(cloud, self.resolved, most_pages=self.summary.good)
        if registry is not None:
            for page in registry.device_pages():
                holders.put(
                    (device.name, str(device.metadata.get("mcuId", "")).encode()) for device in page
                )
        for row in file.rows():
            if clock.wait(0):
                raise Interrupted
            device = existing.find(row.mcu_id)
            if device is None and organisation_exists and not existing.complete:
                device = cloud.device_by_mcu_id(self.resolved.soc, row.mcu_id)
            self._count_row(row, device)
            if row.name is not None and registry is not None:
                self._count_name(row, row.name, holders.get(row.name))

    def _registry(self) -> RegistryApi | None:
        """The registry that rows with a name need; what is missing for them becomes an error."""
        if not self.summary.named:
            return None
        try:
            self.adapters.check_registry(self.summary.named)
        except InfuseError as error:
            self.errors.append(error)
            return None
        try:
            self.sealing_key = _sealing_key(self.adapters.settings)
        except CredentialError as error:
            self.sealing_key = SealingKey(KeyState.MISSING)
            self.errors.append(error)
        return self.adapters.registry()

    def _count_row(self, row: Row, device: Device | None) -> None:
        if device is None:
            self.rows[RowPlan.CREATE] += 1
            return
        resolved = self.resolved
        found = compare(
            row, device, organisation_id=resolved.organisation.id, board_id=resolved.board.id
        )
        if not found:
            self.rows[RowPlan.EXISTED] += 1
            return
        correctable = self.request.update and not found.ids
        self.rows[RowPlan.UPDATE if correctable else RowPlan.DIFFERS] += 1
        if len(self.differing) < LISTED:
            differences = by_column(found)
            self.differing.append(DifferingRow(row.line, row.mcu_id, device.device_id, differences))

    def _count_name(self, row: Row, name: str, holder: bytes | None) -> None:
        """Count whether a token would be minted for a name; `holder` is the mcuId of its device."""
        if holder is None:
            self.names[NamePlan.MINT] += 1
        elif holder.decode() == row.mcu_id:
            self.names[NamePlan.EXISTED] += 1
        else:
            self.names[NamePlan.TAKEN] += 1
            if len(self.taken) < LISTED:
                self.taken.append(TakenName(row.line, row.mcu_id, name))

    def finish(self, file: RowFile) -> BatchPlan:
        """The plan, with an error for each kind of row that would not be registered."""
        self._add_errors(file)
        return BatchPlan(
            self.request.file,
            self.summary,
            self.resolved,
            rows=self.rows,
            names=self.names,
            differing=tuple(self.differing),
            taken=tuple(self.taken),
            bad=tuple(islice(file.troubles(), LISTED)),
            sealing_key=self.sealing_key,
            errors=tuple(self.errors),
        )

    def _add_errors(self, file: RowFile) -> None:
        summary = self.summary
        try:
            file.must_be_clean(summary, skip_bad=self.request.skip_bad)
        except UsageError as error:
            why = f"{summary.bad} of {plural(summary.lines, 'line')} cannot be taken"
            self.errors.insert(
                0, UsageError(error.code, f"{self.request.file}: {why}", hint=error.hint)
            )
        differing, taken = self.rows[RowPlan.DIFFERS], self.names[NamePlan.TAKEN]
        if differing:
            why = "differ from their cloud device and would be left as they are"
            self.errors.append(
                PolicyError("cloud.device-conflict", f"{plural(differing, 'row')} {why}")
            )
        if taken:
            why = "have a name that the registry knows already, from somebody else"
            self.errors.append(
                PolicyError("identity.registry-conflict", f"{plural(taken, 'row')} {why}")
            )


def _sealing_key(settings: Settings) -> SealingKey:
    """Where the key is that would seal tokens, without making one.

    Raises CredentialError credential.sealing-key.
    """
    from infuse_cli.keys.seal import load_sealer

    keys = sealing_keys(settings)
    try:
        return SealingKey(KeyState.THERE, load_sealer(keys, create=False).where)
    except CredentialError:
        above = next((folder for folder in keys.key_file.parents if folder.exists()), Path("/"))
        inside = keys.key_file.resolve().is_relative_to(settings.home.resolve())
        if keys.keyring or keys.key_file.exists() or inside or not os.access(above, os.W_OK):
            raise
    return SealingKey(KeyState.WOULD_BE_MADE, str(keys.key_file))
