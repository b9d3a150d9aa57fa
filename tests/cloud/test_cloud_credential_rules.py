"""Where a credential goes, in which header, and what is refused before anything is
sent.
"""

import subprocess
import sys
import threading

import pytest

from infuse_cli.cloud.build import connect
from infuse_cli.cloud.urls import parse_base_url
from infuse_cli.config.model import Auth, Cloud
from infuse_cli.errors import CredentialError, InfuseError, ProfileError
from infuse_cli.types import Secret


@pytest.mark.parametrize(
    ("scheme", "header", "value"),
    [
        ("bearer", "authorization", "Bearer legacy-admin-token-7731"),
        ("api-key", "authorization", "ApiKey legacy-admin-token-7731"),
        ("x-api-key", "x-api-key", "Bearer legacy-admin-token-7731"),
    ],
)
def test_schemes(server, make_client, scheme, header, value):
    make_client(auth=Auth(scheme=scheme)).networks("0000000a-0000-4000-8000-000000000001")
    sent = server.requests[0].headers
    assert sent[header] == value
    assert sum("7731" in text for text in sent.values()) == 1


def test_an_iam_key_is_explained_before_the_first_request(server):
    cloud = Cloud(base_url=server.url)
    with pytest.raises(CredentialError, match="IAM API key") as caught:
        connect(cloud, Secret("ik_abc.def"), threading.Event().wait)
    assert caught.value.code == "credential.iam-key"
    assert "abc" not in str(caught.value)
    connect(
        Cloud(base_url=server.url, auth=Auth(scheme="api-key")),
        Secret("ik_abc.def"),
        threading.Event().wait,
    ).close()
    assert server.requests == []


@pytest.mark.parametrize("text", ["", "two words", "line\r\nX-Evil: 1", "ümlaut", "tab\t"])
def test_a_credential_that_cannot_travel_is_refused_and_not_shown(server, text):
    with pytest.raises(CredentialError) as caught:
        connect(Cloud(base_url=server.url), Secret(text), threading.Event().wait)
    assert caught.value.code == "credential.malformed"
    assert not text or text not in str(caught.value)


def test_the_registry_on_the_same_host_gets_the_same_credential(server, make_registry):
    make_registry().pending_tokens()
    assert server.requests[0].headers["authorization"] == "Bearer legacy-admin-token-7731"


def test_the_registry_on_another_host_does_not(server, make_registry):
    with pytest.raises(
        CredentialError, match=r"not sent to the registry on another host"
    ) as caught:
        make_registry(cloud_url="https://api.infuse-iot.com")
    assert "INFUSE_REGISTRY_TOKEN" in caught.value.hint
    assert server.requests == []


def test_the_profile_can_send_it_to_another_host(server, make_registry):
    make_registry(cloud_url="https://api.infuse-iot.com", auth="same").pending_tokens()
    assert server.requests[-1].headers["authorization"] == "Bearer legacy-admin-token-7731"


def test_the_registrys_own_credential_beats_the_other(server, make_registry):
    make_registry(cloud_url="https://api.infuse-iot.com", own="own-1").pending_tokens()
    make_registry(auth="own", own="own-2").pending_tokens()
    assert [one.headers["authorization"] for one in server.requests] == [
        "Bearer own-1",
        "Bearer own-2",
    ]
    with pytest.raises(CredentialError):
        make_registry(auth="own")


def test_a_registry_without_auth_gets_none(server, make_registry):
    make_registry(auth="none", own="own-1").pending_tokens()
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.infuse-iot.com", "https://api.infuse-iot.com"),
        ("https://API.Infuse-IoT.com:8443/v2//", "https://api.infuse-iot.com:8443/v2"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("http://[::1]:99/x", "http://[::1]:99/x"),
    ],
)
def test_good_base_urls(text, url):
    assert parse_base_url(text, "cloud.base_url").url == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.infuse-iot.com",
        "ftp://x",
        "https://",
        "https://api example",
        "http://10.0.0.1",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "https://x/?q=1",
        "https://x/#f",
        "http://[::1",
        "https://x:99999",
    ],
)
def test_bad_base_urls(text):
    with pytest.raises(ProfileError, match=r"cloud\.base_url") as caught:
        parse_base_url(text, "cloud.base_url")
    assert caught.value.code == "profile.invalid"


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@x.example",
        "https://me:12345#hunter2@x.example",
        "https://me:12345/hunter2@x.example",
        "https://me:hunter2#@x.example",
    ],
)
def test_a_password_in_the_url_is_a_secret_in_the_profile(url):
    with pytest.raises(ProfileError) as caught:
        parse_base_url(url, "cloud.base_url")
    assert caught.value.code == "profile.secret"
    assert "hunter2" not in str(caught.value)
    assert "12345" not in str(caught.value)


def test_paths_of_base_urls_are_kept_and_not_doubled(server, make_client, make_registry):
    make_client(base_url=server.url + "/infuse/").networks("0000000a-0000-4000-8000-000000000001")
    make_registry(base_url=server.url + "/reg/api/v1/").pending_tokens()
    assert [one.path for one in server.requests] == [
        "/infuse/network",
        "/reg/api/v1/devices/registration/tokens",
    ]


def test_a_proxy_of_the_environment_never_sees_loopback_calls(server, make_client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert make_client().networks("0000000a-0000-4000-8000-000000000001") == ()


def test_a_missing_ca_bundle_names_the_key():
    with pytest.raises(InfuseError, match=r"cloud\.ca_bundle"):
        connect(Cloud(ca_bundle="/nonexistent/ca.pem"), Secret("t"), threading.Event().wait)


def test_only_one_file_imports_httpx_and_the_light_ones_do_not():
    code = (
        "import sys, infuse_cli.cloud.scheme, infuse_cli.cloud.urls, infuse_cli.keys.credentials;"
        " print({'httpx', 'keyring', 'cryptography', 'tenacity'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )
