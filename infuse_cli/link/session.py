"""One open serial port with a board on it: pumps conversations, keeps every deadline, notices an
unplug.

Reading blocks in the port with a short time-out, so a byte is handled at once, and the deadline and
the abort event are looked at in between. One thread owns a session for its life.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from infuse_cli import failpoint
from infuse_cli.dialect.base import Heard, LinkState, head
from infuse_cli.dialect.noise import classify_noise
from infuse_cli.errors import BoardError, Interrupted
from infuse_cli.link.transcript import Transcript

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from infuse_cli.dialect.base import Codec, Conversation
    from infuse_cli.types import Command, Reply

T = TypeVar("T")

POLL_S: Final = 0.05
"""Longest that a read blocks; the port is opened with it."""

PROBES_AFTER_REBOOT: Final = 9
PROBES_AFTER_REFUSAL: Final = 2
"""Probes on top for a board that refused one: it is alive, and was deaf to the AT behind what it
refused.
"""

QUIET_S: Final = 0.05
QUIET_LIMIT_S: Final = 0.5
REBOOT_GRACE_S: Final = 1.5
"""After boot text an answer that is not there by then will not come."""

CHUNK: Final = 1024
"""Most bytes of one write: a certificate takes a call or two, and a stop is heard within a tenth of
a second of wire.
"""

_MOST_AT_ONCE: Final = 4096
_MOST_DRAINED: Final = 256 * 1024


class Port(Protocol):
    """What a session needs of a pyserial port, opened with `timeout=POLL_S` and a write
    time-out.
    """

    @property
    def in_waiting(self) -> int: ...  # noqa: D102
    def read(self, size: int = 1, /) -> bytes: ...  # noqa: D102
    def write(self, data: bytes, /) -> int | None: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class SerialLink:
    """An open port; see `ports.BoardLink`."""

    def __init__(self, handle: Port, codec: Codec, *, port: str, abort: threading.Event) -> None:
        from serial import SerialTimeoutException

        self.current_step = ""
        self._stalls: Final[type[OSError]] = SerialTimeoutException
        self._handle: Final = handle
        self._read_some: Final[Callable[[int], bytes]] = getattr(
            handle, "read_some", self._read_by_two
        )
        self._codec: Final = codec
        self._port: Final = port
        self._abort: Final = abort
        self._transcript: Final = Transcript(time.monotonic)
        self._sent = 0
        self._gone: BoardError | None = None
        self._noise: bytes | None = None

    @property
    def port(self) -> str:
        """Device path or URL as given."""
        return self._port

    @property
    def dialect(self) -> str:
        """Name of the dialect that the board was found to speak."""
        return self._codec.name

    def start(self) -> None:
        """Get into step with the board.

        Raises serial.silent within 2 s when nothing answers, saying what was heard instead.
        """
        self._noise = b""
        self._drain()
        begun = time.monotonic()
        if not self._resync():
            took, heard = time.monotonic() - begun, classify_noise(self._noise)
            raise BoardError(
                "serial.silent",
                f"nothing on {self._port} answered {self._codec.questions} within {took:.1f}"
                f" s{heard}",
                details={"heard": heard.removeprefix("; ")},
            )
        self._noise = None

    def run(self, conversation: Conversation[T]) -> T:
        """Pump a conversation to its end; see `ports.BoardLink.run`."""
        try:
            command = next(conversation)
            while True:
                command = conversation.send(self._exchange(command))
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            conversation.close()

    def transcript(self) -> str:
        """What went over the wire, secrets masked."""
        return self._transcript.text()

    def close(self) -> None:
        """Release the port; safe to call twice."""
        if self._codec.state is not LinkState.CLOSED:
            self._codec.close()
            self._release()

    def _exchange(self, command: Command) -> Reply:
        reply = self._once(command)
        if not (reply.ok and command.needs_info and not reply.info):
            return reply
        self._transcript.remark(
            "OK without the line that was asked for: out of step, or bytes lost"
        )
        self._codec.desync()
        if command.effect:
            raise BoardError(
                "serial.protocol",
                f"{head(command)} on {self._port} was answered OK, but without the "
                "line that it promises",
                unknown=True,
            )
        return self._once(command)

    def _once(self, command: Command) -> Reply:
        self._sent = 0
        try:
            self._get_ready(command)
            data = self._codec.encode(command)
            self._transcript.sent(command)
            self._send(command, data)
            return self._await(command)
        except OSError as exc:
            raise self._unplugged(command, exc) from exc

    def _get_ready(self, command: Command) -> None:
        if self._gone is not None:
            raise self._gone
        if self._codec.state is LinkState.IDLE:
            self._drain()
        if self._codec.state is LinkState.DESYNC and not self._resync():
            raise BoardError(
                "serial.timeout",
                f"the board on {self._port} no longer answers {self._codec.question};"
                f" {head(command)} was not sent",
            )

    def _send(self, command: Command, data: bytes) -> None:
        halved = command.effect and failpoint.armed()
        for chunk in _chunks(data, halved=halved):
            self._check_abort(command)
            self._write(command, chunk)
            if halved and self._sent == len(data) // 2:
                self._fail_point()

    def _write(self, command: Command, chunk: bytes) -> None:
        try:
            self._handle.write(chunk)
        except self._stalls:
            self._codec.desync()
            raise BoardError(
                "serial.timeout",
                f"{self._port} takes no more bytes of {head(command)}: flow control "
                "holds, or the board is off",
                unknown=command.effect,
            ) from None
        self._sent += len(chunk)

    def _fail_point(self) -> None:
        self._handle.flush()
        failpoint.hit(f"wire:{self.current_step}")

    def _await(self, command: Command) -> Reply:
        deadline = time.monotonic() + command.timeout_s
        rebooting = False
        while (reply := self._codec.next_reply()) is None:
            self._check_abort(command)
            if self._codec.rebooted and not rebooting:
                rebooting = True
                deadline = min(deadline, time.monotonic() + REBOOT_GRACE_S)
            if time.monotonic() >= deadline:
                return self._late(command, rebooting=rebooting)
            self._pump()
        return reply

    def _late(self, command: Command, *, rebooting: bool) -> Reply:
        if rebooting:
            self._transcript.remark("the board rebooted and will not answer this")
            reply = self._codec.abandon()
            if self._resync(PROBES_AFTER_REBOOT):
                return reply
        else:
            self._codec.desync()
        self._transcript.remark(f"no answer within {command.timeout_s:g} s")
        raise BoardError(
            "serial.timeout",
            f"the board on {self._port} did not answer {head(command)} within "
            f"{command.timeout_s:g} s",
            unknown=command.effect,
        )

    def _pump(self) -> bytes:
        """Hand what has come, waiting at most POLL_S for it, to the codec."""
        data = self._read_some(_MOST_AT_ONCE)
        if data:
            self._take(data)
        return data

    def _read_by_two(self, most: int) -> bytes:
        """For ports that wait until as much has come as was asked for: one byte, then what else is
        there.
        """
        data = self._handle.read(1)
        if data and (more := self._handle.in_waiting):
            data += self._handle.read(min(more, most))
        return data

    def _drain(self) -> None:
        """Take what has come already, without waiting."""
        taken = 0
        while taken < _MOST_DRAINED and (
            waiting := self._handle.in_waiting
        ):  # a socket only ever says that there is one
            data = self._handle.read(min(waiting, _MOST_AT_ONCE))
            taken += max(1, len(data))
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._transcript.received(data)
        self._codec.receive(data)
        if self._noise is not None and len(self._noise) < _MOST_AT_ONCE:
            self._noise += data

    def _resync(self, attempts: int | None = None) -> bool:
        made, least = 0, attempts or self._codec.probes
        most = least
        while made < most:
            made += 1
            heard = self._probe()
            if heard in {Heard.NOTHING, Heard.REFUSED}:
                most = max(most, self._patience(least, heard))
                continue
            if heard is Heard.NOISY:
                self._quiet_down()
            self._codec.settle()
            return True
        self._codec.desync()
        return False

    def _patience(self, attempts: int, heard: Heard) -> int:
        """How many probes a board gets that is not silent: one that boots, or that refused what it
        heard of one.
        """
        if self._codec.rebooted:
            return PROBES_AFTER_REBOOT
        return attempts + PROBES_AFTER_REFUSAL if heard is Heard.REFUSED else attempts

    def _probe(self) -> Heard:
        data = self._codec.probe()
        self._transcript.remark(f"asking {self._codec.question}")
        try:
            self._handle.write(data)
        except self._stalls:
            return Heard.NOTHING
        return self._hear_probe()

    def _hear_probe(self) -> Heard:
        deadline = time.monotonic() + self._codec.probe_s
        while (heard := self._codec.probed()) in {
            Heard.NOTHING,
            Heard.REFUSED,
        } and time.monotonic() < deadline:
            self._check_abort(None)
            if not self._pump() and heard is Heard.REFUSED:
                break  # what could answer the AT behind it would be here by now
        if heard is Heard.NOTHING:
            # on a machine that was busy elsewhere the answer may have come in time and not have
            # been read
            self._drain()
            heard = self._codec.probed()
        return heard

    def _quiet_down(self) -> None:
        """Wait until nothing came for QUIET_S, so that no late answer is taken for the next one.

        A board that logs without end is not waited for longer than QUIET_LIMIT_S.
        """
        now = time.monotonic()
        limit, quiet = now + QUIET_LIMIT_S, now + QUIET_S
        while (now := time.monotonic()) < min(limit, quiet):
            if self._pump():
                quiet = time.monotonic() + QUIET_S

    def _check_abort(self, command: Command | None) -> None:
        if self._abort.is_set():
            if self._codec.state is not LinkState.CLOSED:
                self._codec.desync()
            raise Interrupted(
                "stopped at once by the operator",
                unknown=command is not None and command.effect and self._sent > 0,
            )

    def _unplugged(self, command: Command, exc: OSError) -> BoardError:
        self._transcript.remark(f"the port went away: {exc}")
        self.close()
        self._gone = BoardError(
            "serial.unplugged", f"{self._port} went away; nothing was under way"
        )
        return BoardError(
            "serial.unplugged",
            f"{self._port} went away during {head(command)}",
            unknown=command.effect and self._sent > 0,
            details={"reason": str(exc)},
        )

    def _release(self) -> None:
        try:
            self._handle.close()
        except OSError as exc:
            self._transcript.remark(f"closing: {exc}")


def _chunks(data: bytes, *, halved: bool) -> Iterator[bytes]:
    """Pieces of at most CHUNK bytes; `halved`: one of them ends at half of the bytes."""
    half = len(data) // 2 if halved else len(data)
    for part in (data[:half], data[half:]):
        for start in range(0, len(part), CHUNK):
            yield part[start : start + CHUNK]
