"""`provision --replaces` and `key rotate`: a provisioning, and what it takes the place of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from infuse_cli.cli import line_run
from infuse_cli.cli.context import current
from infuse_cli.cli.views import retirement as views
from infuse_cli.config.source import load_profile
from infuse_cli.devices import replacement
from infuse_cli.devices.replacement import BoardEnd
from infuse_cli.errors import UsageError
from infuse_cli.provisioning.request import RunSetup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.provisioning.request import ProvisionRequest


def replacing(text: str, request: ProvisionRequest, *, simulated: bool) -> OperationResult:
    """Provision the board on the port in place of an old one, which is retired once it is green."""
    if simulated or (len(request.ports) != 1 and request.count != 1):
        raise UsageError(
            "usage.bad-option", "--replaces is for one board: name its --port, or give --count 1"
        )
    if request.options.dry_run:
        raise UsageError(
            "usage.bad-option",
            "--replaces changes the old device in the cloud, so it does not go with --dry-run",
        )
    results: list[OperationResult] = []

    def provision(before: Callable[[], None]) -> list[BoardEnd]:
        results.append(line_run.provision(request, before))
        return _ends(results[0])

    settings = current().settings
    done = replacement.replace_by_provisioning(settings, text, request.ports, provision)
    return views.replaced(results[0], done)


def rotate(text: str, request: ProvisionRequest, reason: str) -> OperationResult:
    """Give a board that PASSed a new key, certificate and token."""
    settings = current().settings
    results: list[OperationResult] = []

    def provision(
        before: Callable[[], None], *, uuid: str, ports: Sequence[str], again: bool
    ) -> list[BoardEnd]:
        loaded = load_profile(settings.profile, settings.env)
        options = dataclasses.replace(request.options, again=again)
        setup = RunSetup(
            "key rotate",
            loaded.profile,
            dataclasses.replace(request, options=options),
            overridden=loaded.overridden,
            only=frozenset({uuid}),
            before=before,
        )
        results.append(line_run.run(setup, ports))
        return _ends(results[0])

    done = replacement.rotate(settings, text, request.ports, reason, provision)
    return views.rotated(results[0], done)


def _ends(result: OperationResult) -> list[BoardEnd]:
    return [
        BoardEnd(
            None if board["board"] is None else board["board"]["uuid"],
            board["deviceId"],
            board["result"] == "PASS",
        )
        for board in result.data["boards"]
    ]
