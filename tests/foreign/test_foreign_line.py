"""The line against a cloud and boards that were written from the contract alone."""

from __future__ import annotations


def test_try(bench):
    board = bench.board()
    ran = bench.provision(board)
    print(ran.stdout, ran.stderr, board.commands, bench.cloud.wrong, [r.call for r in bench.cloud.requests], sep="\n")
    assert 0
