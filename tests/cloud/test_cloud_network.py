"""The network's bad weather: certificates, proxies, address literals, slow answers, odd names.

Real sockets, loopback alone.
"""

import contextlib
import select
import socket
import threading
import time

import pytest
from authority import Authority
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli.cloud.build import connect
from infuse_cli.cloud.proxies import is_exempt, proxy_for
from infuse_cli.cloud.urls import fill_path, parse_base_url
from infuse_cli.config.model import Cloud
from infuse_cli.errors import CloudError, ProfileError
from infuse_cli.types import Secret

TOKEN = "legacy-admin-token-7731"


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def clean(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


class TestCertificates:
    @pytest.mark.parametrize(
        ("names", "days", "trusted", "words"),
        [
            (("localhost",), (-1, 1), False, "is not trusted"),
            (("localhost",), (-5, -1), True, "has expired"),
            (("localhost",), (1, 2), True, "is not valid yet"),
            (("elsewhere.example",), (-1, 1), True, "is made out to another name"),
        ],
    )
    def test_each_is_named_at_once_and_asked_for_once(
        self, ca, serve, make_client, names, days, trusted, words
    ):
        server = serve(ca.server(*names, start=days[0], end=days[1]))
        client = make_client(
            base_url=f"https://localhost:{server.port}",
            ca_bundle=str(ca.bundle) if trusted else None,
        )
        with pytest.raises(
            CloudError, match=f"was not sent: the server's certificate {words}"
        ) as caught:
            client.networks("0000000a-0000-4000-8000-000000000001")
        assert (caught.value.code, caught.value.unknown, int(caught.value.exit)) == (
            "cloud.untrusted",
            False,
            5,
        )
        assert "_ssl.c" not in caught.value.message
        server.stop()
        assert server.requests == []
        assert server.refused <= 1

    def test_a_bundle_is_trusted(self, ca, serve, make_client):
        server = serve(ca.server("localhost"))
        assert (
            make_client(
                base_url=f"https://localhost:{server.port}", ca_bundle=str(ca.bundle)
            ).networks("0000000a-0000-4000-8000-000000000001")
            == ()
        )

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "cannot be read: No such file"),
            (b"garbage", "holds no certificate"),
            (b"", "holds no certificate"),
        ],
    )
    def test_a_bundle_that_is_none_is_named(self, tmp_path, make_client, content, words):
        path = tmp_path / "bundle.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ProfileError, match=words) as caught:
            make_client(ca_bundle=str(path))
        assert str(path) in caught.value.message
        with pytest.raises(ProfileError, match="cannot be read"):
            make_client(ca_bundle=str(tmp_path))


class TestAddresses:
    def test_an_ipv6_literal(self, serve, make_client):
        if not _has_ipv6():
            pytest.skip("this machine has no ::1")
        server = serve(host="::1")
        assert (
            make_client(base_url=f"http://[::1]:{server.port}").networks(
                "0000000a-0000-4000-8000-000000000001"
            )
            == ()
        )
        assert server.requests[0].headers["host"] == f"[::1]:{server.port}"

    def test_an_ipv6_literal_with_tls(self, ca, serve, make_client):
        if not _has_ipv6():
            pytest.skip("this machine has no ::1")
        server = serve(ca.server("::1"), host="::1")
        assert (
            make_client(
                base_url=f"https://[::1]:{server.port}/v2", ca_bundle=str(ca.bundle)
            ).networks("0000000a-0000-4000-8000-000000000001")
            == ()
        )
        assert server.requests[0].path == "/v2/network"

    def test_a_name_beyond_ascii_becomes_what_the_network_knows(self):
        assert (
            parse_base_url("https://bücher.example/ä b", "cloud.base_url").url
            == "https://xn--bcher-kva.example/%C3%A4%20b"
        )


class TestNames:
    @pytest.mark.parametrize(
        ("name", "escaped"),
        [
            ("Acme / Ünited", "Acme%20%2F%20%C3%9Cnited"),
            ("100 %", "100%20%25"),
            ("a%2Fb", "a%252Fb"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("../../admin", "..%2F..%2Fadmin"),
            ("q?x=1#f", "q%3Fx%3D1%23f"),
            ("a\\b;c", "a%5Cb%3Bc"),
            ("日本", "%E6%97%A5%E6%9C%AC"),
        ],
    )
    def test_a_name_stays_one_segment_of_the_path(self, server, client, api, name, escaped):
        server.otherwise = api.ok(200, {"id": "0000000a-0000-4000-8000-000000000001", "name": name})
        assert client.organisation(name=name).name == name
        assert server.requests[0].target == f"/organisation/name/{escaped}"

    @settings(max_examples=50)
    @given(
        st.text(min_size=1, max_size=20).filter(
            lambda text: text.encode("utf-8", "ignore").decode() == text
        )
    )
    def test_any_text_stays_one_segment(self, text):
        made = fill_path("/device/id/{id}/state", {"id": text})
        assert made.startswith("/device/id/")
        assert made.count("/") == 4
        assert made.isascii()
        assert not set(made) & set("?# \\")
        assert made.split("/")[3] not in {"", ".", ".."}


class TestSlowAnswers:
    def test_an_answer_that_drips_ends_with_the_deadline_and_is_not_asked_again(
        self, server, make_client
    ):
        def drip(sock, request):
            sock.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 5000\r\n\r\n")
            while not server.stopping.wait(0.02):
                sock.sendall(b" ")
            return False

        server.otherwise = drip
        began = time.monotonic()
        with pytest.raises(CloudError) as caught:
            make_client(deadline_s=0.5, timeout_s=0.4).organisations()
        assert caught.value.code == "cloud.timeout"
        assert time.monotonic() - began < 5
        assert len(server.requests) == 1


class Proxy:
    """An HTTP proxy on loopback: tunnels every CONNECT to one place, or answers as told."""

    def __init__(self, target, refusal=b""):
        self.target, self.refusal, self.heads = target, refusal, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                with sock:
                    self._serve(sock)

    def _serve(self, sock):
        sock.settimeout(5)
        head = b""
        while b"\r\n\r\n" not in head:
            more = sock.recv(65536)
            if not more:
                return
            head += more
        self.heads.append(head.decode())
        if self.refusal:
            sock.sendall(self.refusal)
            return
        with socket.create_connection(("127.0.0.1", self.target)) as there:
            sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _pump(sock, there)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


def _pump(one, other):
    pairs = {one: other, other: one}
    with contextlib.suppress(OSError):
        while True:
            for ready in select.select(list(pairs), [], [], 5)[0]:
                data = ready.recv(65536)
                if not data:
                    return
                pairs[ready].sendall(data)


@pytest.fixture
def proxied(ca, serve, clean, make_client):
    """A client of https://api.example by way of a proxy."""
    made = []

    def make(refusal=b"", user="", host="api.example", **env):
        server = serve(ca.server(host))
        made.append(Proxy(server.port, refusal))
        clean.setenv("HTTPS_PROXY", f"http://{user}127.0.0.1:{made[-1].port}")
        for name, value in env.items():
            clean.setenv(name, value)
        client = make_client(
            base_url=f"https://[{host}]" if ":" in host else f"https://{host}",
            ca_bundle=str(ca.bundle),
        )
        made.append(client)
        return client, made[-2], server

    yield make
    for one in reversed(made):
        one.close() if hasattr(one, "close") else one.stop()


class TestProxies:
    def test_the_credential_passes_inside_tls_alone(self, proxied):
        client, proxy, server = proxied(user="line:p%40ss@")
        assert client.networks("0000000a-0000-4000-8000-000000000001") == ()
        (head,) = proxy.heads
        assert head.startswith("CONNECT api.example:443 ")
        assert TOKEN not in head
        assert "Proxy-Authorization: Basic bGluZTpwQHNz" in head
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert "proxy-authorization" not in server.requests[0].headers

    def test_an_ipv6_literal_is_asked_for_in_brackets(self, proxied):
        client, proxy, server = proxied(host="2001:db8::7")
        assert client.networks("0000000a-0000-4000-8000-000000000001") == ()
        assert [head.split("\r\n")[0] for head in proxy.heads] == [
            "CONNECT [2001:db8::7]:443 HTTP/1.1"
        ]
        assert server.requests[0].headers["host"] == "[2001:db8::7]"

    @pytest.mark.parametrize(
        ("refusal", "code", "words"),
        [
            (
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
                "cloud.proxy",
                r"wants a credential of its own \(407\)",
            ),
            (
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
                "cloud.proxy",
                "refused to connect: 403 Forbidden",
            ),
        ],
    )
    def test_a_refusal_is_the_proxys_and_final(self, proxied, refusal, code, words):
        client, proxy, server = proxied(refusal)
        with pytest.raises(
            CloudError,
            match=rf"was not sent: the proxy 127\.0\.0\.1:{proxy.port} \(HTTPS_PROXY\) {words}",
        ) as caught:
            client.networks("0000000a-0000-4000-8000-000000000001")
        assert (caught.value.code, len(proxy.heads), server.requests) == (code, 1, [])

    def test_a_proxy_that_is_not_there_is_named(self, clean, make_client):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        clean.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
        with pytest.raises(
            CloudError, match=rf"the proxy 127\.0\.0\.1:{port} \(HTTPS_PROXY\) could not connect"
        ) as caught:
            make_client(base_url="https://api.example", timeout_s=0.2, deadline_s=0.4).networks(
                "0000000a-0000-4000-8000-000000000001"
            )
        assert caught.value.code == "cloud.unreachable"

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "answered 502 Bad Gateway"),
            pytest.param(
                b"HTTP/1.1 200 OK\r\nX-Half: ",
                "closed the connection before it answered",
                marks=pytest.mark.storm,
            ),
            pytest.param(
                b"SSH-2.0-OpenSSH_9.2\r\n",
                "does not answer as an HTTP proxy does",
                marks=pytest.mark.storm,
            ),
        ],
    )
    def test_a_proxy_with_trouble_is_asked_again_even_for_an_effect(self, proxied, answer, words):
        client, proxy, server = proxied(answer)
        with pytest.raises(
            CloudError,
            match=rf"was not sent: the proxy 127\.0\.0\.1:{proxy.port} \(HTTPS_PROXY\) {words}",
        ) as caught:
            client.create_organisation("Acme")
        assert (caught.value.code, caught.value.unknown) == ("cloud.unreachable", False)
        assert len(proxy.heads) > 1
        assert server.requests == []

    @pytest.mark.storm
    def test_a_mute_proxy_is_named(self, clean, make_client):
        with socket.create_server(("127.0.0.1", 0)) as mute:
            clean.setenv("HTTPS_PROXY", f"127.0.0.1:{mute.getsockname()[1]}")
            with pytest.raises(
                CloudError, match=r"the proxy .* \(HTTPS_PROXY\) did not answer in time"
            ) as caught:
                make_client(
                    base_url="https://api.example", timeout_s=0.2, deadline_s=0.4
                ).create_organisation("Acme")
        assert (caught.value.code, caught.value.unknown) == ("cloud.unreachable", False)

    @pytest.mark.parametrize(
        "value", ["socks5://127.0.0.1:9", "http://", "http://me:hunter2@:x", "ftp://x"]
    )
    def test_a_proxy_that_cannot_be_one_is_named_without_its_text(self, clean, value):
        clean.setenv("HTTPS_PROXY", value)
        with pytest.raises(ProfileError, match="HTTPS_PROXY does not name an HTTP proxy") as caught:
            connect(Cloud(base_url="https://api.example"), Secret("t"), threading.Event().wait)
        assert "hunter2" not in caught.value.message + caught.value.hint

    @pytest.mark.parametrize("start", ["http://", "https://", ""])
    @pytest.mark.parametrize(
        "value",
        [
            "op:W1nter@Geheim#7@127.0.0.1:9",
            "op:W1nter#Geheim@127.0.0.1:9",
            "op:W1nter?Geheim@127.0.0.1:9",
            "op:W1nter/Geheim@127.0.0.1:9",
            "op:W1nter\\Geheim@127.0.0.1:9",
            "op:W1nter%Geheim@127.0.0.1:9",
            "op:W1nter Geheim@127.0.0.1:9",
            "op:W1nter\tGeheim@127.0.0.1:9",
            "op:W1nter://Geheim@127.0.0.1:9",
            "op:12345#Geheim@127.0.0.1:9",
            "op:12345/Geheim@127.0.0.1:9",
            "W1nter@Geheim@127.0.0.1:9",
            "op:W1nter[Geheim@127.0.0.1:9",
            "op:12345#Geheim",
            "op:W1nterGeheim",
            "op:W1nter@Geheim#7",
            "op:W1nter@127.0.0.1:9/Geheim",
        ],
    )
    def test_a_password_that_is_not_encoded_is_neither_shown_nor_used(self, clean, start, value):
        clean.setenv("HTTPS_PROXY", start + value)
        with pytest.raises(ProfileError) as caught:
            connect(Cloud(base_url="https://api.example"), Secret("t"), threading.Event().wait)
        shown = repr(caught.value) + caught.value.message + caught.value.hint
        assert not any(piece in shown.lower() for piece in ("w1nter", "geheim", "12345"))
        assert "%40" in caught.value.hint

    def test_an_encoded_password_is_read(self):
        base = parse_base_url("https://api.example", "cloud.base_url")
        found = proxy_for(base, {"HTTPS_PROXY": "http://op:a%40b%23c%25:d@p.example:3128/"})
        assert (found.netloc, found.user) == ("p.example:3128", "op")
        assert found.password.reveal() == "a@b#c%:d"

    def test_the_first_variable_wins_and_plain_http_knows_none(self):
        base = parse_base_url("https://api.example:8443", "cloud.base_url")
        env = {
            "all_proxy": "http://d:4",
            "HTTPS_PROXY": "http://b:2",
            "https_proxy": "http://a",
            "HTTP_PROXY": "http://c:3",
        }
        found = proxy_for(base, env)
        assert (found.netloc, found.variable) == ("a:80", "https_proxy")
        assert proxy_for(base, {"HTTP_PROXY": "http://c:3"}) is None
        assert proxy_for(parse_base_url("http://127.0.0.1", "cloud.base_url"), env) is None
        assert proxy_for(base, {**env, "NO_PROXY": "other, .example"}) is None

    @pytest.mark.parametrize(
        ("rule", "exempt"),
        [
            ("*", True),
            ("api.example", True),
            (".example", True),
            ("*.example", True),
            ("example", True),
            ("xample", False),
            ("pi.example", False),
            ("api.example:443", True),
            ("api.example:80", False),
            ("", False),
            (" , ,", False),
            ("10.0.0.0/8", False),
            ("a,API.example", True),
        ],
    )
    def test_exceptions(self, rule, exempt):
        assert is_exempt("api.example", 443, rule) == exempt

    @pytest.mark.parametrize(
        ("host", "rule", "exempt"),
        [
            ("10.1.2.3", "10.0.0.0/8", True),
            ("10.1.2.3", "10.1.2.3", True),
            ("11.0.0.1", "10.0.0.0/8", False),
            ("fd00::1", "[fd00::1]:443", True),
            ("fd00::1", "fd00::/8", True),
            ("fd00::1", "[fd00::1]:80", False),
        ],
    )
    def test_exceptions_by_address(self, host, rule, exempt):
        assert is_exempt(host, 443, rule) == exempt


def _has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
