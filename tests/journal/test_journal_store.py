"""What the pipeline may rely on: commits, compare-and-swap, identity, projections."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from journal_line import PROFILE, Line, certificate

from infuse_cli import records as rec
from infuse_cli.errors import BoardError, InfuseError, JournalError, PolicyError
from infuse_cli.journal.store import SqliteJournal, open_journal
from infuse_cli.types import AttemptState, Secret, StepState, TokenState

S = StepState


def refused(
    code: str, journal: SqliteJournal, *writes: rec.Write, kind: type[InfuseError] = JournalError
) -> InfuseError:
    before = len(journal.events())
    with pytest.raises(kind) as caught:
        journal.commit(*writes)
    assert caught.value.code == code
    assert len(journal.events()) == before, "a refused commit leaves nothing"
    return caught.value


def test_a_board_is_on_record_from_opening_to_pass(line: Line) -> None:
    attempt = line.open(
        "b1", imei="350000000000001", mcu_id="00000000000000aa", facts={"modem_firmware": "2.0.2"}
    )
    line.move(attempt, "keygen", S.PENDING, S.BEGUN, facts={"sec_tag": 4201})
    line.journal.commit(
        rec.MoveStep(
            attempt=attempt,
            step="keygen",
            from_state=S.BEGUN,
            to_state=S.DONE,
            facts={"sec_tag": 4201, "digest": "d"},
            ms=312.5,
        ),
        rec.MoveStep(attempt=attempt, step="install", from_state=S.PENDING, to_state=S.BEGUN),
        rec.NoteAttempt(attempt=attempt, facts={"functional_mode": 1}),
    )
    board = line.journal.board("b1")
    assert board is not None
    assert board.open is not None
    assert (board.imei, board.mcu_id, board.passed) == ("350000000000001", "00000000000000aa", None)
    assert board.open.alive
    assert board.open.facts == {"modem_firmware": "2.0.2", "functional_mode": 1}
    keygen = board.open.steps["keygen"]
    assert (keygen.state, keygen.facts, keygen.ms, keygen.tries) == (
        S.DONE,
        {"sec_tag": 4201, "digest": "d"},
        312.5,
        1,
    )
    line.move(attempt, "install", S.BEGUN, S.DONE)
    line.end(attempt, facts={"possession": "proven"})
    board = line.journal.board("b1")
    assert board is not None
    assert board.passed is not None
    assert board.open is None
    assert board.passed.outcome == "PASS"
    assert board.passed.ended is not None
    assert board.passed.facts["possession"] == "proven"
    assert line.journal.open_attempts() == []


def test_what_is_unknown_is_none_or_named(journal: SqliteJournal) -> None:
    assert journal.board("nobody") is None
    assert journal.secret("x") is None
    assert journal.key_owner("x") is None
    assert journal.newest() is None
    for ask in (journal.attempt, journal.run):
        with pytest.raises(JournalError) as caught:
            ask("nothing")
        assert caught.value.code == "journal.not-found"


def test_a_step_moves_only_from_the_state_it_is_in(line: Line) -> None:
    attempt = line.open()
    line.move(attempt, "keygen", S.PENDING, S.BEGUN)
    for from_state in (S.PENDING, S.UNKNOWN, S.DONE):
        refused(
            "journal.conflict",
            line.journal,
            rec.MoveStep(attempt=attempt, step="keygen", from_state=from_state, to_state=S.DONE),
        )
    refused(
        "journal.conflict",
        line.journal,
        rec.MoveStep(attempt=attempt, step="install", from_state=S.BEGUN, to_state=S.DONE),
    )
    line.move(attempt, "keygen", S.BEGUN, S.UNKNOWN)
    line.move(attempt, "keygen", S.UNKNOWN, S.PENDING)
    line.move(attempt, "keygen", S.PENDING, S.BEGUN, error=None)
    line.move(attempt, "keygen", S.BEGUN, S.FAILED, error={"code": "modem.full"})
    step = line.journal.attempt(attempt).steps["keygen"]
    assert (step.state, step.tries, step.error) == (S.FAILED, 2, {"code": "modem.full"})


def test_a_step_tried_again_forgets_what_the_first_try_gave(line: Line) -> None:
    attempt = line.open()
    line.move(attempt, "keygen", S.PENDING, S.BEGUN, facts={"csr": "old"})
    line.move(attempt, "keygen", S.BEGUN, S.PENDING)
    line.move(attempt, "keygen", S.PENDING, S.BEGUN, facts={"sec_tag": 1})
    assert line.journal.attempt(attempt).steps["keygen"].facts == {"sec_tag": 1}
    assert any(one.facts.get("facts") == {"csr": "old"} for one in line.journal.events())


def test_a_passed_board_is_checked_again_while_its_run_goes_on(home, line: Line) -> None:
    attempt = line.open("b1")
    line.move(attempt, "install", S.PENDING, S.DONE)
    line.end(attempt)
    with open_journal(home, station="bench-1") as second:
        other = Line(second)
        other.start("run-2")
        other.move(attempt, "install", S.DONE, S.FAILED)
        second.commit(rec.NoteAttempt(attempt=attempt, facts={"rechecked": {"run": "run-2"}}))
        second.commit(
            rec.EndAttempt(attempt=attempt, state=AttemptState.SUPERSEDED), other.opening("b1")
        )
        assert [one.state for one in second.attempts("b1")] == [
            AttemptState.SUPERSEDED,
            AttemptState.RUNNING,
        ]


def test_one_bad_write_undoes_the_whole_commit(line: Line) -> None:
    attempt = line.open()
    refused(
        "journal.conflict",
        line.journal,
        rec.NoteAttempt(attempt=attempt, facts={"a": 1}),
        rec.StoreSecret(name="token:1", sealed=b"x"),
        rec.MoveStep(attempt=attempt, step="s", from_state=S.BEGUN, to_state=S.DONE),
    )
    assert line.journal.attempt(attempt).facts == {}
    assert line.journal.secret("token:1") is None
    line.move(attempt, "s", S.PENDING, S.BEGUN)


def test_a_board_has_one_open_attempt(line: Line) -> None:
    attempt = line.open("b1")
    refused("journal.conflict", line.journal, line.opening("b1"))
    line.end(attempt, AttemptState.FAILED, "FAIL")
    refused("journal.conflict", line.journal, line.opening("b1"))
    line.end(attempt, AttemptState.CLOSED, None)
    line.open("b1")


def test_an_attempt_of_this_run_is_taken_again(line: Line) -> None:
    attempt = line.open("b1")
    line.end(attempt, AttemptState.FAILED, "FAIL", error={"code": "modem.full"})
    line.journal.commit(rec.TakeAttempt(attempt=attempt, run=line.run, slot=3, port="/dev/ttyACM9"))
    taken = line.journal.attempt(attempt)
    assert (taken.state, taken.slot, taken.port) == (AttemptState.RUNNING, 3, "/dev/ttyACM9")
    assert (taken.outcome, taken.error, taken.ended) == (None, None, None)


def test_a_dead_run_is_taken_over_and_begun_steps_become_unknown(home, line: Line) -> None:
    attempt = line.open("b1")
    line.move(attempt, "keygen", S.PENDING, S.BEGUN)
    line.move(attempt, "keygen", S.BEGUN, S.DONE)
    line.move(attempt, "install", S.PENDING, S.BEGUN)
    line.journal.close()
    with open_journal(home, station="bench-1") as second:
        later = Line(second)
        later.start("run-2")
        found = second.open_attempts()[0]
        assert not found.alive
        second.commit(rec.TakeAttempt(attempt=attempt, run="run-2", slot=1, port="p"))
        taken = second.attempt(attempt)
        assert (taken.run, taken.alive) == ("run-2", True)
        assert {name: step.state for name, step in taken.steps.items()} == {
            "keygen": S.DONE,
            "install": S.UNKNOWN,
        }
        last = second.events(attempt=attempt)[-1]
        assert (last.kind, last.step, last.from_state, last.to_state, last.run) == (
            "step-moved",
            "install",
            "begun",
            "unknown",
            "run-2",
        )


def test_rows_of_a_living_run_are_never_touched(home, line: Line) -> None:
    attempt = line.open("b1")
    with open_journal(home, station="bench-1") as second:
        other = Line(second)
        other.start("run-2")
        assert second.open_attempts()[0].alive
        for write in (
            other.opening("b1"),
            rec.TakeAttempt(attempt=attempt, run="run-2", slot=1, port="p"),
            rec.MoveStep(attempt=attempt, step="s", from_state=S.PENDING, to_state=S.BEGUN),
            rec.NoteAttempt(attempt=attempt, facts={"a": 1}),
            rec.EndAttempt(attempt=attempt, state=AttemptState.CLOSED),
        ):
            refused("board.in-use", second, write, kind=BoardError)
    line.move(attempt, "s", S.PENDING, S.BEGUN)


def test_boards_are_worked_on_only_under_a_run_of_this_process(journal: SqliteJournal) -> None:
    refused("journal.not-found", journal, Line(journal, "never-started").opening())


def test_an_ended_attempt_stays_ended(line: Line) -> None:
    attempt = line.open()
    line.end(attempt)
    take = rec.TakeAttempt(attempt=attempt, run=line.run, slot=1, port="p")
    for write in (take, rec.EndAttempt(attempt=attempt, state=AttemptState.FAILED)):
        refused("journal.conflict", line.journal, write)
    line.end(attempt, AttemptState.SUPERSEDED, "PASS")
    for write in (
        take,
        rec.MoveStep(attempt=attempt, step="s", from_state=S.PENDING, to_state=S.BEGUN),
    ):
        refused("journal.conflict", line.journal, write)
    board = line.journal.board("b1")
    assert board is not None
    assert board.passed is None
    assert line.journal.attempt(attempt).outcome == "PASS"


@pytest.mark.parametrize(
    ("board", "imei", "mcu_id", "named"),
    [
        ("b2", "1" * 15, None, "b1"),
        ("b2", None, "a" * 16, "b1"),
        ("b1", "2" * 15, None, "1" * 15),
        ("b1", None, "b" * 16, "a" * 16),
    ],
)
def test_a_clone_is_named(
    line: Line, board: str, imei: str | None, mcu_id: str | None, named: str
) -> None:
    line.end(line.open("b1", imei="1" * 15, mcu_id="a" * 16))
    with pytest.raises(PolicyError) as caught:
        line.journal.check_identity(board, imei, mcu_id)
    assert caught.value.code == "identity.clone"
    assert named in caught.value.message
    error = refused(
        "identity.clone",
        line.journal,
        line.opening(board, imei=imei, mcu_id=mcu_id),
        kind=PolicyError,
    )
    assert named in error.message


def test_an_identity_is_completed_but_never_changed(line: Line) -> None:
    line.end(line.open("b1", imei="1" * 15))
    line.end(line.open("b1", mcu_id="a" * 16))
    line.end(line.open("b1"))
    board = line.journal.board("b1")
    assert board is not None
    assert (board.imei, board.mcu_id) == ("1" * 15, "a" * 16)
    line.journal.check_identity("b1", "1" * 15, "a" * 16)
    line.journal.check_identity("b9", "9" * 15, None)
    line.open("b2", mcu_id="a" * 16, soc="nRF5340")  # the cloud's key is soc and mcuId


def test_a_certificate_needs_its_serial_reserved_by_the_same_attempt(line: Line) -> None:
    one, two = line.open("b1"), line.open("b2")
    refused("journal.conflict", line.journal, certificate("a1", attempt=one, board="b1"))
    line.journal.commit(rec.ReserveSerial(serial="a1", issuer="ca", attempt=one))
    refused(
        "journal.conflict", line.journal, rec.ReserveSerial(serial="a1", issuer="ca", attempt=two)
    )
    line.journal.commit(rec.ReserveSerial(serial="a1", issuer="another ca", attempt=two))
    assert line.journal.reserved_serials(one) == [("a1", "ca")]
    refused("journal.conflict", line.journal, certificate("a1", attempt=two, board="b2"))
    refused("journal.conflict", line.journal, certificate("a1"))
    line.journal.commit(certificate("a1", attempt=one, board="b1", device_id="00" * 8))
    assert line.journal.reserved_serials(one) == []
    refused("journal.conflict", line.journal, certificate("a1", attempt=one, board="b1"))
    stored = line.journal.certificates(board="b1")[0]
    assert (stored.serial, stored.state, stored.device_id, stored.not_after) == (
        "a1",
        "issued",
        "00" * 8,
        datetime(2036, 1, 1, tzinfo=UTC),
    )
    assert line.journal.certificates(attempt=two) == []
    line.journal.commit(rec.MoveCertificate(serial="a1", issuer="ca", to_state="superseded"))
    assert line.journal.certificates(attempt=one)[0].state == "superseded"
    refused(
        "journal.not-found",
        line.journal,
        rec.MoveCertificate(serial="ff", issuer="ca", to_state="superseded"),
    )


def test_a_void_serial_is_never_used_again(line: Line) -> None:
    attempt = line.open()
    line.journal.commit(rec.ReserveSerial(serial="a1", issuer="ca", attempt=attempt))
    line.journal.commit(rec.VoidSerial(serial="a1", issuer="ca"))
    assert line.journal.reserved_serials(attempt) == []
    refused("journal.conflict", line.journal, rec.VoidSerial(serial="a1", issuer="ca"))
    refused(
        "journal.conflict",
        line.journal,
        rec.ReserveSerial(serial="a1", issuer="ca", attempt=attempt),
    )
    refused("journal.conflict", line.journal, certificate("a1", attempt=attempt, board="b1"))


def test_a_certificate_by_hand_needs_no_attempt(journal: SqliteJournal) -> None:
    Line(journal).certify(None)
    assert journal.certificates()[0].board is None


def test_a_public_key_belongs_to_one_board(line: Line) -> None:
    one, two = line.open("b1"), line.open("b2")
    line.journal.commit(rec.SeeKey(spki_sha256="key-a1", board="b1"))
    line.journal.commit(rec.SeeKey(spki_sha256="key-a1", board="b1"))
    assert line.journal.key_owner("key-a1") == "b1"
    error = refused(
        "identity.key-reused",
        line.journal,
        rec.SeeKey(spki_sha256="key-a1", board="b2"),
        kind=PolicyError,
    )
    assert "b1" in error.message
    line.journal.commit(rec.ReserveSerial(serial="a1", issuer="ca", attempt=two))
    refused(
        "identity.key-reused",
        line.journal,
        certificate("a1", attempt=two, board="b2"),
        kind=PolicyError,
    )
    line.certify(one, "a2", board="b1")
    assert line.journal.key_owner("key-a2") == "b1"


def test_a_token_goes_its_way_once(line: Line) -> None:
    attempt = line.open("b1")
    journal = line.journal
    journal.commit(rec.IntendToken(intent="i1", name="SN-1", board="b1", attempt=attempt))
    refused("journal.conflict", journal, rec.IntendToken(intent="i1", name="SN-1"))
    end = datetime(2026, 6, 1, tzinfo=UTC)
    minted = rec.MintToken(
        intent="i1", token_id="t", registry_device_id="r", sha256="h", expires_at=end
    )
    journal.commit(minted, rec.StoreSecret(name="token:i1", sealed=b"sealed"))
    refused("journal.conflict", journal, minted)
    delivered = rec.MoveToken(
        intent="i1", from_state=TokenState.MINTED, to_state=TokenState.DELIVERED
    )
    journal.commit(delivered)
    refused("journal.conflict", journal, delivered)
    (token,) = journal.tokens(board="b1")
    assert (token.state, token.token_id, token.expires_at, token.attempt) == (
        TokenState.DELIVERED,
        "t",
        end,
        attempt,
    )
    assert journal.tokens(name="SN-1") == [token]
    assert journal.tokens(name="SN-2") == []


def test_secrets_are_replaced_dropped_and_outside_the_chain(journal: SqliteJournal) -> None:
    journal.commit(rec.StoreSecret(name="token:1", sealed=b"marker-one"))
    journal.commit(rec.StoreSecret(name="token:1", sealed=b"marker-two"))
    assert journal.secret("token:1") == b"marker-two"
    journal.commit(rec.DropSecret(name="token:1"))
    journal.commit(rec.DropSecret(name="token:1"))
    assert journal.secret("token:1") is None
    assert journal.events() == []
    journal.close()
    assert b"marker-" not in journal.path.read_bytes()


def test_a_secret_object_never_enters_facts(line: Line) -> None:
    attempt = line.open()
    with pytest.raises(TypeError) as caught:
        line.journal.commit(rec.NoteAttempt(attempt=attempt, facts={"token": Secret("hunter2")}))
    assert "hunter2" not in str(caught.value)
    assert line.journal.attempt(attempt).facts == {}


def test_noise_from_the_wire_never_breaks_a_record(line: Line) -> None:
    attempt = line.open()
    line.end(
        attempt,
        AttemptState.FAILED,
        "FAIL",
        facts={"transcript": "AT\udc80\x00\ud800", "k\udcff": ["\udc80"]},
    )
    assert line.journal.attempt(attempt).facts == {
        "transcript": "AT\\udc80\x00\\ud800",
        "k\\udcff": ["\\udc80"],
    }
    assert line.journal.verify() == []


def test_writes_after_a_run_are_not_told_as_its_own(line: Line) -> None:
    line.journal.end_run("run-1", {})
    line.journal.commit(rec.SeeKey(spki_sha256="k", board="b"))
    last = line.journal.events()[-1]
    assert (last.run, last.operator) == (None, "")


def test_a_run_is_recorded_and_ends(home, line: Line) -> None:
    run = line.journal.run("run-1")
    assert (run.start.profile, run.start.operator, run.station, run.alive, run.ended) == (
        PROFILE,
        "day shift",
        "bench-1",
        True,
        None,
    )
    with pytest.raises(JournalError):
        line.start("run-1")
    line.journal.commit(rec.NoteRun(run="run-1", what="created organisation", facts={"id": "o1"}))
    refused("journal.not-found", line.journal, rec.NoteRun(run="run-9", what="x"))
    line.journal.end_run("run-1", {"pass": 1})
    run = line.journal.run("run-1")
    assert (run.alive, run.totals) == (False, {"pass": 1})
    assert run.ended is not None
    assert list((home / "locks").iterdir()) == []
    with pytest.raises(JournalError) as caught:
        line.start("run-1")
    assert caught.value.code == "journal.conflict"
    assert list((home / "locks").iterdir()) == []
    assert [one.start.run for one in line.journal.runs()] == ["run-1"]


def test_events_tell_who_when_and_what(line: Line) -> None:
    attempt = line.open("b1", imei="1" * 15)
    line.move(attempt, "keygen", S.PENDING, S.BEGUN, facts={"sec_tag": 4201})
    events = line.journal.events()
    assert [one.kind for one in events] == ["run-started", "attempt-opened", "step-moved"]
    last = events[-1]
    assert (last.run, last.board, last.attempt, last.step) == ("run-1", "b1", attempt, "keygen")
    assert (last.station, last.operator, last.from_state, last.to_state) == (
        "bench-1",
        "day shift",
        "pending",
        "begun",
    )
    assert last.facts == {"facts": {"sec_tag": 4201}}
    assert events[1].facts["imei"] == "1" * 15
    assert line.journal.events(run="other") == []
    assert line.journal.verify() == []


def test_newest_never_goes_back(home) -> None:
    times = iter([datetime(2026, 5, 1, tzinfo=UTC)] * 2 + [datetime(2026, 4, 1, tzinfo=UTC)])
    with open_journal(home, station="s", now=lambda: next(times)) as journal:
        assert journal.trust_clock(0.0) is None
        journal.commit(rec.SeeKey(spki_sha256="1", board="b"))
        journal.commit(rec.SeeKey(spki_sha256="2", board="b"))
        assert journal.newest() == datetime(2026, 5, 1, tzinfo=UTC)
        assert journal.verify() == []


def test_a_time_that_was_never_compared_is_no_measure(home) -> None:
    with open_journal(home, station="s", now=lambda: datetime(2099, 1, 1, tzinfo=UTC)) as journal:
        journal.commit(rec.SeeKey(spki_sha256="1", board="b"))
        assert journal.newest() is None


def test_a_record_of_a_wrong_clock_is_set_aside_and_that_is_recorded(home) -> None:
    ahead, right = datetime(2036, 2, 7, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    with open_journal(home, station="s", now=lambda: ahead) as journal:
        journal.trust_clock(0.0)
        journal.commit(rec.SeeKey(spki_sha256="1", board="b"))
        assert journal.newest() == ahead
    with open_journal(home, station="s", now=lambda: right) as journal:
        assert journal.trust_clock(1.5) == ahead
        assert journal.newest() == right
        note = journal.events()[-1].facts
        assert (note["what"], note["facts"]["serverOffsetS"]) == ("clock-corrected", 1.5)
        assert journal.trust_clock(1.5) is None
        assert journal.verify() == []


def test_times_come_back_to_the_microsecond(home) -> None:
    moment = datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=UTC) + timedelta(days=1)
    with open_journal(home, station="s", now=lambda: moment) as journal:
        line = Line(journal)
        line.start()
        assert journal.attempt(line.open()).opened == moment


def test_first_article_is_over_after_a_pass_with_the_same_parts(line: Line) -> None:
    attempt = line.open(facts={"modemFirmware": "2.0.2"})
    line.certify(attempt, board="b1")
    asked = {"profile_hash": "ph", "ca": "ca", "modem_firmware": "2.0.2"}
    assert not line.journal.passed_with(**asked)
    line.end(attempt)
    assert line.journal.passed_with(**asked)
    for key in asked:
        assert not line.journal.passed_with(**{**asked, key: "other"})
    assert not line.journal.passed_with(**{**asked, "ca": None})


def test_many_threads_commit_at_once(line: Line) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            attempt = line.open(f"b{number}", attempt=f"a{number}", imei=f"{number:015}")
            for step in range(19):
                line.move(attempt, f"s{step}", S.PENDING, S.BEGUN)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sum(len(one.steps) for one in line.journal.open_attempts()) == 64 * 19
    assert line.journal.verify() == []


def test_threads_racing_for_one_step_have_one_winner(line: Line) -> None:
    attempt = line.open()
    won: list[int] = []
    lost: list[str] = []
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        try:
            line.move(attempt, "keygen", S.PENDING, S.BEGUN, facts={"by": number})
        except JournalError as error:
            lost.append(error.code)
        else:
            won.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert line.journal.attempt(attempt).steps["keygen"].facts == {"by": won[0]}
    assert lost == ["journal.conflict"] * 7


def test_a_refused_commit_takes_none_beside_it_along(line: Line) -> None:
    attempts = [
        line.open(f"b{number}", attempt=f"a{number}", imei=f"{number:015}") for number in range(16)
    ]
    refusals: list[str] = []
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        barrier.wait()
        try:
            line.move(
                attempts[number],
                "keygen",
                S.BEGUN if number % 2 else S.PENDING,
                S.DONE if number % 2 else S.BEGUN,
            )
        except JournalError as error:
            refusals.append(error.code)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refusals == ["journal.conflict"] * 8
    assert [bool(line.journal.attempt(attempt).steps) for attempt in attempts] == [True, False] * 8
    assert line.journal.verify() == []
