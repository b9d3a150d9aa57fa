"""The virtual cloud on loopback sockets: HTTP and the MQTT broker in one asyncio loop.

It runs in a thread (`ServerThread`), or in a process of its own (`ServerProcess`), so that many
boards at 115200 don't wait for the interpreter lock. The process ends when its stdin closes, so it
never outlives its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import uvicorn

from infuse_cli.errors import CloudError
from infuse_cli.sim.cloud_app import CloudOptions, World, build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.sim.broker import BoardBroker

START_S: Final = 30.0
STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the virtual cloud is. `root_pem` is the root under its broker's certificate."""

    port: int
    broker_port: int
    root_pem: str

    @property
    def base_url(self) -> str:
        """URL of both APIs; the registry's paths begin with /api/v1."""
        return f"http://127.0.0.1:{self.port}"


class _Server(uvicorn.Server):
    """Waits for its end instead of looking ten times a second, and lets nothing that is under way
    delay it.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: Final = asyncio.get_running_loop()
        self._ending: Final = asyncio.Event()

    async def main_loop(self) -> None:
        """Serve until `end`."""
        await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut every connection."""
        del sockets
        for listening in self.servers:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def end(self) -> None:
        """Stop serving; from any thread."""
        self.should_exit = self.force_exit = True
        self._loop.call_soon_threadsafe(self._ending.set)


class ServerThread:
    """The virtual cloud in a thread of this process.

    `roots_pem`: whose clients may check in, beside the cloud's own.
    """

    def __init__(self, options: CloudOptions, roots_pem: Sequence[str] = ()) -> None:
        self.world: Final = World(options)
        self._roots: Final = (*roots_pem, self.world.authority.root_pem)
        self._ready: Final[Future[Addresses]] = Future()
        self._server: _Server | None = None
        self._thread: Final = threading.Thread(target=self._run, name="sim-cloud", daemon=True)

    def start(self) -> Addresses:
        """Listen and serve. Raises OSError when no port can be had."""
        self._thread.start()
        return self._ready.result(timeout=START_S)

    def stop(self) -> None:
        """Stop serving, cutting what is under way; safe to call twice."""
        if self._server is not None:
            self._server.end()
            self._thread.join(timeout=STOP_S)
            self._server = None

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        with _listener() as plain, _listener() as tls:
            self._server = _uvicorn(self.world)
            self._ready.set_result(
                Addresses(
                    plain.getsockname()[1], tls.getsockname()[1], self.world.authority.root_pem
                )
            )
            # Nobody waits for the broker's code to be read in: who connects before waits in the
            # socket's queue.
            opening = asyncio.create_task(self._open_broker(tls))
            await self._server.serve(sockets=[plain])
            await (await opening).end()

    async def _open_broker(self, listening: socket.socket) -> BoardBroker:
        broker = await asyncio.to_thread(importlib.import_module, "infuse_cli.sim.broker")
        context = broker.server_context(*self.world.authority.server(), self._roots)
        opened: BoardBroker = broker.BoardBroker(self.world.registry, self.world.clock, context)
        await opened.start(listening)
        return opened


class ServerProcess:
    """The virtual cloud in a process of its own, on the same interpreter."""

    def __init__(self, options: CloudOptions, roots_pem: Sequence[str] = ()) -> None:
        self._config: Final = json.dumps({"options": asdict(options), "roots": list(roots_pem)})
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Addresses:
        """Start the process and wait until it listens.

        Raises CloudError cloud.unreachable when it does not.
        """
        command = [sys.executable, "-m", "infuse_cli.sim.cloud_server"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        _stream(self._process.stdin).write(self._config + "\n")
        _stream(self._process.stdin).flush()
        line = _stream(self._process.stdout).readline()
        if not line:
            self.stop()
            raise CloudError("cloud.unreachable", "the virtual cloud's process did not start")
        return Addresses(**json.loads(line))

    def stop(self) -> None:
        """Close its stdin, which ends it; safe to call twice."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(BrokenPipeError):
            _stream(process.stdin).close()
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=STOP_S)
        _stream(process.stdout).close()


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # noqa: S101 - Popen was asked for a pipe
    return stream


def _listener() -> socket.socket:
    # Named as TCP: asyncio switches Nagle's algorithm off only then, and with it every second
    # answer costs 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(256)
    return listening


def _uvicorn(world: World) -> _Server:
    config: Any = uvicorn.Config(
        build(world),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        date_header=False,
        server_header=False,
    )
    return _Server(config)


def main() -> None:
    """The process: options as one line of JSON on stdin, addresses as one line on stdout, then
    serve until stdin closes.
    """
    # A Ctrl-C meant for the parent must not take the cloud away from boards that are being
    # finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given = json.loads(sys.stdin.readline())
    options = given["options"]
    options["organisations"] = tuple(options["organisations"])
    server = ServerThread(CloudOptions(**options), given["roots"])
    sys.stdout.write(json.dumps(asdict(server.start())) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
