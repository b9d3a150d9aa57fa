"""One run over a file of rows: checked, registered in the cloud, reported."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path  # noqa: TC003 - a dataclass names it
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from infuse_cli.batch.adapters import Adapters, bench_sealer
from infuse_cli.batch.engine import Batch
from infuse_cli.batch.model import RunContext
from infuse_cli.batch.outage import Outage, report_outage
from infuse_cli.batch.report import Report
from infuse_cli.batch.source import RowFile, Summary, open_rows, rules_of
from infuse_cli.clock import RunClock
from infuse_cli.config.source import load_profile
from infuse_cli.effects.journal_run import journal_run, run_start
from infuse_cli.effects.results import REPORT_FILES, Results
from infuse_cli.errors import Exit, InfuseError, Interrupted, JournalError, UsageError
from infuse_cli.journal.spill_store import DiskSpillStore
from infuse_cli.provisioning.resolve import NOT_YET, resolve
from infuse_cli.text import plural
from infuse_cli.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infuse_cli.cloud.infuse_api import InfuseClient
    from infuse_cli.config import model as prof
    from infuse_cli.config.source import Loaded
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import Events, RegistryApi, Sealer
    from infuse_cli.provisioning.context import Resolved
    from infuse_cli.records import RunStart
    from infuse_cli.records.rows import RowOutcome
    from infuse_cli.settings import Settings

COMMAND: Final = "batch register"
_BAD_LINES: Final = 10
_ERRORS: Final = 20
_RESUME: Final = "The same command again goes on where it was."


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """A file of rows and how it is registered.

    `concurrency` is the number of requests under way at a time, `rate` the most requests a second
    (None: no limit), `max_failures` the number of failed rows after which no further row is begun.
    `update` gives devices that exist the metadata of the file, `skip_bad` leaves bad lines out.
    `report` None: `reports/` in the home.
    """

    file: Path
    concurrency: int = 16
    rate: float | None = None
    max_failures: int | None = None
    update: bool = False
    skip_bad: bool = False
    report: Path | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """What came of a file. `totals` counts the rows that ended.

    `skipped` are bad lines that were left out, `left` the rows that did not come to an end.
    `report` is None where it could not be written. `status` is ok, partial where any row is
    well, else error.
    """

    run: str
    file: Path
    totals: Mapping[RowOutcome, int]
    report: Path | None
    skipped: int
    left: int
    errors: tuple[InfuseError, ...]
    exit: Exit
    status: str


def register(
    settings: Settings,
    request: RegisterRequest,
    clock: RunClock | None = None,
    events: Events | None = None,
    *,
    on_outage: Callable[[Outage], None] | None = None,
) -> Registration:
    """Register the file's devices in the cloud, each exactly once.

    `clock` carries a stop from another thread, `events` gets each row as it ends. Running it again
    is how a stopped run resumes. What stops the run after rows were sent is in the result.

    Raises before anything is sent: UsageError batch.…, ProfileError, CredentialError, CloudError,
    JournalError, Interrupted.
    """
    loaded, clock = load_profile(settings.profile, settings.env), clock or RunClock()
    with open_rows(request.file) as file, Adapters(settings, loaded.profile, clock) as adapters:
        return _Run(request, loaded, file, adapters, clock, events, on_outage).execute()


@dataclass(slots=True)
class _Run:
    """One run under way."""

    request: RegisterRequest
    loaded: Loaded
    file: RowFile
    adapters: Adapters
    clock: RunClock
    events: Events | None
    on_outage: Callable[[Outage], None] | None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def profile(self) -> prof.Profile:
        """The run's profile."""
        return self.loaded.profile

    def execute(self) -> Registration:
        """Check all, register, report."""
        adapters = self.adapters
        _ = adapters.journal  # opened first: a journal that cannot be used is the cheapest trouble
        adapters.cloud.pace(self.request.rate)
        resolved = self._resolve(adapters.patient_cloud, None)
        summary = self._check(resolved)
        registry, sealer = self._token_adapters(summary)
        place = self._report_path()
        results = Results(adapters.settings, (self.request.file,))
        results.check(place, option="--report", replaces=REPORT_FILES)
        report = Report(place, private=self.request.report is None)
        try:
            return self._register(resolved, summary, registry, sealer, report)
        finally:
            report.close()

    def _resolve(self, client: InfuseClient, journal: SqliteJournal | None) -> Resolved:
        with report_outage(self.clock, self.profile.cloud, self.on_outage):
            return resolve(self.profile, client, journal, self.id, self.clock)

    def _check(self, resolved: Resolved) -> Summary:
        """Read the whole file once.

        Raises UsageError batch.bad-rows unless `skip_bad`; nothing was sent until here.
        """
        rules = rules_of(self.profile, resolved.board.metadata_fields)
        summary = self.file.check(rules, stopped=lambda: self.clock.wait(0))
        if summary.bad and not (self.request.skip_bad and summary.good):
            listed = [
                f"line {bad.line}{f' ({bad.field})' if bad.field else ''}: {bad.why}"
                for bad in islice(self.file.troubles(), _BAD_LINES)
            ]
            more = f"; {summary.bad} lines in all" if summary.bad > len(listed) else ""
            raise UsageError("batch.bad-rows", f"{self.request.file}: {'; '.join(listed)}{more}")
        return summary

    def _token_adapters(self, summary: Summary) -> tuple[RegistryApi | None, Sealer | None]:
        """What rows with a name need; what is missing is found before anything is sent."""
        if not summary.named:
            return None, None
        self.adapters.check_registry(summary.named)
        sealer = bench_sealer(self.adapters.settings, create=True)
        registry = self.adapters.registry()
        registry.pace(self.request.rate)
        return registry, sealer

    def _report_path(self) -> Path:
        if self.request.report is not None:
            return self.request.report.absolute()
        folder = self.adapters.settings.home / "reports"
        return folder / f"{self.request.file.stem}-{self.id[:8]}.csv"

    def _register(
        self,
        resolved: Resolved,
        summary: Summary,
        registry: RegistryApi | None,
        sealer: Sealer | None,
        report: Report,
    ) -> Registration:
        batch: Batch | None = None
        written: Path | None = None
        try:
            with journal_run(self.adapters.journal, self._run_start(summary)) as run:
                if NOT_YET in {resolved.organisation.id, resolved.board.id}:
                    resolved = self._resolve(self.adapters.patient_cloud, self.adapters.journal)
                self._emit("run-started", self._header(resolved, summary))
                batch = Batch(self._context(resolved, registry, sealer), summary.good)
                batch.totals.skipped = summary.bad
                batch.run(self.file.rows())
                written = self._write(batch, report)
                place = None if written is None else str(written)
                run.totals.update(batch.totals.by_name())
                self._emit("run-ended", {"totals": run.totals, "report": place})
        except JournalError as error:
            # Where the journal has no room for the end of the run, the totals are reported anyway.
            if batch is None:
                raise
            batch.stopped_by = batch.stopped_by or error
        return self._result(batch, summary, written)

    def _emit(self, event: str, data: dict[str, object]) -> None:
        if self.events is not None:
            self.events.emit(Event(ts=self.clock.now(), run=self.id, event=event, data=data))

    def _write(self, batch: Batch, report: Report) -> Path | None:
        """Write the report. An error must hide neither the totals nor what stopped the run."""
        try:
            report.write(batch.ended_rows, self.file.troubles())
        except UsageError as error:
            batch.stopped_by = batch.stopped_by or error
            return None
        return report.path

    def _context(
        self, resolved: Resolved, registry: RegistryApi | None, sealer: Sealer | None
    ) -> RunContext:
        adapters = self.adapters
        return RunContext(
            run=self.id,
            profile=self.profile,
            request=self.request,
            journal=adapters.journal,
            cloud=adapters.cloud,
            patient_cloud=adapters.patient_cloud,
            registry=registry,
            sealer=sealer,
            clock=self.clock,
            events=self.events,
            resolved=resolved,
            spill_store=DiskSpillStore,
        )

    def _run_start(self, summary: Summary) -> RunStart:
        facts = {
            "file": str(self.request.file.absolute()),
            "sha256": summary.sha256,
            "rows": summary.good,
            "skipped": summary.bad,
            "overridden": list(self.loaded.overridden),
        }
        return run_start(
            COMMAND, self.adapters.bench, profile=self.profile, facts=facts, run=self.id
        )

    def _header(self, resolved: Resolved, summary: Summary) -> dict[str, object]:
        profile, credential = self.profile, self.adapters.credential
        registry = profile.registry if summary.named else None
        return {
            "profile": profile.name,
            "organisation": resolved.organisation.name,
            "cloudBoard": resolved.board.name,
            "apiHost": _host(profile.cloud.base_url),
            "registryHost": None if registry is None else _host(registry.base_url),
            "station": self.adapters.bench.station,
            "credential": credential.where,
            "overridden": list(self.loaded.overridden),
            "file": str(self.request.file),
            "rows": summary.good,
            "named": summary.named,
            "skipped": summary.bad,
            "notes": list(credential.notes),
        }

    def _result(self, batch: Batch, summary: Summary, report: Path | None) -> Registration:
        totals, interrupted = batch.totals, self.clock.stop.is_set()
        code = totals.exit_code(
            left=batch.left, interrupted=interrupted, stopped_by=batch.stopped_by
        )
        errors = [] if batch.stopped_by is None else [batch.stopped_by]
        if interrupted:
            errors.append(Interrupted(hint=_RESUME))
        errors += totals.errors()[:_ERRORS]
        if summary.bad:
            errors.append(self._skipped(summary))
        if batch.left and not interrupted and batch.stopped_by is None:
            why = "not begun: as many rows failed as --max-failures allows"
            errors.append(InfuseError("batch.stopped", f"{plural(batch.left, 'row')} {why}"))
        return Registration(
            run=self.id,
            file=self.request.file,
            totals=totals.counts,
            report=report,
            skipped=summary.bad,
            left=batch.left,
            errors=tuple(errors),
            exit=code,
            status=totals.status(code),
        )

    def _skipped(self, summary: Summary) -> UsageError:
        first = next(iter(self.file.troubles()))
        count = plural(summary.bad, "bad line")
        return UsageError(
            "batch.bad-rows",
            f"{count} left out, the first is line {first.line}: {first.why}",
        )


def _host(url: str) -> str:
    """Host and port of a URL."""
    return urlsplit(url).netloc or url
