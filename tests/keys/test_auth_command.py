"""`infuse auth`: stores, names and forgets the credential, and never shows it."""

import base64
import http.server
import io
import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta

import pytest

from infuse_cli.cli import main

SECRET = "legacy-admin-token-7731"


@pytest.fixture
def infuse(tmp_path, monkeypatch, capfd, no_ring):
    for name in [name for name in os.environ if name.startswith("INFUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INFUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INFUSE_BASE_URL", "http://127.0.0.1:9")

    def run(*argv, stdin="", rc=0):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        assert main.run(argv) == rc
        out, err = capfd.readouterr()
        assert SECRET not in out + err
        assert "Traceback" not in err
        return out + err

    return run


def test_login_status_logout(infuse, tmp_path):
    assert "stored in" in infuse("auth", "login", "--token-file", "-", stdin=SECRET + "\n")
    assert stat.S_IMODE((tmp_path / "home" / "credentials.json").stat().st_mode) == 0o600
    told = infuse("auth", "status")
    assert "credentials.json" in told
    assert "bearer" in told
    assert "127.0.0.1:9" in told
    assert "removed" in infuse("auth", "logout")
    assert "credential.missing" in infuse("auth", "status", rc=4)
    assert "No credential" in infuse("auth", "logout")


def test_status_in_json_names_what_is_shadowed(infuse, monkeypatch):
    infuse("auth", "login", "--token-file", "-", stdin=SECRET)
    monkeypatch.setenv("INFUSE_TOKEN", SECRET + "-2")
    told = json.loads(infuse("auth", "status", "--output", "json"))
    assert (told["status"], told["data"]["source"]) == ("ok", "environment")
    assert len(told["data"]["shadows"]) == 1
    assert "INFUSE_TOKEN is set" in infuse("auth", "login", "--token-file", "-", stdin=SECRET)


def test_status_without_one_is_an_error_envelope(infuse):
    told = json.loads(infuse("auth", "status", "--output", "json", rc=4))
    assert told["status"] == "error"
    assert told["data"]["found"] is False
    assert told["errors"][0]["code"] == "credential.missing"


def test_login_by_file_and_descriptor(infuse, tmp_path):
    path = tmp_path / "token"
    path.write_text(SECRET)
    path.chmod(0o644)
    assert "credential.unsafe-file" in infuse("auth", "login", "--token-file", str(path), rc=4)
    path.chmod(0o600)
    infuse("auth", "login", "--token-file", str(path))
    read, write = os.pipe()
    os.write(write, SECRET.encode())
    os.close(write)
    infuse("auth", "login", "--token-fd", str(read))
    assert "usage.bad-option" in infuse("auth", "login", "--token-fd", "999", rc=2)
    assert "usage.bad-option" in infuse(
        "auth", "login", "--token-fd", "3", "--token-file", str(path), rc=2
    )


def test_login_without_a_terminal_does_not_ask(infuse):
    told = infuse("auth", "login", rc=2)
    assert "usage.no-terminal" in told
    assert "--token-file" in told


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ik_key.secret", "credential.iam-key"),
        ("", "credential.malformed"),
        ("two words", "credential.malformed"),
    ],
)
def test_what_cannot_work_is_not_stored(infuse, tmp_path, text, code):
    assert code in infuse("auth", "login", "--token-file", "-", stdin=text, rc=4)
    assert not (tmp_path / "home").exists()


def test_check_asks_the_cloud_before_storing(infuse, tmp_path, cloud_port):
    url = f"http://127.0.0.1:{cloud_port}"
    assert "credential.refused" in infuse(
        "auth", "login", "--check", "--token-file", "-", "--url", url, stdin="stale", rc=4
    )
    assert not (tmp_path / "home").exists()
    assert "it sees: Example Provider" in infuse(
        "auth", "login", "--check", "--token-file", "-", "--url", url, stdin=SECRET
    )
    assert "it sees: Example Provider" in infuse("auth", "status", "--check", "--url", url)


@pytest.fixture
def cloud_port():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.headers["Authorization"] == f"Bearer {SECRET}"
            body = json.dumps(
                [{"id": "0000000a-0000-4000-8000-000000000001", "name": "Example Provider"}]
                if known
                else {"code": 401, "message": "no"}
            ).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_url_option_beats_the_environment(infuse):
    infuse(
        "auth", "login", "--token-file", "-", "--url", "https://API.example:8443/v1", stdin=SECRET
    )
    assert "api.example:8443" in infuse("auth", "status", "--url", "https://api.example:8443")
    infuse("auth", "status", rc=4)
    assert "profile.invalid" in infuse("auth", "status", "--url", "http://api.example", rc=3)


def _jwt(hours):
    end = int((datetime.now(UTC) + timedelta(hours=hours)).timestamp())
    claims = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{claims}.c2ln"


@pytest.mark.parametrize(("hours", "words"), [(5.99, "expires at"), (-1, "expired at"), (48, "")])
def test_a_coming_end_is_told(infuse, hours, words):
    infuse("auth", "login", "--token-file", "-", stdin=_jwt(hours))
    told = json.loads(infuse("auth", "status", "--output", "json"))["data"]
    assert told["expiresAt"].endswith("Z")
    assert [note for note in told["notes"] if "the credential" in note][:1] == [
        note for note in told["notes"] if words and words in note
    ]
    assert "Expires:" in infuse("auth", "status")


def test_an_iam_key_is_kept_where_the_profile_exchanges_it(
    infuse, tmp_path, monkeypatch, cloud_port
):
    profile = tmp_path / "exchanging.yaml"
    profile.write_text(
        "name: p\nboard: {mcu_id: {from: imei}}\nidentity: {mode: none}\ncloud: {organisation:"
        " {name: A}, board: {name: B}, auth: {scheme: exchanged}}\n"
    )
    monkeypatch.setenv("INFUSE_PROFILE", str(profile))
    assert "credential.malformed" in infuse(
        "auth", "login", "--token-file", "-", stdin="legacy", rc=4
    )
    infuse("auth", "login", "--token-file", "-", stdin="ik_id.part")
    assert "exchanged" in infuse("auth", "status")
