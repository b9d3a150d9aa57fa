"""Profiles: every mistake at once with its line, `extends`, variables, and no secret in them."""

import contextlib
import tempfile
import textwrap
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli.config import source as ps
from infuse_cli.errors import CODES, ProfileError
from tests.support import garbage

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUTLHCUpI6qNTv72exaPuxBo4BAHswCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMRXhhbXBsZSBSb290MB4XDTI1MTIzMTAwMDAwMFoXDTQ2MDEw
MTAwMDAwMFowFzEVMBMGA1UEAwwMRXhhbXBsZSBSb290MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEGV2CkcMdSr3buDVM6lp8b/nWLR24Zr0eWzZ/IQVxrTF6xWVm
RGadCHuDCPC5zL9d/p2OQjAF8Ua9ze6cHu5KYqNFMEMwEgYDVR0TAQH/BAgwBgEB
/wIBATAOBgNVHQ8BAf8EBAMCAQYwHQYDVR0OBBYEFBjWX2wfm+beQBWl/J8/jUb2
uAQeMAoGCCqGSM49BAMCA0gAMEUCIQDN1Yd+NXwBEGZEGXieAfJfOcmWsU8qC9Sn
bzK4OeIDNgIgV/wcUQi9ozOI1QO5b9ROpDQjmP/vwd8YXoLRiqbnMKg=
-----END CERTIFICATE-----
"""

GOOD = """\
name: field-sensor
extends: nrf9151-dk
cloud:
  organisation: {name: Example Provider}
  board: {name: Example Sensor Board}
verify: {possession: required}
"""


@pytest.fixture
def write(tmp_path):
    def put(text, name="p.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    return put


def found(path, env=None):
    return [(one.line, one.severity, one.key, one.code) for one in ps.check(path, env or {})]


def only_error(path, env=None):
    errors = [one for one in ps.check(path, env or {}) if one.severity == "error"]
    assert len(errors) == 1, [str(one) for one in errors]
    return errors[0]


def test_a_good_profile_has_nothing_to_say(write):
    path = write(GOOD)
    assert ps.check(path, {}) == []
    loaded = ps.load(path, {})
    assert loaded.chain == ("p", "nrf9151-dk")
    assert loaded.profile.name == "field-sensor"
    assert loaded.profile.board.soc == "nRF9151"
    assert loaded.profile.description == ""


def test_every_mistake_is_told_at_once_with_its_line(write):
    path = write("""\
        name: 123
        extends: nrf9151-dk
        board:
          soc: nrf9151
          serial: {baud: "115200", dialect: att, bogus: 1}
        cloud:
          base_url: http://example.com
          organisaton: {name: x}
          board: {name: 2.10, metadata_fields: [{name: a, requird: true}, 5]}
        identity:
          mode: first-bot
          sec_tag: -1
          sec_tag: 99999999999
          server_ca: nope.pem
        metadata:
          serialNumber: {from: scan, pattern: '(['}
          site: NO
          other: ${NOT_SET}
        verify: 3
        """)
    lines = {(line, key) for line, severity, key, _ in found(path) if severity == "error"}
    assert lines == {
        (1, "name"),
        (4, "board.soc"),
        (5, "board.serial.baud"),
        (5, "board.serial.dialect"),
        (5, "board.serial.bogus"),
        (7, "cloud.base_url"),
        (8, "cloud.organisaton"),
        (9, "cloud.board.name"),
        (9, "cloud.board.metadata_fields[0].requird"),
        (9, "cloud.board.metadata_fields[1]"),
        (11, "identity.mode"),
        (12, "identity.sec_tag"),
        (13, "identity.sec_tag"),
        (14, "identity.server_ca"),
        (16, "metadata.serialNumber.pattern"),
        (17, "metadata.site"),
        (18, "metadata.other"),
        (19, "verify"),
    }


def test_several_mistakes_are_counted_when_loading(write):
    path = write(GOOD + "boord: 1\nkeeys: 2\n")
    with pytest.raises(ProfileError) as error:
        ps.load(path, {})
    assert error.value.code == "profile.invalid"
    assert "2 mistakes" in error.value.message
    assert "p.yaml:7" in error.value.message
    assert "infuse profile check" in error.value.hint


@pytest.mark.parametrize(
    ("line", "key", "nearest"),
    [
        ("identity: {mode: local_ca}", "identity.mode", "local-ca"),
        ("identty: {mode: none}", "identty", "identity"),
        ("board: {soc: nrf9151}", "board.soc", "nRF9151"),
        ("token: {stor: psk}", "token.stor", "store"),
        ("board: {mcu_id: {from: nrfutils}}", "board.mcu_id.from", "nrfutil"),
        ("keys: {interfaces: [udp, bt_adw]}", "keys.interfaces[1]", "bt_adv"),
    ],
)
def test_the_nearest_valid_name_is_told(write, line, key, nearest):
    errors = [
        one
        for one in ps.check(write(GOOD + line + "\n"), {})
        if one.severity == "error" and one.key == key
    ]
    assert [one.nearest for one in errors] == [nearest]
    assert nearest in str(errors[0])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("description: 5", "text (put it in quotes)"),
        ("board: {serial: {baud: '115200'}}", "a whole number (take the quotes off)"),
        ("board: {serial: {rtscts: 1}}", "true or false"),
        ("board: {usb: {vid: a}}", "a list"),
        ("metadata: {a: [1]}", "text or a section"),
        ("verify: {active_wait_s: soon}", "a number"),
        ("description:", "text"),
    ],
)
def test_a_wrong_type_says_what_was_expected(write, line, expected):
    errors = [
        one
        for one in ps.check(
            write(GOOD.replace("verify: {possession: required}\n", "") + line + "\n"), {}
        )
        if expected in one.expected
    ]
    assert errors
    assert errors[0].severity == "error"


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("name: x\n\tboard: 1\n", 2, "tab"),
        ("name: [x\n", 2, "not valid YAML"),
        ("name: x\n--- \nname: y\n", 2, "not valid YAML"),
        ("name: &a x\ndescription: *a\n", 2, "alias"),
        ("name: !!python/object/apply:os.system ['x']\n", 1, "tag"),
        ("name: 'x\n", 2, "not valid YAML"),
    ],
)
def test_bad_yaml_names_the_line(write, text, line, word):
    path = write(text)
    bad = [one for one in ps.check(path, {}) if one.code == "profile.bad-yaml"]
    assert bad[0].line == line
    assert word in bad[0].message
    with pytest.raises(ProfileError) as error:
        ps.load(path, {})
    assert error.value.code == "profile.bad-yaml"


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "- a\n- b\n", "just text\n", "[" * 4000, "a: " * 3, "\u0000"]
)
def test_what_is_no_profile_at_all_is_an_error_and_no_traceback(write, text):
    with pytest.raises(ProfileError):
        ps.load(write(text), {})


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("name:x {}[]-'\"\n\t#&*!|>${}abc01,"), max_size=60))
def test_any_text_is_checked_without_an_exception(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("p") / "p.yaml"
    path.write_text(text, encoding="utf-8")
    ps.check(str(path), {})


WORDS = (
    b"name: x\n",
    b"extends: nrf9151-dk\n",
    b"\n",
    b"  ",
    b": ",
    b"- ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"'",
    b'"',
    b"${",
    b"${A:-",
    b"&a ",
    b"*a",
    b"!x ",
    b"|\n",
    b"identity: {mode: local-ca}\n",
    b"board:",
    b"token: {store: psk, sec_tag: ",
    b"metadata:",
    b"verify:\n  ",
    b"null",
    b"1e9",
    b"0x10",
    b"true",
    b"#",
    b"\t",
    b"\xc3\xa4",
    b"\xff",
    b"---\n",
    b"cloud: {base_url: http://",
)


@pytest.mark.storm
@pytest.mark.timeout(3600)
@garbage.many
def test_any_bytes_are_checked_without_an_exception_in_a_long_run(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.yaml"
        path.write_bytes((GOOD.encode() if data[0] % 3 else b"") + garbage.text(data[1:], WORDS))
        with contextlib.suppress(ProfileError):  # bytes that are no text at all
            assert all(finding.message for finding in ps.check(str(path), {}))


def test_a_key_that_is_given_twice_names_the_first(write):
    error = only_error(write(GOOD + "name: again\n"))
    assert (error.line, error.key) == (7, "name")
    assert "line 1" in error.message


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(ProfileError) as error:
        ps.check(str(path), {})
    assert error.value.code == "profile.bad-yaml"


def test_no_such_profile_names_the_nearest():
    with pytest.raises(ProfileError) as error:
        ps.load("nrf9151-d", {})
    assert error.value.code == "profile.not-found"
    assert "'nrf9151-dk'" in error.value.message


def test_a_folder_is_not_a_profile(tmp_path):
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(ProfileError) as error:
        ps.load(str(tmp_path / "d.yaml"), {})
    assert error.value.code == "profile.unreadable"


# -- extends ---------------------------------------------------------------------------------------


def test_tables_are_merged_deeply_and_lists_replaced(write):
    write(
        "name: base\nboard: {soc: nRF9151, mcu_id: {from: imei}, usb: [{vid: '0001', pid: '0002'}],"
        " serial: {baud: 9600, rtscts: true}}\n",
        "base.yaml",
    )
    path = write(
        GOOD.replace("nrf9151-dk", "./base.yaml")
        + "board: {serial: {baud: 19200}, usb: [{vid: '0003', pid: '0004'}]}\n"
    )
    board = ps.load(path, {}).profile.board
    assert (board.serial.baud, board.serial.rtscts) == (19200, True)
    assert [usb.vid for usb in board.usb] == ["0003"]


def test_a_mistake_in_a_base_is_told_there(write):
    write("name: base\nboard: {soc: nRF9151, mcu_id: {from: nrfutil}, bogus: 1}\n", "base.yaml")
    error = only_error(write(GOOD.replace("nrf9151-dk", "base.yaml")))
    assert (error.file, error.line, error.key) == ("base.yaml", 2, "board.bogus")


def test_a_name_is_looked_for_in_the_home_before_the_built_in_ones(write, tmp_path):
    write(GOOD.replace("field-sensor", "mine"), "profiles/thingy91x.yaml")
    env = {"INFUSE_HOME": str(tmp_path)}
    assert ps.load("thingy91x", env).profile.name == "mine"
    assert next(source.name for source in ps.available(env)) == "thingy91x"


def test_a_profile_may_extend_the_built_in_one_of_its_own_name(write, tmp_path):
    write(GOOD, "profiles/nrf9151-dk.yaml")
    loaded = ps.load("nrf9151-dk", {"INFUSE_HOME": str(tmp_path)})
    assert loaded.chain == ("nrf9151-dk", "nrf9151-dk")
    assert loaded.profile.board.soc == "nRF9151"


def test_a_circle_is_told(write):
    write("name: b\nextends: p.yaml\n", "b.yaml")
    path = write(GOOD.replace("nrf9151-dk", "b.yaml"))
    assert "leads back to itself" in next(
        one.message for one in ps.check(path, {}) if one.key == "extends"
    )
    with pytest.raises(ProfileError):
        ps.load(path, {})


def test_an_unknown_base_is_told_with_its_line_and_without_its_consequences(write):
    error = only_error(write(GOOD.replace("nrf9151-dk", "nrf9151-kd")))
    assert (error.line, error.key, error.code) == (2, "extends", "profile.not-found")
    assert "nrf9151-dk" in error.message


@pytest.mark.parametrize("name", ["nrf9151-dk", "thingy91x", "custom-board", "simulator"])
def test_a_built_in_profile_only_lacks_what_a_product_brings(name):
    findings = ps.check(name, {})
    assert {one.severity for one in findings} == {"warning"}
    assert {one.key for one in findings} <= {"cloud.organisation", "cloud.board", "registry"}
    with pytest.raises(ProfileError):
        ps.load(name, {})


def test_no_real_hardware_takes_its_mcu_id_from_the_imei():
    for source in ps.available({}):
        mcu_id = ps.read(source.name, {}).profile.board.mcu_id
        assert mcu_id is not None
        assert (mcu_id.source == "imei") == (source.name == "simulator")


# -- variables -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "env", "value"),
    [
        ("${SITE}", {"SITE": "Brisbane"}, "Brisbane"),
        ("${SITE:-Perth}", {}, "Perth"),
        ("${SITE:-Perth}", {"SITE": ""}, "Perth"),
        ("${SITE}", {"SITE": "12"}, "12"),
        ("${SITE}", {"SITE": "no"}, "no"),
        ("'line ${N} of ${M:-9}'", {"N": "1"}, "line 1 of 9"),
        ("'${SITE}'", {"SITE": "12"}, "12"),
        ("'cost $5 ${1}'", {}, "cost $5 ${1}"),
        ("'${SITE}'", {"SITE": "a: {b: c}\n#"}, "a: {b: c}\n#"),
    ],
)
def test_variables_are_filled_in_as_values_never_as_yaml(write, written, env, value):
    path = write(GOOD + f"metadata:\n  site: {written}\n")
    assert ps.load(path, env).profile.metadata == {"site": value}


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_number_may_come_from_a_variable(write, quote):
    path = write(GOOD + f"identity:\n  sec_tag: {quote}${{TAG:-77}}{quote}\n")
    assert ps.load(path, {"TAG": "4242"}).profile.identity.sec_tag == 4242
    assert ps.load(path, {}).profile.identity.sec_tag == 77


def test_an_unset_variable_is_named_with_its_line(write):
    path = write(GOOD + "metadata: {site: '${SITE}'}\n")
    assert found(path) == [(7, "error", "metadata.site", "profile.variable")]
    with pytest.raises(ProfileError) as error:
        ps.load(path, {})
    assert error.value.code == "profile.variable"
    assert "SITE" in error.value.message


def test_the_environment_overrides_the_addresses_and_is_named(write):
    path = write(GOOD + "registry: {base_url: 'https://registry.example'}\n")
    loaded = ps.load(
        path,
        {"INFUSE_BASE_URL": "http://127.0.0.1:8080", "INFUSE_REGISTRY_URL": "http://localhost:9"},
    )
    assert loaded.profile.cloud.base_url == "http://127.0.0.1:8080"
    assert loaded.profile.registry is not None
    assert loaded.profile.registry.base_url == "http://localhost:9"
    assert loaded.overridden == (
        "cloud.base_url (INFUSE_BASE_URL)",
        "registry.base_url (INFUSE_REGISTRY_URL)",
    )


def test_a_registry_address_for_a_profile_without_registry_is_doubted(write):
    loaded = ps.load(write(GOOD), {"INFUSE_REGISTRY_URL": "http://localhost:9"})
    assert loaded.profile.registry is None
    assert "INFUSE_REGISTRY_URL" in loaded.warnings[0].message


def test_overrides_of_the_command_line_win_and_are_checked(write):
    path = write(GOOD)
    loaded = ps.load(
        path,
        {"INFUSE_BASE_URL": "https://a.example"},
        overrides=[("identity.existing", "replace"), ("cloud.base_url", "https://b.example")],
    )
    assert (loaded.profile.identity.existing, loaded.profile.cloud.base_url) == (
        "replace",
        "https://b.example",
    )
    with pytest.raises(ProfileError):
        ps.load(path, {}, overrides=[("identity.existing", "maybe")])


# -- secrets ---------------------------------------------------------------------------------------

SECRETS = [
    "cloud: {auth: {token: hunter2hunter2}}",
    "identity: {passphrase: hunter2hunter2}",
    "api_key: hunter2hunter2",
    "metadata: {wifiPassword: hunter2hunter2}",
    "description: ik_hunter2hunter2.abc",
    "description: eyJhbGciOiJub25lIn0.eyJodW50ZXIyaHVudGVyMiI6MX0.x",
    "description: '-----BEGIN EC PRIVATE KEY----- hunter2hunter2'",
    "description: https://user:hunter2hunter2@host.example",
    "# ik_hunter2hunter2 was the old one",
]


@pytest.mark.parametrize("line", SECRETS)
def test_a_secret_is_refused_and_never_shown(write, line):
    path = write(GOOD.replace("cloud:\n", "cloud:\n  timeout_s: 5\n") + line + "\n")
    secret = [one for one in ps.check(path, {}) if one.code == "profile.secret"]
    assert secret
    assert {one.line for one in secret} == {8}
    with pytest.raises(ProfileError) as error:
        ps.load(path, {})
    assert error.value.code == "profile.secret"
    for told in (
        str(error.value),
        repr(error.value),
        str(error.value.details),
        *map(str, ps.check(path, {})),
    ):
        assert "hunter2" not in told
        assert "eyJhbGci" not in told


def test_a_variable_brings_no_secret_in(write):
    path = write(GOOD + "description: ${CRED}\n")
    with pytest.raises(ProfileError) as error:
        ps.load(path, {"CRED": "ik_hunter2hunter2"})
    assert error.value.code == "profile.secret"
    assert "hunter2" not in str(error.value)


def test_files_and_keyring_may_be_named(write, tmp_path):
    (tmp_path / "pass").write_text("x")
    path = write(
        GOOD + "identity: {passphrase: {file: pass}}\ntoken: {store: psk}\nregistry: {base_url:"
        " 'https://r.example'}\n"
    )
    assert ps.load(path, {}).profile.identity.passphrase.file == str(tmp_path / "pass")


# -- sense -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "key", "code"),
    [
        ("identity: {sec_tag: 2147483648}", "identity.sec_tag", "profile.invalid"),
        ("identity: {mode: cloud-ca}", "registry", "profile.invalid"),
        ("identity: {mode: first-boot}", "registry", "profile.invalid"),
        ("token: {store: psk}", "registry", "profile.invalid"),
        ("registry: {base_url: 'http://registry.example'}", "registry.base_url", "profile.invalid"),
        ("registry: {base_url: 'registry.example'}", "registry.base_url", "profile.invalid"),
        (
            "registry: {base_url: 'https://r.example', name: '{deviceID}'}",
            "registry.name",
            "profile.invalid",
        ),
        (
            "registry: {base_url: 'https://r.example', name: '{'}",
            "registry.name",
            "profile.invalid",
        ),
        ("metadata: {a: {from: scan, pattern: '('}}", "metadata.a.pattern", "profile.invalid"),
        ("identity: {server_ca: missing.pem}", "identity.server_ca", "profile.invalid"),
        (
            "identity: {passphrase: {file: p.yaml, keyring: true}}",
            "identity.passphrase",
            "profile.invalid",
        ),
        ("identity: {key_usage: '111'}", "identity.key_usage", "profile.invalid"),
        ("verify: {active_wait_s: 5}", "verify.active_wait_s", "profile.unsupported"),
        (
            (
                "board: {serial: {dialect: at}}\nregistry: {base_url: 'https://r.example'}\ntoken:"
                " {store: kv, name: '20'}"
            ),
            "token.store",
            "profile.unsupported",
        ),
        (
            (
                "board: {serial: {dialect: at}}\nregistry: {base_url: 'https://r.example'}\ntoken:"
                " {store: settings, name: t}"
            ),
            "token.store",
            "profile.unsupported",
        ),
        (
            "registry: {base_url: 'https://r.example'}\ntoken: {store: settings}",
            "token",
            "profile.invalid",
        ),
        (
            (
                "registry: {base_url: 'https://r.example'}\ntoken: {store: command, command: prov,"
                " success: ok}"
            ),
            "token.command",
            "profile.invalid",
        ),
        (
            (
                "registry: {base_url: 'https://r.example'}\ntoken: {store: command, command: 'prov"
                " {token}'}"
            ),
            "token.success",
            "profile.invalid",
        ),
        ("board: {mcu_id: {from: command, pattern: '(x)'}}", "board.mcu_id", "profile.invalid"),
        (
            "board: {mcu_id: {from: command, command: c, pattern: 'x'}}",
            "board.mcu_id.pattern",
            "profile.invalid",
        ),
        (
            "board: {serial: {dialect: at}, mcu_id: {from: hwinfo}}",
            "board.mcu_id.from",
            "profile.unsupported",
        ),
        (
            "board: {serial: {dialect: at-shell}, mcu_id: {from: epacket}}",
            "board.mcu_id.from",
            "profile.unsupported",
        ),
        (
            (
                "registry: {base_url: 'https://r.example'}\ntoken: {store: command, command: 'prov"
                " {token}', success: '('}"
            ),
            "token.success",
            "profile.invalid",
        ),
        (
            "registry: {base_url: 'https://r.example'}\ntoken: {store: kv, name: token}",
            "token",
            "profile.invalid",
        ),
        (
            "identity: {mode: local-ca}\nboard: {serial: {dialect: epacket}}",
            "identity.mode",
            "profile.unsupported",
        ),
        (
            "board: {serial: {credential_buffer: 10}}",
            "board.serial.credential_buffer",
            "profile.invalid",
        ),
        (
            "board: {expect: {modem_firmware: newest}}",
            "board.expect.modem_firmware",
            "profile.invalid",
        ),
        ("board: {usb: [{vid: '13', pid: '1069'}]}", "board.usb", "profile.invalid"),
    ],
)
def test_what_makes_no_sense_is_told_at_its_key(write, lines, key, code):
    path = write(GOOD.replace("verify: {possession: required}\n", "") + lines + "\n")
    error = only_error(path)
    assert (error.key, error.code) == (key, code)
    with pytest.raises(ProfileError) as raised:
        ps.load(path, {})
    assert raised.value.code == code


def test_organisation_and_board_must_be_named(write):
    path = write(
        "name: x\nextends: nrf9151-dk\ncloud: {board: {create: true}}\nverify: {possession:"
        " required}\n"
    )
    assert [key for _, _, key, _ in found(path)] == [
        "cloud.organisation",
        "cloud.board",
        "cloud.board",
    ]


@pytest.mark.parametrize("firmware", [">=2.0.2", "2.0.2", ">= 2.0, <3", "==1.3.7"])
def test_comparisons_of_versions(write, firmware):
    assert found(write(GOOD + f"board: {{expect: {{modem_firmware: '{firmware}'}}}}\n")) == []


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ("", "green proves nothing to the broker"),
        ("verify: {possession: required}\nboard: {mcu_id: {from: imei}}", "IMEI"),
        (
            (
                "verify: {possession: required}\nregistry: {base_url: 'https://r.example'}\ntoken:"
                " {sec_tag: 4201}"
            ),
            "share the sec_tag",
        ),
        (
            (
                "verify: {possession: required}\nidentity: {mode: none}\ntoken: {}\nregistry:"
                " {base_url: 'https://r.example'}"
            ),
            "does nothing",
        ),
        ("verify: {possession: required}\nboard: {soc: esp32}", "not one that is known here"),
    ],
)
def test_what_is_doubtful_is_a_warning_and_loads(write, lines, word):
    path = write(GOOD.replace("verify: {possession: required}\n", "") + lines + "\n")
    loaded = ps.load(path, {})
    assert [word in one.message for one in loaded.warnings] == [True]


def test_a_relative_path_starts_from_the_file_that_names_it(write, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "broker.pem").write_text(CERTIFICATE)
    write(
        "name: b\nextends: nrf9151-dk\nidentity: {server_ca: broker.pem, ca: ../ca/mine}\n",
        "base/b.yaml",
    )
    identity = ps.load(write(GOOD.replace("nrf9151-dk", "base/b.yaml")), {}).profile.identity
    assert identity.server_ca == str(tmp_path / "base" / "broker.pem")
    assert identity.ca == str(tmp_path / "base" / ".." / "ca" / "mine")
    assert ps.load(write(GOOD), {}).profile.identity.ca == "default"


def test_the_order_in_which_codes_are_grave_knows_all_profile_codes():
    assert set(ps._GRAVEST) == {code for code in CODES if code.startswith("profile.")}


def test_the_tree_does_not_depend_on_the_order_of_keys(write):
    values = yaml.safe_load(GOOD)
    turned = write(yaml.safe_dump(dict(reversed(values.items())), sort_keys=False), "turned.yaml")
    assert ps.load(turned, {}).profile == ps.load(write(GOOD), {}).profile
