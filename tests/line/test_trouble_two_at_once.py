"""Two of `infuse` at once: one board is worked on by one of them, and different boards do not mind
each other.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from tests.line.trouble import (
    MINT,
    ended,
    faults,
    in_slot,
    once_each,
    one_line,
    passes,
    refused,
    requests,
    under_way,
)


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(20) as bench:
        yield bench


BY_HAND = (
    "probe",
    "info",
    "check",
    "at",
    "creds list",
    "creds write",
    "creds delete",
    "csr",
    "token write",
    "write-id",
)


def by_hand(bench, port: str, folder: Path) -> dict[str, tuple[str, ...]]:
    """Every command that wants a port, as a person types it."""
    secret = folder / "secret"
    secret.write_text("00112233445566778899aabbccddeeff\n")
    secret.chmod(0o600)
    more = {
        "at": ("AT+CFUN=1",),
        "creds write": ("--sec-tag", "9", "--type", "psk", "--file", str(secret)),
        "creds delete": ("--sec-tag", "9", "--yes"),
        "csr": ("--out", str(folder / "board.csr")),
        "token write": (
            "--file",
            str(secret),
            "--device-id",
            "b6b5e1a4-0000-4000-8000-000000000001",
        ),
        "write-id": ("--device-id", "0011223344556677", "--yes"),
    }
    return {
        name: ("serial", *name.split(), "--port", port, *more.get(name, ())) for name in BY_HAND
    }


def heard(bench, slot: int) -> list[str]:
    return bench.world.bench.call(lambda: list(bench.world.bench.board(slot).commands))


def test_a_second_infuse_on_the_same_port_names_the_first(bench, tmp_path, request):
    slot = bench.slot()
    port = bench.world.port(slot)
    with faults(bench, f"{slot}:hang@install"):
        with under_way(bench, port) as run:
            run.until(event="step-begun", step="install")
            until_written(bench, slot, credential=1)
            rivals = list(by_hand(bench, port, tmp_path).values())[
                :: 1 if request.config.getoption("--storm") else 3
            ]
            before = heard(bench, slot)
            errors = [refused(bench.provision(port), "serial.busy", 7)]
            errors += [
                refused(
                    bench.infuse(*words, "--profile", bench.profile, "--output", "json"),
                    "serial.busy",
                    7,
                )
                for words in rivals
            ]
            line = one_line(bench.provision(port, output="human"), "serial.busy", 7)
            assert heard(bench, slot) == before  # not a byte of theirs
            bench.world.unplug(slot)
            run.wait()
    assert all(
        f"(pid {run.pid})" in told for told in (line, *(error["message"] for error in errors))
    )
    bench.world.plug(slot)
    passes(bench, slot)
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


def test_a_second_infuse_on_the_same_board_at_another_port_leaves_it_alone(bench):
    """The board was replugged while the first, stopped, still believes that it has it."""
    slot = bench.slot()
    minted = requests(bench, MINT)
    with faults(bench, f"{slot}:hang@install"):
        with under_way(bench, bench.world.port(slot)) as run:
            run.until(event="step-begun", step="install")
            until_written(
                bench, slot, credential=1
            )  # so it waits for an answer, and is stopped with no transaction open
            run.freeze()
            bench.world.unplug(slot)
            port = bench.world.plug(slot)
            written = in_slot(bench, slot)["credentials"]
            refused(bench.provision(port), "board.in-use", 7, safe=False)
            line = one_line(bench.provision(port, output="human"), "board.in-use", 7, safe=False)
            assert run.pid in pids(line, run)
            assert in_slot(bench, slot)["credentials"] == written
            run.signal(signal.SIGCONT)
            ran = run.wait()
    assert ran.code == 7
    passes(bench, slot)
    assert in_slot(bench, slot)["counts"]["keygen"] == 1
    assert requests(bench, MINT) == minted + 1


def until_written(bench, slot: int, credential: int) -> None:
    """Wait until the board holds a credential of this type."""
    pause = threading.Event()
    for _ in range(1000):
        if any(one["type"] == credential for one in in_slot(bench, slot)["credentials"]):
            return
        pause.wait(0.01)
    raise AssertionError(in_slot(bench, slot))


def pids(line: str, run) -> set[int]:
    """The line names the run that has the board, by the first digits of its id."""
    return {run.pid} if run.events[0]["run"][:8] in line else set()


def test_many_at_once_on_one_port_give_one_pass(bench):
    slot = bench.slot()
    words = bench.provisioning(bench.world.port(slot))
    started = [bench.zygote.start(*words, env=bench.env) for _ in range(3)]
    ran = [bench.zygote.wait(*one) for one in started]
    codes = sorted(one.code for one in ran)
    assert codes[0] == 0
    assert set(codes) <= {0, 7}, [one.stdout for one in ran]
    boards = [ended(one) for one in ran]
    assert {board["error"]["code"] for board in boards if board["error"]} <= {"serial.busy"}
    once_each(bench, [next(board for board in boards if board["result"] == "PASS")])
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


@pytest.mark.storm
@pytest.mark.parametrize(
    "rivals",
    [
        ("creds write", "provision"),
        ("csr", "creds write", "token write"),
        ("provision", "csr", "at"),
        ("creds write",) * 4,
    ],
)
def test_different_commands_at_once_on_one_port_go_one_after_another_or_not_at_all(
    bench, tmp_path, rivals
):
    slot = bench.slot()
    port = bench.world.port(slot)
    words = {**by_hand(bench, port, tmp_path), "provision": ("provision", "--port", port)}
    for _ in range(3):
        started = [
            bench.zygote.start(
                *words[name], "--profile", bench.profile, "--output", "json", env=bench.env
            )
            for name in rivals
        ]
        ran = [bench.zygote.wait(*one) for one in started]
        codes = {error["code"] for one in ran for error in one.envelope["errors"]}
        assert codes <= {
            "serial.busy",
            "usage.bad-option",
            "identity.slot-occupied",
        }, codes  # the CSR's file is there, the key is not the line's
        assert any(one.code != 7 for one in ran)
    assert in_slot(bench, slot)["functionalMode"] == 1
    passes(bench, slot, more=("--replace",))


def test_many_at_once_on_their_own_boards_in_a_fresh_home(bench, tmp_path):
    """The journal is made by whoever comes first; everybody's board passes and is on record."""
    home, bench.home = bench.home, tmp_path / "home"
    slots = [bench.slot() for _ in range(4)]
    started = [
        bench.zygote.start(*bench.provisioning(bench.world.port(slot)), env=bench.env)
        for slot in slots
    ]
    ran = [bench.zygote.wait(*one) for one in started]
    assert [one.code for one in ran] == [0, 0, 0, 0], [one.stdout for one in ran]
    once_each(bench, [ended(one) for one in ran])
    bench.home = home


def test_a_board_that_two_ports_show_is_taken_once(bench):
    slot = bench.slot()
    port = bench.world.port(slot)
    ran = bench.provision(port, port)
    assert "Traceback" not in ran.stdout + ran.stderr
    assert ran.code in {2, 7, 11}
    passes(bench, slot)
    assert in_slot(bench, slot)["counts"]["keygen"] == 1
