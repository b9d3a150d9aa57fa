"""Makes the projections anew from the chain, to find rows that were edited.

People read tables such as `attempt` and `certificate`, and the chain alone is hashed. The verifier
takes every event in the order in which they were written, and then names each row that does not say
what the events say. Events of a kind that is unknown here leave what they are about unverified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from infuse_cli.journal import schema
from infuse_cli.journal.codec import from_json
from infuse_cli.journal.prepared import Prepared
from infuse_cli.types import AttemptState, TokenState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Table

    from infuse_cli.journal.chain import Link

    Row = dict[str, Any]
    Key = tuple[str, ...]

_JSON: Final = frozenset({"facts", "error", "totals"})
_MAY_LACK: Final = frozenset(
    {("board", None), ("name", None), ("station", None)}
)  # rows of before there were these columns, and boards seen later
_CERTIFICATE: Final = (
    "sha256",
    "spki_sha256",
    "not_before",
    "not_after",
    "pem",
    "profile",
    "device_id",
)

PROJECTIONS: Final[dict[str, tuple[Table, tuple[str, ...], tuple[str, ...]]]] = {
    "run": (
        schema.run,
        ("run",),
        (
            "command",
            "profile_name",
            "profile_hash",
            "operator",
            "lot",
            "started",
            "ended",
            "totals",
        ),
    ),
    "board": (schema.board, ("uuid",), ("soc", "imei", "mcu_id")),
    "attempt": (
        schema.attempt,
        ("attempt",),
        (
            "run",
            "board",
            "soc",
            "state",
            "plan_hash",
            "opened",
            "ended",
            "outcome",
            "error",
            "facts",
        ),
    ),
    "step": (schema.step, ("attempt", "step"), ("state", "error", "facts", "at")),
    "serial": (schema.serial, ("serial", "issuer"), ("state", "attempt")),
    "certificate": (
        schema.certificate,
        ("serial", "issuer"),
        (*_CERTIFICATE, "state", "board", "attempt", "name", "stored", "station"),
    ),
    "seen_key": (schema.seen_key, ("spki_sha256",), ("board",)),
    "token": (
        schema.token,
        ("intent",),
        (
            "name",
            "state",
            "board",
            "attempt",
            "token_id",
            "registry_device_id",
            "sha256",
            "expires_at",
        ),
    ),
    "revocation": (schema.revocation, ("serial", "issuer"), ("at", "reason")),
    "crl": (schema.crl, ("issuer", "number"), ("sha256", "content", "this_update", "next_update")),
    "batch_row": (schema.batch_row, ("organisation", "soc", "mcu_id"), ("run", "state", "id")),
}
"""By name of a projection: its table, the columns of its key, and those that must be as the events
have them.
"""

_ROWS: Final = {
    name: select(*(table.c[column] for column in (*key, *columns)))
    for name, (table, key, columns) in PROJECTIONS.items()
}


@dataclass(slots=True)
class ProjectionVerifier:
    """The projections as the events taken so far make them."""

    rows: dict[str, dict[Key, Row]] = field(
        default_factory=lambda: {name: {} for name in PROJECTIONS}
    )
    unverified: set[str] = field(default_factory=set)
    maybe: set[Key] = field(
        default_factory=set
    )  # keys of certificates: on record as seen only where the board was named

    def apply(self, event: Link) -> None:
        """Take the next event; what does not fit leaves a row that will differ."""
        change = _APPLY.get(event.kind)
        facts = from_json(event.facts)
        if change is not None:
            change(self, event, facts)
        elif event.kind not in _NO_ROWS:
            self.unverified |= {
                text
                for text in (event.attempt, event.board, *map(facts.get, ("serial", "intent")))
                if isinstance(text, str)
            }

    def row(self, table: str, *key: str) -> Row:
        """A row to change; a missing one is verifier, and differs from any that is there."""
        return self.rows[table].setdefault(key, {})

    def differing(self, connection: Connection) -> Iterator[tuple[str, str]]:
        """What is wrong, as (row, why), tables in the order of `PROJECTIONS`."""
        for name, (_, key, columns) in PROJECTIONS.items():
            wanted = dict(self.rows[name])
            for found in Prepared(connection).all(_ROWS[name], {}):
                at = tuple(map(str, found[: len(key)]))
                expected = wanted.pop(at, None)
                if why := self._why(columns, expected, found[len(key) :], at):
                    yield f"{name} {' '.join(at)}", why
            gone = [
                at
                for at, row in wanted.items()
                if not self._leave(at, row) and (name != "seen_key" or at not in self.maybe)
            ]
            yield from (
                (f"{name} {' '.join(at)}", "it is in the chain, but its row is gone") for at in gone
            )

    def _why(
        self, columns: tuple[str, ...], expected: Row | None, found: tuple[Any, ...], at: Key
    ) -> str | None:
        if self._leave(at, expected or dict(zip(columns, found, strict=True))):
            return None
        if expected is None:
            return "no event of the chain made it"
        wrong = [
            column
            for column, value in zip(columns, found, strict=True)
            if _value(column, value) != (expected.get(column) or None)
            and (column, value) not in _MAY_LACK
        ]
        return f"it differs from the chain in {', '.join(wrong)}" if wrong else None

    def _leave(self, at: Key, row: Row) -> bool:
        return not self.unverified.isdisjoint((*at, row.get("attempt"), row.get("board")))


def _value(column: str, found: Any) -> Any:
    return (from_json(found) if column in _JSON else found) or None


def _run_started(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    verifier.row("run", event.run or "").update(
        {name: facts.get(name) for name in ("command", "profile_name", "profile_hash", "lot")},
        operator=event.operator,
        started=event.ts,
    )


def _run_ended(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    verifier.row("run", event.run or "").update(ended=event.ts, totals=facts)


def _attempt_opened(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    board = verifier.row("board", event.board or "")
    board.update(
        soc=board.get("soc") or facts.get("soc"),
        imei=board.get("imei") or facts.get("imei"),
        mcu_id=board.get("mcu_id") or facts.get("mcu_id"),
    )
    verifier.row("attempt", event.attempt or "").update(
        run=event.run,
        board=event.board,
        soc=facts.get("soc"),
        state=event.to_state,
        plan_hash=facts.get("plan_hash"),
        opened=event.ts,
        facts=dict(facts.get("facts", {})),
    )


def _attempt_taken(verifier: ProjectionVerifier, event: Link, _: Row) -> None:
    verifier.row("attempt", event.attempt or "").update(
        run=event.run, state=event.to_state, outcome=None, error=None, ended=None
    )


def _attempt_noted(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    row = verifier.row("attempt", event.attempt or "")
    row["facts"] = {**row.get("facts", {}), **facts.get("facts", {})}


def _attempt_ended(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    _attempt_noted(verifier, event, facts)
    row = verifier.row("attempt", event.attempt or "")
    if facts.get("outcome") is not None:
        row.update(outcome=facts["outcome"], error=facts.get("error"))
    if event.from_state and AttemptState(event.from_state).is_open:
        row["ended"] = event.ts
    row["state"] = event.to_state


def _step_moved(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    row = verifier.row("step", event.attempt or "", event.step or "")
    row.update(state=event.to_state, at=event.ts)
    # A take-over moves a begun step to unknown and leaves all else as it was; nothing else tells of
    # no facts there.
    if (event.from_state, event.to_state) != ("begun", "unknown") or facts:
        row.update(facts=facts.get("facts"), error=facts.get("error"))


def _serial_reserved(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    verifier.row("serial", facts["serial"], facts["issuer"]).update(
        state=event.to_state, attempt=event.attempt
    )


def _serial_voided(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    verifier.row("serial", facts["serial"], facts["issuer"])["state"] = event.to_state


def _certificate_stored(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    key = (facts["serial"], facts["issuer"])
    verifier.row("serial", *key)["state"] = "issued"
    dates = {name: _moment(facts.get(name)) for name in ("not_before", "not_after")}
    verifier.row("certificate", *key).update(
        {name: facts.get(name) for name in _CERTIFICATE} | dates,
        state=event.to_state,
        attempt=event.attempt,
        board=event.board,
        name=facts.get("name") or facts.get("device_id"),
        stored=event.ts,
        station=event.station,
    )
    if (
        event.board is not None
        and (spki := (facts.get("spki_sha256", ""),)) not in verifier.rows["seen_key"]
    ):
        verifier.rows["seen_key"][spki] = {"board": event.board}
        verifier.maybe.add(spki)


def _moment(text: str | None) -> str | None:
    """A time as a column holds it, from how msgspec writes it into facts."""
    from datetime import datetime

    from infuse_cli.journal.codec import to_text

    return None if text is None else to_text(datetime.fromisoformat(text))


def _certificate_moved(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    verifier.row("certificate", facts["serial"], facts["issuer"])["state"] = event.to_state


def _certificate_revoked(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    key = (facts["serial"], facts["issuer"])
    verifier.row("revocation", *key).update(at=event.ts, reason=facts.get("reason"))
    if key in verifier.rows["certificate"]:
        verifier.row("certificate", *key)["state"] = "revoked"


def _crl_issued(verifier: ProjectionVerifier, _: Link, facts: Row) -> None:
    dates = {name: _moment(facts.get(name)) for name in ("this_update", "next_update")}
    verifier.row("crl", facts["issuer"], str(facts["number"])).update(
        {name: facts.get(name) for name in ("sha256", "content")} | dates
    )


def _key_seen(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    verifier.rows["seen_key"].setdefault((facts["spki_sha256"],), {"board": event.board})
    verifier.maybe.discard((facts["spki_sha256"],))


def _token_state(event: Link) -> str | None:
    """What an event moved a token to; older events have older words."""
    try:
        return TokenState(event.to_state).value
    except ValueError:
        return event.to_state


def _token_intended(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    verifier.row("token", facts["intent"]).update(
        name=facts.get("name"), state=_token_state(event), board=event.board, attempt=event.attempt
    )


def _token_moved(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    row = verifier.row("token", facts["intent"])
    row["state"] = _token_state(event)
    if event.to_state == TokenState.MINTED.value:
        row.update(
            {name: facts.get(name) for name in ("token_id", "registry_device_id", "sha256")},
            expires_at=_moment(facts.get("expires_at")),
        )


def _row_moved(verifier: ProjectionVerifier, event: Link, facts: Row) -> None:
    row = verifier.row("batch_row", facts["organisation"], facts["soc"], facts["mcu_id"])
    row.update(run=event.run, state=event.to_state)
    if event.kind == "row-ended":
        row["id"] = facts.get("id")


_APPLY: Final[dict[str, Callable[[ProjectionVerifier, Link, Row], None]]] = {
    "run-started": _run_started,
    "run-ended": _run_ended,
    "attempt-opened": _attempt_opened,
    "attempt-taken": _attempt_taken,
    "attempt-noted": _attempt_noted,
    "attempt-ended": _attempt_ended,
    "step-moved": _step_moved,
    "serial-reserved": _serial_reserved,
    "serial-voided": _serial_voided,
    "certificate-stored": _certificate_stored,
    "certificate-moved": _certificate_moved,
    "certificate-revoked": _certificate_revoked,
    "crl-issued": _crl_issued,
    "key-seen": _key_seen,
    "token-intended": _token_intended,
    "token-moved": _token_moved,
    "row-begun": _row_moved,
    "row-ended": _row_moved,
}
_NO_ROWS: Final = frozenset({"run-noted", "csr-refused"})
