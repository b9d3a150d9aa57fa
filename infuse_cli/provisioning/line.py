"""`infuse provision` and `infuse resume`: one run of the line, from its header to its totals."""

from __future__ import annotations

import sys
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infuse_cli import composition as wire
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.signals import StopOnSignals
from infuse_cli.clock import RunClock
from infuse_cli.config import model as prof
from infuse_cli.config.source import load_profile as load_profile  # noqa: PLC0414 - for its callers
from infuse_cli.errors import (
    BoardError,
    Exit,
    InfuseError,
    Interrupted,
    JournalError,
    UsageError,
)
from infuse_cli.provisioning.simulated_run import SimulatedEvents, truly
from infuse_cli.records import EndAttempt, RunStart, TakeAttempt
from infuse_cli.types import AttemptState, Event, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from infuse_cli.cli.views.events import Renderer
    from infuse_cli.config.bench import Bench
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Signer
    from infuse_cli.provisioning.context import Deps, Options, Resolved
    from infuse_cli.provisioning.engine import BoardResult
    from infuse_cli.provisioning.fleet import Fleet
    from infuse_cli.provisioning.mirror import Mirror
    from infuse_cli.records import AttemptRecord


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asked of `provision`."""

    options: Options
    ports: tuple[str, ...] = ()
    slots: int | None = None
    count: int | None = None
    sim: int | None = None
    faults: str | None = None
    passphrase_file: Path | None = None
    passphrase_fd: int | None = None
    lot: str | None = None
    watch: bool = False


@dataclass(slots=True)
class Run:
    """One run under way."""

    command: str
    profile: prof.Profile
    home: Path
    env: Mapping[str, str]
    asked: Asked
    overridden: tuple[str, ...] = ()
    simulated: bool = False
    only: Collection[str] | None = None
    certificate: Mapping[str, Any] | None = (
        None  # the certificate profile on record, where this goes on with an earlier run
    )
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    clock: RunClock = field(default_factory=RunClock)
    absent: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)  # port to slot, where slots were learned
    mirror: Mirror | None = None
    trouble: InfuseError | None = None  # what kept the end of the run from being recorded
    scans: bool = False  # labels are scanned in this run
    before: Callable[[], None] | None = (
        # what happens once all is at hand (CA unlocked, cloud resolved) and before a board is
        # touched
        None
    )
    # a watching run that was stopped with no board in hand: that is its normal end
    ended: bool = False

    def execute(self, ports: Sequence[str]) -> OperationResult:
        """Run the boards on these ports and return the envelope's result."""
        from infuse_cli.cli.views.boards import make_events
        from infuse_cli.provisioning import fleet
        from infuse_cli.provisioning.clock_guard import ClockGuard
        from infuse_cli.provisioning.resolve import resolve

        wanted = wire.Wanted(
            self.profile,
            self.home,
            self.env,
            self.asked.options,
            self.asked.passphrase_file,
            self.asked.passphrase_fd,
            prompt=context.current().settings.prompt,
            certificate=self.certificate,
        )
        dry = self.asked.options.dry_run
        with StopOnSignals(self.clock):
            parts = wire.parts(wanted, self.clock)
            shown = make_events(context.current(), stderr_is_tty=sys.stderr.isatty())
            events = self._mirrored(
                SimulatedEvents(shown) if self.simulated else shown, parts, dry=dry
            )
            results: list[BoardResult] = []
            try:
                if not dry:
                    parts.journal.start_run(self._start(parts))
                try:
                    record = None if dry else parts.journal
                    guard = ClockGuard(self.clock, parts.cloud, record)
                    resolved = resolve(
                        self.profile,
                        parts.cloud,
                        record,
                        self.id,
                        self.clock,
                        before_creating=guard.check,
                    )
                    guard.check()
                    self._check_signer(parts)
                    deps = self._labelled(
                        wire.deps(
                            self.id,
                            wanted,
                            parts,
                            clock=self.clock,
                            events=events,
                            resolved=resolved,
                            check_clock=guard.check,
                        ),
                        parts.bench,
                    )
                    events.emit(
                        self._opening(
                            parts,
                            resolved,
                            len(ports) or max(parts.bench.slots.values(), default=0),
                        )
                    )
                    line = fleet.Fleet(
                        deps, wire.source(self.profile, list(ports)), slots=self.asked.slots
                    )
                    if self.before is not None:
                        self.before()
                    results = self._work(line, ports, parts.bench)
                finally:
                    totals = fleet.totals(results)
                    if not dry:
                        self._end(parts, totals, begun=bool(results))
                if self.trouble is not None and self.trouble.code == "journal.moved":
                    results = [unrecorded(result, self.trouble) for result in results]
                    totals = fleet.totals(results)
                events.emit(
                    Event(
                        ts=self.clock.now(), run=self.id, event="run-ended", data={"totals": totals}
                    )
                )
            finally:
                events.close()
                parts.journal.close()
            return self._result(results, paused=line.tally.paused, told=events.leaves_errors)

    def _mirrored(self, events: Renderer, parts: wire.Parts, *, dry: bool) -> Renderer:
        """The events of this run, with the bench's mirror of records where it has one."""
        if parts.bench.mirror is None or dry:
            return events
        from infuse_cli.provisioning.mirror import Mirror

        self.mirror = Mirror(events, parts.journal, Path(parts.bench.mirror).expanduser())  # type: ignore[arg-type]
        return self.mirror

    def _labelled(self, deps: Deps, bench: Bench) -> Deps:
        if not self.asked.watch:
            return deps
        from infuse_cli.cli.scanning import with_labels

        labelled = with_labels(deps, bench)
        self.scans = labelled.labels is not None
        return labelled

    def _work(self, line: Fleet, ports: Sequence[str], bench: Bench) -> list[BoardResult]:
        if not self.asked.watch:
            return line.once(ports, only=self.only, numbers=self.numbers)
        from infuse_cli.provisioning.watch import work

        results, self.ended = work(line, ports, bench, self.clock, count=self.asked.count)
        return results

    def _end(self, parts: wire.Parts, totals: dict[str, int], *, begun: bool) -> None:
        """Record the end; a journal that fails at this point must not take the boards' results with
        it.
        """
        try:
            parts.journal.end_run(self.id, totals)
        except JournalError as error:
            if not begun:
                raise
            self.trouble = error

    def _start(self, parts: wire.Parts) -> RunStart:
        return RunStart(
            run=self.id,
            command=self.command,
            profile_name=self.profile.name,
            profile_hash=wire.profile_hash(self.profile, parts.certificate),
            profile=prof.to_json(self.profile),
            operator=wire.operator_name(parts.bench),
            lot=self.asked.lot or parts.bench.lot,
            simulated=self.simulated,
            facts={
                "ports": list(self.asked.ports),
                "overridden": list(self.overridden),
                **_recorded(parts.certificate),
            },
        )

    def _check_signer(self, parts: wire.Parts) -> None:
        """An issuer that was revoked stops the run before a board is touched."""
        if parts.signer is None:
            return
        from infuse_cli.pki.issuing import check_issuer

        check_issuer(parts.signer, parts.journal.is_revoked)

    def _opening(self, parts: wire.Parts, resolved: Resolved, ports: int) -> Event:
        unfinished = [record for record in parts.journal.open_attempts() if not record.alive]
        ca = self.profile.identity.ca if parts.signer is not None else None
        return Event(
            ts=self.clock.now(),
            run=self.id,
            event="run-started",
            data={
                "profile": self.profile.name,
                "mode": self.profile.identity.mode,
                "organisation": resolved.organisation.name,
                "cloudBoard": resolved.board.name,
                "apiHost": wire.host_of(self.profile.cloud.base_url),
                "registryHost": (
                    None
                    if self.profile.registry is None
                    else wire.host_of(self.profile.registry.base_url)
                ),
                "ca": ca,
                "issuer": _issuer(parts.signer),
                "station": parts.bench.station,
                "credential": parts.credential.where,
                "overridden": list(self.overridden),
                "slots": ports,
                "dryRun": self.asked.options.dry_run,
                "watch": self.asked.watch,
                "scans": self.scans,
                "simulated": self.simulated,
                "unfinished": [_unfinished(record) for record in unfinished],
                "notes": list(parts.credential.notes),
            },
        )

    def _result(self, results: list[BoardResult], *, paused: bool, told: bool) -> OperationResult:
        from infuse_cli.provisioning import fleet

        interrupted = self.clock.stop.is_set() and not self.ended
        _show_details(results)
        errors = _distinct(
            [result.error.as_json() for result in results if result.error is not None]
        )
        shown = len(errors) if told else 0
        data: dict[str, Any] = {
            "run": self.id,
            "boards": [result.as_json() for result in results],
            "totals": fleet.totals(results),
        }
        data |= {"dryRun": True} if self.asked.options.dry_run else {}
        if self.mirror is not None:
            data["mirror"] = self.mirror.told()
            sys.stderr.write("".join(f"{line}\n" for line in self.mirror.warnings(data["mirror"])))
        data |= {"absent": self.absent} if self.command == "resume" else {}
        if paused:
            errors.append(
                InfuseError(
                    "run.paused", "five equal errors in a row: no further board was begun"
                ).as_json()
            )
        if interrupted and not any(error["code"] == "run.interrupted" for error in errors):
            errors.append(Interrupted().as_json())
        code, status = fleet.exit_code(results, interrupted=interrupted), fleet.status(results)
        if self.ended:
            code, status = (Exit.SOME_FAILED if code else code), status if results else "ok"
        if self.trouble is not None:
            errors += (
                []
                if any(error["code"] == self.trouble.code for error in errors)
                else [self.trouble.as_json()]
            )
            code, status = (
                code if interrupted else self.trouble.exit,
                "partial" if status == "ok" else status,
            )
        if self.simulated:
            data, errors = truly(data), truly(errors)
        return OperationResult(
            self.command,
            data,
            status=status,  # type: ignore[arg-type]
            errors=errors,
            exit_code=int(code),
            human=_results(data["boards"], data["totals"]),
            streamed=True,
            told=shown,
        )


def provision(asked: Asked, before: Callable[[], None] | None = None) -> OperationResult:
    """`infuse provision`; `before` as for `Run`."""
    settings = context.current()
    with ExitStack() as stack:
        if asked.sim is not None:
            return _simulated(asked, stack)
        loaded = load_profile(settings.profile, settings.env)
        run = Run(
            "provision",
            loaded.profile,
            settings.home,
            settings.env,
            asked,
            overridden=loaded.overridden,
            before=before,
        )
        return run.execute(_ports(run, asked))


def watching(asked: Asked, *, wished: bool, single: bool) -> Asked:
    """Whether boards are waited for: where it is wished, and on a terminal where nothing
    says how many there are.

    `single`: the options are for one board only. Raises UsageError usage.bad-option.
    """
    if wished and (single or asked.sim is not None or asked.options.dry_run):
        raise UsageError(
            "usage.bad-option",
            "--watch takes boards as they come: it does not go with --sim, --dry-run, --metadata or"
            " --replaces",
            hint="Several boards take --metadata-from FILE.csv, or their labels are scanned.",
        )
    bounded = (
        single
        or asked.count is not None
        or asked.ports
        or asked.sim is not None
        or asked.options.dry_run
    )
    by_itself = not bounded and sys.stderr.isatty() and context.current().output == "human"
    return replace(asked, watch=True) if wished or by_itself else asked


def resume(asked: Asked) -> OperationResult:
    """`infuse resume`: every parked board that is on a port goes on under the profile its run
    recorded.
    """
    from infuse_cli.journal.store import open_journal

    settings = context.current()
    with open_journal(settings.home) as journal:
        orphans = [record for record in journal.open_attempts() if not record.alive]
        starts = {record.run: journal.run(record.run).start for record in orphans}
        gone = [record for record in orphans if starts[record.run].simulated]
        _close_simulated(journal, gone)
    parked = [
        record
        for record in orphans
        if record not in gone and record.state is not AttemptState.FAILED
    ]
    if not parked:
        text = (
            "Nothing to go on"
            f" with{f'; {len(gone)} simulated boards closed: their world is gone' if gone else ''}."
        )
        return OperationResult(
            "resume",
            {"run": None, "boards": [], "totals": {}, "absent": [], "closed": len(gone)},
            human=text,
        )
    return _resume_groups(asked, parked, starts)


def _resume_groups(
    asked: Asked, parked: list[AttemptRecord], starts: dict[str, RunStart]
) -> OperationResult:
    """One run a recorded profile; a board that no port shows is listed as absent."""
    settings = context.current()
    groups: dict[str, list[AttemptRecord]] = {}
    for record in parked:
        groups.setdefault(starts[record.run].profile_hash, []).append(record)
    outcomes: list[OperationResult] = []
    for records in groups.values():
        start = starts[records[0].run]
        run = Run(
            "resume",
            prof.from_json(start.profile),
            settings.home,
            settings.env,
            asked,
            only={record.board for record in records},
            certificate=start.facts.get("certificateProfile"),
        )
        ports = list(asked.ports) or sorted({record.port for record in records})
        found = run.execute(ports)
        seen = {
            board["board"]["uuid"] for board in found.data["boards"] if board["board"] is not None
        }
        run.absent += [_unfinished(record) for record in records if record.board not in seen]
        outcomes.append(found)
    return _merged(outcomes)


def _merged(outcomes: list[OperationResult]) -> OperationResult:
    first = outcomes[0]
    boards = [
        board
        for outcome in outcomes
        for board in outcome.data["boards"]
        if board["board"] is not None
    ]
    absent = [board for outcome in outcomes for board in outcome.data["absent"]]
    totals: dict[str, int] = {}
    for outcome in outcomes:
        for name, count in outcome.data["totals"].items():
            totals[name] = totals.get(name, 0) + count
    codes = [outcome.exit_code for outcome in outcomes if outcome.exit_code]
    errors = _distinct([error for outcome in outcomes for error in outcome.errors])
    told = first.told if len(outcomes) == 1 else 0
    interrupted = int(Exit.INTERRUPTED) in codes
    if absent and not interrupted:  # a run that was stopped has not looked everywhere
        listed = ", ".join(board["board"] for board in absent)
        errors.append(
            BoardError(
                "serial.none", f"{len(absent)} unfinished boards are on no port: {listed}"
            ).as_json()
        )
        codes.append(7 if not boards else 11)
    passed = totals.get("pass", 0)
    status = "ok" if not codes else "partial" if passed else "error"
    code = (
        int(Exit.INTERRUPTED)
        if interrupted
        else 0
        if not codes
        else codes[0]
        if len(boards) <= 1
        else 11
    )
    return OperationResult(
        "resume",
        {"run": first.data["run"], "boards": boards, "totals": totals, "absent": absent},
        status=status,  # type: ignore[arg-type]
        errors=errors,
        exit_code=code,
        human=_results(boards, totals),
        streamed=True,
        told=told,
    )


def _close_simulated(journal: Any, records: list[AttemptRecord]) -> None:
    for record in records:
        error = InfuseError("run.simulated", "the simulated world of this run is gone").as_json()
        run = uuid.uuid4().hex
        start = journal.run(record.run).start
        journal.start_run(
            RunStart(
                run=run,
                command="resume",
                profile_name=start.profile_name,
                profile_hash=start.profile_hash,
                profile=start.profile,
                operator=start.operator,
                simulated=True,
            )
        )
        journal.commit(
            TakeAttempt(attempt=record.attempt, run=run, slot=record.slot, port=record.port),
            EndAttempt(
                attempt=record.attempt, state=AttemptState.CLOSED, outcome="ABORTED", error=error
            ),
        )
        journal.end_run(run, {})


def _simulated(asked: Asked, stack: ExitStack) -> OperationResult:
    """A throw-away world: fresh boards, cloud, CA, and (unless --home says otherwise) home."""
    import os
    import tempfile

    from infuse_cli.cli.simulation import simulated, without_ours
    from infuse_cli.text import plural

    settings = context.current()
    if settings.profile_by_flag:
        raise UsageError(
            "usage.bad-option", "--sim brings its own profile; give --profile or --sim, not both"
        )
    folder = Path(
        stack.enter_context(
            tempfile.TemporaryDirectory(prefix="infuse-sim-", ignore_cleanup_errors=True)
        )
    )
    home = settings.home if settings.home_by_flag else folder / "home"
    if settings.output == "human":
        sys.stderr.write(
            f"Starting {plural(asked.sim or 1, 'virtual board')} and a virtual cloud…\n"
        )
        sys.stderr.flush()
    world = stack.enter_context(simulated(asked.sim or 1, faults=asked.faults))
    env = {
        **without_ours(os.environ),
        "INFUSE_HOME": str(home),
        "INFUSE_SEALING_KEY_FILE": str(folder / "sealing.key"),
    }
    loaded = load_profile(world.profile, env)
    run = Run(
        "provision", loaded.profile, home, env, asked, overridden=loaded.overridden, simulated=True
    )
    return run.execute(world.ports)


def _ports(run: Run, asked: Asked) -> tuple[str, ...]:
    """The ports of this run: those that were named, else those where boards are; a watching run
    waits for them.

    Raises BoardError serial.none, UsageError for a port named twice.
    """
    if len(set(asked.ports)) < len(asked.ports):
        raise UsageError("usage.bad-option", "--port names a port twice")
    if asked.watch:
        return asked.ports
    if asked.ports:
        return asked.ports[: asked.count]
    found = _seen(run)
    if not found:
        raise BoardError("serial.none", "no port looks like a board of this profile")
    return found[: asked.count]


def _seen(run: Run) -> tuple[str, ...]:
    """Where boards are now, by slot; sockets that were learned give their slots' numbers (`infuse
    serial slots`).
    """
    from infuse_cli.config.bench import load_bench
    from infuse_cli.link.places import numbered

    run.numbers = numbered(wire.source(run.profile, None).present(), load_bench(run.home).slots)
    return tuple(run.numbers)


def _show_details(results: Sequence[BoardResult]) -> None:
    """-vv keeps what a person at the bench never sees."""
    if context.current().verbose < 2:
        return
    for result in results:
        for key, value in (result.error.details if result.error is not None else {}).items():
            sys.stderr.write(f"slot {result.slot} {key}: {value}\n")


def _recorded(certificate: CertificateProfile | None) -> dict[str, Any]:
    """A certificate profile of one's own as a run has it on record: its file may be edited before
    the run is gone on with.
    """
    from infuse_cli.pki.certificate_profiles import content, to_values

    return (
        {"certificateProfile": to_values(certificate)}
        if certificate is not None and content(certificate)
        else {}
    )


def unrecorded(result: BoardResult, trouble: InfuseError) -> BoardResult:
    """A board whose PASS is in a journal that is gone has not PASSed."""
    if result.outcome is not Outcome.PASS:
        return result
    return replace(result, outcome=Outcome.ERROR, error=trouble, failed_step="record")


def _issuer(signer: Signer | None) -> str | None:
    """Name of the certificate that signs here, for the header."""
    if signer is None:
        return None
    from infuse_cli.pki.chain import common_names

    return ", ".join(common_names(signer.chain[0]))


def _unfinished(record: AttemptRecord) -> dict[str, Any]:
    return {
        "board": record.board,
        "run": record.run,
        "state": record.state.value,
        "port": record.port,
        "opened": record.opened.isoformat(),
    }


def _distinct(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(error["code"], error["message"]): error for error in errors}.values())


def _results(boards: list[dict[str, Any]], totals: Mapping[str, int]) -> Callable[[Any], None]:
    """Show the results on a stdout that is no terminal; on a terminal they stand there already, as
    they happened.
    """
    shown = [
        "slot {} {} board {} device {}".format(
            board["slot"],
            board["result"] or "looked at",
            (board["board"] or {}).get("uuid") or "?",
            board["deviceId"] or "-",
        )
        for board in boards
    ]

    def show(console: Any) -> None:  # noqa: ARG001 - written plainly, so that no line is wrapped
        if not sys.stdout.isatty():
            sys.stdout.write(
                "\n".join([*shown, " ".join(f"{name} {count}" for name, count in totals.items())])
                + "\n"
            )

    return show
