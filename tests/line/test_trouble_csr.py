"""A CSR that does not stand up: nothing is registered or signed for it, and its key is not kept as the board's."""

from __future__ import annotations

import pytest

from infuse_cli.journal.store import open_journal
from tests.line.trouble import MINT, ended, faults, in_slot, one_line, passes, refused, requests, well_said

BROKEN = [
    ("signature", "identity.bad-signature"), ("digest", "identity.digest-mismatch"), ("uuid", "identity.uuid-mismatch"),
    ("tag", "identity.tag-mismatch"), ("policy", "identity.csr-policy"), ("reused-key", "identity.key-reused"),
]


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(12) as bench:
        passes(bench, bench.slot())  # the board whose key comes up again
        yield bench


@pytest.mark.parametrize(("fault", "code"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_broken_csr_is_refused_before_anything_is_done_for_it(bench, fault, code):
    slot = bench.slot()
    before = requests(bench, "POST /device"), requests(bench, MINT)
    with faults(bench, f"{slot}:bad-csr={fault}"):
        ran = bench.provision(bench.world.port(slot))
        error = refused(ran, code, 8)
        one_line(bench.provision(bench.world.port(slot), output="human"), code, 8)
    assert ended(ran)["failedStep"] == "vet"
    assert any(words in error["hint"].lower() for words in ("set the board aside", "set both boards aside"))
    uuid = in_slot(bench, slot)["uuid"]
    with open_journal(bench.home) as journal:
        assert list(journal.certificates(board=uuid)) == []
        attempt = journal.attempts(uuid)[-1]
    assert attempt.outcome == "FAIL"
    assert "AT%KEYGEN=4201" in attempt.facts["transcript"]
    assert (requests(bench, "POST /device"), requests(bench, MINT)) == before
    passes(bench, slot)
    assert (requests(bench, "POST /device"), requests(bench, MINT)) == (before[0] + 1, before[1] + 1)
    assert in_slot(bench, slot)["counts"]["keygen"] == 3  # a refused key is never kept


def test_a_key_that_came_up_twice_names_the_other_board(bench):
    first, second = bench.slot(), bench.slot()
    (board,) = passes(bench, first)
    with faults(bench, f"{second}:bad-csr=reused-key"):
        error = refused(bench.provision(bench.world.port(second)), "identity.key-reused", 8)
    assert board["board"]["uuid"] in error["message"]
    passes(bench, second)


def test_broken_boards_do_not_stop_the_good_ones(bench):
    slots = [bench.slot() for _ in range(3)]
    with faults(bench, f"{slots[0]}:bad-csr=digest, {slots[2]}:bad-csr=null"):
        ran = bench.provision(*(bench.world.port(slot) for slot in slots))
    assert (ran.code, ran.envelope["status"]) == (11, "partial")
    assert [ended(ran, number)["result"] for number in (1, 2, 3)] == ["FAIL", "PASS", "PASS"]
    well_said(ended(ran, 1)["error"])
    passes(bench, *slots)
