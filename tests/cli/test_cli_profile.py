"""`infuse profile` and `infuse sim`, as typed."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from infuse_cli.cli import main
from infuse_cli.config import profile_template
from infuse_cli.config import source as profile_source
from infuse_cli.config.source.schema import ROOT

GOOD = """\
name: field-sensor
extends: nrf9151-dk
cloud: {organisation: {name: A}, board: {name: B}}
verify: {possession: required}
"""


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    for name in ("INFUSE_OUTPUT", "INFUSE_PROFILE", "INFUSE_BASE_URL", "INFUSE_REGISTRY_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INFUSE_HOME", str(tmp_path / "home"))


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return str(path)


def answer(argv, capsys):
    code = main.run([*argv, "--output", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_list_names_the_built_in_profiles(capsys):
    code, told = answer(["profile", "list"], capsys)
    assert code == 0
    assert [one["name"] for one in told["data"]["profiles"]] == [
        "custom-board",
        "nrf9151-dk",
        "simulator",
        "thingy91x",
    ]
    assert all(one["ok"] and one["description"] for one in told["data"]["profiles"])
    assert main.run(["profile", "list"]) == 0
    assert "nrf9151-dk" in capsys.readouterr().out


def test_show_gives_the_resolved_profile_as_yaml_that_parses_back(good, capsys):
    assert main.run(["profile", "show", good]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    _, told = answer(["profile", "show", good], capsys)
    assert shown == told["data"]["profile"]
    assert shown["board"]["soc"] == "nRF9151"
    assert told["data"]["chain"] == ["good", "nrf9151-dk"]


def test_show_tells_at_v_where_each_value_comes_from(good, capsys, monkeypatch):
    monkeypatch.setenv("INFUSE_BASE_URL", "https://other.example")
    assert main.run(["profile", "show", good, "-v"]) == 0
    lines = {
        line.split("#")[0].strip(): line.split("# ")[-1]
        for line in capsys.readouterr().out.splitlines()
        if "#" in line
    }
    assert lines["name: field-sensor"] == "good.yaml:1"
    assert lines["soc: nRF9151"].startswith("nrf9151-dk (built in):")
    assert lines["timeout_s: 10.0"] == "default"
    assert lines["base_url: https://other.example"] == "INFUSE_BASE_URL"


def test_check_of_a_good_profile_is_exit_0(good, capsys):
    assert main.run(["profile", "check", good]) == 0
    assert "0 mistakes, 0 warnings" in capsys.readouterr().out


def test_check_lists_all_mistakes_and_is_exit_3(tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD + "identty: {}\ntoken: {stor: psk}\n")
    assert main.run(["profile", "check", str(path)]) == 3
    told = capsys.readouterr()
    assert "bad.yaml:5" in told.out
    assert "bad.yaml:6" in told.out
    assert told.err == ""
    code, envelope = answer(["profile", "check", str(path)], capsys)
    assert code == 3
    assert envelope["status"] == "error"
    assert {
        one["nearest"] for one in envelope["data"]["findings"] if one["severity"] == "error"
    } >= {"identity", "store"}
    assert len(envelope["errors"]) == sum(
        one["severity"] == "error" for one in envelope["data"]["findings"]
    )


def test_check_takes_the_profile_of_the_global_option(good, capsys):
    assert main.run(["--profile", good, "profile", "check"]) == 0
    assert main.run(["profile", "check"]) == 2
    assert "no profile was named" in capsys.readouterr().err


def test_no_such_profile_is_one_line_and_exit_3(capsys):
    assert main.run(["profile", "show", "nrf9151-kd"]) == 3
    told = capsys.readouterr().err
    assert told.startswith("error profile.not-found: ")
    assert "'nrf9151-dk'" in told
    assert told.count("\n") == 1


def test_new_writes_a_profile_that_can_be_named(tmp_path, capsys):
    argv = [
        "profile",
        "new",
        "field-sensor",
        "--organisation",
        "Example: Provider",
        "--board",
        "B #1",
        "--create-board",
        "--mode",
        "cloud-ca",
        "--registry-url",
        "https://registry.example",
        "--scan",
        r"SN-\d{5}",
        "--base",
        "thingy91x",
    ]
    assert main.run(argv) == 0
    assert "infuse provision --profile field-sensor" in capsys.readouterr().out
    loaded = profile_source.load("field-sensor", dict(os.environ))
    assert loaded.profile.cloud.organisation.name == "Example: Provider"
    assert (loaded.profile.cloud.board.name, loaded.profile.cloud.board.create) == ("B #1", True)
    assert loaded.profile.identity.mode == "cloud-ca"
    assert loaded.chain == ("field-sensor", "thingy91x")
    path = tmp_path / "home" / "profiles" / "field-sensor.yaml"
    assert path.stat().st_mode & 0o777 == 0o600


def test_new_never_replaces_a_profile_unasked(capsys):
    argv = ["profile", "new", "x", "--organisation", "A", "--board", "B"]
    assert main.run(argv) == 0
    assert main.run(argv) == 2
    assert "exists already" in capsys.readouterr().err
    assert main.run([*argv, "--force"]) == 0


@pytest.mark.parametrize(
    "argv",
    [["profile", "new"], ["profile", "new", "x"], ["profile", "new", "x", "--organisation", "A"]],
)
def test_new_without_a_terminal_never_asks(argv, capsys):
    assert main.run(argv) == 2
    assert "usage.no-terminal" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["../x"], ["x", "--mode", "magic"]])
def test_new_refuses_what_cannot_be(more, capsys):
    assert main.run(["profile", "new", *more, "--organisation", "A", "--board", "B"]) == 2
    assert "usage.bad-option" in capsys.readouterr().err


def keys_of(kind, prefix=""):
    for field in kind.fields:
        path = f"{prefix}{field.encode_name}"
        yield path
        for one in getattr(field.type, "types", (field.type,)):
            if type(one).__name__ == "StructType":
                yield from keys_of(one, f"{path}.")


def filled(text):
    """A full profile with its placeholders replaced."""
    return re.sub(r"<[a-z ]+>", "Example", text)


def test_the_full_profile_has_every_key_and_checks(tmp_path, capsys):
    path = tmp_path / "full.yaml"
    assert main.run(["profile", "new", "everything", "--full", "--out", str(path)]) == 0
    capsys.readouterr()
    assert main.run(["profile", "check", str(path)]) == 3
    told = capsys.readouterr().out
    assert told.count("stands for a name") == told.count("error: ") == 2
    text = path.read_text()
    path.write_text(filled(text))
    assert main.run(["profile", "check", str(path)]) == 0
    for key in keys_of(ROOT):
        assert f"{key.rpartition('.')[2]}:" in text, key
    capsys.readouterr()


def test_the_full_profile_holds_the_defaults(tmp_path):
    path = tmp_path / "full.yaml"
    path.write_text(filled(profile_template.full("everything")))
    full = profile_source.load(str(path), {}).profile
    assert full.name == "everything"
    assert full.token is None
    assert full.identity.sec_tag == 4201


def test_what_is_commented_out_in_the_full_profile_can_be_put_in(tmp_path):
    lines = profile_template.full("everything").splitlines()
    starts = [n for n, line in enumerate(lines) if line.strip() == "# Absent by default:"]
    for start in starts:
        end = start + 1
        while (
            end < len(lines)
            and lines[end].lstrip().startswith("# ")
            and not lines[end].lstrip().startswith("# #")
        ):
            lines[end] = lines[end].replace("# ", "", 1)
            end += 1
    path = tmp_path / "full.yaml"
    path.write_text(filled("\n".join(lines)))
    reading = profile_source.read(str(path), {})
    assert reading.errors == []
    assert reading.profile.registry is not None
    assert reading.profile.token is not None
    assert reading.profile.cloud.network is not None


@pytest.mark.posix
def test_the_questions_are_asked_on_a_terminal(tmp_path):
    import pty
    import select

    main_end, board_end = pty.openpty()
    env = {**os.environ, "INFUSE_HOME": str(tmp_path / "home"), "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "infuse_cli", "profile", "new"],
        stdin=board_end,
        stdout=board_end,
        stderr=board_end,
        env=env,
    )
    os.close(board_end)
    answers = iter(
        [
            "field sensor",
            "field-sensor",
            "nrf9151-dk",
            "imei",
            "",
            "Example Provider",
            "Example Board",
            "y",
            "local-ca",
            "",
            "",
            r"SN-\d{5}",
        ]
    )
    seen = ""
    while process.poll() is None or select.select([main_end], [], [], 0)[0]:
        try:
            seen += os.read(main_end, 4096).decode()
        except OSError:
            break
        if seen.rstrip("\r\n").endswith(": ") or seen.endswith((": ", "? ")):
            seen += "\n"
            os.write(main_end, (next(answers, "") + "\n").encode())
    assert process.wait(10) == 0, seen
    os.close(main_end)
    loaded = profile_source.load("field-sensor", env)
    assert loaded.profile.cloud.board.create
    assert loaded.profile.board.mcu_id.source == "imei"
    assert "Wrote " in seen
    assert "no spaces" in seen
    assert "This is needed." in seen


# -- sim -------------------------------------------------------------------------------------------


def test_sim_up_without_the_extra_says_what_to_install(capsys, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else real(name)
    )
    assert main.run(["sim", "up"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error usage.extra-missing: ")
    assert "pip install 'infuse-line[sim]'" in told


def test_sim_up_refuses_a_plan_it_does_not_know(capsys):
    assert main.run(["sim", "up", "--boards", "1", "--faults", "bogus"]) == 2
    assert "usage.bad-option" in capsys.readouterr().err


@pytest.mark.posix
def test_sim_up_says_one_line_and_its_profile_is_good(tmp_path):
    argv = [
        sys.executable,
        "-m",
        "infuse_cli",
        "sim",
        "up",
        "--boards",
        "2",
        "--no-pace",
        "--latency-ms",
        "1",
        "--output",
        "json",
        "--stop-on-stdin-close",
    ]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        line = json.loads(process.stdout.readline())
        assert list(line) == ["infuse", "command", "status", "data"]
        assert [board["slot"] for board in line["data"]["boards"]] == [1, 2]
        loaded = profile_source.load(line["data"]["profile"], {"INFUSE_HOME": str(tmp_path)})
        assert loaded.profile.cloud.base_url == line["data"]["baseUrl"]
        process.stdin.close()
        assert process.wait(20) == 0
