"""`infuse mqtt token --watch`: a token that is always good, in a file or with a command, however
the cloud fares.

Renewed at two thirds of its life. What fails is tried again, slower and slower, as long as the
token that was handed over last is good; only when that has run out does the watch end with the
error.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult, json_line
from infuse_cli.cli.signals import StopOnSignals
from infuse_cli.cli.views.events import seconds
from infuse_cli.clock import RunClock
from infuse_cli.devices import session as tools
from infuse_cli.errors import CloudError, InfuseError, Interrupted, UsageError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli import api_types as api

RENEW_AT: Final = 2 / 3
"""Share of its life after which a token is renewed."""

COMMAND_S: Final = 10.0
"""How long a command may take over a token."""

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0
_WITHHELD: Final = frozenset({"INFUSE_TOKEN", "INFUSE_REGISTRY_TOKEN"})


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who gets each token: a private file, a command's standard input, or both."""

    place: tools.Destination
    command: tuple[str, ...] = ()
    timeout_s: float = COMMAND_S

    def check(self) -> None:
        """Raise UsageError for a command that is not there, before a token is asked for."""
        if self.command and shutil.which(self.command[0]) is None:
            raise UsageError(
                "usage.bad-option", f"there is no command {self.command[0]!r} to hand the token to"
            )

    def give(self, secret: Secret) -> None:
        """Hand a token over.

        Raises UsageError usage.bad-option for the file, usage.command-failed for the command.
        """
        self.place.take(secret)
        if self.command:
            _run(self.command, secret, self.timeout_s)


def _run(command: Sequence[str], secret: Secret, timeout_s: float) -> None:
    """Run a command with the token and a line end on its standard input; without a shell, and
    without our credentials.
    """
    env = {name: value for name, value in os.environ.items() if name not in _WITHHELD}
    # Our standard output is for the results; what the command prints is beside the point.
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno(),
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
        how = (
            f"signal {-process.returncode}"
            if process.returncode < 0
            else f"exit code {process.returncode}"
        )
        raise _failed(command, f"ended with {how}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()


def _failed(command: Sequence[str], what: str) -> InfuseError:
    return UsageError(
        "usage.command-failed", f"`{command[0]}` {what}, so it may not have the token"
    )


@dataclass(slots=True)
class Watch:
    """A watch under way.

    Times on the monotonic clock; `held_until` is when the token that was handed over runs out.
    """

    mint: Callable[[], tuple[api.MqttToken, float]]
    give: Callable[[Secret], None]
    tell: Callable[[str, dict[str, Any], InfuseError | None], None]
    clock: RunClock
    held_until: float = float("-inf")
    handed: int = 0
    failures: int = 0
    newest: dict[str, Any] = field(default_factory=dict)

    def run(self) -> InfuseError | None:
        """Watch until the stop, which is None, or until no good token is left, which is why."""
        waiting: _Waiting | None = None
        tries = 0
        while not self.clock.stop.is_set():
            try:
                if waiting is None or self.clock.monotonic() >= waiting.ends:
                    waiting = self._minted()
                self.give(waiting.secret)
            except Interrupted:
                return None
            except InfuseError as error:
                tries += 1
                if not self._goes_on(error, tries):
                    return error
                continue
            wait_s = self._handed_over(waiting)
            waiting, tries = None, 0
            self.clock.wait(wait_s)
        return None

    def _minted(self) -> _Waiting:
        began = self.clock.monotonic()
        token, life_s = self.mint()
        return _Waiting(Secret(token.token), token, began, began + life_s)

    def _handed_over(self, what: _Waiting) -> float:
        """Note and tell it; seconds until the next is due."""
        self.held_until, self.handed = what.ends, self.handed + 1
        wait_s = max(0.0, what.began + (what.ends - what.began) * RENEW_AT - self.clock.monotonic())
        self.newest = {
            "issuedAt": what.token.issued_at,
            "expiresAt": what.token.expires_at,
            "sha256": what.secret.sha256(),
        }
        self.tell("token-renewed", {**self.newest, "renewInS": round(wait_s, 1)}, None)
        return wait_s

    def _goes_on(self, error: InfuseError, tries: int) -> bool:
        self.failures += 1
        left = self.held_until - self.clock.monotonic()
        if left <= 0:
            return False
        wait_s = min(_FIRST_WAIT_S * 2 ** min(tries - 1, 10), _LONGEST_WAIT_S, left)
        self.tell("token-failed", {"retryInS": round(wait_s, 1), "goodForS": round(left, 1)}, error)
        self.clock.wait(wait_s)
        return True


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A token that nobody has yet."""

    secret: Secret
    token: api.MqttToken
    began: float
    ends: float


def watched(organisation: str | None, ttl_s: int, receiver: Receiver) -> OperationResult:
    """Keep a token good until a signal comes."""
    if receiver.place.reveal:
        raise UsageError(
            "usage.bad-option", "--watch hands tokens to a file or a command, not to the terminal"
        )
    if receiver.place.out is None and not receiver.command:
        raise UsageError(
            "usage.bad-option",
            "--watch needs somebody to hand the tokens to",
            hint="Give --out FILE, or a command after --.",
        )
    receiver.check()
    clock = RunClock()
    with StopOnSignals(clock), tools.opened(clock) as session:
        owner = session.organisation(organisation)

        def mint() -> tuple[api.MqttToken, float]:
            token = session.cloud.mqtt_token(owner.id, ttl_s)
            return token, life_s(token, session.cloud.server_time_offset_s() or 0.0)

        watch = Watch(mint, receiver.give, _teller(owner.id), clock)
        return _ended(watch, watch.run(), owner.id, receiver)


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


def _ended(
    watch: Watch, error: InfuseError | None, owner: str, receiver: Receiver
) -> OperationResult:
    data = {
        "organisationId": owner,
        "handedOver": watch.handed,
        "failures": watch.failures,
        "out": receiver.place.out,
        **watch.newest,
    }
    _teller(owner)("run-ended", {"handedOver": watch.handed, "failures": watch.failures}, error)
    many = "1 token was" if watch.handed == 1 else f"{watch.handed} tokens were"
    lines = [f"{many} handed over."]
    if watch.newest:
        lines.append(
            "The last one is good until"
            f" {watch.newest['expiresAt'].astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."
        )
    if error is None:
        return OperationResult("mqtt token", data, human="\n".join(lines), streamed=True)
    status: Any = "partial" if watch.handed else "error"
    return OperationResult(
        "mqtt token",
        data,
        status=status,
        errors=[error.as_json()],
        exit_code=int(error.exit),
        human="\n".join(lines),
        streamed=True,
    )


def _teller(owner: str) -> Callable[[str, dict[str, Any], InfuseError | None], None]:
    """Tells what happened: a JSON line for programs, a line on stderr for people; never the
    token.
    """
    output = context.current().output

    def tell(event: str, data: dict[str, Any], error: InfuseError | None) -> None:
        now = datetime.now(UTC)
        if output == "jsonl":
            told = None if error is None else error.as_json()
            line = {
                "ts": now,
                "run": None,
                "slot": None,
                "board": None,
                "event": event,
                "step": None,
                "state": None,
                "ms": None,
                "error": told,
                "data": {"organisationId": owner, **data},
            }
            sys.stdout.write(json_line(line) + "\n")
            sys.stdout.flush()
        elif output == "human" and event != "run-ended":
            sys.stderr.write(f"{now.astimezone():%H:%M:%S} {_sentence(data, error)}\n")
            sys.stderr.flush()

    return tell


def _sentence(data: dict[str, Any], error: InfuseError | None) -> str:
    if error is None:
        return (
            f"token handed over, good until {data['expiresAt'].astimezone():%Y-%m-%d %H:%M:%S}; the"
            f" next in {_span(data['renewInS'])}"
        )
    return (
        f"{error.code}: {error.message}; tried again in {_span(data['retryInS'])}, the last token"
        f" is good for {_span(data['goodForS'])}"
    )


def _span(duration_s: float) -> str:
    return seconds(duration_s * 1000)
