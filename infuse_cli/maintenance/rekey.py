"""A new sealing key: everything that the journal holds sealed is sealed anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli import failpoint
from infuse_cli.config.bench import load_bench, login_name
from infuse_cli.effects.journal_run import journal_run, run_start
from infuse_cli.journal.store import open_journal
from infuse_cli.maintenance.alone import living_runs, require_alone
from infuse_cli.records.notes import NoteKind

if TYPE_CHECKING:
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.keys.seal import Rekey
    from infuse_cli.settings import Settings


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """How many secrets were sealed anew; `old_key_kept` where a run may still use the old key."""

    secrets: int
    old_key_kept: bool


def rekey(settings: Settings) -> Rekeyed:
    """Make a new data key and seal every secret anew. Killed at any point it is run again.

    Raises JournalError journal.conflict where a run is under way, CredentialError
    credential.sealing-key.
    """
    from infuse_cli.keys.seal import Rekey, bench_keys

    bench = load_bench(settings.home)
    sealing = {"key_file": bench.sealing.key_file, "keyring": bench.sealing.keyring}
    with open_journal(settings.home, operator=login_name(), create=False) as journal:
        change = Rekey(bench_keys(settings.home, sealing, settings.env))
        require_alone(journal)
        with journal_run(journal, run_start("journal rekey", bench)) as run:
            return _rekey(run, change)


def _rekey(run: CommandRun, change: Rekey) -> Rekeyed:
    journal = run.journal
    # Once more, now that others see this run: two that change the key at once would lose secrets.
    require_alone(journal)
    sealer = change.sealer()
    failpoint.hit("rekey:next")

    def again(name: str, sealed: bytes) -> bytes:
        return sealer.seal(sealer.unseal(sealed, name), name)

    run.note(NoteKind.REKEY_BEGUN)
    journal.reseal(again)
    failpoint.hit("rekey:resealed")
    change.promote()
    failpoint.hit("rekey:promoted")
    # First who may still hold the old key, then what was sealed under it: whoever ended in between
    # is in the second.
    in_use = bool(living_runs(journal))
    failpoint.hit("rekey:asked")
    count = journal.reseal(again)
    if not in_use:
        change.forget()
    run.note(NoteKind.REKEYED, secrets=count, oldKeyKept=in_use)
    return Rekeyed(count, in_use)
