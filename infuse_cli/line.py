"""The line as a library: boards are brought into the cloud, values in and values out.

```python
line = Line(Settings(home, profile="field-sensor", env=os.environ))
result = line.provision(ProvisionRequest(ports=("/dev/ttyACM0", "/dev/ttyACM1")))
print(result.totals)
```

Everything that `infuse provision` and `infuse resume` do is here; the command line adds options,
a picture of the run and signals.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.clock import RunClock
from infuse_cli.errors import BoardError, InfuseError, JournalError, UsageError
from infuse_cli.provisioning.request import ProvisionRequest, RunSetup
from infuse_cli.provisioning.results import ResumeResult, RunResult, totals
from infuse_cli.types import AttemptState, Event, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli.composition import Adapters
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Events, Person, PortMonitor, Signer
    from infuse_cli.provisioning.context import Resolved, RunContext
    from infuse_cli.provisioning.fleet import Fleet
    from infuse_cli.provisioning.mirror import Mirror
    from infuse_cli.provisioning.results import BoardResult
    from infuse_cli.records import AttemptRecord, RunStart
    from infuse_cli.settings import Settings

    RecordText = Callable[[SqliteJournal, str], str]

__all__ = ["Line", "ProvisionRequest", "ResumeResult", "RunResult", "RunSetup"]


class _NoEvents:
    """Nobody listens."""

    def emit(self, event: Event) -> None:
        """Nothing."""


class Line:
    """Provisions boards at one bench.

    `events` hears what happens, from several threads. `clock` is the run's time and its stop: set
    `clock.stop` to have boards in hand finished to their next step and parked. `person` is somebody
    at a keyboard beside a run that watches. `record_text` gives a board's record as text, for the
    bench's mirror of records, which is not written without it. A Line may be used for one run after
    another.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        events: Events | None = None,
        clock: RunClock | None = None,
        person: Person | None = None,
        record_text: RecordText | None = None,
    ) -> None:
        self.settings: Final = settings
        self.events: Final = events or _NoEvents()
        self.clock: Final = clock or RunClock()
        self.person: Final = person
        self.record_text: Final = record_text

    def provision(
        self,
        request: ProvisionRequest | None = None,
        *,
        before: Callable[[], None] | None = None,
        simulated: bool = False,
    ) -> RunResult:
        """Bring boards to PASS, each to its own result; what stops all of them is raised.

        `before` and `simulated` as in `RunSetup`. Raises InfuseError, of which BoardError
        serial.none where no board is seen.
        """
        from infuse_cli.config.source import load_profile

        loaded = load_profile(self.settings.profile, self.settings.env)
        setup = RunSetup(
            "provision",
            loaded.profile,
            request or ProvisionRequest(),
            overridden=loaded.overridden,
            simulated=simulated,
            before=before,
        )
        ports, numbers = self._ports(setup)
        return self.run(setup, ports, numbers)

    def run(
        self, setup: RunSetup, ports: Sequence[str], numbers: dict[str, int] | None = None
    ) -> RunResult:
        """Take the boards on these ports; `numbers` are the slots of ports where they are known."""
        return _Run(self, setup, tuple(ports), numbers or {}).execute()

    def resume(self, request: ProvisionRequest | None = None) -> ResumeResult:
        """Go on with every parked board that is on a port, under the profile its run recorded.

        Boards are known by their key, on any port; without ports in the request those are looked at
        where the boards were. Attempts of simulated boards are closed: their world is gone.
        """
        from infuse_cli.journal.store import open_journal

        request = request or ProvisionRequest()
        with open_journal(self.settings.home) as journal:
            orphans = [record for record in journal.open_attempts() if not record.alive]
            starts = {record.run: journal.run(record.run).start for record in orphans}
            gone = [record for record in orphans if starts[record.run].simulated]
            for record in gone:
                _close_simulated(journal, record, starts[record.run])
        groups: dict[str, list[AttemptRecord]] = {}
        for record in orphans:
            if record not in gone and record.state is not AttemptState.FAILED:
                groups.setdefault(starts[record.run].profile_hash, []).append(record)
        runs: list[RunResult] = []
        absent: list[AttemptRecord] = []
        for records in groups.values():
            result = self._resume_group(request, records, starts[records[0].run])
            seen = {board.board for board in result.boards}
            absent += [record for record in records if record.board not in seen]
            runs.append(result)
        return ResumeResult(tuple(runs), tuple(absent), len(gone))

    def _resume_group(
        self, request: ProvisionRequest, records: list[AttemptRecord], start: RunStart
    ) -> RunResult:
        from infuse_cli.config import model as prof

        setup = RunSetup(
            "resume",
            prof.from_json(start.profile),
            request,
            only=frozenset(record.board for record in records),
            certificate=start.facts.get("certificateProfile"),
        )
        return self.run(setup, request.ports or sorted({record.port for record in records}))

    def _ports(self, setup: RunSetup) -> tuple[tuple[str, ...], dict[str, int]]:
        """The ports of a run: those that were named, else those where boards are, with the slots
        that were learned; a watching run waits for them.

        Raises BoardError serial.none, UsageError for a port named twice.
        """
        from infuse_cli import composition

        request = setup.request
        if len(set(request.ports)) < len(request.ports):
            raise UsageError("usage.bad-option", "--port names a port twice")
        if request.watch:
            return request.ports, {}
        if request.ports:
            return request.ports[: request.count], {}
        from infuse_cli.config.bench import load_bench
        from infuse_cli.link.places import numbered

        present = composition.source(setup.profile, None).present()
        numbers = numbered(present, load_bench(self.settings.home).slots)
        if not numbers:
            raise BoardError("serial.none", "no port looks like a board of this profile")
        return tuple(numbers)[: request.count], numbers


class _Run:
    """One run under way."""

    def __init__(
        self, line: Line, setup: RunSetup, ports: tuple[str, ...], numbers: dict[str, int]
    ) -> None:
        from infuse_cli import composition

        self._line: Final = line
        self._setup: Final = setup
        self._ports: Final = ports
        self._numbers: Final = numbers
        self._clock: Final = line.clock
        self._id: Final = uuid.uuid4().hex
        self._dry: Final = setup.request.options.dry_run
        self._adapters: Final[Adapters] = composition.build(
            line.settings,
            setup.profile,
            self._clock,
            request=setup.request,
            certificate=setup.certificate,
        )
        self._events: Events = line.events
        self._ended = self._paused = False
        self._results: list[BoardResult] = []

    def execute(self) -> RunResult:
        """From the run's header to its totals."""
        with ExitStack() as stack:
            stack.callback(self._adapters.close)
            mirror = self._start_mirror(stack)
            if not self._dry:
                self._adapters.journal.start_run(self._start())
            trouble = None
            try:
                self._take_boards()
            finally:
                if not self._dry:
                    trouble = self._end()
            if trouble is not None and trouble.code == "journal.moved":
                self._results = [_unrecorded(result, trouble) for result in self._results]
            self._emit("run-ended", {"totals": totals(self._results)})
        stopped = self._clock.stop.is_set()
        return RunResult(
            self._id,
            tuple(self._results),
            dry_run=self._dry,
            interrupted=stopped and not self._ended,
            ended=self._ended,
            paused=self._paused,
            trouble=trouble,
            mirror=None if mirror is None else mirror.report(),
        )

    def _start_mirror(self, stack: ExitStack) -> Mirror | None:
        """The bench's mirror of records, where it has one, in front of whoever listens."""
        journal, folder = self._adapters.journal, self._adapters.bench.mirror
        text = self._line.record_text
        if folder is None or text is None or self._dry:
            return None
        from infuse_cli.provisioning.mirror import Mirror

        mirror = Mirror(self._events, Path(folder).expanduser(), lambda board: text(journal, board))
        stack.callback(mirror.close)
        self._events = mirror
        return mirror

    def _start(self) -> RunStart:
        from infuse_cli import composition
        from infuse_cli.config import model as prof
        from infuse_cli.records import RunStart

        setup, bench = self._setup, self._adapters.bench
        certificate = self._adapters.certificate
        return RunStart(
            run=self._id,
            command=setup.command,
            profile_name=setup.profile.name,
            profile_hash=composition.profile_hash(setup.profile, certificate),
            profile=prof.to_json(setup.profile),
            operator=composition.operator_name(bench),
            lot=setup.request.lot or bench.lot,
            simulated=setup.simulated,
            facts={
                "ports": list(setup.request.ports),
                "overridden": list(setup.overridden),
                **_certificate_facts(certificate),
            },
        )

    def _take_boards(self) -> None:
        fleet = self._prepare()
        if self._setup.before is not None:
            self._setup.before()
        if self._setup.request.watch:
            self._watch(fleet)
        else:
            self._results = fleet.once(self._ports, only=self._setup.only, numbers=self._numbers)
        self._paused = fleet.tally.five_equal

    def _prepare(self) -> Fleet:
        """Ask the cloud what the profile names, check clock and issuer, announce the run."""
        from infuse_cli import composition
        from infuse_cli.provisioning.clock_guard import ClockGuard
        from infuse_cli.provisioning.fleet import Fleet
        from infuse_cli.provisioning.resolve import resolve
        from infuse_cli.provisioning.scanning import with_labels

        setup, adapters = self._setup, self._adapters
        journal = None if self._dry else adapters.journal
        guard = ClockGuard(self._clock, adapters.cloud, journal)
        resolved = resolve(
            setup.profile,
            adapters.cloud,
            journal,
            self._id,
            self._clock,
            before_creating=guard.check,
        )
        guard.check()
        self._check_issuer()
        context = composition.run_context(
            self._id,
            adapters,
            setup.profile,
            resolved,
            clock=self._clock,
            events=self._events,
            request=setup.request,
            check_clock=guard.check,
        )
        if setup.request.watch:
            person = self._line.person
            can_type = person is not None and person.can_type()
            context = with_labels(context, adapters.bench, can_type=can_type)
        self._emit("run-started", self._header(resolved, context))
        source = composition.source(setup.profile, list(self._ports))
        return Fleet(context, source, slots=setup.request.slots)

    def _check_issuer(self) -> None:
        """An issuer that was revoked stops the run before a board is touched."""
        if self._adapters.signer is not None:
            from infuse_cli.pki.issuing import check_issuer

            check_issuer(self._adapters.signer, self._adapters.journal.is_revoked)

    def _header(self, resolved: Resolved, context: RunContext) -> dict[str, Any]:
        from infuse_cli import composition

        setup, adapters = self._setup, self._adapters
        profile, registry = setup.profile, setup.profile.registry
        unfinished = [record for record in adapters.journal.open_attempts() if not record.alive]
        return {
            "profile": profile.name,
            "mode": profile.identity.mode,
            "organisation": resolved.organisation.name,
            "cloudBoard": resolved.board.name,
            "apiHost": composition.host_of(profile.cloud.base_url),
            "registryHost": None if registry is None else composition.host_of(registry.base_url),
            "ca": None if adapters.signer is None else profile.identity.ca,
            "issuer": _issuer_name(adapters.signer),
            "station": adapters.bench.station,
            "credential": adapters.credential.where,
            "overridden": list(setup.overridden),
            "slots": len(self._ports) or max(adapters.bench.slots.values(), default=0),
            "dryRun": self._dry,
            "watch": setup.request.watch,
            "scans": context.labels is not None,
            "simulated": setup.simulated,
            "unfinished": [unfinished_json(record) for record in unfinished],
            "notes": list(adapters.credential.notes),
        }

    def _watch(self, fleet: Fleet) -> None:
        """Take boards as they come, until a person or the count ends it."""
        from infuse_cli.link.scanner import Scanner
        from infuse_cli.provisioning.hot_plug import HotPlugLoop
        from infuse_cli.provisioning.scanning import announce

        context, scanner = fleet.context, self._adapters.bench.scanner
        loop = HotPlugLoop(
            fleet,
            self._port_monitor(),
            count=self._setup.request.count,
            by_answer=self._setup.profile.board.presence == "answer",
        )
        scan = None if context.labels is None else context.labels.scan
        with ExitStack() as stack:
            if self._line.person is not None:
                stop = self._clock.stop.set
                stack.enter_context(self._line.person.listening(stop=stop, line=scan))
            if scan is not None and scanner is not None and scanner.port is not None:

                def refuse(why: str) -> None:
                    announce(context, "scan-refused", None, {"text": f"the scanner: {why}"})

                stack.enter_context(
                    Scanner(
                        scanner.port, scanner.baud, suffix=scanner.suffix, line=scan, trouble=refuse
                    )
                )
            self._results = loop.run()
        self._ended = self._clock.stop.is_set() and not loop.interrupted

    def _port_monitor(self) -> PortMonitor:
        from infuse_cli.link.hotplug import NamedPorts, UsbPorts

        if self._ports:
            return NamedPorts(self._ports)
        scanner = self._adapters.bench.scanner
        never = () if scanner is None or scanner.port is None else (scanner.port,)
        return UsbPorts(self._setup.profile.board.usb, self._adapters.bench.slots, never)

    def _end(self) -> InfuseError | None:
        """Record the end; a journal that fails at this point must not take the boards' results with
        it.
        """
        try:
            self._adapters.journal.end_run(self._id, totals(self._results))
        except JournalError as error:
            if not self._results:
                raise
            return error
        return None

    def _emit(self, event: str, data: dict[str, Any]) -> None:
        self._events.emit(Event(ts=self._clock.now(), run=self._id, event=event, data=data))


def unfinished_json(record: AttemptRecord) -> dict[str, Any]:
    """An unfinished board as events and envelopes name it."""
    return {
        "board": record.board,
        "run": record.run,
        "state": record.state.value,
        "port": record.port,
        "opened": record.opened.isoformat(),
    }


def _close_simulated(journal: SqliteJournal, record: AttemptRecord, start: RunStart) -> None:
    from infuse_cli.records import EndAttempt, RunStart, TakeAttempt

    error = InfuseError("run.simulated", "the simulated world of this run is gone").as_json()
    run = uuid.uuid4().hex
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


def _unrecorded(result: BoardResult, trouble: InfuseError) -> BoardResult:
    """A board whose PASS is in a journal that is gone has not PASSed."""
    if result.outcome is not Outcome.PASS:
        return result
    return replace(result, outcome=Outcome.ERROR, error=trouble, failed_step="record")


def _certificate_facts(certificate: CertificateProfile | None) -> dict[str, Any]:
    """A certificate profile of one's own as a run records it: its file may be edited before the run
    is gone on with.
    """
    from infuse_cli.pki.certificate_profiles import content, to_values

    if certificate is None or not content(certificate):
        return {}
    return {"certificateProfile": to_values(certificate)}


def _issuer_name(signer: Signer | None) -> str | None:
    """Name of the certificate that signs here, for the header."""
    if signer is None:
        return None
    from infuse_cli.pki.chain import common_names

    return ", ".join(common_names(signer.chain[0]))
