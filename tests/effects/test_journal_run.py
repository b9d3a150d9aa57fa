"""A command's run in the journal: who, where, what is noted, and that it ends."""

from __future__ import annotations

import pytest

from infuse_cli.config.bench import login_name
from infuse_cli.config.model import Profile, digest
from infuse_cli.effects.journal_run import command_run, journal_run, run_start
from infuse_cli.errors import InfuseError, JournalError
from infuse_cli.journal.store import open_journal
from infuse_cli.records.notes import NoteKind


def test_a_run_has_the_bench_and_what_was_noted_and_ends(tmp_path):
    (tmp_path / "bench.yaml").write_text("station: left\noperator: day shift\nlot: L-7\n")
    profile = Profile(name="thing")
    with command_run(
        tmp_path,
        "device retire",
        profile=profile,
        facts={"apiHost": "h"},
        about={"port": "p"},
    ) as run:
        assert run.journal.alive(run.id)
        run.note(NoteKind.RETIREMENT_INTENDED, deviceId="d1")
        run.totals["commands"] = 1

    with open_journal(tmp_path, create=False) as journal:
        stored = journal.run(run.id)
        assert (stored.station, stored.start.operator, stored.start.lot) == (
            "left",
            "day shift",
            "L-7",
        )
        assert (stored.start.command, stored.start.profile_name) == ("device retire", "thing")
        assert stored.start.profile_hash == digest(profile)
        assert stored.start.facts == {"apiHost": "h", "port": "p"}
        assert journal.noted(NoteKind.RETIREMENT_INTENDED) == [
            (NoteKind.RETIREMENT_INTENDED, {"port": "p", "deviceId": "d1"})
        ]
        assert stored.ended is not None
        assert not journal.alive(run.id)
        ends = [event for event in journal.events() if event.kind == "run-ended"]
        assert ends[-1].facts == {"commands": 1}


def test_without_bench_file_the_operator_is_who_is_logged_in(tmp_path):
    with command_run(tmp_path, "network create") as run:
        start = run.journal.run(run.id).start
    assert (start.operator, start.lot, start.profile_name) == (login_name(), None, "")


def test_a_command_that_fails_ends_its_run(tmp_path):
    with pytest.raises(InfuseError), command_run(tmp_path, "org create") as run:
        raise InfuseError("cloud.refused", "no")
    with open_journal(tmp_path, create=False) as journal:
        assert journal.run(run.id).ended is not None


def test_a_journal_is_only_made_where_that_was_asked(tmp_path):
    with (
        pytest.raises(JournalError) as caught,
        command_run(tmp_path, "journal rekey", create=False),
    ):
        pass
    assert caught.value.code == "journal.not-found"


def test_a_run_in_an_open_journal_leaves_it_open(tmp_path):
    from infuse_cli.config.bench import load_bench

    with open_journal(tmp_path) as journal:
        with journal_run(journal, run_start("batch export", load_bench(tmp_path), run="r1")) as run:
            run.note("begun")
        assert run.id == "r1"
        assert journal.run("r1").ended is not None
