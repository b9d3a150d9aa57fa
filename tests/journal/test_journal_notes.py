"""Notes of runs: kinds with values that stay, and the phrases of old journals for them."""

from __future__ import annotations

from infuse_cli import records as rec
from infuse_cli.journal import manual_changes
from infuse_cli.journal.store import open_journal
from infuse_cli.records.notes import KINDS_BY_PHRASE, MANUAL_CHANGES, NoteKind, kind_of, texts_of


def start(journal, run="r1"):
    values = {"profile_name": "p", "profile_hash": "h", "profile": {}, "operator": "o"}
    journal.start_run(rec.RunStart(run=run, command="serial at", **values))


def old_note(journal, phrase, **facts):
    """A note as versions before 0.1 wrote it: a phrase in place of the kind."""
    journal.commit(rec.NoteRun(run="r1", what=phrase, facts=facts))


def test_values_of_kinds_never_change():
    """The chains of all journals hold them: rename the member, never the value."""
    assert sorted(kind.value for kind in NoteKind) == VALUES


def test_every_kind_is_found_by_its_value_and_by_its_old_phrase():
    for kind in NoteKind:
        assert kind_of(kind.value) is kind
        assert kind.value in texts_of(kind)
    assert {kind_of(phrase) for phrase in KINDS_BY_PHRASE} == set(NoteKind)
    assert kind_of("of-a-later-version") is None
    assert kind_of(None) is None


def test_old_phrases_are_read_as_their_kinds_and_stay_as_written(tmp_path):
    with open_journal(tmp_path) as journal:
        start(journal)
        old_note(journal, "organisation intended", name="acme")
        old_note(journal, "written by hand", board="b1", command="c", answer="OK")
        journal.commit(rec.NoteRun(run="r1", what=NoteKind.ORGANISATION_CREATED, facts={"id": "1"}))
        assert journal.noted(NoteKind.ORGANISATION_INTENDED, NoteKind.ORGANISATION_CREATED) == [
            (NoteKind.ORGANISATION_INTENDED, {"name": "acme"}),
            (NoteKind.ORGANISATION_CREATED, {"id": "1"}),
        ]
        (row,) = manual_changes.changes(journal.events(board="b1"))
        assert row.what is NoteKind.CREDENTIAL_WRITTEN
        (event,) = journal.events(board="b1")
        assert event.facts["what"] == "written by hand"
        assert journal.verify() == []


def test_a_board_left_in_flight_mode_is_found_by_old_and_new_notes(tmp_path):
    facts = {"board": "b1", "port": "p", "functionalMode": 1, "answer": "begun"}
    for phrase in ("functional mode", NoteKind.FUNCTIONAL_MODE):
        home = tmp_path / phrase.replace(" ", "_")
        with open_journal(home) as journal:
            start(journal)
            old_note(journal, phrase, **facts)
            journal.end_run("r1", {})
            assert [owed.board for owed in journal.modes_owed()] == ["b1"]
            start(journal, "r2")
            sent = {"board": "b1", "command": "AT+CFUN=1", "answer": "OK"}
            journal.commit(rec.NoteRun(run="r2", what=NoteKind.COMMAND_SENT, facts=sent))
            assert list(journal.modes_owed()) == []


def test_what_a_person_changes_is_a_kind_of_its_own():
    assert NoteKind.COMMAND_SENT in MANUAL_CHANGES
    assert NoteKind.FUNCTIONAL_MODE not in MANUAL_CHANGES


VALUES = [
    "board-created",
    "board-intended",
    "board-refused",
    "clock-corrected",
    "command-sent",
    "component-change-intended",
    "component-changed",
    "component-created",
    "component-intended",
    "credential-deleted",
    "credential-written",
    "csr-vetted",
    "deleted",
    "deletion-intended",
    "device-created",
    "device-id-written",
    "device-intended",
    "device-metadata-changed",
    "device-metadata-intended",
    "functional-mode",
    "group-change-intended",
    "group-changed",
    "group-created",
    "group-intended",
    "handed-over",
    "journal-imported",
    "key-made",
    "line-typed",
    "network-created",
    "network-intended",
    "organisation-created",
    "organisation-intended",
    "registry-device-change-intended",
    "registry-device-changed",
    "registry-device-created",
    "registry-device-deletion-intended",
    "registry-device-intended",
    "rekey-begun",
    "rekeyed",
    "retired",
    "retirement-intended",
    "rpc-intended",
    "rpc-sent",
    "station-revocation-intended",
    "take-back-intended",
    "taken-over",
    "token-revocation-intended",
]
