"""`infuse batch register`: one run over a file, from its check to its report."""

from __future__ import annotations

import sys
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import composition as wire
from infuse_cli.batch.outage import outage_told
from infuse_cli.batch.report import Report
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.signals import StopOnSignals
from infuse_cli.clock import RunClock
from infuse_cli.config import model as prof
from infuse_cli.effects.results import REPORT_FILES, Results
from infuse_cli.errors import InfuseError, Interrupted, JournalError, ProfileError, UsageError
from infuse_cli.provisioning.line import load_profile
from infuse_cli.records import RunStart
from infuse_cli.text import plural
from infuse_cli.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from infuse_cli.batch.engine import Batch
    from infuse_cli.batch.source import RowFile, Summary
    from infuse_cli.cli.views.events import Renderer
    from infuse_cli.cloud.infuse_api import InfuseClient
    from infuse_cli.config.bench import Bench
    from infuse_cli.config.source import Loaded
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.keys.credentials import Found
    from infuse_cli.ports import RegistryApi, Sealer
    from infuse_cli.provisioning.context import Resolved

COMMAND: Final = "batch register"
_MOST_BAD: Final = 10
_MOST_ERRORS: Final = 20
_AGAIN: Final = "The same command again goes on where it was."


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asked."""

    file: Path
    concurrency: int = 16
    rate: float | None = None
    max_failures: int | None = None
    update: bool = False
    skip_bad: bool = False
    report: Path | None = None


def register(asked: Asked) -> OperationResult:
    """`infuse batch register`."""
    from infuse_cli.batch.source import open_rows

    settings = context.current()
    loaded = load_profile(settings.profile, settings.env)
    with open_rows(asked.file) as file:
        return _Register(asked, loaded, file).execute()


@dataclass(slots=True)
class _Register:
    """One run under way."""

    asked: Asked
    loaded: Loaded
    file: RowFile
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    clock: RunClock = field(default_factory=RunClock)

    @property
    def profile(self) -> prof.Profile:
        """The run's profile."""
        return self.loaded.profile

    def execute(self) -> OperationResult:
        """Check all, register, report."""
        from infuse_cli.cloud.build import connect
        from infuse_cli.config.bench import load_bench
        from infuse_cli.journal.store import open_journal
        from infuse_cli.keys.credentials import credential_host, find_credential

        settings, cloud = context.current(), self.profile.cloud
        with ExitStack() as stack:
            stack.enter_context(StopOnSignals(self.clock))
            bench = load_bench(settings.home)
            journal = stack.enter_context(open_journal(settings.home, station=bench.station))
            found = find_credential(
                credential_host(cloud.base_url),
                env=settings.env,
                token_file=cloud.auth.token_file,
                home=settings.home,
            )
            client = connect(cloud, found.secret, self.clock.between_tries)
            patient = connect(cloud, found.secret, self.clock.between_tries, through_outages=True)
            stack.callback(client.close)
            stack.callback(patient.close)
            client.pace(self.asked.rate)
            imagined = self._resolve(patient, None)
            summary = self._checked(imagined)
            registry, sealer = self._for_tokens(summary, bench, found)
            Results(settings.settings, (self.asked.file,)).check(
                self._report_path(), option="--report", replaces=REPORT_FILES
            )
            report = Report(self._report_path(), private=self.asked.report is None)
            stack.callback(report.close)
            parts = _Parts(journal, bench, client, patient, registry, sealer, found, imagined)
            return self._run(parts, summary, report)

    def _resolve(self, client: InfuseClient, journal: SqliteJournal | None) -> Resolved:
        from infuse_cli.provisioning.resolve import resolve

        with outage_told(self.clock, self.profile.cloud):
            return resolve(self.profile, client, journal, self.id, self.clock)

    def _checked(self, resolved: Resolved) -> Summary:
        """The whole file read once.

        Raises UsageError batch.bad-rows unless --skip-bad; nothing was sent until here.
        """
        from infuse_cli.batch.source import rules_of

        summary = self.file.check(
            rules_of(self.profile, resolved.board.metadata_fields),
            stopped=lambda: self.clock.wait(0),
        )
        if summary.bad and not (self.asked.skip_bad and summary.good):
            listed = [
                f"line {bad.line}{f' ({bad.field})' if bad.field else ''}: {bad.why}"
                for bad, _ in zip(self.file.troubles(), range(_MOST_BAD), strict=False)
            ]
            more = f"; {summary.bad} lines in all" if summary.bad > len(listed) else ""
            raise UsageError("batch.bad-rows", f"{self.asked.file}: {'; '.join(listed)}{more}")
        return summary

    def _for_tokens(
        self, summary: Summary, bench: Bench, found: Found
    ) -> tuple[RegistryApi | None, Sealer | None]:
        """What rows with a name need: a registry, and a key to seal their tokens with; missed
        before anything is sent.
        """
        if not summary.named:
            return None, None
        from infuse_cli.cloud.build import connect_registry
        from infuse_cli.keys.credentials import registry_credential
        from infuse_cli.keys.seal import bench_keys, load_sealer

        settings, profile = context.current(), self.profile
        if profile.registry is None:
            raise ProfileError(
                "profile.invalid",
                f"{plural(summary.named, 'row')} ask for a registration token by their name, and"
                " the profile names no registry",
                hint="Add registry.base_url to the profile, or leave the column `name` empty.",
            )
        sealing = {"key_file": bench.sealing.key_file, "keyring": bench.sealing.keyring}
        sealer = load_sealer(bench_keys(settings.home, sealing, settings.env), create=True)
        registry = connect_registry(
            profile.registry,
            found.secret,
            self.clock.between_tries,
            cloud=profile.cloud,
            own=registry_credential(settings.env),
        )
        registry.pace(self.asked.rate)
        return registry, sealer

    def _report_path(self) -> Path:
        if self.asked.report is not None:
            return self.asked.report.absolute()
        return context.current().home / "reports" / f"{self.asked.file.stem}-{self.id[:8]}.csv"

    def _run(self, parts: _Parts, summary: Summary, report: Report) -> OperationResult:
        from infuse_cli.batch.engine import Batch
        from infuse_cli.cli.views.batch import make_events

        parts.journal.start_run(self._start(parts, summary))
        events = make_events(context.current(), summary.good)
        batch: Batch | None = None
        try:
            from infuse_cli.provisioning.resolve import NOT_YET

            resolved = parts.resolved
            if NOT_YET in {resolved.organisation.id, resolved.board.id}:
                resolved = self._resolve(parts.patient, parts.journal)
            events.emit(self._opening(parts, resolved, summary))
            batch = Batch(self._batch_parts(parts, resolved, events), summary.good)
            batch.tally.skipped = summary.bad
            batch.run(self.file.rows())
            written = self._written(batch, report)
            events.emit(
                Event(
                    ts=self.clock.now(),
                    run=self.id,
                    event="run-ended",
                    data={"totals": batch.tally.totals(), "report": written},
                )
            )
        finally:
            events.close()
            self._end(parts, batch)
        return self._result(batch, summary, written)

    def _end(self, parts: _Parts, batch: Batch | None) -> None:
        """The run is over, on record too; where that has no room, the totals are told all
        the same.
        """
        try:
            parts.journal.end_run(self.id, {} if batch is None else batch.tally.totals())
        except JournalError as error:
            if batch is None:
                raise
            batch.trouble = batch.trouble or error

    def _written(self, batch: Batch, report: Report) -> str | None:
        """Where the report is; None where it cannot be written, which must hide neither the totals
        nor what stopped the run.
        """
        try:
            report.write(batch.told, self.file.troubles())
        except UsageError as error:
            batch.trouble = batch.trouble or error
            return None
        return str(report.path)

    def _batch_parts(self, parts: _Parts, resolved: Resolved, events: Renderer) -> Any:
        from infuse_cli.batch.model import BatchOptions, BatchParts
        from infuse_cli.journal.shelf import DiskShelf

        options = BatchOptions(
            concurrency=self.asked.concurrency,
            max_failures=self.asked.max_failures,
            update=self.asked.update,
        )
        return BatchParts(
            run=self.id,
            profile=self.profile,
            options=options,
            journal=parts.journal,
            cloud=parts.cloud,
            patient=parts.patient,
            registry=parts.registry,
            sealer=parts.sealer,
            clock=self.clock,
            events=events,
            resolved=resolved,
            shelf=DiskShelf,
        )

    def _start(self, parts: _Parts, summary: Summary) -> RunStart:
        facts = {
            "file": str(self.asked.file.absolute()),
            "sha256": summary.sha256,
            "rows": summary.good,
            "skipped": summary.bad,
            "overridden": list(self.loaded.overridden),
        }
        return RunStart(
            run=self.id,
            command=COMMAND,
            profile_name=self.profile.name,
            profile_hash=prof.digest(self.profile),
            profile=prof.to_json(self.profile),
            operator=wire.operator_name(parts.bench),
            lot=parts.bench.lot,
            facts=facts,
        )

    def _opening(self, parts: _Parts, resolved: Resolved, summary: Summary) -> Event:
        profile = self.profile
        return Event(
            ts=self.clock.now(),
            run=self.id,
            event="run-started",
            data={
                "profile": profile.name,
                "organisation": resolved.organisation.name,
                "cloudBoard": resolved.board.name,
                "apiHost": wire.host_of(profile.cloud.base_url),
                "registryHost": (
                    None
                    if parts.registry is None or profile.registry is None
                    else wire.host_of(profile.registry.base_url)
                ),
                "station": parts.bench.station,
                "credential": parts.credential.where,
                "overridden": list(self.loaded.overridden),
                "file": str(self.asked.file),
                "rows": summary.good,
                "named": summary.named,
                "skipped": summary.bad,
                "notes": list(parts.credential.notes),
            },
        )

    def _result(self, batch: Batch, summary: Summary, report: str | None) -> OperationResult:
        tally, interrupted = batch.tally, self.clock.stop.is_set()
        code = tally.exit_code(left=batch.left, interrupted=interrupted, trouble=batch.trouble)
        errors = [] if batch.trouble is None else [batch.trouble.as_json()]
        errors += [Interrupted(hint=_AGAIN).as_json()] if interrupted else []
        errors += [
            *tally.errors()[:_MOST_ERRORS],
            *self._skipped(summary),
            *_left(batch, stopped=interrupted or batch.trouble is not None),
        ]
        data = {
            "run": self.id,
            "file": str(self.asked.file),
            "totals": tally.totals(),
            "report": report,
            "skipped": summary.bad,
            "left": batch.left,
        }
        return OperationResult(
            COMMAND,
            data,
            status=tally.status(code),  # type: ignore[arg-type]
            errors=errors,
            exit_code=int(code),
            human=_summary(data),
            streamed=True,
        )

    def _skipped(self, summary: Summary) -> list[dict[str, Any]]:
        if not summary.bad:
            return []
        first = next(iter(self.file.troubles()))
        message = (
            f"{plural(summary.bad, 'bad line')} left out, the first is line {first.line}:"
            f" {first.why}"
        )
        return [UsageError("batch.bad-rows", message).as_json()]


@dataclass(frozen=True, slots=True)
class _Parts:
    """The adapters of this run."""

    journal: SqliteJournal
    bench: Bench
    cloud: InfuseClient
    patient: InfuseClient
    registry: RegistryApi | None
    sealer: Sealer | None
    credential: Found
    resolved: Resolved


def _left(batch: Batch, *, stopped: bool) -> list[dict[str, Any]]:
    if not batch.left or stopped:
        return []
    return [
        InfuseError(
            "batch.stopped",
            f"{plural(batch.left, 'row')} not begun: as many rows failed as --max-failures allows",
        ).as_json()
    ]


def _summary(data: dict[str, Any]) -> Callable[[Any], None]:
    counts = {**data["totals"], **{name: data[name] for name in ("skipped", "left") if data[name]}}

    written = {} if data["report"] is None else {"report": data["report"]}

    def show(console: Any) -> None:
        if not sys.stdout.isatty():
            lines = [f"{name} {count}" for name, count in {**counts, **written}.items()]
            sys.stdout.write("\n".join(lines) + "\n")
            return
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right")
        for name, count in counts.items():
            table.add_row(
                str(count),
                name,
                style=(
                    "dim"
                    if not count
                    else "bold red"
                    if name not in {"created", "existed"}
                    else "bold"
                ),
            )
        console.print(table)
        for name, path in written.items():
            console.print(f"{name}: {path}", markup=False, soft_wrap=True)

    return show
