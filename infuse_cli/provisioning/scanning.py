"""Scanned labels of a run: which values are scanned is the profile's, how is the bench's."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from infuse_cli.config.bench import Scanner
from infuse_cli.provisioning import scan
from infuse_cli.provisioning.labels import Labels
from infuse_cli.types import Event

if TYPE_CHECKING:
    from infuse_cli.config import model as prof
    from infuse_cli.config.bench import Bench
    from infuse_cli.provisioning.context import RunContext


def with_labels(context: RunContext, bench: Bench, *, can_type: bool) -> RunContext:
    """The parts of a run with its labels, where the profile wants a scan and something can scan: a
    scanner, or a person's keyboard (`can_type`).
    """
    values = scanned_values(context.profile)
    has_scanner = bench.scanner is not None and bench.scanner.port is not None
    if not values or not (has_scanner or can_type):
        return context
    how = bench.scanner or Scanner()
    fields = context.resolved.board.metadata_fields
    labels = Labels(
        scan.Rules(values, how.prefix, how.suffix, how.slot or scan.SLOT),
        context.clock,
        taken=context.journal.labelled,
        repeats={field.name for field in fields if not field.unique},
        tell=functools.partial(announce, context),
    )
    return dataclasses.replace(context, labels=labels)


def scanned_values(profile: prof.Profile) -> dict[str, str | None]:
    """What a label gives, with its pattern."""
    values = {
        name: rule.pattern
        for name, rule in profile.metadata.items()
        if not isinstance(rule, str) and rule.source == "scan"
    }
    source = profile.board.mcu_id
    if source is not None and source.source == "scan":
        values["mcuId"] = source.pattern or scan.MCU_ID
    return values


def announce(context: RunContext, event: str, slot: int | None, data: dict[str, Any]) -> None:
    """Emit what became of a scan."""
    now = context.clock.now()
    context.events.emit(Event(ts=now, run=context.id, event=event, slot=slot, data=data))
