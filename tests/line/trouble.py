"""What every trouble has to look like, and what has to be true once it is over."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infuse_cli.journal.store import open_journal
from infuse_cli.types import AttemptState, TokenState
from tests.support.world import Bench, audit
from tests.support.zygote import Ran

SAFE = "The board is safe to unplug."
LEAVE = "LEAVE BOARD: do not unplug it."
MINT = "POST /api/v1/devices/registration/tokens"


def refused(ran: Ran, code: str, exit_code: int, *, safe: bool = True) -> dict[str, Any]:
    """A run that did nothing but say why, in JSON: its one error object, with cause, what to do and
    whether the board is safe.
    """
    assert "Traceback" not in ran.stdout + ran.stderr
    assert ran.code == exit_code, ran.stdout + ran.stderr
    envelope = ran.envelope
    assert envelope["status"] == "error"
    assert [error["code"] for error in envelope["errors"]] == [code], envelope
    return well_said(envelope["errors"][0], safe=safe)


def well_said(error: dict[str, Any], *, safe: bool = True) -> dict[str, Any]:
    assert set(error) == {"code", "message", "hint", "boardSafe"}
    assert error["message"].strip()
    assert error["hint"].strip()
    assert error["boardSafe"] is safe
    return error


def one_line(ran: Ran, code: str, exit_code: int, *, safe: bool = True) -> str:
    """The same for people: one line with code, cause, what to do, and whether the board is safe to
    pull.
    """
    assert "Traceback" not in ran.stdout + ran.stderr
    assert ran.code == exit_code, ran.stdout + ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("error ")]
    assert len(lines) == 1, ran.stderr
    assert re.fullmatch(
        rf"error {re.escape(code)}: \S.*[.!?] \S.*[.!?] ({re.escape(SAFE)}|{re.escape(LEAVE)})",
        lines[0],
    ), lines[0]
    assert lines[0].endswith(SAFE if safe else LEAVE)
    return lines[0]


def ended(ran: Ran, slot: int = 1) -> dict[str, Any]:
    """The board of a slot of this run."""
    assert "Traceback" not in ran.stdout + ran.stderr
    return next(board for board in ran.envelope["data"]["boards"] if board["slot"] == slot)


def passes(bench: Bench, *slots: int, more: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The trouble is over: the same command brings these boards to PASS, and the world holds each
    of them once.
    """
    ran = bench.provision(*(bench.world.port(slot) for slot in slots), more=more)
    assert ran.code == 0, ran.stdout + ran.stderr
    boards = ran.envelope["data"]["boards"]
    assert [board["result"] for board in boards] == ["PASS"] * len(slots)
    once_each(bench, boards)
    return boards


def once_each(bench: Bench, boards: list[dict[str, Any]]) -> None:
    """One cloud device, one certificate that counts, no second live token, every serial accounted
    for.
    """
    assert audit(bench.world) == []
    state = bench.world.state()
    with open_journal(bench.home) as journal:
        assert journal.verify() == []
        for board in boards:
            uuid = board["board"]["uuid"]
            assert (
                sum(device["mcuId"] == board["board"]["mcuId"] for device in state["devices"]) == 1
            )
            rows = [row.serial for row in journal.certificates(board=uuid) if row.state == "issued"]
            assert rows == (
                [] if board["certificate"] is None else [board["certificate"]["serial"]]
            )
            live = [
                row
                for row in journal.tokens(board=uuid)
                if row.state in {TokenState.INTENDED, TokenState.MINTED, TokenState.DELIVERED}
            ]
            assert len(live) <= 1
            assert modem(state, uuid)["functionalMode"] == 1
            last = journal.attempts(uuid)[-1]
            assert last.state is AttemptState.PASSED
            assert journal.reserved_serials(last.attempt) == []


def modem(state: dict[str, Any], uuid: str) -> dict[str, Any]:
    """What the simulator knows of a board that is plugged in."""
    return next(slot for slot in state["slots"] if slot["uuid"] == uuid)


def in_slot(bench: Bench, slot: int) -> dict[str, Any]:
    return next(row for row in bench.world.state()["slots"] if row["slot"] == slot)


def requests(bench: Bench, call: str, field_: str = "committed") -> int:
    """How often a call took effect in the cloud (or `count`: was made at all)."""
    return int(bench.world.state()["requests"].get(call, {}).get(field_, 0))


@contextmanager
def faults(bench: Bench, plan: str):
    """These faults for as long as the context lasts."""
    bench.world.set_faults(plan)
    try:
        yield
    finally:
        bench.world.set_faults("")


def profile_with(bench: Bench, name: str, change: Any) -> str:
    """The world's profile with a change, as another file."""
    profile = yaml.safe_load(Path(bench.profile).read_text())
    change(profile)
    path = bench.world.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(profile))
    return str(path)


def hurried(bench: Bench) -> str:
    """The world's profile for a cloud that answers soon or not at all. Times in seconds."""

    def change(profile: dict[str, Any]) -> None:
        profile["cloud"] |= {
            "timeout_s": 1.0,
            "deadline_s": 1.2,
            "lost_answer_grace_s": 0.2,
            "outage_wait_s": 30.0,
        }

    return profile_with(bench, "hurried", change)


def eventually(look: Callable[[], Any], limit_s: float = 20.0) -> Any:
    """Look again and again until there is something to see."""
    pause = threading.Event()
    for _ in range(int(limit_s / 0.02)):
        if found := look():
            return found
        pause.wait(0.02)
    raise AssertionError("it never happened")


@dataclass
class Under:
    """A run that is under way, read through its events."""

    bench: Bench
    pid: int
    out: Path
    _seen: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def until(self, limit_s: float = 20.0, **wanted: Any) -> dict[str, Any]:
        """Wait for an event, e.g. `event="step-begun", step="keygen"`; one that came already
        counts.
        """
        pause = threading.Event()
        for _ in range(int(limit_s / 0.01)):
            for event in self.read():
                if all(event.get(key) == value for key, value in wanted.items()):
                    return event
            assert not self.over(), f"the run ended before {wanted}: {self.events}"
            pause.wait(0.01)
        raise AssertionError(f"no {wanted} among {self.events}")

    def read(self) -> list[dict[str, Any]]:
        """All events so far."""
        path = self.out.with_suffix(".stdout")
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        self.events = [json.loads(line) for line in lines if line.endswith("\n")]
        return self.events

    def over(self) -> bool:
        """Whether the last event came."""
        return any(event.get("event") == "run-ended" for event in self.events)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop it, and return once every thread stands still: until then one of them may still
        begin a commit.
        """
        self.signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")
        eventually(
            lambda: all(
                (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
                for task in tasks.iterdir()
            )
        )

    def wait(self) -> Ran:
        ran = self.bench.zygote.wait(self.pid, self.out)
        assert "Traceback" not in ran.stdout + ran.stderr
        self.read()
        return ran

    def of(self, slot: int, event: str) -> dict[str, Any]:
        return next(row for row in self.events if row["slot"] == slot and row["event"] == event)

    def place(self, slot: int, event: str) -> int:
        """Where in the order of events this one came."""
        return self.events.index(self.of(slot, event))


@contextmanager
def under_way(bench: Bench, *ports: str, more: tuple[str, ...] = (), **limits: Any):
    """A run in another process, as jsonl; it does not outlive the context."""
    argv = bench.provisioning(*ports, more=more, output="jsonl")
    pid, out = bench.zygote.start(*argv, env=bench.env, **limits)
    run = Under(bench, pid, out)
    try:
        yield run
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        bench.zygote.wait(pid, out)
        raise
