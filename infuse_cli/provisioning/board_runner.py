"""One board, from its first answer to its result: who is it, what is done with it, the attempt."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect import capabilities, operations
from infuse_cli.errors import BoardError, InfuseError, internal_error
from infuse_cli.provisioning.attempt_runner import AttemptRunner
from infuse_cli.provisioning.context import BoardContext, mode_owed
from infuse_cli.provisioning.decision import decide
from infuse_cli.provisioning.facts import BoardFacts
from infuse_cli.provisioning.metadata import row_for
from infuse_cli.provisioning.plan import (
    asks,
    check_dialect,
    check_firmware,
    check_until,
    reached,
    run_plan,
)
from infuse_cli.provisioning.results import BoardResult
from infuse_cli.provisioning.steps.identify import McuIds, identify
from infuse_cli.provisioning.steps.write_id import check_bench

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from infuse_cli.dialect.base import Operations
    from infuse_cli.ports import BoardLink
    from infuse_cli.provisioning.context import RunContext
    from infuse_cli.types import BoardIdentity


class BoardRunner:
    """Takes boards one at a time; one is shared by all slots and keeps no state of a board.

    Raises ProfileError profile.unsupported for a plan that the named dialect or this bench cannot
    carry out, UsageError for a step to stop after that the plan does not have.
    """

    def __init__(self, context: RunContext) -> None:
        self.context: Final = context
        self._in_hand: set[str] = set()
        self._lock: Final = threading.Lock()
        profile, options = context.profile, context.options
        self._plan: Final = run_plan(profile, context.certificate)
        check_until(self._plan.steps, options.until)
        self._asks: Final = asks(self._plan.steps, profile)
        dialect = profile.board.serial.dialect
        if dialect != "auto":
            check_dialect(self._asks, dialect, capabilities(dialect))
        check_bench(context, reached(self._plan.steps, options.until))
        self._mcu_ids: Final = McuIds(
            profile.board.mcu_id,
            options.metadata,
            context.chip_ids,
            context.resolved.soc,
            context.cloud.shared_secret,
        )

    def board(
        self, link: BoardLink, slot: int, *, only: Collection[str] | None = None
    ) -> BoardResult | None:
        """Take the board on this link to its result; None when it is not one of `only` (board
        keys).
        """
        started = time.monotonic()
        identity: BoardIdentity | None = None
        try:
            link.current_step = "identify"
            ops = self._operations(link)
            identity = identify(link, ops, self._ids(link, ops, slot))
            if only is not None and identity.uuid not in only:
                return None
            self.context.emit(
                "board-found",
                slot=slot,
                board=identity.uuid,
                data={"port": link.port, "imei": identity.imei, "mcuId": identity.mcu_id},
            )
            with self._held(identity.uuid):
                ctx = self._board_context(link, ops, slot, identity)
                return AttemptRunner(ctx, decide(ctx, self._plan), started).run()
        except InfuseError as error:
            return self._refused(slot, link, identity, error, started)
        except Exception as error:  # noqa: BLE001 - a slot's thread must end its board, not the line
            return self._refused(slot, link, identity, internal_error(error), started)

    def _ids(self, link: BoardLink, ops: Operations, slot: int) -> McuIds:
        """Where the mcuId comes from.

        One that is scanned may stand in the table of metadata, or on record: a board that was bound
        to its label needs no second scan. Else the label is waited for as long as the board is
        there.
        """
        context, labels = self.context, self.context.labels

        def scanned(seen: BoardIdentity) -> str:
            label = {} if labels is None else labels.bound(slot, seen.imei, seen.uuid)
            mcu_id = label.get("mcuId") or row_for(context.options.metadata_table, seen).get(
                "mcuId"
            )
            record = None if mcu_id or not seen.uuid else context.journal.board(seen.uuid)
            found = mcu_id or (None if record is None else record.mcu_id)
            if found or labels is None:
                return found or ""
            return labels.await_for(
                slot,
                seen.imei,
                seen.uuid,
                ("mcuId",),
                look=lambda: link.run(ops.same_board(seen.uuid)) if seen.uuid else None,
                waiting=lambda why: self._wait(slot, seen.uuid, why),
            )["mcuId"]

        return replace(self._mcu_ids, scanned=scanned)

    def _operations(self, link: BoardLink) -> Operations:
        """What can be done to this board.

        Raises ProfileError profile.unsupported where that is not enough for the plan.
        """
        buffer = self.context.profile.board.serial.credential_buffer
        ops = operations(link.dialect, credential_buffer=buffer)
        wanted = check_dialect(self._asks, link.dialect, capabilities(link.dialect))
        check_firmware(self._asks, link.run(ops.lacks(wanted)))
        return ops

    @contextmanager
    def _held(self, board: str) -> Iterator[None]:
        """Keep a board that two ports show (two interfaces of one probe) from being taken by two
        slots.
        """
        with self._lock:
            if board in self._in_hand:
                raise BoardError(
                    "board.in-use", f"another slot of this run is working on board {board}"
                )
            self._in_hand.add(board)
        try:
            yield
        finally:
            with self._lock:
                self._in_hand.discard(board)

    def _board_context(
        self, link: BoardLink, ops: Operations, slot: int, identity: BoardIdentity
    ) -> BoardContext:
        owed = mode_owed(self.context, identity)
        return BoardContext(
            run=self.context,
            link=link,
            ops=ops,
            identity=identity,
            slot=slot,
            mode_owed=owed,
            attempt=uuid.uuid4().hex,
            facts=BoardFacts(
                identity=identity.uuid,
                functionalMode=identity.functional_mode if owed is None else owed,
            ),
            waiting=lambda why: self._wait(slot, identity.uuid, why),
        )

    def _refused(
        self,
        slot: int,
        link: BoardLink,
        identity: BoardIdentity | None,
        error: InfuseError,
        started: float,
    ) -> BoardResult:
        """Trouble before there was an attempt: nothing was done to the board."""
        if identity is not None and not self.context.options.dry_run:
            self.context.note_refusal(identity, error)
        board = None if identity is None else identity.uuid
        self.context.emit("step-failed", slot=slot, board=board, step="identify", error=error)
        return BoardResult(
            slot=slot,
            port=link.port,
            outcome=error.info.outcome,
            ms=(time.monotonic() - started) * 1000,
            identity=identity,
            failed_step="identify",
            error=error,
        )

    def _wait(self, slot: int, board: str, why: str) -> None:
        self.context.emit("board-waiting", slot=slot, board=board, data={"why": why})
