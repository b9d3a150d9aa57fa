"""A copy of each board's record elsewhere: there when the run ends, and no reason for it to fail
when it is not.
"""

from __future__ import annotations

import json
import stat
import threading
from datetime import UTC, datetime

import pytest

from infuse_cli.provisioning import mirror as mirrors
from infuse_cli.types import Event


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(4) as made:
        made.home.mkdir(mode=0o700)
        yield made


def mirror(bench, folder):
    (bench.home / "bench.yaml").write_text(f"station: line-1\nmirror: {{folder: {folder}}}\n")


def test_each_board_has_its_record_in_the_folder(bench, tmp_path):
    mirror(bench, tmp_path)
    slot = bench.slot()
    bench.world.set_faults(f"{slot}:install=CME527")
    ran = bench.provision(bench.world.port(slot), bench.world.port(bench.slot()))
    bench.world.set_faults("")
    assert ran.code == 11
    boards = [one["board"]["uuid"] for one in ran.envelope["data"]["boards"]]
    assert ran.envelope["data"]["mirror"] == {"folder": str(tmp_path), "written": 2, "failed": {}}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{uuid}.json" for uuid in boards
    )
    failed = json.loads((tmp_path / f"{boards[0]}.json").read_text())
    assert failed["attempts"][0]["result"] == "FAIL"
    assert "AT%CMNG" in failed["attempts"][0]["transcript"]
    assert stat.S_IMODE((tmp_path / f"{boards[0]}.json").stat().st_mode) == 0o600
    assert bench.provision(bench.world.port(slot)).code == 0
    assert (
        json.loads((tmp_path / f"{boards[0]}.json").read_text())["attempts"][0]["result"] == "PASS"
    )


def test_a_folder_that_is_not_there_is_a_warning(bench, tmp_path):
    mirror(bench, tmp_path / "nowhere")
    ran = bench.provision(bench.world.port(bench.slot()), output="human")
    assert ran.code == 0
    assert "was not copied to" in ran.stderr
    assert "No such file" in ran.stderr


class Nobody:
    def emit(self, event):
        pass


def test_one_that_hangs_delays_nobody(tmp_path, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(mirrors, "GRACE_S", 0.05)
    monkeypatch.setattr(mirrors.Mirror, "_write", lambda *_: released.wait(30))
    made = mirrors.Mirror(Nobody(), tmp_path, lambda board: board)
    for board in ("b1", "b2"):
        made.emit(
            Event(
                ts=datetime(2026, 1, 1, tzinfo=UTC),
                run="r",
                event="board-ended",
                board=board,
                state="PASS",
            )
        )
    made.close()
    assert set(made.report().failed) == {"b1", "b2"}
    released.set()


def test_a_relative_folder_is_refused_with_its_line(bench):
    (bench.home / "bench.yaml").write_text("station: line-1\nmirror: {folder: records}\n")
    ran = bench.provision(bench.world.port(1))
    assert ran.code == 3
    assert "bench.yaml:2" in ran.envelope["errors"][0]["message"]
