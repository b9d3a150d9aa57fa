"""Results of `infuse registry token`."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.api_types import has_connected
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.errors import InfuseError, JournalError
from infuse_cli.text import plural
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli import api_types as api
    from infuse_cli.devices.registry_tokens import TokenCreation
    from infuse_cli.devices.token_ledger import Disagreement, Ledger, StationRevocation

_COLUMNS: Final = {
    "name": "name",
    "registryDeviceId": "registry device id",
    "id": "token id",
    "status": "status",
    "expiresAt": "expires",
}


def created(result: TokenCreation, *, reveal: bool, wait_s: float | None) -> OperationResult:
    """`registry token create`."""
    command, minted, secret = "registry token create", result.minted, result.token
    values = {**views.plain(minted), "sha256": secret.sha256()}
    del values["token"]
    data: dict[str, Any] = {"token": values, "out": result.out}
    lines = [
        (
            f"Registration token for {minted.name!r}: registry device {minted.device_id} is"
            f" {minted.status}."
        ),
        *views.secret_lines(secret, "Token", out=result.out, reveal=reveal),
    ]
    if minted.expires_at is not None:
        lines.append(f"It expires at {minted.expires_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC.")
    if result.status is None or wait_s is None:
        return OperationResult(command, data, human="\n".join(lines))
    data["status"] = result.status
    if has_connected(result.status):
        lines.append(f"The device is {result.status}: it has connected.")
        return OperationResult(command, data, human="\n".join(lines))
    error = InfuseError(
        "identity.not-active",
        f"registry device {minted.device_id} is {result.status} after {wait_s:g} s",
    )
    return views.with_error(OperationResult(command, data, human="\n".join(lines)), error)


def listed(rows: Sequence[api.PendingToken]) -> OperationResult:
    """`registry token list`."""
    empty = "No registration token is pending."
    return views.listing("registry token list", "tokens", rows, _COLUMNS, empty)


def revoked(token: api.PendingToken) -> OperationResult:
    """`registry token revoke`."""
    data = {"token": {**views.plain(token), "status": "REVOKED"}}
    human = f"Revoked the registration token of {token.name!r}."
    return OperationResult("registry token revoke", data, human=human)


def station_revoked(result: StationRevocation) -> OperationResult:
    """`registry token revoke --station`."""
    rows = [
        {
            "name": token.name,
            "tokenId": token.token_id,
            "registryDeviceId": token.registry_device_id,
            "state": state.value,
        }
        for token, state in result.tokens
    ]
    used = [row for row in rows if row["state"] != TokenState.REVOKED.value]
    elsewhere = [views.plain(token) for token in result.pending_elsewhere]
    data = {"station": result.station, "tokens": rows, "pendingElsewhere": elsewhere}
    end = f", {len(used)} used already:" if used else "."
    lines = [
        (
            f"{plural(len(rows), 'live token')} of station {result.station}:"
            f" {len(rows) - len(used)} revoked{end}"
        )
    ]
    lines += [
        f"  {row['name']}  {row['state']}: look at its device {row['registryDeviceId']}"
        for row in used
    ]
    if elsewhere:
        lines.append(
            f"{len(elsewhere)} pending tokens are not in the journal here:"
            " `infuse registry token list` shows them."
        )
    return OperationResult("registry token revoke", data, human="\n".join(lines))


def ledger(result: Ledger) -> OperationResult:
    """`registry token ledger`."""
    rows = [_row(row) for row in result.disagreeing]
    data: dict[str, Any] = {
        "tokens": result.tokens,
        "states": {state.value: count for state, count in result.states.items()},
        "reconciled": result.reconciled,
    }
    if result.reconciled:
        data |= {"pendingElsewhere": result.pending_elsewhere, "disagreeing": rows}
    human = "\n".join(_ledger_lines(result))
    shown = OperationResult("registry token ledger", data, human=human)
    wrong = sum(row.is_open for row in result.disagreeing)
    if not wrong:
        return shown
    return views.with_error(
        shown,
        JournalError(
            "journal.tokens-differ",
            f"{wrong} of {result.tokens} registration tokens are not as they should be in the"
            " registry",
        ),
    )


def _row(row: Disagreement) -> dict[str, Any]:
    token, verdict = row.token, row.verdict
    values = {
        "name": token.name,
        "intent": token.intent,
        "tokenId": token.token_id,
        "registryDeviceId": token.registry_device_id,
        "board": token.board,
        "state": token.state.value,
        "why": verdict.why,
        "revoke": verdict.revoke,
        "settles": verdict.state.value if verdict.state else None,
        "trouble": verdict.is_trouble,
    }
    return {**values, "settled": True} if row.settled else values


def _ledger_lines(result: Ledger) -> list[str]:
    counts = "  ".join(f"{count} {state.value}" for state, count in result.states.items() if count)
    end = f": {counts}" if counts else "."
    lines = [f"{plural(result.tokens, 'registration token')} in the journal{end}"]
    for row in result.disagreeing:
        token = row.token
        lines.append(f"  {token.name}  {token.state.value}: {row.verdict.why} ({_next(row)})")
    if not result.reconciled:
        return lines
    if not result.disagreeing:
        lines.append("The registry agrees with all of them.")
    elif any(_can_settle(row) for row in result.disagreeing):
        lines.append(
            "--settle records what is certain, and revokes what has ended here and not there."
        )
    if result.pending_elsewhere:
        lines.append(
            f"{result.pending_elsewhere} further tokens are pending in the registry, not in the"
            " journal here."
        )
    return lines


def _can_settle(row: Disagreement) -> bool:
    return (row.verdict.state is not None or row.verdict.revoke) and not row.settled


def _next(row: Disagreement) -> str:
    if row.settled:
        return "settled"
    if row.verdict.state is not None:
        return row.verdict.state.value
    return "to be revoked" if row.verdict.revoke else "look at it in the registry"
