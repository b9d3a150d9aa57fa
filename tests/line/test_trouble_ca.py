"""The local CA: a wrong passphrase, a key that others can read, a clock that cannot be right.

No board is touched.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.line.trouble import (
    faults,
    in_slot,
    one_line,
    passes,
    profile_with,
    refused,
    requests,
    under_way,
)


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(16) as bench:
        yield bench


@pytest.fixture
def at(bench):
    """Whatever the trouble was: no key was made, nothing registered, and without the trouble the
    board passes.
    """
    slot, registered = bench.slot(), requests(bench, "POST /device")
    yield slot
    assert requests(bench, "POST /device") == registered
    assert in_slot(bench, slot)["counts"]["keygen"] == 0
    passes(bench, slot)


def both(bench, slot: int, code: str, exit_code: int, *more: str, **limits) -> str:
    port = bench.world.port(slot)
    error = refused(bench.provision(port, more=more, **limits), code, exit_code)
    line = one_line(bench.provision(port, more=more, output="human", **limits), code, exit_code)
    assert error["message"] in line
    return error["message"] + " " + error["hint"]


def test_a_wrong_passphrase(bench, at, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("not the passphrase\n")
    wrong.chmod(0o600)
    told = both(bench, at, "ca.bad-passphrase", 9, "--passphrase-file", str(wrong))
    assert "not the passphrase" not in told


@pytest.mark.storm
def test_an_empty_passphrase(bench, at, tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("")
    empty.chmod(0o600)
    both(bench, at, "ca.no-passphrase", 9, "--passphrase-file", str(empty))


def test_a_passphrase_file_that_is_not_there(bench, at, tmp_path):
    assert "gone" in both(
        bench, at, "ca.no-passphrase", 9, "--passphrase-file", str(tmp_path / "gone")
    )


@pytest.mark.storm
def test_a_passphrase_file_that_others_can_read(bench, at, tmp_path):
    loose = tmp_path / "loose"
    loose.write_text((bench.world.folder / "passphrase").read_text())
    loose.chmod(0o644)
    assert "chmod 600" in both(
        bench, at, "credential.unsafe-file", 4, "--passphrase-file", str(loose)
    )


def test_no_passphrase_and_no_terminal_to_ask_on(bench, at):
    def without(profile):
        del profile["identity"]["passphrase"]

    with using(bench, profile_with(bench, "no-passphrase", without)):
        assert "--passphrase-file" in both(bench, at, "ca.no-passphrase", 9)


@pytest.mark.storm
def test_a_key_file_that_others_can_read(bench, at):
    key = bench.world.folder / "ca" / "intermediate.key.pem"
    key.chmod(0o640)
    told = both(bench, at, "ca.unsafe-key", 9)
    key.chmod(0o600)
    assert "chmod 600" in told
    assert str(key) in told


@pytest.mark.storm
def test_a_ca_that_is_not_there(bench, at):
    with using(
        bench,
        profile_with(bench, "no-ca", lambda profile: profile["identity"].update(ca="elsewhere")),
    ):
        assert "infuse ca init" in both(bench, at, "ca.not-found", 9)


def test_ca_files_that_do_not_fit_together(bench, at):
    path = bench.world.folder / "ca" / "intermediate.pem"
    good = path.read_bytes()
    path.write_bytes((bench.world.folder / "ca" / "root.pem").read_bytes())
    both(bench, at, "ca.corrupt", 9)
    path.write_bytes(good[:300])
    both(bench, at, "ca.corrupt", 9)
    path.write_bytes(good)


def test_an_intermediate_that_was_revoked(bench, at, tmp_path):
    there = replace(bench, home=tmp_path / "home")
    revoked = there.infuse(
        "ca",
        "revoke",
        "--file",
        str(bench.world.folder / "ca" / "intermediate.pem"),
        "--ca",
        str(bench.world.folder / "ca"),
    )
    assert revoked.code == 0, revoked.stderr
    assert "infuse ca renew" in both(there, at, "ca.issuer-revoked", 9)


def test_a_clock_that_cannot_be_right(bench, at):
    with faults(bench, "cloud:date=+600s"):
        port = bench.world.port(at)
        message = refused(bench.provision(port), "ca.clock", 9)["message"]
        assert "10 minutes behind the cloud's" in message
        assert "10 minutes" in one_line(bench.provision(port, output="human"), "ca.clock", 9)


def test_a_clock_that_goes_wrong_during_the_run_signs_nothing(bench):
    """The server's time moved while the board made its key: it is registered by then, but nothing
    is signed.
    """
    slot = bench.slot()
    with faults(bench, f"{slot}:slow=500@keygen"):
        with under_way(bench, bench.world.port(slot)) as run:
            run.until(event="step-begun", step="keygen")
            bench.world.set_faults("cloud:date=+600s")
            ran = run.wait()
    assert ran.code == 9
    assert run.of(1, "board-ended")["error"]["code"] == "ca.clock"
    registered = requests(bench, "POST /device")
    passes(bench, slot)
    assert requests(bench, "POST /device") == registered


@pytest.mark.storm
def test_an_intermediate_revoked_during_the_run_signs_nothing_and_nothing_of_it_is_green(
    bench, tmp_path
):
    slot, there, folder = (
        bench.slot(),
        replace(bench, home=tmp_path / "home"),
        bench.world.folder / "ca",
    )
    before = bench.world.port(bench.slot())
    assert there.provision(before).code == 0
    with faults(bench, f"{slot}:slow=500@keygen"), under_way(there, bench.world.port(slot)) as run:
        run.until(event="step-begun", step="keygen")
        assert (
            there.infuse(
                "ca", "revoke", "--file", str(folder / "intermediate.pem"), "--ca", str(folder)
            ).code
            == 0
        )
        assert run.wait().code == 9
    assert run.of(1, "board-ended")["error"]["code"] == "ca.issuer-revoked"
    assert len(there.infuse("ca", "list", "--output", "json").envelope["data"]["certificates"]) == 1
    word = ("--passphrase-file", str(bench.world.folder / "passphrase"))
    assert there.infuse("ca", "renew", "--ca", str(folder), *word).code == 0
    assert there.provision(bench.world.port(slot)).code == 0
    assert "Intermediate" in refused(there.provision(before), "identity.revoked", 8)["message"]


@contextmanager
def using(bench, profile: str):
    right, bench.profile = bench.profile, profile
    try:
        yield
    finally:
        bench.profile = right


def test_a_board_whose_certificate_was_revoked_passes_only_with_a_new_one(bench):
    def without_token(profile) -> None:
        del profile["token"]

    with using(bench, profile_with(bench, "no-token", without_token)):
        revoked_then_again(bench, bench.world.port(bench.slot()))


def revoked_then_again(bench, port: str) -> None:
    first = bench.provision(port).envelope["data"]["boards"][0]
    revoked = bench.infuse(
        "ca",
        "revoke",
        "--board",
        first["board"]["imei"],
        "--reason",
        "key-compromise",
        "--output",
        "json",
    )
    assert [one["serial"] for one in revoked.envelope["data"]["revoked"]] == [
        first["certificate"]["serial"]
    ]
    assert "--again" in refused(bench.provision(port), "identity.revoked", 8)["hint"]
    again = bench.provision(port, more=("--again",)).envelope["data"]["boards"][0]
    assert (again["result"], again["certificate"]["serial"] != first["certificate"]["serial"]) == (
        "PASS",
        True,
    )
    listed = bench.infuse("ca", "list", "--device", first["deviceId"], "--output", "json").envelope[
        "data"
    ]["certificates"]
    assert [one["state"] for one in listed] == ["revoked", "issued"]


@pytest.mark.storm
def test_a_certificate_profile_beside_the_profile_says_what_is_signed_and_how_many(bench):
    folder = bench.world.folder / "certificates"
    folder.mkdir(exist_ok=True)
    (folder / "plant.yaml").write_text(
        "subject: {CN: '{name}', O: Example Provider, OU: '{imei}'}\nallow: {CN: '[0-9a-f]{16}',"
        " OU: '[0-9]{15}'}\nlimits: {day: 1}\n"
    )

    def change(profile) -> None:
        profile["identity"]["certificate"] = "plant"

    with using(bench, profile_with(bench, "plant", change)):
        port, other = bench.world.port(bench.slot()), bench.world.port(bench.slot())
        board = bench.provision(port).envelope["data"]["boards"][0]
        assert board["result"] == "PASS", board
        refused(bench.provision(other), "identity.quota", 8)
    record = bench.infuse("ca", "list", "--certificate", "plant", "--output", "json").envelope[
        "data"
    ]["certificates"]
    assert [(one["deviceId"], one["state"]) for one in record] == [(board["deviceId"], "issued")]
