"""Scanned labels of a run: which values are scanned is the profile's, how is the bench's."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from infuse_cli.cli.keyboard import in_front
from infuse_cli.config.bench import Scanner
from infuse_cli.provisioning import scan
from infuse_cli.provisioning.labels import Labels
from infuse_cli.types import Event

if TYPE_CHECKING:
    from infuse_cli.config import model as prof
    from infuse_cli.config.bench import Bench
    from infuse_cli.provisioning.context import Deps


def with_labels(deps: Deps, bench: Bench) -> Deps:
    """The parts of a run with its labels, where the profile wants a scan and something can scan: a
    scanner, or a person's keyboard.
    """
    values = scanned_values(deps.profile)
    if not values or ((bench.scanner is None or bench.scanner.port is None) and not in_front()):
        return deps
    how = bench.scanner or Scanner()
    rules = scan.Rules(values, how.prefix, how.suffix, how.slot or scan.SLOT)
    repeats = {field.name for field in deps.resolved.board.metadata_fields if not field.unique}
    labels = Labels(
        rules,
        deps.clock,
        taken=deps.journal.labelled,
        repeats=repeats,
        tell=functools.partial(announce, deps),
    )
    return dataclasses.replace(deps, labels=labels)


def scanned_values(profile: prof.Profile) -> dict[str, str | None]:
    """What a label gives, with its pattern."""
    values = {
        name: rule.pattern
        for name, rule in profile.metadata.items()
        if not isinstance(rule, str) and rule.source == "scan"
    }
    source = profile.board.mcu_id
    return values | (
        {"mcuId": source.pattern or scan.MCU_ID}
        if source is not None and source.source == "scan"
        else {}
    )


def announce(deps: Deps, event: str, slot: int | None, data: dict[str, Any]) -> None:
    """Tell what became of a scan."""
    deps.events.emit(Event(ts=deps.clock.now(), run=deps.run, event=event, slot=slot, data=data))
