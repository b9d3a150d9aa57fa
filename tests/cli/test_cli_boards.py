"""How a run looks: on narrow and wide terminals, in a log, and as JSON lines."""

import dataclasses
import datetime as dt
import io
import json
import threading

import pytest
from rich.console import Console

from infuse_cli.cli.context import Invocation
from infuse_cli.cli.views.boards import make_events
from infuse_cli.cli.views.boards_live import LiveBoards, row_lines, visible
from infuse_cli.cli.views.boards_model import Boards, SlotRow, Totals, action, header_lines
from infuse_cli.cli.views.events import JsonLines, PlainLines, Silent, event_object, seconds
from infuse_cli.errors import InfuseError
from infuse_cli.types import Event

UUID = "504d5632-3739-42fb-80c8-1411df97216"
AT = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
HEADER = {
    "profile": "field-sensor",
    "organisation": "Example Provider",
    "apiHost": "https://api.infuse-iot.com",
    "issuer": "default",
    "station": "bench-3",
    "overridden": ["cloud.base_url (INFUSE_BASE_URL)"],
    "slots": 5,
    "unfinished": [{"board": f"{UUID}9", "state": "parked", "port": "/dev/ttyACM7"}],
}
OCCUPIED = InfuseError(
    "identity.slot-occupied",
    "sec_tag 4201 already holds a client key with digest " + "0123456789abcdef" * 4,
).as_json()
MUTE = InfuseError("serial.timeout", "the board went silent at AT%KEYGEN").as_json()


def event(kind, slot=None, **more):
    return Event(
        ts=AT,
        run="r1",
        event=kind,
        slot=slot,
        board=None if slot is None else f"{UUID}{slot}",
        **more,
    )


def a_run():
    """Five slots: one PASS, one FAIL, one ERROR that must be left, one waiting, one empty; slot 1
    gets a second board.
    """
    yield event("run-started", data=HEADER)
    for slot in (1, 2, 3, 4):
        yield event("board-found", slot, data={"port": f"/dev/pts/{slot}"})
        yield event("step-begun", slot, step="keygen", data={"index": 4, "steps": 14})
    yield event("step-done", 1, step="verify", ms=5.0, data={"index": 14, "steps": 14})
    yield event("board-ended", 1, state="PASS", ms=3212.0)
    yield event("step-failed", 2, step="keygen", error=OCCUPIED)
    yield event("board-ended", 2, state="FAIL", ms=1212.0, data={"error": OCCUPIED})
    yield event("board-ended", 3, state="ERROR", ms=61_000.0, error=MUTE)
    yield event("board-waiting", 4, data={"why": "the cloud is out of reach"})
    yield event("run-ended", data={"totals": {"pass": 1, "fail": 1, "error": 1, "aborted": 0}})


def drawn(width, **options):
    console = Console(
        file=io.StringIO(),
        width=width,
        height=30,
        force_terminal=True,
        legacy_windows=False,
        **options,
    )
    view = LiveBoards(console=console)
    for one in a_run():
        view.emit(one)
    view.close()
    plain = Console(
        file=io.StringIO(),
        width=width,
        height=30,
        color_system=None,
        legacy_windows=False,
        force_terminal=False,
    )
    for line in view.lines(40):
        plain.print(line, soft_wrap=True)
    return console.file.getvalue(), plain.file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_every_slot_is_a_line_with_its_state_in_words(width):
    _, text = drawn(width, color_system="standard")
    lines = text.splitlines()
    for slot, state in ((1, "PASS"), (2, "FAIL"), (3, "ERROR"), (4, "waiting"), (5, "ready")):
        row = [line for line in lines if line.startswith(f"{slot:>3} ")]
        assert len(row) == 1
        assert f" {state} " in f"{row[0]} "
    assert "3 boards: 1 PASS  1 FAIL  1 ERROR  0 ABORTED   yield 33 %" in text
    assert max(map(len, lines)) <= width - 1


@pytest.mark.parametrize("width", [80, 140])
def test_a_board_in_trouble_says_cause_and_what_to_do(width):
    _, text = drawn(width, color_system="standard")
    assert "identity.slot-occupied" in text
    assert "REMOVE BOARD" in text
    assert "LEAVE BOARD" in text
    assert "Reset the board" in text


def test_a_wide_terminal_is_used():
    narrow = drawn(80, color_system=None)[1]
    wide = drawn(140, color_system=None)[1]
    assert max(map(len, wide.splitlines())) > 100 > max(map(len, narrow.splitlines()))
    assert "the cloud is out of reach" in wide


def test_the_header_names_everything_of_rule_28():
    screen, _ = drawn(140, color_system="standard")
    for word in (
        "field-sensor",
        "Example Provider",
        "api.infuse-iot.com",
        "CA default",
        "station bench-3",
        "overridden: cloud.base_url (INFUSE_BASE_URL)",
        "unfinished",
        "…2169",
    ):
        assert word in screen


def test_colours_come_with_words_and_can_be_switched_off(monkeypatch):
    coloured, _ = drawn(80, color_system="standard")
    assert "\x1b[1;37;42m PASS " in coloured
    assert "\x1b[1;30;43m waiting " in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    plain, _ = drawn(80, color_system="standard", no_color=True)
    assert ";42m" not in plain
    assert "PASS" in plain


def test_a_result_that_a_next_board_pushes_out_stays_on_the_screen():
    console = Console(
        file=io.StringIO(), width=80, height=30, force_terminal=True, color_system=None
    )
    view = LiveBoards(console=console)
    for one in a_run():
        view.emit(one)
    view.emit(
        Event(
            ts=AT,
            run="r1",
            event="board-found",
            slot=2,
            board="ffff-second",
            data={"port": "/dev/pts/2"},
        )
    )
    view.close()
    printed = console.file.getvalue()
    assert "…cond" in printed.rpartition("identity.slot-occupied")[2]
    assert [
        line.plain[:10].split()[1] for line in view.lines(40) if line.plain.startswith("  2 ")
    ] == ["…cond"]


def test_an_ascii_terminal_gets_ascii_bars():
    console = Console(
        file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
        width=80,
        color_system=None,
        legacy_windows=False,
    )
    line = row_lines(
        SlotRow(1, board="x", step="sign", index=7, done=7, steps=14, state="working"), console, 1.0
    )[0]
    assert "#####-----" in line.plain
    assert line.plain.isascii()


def test_when_slots_are_many_the_ones_in_trouble_stay():
    rows = [SlotRow(slot, state="PASS") for slot in range(1, 30)] + [
        SlotRow(30, state="FAIL", error=OCCUPIED),
        SlotRow(31, state="waiting"),
    ]
    shown = [row.slot for row in visible(rows, 10)]
    assert {30, 31} <= set(shown)
    assert len(shown) <= 10


# -- the model -------------------------------------------------------------------------------------


def test_a_board_that_is_tried_again_counts_once():
    boards = Boards()
    for state in ("FAIL", "PASS"):
        boards.apply(event("board-found", 1, data={"port": "p"}), 0.0)
        boards.apply(event("board-ended", 1, state=state, ms=1.0), 1.0)
    assert boards.totals.line() == "1 board: 1 PASS  0 FAIL  0 ERROR  0 ABORTED   yield 100 %"


def test_no_board_has_no_yield():
    assert Totals().line() == "0 boards: 0 PASS  0 FAIL  0 ERROR  0 ABORTED"
    assert "yield" not in Totals({"a": "ABORTED"}).line()


def test_a_step_never_goes_back():
    boards = Boards()
    for kind, step, index in (
        ("step-begun", "vet", 6),
        ("step-done", "vet", 6),
        ("step-done", "keygen", 5),
    ):
        boards.apply(event(kind, 1, step=step, data={"index": index, "steps": 15}), 0.0)
    assert (boards.rows[1].step, boards.rows[1].index, boards.rows[1].done) == ("vet", 6, 6)


def test_the_next_board_in_a_slot_starts_from_nothing():
    boards = Boards()
    for one in a_run():
        boards.apply(one, 5.0)
    boards.apply(event("board-found", 2, data={"port": "p"}), 9.0)
    row = boards.rows[2]
    assert (row.state, row.error, row.index, row.at, row.ended_ms) == (
        "working",
        None,
        0,
        9.0,
        None,
    )


def test_a_serial_number_is_shown_where_it_is_known():
    boards = Boards()
    boards.apply(event("board-found", 1, data={"port": "p", "serialNumber": "SN-00012"}), 0.0)
    assert boards.rows[1].board == "SN-00012"
    boards.apply(event("step-begun", 1, step="keygen"), 0.0)
    assert boards.rows[1].board == "SN-00012"


def test_the_end_of_a_dry_run_names_its_steps_and_the_bar_counts_them():
    boards = Boards()
    boards.apply(event("board-found", 1, data={"port": "p"}), 0.0)
    boards.apply(event("board-ended", 1, data={"steps": ["keygen", "vet"]}), 0.0)
    assert boards.rows[1].steps == 2


@pytest.mark.parametrize(
    ("state", "code", "told"),
    [
        ("FAIL", "identity.slot-occupied", "REMOVE BOARD"),
        ("ERROR", "cloud.timeout", "REMOVE BOARD and try it again"),
        ("ERROR", "serial.timeout", "LEAVE BOARD"),
        ("ERROR", "internal.error", "CALL ENGINEER"),
        ("ERROR", "journal.disk-full", "CALL ENGINEER"),
        ("ERROR", "ca.clock", "CALL ENGINEER"),
        ("ABORTED", "board.changed", "REMOVE BOARD"),
        ("PASS", None, ""),
    ],
)
def test_what_the_operator_is_told(state, code, told):
    assert action(state, InfuseError(code, "x").as_json() if code else None) == told


def test_a_header_of_nothing_is_no_line():
    assert header_lines({}) == []


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.4, "0 ms"),
        (999, "999 ms"),
        (3212, "3.2 s"),
        (61_000, "1 min 01 s"),
        (245_400, "4 min 05 s"),
    ],
)
def test_times_for_people(ms, text):
    assert seconds(ms) == text


# -- lines and JSON --------------------------------------------------------------------------------


def test_a_log_tells_the_whole_story():
    out = io.StringIO()
    lines = PlainLines(out)
    for one in a_run():
        lines.emit(one)
    text = out.getvalue()
    for word in (
        "slot 1 board …2161 found on /dev/pts/1",
        "slot 1 board …2161 PASS, 3.2 s",
        "verify 14/14 done, 5 ms",
        "slot 2 board …2162 FAIL, 1.2 s at keygen: identity.slot-occupied",
        "REMOVE BOARD: --replace",
        "LEAVE BOARD: Reset the board",
        "waiting: the cloud is out of reach",
        "3 boards: 1 PASS",
    ):
        assert word in text
    assert "begun" not in text
    assert "\x1b" not in text


def test_jsonl_is_one_event_a_line_and_ends_with_the_totals():
    out = io.StringIO()
    lines = JsonLines(out)
    for one in a_run():
        lines.emit(one)
    objects = [json.loads(line) for line in out.getvalue().splitlines()]
    keys = ["ts", "run", "slot", "board", "event", "step", "state", "ms", "error"]
    assert all(list(one)[:9] == keys for one in objects)
    assert objects[-1]["event"] == "run-ended"
    assert objects[-1]["data"]["totals"]["pass"] == 1
    assert [one for one in objects if "data" in one] == [objects[0], objects[-1]]
    assert objects[0]["ts"] == "2026-01-02T03:04:05Z"


def test_the_event_object_is_stable():
    assert event_object(event("step-done", 1, step="sign", ms=1.26)) == {
        "ts": AT,
        "run": "r1",
        "slot": 1,
        "board": f"{UUID}1",
        "event": "step-done",
        "step": "sign",
        "state": None,
        "ms": 1.3,
        "error": None,
    }


@pytest.mark.parametrize("kind", [JsonLines, PlainLines])
def test_a_reader_that_goes_away_does_not_stop_the_line(kind):
    class Gone(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    lines = kind(Gone())
    for one in a_run():
        lines.emit(one)
    lines.close()


def test_lines_of_many_slots_never_mix():
    out = io.StringIO()
    lines = JsonLines(out)
    threads = [
        threading.Thread(
            target=lambda slot=slot: [
                lines.emit(event("step-done", slot, step="x")) for _ in range(50)
            ]
        )
        for slot in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in out.getvalue().splitlines()]) == 400


@pytest.mark.parametrize(
    ("output", "tty", "term", "kind"),
    [
        ("jsonl", True, "xterm", JsonLines),
        ("json", True, "xterm", Silent),
        ("human", False, "xterm", PlainLines),
        ("human", True, "dumb", PlainLines),
        ("human", True, "xterm-256color", LiveBoards),
    ],
)
def test_the_output_fits_its_place(output, tty, term, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", term)
    made = make_events(Invocation(home=tmp_path, output=output), stderr_is_tty=tty)
    assert isinstance(made, kind)
    made.close()
    made.close()


@pytest.mark.parametrize("width", [80, 140])
def test_a_watching_run_says_in_big_letters_what_is_most_urgent(width):
    console = Console(
        file=io.StringIO(),
        width=width,
        height=30,
        force_terminal=True,
        legacy_windows=False,
        color_system=None,
    )
    view = LiveBoards(console=console)
    for one in a_run():
        if one.event != "run-ended":
            view.emit(
                dataclasses.replace(one, data={**one.data, "watch": True})
                if one.event == "run-started"
                else one
            )
    text = [str(line) for line in view.lines(26)]
    view.close()
    assert sum("█" in line or "#" in line for line in text[:5]) == 5
    assert "LEAVE BOARD: slot 3" in text[5]
    assert max(map(len, text)) <= width
    assert "q ends the shift." in text


def test_a_board_that_left_frees_its_slot_and_leaves_its_line_above():
    boards = Boards()
    for one in a_run():
        boards.apply(one, 0.0)
    pushed = boards.apply(event("board-left", 2), 1.0)
    assert pushed is not None
    assert pushed.state == "FAIL"
    assert boards.rows[2].state == "ready"
    boards.apply(
        event(
            "slot-silent", 2, data={"port": "/dev/ttyACM1", "why": "/dev/ttyACM1 silent for 30 s"}
        ),
        1.5,
    )
    assert (boards.rows[2].state, boards.rows[2].why, boards.notice) == (
        "ready",
        "silent",
        "Slot 2: /dev/ttyACM1 silent for 30 s",
    )
    boards.apply(event("board-found", 2), 1.6)
    assert (boards.rows[2].state, boards.rows[2].why) == ("working", "")
    boards.apply(event("hub-lost", data={"slots": [1, 4]}), 2.0)
    assert boards.rows[4].state == "hub lost"
    assert boards.rows[1].state == "PASS"
    assert "Slots 1, 4" in boards.notice
