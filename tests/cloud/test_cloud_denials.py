"""A refused credential says why; an exchanged token is renewed in time, once for all
threads, and never shown.
"""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli import expiry
from infuse_cli.cloud import denials
from infuse_cli.cloud.build import connect, connect_registry
from infuse_cli.cloud.failures import RawAnswer
from infuse_cli.config.model import Auth, Cloud, Registry
from infuse_cli.errors import CloudError, CredentialError
from infuse_cli.types import Secret

KEY = "ik_7f3a.s3cr3t-part"
EXCHANGED = Auth(scheme="exchanged")


def jwt(**claims):
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.c2ln"


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "body", "code"),
        [
            (401, {"code": 401, "message": "Token has expired"}, "expired"),
            (401, {"error": "token_expired"}, "expired"),
            (403, {"code": 403, "message": "principal is suspended"}, "suspended"),
            (401, {"message": "API key disabled"}, "suspended"),
            (401, {"code": 401, "message": "credential was revoked"}, "revoked"),
            (403, {"message": "This key has been revoked or expired"}, "revoked"),
            (403, {"code": 403, "message": "missing role: device.write"}, "no-role"),
            (403, {"message": "Insufficient permissions"}, "no-role"),
            (403, {"message": "You do not have permission in this organisation"}, "no-role"),
            (
                403,
                {"code": 403, "message": "device belongs to another organisation"},
                "other-organisation",
            ),
            (403, {"message": "Not a member of organization 4711"}, "other-organisation"),
            (401, {"message": "tenant mismatch"}, "other-organisation"),
            (401, {"code": 401, "message": "unsupported authorization scheme"}, "wrong-scheme"),
            (401, {"message": "no credential was given"}, "wrong-scheme"),
            (401, {"message": "Malformed token"}, "malformed"),
            (401, {"code": 401, "message": "the credential is not valid"}, "refused"),
            (403, {"message": "Forbidden"}, "refused"),
            (401, None, "refused"),
        ],
    )
    def test_are_told_apart_by_the_clouds_words(self, server, client, api, status, body, code):
        server.otherwise = api.ok(status, body)
        with pytest.raises(CredentialError, match=f"answered {status}") as caught:
            client.organisations()
        assert (caught.value.code, int(caught.value.exit)) == (f"credential.{code}", 4)
        assert len(server.requests) == 1

    def test_a_challenge_for_another_scheme_is_one(self, server, client, api):
        server.otherwise = api.ok(
            401,
            {"message": "no"},
            headers={"WWW-Authenticate": 'ApiKey realm="a, b", charset="UTF-8"'},
        )
        with pytest.raises(CredentialError) as caught:
            client.organisations()
        assert caught.value.code == "credential.wrong-scheme"
        server.otherwise = api.ok(
            401, {"message": "no"}, headers={"WWW-Authenticate": 'Bearer realm="api"'}
        )
        with pytest.raises(CredentialError) as caught:
            client.organisations()
        assert caught.value.code == "credential.refused"

    def test_a_page_is_no_word_of_the_cloud(self, server, client, api):
        server.otherwise = api.ok(403, raw=b"<html><title>Access denied: your role</title></html>")
        with pytest.raises(CredentialError, match="a page titled") as caught:
            client.organisations()
        assert caught.value.code == "credential.refused"

    def test_a_token_that_ended_explains_a_bare_refusal(self, server, api):
        server.otherwise = api.ok(401, {"code": 401, "message": "invalid"})
        token = Secret(jwt(exp=1_700_000_000))
        client = connect(Cloud(base_url=server.url), token, threading.Event().wait)
        with pytest.raises(
            CredentialError, match="it says itself that it expired at 2023-11-14"
        ) as caught:
            client.organisations()
        client.close()
        assert caught.value.code == "credential.expired"
        assert token.reveal() not in caught.value.message

    @settings(max_examples=50, deadline=None)
    @given(
        st.sampled_from([401, 403]),
        st.binary(max_size=200)
        | st.text(max_size=80).map(lambda text: json.dumps({"message": text}).encode()),
        st.text(max_size=30),
    )
    def test_any_refusal_has_a_meaning(self, status, body, challenge):
        assert denials.classify_auth_error(
            RawAnswer(status, {"www-authenticate": challenge}, body), "Bearer"
        ).startswith("credential.")


class TestForm:
    @pytest.mark.parametrize(
        ("text", "scheme", "words"),
        [
            ("", "bearer", "is empty"),
            (" \n", "bearer", "is empty"),
            ("abc\ndef", "bearer", "line end"),
            ("abc def", "bearer", "white space"),
            ("Bearer abc", "bearer", "bare token"),
            ("Authorization: x", "bearer", "bare token"),
            ("äbc", "bearer", "characters"),
            ("ik_only", "api-key", "ik_<keyId>.<keySecret>"),
            ("ik_.secret", "api-key", "ik_<keyId>.<keySecret>"),
            ("ik_id.", "exchanged", "ik_<keyId>.<keySecret>"),
            ("legacy", "exchanged", "is no IAM key"),
        ],
    )
    def test_is_checked_before_anything_is_sent(self, server, text, scheme, words):
        with pytest.raises(CredentialError, match=words) as caught:
            connect(
                Cloud(base_url=server.url, auth=Auth(scheme=scheme)),
                Secret(text),
                threading.Event().wait,
            )
        assert caught.value.code == "credential.malformed"
        assert server.requests == []


class TestExpiry:
    def test_the_end_of_a_jwt_and_of_nothing_else(self):
        assert expiry.expires_at(Secret(jwt(exp=1_700_000_000))) == datetime(
            2023, 11, 14, 22, 13, 20, tzinfo=UTC
        )
        for text in (
            "legacy",
            "a.b.c",
            jwt(),
            jwt(exp="soon"),
            jwt(exp=True),
            jwt(exp=1e300),
            "a.W10.c",
            "ik_a.b",
        ):
            assert expiry.expires_at(Secret(text)) is None

    @settings(max_examples=50, deadline=None)
    @given(st.text(max_size=60))
    def test_any_text_is_safe_to_ask(self, text):
        expiry.expires_at(Secret(f"{text}.{text}.{text}"))

    @pytest.mark.parametrize(
        ("hours", "words"),
        [
            (-1, "expired at"),
            (0.5, "in 30 min"),
            (11.5, "in 11 h 30 min: renew it before the shift"),
            (13, None),
        ],
    )
    def test_is_announced_within_the_shift(self, hours, words):
        now = datetime(2026, 1, 1, tzinfo=UTC)
        told = expiry.warning(Secret(jwt(exp=(now + timedelta(hours=hours)).timestamp())), now)
        assert told is None if words is None else words in told


class Exchange:
    """A cloud that sells bearer tokens of `life_s` for the key, and takes only those that still
    live.
    """

    def __init__(self, server, api, life_s=3600.0, *, failing=()):
        self.server, self.api, self.life_s, self.failing = server, api, life_s, list(failing)
        self.sold, self.good, self.lock = 0, set(), threading.Lock()
        server.otherwise = self

    def __call__(self, sock, request):
        if request.path != "/iam/auth/token":
            known = request.headers.get("authorization", "").removeprefix("Bearer ") in self.good
            return self.api.ok(
                *((200, []) if known else (401, {"code": 401, "message": "token expired"}))
            )(sock, request)
        assert "authorization" not in request.headers
        assert request.json == {"apiKey": KEY}
        with self.lock:
            if self.failing:
                return self.failing.pop(0)(sock, request)
            self.sold += 1
            self.good = {f"short-lived-{self.sold}"}
            body = {"accessToken": f"short-lived-{self.sold}", "expiresIn": self.life_s}
        return self.api.ok(200, body)(sock, request)


class TestExchange:
    @pytest.fixture
    def connected(self, server):
        made = []

        def make(**settings):
            cloud = Cloud(
                base_url=server.url, auth=EXCHANGED, timeout_s=2.0, deadline_s=5.0, **settings
            )
            made.append(connect(cloud, Secret(KEY), threading.Event().wait))
            return made[-1]

        yield make
        for one in made:
            one.close()

    def test_threads_and_both_apis_share_one(self, server, api, connected):
        cloud = Exchange(server, api)
        client = connected()
        registry = connect_registry(
            Registry(base_url=server.url),
            Secret(KEY),
            threading.Event().wait,
            cloud=Cloud(base_url=server.url, auth=EXCHANGED),
        )
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.organisations(), range(24)))
        registry.pending_tokens()
        registry.close()
        assert cloud.sold == 1
        assert all(KEY not in str(one.headers) for one in server.requests)

    def test_it_is_renewed_before_it_ends(self, server, api, connected, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr(
            "infuse_cli.cloud.auth.time",
            type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}),
        )
        cloud = Exchange(server, api, 300)
        client = connected()
        for moment, sold in ((0, 1), (199, 1), (201, 2), (399, 2), (402, 3), (2000, 4)):
            now[0] = 1000.0 + moment
            client.organisations()
            assert cloud.sold == sold, moment

    def test_a_renewal_that_fails_leaves_the_good_token_in_use(
        self, server, api, connected, monkeypatch
    ):
        now = [1000.0]
        monkeypatch.setattr(
            "infuse_cli.cloud.auth.time",
            type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}),
        )
        cloud = Exchange(server, api, 300)
        client = connected()
        client.organisations()
        cloud.failing = [api.ok(400, {"message": "not now"})] * 2
        for moment in (201, 202, 207):
            now[0] = 1000.0 + moment
            client.organisations()
        assert (cloud.sold, cloud.failing) == (1, [])
        now[0] = 1213.0
        client.organisations()
        assert cloud.sold == 2

    def test_a_token_that_the_cloud_drops_early_is_renewed_once(
        self, server, api, connected, monkeypatch
    ):
        now = [1000.0]
        monkeypatch.setattr(
            "infuse_cli.cloud.auth.time",
            type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}),
        )
        cloud = Exchange(server, api)
        client = connected()
        client.organisations()
        cloud.good, now[0] = set(), 1010.0
        assert client.organisations() == ()
        assert cloud.sold == 2
        cloud.good = set()
        with pytest.raises(CredentialError) as caught:
            client.organisations()
        assert (caught.value.code, cloud.sold) == ("credential.expired", 2)

    def test_without_a_token_the_reason_is_told_and_not_asked_for_by_every_thread(
        self, server, api, connected
    ):
        server.otherwise = api.ok(401, {"code": 401, "message": f"principal of {KEY} is suspended"})
        client = connected()
        with pytest.raises(
            CredentialError, match=r"POST /iam/auth/token .*\*\*\* is suspended"
        ) as caught:
            client.organisations()
        assert caught.value.code == "credential.suspended"
        assert server.calls() == ["POST /iam/auth/token"]

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"token": ""},
            {"token": "two words"},
            {"token": "t", "expiresIn": -1},
            {"token": "line\nend"},
        ],
    )
    def test_an_unusable_answer_is_one(self, server, api, connected, body):
        server.otherwise = api.ok(200, body)
        with pytest.raises(CloudError) as caught:
            connected().organisations()
        assert caught.value.code == "cloud.bad-answer"


class TestOverTheVirtualCloud:
    def test_a_long_run_of_many_threads_never_meets_an_expired_token(self):
        from infuse_cli.sim.cloud_app import CloudOptions
        from infuse_cli.sim.cloud_server import ServerThread

        server = ServerThread(
            CloudOptions(token=KEY, scheme="exchanged", organisations=("Acme",), iam_ttl_s=1.5)
        )
        client = connect(
            Cloud(base_url=server.start().base_url, auth=EXCHANGED),
            Secret(KEY),
            threading.Event().wait,
        )

        pace = threading.Event()

        def exchanges():
            return server.world.requests["POST /iam/auth/token"].count

        def work(_):
            while True:
                assert [one.name for one in client.organisations()] == ["Acme"]
                if exchanges() >= 3:
                    return
                pace.wait(0.01)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert exchanges() <= 4
        client.close()
        server.stop()
