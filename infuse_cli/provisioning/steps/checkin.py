"""check-in: wait until the cloud has seen the board."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from infuse_cli.errors import Interrupted, PolicyError
from infuse_cli.provisioning.step import QueryStep, StepOutput
from infuse_cli.provisioning.steps import token
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.config.model import Profile
    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.records import Write

FIRST_BOOT_WAIT_S = 120.0
_DATE_STEP = timedelta(seconds=2)  # the header Date, which the offset comes of, counts in seconds
OFFLINE_MODES = frozenset({0, 4, 20, 44})
"""Functional modes in which nothing goes on the air: off, flight, LTE off, flight with UICC off."""


class CheckIn(QueryStep):
    """Wait until the registry device has connected, or the cloud has newly heard the device."""

    name: ClassVar[str] = "check-in"
    requires: ClassVar[frozenset[str]] = frozenset({"device"})
    provides: ClassVar[frozenset[str]] = frozenset({"heard"})
    online: ClassVar[bool] = True
    summary: ClassVar[tuple[str, ...]] = ("heard",)

    def is_needed(self, profile: Profile) -> bool:
        """Whether a check-in is waited for."""
        return bool(waits_for(profile))

    def run(self, ctx: BoardContext) -> StepOutput:
        """Poll, amber, up to the profile's waits. Raises PolicyError identity.not-active."""
        heard: dict[str, str] = {}
        for what, wait_s, look in waits(ctx):
            if not self._until(ctx, wait_s, look):
                raise _unheard(ctx, f"{what} was not seen within {wait_s:g} s")
            heard[what] = "seen"
        writes: tuple[Write, ...] = ()
        if "token" in ctx.facts and "registry device ACTIVE" in heard:
            writes = token.retired_writes(
                ctx, ctx.facts.token.intent, "the device has connected", TokenState.CONSUMED
            )
        return StepOutput({"heard": heard}, writes)

    def _until(self, ctx: BoardContext, wait_s: float, look: Callable[[], bool]) -> bool:
        clock = ctx.run.clock
        end = clock.monotonic() + wait_s
        ctx.waiting("for the board's first check-in")
        pause = 0.1
        while not ctx.retry_through_outage(look):
            left = end - clock.monotonic()
            if left <= 0:
                return False
            if clock.wait(min(pause, left)):
                raise Interrupted
            pause = min(pause * 1.5, 1.0)
        return True


def _unheard(ctx: BoardContext, why: str) -> PolicyError:
    """The cause as far as it can be known.

    A board that was found offline is put back there; a token that is spent was on the air.
    No antenna is to blame for either.
    """
    if (mode := ctx.facts.functional_mode) in OFFLINE_MODES:
        return PolicyError(
            "identity.not-active",
            f"{why}: the board was found offline (functional mode {mode}, as another tool may have"
            " left it), and was put back so",
            hint="Reset the board, so that its firmware goes on the air; then run again.",
        )
    if (
        ctx.profile.identity.mode != "first-boot"
        or "token" not in ctx.facts
        or token.is_pending(ctx, ctx.facts.token.token_id)
    ):
        return PolicyError("identity.not-active", why)
    return PolicyError(
        "identity.token-spent",
        f"{why}, but its token was used: the board reached the registry, and the answer with its"
        " certificate was lost on the way or refused by the board",
    )


def waits_for(profile: Profile) -> float:
    """How many seconds a check-in of either kind is waited for at most, 0 for not at all."""
    verify = profile.verify
    first_boot = FIRST_BOOT_WAIT_S if profile.identity.mode == "first-boot" else 0.0
    return max(verify.active_wait_s or first_boot, verify.state_wait_s)


def waits(ctx: BoardContext) -> list[tuple[str, float, Callable[[], bool]]]:
    """Return what to wait for: name, seconds, and the look."""
    verify, mode = ctx.profile.verify, ctx.profile.identity.mode
    rows: list[tuple[str, float, Callable[[], bool]]] = []
    active_s = verify.active_wait_s or (FIRST_BOOT_WAIT_S if mode == "first-boot" else 0.0)
    if active_s and ctx.facts.registry_device is not None:
        rows.append(("registry device ACTIVE", active_s, lambda: token.was_seen(ctx)))
    if verify.state_wait_s:
        rows.append(("device state", verify.state_wait_s, lambda: _has_state(ctx)))
    return rows


def _has_state(ctx: BoardContext) -> bool:
    """Whether the cloud heard the device since this attempt began, by the cloud's own clock.

    An adopted device may have a state from long ago.
    """
    state = ctx.run.cloud.device_state(ctx.facts.device.device_id)
    offset = timedelta(seconds=ctx.run.cloud.server_time_offset_s() or 0.0)
    return state is not None and state.newer_than(ctx.begun() + offset - _DATE_STEP)
