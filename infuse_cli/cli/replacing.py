"""`provision --replaces` and `key rotate`: a provisioning, and what it takes the place of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from infuse_cli.cli.context import current
from infuse_cli.cli.views import retirement as views
from infuse_cli.devices import replacement
from infuse_cli.devices.replacement import BoardEnd
from infuse_cli.errors import UsageError
from infuse_cli.provisioning import line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.provisioning.line import Asked


def replacing(text: str, asked: Asked) -> OperationResult:
    """Provision the board on the port in place of an old one, which is retired once it is green."""
    if asked.sim is not None or (len(asked.ports) != 1 and asked.count != 1):
        raise UsageError(
            "usage.bad-option", "--replaces is for one board: name its --port, or give --count 1"
        )
    if asked.options.dry_run:
        raise UsageError(
            "usage.bad-option",
            "--replaces changes the old device in the cloud, so it does not go with --dry-run",
        )
    results: list[OperationResult] = []

    def provision(before: Callable[[], None]) -> list[BoardEnd]:
        results.append(line.provision(asked, before))
        return _ends(results[0])

    done = replacement.replace_by_provisioning(current().settings, text, asked.ports, provision)
    return views.replaced(results[0], done)


def rotate(text: str, asked: Asked, reason: str) -> OperationResult:
    """Give a board that PASSed a new key, certificate and token."""
    settings = current().settings
    results: list[OperationResult] = []

    def provision(
        before: Callable[[], None], *, uuid: str, ports: Sequence[str], again: bool
    ) -> list[BoardEnd]:
        loaded = line.load_profile(settings.profile, settings.env)
        run = line.Run(
            "key rotate",
            loaded.profile,
            settings.home,
            settings.env,
            dataclasses.replace(asked, options=dataclasses.replace(asked.options, again=again)),
            overridden=loaded.overridden,
            only={uuid},
            before=before,
        )
        results.append(run.execute(ports))
        return _ends(results[0])

    done = replacement.rotate(settings, text, asked.ports, reason, provision)
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
