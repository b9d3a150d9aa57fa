"""What is repeated, what is not, and what is said to be unknown."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from infuse_cli.cloud import failures
from infuse_cli.cloud.rate_limiter import limiter_for
from infuse_cli.errors import CloudError, CredentialError, Interrupted


def create(client):
    return client.create_device(
        mcu_id="0011223344556677",
        board_id="0000000b-0000-4000-8000-000000000001",
        organisation_id="0000000a-0000-4000-8000-000000000001",
    )


def test_lost_answer_to_a_create_is_unknown_and_sent_once(server, client, api):
    server.script = [api.drop()]
    with pytest.raises(CloudError) as caught:
        create(client)
    assert caught.value.unknown
    assert caught.value.code == "cloud.unreachable"
    assert server.calls() == ["POST /device"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_fault_on_a_create_is_unknown_and_sent_once(server, client, api, status):
    server.script = [api.ok(status, {"code": status, "message": "database is on fire"})]
    with pytest.raises(CloudError, match=r"POST /device .*database is on fire") as caught:
        create(client)
    assert caught.value.unknown
    assert (caught.value.code, caught.value.status) == ("cloud.unavailable", status)
    assert server.calls() == ["POST /device"]


def test_silent_server_on_a_create_is_unknown_and_sent_once(server, make_client):
    server.script = [lambda sock, request: server.stopping.wait(5)]
    with pytest.raises(CloudError) as caught:
        create(make_client(timeout_s=0.2))
    assert (caught.value.code, caught.value.unknown) == ("cloud.timeout", True)
    assert server.calls() == ["POST /device"]


@pytest.mark.parametrize(
    "cut",
    [
        b'HTTP/1.1 201 X\r\nContent-Length: 90\r\n\r\n{"id": "d-',
        b"HTTP/1.1 20",
        b"\x16\x03 not http at all\r\n\r\n",
    ],
)
def test_cut_off_answer_to_a_create_is_unknown(server, client, api, cut):
    server.script = [api.drop(cut)]
    with pytest.raises(CloudError) as caught:
        create(client)
    assert caught.value.unknown
    assert server.calls() == ["POST /device"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id": "0000000d-0000-4000-8000-000000000001", "mcuId": ',
        b"",
        b"<html><title>Gateway</title></html>",
        b'{"id": "0000000d-0000-4000-8000-000000000001"}',
        b"[]",
    ],
)
def test_created_but_unreadable_is_unknown_and_names_the_call(server, client, api, raw):
    server.script = [api.ok(201, raw=raw)]
    with pytest.raises(CloudError, match="POST /device") as caught:
        create(client)
    assert (caught.value.code, caught.value.unknown) == ("cloud.bad-answer", True)
    assert server.calls() == ["POST /device"]


@pytest.mark.parametrize(
    "headers", [{}, {"Retry-After": "0"}, {"Retry-After": "Thu, 01 Jan 2026 00:00:00 GMT"}]
)
def test_429_is_not_done_and_repeated(server, client, api, headers):
    server.script = [
        api.ok(429, {"code": 429, "message": "slow down"}, headers=headers),
        api.ok(201, api.device),
    ]
    assert create(client).device_id == "d291d4d66bf0a955"
    assert server.calls() == ["POST /device"] * 2


ODD_WAITS = (
    "nan",
    "inf",
    "-1",
    "1e9",
    "3.5",
    "\u0663",
    "5, 5",
    "999999999",
    "9" * 400,
    "5 Jan 2099",
    "Thu, 01 Jan 2099 00:00:00 GMT",
    "Thu, 01 Jan 9999 00:00:00 GMT",
    "",
)


@pytest.mark.parametrize("text", ODD_WAITS)
def test_an_odd_retry_after_is_none(server, client, api, text):
    assert failures.retry_after_s(failures.RawAnswer(429, {"retry-after": text}, b"")) is None
    if not text.isascii():
        return
    server.script = [api.ok(429, headers={"Retry-After": text}), api.ok(201, api.device)]
    assert create(client).id == "0000000d-0000-4000-8000-000000000001"
    server.script = [api.ok(503, headers={"Retry-After": text})]
    with pytest.raises(CloudError) as caught:
        create(client)
    assert caught.value.unknown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("7200", 3600.0),
        ("Thu, 01 Jan 2026 00:00:09 GMT", 9.0),
        ("Thu, 01 Jan 2026 03:00:00 GMT", 3600.0),
        ("Thursday, 01-Jan-26 00:00:09 GMT", 9.0),
        ("Thu Jan  1 00:00:09 2026", 9.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
    ],
)
def test_a_retry_after_is_read_by_the_rfc_and_bounded(text, seconds):
    headers = {"retry-after": text, "date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert failures.retry_after_s(failures.RawAnswer(429, headers, b"")) == seconds


def test_503_with_retry_after_is_not_done_and_repeated(server, client, api):
    server.script = [api.ok(503, headers={"Retry-After": "0"}), api.ok(201, api.device)]
    assert create(client).id == "0000000d-0000-4000-8000-000000000001"
    assert server.calls() == ["POST /device"] * 2


def test_a_cloud_that_comes_up_late_gets_the_create_once(server, make_client, api):
    port = server.port
    server.stop()
    client = make_client(base_url=f"http://127.0.0.1:{port}")
    late = type(server)(otherwise=api.ok(201, api.device))
    timer = threading.Timer(0.3, lambda: late.start(port))
    timer.start()
    try:
        assert create(client).id == "0000000d-0000-4000-8000-000000000001"
    finally:
        timer.join()
        late.stop()
    assert late.calls() == ["POST /device"]


def test_a_cloud_that_stays_away_is_known_not_done(server, make_client):
    url = server.url
    server.stop()
    with pytest.raises(CloudError, match=r"127\.0\.0\.1") as caught:
        create(make_client(base_url=url, timeout_s=0.4, deadline_s=600.0))
    assert (caught.value.code, caught.value.unknown) == ("cloud.unreachable", False)


def test_a_patch_is_sent_once_too(server, client, api):
    server.script = [api.drop()]
    with pytest.raises(CloudError) as caught:
        client.patch_device_metadata("0000000d-0000-4000-8000-000000000001", {"site": "Brisbane"})
    assert caught.value.unknown
    assert server.calls() == ["PUT /device/id/0000000d-0000-4000-8000-000000000001"]


def test_look_ups_are_repeated_over_every_kind_of_trouble(server, client, api):
    server.script = [
        api.drop(),
        api.ok(500),
        api.ok(503),
        api.drop(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{"),
        api.ok(429),
        api.ok(200, api.device),
    ]
    assert (
        client.device_by_mcu_id("nRF9151", "0011223344556677").id
        == "0000000d-0000-4000-8000-000000000001"
    )
    assert len(server.requests) == 6


def test_keys_have_no_lasting_effect_and_are_repeated(server, client, api):
    server.script = [api.drop(), api.ok(502), api.ok(200, {"key": "A" * 43 + "="})]
    assert client.derived_key("d291d4d66bf0a955", "udp").reveal() == "A" * 43 + "="
    assert server.calls() == ["POST /key/derived/device"] * 3


def test_a_connection_that_went_stale_costs_a_look_up_nothing(server, client, api):
    def once(sock, request):
        api.ok(200, [])(sock, request)
        return False

    server.otherwise = once
    for _ in range(5):
        assert client.networks("0000000a-0000-4000-8000-000000000001") == ()
    assert set(server.calls()) == {"GET /network"}


def test_a_stop_ends_the_waiting_but_not_the_first_try(server, make_client, api):
    server.script = [api.ok(201, api.device)]
    stopped = make_client(stop=lambda seconds: True)
    assert create(stopped).id == "0000000d-0000-4000-8000-000000000001"
    server.otherwise = api.ok(429, headers={"Retry-After": "1"})
    with pytest.raises(Interrupted):
        create(stopped)


def test_one_retry_after_holds_back_every_thread(server, make_client, api):
    released, waiting = threading.Event(), threading.Semaphore(0)

    def stop(seconds):
        waiting.release()
        return not released.wait(20)

    client = make_client(stop=stop, deadline_s=100.0)
    server.script = [api.ok(429, headers={"Retry-After": "50"})]
    threads = [
        threading.Thread(target=client.networks, args=("0000000a-0000-4000-8000-000000000001",))
        for _ in range(5)
    ]
    threads[0].start()
    assert waiting.acquire(timeout=20)
    for thread in threads[1:]:
        thread.start()
        assert waiting.acquire(timeout=20)
    # One was refused, and the four others wait without having asked.
    assert len(server.requests) == 1
    limiter_for(f"127.0.0.1:{server.port}")._until = 0.0
    released.set()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 6


def test_a_wait_beyond_the_deadline_is_an_error_at_once(server, make_client, api):
    server.otherwise = api.ok(
        429, {"code": 429, "message": "quota"}, headers={"Retry-After": "3600"}
    )
    client = make_client()
    for _ in range(2):
        with pytest.raises(CloudError) as caught:
            create(client)
        assert (caught.value.code, caught.value.unknown) == ("cloud.unavailable", False)
        assert caught.value.retry_after_s > 3500
    assert len(server.requests) == 1


def test_a_refused_credential_is_not_tried_again(server, client, api):
    server.otherwise = api.ok(
        401,
        {"code": 401, "message": "token legacy-admin-token-7731 expired"},
        headers={"X-Request-Id": "req-5"},
    )
    with pytest.raises(
        CredentialError, match=r"GET /network .*token \*\*\* expired \(request id req-5\)"
    ) as caught:
        client.networks("0000000a-0000-4000-8000-000000000001")
    assert caught.value.code == "credential.expired"
    assert len(server.requests) == 1


_CHILD = """
import sys, threading
from infuse_cli.cloud.build import connect
from infuse_cli.config.model import Cloud
from infuse_cli.types import Secret
client = connect(Cloud(base_url=sys.argv[1]), Secret("t"), threading.Event().wait)
client.device_by_mcu_id("nRF9151", "00")
client.create_device(mcu_id="00", board_id="b", organisation_id="o")
"""


@pytest.mark.parametrize(
    ("point", "posts"), [("sent:POST /device", 0), ("answered:POST /device", 1)]
)
def test_a_kill_on_either_side_of_the_create(server, api, point, posts):
    server.script = [api.ok(404, {"code": 404, "message": "no"})]
    server.otherwise = api.ok(201, api.device)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, server.url],
        env={**os.environ, "INFUSE_FAILPOINT": point},
        check=False,
        timeout=30,
    )
    assert done.returncode == -signal.SIGKILL
    assert server.calls().count("POST /device") == posts
