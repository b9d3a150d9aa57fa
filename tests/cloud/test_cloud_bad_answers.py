"""Clear words for proxies, half answers, endless answers and redirects; the credential stays where
it belongs.
"""

import contextlib
import functools
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli.cloud import decoding, failures
from infuse_cli.cloud.failures import Call, ErrorFactory, RawAnswer
from infuse_cli.errors import CloudError

packed = functools.partial(gzip.compress, mtime=0)
"""The same bytes in every process."""


TOKEN = "legacy-admin-token-7731"


def test_a_web_page_is_named_by_its_title(server, client, api):
    server.otherwise = api.ok(
        200, raw=b"<!doctype html><html><head><title>Hotel  Wi-Fi &amp; Bar</title></head></html>"
    )
    with pytest.raises(
        CloudError, match=r"GET /network at 127\.0\.0\.1.*a page titled 'Hotel Wi-Fi & Bar'"
    ) as caught:
        client.networks("0000000a-0000-4000-8000-000000000001")
    assert caught.value.code == "cloud.bad-answer"


def test_a_page_with_404_is_not_taken_for_an_unknown_device(server, client, api):
    server.otherwise = api.ok(
        404, raw=b"<html><title>404 Not Found</title><center>nginx</center></html>"
    )
    with pytest.raises(CloudError) as caught:
        client.device_by_mcu_id("nRF9151", "0011223344556677")
    assert caught.value.code == "cloud.bad-answer"


def test_plain_words_are_quoted_up_to_80_characters(server, client, api):
    server.otherwise = api.ok(400, raw=b"nope\x1b[31m " + b"x" * 200)
    with pytest.raises(CloudError) as caught:
        client.networks("0000000a-0000-4000-8000-000000000001")
    assert caught.value.code == "cloud.refused"
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 200


def test_half_a_json_is_said_so_without_showing_it(server, registry, api):
    server.otherwise = api.ok(201, raw=b'{"id": "t-1", "token": "one-time-9", "na')
    with pytest.raises(CloudError, match="cut off") as caught:
        registry.mint_token(name="board", metadata={})
    assert caught.value.unknown
    assert "one-time-9" not in str(caught.value)


def test_a_missing_field_is_named_with_the_call(server, client, api):
    server.otherwise = api.ok(
        200, {key: value for key, value in api.device.items() if key != "boardId"}
    )
    with pytest.raises(CloudError, match=r"GET /device/soc/\{soc\}/mcuId/\{mcuId\}.*`boardId`"):
        client.device_by_mcu_id("nRF9151", "0011223344556677")


def test_a_null_counts_as_absent(server, client, api):
    server.script = [
        api.ok(200, {**api.device, "metadata": None}),
        api.ok(200, {**api.device, "boardId": None}),
    ]
    assert client.device("0000000d-0000-4000-8000-000000000001").metadata == {}
    with pytest.raises(CloudError, match="`boardId`"):
        client.device("0000000d-0000-4000-8000-000000000001")


def test_a_time_without_zone_is_refused(server, client, api):
    server.script = [
        api.ok(200, {"firstPacketTime": "2026-01-02T03:04:05Z"}),
        api.ok(200, {"firstPacketTime": "2026-01-02T03:04:05"}),
    ]
    assert (
        client.device_state("d291d4d66bf0a955").first_packet_time.utcoffset().total_seconds() == 0
    )
    with pytest.raises(CloudError, match="firstPacketTime"):
        client.device_state("d291d4d66bf0a955")


@pytest.mark.parametrize("drip", ["head", "body"])
def test_a_server_that_drips_ends_at_the_deadline(server, make_client, drip):
    def act(sock, request):
        head = b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n"
        sock.sendall(head + (b"\r\n" if drip == "body" else b"X-Slow: "))
        while not server.stopping.wait(0.02):
            sock.sendall(b"x")
        return False

    server.otherwise = act
    with pytest.raises(CloudError) as caught:
        make_client(deadline_s=0.4, timeout_s=0.3).networks("0000000a-0000-4000-8000-000000000001")
    assert caught.value.code == "cloud.timeout"


def test_an_endless_answer_is_cut(server, make_client):
    def act(sock, request):
        sock.settimeout(5)
        sock.sendall(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        return False

    server.otherwise = act
    with pytest.raises(CloudError, match="more than 8 MiB"):
        make_client().networks("0000000a-0000-4000-8000-000000000001")


PACKED_TWICE = gzip.compress(gzip.compress(b"[]", mtime=0), mtime=0)


class TestPackedBodies:
    """An answer may be packed once, and takes no more memory than its limit."""

    @pytest.mark.parametrize(
        ("encoding", "pack"),
        [
            ("gzip", packed),
            ("X-GZIP", packed),
            ("deflate", zlib.compress),
            ("deflate", lambda data: zlib.compress(data)[2:-4]),
            ("identity", bytes),
            ("identity, gzip", packed),
        ],
    )
    def test_one_layer_is_unpacked(self, server, client, api, encoding, pack):
        server.otherwise = api.ok(raw=pack(b"[]"), headers={"Content-Encoding": encoding})
        assert client.networks("0000000a-0000-4000-8000-000000000001") == ()

    @pytest.mark.parametrize(
        ("head", "body", "words"),
        [
            ("Content-Encoding: gzip, gzip", PACKED_TWICE, "more than once"),
            (
                "Content-Encoding: gzip\r\nContent-Encoding: gzip",
                PACKED_TWICE,
                "more than once",
            ),
            ("Content-Encoding: br", b"[]", "not asked for"),
            ("Content-Encoding: gzip", gzip.compress(b"[]" * 900, mtime=0)[:-9], "cut off"),
            ("Content-Encoding: gzip", b"[]", "incorrect header"),
        ],
    )
    def test_what_cannot_be_unpacked_is_unknown_for_an_effect(
        self, server, client, head, body, words
    ):
        def act(sock, request):
            length = f"HTTP/1.1 201 X\r\nContent-Length: {len(body)}\r\n"
            sock.sendall(f"{length}{head}\r\n\r\n".encode() + body)
            return True

        server.otherwise = act
        with pytest.raises(CloudError, match=words) as caught:
            client.create_organisation("Acme")
        assert (caught.value.code, caught.value.unknown) == ("cloud.bad-answer", True)
        assert len(server.requests) == 1

    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_a_bomb_takes_no_memory(self, server, client, api, layers):
        body = gzip.compress(bytes(256 * 1024 * 1024), compresslevel=1)
        for _ in range(layers - 1):
            body = gzip.compress(body)
        encodings = ", ".join(["gzip"] * layers)
        server.script = [api.ok(201, raw=body, headers={"Content-Encoding": encodings})]
        tracemalloc.start()
        try:
            with pytest.raises(CloudError, match="POST /organisation") as caught:
                client.create_organisation("Acme")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert caught.value.unknown
        assert most < 64 * 1024 * 1024


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_leaks_nothing(server, other_server, client, api, status):
    target = f"http://user:{TOKEN}@127.0.0.1:{other_server.port}/elsewhere?token={TOKEN}"
    server.otherwise = api.ok(status, headers={"Location": target})
    with pytest.raises(CloudError, match=f"127.0.0.1:{other_server.port}/elsewhere") as caught:
        client.networks("0000000a-0000-4000-8000-000000000001")
    assert caught.value.code == "cloud.bad-answer"
    assert TOKEN not in str(caught.value)
    assert other_server.requests == []


def test_an_untrusted_certificate_is_said_at_once(tmp_path, make_client):
    certificate, key = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        sock, _ = listener.accept()
        with sock:
            try:
                context.wrap_socket(sock, server_side=True).close()
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(CloudError, match=r"certificate is not trusted \(self-signed") as caught:
        make_client(base_url=f"https://localhost:{listener.getsockname()[1]}").networks(
            "0000000a-0000-4000-8000-000000000001"
        )
    assert not caught.value.unknown
    assert caught.value.code == "cloud.untrusted"
    assert "cloud.ca_bundle" in caught.value.hint
    thread.join()
    listener.close()


def test_https_to_a_plain_port_is_said_at_once(make_client):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(CloudError, match="does not speak TLS"):
            make_client(base_url=f"https://localhost:{listener.getsockname()[1]}").networks(
                "0000000a-0000-4000-8000-000000000001"
            )
        thread.join()


def _self_signed(folder):
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "k.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "c.pem", folder / "k.pem"


def test_a_ca_bundle_of_the_profile_is_trusted(tmp_path, make_client):
    certificate, key = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        sock, _ = listener.accept()
        with context.wrap_socket(sock, server_side=True) as secure:
            while b"\r\n\r\n" not in secure.recv(65536):
                pass
            secure.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n[]")

    thread = threading.Thread(target=serve)
    thread.start()
    client = make_client(
        base_url=f"https://localhost:{listener.getsockname()[1]}", ca_bundle=str(certificate)
    )
    assert client.networks("0000000a-0000-4000-8000-000000000001") == ()
    thread.join()
    listener.close()


def test_server_time_offset_comes_from_the_newest_answer(server, client, api):
    assert client.server_time_offset_s() is None
    server.script = [api.ok(200, [], headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"})]
    client.networks("0000000a-0000-4000-8000-000000000001")
    assert abs(client.server_time_offset_s() + time.time() - 1767225600) < 5


_HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "location", "x-request-id"]), st.text(max_size=40)
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([301, 302, 400, 401, 404, 409, 418, 422, 429, 500, 503, 599]),
    _HEADERS,
    st.binary(max_size=300),
    st.booleans(),
)
def test_any_bad_answer_gives_a_named_error(status, headers, body, effect):
    call = Call("POST", "/device", effect=effect)
    failed = ErrorFactory(call, "host", ["s3cret"]).status(RawAnswer(status, headers, body))
    assert failed.error.message.startswith("POST /device at host ")
    assert "\n" not in failed.error.message
    assert failed.error.unknown == (
        effect and (failed.kind is failures.Failure.LOST or status == 302)
    )


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "items", "key", "name"]), inner, max_size=3)
        ),
    )
)
def test_any_json_is_read_or_named(value):
    import msgspec

    from infuse_cli.api_types import Device

    raw = RawAnswer(200, {}, msgspec.json.encode(value))
    answer = failures.Answer(raw, ErrorFactory(Call("GET", "/device"), "host"))
    for read in (
        lambda: decoding.value(answer, Device),
        lambda: decoding.page(answer, Device),
        lambda: decoding.key32(answer),
        lambda: decoding.provisioned(answer),
    ):
        with contextlib.suppress(CloudError):
            read()
