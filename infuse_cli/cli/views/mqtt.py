"""Results of `infuse mqtt`, and what a watch reports while it lasts."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.context import current
from infuse_cli.cli.result import OperationResult, json_line
from infuse_cli.cli.views import cloud as views
from infuse_cli.cli.views.ca import certificate_data
from infuse_cli.cli.views.events import seconds
from infuse_cli.devices.mqtt_token import TokenRenewed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from infuse_cli.devices.broker_check import BrokerCheck
    from infuse_cli.devices.mqtt_token import IssuedMqttToken, TokenFailed, WatchEnd
    from infuse_cli.errors import InfuseError


def issued(result: IssuedMqttToken, out: Path | None, *, reveal: bool) -> OperationResult:
    """`mqtt token`."""
    data = {"organisationId": result.organisation_id, **_token(result), "out": out}
    lines = views.secret_lines(result.secret, "MQTT token", out=out, reveal=reveal)
    lines.append(f"It expires at {_utc(result.expires_at)}.")
    return OperationResult("mqtt token", data, human="\n".join(lines))


def watch_ended(result: WatchEnd, out: Path | None) -> OperationResult:
    """The end of `mqtt token --watch`."""
    counts = {"handedOver": result.handed_over, "failures": result.failures}
    _write_line(result.organisation_id, "run-ended", counts, result.error)
    data = {"organisationId": result.organisation_id, **counts, "out": out}
    many = "1 token was" if result.handed_over == 1 else f"{result.handed_over} tokens were"
    lines = [f"{many} handed over."]
    if result.newest is not None:
        data |= _token(result.newest)
        lines.append(f"The last one is good until {_utc(result.newest.expires_at)}.")
    shown = OperationResult("mqtt token", data, human="\n".join(lines), streamed=True)
    if result.error is None:
        return shown
    return views.with_error(shown, result.error, partial=bool(result.handed_over))


def report(event: TokenRenewed | TokenFailed) -> None:
    """Report what a watch did: a JSON line for programs, a line on stderr for people; never the
    token.
    """
    error = None
    if isinstance(event, TokenRenewed):
        name, owner = "token-renewed", event.token.organisation_id
        data = {**_token(event.token), "renewInS": round(event.renew_in_s, 1)}
        text = (
            "token handed over, good until"
            f" {event.token.expires_at.astimezone():%Y-%m-%d %H:%M:%S}; the next in"
            f" {_span(event.renew_in_s)}"
        )
    else:
        name, owner, error = "token-failed", event.organisation_id, event.error
        data = {"retryInS": round(event.retry_in_s, 1), "goodForS": round(event.good_for_s, 1)}
        text = (
            f"{error.code}: {error.message}; tried again in {_span(event.retry_in_s)}, the last"
            f" token is good for {_span(event.good_for_s)}"
        )
    _write_line(owner, name, data, error)
    if current().output == "human":
        sys.stderr.write(f"{datetime.now(UTC).astimezone():%H:%M:%S} {text}\n")
        sys.stderr.flush()


def _write_line(owner: str, event: str, data: dict[str, Any], error: InfuseError | None) -> None:
    if current().output != "jsonl":
        return
    line = {
        "ts": datetime.now(UTC),
        "run": None,
        "slot": None,
        "board": None,
        "event": event,
        "step": None,
        "state": None,
        "ms": None,
        "error": None if error is None else error.as_json(),
        "data": {"organisationId": owner, **data},
    }
    sys.stdout.write(json_line(line) + "\n")
    sys.stdout.flush()


def _token(token: IssuedMqttToken) -> dict[str, Any]:
    return {
        "issuedAt": token.issued_at,
        "expiresAt": token.expires_at,
        "sha256": token.secret.sha256(),
    }


def _span(duration_s: float) -> str:
    return seconds(duration_s * 1000)


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def checked(result: BrokerCheck) -> OperationResult:
    """`mqtt check`."""
    facts = {step: dict(values) for step, values in result.facts.items()}
    for values in facts.values():
        if "certificate" in values:
            values["certificate"] = certificate_data(values["certificate"])
    data: dict[str, Any] = {
        "host": result.host,
        "port": result.port,
        "serverCa": result.server_ca,
        **facts,
        "proven": list(result.proven),
    }
    lines = [f"Broker {result.host}:{result.port}"]
    lines += [f"  proven    {_PROVEN[step](facts)}" for step in result.proven]
    taken = "the token"
    client = result.client
    if client is not None:
        data["client"] = {
            "commonName": result.name,
            "serial": client.serial,
            "sha256": client.sha256,
            "notAfter": client.not_after,
        }
        lines += [
            f"  recorded  CN={result.name}, good until {client.not_after:%Y-%m-%d %H:%M} UTC",
            f"            serial {client.serial}",
        ]
        taken = "what this line makes"
    if result.error is None:
        text = "\n".join([*lines, f"The broker takes {taken}."])
        return OperationResult("mqtt check", data, human=text)
    return views.with_error(
        OperationResult("mqtt check", data, human="\n".join(lines)), result.error
    )


def _tls_line(facts: dict[str, dict[str, Any]]) -> str:
    tls = facts["tls"]
    return (
        f"{tls['version']}; its certificate is trusted, for this name, good until"
        f" {tls['certificate']['notAfter']:%Y-%m-%d}"
    )


_PROVEN: Final[dict[str, Callable[[dict[str, dict[str, Any]]], str]]] = {
    "tcp": lambda facts: f"it is there, at {facts['tcp']['address']}",
    "tls": _tls_line,
    "certificate": lambda _facts: "it lets in a certificate of this bench's CA, and answers a ping",
    "token": lambda _facts: "it lets in who has the MQTT token, and answers a ping",
    "closed": lambda _facts: "it keeps out a client without a certificate",
}
