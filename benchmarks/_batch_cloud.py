"""A cloud that costs next to nothing, for `batch.py`: `python _batch_cloud.py LATENCY_MS LIMIT`.

Devices alone, kept in memory; LIMIT is requests a second (0: none) beyond which it answers 429 with
Retry-After: 1. Prints its port, serves until its stdin closes; GET /_stats tells what it did.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlsplit

NOW = "2026-01-01T00:00:00.000Z"
BURST = 10.0


class Cloud:
    """Everything that it remembers."""

    def __init__(self, limit: float) -> None:
        self.organisation = {"id": str(uuid.uuid4()), "name": "Example Provider"}
        self.board = {
            "id": str(uuid.uuid4()),
            "name": "Sensor",
            "soc": "nRF9151",
            "organisationId": self.organisation["id"],
        }
        self.by_mcu_id: dict[str, dict[str, Any]] = {}
        self.devices: list[dict[str, Any]] = []
        self.requests = self.refused = 0
        self._first = self._last = 0.0
        self._limit, self._tokens, self._at = limit, BURST, time.monotonic()

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        """Status and body of an answer."""
        url = urlsplit(target)
        if url.path == "/_stats":
            return 200, {
                "requests": self.requests,
                "refused": self.refused,
                "devices": len(self.devices),
                "seconds": self._last - self._first,
            }
        self.requests += 1
        self._last = time.monotonic()
        self._first = self._first or self._last
        if self._limit and not self._admitted():
            self.refused += 1
            return 429, {"code": 429, "message": "too many requests"}
        if method == "POST":
            return self._create(json.loads(body))
        return self._get(url.path, dict(parse_qsl(url.query)))

    def _admitted(self) -> bool:
        now = time.monotonic()
        self._tokens, self._at = min(BURST, self._tokens + (now - self._at) * self._limit), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if asked["mcuId"] in self.by_mcu_id:
            return 409, {"code": 409, "message": "exists"}
        made = {
            "id": str(uuid.uuid4()),
            "deviceId": secrets.token_hex(8),
            "createdAt": NOW,
            "updatedAt": NOW,
            **asked,
        }
        self.by_mcu_id[asked["mcuId"]] = made
        self.devices.append(made)
        return 201, made

    def _get(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path.startswith("/organisation/name/"):
            return 200, self.organisation
        if path == "/board":
            return 200, [self.board]
        if path == "/device":
            offset = int(query["offset"])
            return 200, self.devices[offset : offset + int(query["limit"])]
        found = self.by_mcu_id.get(path.rpartition("/")[2])
        return (200, found) if found else (404, {"code": 404, "message": "no such device"})


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as a client of ours speaks it."""

    def __init__(self, cloud: Cloud, latency_s: float) -> None:
        self._cloud, self._latency_s, self._heard = cloud, latency_s, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while (taken := self._take()) is not None:
            head, body = taken
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            answer = _http(*self._cloud.answer(method, target, body))
            if self._latency_s:
                asyncio.get_running_loop().call_later(
                    self._latency_s, self._transport.write, answer
                )
            else:
                self._transport.write(answer)

    def _take(self) -> tuple[bytes, bytes] | None:
        head, end, rest = self._heard.partition(b"\r\n\r\n")
        if not end:
            return None
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return None
        self._heard = rest[length:]
        return head, rest[:length]


def _http(status: int, value: Any) -> bytes:
    body = json.dumps(value).encode()
    more = "Retry-After: 1\r\n" if status == 429 else ""
    return (
        f"HTTP/1.1 {status} .\r\nContent-Type: application/json\r\n{more}Content-Length:"
        f" {len(body)}\r\n\r\n".encode()
        + body
    )


async def main() -> None:
    latency_s, cloud = float(sys.argv[1]) / 1000, Cloud(float(sys.argv[2]))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(cloud, latency_s), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
