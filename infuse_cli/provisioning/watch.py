"""A run that watches: where boards are looked for, and the keyboard beside them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from infuse_cli.cli.keyboard import Keyboard
from infuse_cli.cli.scanning import announce
from infuse_cli.link.hotplug import NamedPorts, UsbPorts
from infuse_cli.link.scanner import Scanner
from infuse_cli.provisioning.hot_plug import Shift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.clock import RunClock
    from infuse_cli.config.bench import Bench
    from infuse_cli.ports import Lookout
    from infuse_cli.provisioning.engine import BoardResult
    from infuse_cli.provisioning.fleet import Fleet


def work(
    fleet: Fleet, ports: Sequence[str], bench: Bench, clock: RunClock, *, count: int | None
) -> tuple[list[BoardResult], bool]:
    """Take boards as they come; the results, and whether a person ended the shift with no board in
    hand.
    """
    deps = fleet.deps
    shift = Shift(
        fleet,
        _lookout(fleet, ports, bench),
        count=count,
        by_answer=deps.profile.board.presence == "answer",
    )
    with ExitStack() as stack:
        scan = None if deps.labels is None else deps.labels.scan
        keyboard = stack.enter_context(Keyboard(stop=clock.stop.set, line=scan))
        clock.before_leaving = keyboard.put_back
        if scan is not None and bench.scanner is not None and bench.scanner.port is not None:
            stack.enter_context(
                Scanner(
                    bench.scanner.port,
                    bench.scanner.baud,
                    suffix=bench.scanner.suffix,
                    line=scan,
                    trouble=lambda why: announce(
                        deps, "scan-refused", None, {"text": f"the scanner: {why}"}
                    ),
                )
            )
        results = shift.run()
    return results, clock.stop.is_set() and not shift.interrupted


def _lookout(fleet: Fleet, ports: Sequence[str], bench: Bench) -> Lookout:
    if ports:
        return NamedPorts(ports)
    never = () if bench.scanner is None or bench.scanner.port is None else (bench.scanner.port,)
    return UsbPorts(fleet.deps.profile.board.usb, bench.slots, never)
