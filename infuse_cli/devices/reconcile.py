"""Every board that PASSed here beside what the cloud knows of it now, by reading only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from infuse_cli.clock import RunClock
from infuse_cli.config import model as prof
from infuse_cli.devices import session as tools
from infuse_cli.effects.comparison import compare_device
from infuse_cli.journal.queries import device_ids, facts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from infuse_cli import api_types as api
    from infuse_cli.cloud.infuse_api import InfuseClient
    from infuse_cli.cloud.registry_api import RegistryClient
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import AttemptRecord
    from infuse_cli.settings import Settings

WORKERS: Final = 8
"""How many boards are asked about at once."""

ACTIVE: Final = "ACTIVE"
FINDINGS: Final = ("missing", "differs", "never-heard", "registry-missing", "not-active")
"""What can be wrong with a board that PASSed: no cloud device, other values, never heard, no
registry device, another status.
"""


@dataclass(frozen=True, slots=True)
class Passed:
    """What the journal has of a board that PASSed."""

    board: str
    soc: str
    mcu_id: str | None
    passed: datetime | None
    device: Mapping[str, Any]
    metadata: Mapping[str, str]
    registry_device_id: str | None

    @property
    def device_id(self) -> str | None:
        """The cloud device's id in the journal."""
        found: str | None = self.device.get("deviceId")
        return found


@dataclass(frozen=True, slots=True)
class Compared:
    """A board beside the cloud; `findings` is empty where all is well."""

    passed: Passed
    findings: tuple[str, ...]
    details: tuple[str, ...]
    heard: datetime | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The boards that were compared; `simulated` counts those that were left out as simulated."""

    since: datetime | None
    boards: tuple[Compared, ...]
    simulated: int


def reconcile(
    settings: Settings,
    journal: SqliteJournal | None,
    since: datetime | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reconciliation:
    """Compare what PASSed, all of it or `since` a time, with the cloud that each run's own profile
    names.

    `progress` is called with how many of how many boards are done.
    """
    groups, simulated = ({}, 0) if journal is None else _passed(settings, journal, since)
    total = sum(len(boards) for _, boards in groups.values())
    rows: list[Compared] = []
    for profile, boards in groups.values():
        for row in _compare_all(settings, profile, boards):
            rows.append(row)
            if progress is not None:
                progress(len(rows), total)
    return Reconciliation(since, tuple(rows), simulated)


def _passed(
    settings: Settings, journal: SqliteJournal, start: datetime | None
) -> tuple[dict[str, tuple[prof.Profile, list[Passed]]], int]:
    """Boards by the profile that they PASSed with, and how many were only simulated."""
    from infuse_cli.journal.queries import passes

    groups: dict[str, tuple[prof.Profile, list[Passed]]] = {}
    simulated = 0
    for attempt in passes(journal, start):
        run = journal.run(attempt.run).start
        if run.simulated:
            simulated += 1
            continue
        board = journal.board(attempt.board)
        group = groups.setdefault(
            run.profile_hash, (_here(prof.from_json(run.profile), settings.env), [])
        )
        group[1].append(_recorded(attempt, board.mcu_id if board else None))
    return groups, simulated


def _here(profile: prof.Profile, env: Mapping[str, str]) -> prof.Profile:
    """The recorded profile, with what the environment says of addresses today."""
    cloud = msgspec.structs.replace(
        profile.cloud, **_set(env, base_url="INFUSE_BASE_URL", ca_bundle="INFUSE_CA_BUNDLE")
    )
    registry = profile.registry and msgspec.structs.replace(
        profile.registry, **_set(env, base_url="INFUSE_REGISTRY_URL")
    )
    return msgspec.structs.replace(profile, cloud=cloud, registry=registry)


def _set(env: Mapping[str, str], **variables: str) -> dict[str, str]:
    return {name: env[variable] for name, variable in variables.items() if env.get(variable)}


def _recorded(attempt: AttemptRecord, mcu_id: str | None) -> Passed:
    facts = facts_of(attempt)
    device = facts.get("device")
    held = device if isinstance(device, dict) else {"deviceId": device_ids(facts)[0]}
    return Passed(
        attempt.board,
        attempt.soc,
        held.get("mcuId") or mcu_id,
        attempt.ended,
        held,
        facts.get("metadata") or {},
        device_ids(facts)[1],
    )


def _compare_all(
    settings: Settings, profile: prof.Profile, boards: Sequence[Passed]
) -> Iterator[Compared]:
    clock = RunClock()
    session = tools.Session(settings, profile=profile, clock=clock)
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="reconcile")
    try:
        cloud, registry = session.cloud, session.registry if session.has_registry else None
        yield from pool.map(lambda board: compare(board, cloud, registry), boards)
    finally:
        clock.stop.set()
        pool.shutdown(cancel_futures=True)
        session.close()


def compare(passed: Passed, cloud: InfuseClient, registry: RegistryClient | None) -> Compared:
    """Ask both APIs about one board. Raises what they raise."""
    findings, details = [], []
    device = None if passed.mcu_id is None else cloud.device_by_mcu_id(passed.soc, passed.mcu_id)
    heard = None
    if device is None:
        findings.append("missing")
        details.append(f"the cloud knows no {passed.soc} with mcuId {passed.mcu_id}")
    else:
        differences = _differences(passed, device)
        if differences:
            findings.append("differs")
            details += differences
        heard, was_heard = _heard(cloud, device)
        if not was_heard:
            findings.append("never-heard")
    status = _status(passed, registry, findings, details)
    return Compared(passed, tuple(findings), tuple(details), heard, status)


def _differences(passed: Passed, device: api.Device) -> list[str]:
    """What the cloud has otherwise than it was when the board PASSed."""
    recorded = passed.device
    found = compare_device(
        device,
        device_id=recorded.get("deviceId"),
        mcu_id=recorded.get("mcuId"),
        board_id=recorded.get("boardId"),
        organisation_id=recorded.get("organisationId"),
        metadata=passed.metadata,
    )
    return [f"{row.name} is {row.actual}, recorded {row.expected}" for row in found.ids] + [
        f"metadata {row.name} is {row.actual!r}, recorded {row.expected!r}"
        for row in found.metadata
    ]


def _heard(cloud: InfuseClient, device: api.Device) -> tuple[datetime | None, bool]:
    """When the cloud last heard the device, and whether it ever did."""
    state = cloud.device_state(device.device_id)
    if state is not None:
        return state.last_route_time or state.first_packet_time, True
    route = cloud.last_route(device.device_id)
    return (route.udp.time if route and route.udp else None), route is not None


def _status(
    passed: Passed, registry: RegistryClient | None, findings: list[str], details: list[str]
) -> str | None:
    if registry is None or passed.registry_device_id is None:
        return None
    found = registry.device(passed.registry_device_id)
    if found is None:
        findings.append("registry-missing")
        details.append(f"the registry knows no device {passed.registry_device_id}")
        return None
    if found.status != ACTIVE:
        findings.append("not-active")
        details.append(f"registry status {found.status}")
    return str(found.status)
