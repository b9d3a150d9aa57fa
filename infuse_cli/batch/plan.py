"""`infuse batch plan`: the file checked and laid beside the cloud; nothing is written anywhere."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.batch.compare import compare
from infuse_cli.batch.existing import Existing
from infuse_cli.batch.outage import outage_told
from infuse_cli.batch.source import RowFile, open_rows, rules_of
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.signals import StopOnSignals
from infuse_cli.cli.views.journal import fields
from infuse_cli.clock import RunClock
from infuse_cli.config.bench import load_bench
from infuse_cli.errors import (
    CredentialError,
    Exit,
    InfuseError,
    Interrupted,
    PolicyError,
    ProfileError,
    UsageError,
)
from infuse_cli.journal.shelf import DiskShelf
from infuse_cli.provisioning.line import load_profile
from infuse_cli.provisioning.resolve import NOT_YET, resolve
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from infuse_cli.api_types import Device
    from infuse_cli.batch.compare import Differences
    from infuse_cli.batch.source import Summary
    from infuse_cli.config import model as prof
    from infuse_cli.ports import InfuseApi, RegistryApi
    from infuse_cli.provisioning.context import Resolved
    from infuse_cli.records.rows import Row

COMMAND: Final = "batch plan"
_MOST_SHOWN: Final = 100
"""Differing rows and bad lines that the JSON names; the counts are of all."""

_MOST_TOLD: Final = 10
"""The same for a person."""


@dataclass(slots=True)
class _Plan:
    """What was found out."""

    file: Path
    summary: Summary
    resolved: Resolved
    update: bool
    counts: Counter[str] = field(default_factory=Counter)
    differing: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    bad: list[dict[str, Any]] = field(default_factory=list)
    key: dict[str, Any] | None = None
    errors: list[InfuseError] = field(default_factory=list)


def plan(path: Path, *, update: bool, skip_bad: bool) -> OperationResult:
    """`infuse batch plan`."""
    from infuse_cli.cloud.build import connect
    from infuse_cli.keys.credentials import credential_host, find_credential

    settings, clock = context.current(), RunClock()
    profile = load_profile(settings.profile, settings.env).profile
    with open_rows(path) as file, StopOnSignals(clock), ExitStack() as stack:
        secret = find_credential(
            credential_host(profile.cloud.base_url),
            env=settings.env,
            token_file=profile.cloud.auth.token_file,
            home=settings.home,
        ).secret
        cloud = connect(profile.cloud, secret, clock.between_tries, through_outages=True)
        stack.callback(cloud.close)
        stack.enter_context(outage_told(clock, profile.cloud))
        resolved = resolve(profile, cloud, None, "", clock)
        summary = file.check(
            rules_of(profile, resolved.board.metadata_fields), stopped=lambda: clock.wait(0)
        )
        found = _Plan(path, summary, resolved, update)
        registry = _for_tokens(found, profile, secret, clock)
        _look(found, file, cloud, registry, clock)
        _note_bad(found, file, skip_bad=skip_bad)
    return _result(found)


def _for_tokens(
    found: _Plan, profile: prof.Profile, secret: Any, clock: RunClock
) -> RegistryApi | None:
    """The registry that rows with a name need, and whether there is a key to seal their tokens
    with.
    """
    from infuse_cli.cloud.build import connect_registry
    from infuse_cli.keys.credentials import registry_credential

    if not found.summary.named:
        return None
    if profile.registry is None:
        found.errors.append(
            ProfileError(
                "profile.invalid",
                f"{plural(found.summary.named, 'row')} ask for a registration token by their name,"
                " and the profile names no registry",
                hint="Add registry.base_url to the profile, or leave the column `name` empty.",
            )
        )
        return None
    try:
        found.key = _sealing_key()
    except CredentialError as error:
        found.key = {"state": "missing", "where": None}
        found.errors.append(error)
    return connect_registry(
        profile.registry,
        secret,
        clock.between_tries,
        cloud=profile.cloud,
        own=registry_credential(context.current().env),
    )


def _sealing_key() -> dict[str, Any]:
    """Where the key is that would seal tokens, without making one.

    Raises CredentialError credential.sealing-key.
    """
    from infuse_cli.keys.seal import bench_keys, load_sealer

    settings = context.current()
    sealing = load_bench(settings.home).sealing
    keys = bench_keys(
        settings.home, {"key_file": sealing.key_file, "keyring": sealing.keyring}, settings.env
    )
    try:
        return {"state": "there", "where": load_sealer(keys, create=False).where}
    except CredentialError:
        above = next((folder for folder in keys.key_file.parents if folder.exists()), Path("/"))
        inside = keys.key_file.resolve().is_relative_to(settings.home.resolve())
        if keys.keyring or keys.key_file.exists() or inside or not os.access(above, os.W_OK):
            raise
    return {"state": "would be made", "where": str(keys.key_file)}


def _look(
    found: _Plan, file: RowFile, cloud: InfuseApi, registry: RegistryApi | None, clock: RunClock
) -> None:
    """Compare every good row with what the cloud has."""
    existing, names = Existing(DiskShelf()), DiskShelf()
    fresh = found.resolved.organisation.id == NOT_YET
    if not fresh:
        existing.read(cloud, found.resolved, most_pages=found.summary.good)
    if registry is not None:
        for page in registry.device_pages():
            names.put((one.name, str(one.metadata.get("mcuId", "")).encode()) for one in page)
    for row in file.rows():
        if clock.wait(0):
            raise Interrupted
        device = existing.find(row.mcu_id)
        if device is None and not fresh and not existing.complete:
            device = cloud.device_by_mcu_id(found.resolved.soc, row.mcu_id)
        _sort(found, row, device)
        if row.name is not None and registry is not None:
            _name(found, row, names.get(row.name))


def _sort(found: _Plan, row: Row, device: Device | None) -> None:
    if device is None:
        found.counts["create"] += 1
        return
    differences = compare(
        row,
        device,
        organisation_id=found.resolved.organisation.id,
        board_id=found.resolved.board.id,
    )
    if not differences:
        found.counts["existed"] += 1
    elif found.update and not differences.fixed:
        found.counts["update"] += 1
    else:
        found.counts["differs"] += 1
    if differences and len(found.differing) < _MOST_SHOWN:
        found.differing.append(_difference(row, device, differences))


def _difference(row: Row, device: Device, differences: Differences) -> dict[str, Any]:
    named = [
        {"field": one.field, "have": one.have, "want": one.want}
        for one in (*differences.fixed, *differences.metadata)
    ]
    words = "; ".join(one.words() for one in (*differences.fixed, *differences.metadata))
    return {
        "line": row.line,
        "mcuId": row.mcu_id,
        "deviceId": device.device_id,
        "differences": named,
        "message": words,
    }


def _name(found: _Plan, row: Row, holder: bytes | None) -> None:
    """Whether a token would be minted for a row's name; a name that another device holds would be
    refused.
    """
    if holder is None:
        found.counts["mint"] += 1
    elif holder.decode() == row.mcu_id:
        found.counts["named"] += 1
    else:
        found.counts["taken"] += 1
        if len(found.taken) < _MOST_SHOWN:
            found.taken.append(
                {
                    "line": row.line,
                    "mcuId": row.mcu_id,
                    "name": row.name,
                    "message": (
                        f"a registry device named {row.name!r} exists that was not made for"
                        " this row"
                    ),
                }
            )


def _note_bad(found: _Plan, file: RowFile, *, skip_bad: bool) -> None:
    for bad, _ in zip(file.troubles(), range(_MOST_SHOWN), strict=False):
        found.bad.append(
            {"line": bad.line, "field": bad.field, "code": bad.code, "message": bad.why}
        )
    try:
        file.must_be_clean(found.summary, skip_bad=skip_bad)
    except UsageError as error:
        lines = (
            f"{found.summary.bad} of {plural(found.summary.good + found.summary.bad, 'line')}"
            " cannot be taken"
        )
        found.errors.insert(0, UsageError(error.code, f"{found.file}: {lines}", hint=error.hint))
    counts = found.counts
    for key, code, words in (
        (
            "differs",
            "cloud.device-conflict",
            "differ from their cloud device and would be left as they are",
        ),
        (
            "taken",
            "identity.registry-conflict",
            "have a name that the registry knows already, from somebody else",
        ),
    ):
        if counts[key]:
            found.errors.append(PolicyError(code, f"{plural(counts[key], 'row')} {words}"))


def _result(found: _Plan) -> OperationResult:
    counts, summary, resolved = found.counts, found.summary, found.resolved
    totals = {
        **{name: counts[name] for name in ("create", "existed", "update", "differs")},
        "bad": summary.bad,
    }
    data = {
        "file": str(found.file),
        "sha256": summary.sha256,
        "rows": summary.good,
        "totals": totals,
        "organisation": _place(resolved.organisation),
        "board": _place(resolved.board),
        "network": _place(resolved.network),
        "soc": resolved.soc,
        "tokens": {"mint": counts["mint"], "existed": counts["named"], "taken": counts["taken"]},
        "sealingKey": found.key,
        "differs": found.differing,
        "taken": found.taken,
        "bad": found.bad,
    }
    return OperationResult(
        COMMAND,
        data,
        status=(
            "ok"
            if not found.errors
            else "error"
            if _stops(found) or not summary.good
            else "partial"
        ),
        errors=[error.as_json() for error in found.errors],
        exit_code=int(_exit(found)),
        human=_shown(found, data),
    )


def _stops(found: _Plan) -> InfuseError | None:
    """What would keep `register` from sending anything at all."""
    return next((error for error in found.errors if not isinstance(error, PolicyError)), None)


def _exit(found: _Plan) -> Exit:
    """As `register` would end."""
    stops = _stops(found)
    if stops is not None:
        return stops.exit
    if not found.errors and not found.summary.bad:
        return Exit.OK
    return (
        found.errors[0].exit
        if found.summary.good + found.summary.bad == 1 and found.errors
        else Exit.SOME_FAILED
    )


def _place(thing: Any) -> dict[str, str | None] | None:
    return (
        None
        if thing is None
        else {"id": None if thing.id == NOT_YET else thing.id, "name": thing.name}
    )


def _shown(found: _Plan, data: dict[str, Any]) -> Callable[[Console], None]:
    def show(console: Console) -> None:
        resolved, totals, tokens = found.resolved, data["totals"], data["tokens"]
        fields(
            console,
            {
                "file": (
                    f"{found.file}, {plural(found.summary.good + found.summary.bad, 'row')},"
                    f" SHA-256 {found.summary.sha256[:16]}…"
                ),
                "organisation": _named(resolved.organisation),
                "cloud board": f"{_named(resolved.board)}, {resolved.soc}",
                "network": _named(resolved.network),
            },
        )
        console.print()
        words = {
            "create": "would be created",
            "existed": "exist already",
            "update": "exist and would get the file's metadata",
            "differs": "differ and would be left as they are",
            "bad": "bad lines",
        }
        lines = [
            (totals[key], told)
            for key, told in words.items()
            if totals[key] or key in {"create", "existed"}
        ]
        if found.summary.named:
            key = found.key or {}
            sealed = (
                ", sealed with the key from"
                f" {key['where']}{'' if key['state'] == 'there' else ' (would be made)'}"
                if key.get("where")
                else ""
            )
            lines.append((tokens["mint"], f"registration tokens would be minted{sealed}"))
            lines += [
                (tokens[name], told)
                for name, told in (
                    ("existed", "have their registry device already"),
                    ("taken", "have a name that is taken"),
                )
                if tokens[name]
            ]
        for count, words_ in lines:
            console.print(f"{count:>9,}  {words_}", soft_wrap=True, markup=False)
        _examples(console, found)
        console.print("\nNothing was written.", soft_wrap=True)

    return show


def _examples(console: Console, found: _Plan) -> None:
    for title, rows, count in (
        ("differ:", found.differing, found.counts["differs"] + found.counts["update"]),
        ("names taken:", found.taken, found.counts["taken"]),
    ):
        if rows:
            console.print(f"\n{title}", soft_wrap=True)
            for one in rows[:_MOST_TOLD]:
                console.print(
                    f"  line {one['line']}, mcuId {one['mcuId']}: {one['message']}",
                    soft_wrap=True,
                    markup=False,
                )
            if count > _MOST_TOLD:
                console.print(f"  and {count - _MOST_TOLD} more", soft_wrap=True)
    if found.bad:
        console.print("\nbad:", soft_wrap=True)
        for one in found.bad[:_MOST_TOLD]:
            place = f"line {one['line']}, {one['field']}" if one["field"] else f"line {one['line']}"
            console.print(f"  {place}: {one['message']}", soft_wrap=True, markup=False)
        if len(found.bad) > _MOST_TOLD:
            console.print("  and more: --output json names the first hundred", soft_wrap=True)


def _named(thing: Any) -> str | None:
    return (
        None
        if thing is None
        else (
            f"{thing.name} (would be created)"
            if thing.id == NOT_YET
            else f"{thing.name} ({thing.id})"
        )
    )
