"""What `infuse auth` shows: places of credentials, never a credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import CredentialError, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.devices.api_credential import (
        CredentialStatus,
        ForgottenCredential,
        StoredCredential,
    )


def logged_in(stored: StoredCredential) -> OperationResult:
    """A credential that was stored."""
    data = {
        "host": stored.host,
        "scheme": stored.scheme,
        "source": stored.source,
        "where": stored.where,
        "notes": stored.notes,
        "organisations": stored.organisations,
    }
    lines = [f"Credential for {stored.host} stored in: {stored.where}"]
    lines += _seen(stored.organisations)
    return _result("auth login", data, [*lines, *_notes(stored.notes)])


def logged_out(forgotten: ForgottenCredential) -> OperationResult:
    """A credential that was removed, or was not there."""
    host = forgotten.host
    lines = [f"Credential for {host} removed from: {where}" for where in forgotten.removed]
    lines = lines or [f"No credential for {host} was stored."]
    data = {"host": host, "removed": forgotten.removed, "notes": forgotten.notes}
    return _result("auth logout", data, [*lines, *_notes(forgotten.notes)])


def credential_shown(status: CredentialStatus) -> OperationResult:
    """Which credential is used; where there is none that is an error."""
    data = {
        "host": status.host,
        "baseUrl": status.base_url,
        "scheme": status.scheme,
        "found": status.where is not None,
        "source": status.source,
        "where": status.where,
        "expiresAt": status.expires_at,
        "shadows": status.shadows,
        "notes": status.notes,
        "organisations": status.organisations,
    }
    if status.where is None:
        error = CredentialError("credential.missing", f"no credential for {status.host} was found")
        return OperationResult(
            command="auth status",
            data=data,
            status="error",
            errors=[error.as_json()],
            exit_code=Exit.CREDENTIAL,
            human="\n".join([f"No credential for {status.host}.", *_notes(status.notes)]),
        )
    lines = [
        f"Host:       {status.host}",
        f"Credential: {status.where}",
        f"Scheme:     {status.scheme}",
    ]
    if status.expires_at is not None:
        lines.append(f"Expires:    {status.expires_at:%Y-%m-%d %H:%M} UTC")
    lines += [f"Shadowed:   {where}" for where in status.shadows]
    return _result(
        "auth status", data, [*lines, *_seen(status.organisations), *_notes(status.notes)]
    )


def _result(command: str, data: dict[str, Any], lines: Sequence[str]) -> OperationResult:
    return OperationResult(command, data, human="\n".join(lines))


def _notes(notes: Sequence[str]) -> list[str]:
    return [f"Note: {note}." for note in notes]


def _seen(organisations: Sequence[str] | None) -> list[str]:
    if organisations is None:
        return []
    if not organisations:
        return ["The cloud takes it, but it sees no organisation."]
    return [f"The cloud takes it; it sees: {', '.join(organisations)}"]
