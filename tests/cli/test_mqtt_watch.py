"""`infuse mqtt token --watch` against a cloud on loopback whose tokens live for a moment."""

import http.server
import json
import os
import signal
import stat
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

TOKEN = "organisation-admin-4417"
ORGANISATION = {"id": "8e7f8b7e-0000-4000-8000-000000000001", "name": "Example Provider"}


class Cloud:
    """Sells MQTT tokens that live for `life_s`; `down` makes it answer 503."""

    def __init__(self):
        self.life_s, self.sold, self.down = 0.6, 0, threading.Event()
        self.changed = threading.Condition()
        cloud = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.answer(200, [ORGANISATION] if "offset=0" in self.path else [])

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                if cloud.down.is_set():
                    self.answer(400, {"code": 400, "message": "out to lunch"})
                    return
                with cloud.changed:
                    cloud.sold += 1
                    cloud.changed.notify_all()
                now = datetime.now(UTC)
                self.answer(
                    200,
                    {
                        "token": f"mqtt-secret-{cloud.sold}",
                        "issuedAt": now.isoformat(),
                        "expiresAt": (now + timedelta(seconds=cloud.life_s)).isoformat(),
                    },
                )

            def answer(self, status, body):
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def wait_for(self, sold):
        with self.changed:
            assert self.changed.wait_for(lambda: self.sold >= sold, 20)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def cloud():
    running = Cloud()
    yield running
    running.close()


@pytest.fixture
def start(zygote, cloud, tmp_path):
    env = {
        "INFUSE_HOME": str(tmp_path / "home"),
        "INFUSE_BASE_URL": f"http://127.0.0.1:{cloud.server.server_port}",
        "INFUSE_TOKEN": TOKEN,
    }

    def run(*argv):
        return zygote.start("mqtt", "token", "--watch", "--output", "jsonl", *argv, env=env)

    return run


def until(there, limit_s=20.0):
    end = time.monotonic() + limit_s
    while not there():
        assert time.monotonic() < end
        threading.Event().wait(0.02)


def events(ran):
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert "mqtt-secret" not in ran.stdout + ran.stderr
    assert TOKEN not in ran.stdout + ran.stderr
    return found


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.storm)]
)
def test_each_new_token_lands_in_the_file_until_a_signal(start, zygote, cloud, tmp_path, number):
    out = tmp_path / "mqtt.token"
    pid, prefix = start("--out", str(out))
    cloud.wait_for(3)
    until(lambda: out.exists() and out.read_text() >= "mqtt-secret-3\n")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    os.kill(pid, number)
    ran = zygote.wait(pid, prefix)
    assert ran.code == 0
    told = events(ran)
    assert [one["event"] for one in told] == ["token-renewed"] * (len(told) - 1) + ["run-ended"]
    assert told[-1]["data"]["handedOver"] == len(told) - 1 >= 3
    assert {"issuedAt", "expiresAt", "sha256", "renewInS", "organisationId"} <= set(told[0]["data"])
    assert 0 < told[0]["data"]["renewInS"] <= 0.4
    assert list(tmp_path.glob(".mqtt.token.*")) == []


@pytest.mark.storm
def test_an_outage_is_outlived_while_the_last_token_is_good(start, zygote, cloud, tmp_path):
    cloud.life_s = 3.0
    out = tmp_path / "mqtt.token"
    pid, prefix = start("--out", str(out))
    until(out.exists)
    cloud.down.set()
    until(lambda: "token-failed" in prefix.with_suffix(".stdout").read_text())
    cloud.down.clear()
    cloud.wait_for(2)
    until(lambda: out.read_text() == "mqtt-secret-2\n")
    os.kill(pid, signal.SIGTERM)
    ran = zygote.wait(pid, prefix)
    assert ran.code == 0
    failed = [one for one in events(ran) if one["event"] == "token-failed"]
    assert "out to lunch" in failed[0]["error"]["message"]
    assert failed[0]["data"]["retryInS"] <= 1.0 < failed[0]["data"]["goodForS"] + 1


def test_it_ends_with_the_error_when_the_token_has_run_out(start, zygote, cloud, tmp_path):
    cloud.life_s = 0.3
    pid, prefix = start("--out", str(tmp_path / "t"))
    cloud.wait_for(1)
    cloud.down.set()
    ran = zygote.wait(pid, prefix)
    assert ran.code == 6
    assert events(ran)[-1]["error"]["code"] == "cloud.refused"


def test_without_a_first_token_it_ends_at_once(start, zygote, cloud, tmp_path):
    cloud.down.set()
    ran = zygote.wait(*start("--out", str(tmp_path / "t")))
    assert (ran.code, not (tmp_path / "t").exists()) == (6, True)


TAKE = (
    "import os, sys; open(sys.argv[1], 'a').write(sys.stdin.read() + str('INFUSE_TOKEN' in"
    " os.environ) + chr(10)); print('noise')"
)


def test_a_command_gets_each_token_on_its_standard_input(start, zygote, cloud, tmp_path):
    out = tmp_path / "taken"
    pid, prefix = start("--", sys.executable, "-c", TAKE, str(out))
    until(lambda: out.exists() and "mqtt-secret-2" in out.read_text())
    os.kill(pid, signal.SIGTERM)
    ran = zygote.wait(pid, prefix)
    assert ran.code == 0
    assert out.read_text().startswith("mqtt-secret-1\nFalse\nmqtt-secret-2\nFalse\n")
    assert all(one["event"] in {"token-renewed", "run-ended"} for one in events(ran))
    assert "noise" in ran.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit(3)", "ended with exit code 3"),
        ("import signal; signal.pause()", "did not end within 0.3 s"),
    ],
)
def test_a_command_that_fails_is_named_and_tried_again_with_the_same_token(
    start, zygote, cloud, tmp_path, code, words
):
    cloud.life_s = 1.5
    once = tmp_path / "once"
    script = (
        f"import os, sys; seen = os.path.exists({str(once)!r}); open({str(once)!r},"
        f" 'a').write(sys.stdin.read())\nif os.path.getsize({str(once)!r}) > 14 and"
        f" os.path.getsize({str(once)!r}) < 30: {code}"
    )
    # Without site: 0.3 s are short for more than an interpreter.
    pid, prefix = start("--timeout", "0.3", "--", sys.executable, "-S", "-c", script)
    until(lambda: once.exists() and once.read_text().count("mqtt-secret-2") == 2)
    os.kill(pid, signal.SIGTERM)
    ran = zygote.wait(pid, prefix)
    failed = [one for one in events(ran) if one["event"] == "token-failed"]
    assert ran.code == 0
    assert (len(failed), failed[0]["error"]["code"]) == (1, "usage.command-failed")
    assert words in failed[0]["error"]["message"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "somebody to hand the tokens to"),
        (("--out", "t", "--", "no-such-command-7"), "no command 'no-such-command-7'"),
        (("--ttl", "5", "--out", "t"), "60 to 86400"),
    ],
)
def test_what_cannot_work_is_said_before_a_token_is_asked_for(start, zygote, cloud, argv, words):
    ran = zygote.wait(*start(*argv))
    assert ran.code == 2
    assert (
        words
        in json.loads(ran.stdout)["errors"][0]["message"]
        + json.loads(ran.stdout)["errors"][0]["hint"]
    )
    assert cloud.sold == 0
