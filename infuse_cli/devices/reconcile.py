"""`infuse journal reconcile`: every board that PASSed here beside what the cloud knows of it now,
by reading only.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.since import moment
from infuse_cli.cli.views import cloud as views
from infuse_cli.clock import RunClock
from infuse_cli.config import model as prof
from infuse_cli.devices import session as tools
from infuse_cli.errors import JournalError
from infuse_cli.journal.queries import device_ids, facts_of
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

    from infuse_cli import api_types as api
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import AttemptRecord

WORKERS: Final = 8
"""How many boards are asked about at once."""

ACTIVE: Final = "ACTIVE"
FINDINGS: Final = ("missing", "differs", "never-heard", "registry-missing", "not-active")
"""What can be wrong with a board that PASSed: no cloud device, other values, never heard, no
registry device, another status.
"""

_PROGRESS_AFTER_S: Final = 1.0
_PROGRESS_EVERY_S: Final = 0.2
_COLUMNS: Final = ("board", "device id", "what", "details")


@dataclass(frozen=True, slots=True)
class Passed:
    """What is on record about a board that PASSed."""

    board: str
    soc: str
    mcu_id: str | None
    passed: datetime | None
    device: Mapping[str, Any]
    metadata: Mapping[str, str]
    registry_device_id: str | None

    @property
    def device_id(self) -> str | None:
        """The cloud device's id on record."""
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

    def as_json(self) -> dict[str, Any]:
        """The row of the envelope."""
        own = self.passed
        return {
            "board": own.board,
            "mcuId": own.mcu_id,
            "deviceId": own.device_id,
            "registryDeviceId": own.registry_device_id,
            "passed": own.passed,
            "findings": list(self.findings),
            "details": list(self.details),
            "lastHeard": self.heard,
            "registryStatus": self.status,
        }


def reconcile(journal: SqliteJournal | None, since: str | None) -> OperationResult:
    """Compare what PASSed, all of it or `since` a time, with the cloud that each run's own profile
    names.
    """
    start = None if since is None else moment(since, "--since", datetime.now(UTC))
    groups, simulated = ({}, 0) if journal is None else _passed(journal, start)
    total = sum(len(boards) for _, boards in groups.values())
    rows = list(_watched(_compared(groups.values()), total))
    return _result(rows, start, simulated)


def _passed(
    journal: SqliteJournal, start: datetime | None
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
        group = groups.setdefault(run.profile_hash, (_here(prof.from_json(run.profile)), []))
        group[1].append(_on_record(attempt, board.mcu_id if board else None))
    return groups, simulated


def _here(profile: prof.Profile) -> prof.Profile:
    """The recorded profile, with what the environment says of addresses today."""
    env = context.current().env
    cloud = msgspec.structs.replace(
        profile.cloud, **_set(env, base_url="INFUSE_BASE_URL", ca_bundle="INFUSE_CA_BUNDLE")
    )
    registry = profile.registry and msgspec.structs.replace(
        profile.registry, **_set(env, base_url="INFUSE_REGISTRY_URL")
    )
    return msgspec.structs.replace(profile, cloud=cloud, registry=registry)


def _set(env: Mapping[str, str], **variables: str) -> dict[str, str]:
    return {name: env[variable] for name, variable in variables.items() if env.get(variable)}


def _on_record(attempt: AttemptRecord, mcu_id: str | None) -> Passed:
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


def _compared(groups: Iterable[tuple[prof.Profile, list[Passed]]]) -> Iterator[Compared]:
    for profile, boards in groups:
        clock = RunClock()
        session = tools.Session(context.current(), profile=profile, clock=clock)
        pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="reconcile")
        try:
            cloud, registry = session.cloud, session.registry if session.has_registry else None
            yield from pool.map(
                lambda one, cloud=cloud, registry=registry: compare(one, cloud, registry), boards
            )
        finally:
            clock.stop.set()
            pool.shutdown(cancel_futures=True)
            session.close()


def compare(passed: Passed, cloud: Any, registry: Any) -> Compared:
    """Ask both APIs about one board. Raises what they raise."""
    findings, details = [], []
    device = None if passed.mcu_id is None else cloud.device_by_mcu_id(passed.soc, passed.mcu_id)
    if device is None:
        findings.append("missing")
        details.append(f"the cloud knows no {passed.soc} with mcuId {passed.mcu_id}")
    elif told := _differences(passed, device):
        findings.append("differs")
        details += told
    heard, known = (None, True) if device is None else _heard(cloud, device)
    if not known:
        findings.append("never-heard")
    status = _status(passed, registry, findings, details)
    return Compared(passed, tuple(findings), tuple(details), heard, status)


def _differences(passed: Passed, device: api.Device) -> list[str]:
    """What the cloud has otherwise than it was when the board PASSed; more metadata is no
    difference.
    """
    now = views.plain(device)
    told = [
        f"{name} is {now[name]}, on record {passed.device[name]}"
        for name in ("deviceId", "mcuId", "boardId", "organisationId")
        if passed.device.get(name) and now[name] != passed.device[name]
    ]
    return told + [
        f"metadata {name} is {device.metadata.get(name)!r}, on record {value!r}"
        for name, value in sorted(passed.metadata.items())
        if device.metadata.get(name) != value
    ]


def _heard(cloud: Any, device: api.Device) -> tuple[datetime | None, bool]:
    """When the cloud last heard the device, and whether it ever did."""
    state = cloud.device_state(device.device_id)
    if state is not None:
        return state.last_route_time or state.first_packet_time, True
    route = cloud.last_route(device.device_id)
    return (route.udp.time if route and route.udp else None), route is not None


def _status(passed: Passed, registry: Any, findings: list[str], details: list[str]) -> str | None:
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


@dataclass(slots=True)
class _Progress:
    """A line on the terminal that counts, once it takes longer than a moment."""

    total: int
    began: float = field(default_factory=time.monotonic)
    shown: float = 0.0

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now - self.began < _PROGRESS_AFTER_S or now - self.shown < _PROGRESS_EVERY_S:
            return
        self.shown = now
        rate = done / (now - self.began)
        left = (self.total - done) / rate if rate else 0.0
        sys.stderr.write(f"\r\x1b[K{done} of {self.total} boards compared, {left:.0f} s left")
        sys.stderr.flush()

    def clear(self) -> None:
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _watched(rows: Iterator[Compared], total: int) -> Iterator[Compared]:
    progress = (
        _Progress(total) if sys.stderr.isatty() and context.current().output == "human" else None
    )
    try:
        for done, row in enumerate(rows, 1):
            if progress is not None:
                progress.show(done)
            yield row
    finally:
        if progress is not None:
            progress.clear()


def _result(rows: Sequence[Compared], start: datetime | None, simulated: int) -> OperationResult:
    wrong = [row for row in rows if row.findings]
    totals = {
        "ok": len(rows) - len(wrong),
        **{name: sum(name in row.findings for row in rows) for name in FINDINGS},
    }
    data = {
        "since": start,
        "checked": len(rows),
        "simulated": simulated,
        "totals": totals,
        "boards": [row.as_json() for row in rows],
    }
    human = _human(rows, wrong, simulated)
    if not wrong:
        return OperationResult("journal reconcile", data, human=human)
    told = ", ".join(f"{totals[name]} {name}" for name in FINDINGS if totals[name])
    error = JournalError(
        "journal.differs", f"{len(wrong)} of {plural(len(rows), 'board')} that PASSed: {told}"
    )
    return OperationResult(
        "journal reconcile",
        data,
        status="partial" if totals["ok"] else "error",
        errors=[error.as_json()],
        exit_code=int(error.exit),
        human=human,
    )


def _human(rows: Sequence[Compared], wrong: Sequence[Compared], simulated: int) -> Any:
    cells = [
        [
            row.passed.board,
            row.passed.device_id or "",
            ", ".join(row.findings),
            "; ".join(row.details),
        ]
        for row in wrong
    ]

    def show(console: Console) -> None:
        if simulated:
            views.say(console, f"{plural(simulated, 'simulated board')} left out.")
        if not rows:
            views.say(console, "No board PASSed in that time.")
        elif not wrong:
            views.say(
                console,
                f"{plural(len(rows), 'board')} that PASSed: all in the cloud as on record, all"
                " heard.",
            )
        else:
            views.table(console, _COLUMNS, cells, "")
            views.say(
                console, f"{len(rows) - len(wrong)} of {plural(len(rows), 'board')} as on record."
            )

    return show
