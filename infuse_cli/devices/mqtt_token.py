"""MQTT tokens of the organisation's broker: one, or one after the other so that there is always a
good one, in a file or with a command.

A watched token is renewed at two thirds of its life. What fails is tried again, slower and slower,
as long as the token that was handed over last is good; only when that has run out does the watch
end with the error.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from infuse_cli.devices import session as tools
from infuse_cli.devices.secret_file import SecretFile
from infuse_cli.errors import CloudError, InfuseError, Interrupted, UsageError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from infuse_cli import api_types as api
    from infuse_cli.clock import RunClock
    from infuse_cli.settings import Settings

RENEW_AT: Final = 2 / 3
"""Share of its life after which a token is renewed."""

COMMAND_S: Final = 10.0
"""How long a command may take over a token."""

_MIN_TTL_S: Final = 60
_MAX_TTL_S: Final = 86400
_STDERR: Final = 2
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0
_WITHHELD: Final = frozenset({"INFUSE_TOKEN", "INFUSE_REGISTRY_TOKEN"})


@dataclass(frozen=True, slots=True)
class MqttTokenRequest:
    """An MQTT token: for how long in seconds, and who gets it: a private file, a command's standard
    input, or both.

    `timeout_s` is how long the command may take.
    """

    organisation: str | None = None
    ttl_s: int = 3600
    out: Path | None = None
    command: tuple[str, ...] = ()
    timeout_s: float = COMMAND_S

    def check(self) -> None:
        """Raise UsageError for what cannot be, before a token is asked for."""
        if not _MIN_TTL_S <= self.ttl_s <= _MAX_TTL_S:
            raise UsageError(
                "usage.bad-option",
                f"--ttl is {self.ttl_s}, but must be from {_MIN_TTL_S} to {_MAX_TTL_S} seconds",
            )
        if self.command and shutil.which(self.command[0]) is None:
            raise UsageError(
                "usage.bad-option", f"there is no command {self.command[0]!r} to hand the token to"
            )

    def hand_over(self, secret: Secret) -> None:
        """Hand a token over.

        Raises UsageError usage.bad-option for the file, usage.command-failed for the command.
        """
        SecretFile(self.out).write(secret)
        if self.command:
            _run(self.command, secret, self.timeout_s)


@dataclass(frozen=True, slots=True)
class IssuedMqttToken:
    """An MQTT token that was issued for an organisation."""

    organisation_id: str
    secret: Secret
    issued_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRenewed:
    """A watch has handed a new token over; the next is due in `renew_in_s` seconds."""

    token: IssuedMqttToken
    renew_in_s: float


@dataclass(frozen=True, slots=True)
class TokenFailed:
    """A watch could not renew or hand over; it tries again in `retry_in_s` seconds, and the last
    token is good for `good_for_s`.
    """

    organisation_id: str
    error: InfuseError
    retry_in_s: float
    good_for_s: float


@dataclass(frozen=True, slots=True)
class WatchEnd:
    """How a watch ended: `error` is why no good token was left, None after a stop."""

    organisation_id: str
    handed_over: int
    failures: int
    newest: IssuedMqttToken | None
    error: InfuseError | None


def issue_token(settings: Settings, request: MqttTokenRequest) -> IssuedMqttToken:
    """A short-lived token for the organisation's broker, handed over before this returns."""
    request.check()
    with tools.opened(settings) as session:
        owner = session.organisation(request.organisation).id
        token = _issued(owner, session.cloud.mqtt_token(owner, request.ttl_s))
    request.hand_over(token.secret)
    return token


def _issued(owner: str, token: api.MqttToken) -> IssuedMqttToken:
    return IssuedMqttToken(owner, Secret(token.token), token.issued_at, token.expires_at)


def watch_token(
    settings: Settings,
    request: MqttTokenRequest,
    clock: RunClock,
    notify: Callable[[TokenRenewed | TokenFailed], None],
) -> WatchEnd:
    """Keep a token good until the clock is stopped."""
    if request.out is None and not request.command:
        raise UsageError(
            "usage.bad-option",
            "--watch needs somebody to hand the tokens to",
            hint="Give --out FILE, or a command after --.",
        )
    request.check()
    with tools.opened(settings, clock) as session:
        owner = session.organisation(request.organisation).id

        def mint() -> tuple[IssuedMqttToken, float]:
            token = session.cloud.mqtt_token(owner, request.ttl_s)
            life = life_s(token, session.cloud.server_time_offset_s() or 0.0)
            return _issued(owner, token), life

        watch = _Watch(owner, mint, request.hand_over, notify, clock)
        error = watch.run()
    return WatchEnd(owner, watch.handed_over, watch.failures, watch.newest, error)


def _run(command: Sequence[str], secret: Secret, timeout_s: float) -> None:
    """Run a command with the token and a line end on its standard input; without a shell, and
    without our credentials.
    """
    env = {name: value for name, value in os.environ.items() if name not in _WITHHELD}
    # Our standard output is for the results, so what the command prints goes to standard error.
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=_STDERR,
            env=env,
            start_new_session=True,
        )
    except OSError as error:
        raise _failed(command, f"cannot be started: {error.strerror}") from error
    try:
        process.communicate(f"{secret.reveal()}\n".encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise _failed(command, f"did not end within {timeout_s:g} s and was ended") from None
    if process.returncode:
        code = process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise _failed(command, f"ended with {how}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32" and hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()


def _failed(command: Sequence[str], what: str) -> InfuseError:
    return UsageError(
        "usage.command-failed", f"`{command[0]}` {what}, so it may not have the token"
    )


@dataclass(slots=True)
class _Watch:
    """A watch under way.

    Times on the monotonic clock; `good_until` is when the token that was handed over runs out.
    """

    owner: str
    mint: Callable[[], tuple[IssuedMqttToken, float]]
    hand_over: Callable[[Secret], None]
    notify: Callable[[TokenRenewed | TokenFailed], None]
    clock: RunClock
    good_until: float = float("-inf")
    handed_over: int = 0
    failures: int = 0
    newest: IssuedMqttToken | None = None

    def run(self) -> InfuseError | None:
        """Watch until the stop, which is None, or until no good token is left, which is why."""
        pending: _PendingToken | None = None
        tries = 0
        while not self.clock.stop.is_set():
            try:
                if pending is None or self.clock.monotonic() >= pending.ends:
                    pending = self._mint()
                self.hand_over(pending.token.secret)
            except Interrupted:
                return None
            except InfuseError as error:
                tries += 1
                if not self._goes_on(error, tries):
                    return error
                continue
            wait_s = self._record(pending)
            pending, tries = None, 0
            self.clock.wait(wait_s)
        return None

    def _mint(self) -> _PendingToken:
        began = self.clock.monotonic()
        token, life = self.mint()
        return _PendingToken(token, began, began + life)

    def _record(self, given: _PendingToken) -> float:
        """Record and report that a token was handed over; seconds until the next is due."""
        self.good_until, self.newest = given.ends, given.token
        self.handed_over += 1
        renew_at = given.began + (given.ends - given.began) * RENEW_AT
        wait_s = max(0.0, renew_at - self.clock.monotonic())
        self.notify(TokenRenewed(given.token, wait_s))
        return wait_s

    def _goes_on(self, error: InfuseError, tries: int) -> bool:
        self.failures += 1
        left = self.good_until - self.clock.monotonic()
        if left <= 0:
            return False
        wait_s = min(_FIRST_WAIT_S * 2 ** min(tries - 1, 10), _LONGEST_WAIT_S, left)
        self.notify(TokenFailed(self.owner, error, wait_s, left))
        self.clock.wait(wait_s)
        return True


@dataclass(frozen=True, slots=True)
class _PendingToken:
    """A token that nobody has yet."""

    token: IssuedMqttToken
    began: float
    ends: float


def life_s(token: api.MqttToken, offset_s: float) -> float:
    """Seconds that a new token is good for, by the server's own clock.

    Raises CloudError cloud.bad-answer for none.
    """
    start = (
        token.issued_at.timestamp() if token.issued_at else datetime.now(UTC).timestamp() + offset_s
    )
    life = token.expires_at.timestamp() - start
    if life <= 0:
        raise CloudError(
            "cloud.bad-answer", "POST /mqtt/token answered with a token that has expired already"
        )
    return life
