"""A cloud that misbehaves as told, on a loopback socket or through respx, and its clients."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httpcore
import httpx
import pytest
import respx

from infuse_cli.cloud.build import connect, connect_registry
from infuse_cli.config.model import Cloud, Registry
from infuse_cli.types import Secret

TOKEN = "legacy-admin-token-7731"


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self):
        return urlsplit(self.target).path

    @property
    def query(self):
        return {key: values[0] for key, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def call(self):
        return f"{self.method} {self.path}"


@dataclass
class Proper:
    """An action that answers properly, on a socket or through respx."""

    status: int
    headers: dict[str, str]
    content: bytes

    def __call__(self, sock, request):
        if sock is None:
            body = httpx.ByteStream(self.content)
            return httpx.Response(self.status, headers=self.headers, stream=body)
        lines = [
            f"HTTP/1.1 {self.status} X",
            f"Content-Length: {len(self.content)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + self.content)
        return True


def answer(status=200, body=None, *, headers=None, raw=None):
    """An action that answers properly."""
    content = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
    return Proper(status, headers or {}, content)


def send_then_drop(data=b""):
    """An action that sends these bytes and closes the connection."""

    def act(sock, request):
        if sock is None:
            raise httpcore.RemoteProtocolError("Server disconnected without sending a response.")
        sock.sendall(data)
        return False

    return act


@dataclass
class Server:
    """Takes one action of `script` a request, then `otherwise` for all that follow."""

    script: list = field(default_factory=list)
    otherwise: object = field(default_factory=lambda: answer(200, []))
    requests: list[Request] = field(default_factory=list)
    tls: object = None
    refused: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def start(self, port=0, host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family)
        self.listener.settimeout(0.02)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.threads = [threading.Thread(target=self._accept)]
        self.lock = threading.Lock()
        self.threads[0].start()
        return self

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(5)
        self.listener.close()

    def calls(self):
        return [request.call for request in self.requests]

    def _accept(self):
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._serve, args=(sock,))
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock):
        if self.tls is not None:
            try:
                sock = self.tls.wrap_socket(sock, server_side=True)
            except OSError:
                sock.close()
                self.refused += 1
                return
        sock.settimeout(0.02)
        with sock:
            buffer = b""
            while True:
                request, buffer = self._read(sock, buffer)
                if request is None:
                    return
                with self.lock:
                    self.requests.append(request)
                    action = self.script.pop(0) if self.script else self.otherwise
                try:
                    if not action(sock, request):
                        return
                except OSError:
                    return

    def _read(self, sock, buffer):
        while b"\r\n\r\n" not in buffer:
            more = self._more(sock)
            if not more:
                return None, b""
            buffer += more
        head, _, rest = buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        length = int(headers.get("content-length", "0"))
        while len(rest) < length:
            rest += self._more(sock)
        method, target, _ = first.split(" ")
        return Request(method, target, headers, rest[:length]), rest[length:]

    def _more(self, sock):
        while not self.stopping.is_set():
            try:
                return sock.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return b""
        return b""


@dataclass
class Routed:
    """As Server, for what can be told without a socket: respx gives the answers."""

    script: list = field(default_factory=list)
    otherwise: object = field(default_factory=lambda: answer(200, []))
    requests: list[Request] = field(default_factory=list)
    url: str = "http://cloud.localhost"

    def calls(self):
        return [request.call for request in self.requests]

    def answer(self, request):
        target = request.url.raw_path.decode()
        told = Request(request.method, target, dict(request.headers), request.content)
        self.requests.append(told)
        return (self.script.pop(0) if self.script else self.otherwise)(None, told)


@pytest.fixture
def routed():
    cloud = Routed()
    with respx.mock(using="httpcore", assert_all_called=False) as router:
        router.route().mock(side_effect=cloud.answer)
        yield cloud


@pytest.fixture
def server():
    running = Server().start()
    yield running
    running.stop()


@pytest.fixture
def other_server():
    running = Server().start()
    yield running
    running.stop()


@pytest.fixture
def serve():
    """Starts more of them: `serve(tls=…, host=…)`."""
    running = []

    def start(tls=None, host="127.0.0.1"):
        running.append(Server(tls=tls).start(host=host))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def make_client(server):
    made = []

    def make(**settings):
        stop = settings.pop("stop", threading.Event().wait)
        cloud = Cloud(**{"base_url": server.url, "timeout_s": 2.0, "deadline_s": 5.0, **settings})
        made.append(connect(cloud, Secret(TOKEN), stop))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def make_registry(server):
    made = []

    def make(*, cloud_url=None, own=None, credential=TOKEN, **settings):
        cloud = Cloud(base_url=cloud_url or server.url, timeout_s=2.0, deadline_s=5.0)
        registry = Registry(**{"base_url": server.url, **settings})
        secret = Secret(credential) if credential else None
        made.append(
            connect_registry(
                registry,
                secret,
                threading.Event().wait,
                cloud=cloud,
                own=Secret(own) if own else None,
            )
        )
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def registry(make_registry):
    return make_registry()


@pytest.fixture
def api():
    """Ready-made answers of the API."""
    stamps = {"createdAt": "2026-01-02T03:04:05Z", "updatedAt": "2026-01-02T03:04:05Z"}

    return SimpleNamespace(
        device={
            "id": "0000000d-0000-4000-8000-000000000001",
            "mcuId": "0011223344556677",
            "boardId": "0000000b-0000-4000-8000-000000000001",
            "organisationId": "0000000a-0000-4000-8000-000000000001",
            "deviceId": "d291d4d66bf0a955",
            "metadata": {"serialNumber": "SN-00001"},
            "somethingNew": [1],
            **stamps,
        },
        minted={
            "id": "t-1",
            "deviceId": "r-1",
            "name": "board",
            "token": "one-time-9",
            "status": "PENDING",
            "expiresAt": "2026-01-02T03:04:05Z",
        },
        ok=answer,
        drop=send_then_drop,
    )
