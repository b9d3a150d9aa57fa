"""A CSR that does not stand up: nothing is registered or signed for it, and its key is not kept as
the board's.
"""

from __future__ import annotations

import pytest

from infuse_cli.journal.store import open_journal
from tests.line.trouble import (
    MINT,
    SAFE,
    ended,
    faults,
    in_slot,
    one_line,
    passes,
    refused,
    requests,
    well_said,
)

BROKEN = [
    ("signature", "identity.bad-signature"),
    ("digest", "identity.digest-mismatch"),
    ("uuid", "identity.uuid-mismatch"),
    ("tag", "identity.tag-mismatch"),
    ("policy", "identity.csr-policy"),
]


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(16) as bench:
        passes(bench, bench.slot())  # the board whose key comes up again
        yield bench


def test_a_broken_csr_is_refused_before_anything_is_done_for_it(bench):
    slots = [bench.slot() for _ in BROKEN]
    ports = [bench.world.port(slot) for slot in slots]
    before = requests(bench, "POST /device"), requests(bench, MINT)
    with faults(
        bench,
        ", ".join(
            f"{slot}:bad-csr={fault}" for slot, (fault, _) in zip(slots, BROKEN, strict=True)
        ),
    ):
        ran = bench.provision(*ports)
        told = bench.provision(*ports, output="human").stderr
    assert ran.code == 11
    for number, (slot, (_, code)) in enumerate(zip(slots, BROKEN, strict=True), start=1):
        board = ended(ran, number)
        assert (board["result"], board["failedStep"], board["error"]["code"]) == (
            "FAIL",
            "vet",
            code,
        )
        assert any(
            words in well_said(board["error"])["hint"].lower()
            for words in ("set the board aside", "set both boards aside")
        )
        assert (
            sum(
                line.startswith(f"error {code}: ") and line.endswith(SAFE)
                for line in told.splitlines()
            )
            == 1
        )
        uuid = in_slot(bench, slot)["uuid"]
        with open_journal(bench.home) as journal:
            assert list(journal.certificates(board=uuid)) == []
            attempt = journal.attempts(uuid)[-1]
        assert attempt.outcome == "FAIL"
        assert "AT%KEYGEN=4201" in attempt.facts["transcript"]
    assert (requests(bench, "POST /device"), requests(bench, MINT)) == before
    passes(bench, *slots)
    assert (requests(bench, "POST /device"), requests(bench, MINT)) == (
        before[0] + len(slots),
        before[1] + len(slots),
    )
    assert {in_slot(bench, slot)["counts"]["keygen"] for slot in slots} == {
        3
    }  # a refused key is never kept


@pytest.mark.parametrize("fault", ["signature", "tag"])
def test_one_broken_csr_has_its_own_exit_code_and_line(bench, fault):
    slot = bench.slot()
    with faults(bench, f"{slot}:bad-csr={fault}"):
        one_line(bench.provision(bench.world.port(slot), output="human"), dict(BROKEN)[fault], 8)
    passes(bench, slot)


def test_a_key_that_came_up_twice_names_the_other_board(bench):
    first, second = bench.slot(), bench.slot()
    (board,) = passes(bench, first)
    with faults(bench, f"{second}:bad-csr=reused-key"):
        error = refused(bench.provision(bench.world.port(second)), "identity.key-reused", 8)
        line = one_line(
            bench.provision(bench.world.port(second), output="human"), "identity.key-reused", 8
        )
    assert board["board"]["uuid"] in error["message"]
    assert board["board"]["uuid"] in line
    passes(bench, second)


@pytest.mark.storm
def test_broken_boards_do_not_stop_the_good_ones(bench):
    slots = [bench.slot() for _ in range(3)]
    with faults(bench, f"{slots[0]}:bad-csr=digest, {slots[2]}:bad-csr=null"):
        ran = bench.provision(*(bench.world.port(slot) for slot in slots))
    assert (ran.code, ran.envelope["status"]) == (11, "partial")
    assert [ended(ran, number)["result"] for number in (1, 2, 3)] == ["FAIL", "PASS", "PASS"]
    well_said(ended(ran, 1)["error"])
    passes(bench, *slots)
