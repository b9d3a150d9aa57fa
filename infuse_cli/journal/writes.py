"""One function a write: what it checks, what it appends to the chain, what it changes in the
projections.

All run inside one IMMEDIATE transaction. A compare-and-swap is an UPDATE that names the state it
leaves and is counted; the same statements hold on a database with many writers.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import bindparam, insert, or_, select, update

from infuse_cli import records as rec
from infuse_cli.errors import BoardError, JournalError
from infuse_cli.journal import rows, schema, writes_ca
from infuse_cli.journal.codec import from_json, maybe_text, to_json
from infuse_cli.journal.identity import bind_board, bind_device, check_key, release_device
from infuse_cli.journal.transaction import Held, Transaction, add, compare_and_swap
from infuse_cli.types import AttemptState, StepState, TokenState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPEN_STATES: Final = tuple(state.value for state in AttemptState if state.is_open)

_attempt, _step, _token, _secret = schema.attempt.c, schema.step.c, schema.token.c, schema.secret.c

_OPEN_OF_BOARD = select(_attempt.attempt, _attempt.run).where(
    _attempt.board == bindparam("b"), or_(*(_attempt.state == state for state in OPEN_STATES))
)
_ADD_ATTEMPT = insert(schema.attempt)
_TAKE_ATTEMPT = (
    update(schema.attempt)
    .where(
        _attempt.attempt == bindparam("a"),
        _attempt.run == bindparam("r"),
        _attempt.state == bindparam("s"),
    )
    .values(
        run=bindparam("new_run"),
        slot=bindparam("new_slot"),
        port=bindparam("new_port"),
        state=AttemptState.RUNNING.value,
        outcome=None,
        error=None,
        ended=None,
    )
)
_FACTS_OF_ATTEMPT = select(_attempt.facts).where(_attempt.attempt == bindparam("a"))
_END_OF_ATTEMPT = select(_attempt.facts, _attempt.outcome, _attempt.error, _attempt.ended).where(
    _attempt.attempt == bindparam("a")
)
_NOTE_ATTEMPT = (
    update(schema.attempt).where(_attempt.attempt == bindparam("a")).values(facts=bindparam("f"))
)
_END_ATTEMPT = (
    update(schema.attempt)
    .where(_attempt.attempt == bindparam("a"), _attempt.state == bindparam("s"))
    .values(
        state=bindparam("new"),
        outcome=bindparam("o"),
        error=bindparam("e"),
        ended=bindparam("t"),
        facts=bindparam("f"),
    )
)
_BEGUN_STEPS = select(_step.step).where(
    _step.attempt == bindparam("a"), _step.state == StepState.BEGUN.value
)
_STEP = select(_step.ms, _step.tries).where(
    _step.attempt == bindparam("a"), _step.step == bindparam("n")
)
_ADD_STEP = insert(schema.step)
_MOVE_STEP = (
    update(schema.step)
    .where(
        _step.attempt == bindparam("a"), _step.step == bindparam("n"), _step.state == bindparam("s")
    )
    .values(
        state=bindparam("new"),
        facts=bindparam("f"),
        error=bindparam("e"),
        ms=bindparam("m"),
        at=bindparam("t"),
        tries=bindparam("c"),
    )
)
_STEP_STATE = (
    update(schema.step)
    .where(
        _step.attempt == bindparam("a"), _step.step == bindparam("n"), _step.state == bindparam("s")
    )
    .values(state=bindparam("new"), at=bindparam("t"))
)
_ADD_TOKEN = insert(schema.token)
_MINT_TOKEN = (
    update(schema.token)
    .where(_token.intent == bindparam("i"), _token.state == TokenState.INTENDED.value)
    .values(
        state=TokenState.MINTED.value,
        token_id=bindparam("t"),
        registry_device_id=bindparam("d"),
        sha256=bindparam("h"),
        expires_at=bindparam("x"),
    )
)
_MOVE_TOKEN = (
    update(schema.token)
    .where(_token.intent == bindparam("i"), _token.state == bindparam("s"))
    .values(state=bindparam("new"))
)
_TOKEN = select(_token.board, _token.attempt).where(_token.intent == bindparam("i"))
_SECRET = select(_secret.sealed).where(_secret.name == bindparam("n"))
_ADD_SECRET = insert(schema.secret)
_SET_SECRET = (
    update(schema.secret).where(_secret.name == bindparam("n")).values(sealed=bindparam("v"))
)
_DROP_SECRET = schema.secret.delete().where(_secret.name == bindparam("n"))
_RUN = select(schema.run.c.run).where(schema.run.c.run == bindparam("r"))


def apply(tx: Transaction, writes: Sequence[rec.Write]) -> None:
    """Check and apply writes; neighbours that are rows of a batch together.

    Raises what `ports.Journal.commit` says.
    """
    for many, group in itertools.groupby(writes, key=_is_row):
        if many:
            rows.apply(tx, cast("list[rows.RowWrite]", list(group)))
            continue
        for write in group:
            _APPLY[type(write)](tx, write)


def _is_row(write: rec.Write) -> bool:
    return isinstance(write, rec.BeginRow | rec.EndRow)


def _open_attempt(tx: Transaction, write: rec.OpenAttempt) -> None:
    _must_hold(tx, write.run)
    bind_board(tx.sql, write)
    for attempt, run in tx.sql.all(_OPEN_OF_BOARD, {"b": write.board}):
        if run != write.run and tx.alive(run):
            raise BoardError("board.in-use", f"board {write.board} is being worked on by run {run}")
        raise JournalError(
            "journal.conflict", f"board {write.board} has an open attempt {attempt} already"
        )
    row = {
        "attempt": write.attempt,
        "run": write.run,
        "board": write.board,
        "soc": write.soc,
        "slot": write.slot,
        "port": write.port,
        "state": AttemptState.RUNNING.value,
        "plan": to_json(write.plan),
        "plan_hash": write.plan_hash,
        "opened": tx.now,
        "facts": to_json(write.facts),
        "outcome": None,
        "error": None,
        "ended": None,
    }
    add(tx, _ADD_ATTEMPT, row, f"attempt {write.attempt} exists already")
    tx.attempts[write.attempt] = Held(write.run, write.board, AttemptState.RUNNING)
    tx.event(
        "attempt-opened",
        write,
        run=write.run,
        board=write.board,
        attempt=write.attempt,
        to=AttemptState.RUNNING.value,
    )


def _take_attempt(tx: Transaction, write: rec.TakeAttempt) -> None:
    _must_hold(tx, write.run)
    held = tx.attempt(write.attempt)
    if not held.state.is_open:
        raise JournalError(
            "journal.conflict", f"attempt {write.attempt} has ended: it is {held.state.value}"
        )
    tx.fence(held, write.run)
    values = {
        "a": write.attempt,
        "r": held.run,
        "s": held.state.value,
        "new_run": write.run,
        "new_slot": write.slot,
        "new_port": write.port,
    }
    compare_and_swap(tx, _TAKE_ATTEMPT, values, f"attempt {write.attempt} was taken by another run")
    tx.attempts[write.attempt] = taken = Held(write.run, held.board, AttemptState.RUNNING)
    tx.event(
        "attempt-taken",
        write,
        run=write.run,
        board=held.board,
        attempt=write.attempt,
        from_=held.state.value,
        to=AttemptState.RUNNING.value,
    )
    for (name,) in tx.sql.all(_BEGUN_STEPS, {"a": write.attempt}):
        _mark_unknown(tx, write.attempt, name, taken)


def _mark_unknown(tx: Transaction, attempt: str, name: str, held: Held) -> None:
    begun, unknown = StepState.BEGUN.value, StepState.UNKNOWN.value
    values = {"a": attempt, "n": name, "s": begun, "new": unknown, "t": tx.now}
    compare_and_swap(
        tx, _STEP_STATE, values, f"step {name} of attempt {attempt} was moved by another run"
    )
    tx.event(
        "step-moved",
        None,
        run=held.run,
        board=held.board,
        attempt=attempt,
        step=name,
        from_=begun,
        to=unknown,
    )


def _move_step(tx: Transaction, write: rec.MoveStep) -> None:
    held = tx.working(write.attempt)
    found = tx.sql.first(_STEP, {"a": write.attempt, "n": write.step})
    began = (write.from_state, write.to_state) == (StepState.PENDING, StepState.BEGUN)
    if found is None:
        _first_move(tx, write, tries=int(began))
    else:
        ms, tries = found
        values = {
            "a": write.attempt,
            "n": write.step,
            "s": write.from_state.value,
            "new": write.to_state.value,
            "f": to_json(write.facts),
            "e": _maybe_json(write.error),
            "m": ms if write.ms is None else write.ms,
            "t": tx.now,
            "c": tries + began,
        }
        compare_and_swap(
            tx,
            _MOVE_STEP,
            values,
            f"step {write.step} of attempt {write.attempt} is no longer {write.from_state.value}",
        )
    tx.event(
        "step-moved",
        write,
        run=held.run,
        board=held.board,
        attempt=write.attempt,
        step=write.step,
        from_=write.from_state.value,
        to=write.to_state.value,
    )


def _first_move(tx: Transaction, write: rec.MoveStep, *, tries: int) -> None:
    lost = f"step {write.step} of attempt {write.attempt} is not {write.from_state.value}"
    if write.from_state is not StepState.PENDING:
        raise JournalError("journal.conflict", lost)
    row = {
        "attempt": write.attempt,
        "step": write.step,
        "state": write.to_state.value,
        "facts": to_json(write.facts),
        "error": _maybe_json(write.error),
        "ms": write.ms,
        "at": tx.now,
        "tries": tries,
    }
    add(tx, _ADD_STEP, row, lost)


def _note_attempt(tx: Transaction, write: rec.NoteAttempt) -> None:
    held = tx.attempt(write.attempt)
    tx.fence(held)
    facts = tx.sql.value(_FACTS_OF_ATTEMPT, {"a": write.attempt})
    tx.sql.change(_NOTE_ATTEMPT, {"a": write.attempt, "f": _merged(facts, write.facts)})
    tx.event("attempt-noted", write, run=held.run, board=held.board, attempt=write.attempt)


def _end_attempt(tx: Transaction, write: rec.EndAttempt) -> None:
    held = tx.attempt(write.attempt)
    tx.fence(held)
    if not held.state.is_open and (held.state, write.state) != (
        AttemptState.PASSED,
        AttemptState.SUPERSEDED,
    ):
        raise JournalError(
            "journal.conflict", f"attempt {write.attempt} has ended: it is {held.state.value}"
        )
    facts, outcome, error, ended = tx.sql.all(_END_OF_ATTEMPT, {"a": write.attempt})[0]
    if write.outcome is not None:  # one that is only closed or superseded keeps how it ended
        outcome, error = write.outcome, _maybe_json(write.error)
    values = {
        "a": write.attempt,
        "s": held.state.value,
        "new": write.state.value,
        "o": outcome,
        "e": error,
        "t": tx.now if held.state.is_open else ended,
        "f": _merged(facts, write.facts),
    }
    compare_and_swap(
        tx, _END_ATTEMPT, values, f"attempt {write.attempt} is no longer {held.state.value}"
    )
    if held.state is AttemptState.PASSED:
        release_device(tx.sql, held.board)
    device_id = write.facts.get("deviceId")
    if write.state is AttemptState.PASSED and device_id is not None:
        bind_device(tx.sql, device_id, held.board)
    tx.event(
        "attempt-ended",
        write,
        run=held.run,
        board=held.board,
        attempt=write.attempt,
        from_=held.state.value,
        to=write.state.value,
    )


def _see_key(tx: Transaction, write: rec.SeeKey) -> None:
    if check_key(tx.sql, write.spki_sha256, write.board):
        tx.event("key-seen", write, board=write.board)


def _intend_token(tx: Transaction, write: rec.IntendToken) -> None:
    row = {
        "intent": write.intent,
        "name": write.name,
        "state": TokenState.INTENDED.value,
        "board": write.board,
        "attempt": write.attempt,
        "token_id": None,
        "registry_device_id": None,
        "sha256": None,
        "expires_at": None,
        "intended": tx.now,
    }
    add(tx, _ADD_TOKEN, row, f"token intent {write.intent} is on record already")
    where = tx.of_attempt(write.attempt)
    tx.event(
        "token-intended",
        write,
        **{**where, "board": write.board or where["board"]},
        to=TokenState.INTENDED.value,
    )


def _mint_token(tx: Transaction, write: rec.MintToken) -> None:
    values = {
        "i": write.intent,
        "t": write.token_id,
        "d": write.registry_device_id,
        "h": write.sha256,
        "x": maybe_text(write.expires_at),
    }
    compare_and_swap(tx, _MINT_TOKEN, values, f"token {write.intent} is not intended")
    tx.event(
        "token-moved",
        write,
        **_place_of_token(tx, write.intent),
        from_=TokenState.INTENDED.value,
        to=TokenState.MINTED.value,
    )


def _move_token(tx: Transaction, write: rec.MoveToken) -> None:
    values = {"i": write.intent, "s": write.from_state.value, "new": write.to_state.value}
    compare_and_swap(
        tx, _MOVE_TOKEN, values, f"token {write.intent} is not {write.from_state.value}"
    )
    tx.event(
        "token-moved",
        write,
        **_place_of_token(tx, write.intent),
        from_=write.from_state.value,
        to=write.to_state.value,
    )


def _store_secret(tx: Transaction, write: rec.StoreSecret) -> None:
    values = {"n": write.name, "v": write.sealed}
    if tx.sql.change(_SET_SECRET, values) == 0:
        tx.sql.change(_ADD_SECRET, {"name": write.name, "sealed": write.sealed})


def _drop_secret(tx: Transaction, write: rec.DropSecret) -> None:
    sealed = tx.sql.value(_SECRET, {"n": write.name})
    if sealed is not None:
        tx.sql.change(_SET_SECRET, {"n": write.name, "v": bytes(len(sealed))})
        tx.sql.change(_DROP_SECRET, {"n": write.name})


def _note_run(tx: Transaction, write: rec.NoteRun) -> None:
    if tx.sql.first(_RUN, {"r": write.run}) is None:
        raise JournalError("journal.not-found", f"no run {write.run} is on record")
    board = write.facts.get("board")
    tx.event("run-noted", write, run=write.run, board=board if isinstance(board, str) else None)


def _must_hold(tx: Transaction, run: str) -> None:
    if not tx.holds(run):
        raise JournalError("journal.not-found", f"run {run} was not started by this process")


def _place_of_token(tx: Transaction, intent: str) -> dict[str, Any]:
    board, attempt = tx.sql.all(_TOKEN, {"i": intent})[0]
    return {**tx.of_attempt(attempt), "board": board}


def _merged(text: str, facts: rec.Facts) -> str:
    return to_json({**from_json(text), **facts}) if facts else text


def _maybe_json(value: rec.Facts | None) -> str | None:
    return None if value is None else to_json(value)


_APPLY: Final[dict[type[rec.Write], Callable[[Transaction, Any], None]]] = {
    rec.OpenAttempt: _open_attempt,
    rec.TakeAttempt: _take_attempt,
    rec.MoveStep: _move_step,
    rec.NoteAttempt: _note_attempt,
    rec.EndAttempt: _end_attempt,
    **writes_ca.APPLY,
    rec.SeeKey: _see_key,
    rec.IntendToken: _intend_token,
    rec.MintToken: _mint_token,
    rec.MoveToken: _move_token,
    rec.StoreSecret: _store_secret,
    rec.DropSecret: _drop_secret,
    rec.NoteRun: _note_run,
}
