"""The cloud refuses, is away, is slow, talks nonsense, or knows the board already."""

from __future__ import annotations

import json
import socket
import urllib.request
from contextlib import contextmanager
from typing import Any

import pytest

from tests.line.trouble import (
    MINT,
    ended,
    eventually,
    faults,
    hurried,
    in_slot,
    one_line,
    passes,
    profile_with,
    refused,
    requests,
    under_way,
    well_said,
)
from tests.support.thin import thin

LOOKUP = "GET /device/soc/{soc}/mcuId/{mcuId}"


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(60) as bench:
        bench.patient = bench.profile
        bench.profile = hurried(bench)
        yield bench


@contextmanager
def using(bench, profile: str):
    right, bench.profile = bench.profile, profile
    try:
        yield
    finally:
        bench.profile = right


def both(bench, slot: int, code: str, exit_code: int, **more: Any) -> str:
    words = bench.provisioning(bench.world.port(slot))
    error = refused(bench.infuse(*words, **more), code, exit_code)
    line = one_line(bench.infuse(*words, "--output", "human", **more), code, exit_code)
    return f"{error['message']} {error['hint']} {line}"


# -- before a board is begun -----------------------------------------------------------------------

CREDENTIALS = [
    ("not-the-token-of-anybody", "credential.refused", "infuse auth"),
    ("ik_0123.456789abcdef", "credential.iam-key", "/admin/developer"),
    ("two words", "credential.malformed", "Copy it again"),
]


@pytest.mark.parametrize(
    ("token", "code", "advice"), thin(CREDENTIALS, 2), ids=[row[1] for row in CREDENTIALS]
)
def test_a_credential_that_does_not_work(bench, token, code, advice):
    slot = bench.slot()
    told = both(bench, slot, code, 4, env={"INFUSE_TOKEN": token})
    assert advice in told
    assert token not in told
    assert in_slot(bench, slot)["counts"]["keygen"] == 0
    passes(bench, slot)


def test_no_credential_anywhere(bench):
    slot = bench.slot()
    with using(
        bench,
        profile_with(
            bench, "no-credential", lambda profile: profile["cloud"]["auth"].pop("token_file")
        ),
    ):
        assert "infuse auth login" in both(bench, slot, "credential.missing", 4)
    passes(bench, slot)


def test_a_cloud_out_of_reach(bench):
    slot = bench.slot()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        told = both(
            bench, slot, "cloud.unreachable", 5, env={"INFUSE_BASE_URL": f"http://{address}"}
        )
    assert address in told
    assert in_slot(bench, slot)["counts"]["keygen"] == 0
    passes(bench, slot)


ANSWERS = [
    ("slow=2s", "cloud.timeout", 5),
    ("5xx-before", "cloud.unavailable", 5),
    ("down", "cloud.unreachable", 5),
    ("html", "cloud.bad-answer", 6),
    ("half-json", "cloud.bad-answer", 6),
]


@pytest.mark.parametrize(
    ("answer", "code", "exit_code"), thin(ANSWERS, 3), ids=[row[0] for row in ANSWERS]
)
def test_a_cloud_that_does_not_answer_as_it_should(bench, answer, code, exit_code):
    slot = bench.slot()
    with faults(bench, f"cloud:{answer}@GET /organisation/name/{{name}}"):
        if code == "cloud.bad-answer":
            told = both(bench, slot, code, exit_code)
        else:
            ran = bench.provision(bench.world.port(slot))
            if (
                how_it_ended(ran) == "cloud.timeout"
            ):  # the last of many tries may come so late that it is cut off
                code = "cloud.timeout"
            told = refused(ran, code, exit_code)["message"]
    assert "GET /organisation/name/{name} at 127.0.0.1:" in told
    assert in_slot(bench, slot)["counts"]["keygen"] == 0
    passes(bench, slot)


def how_it_ended(ran) -> str:
    return ran.envelope["errors"][0]["code"]


UNKNOWN = [
    ({"organisation": {"name": "Nobody's"}}, "cloud.not-found", "Nobody's"),
    ({"board": {"name": "No Such Board", "create": False}}, "cloud.not-found", "No Such Board"),
    ({"network": {"name": "No Such Network"}}, "cloud.not-found", "No Such Network"),
]


@pytest.mark.parametrize(
    ("section", "code", "named"), thin(UNKNOWN, 2), ids=[row[2] for row in UNKNOWN]
)
def test_names_that_the_cloud_does_not_know(bench, section, code, named):
    slot = bench.slot()
    with using(
        bench, profile_with(bench, "unknown", lambda profile: profile["cloud"].update(section))
    ):
        assert named in both(bench, slot, code, 6)
    passes(bench, slot)


# -- in the middle of a board ----------------------------------------------------------------------

LOST = [
    "drop-before",
    "drop-after",
    "5xx-before",
    "5xx-after",
    "slow=2s",
    "html",
    "half-json",
    "429",
]


@pytest.mark.parametrize("how", thin(LOST, 3))
def test_an_answer_that_is_lost_is_looked_up_and_never_asked_for_twice(bench, how):
    """One device and one live token, whether or not the call had taken effect; the run needs no
    help.
    """
    slot = bench.slot()
    before = requests(bench, "POST /device")
    calls = (
        ("POST /device", MINT, LOOKUP + "#3")
        if how not in {"html", "half-json"}
        else ("POST /device", MINT)
    )
    profile = bench.patient if how == "429" else bench.profile
    with (
        faults(
            bench,
            ", ".join(f"cloud:{how}@{call}" + ("" if "#" in call else " x1") for call in calls),
        ),
        using(bench, profile),
    ):
        passes(bench, slot)
    eventually(
        lambda: requests(bench, "POST /device") == before + 1
    )  # a slow answer is counted once it is out
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


def test_a_page_instead_of_a_look_up_is_an_error_and_nothing_is_registered_on_it(bench):
    slot, before = bench.slot(), requests(bench, "POST /device")
    with faults(bench, f"cloud:html@{LOOKUP}"):
        assert LOOKUP in both(bench, slot, "cloud.bad-answer", 6)
    assert requests(bench, "POST /device") == before
    passes(bench, slot)
    assert requests(bench, "POST /device") == before + 1


def test_half_an_answer_is_an_error_and_the_board_goes_on_later(bench):
    slot, before = bench.slot(), requests(bench, "POST /device")
    with faults(bench, f"cloud:half-json@{LOOKUP}, cloud:half-json@GET /device"):
        assert " GET /device" in " " + both(bench, slot, "cloud.bad-answer", 6)
    passes(bench, slot)
    assert requests(bench, "POST /device") == before + 1


def test_a_credential_that_is_withdrawn_in_the_middle(bench):
    """The bench's token stops working between two boards' steps: what was done stays, and is not
    done again.
    """
    slot = bench.slot()
    registered = requests(bench, "POST /device")
    with using(
        bench,
        profile_with(bench, "own-registry", lambda profile: profile["registry"].update(auth="own")),
    ):
        error = refused(
            bench.infuse(
                *bench.provisioning(bench.world.port(slot)), env={"INFUSE_REGISTRY_TOKEN": "gone"}
            ),
            "credential.refused",
            4,
        )
        assert "registration/tokens" in error["message"]
        assert requests(bench, "POST /device") == registered + 1
    passes(bench, slot)
    assert requests(bench, "POST /device") == registered + 1
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


def test_slots_wait_for_a_cloud_that_went_away_and_go_on_alone(bench):
    slots = [bench.slot() for _ in range(3)]
    slow = ", ".join(f"{slot}:slow=700@keygen" for slot in slots)
    with (
        faults(bench, slow),
        using(bench, bench.patient),
    ):  # amber long before its calls are given up
        with under_way(bench, *(bench.world.port(slot) for slot in slots)) as run:
            for number in (1, 2, 3):
                run.until(event="step-begun", step="keygen", slot=number)
            bench.world.set_faults("cloud:down")
            for number in (1, 2, 3):
                run.until(event="board-waiting", slot=number)
            bench.world.set_faults("")
            ran = run.wait()
    assert ran.code == 0
    assert [run.of(number, "board-ended")["state"] for number in (1, 2, 3)] == ["PASS"] * 3
    assert all(board["already"] for board in passes(bench, *slots))
    assert {in_slot(bench, slot)["counts"]["keygen"] for slot in slots} == {1}


def test_a_cloud_that_stays_away_ends_the_wait(bench):
    slot = bench.slot()
    with using(
        bench,
        profile_with(
            bench, "impatient", lambda profile: profile["cloud"].update(outage_wait_s=0.5)
        ),
    ):
        with faults(
            bench, "cloud:down@POST /device, cloud:down@GET /device/soc/{soc}/mcuId/{mcuId}#2"
        ):
            ran = bench.provision(bench.world.port(slot))
    error = well_said(ended(ran)["error"])
    assert (ran.code, error["code"]) == (5, "cloud.unreachable")
    assert "run again" in error["hint"]
    passes(bench, slot)
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


@pytest.mark.storm
def test_a_storm_of_429_is_sat_out_together(bench):
    """Retry-After holds for all slots, so the refusals stay few."""
    slots = [bench.slot() for _ in range(4)]
    statuses = lambda: sum(  # noqa: E731
        row["statuses"].get("429", 0) for row in bench.world.state()["requests"].values()
    )
    before = statuses()
    with (
        using(bench, bench.patient),
        faults(bench, ", ".join(f"{slot}:slow=700@keygen" for slot in slots)),
    ):
        with under_way(bench, *(bench.world.port(slot) for slot in slots)) as run:
            for number in range(1, 5):
                run.until(event="step-begun", step="keygen", slot=number)
            bench.world.set_faults("cloud:429 x3")
            ran = run.wait()
    assert ran.code == 0
    assert statuses() == before + 3
    passes(bench, *slots)


# -- a board that the cloud knows already ----------------------------------------------------------


def call(bench, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {bench.world.token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(bench.world.base_url + path, data, headers, method=method),
        timeout=10,
    ) as answer:
        return json.load(answer)


def product(bench) -> dict[str, Any]:
    """The cloud board that the line's profile names, made by the first run."""
    if not bench.world.state()["boards"]:
        passes(bench, bench.slot())
    return next(
        row for row in bench.world.state()["boards"] if row["name"] == "Example Sensor Board"
    )


def another(bench, name: str, organisation: str | None = None) -> dict[str, Any]:
    """A cloud board of the same kind, in an organisation of its own unless one is given."""
    owner = organisation or call(bench, "POST", "/organisation", {"name": f"{name} Owner"})["id"]
    fields = [{"name": "serialNumber", "required": True, "unique": True}]
    return call(
        bench,
        "POST",
        "/board",
        {
            "organisationId": owner,
            "name": name,
            "description": "",
            "soc": "nRF9151",
            "metadataFields": fields,
        },
    )


def registered(
    bench, slot: int, board: dict[str, Any], serial: str | None = None, mcu_id: str | None = None
) -> dict[str, Any]:
    imei = in_slot(bench, slot)["imei"]
    return call(
        bench,
        "POST",
        "/device",
        {
            "mcuId": mcu_id or "0" + imei,
            "boardId": board["id"],
            "organisationId": board["organisationId"],
            "metadata": {"serialNumber": serial or imei},
        },
    )


@pytest.mark.parametrize("what", thin(["organisation", "board"], 2))
def test_a_device_that_is_registered_elsewhere_is_never_taken(bench, what):
    slot, ours = bench.slot(), product(bench)
    theirs = another(bench, f"Their {what}", ours["organisationId"] if what == "board" else None)
    device = registered(bench, slot, theirs)
    told = both(bench, slot, "cloud.wrong-owner", 8)
    assert device["deviceId"] in told
    assert what in told
    assert in_slot(bench, slot)["counts"] == {"keygen": 0, "write": 0, "delete": 0, "boot": 0}

    def to_theirs(profile):
        profile["cloud"]["board"] = {"id": theirs["id"]}
        profile["cloud"]["organisation"] = {"id": theirs["organisationId"]}

    with using(bench, profile_with(bench, f"their-{what}", to_theirs)):
        (board,) = passes(bench, slot)
    assert board["deviceId"] == device["deviceId"]


def test_a_device_that_is_registered_here_already_is_adopted(bench):
    slot = bench.slot()
    device, before = registered(bench, slot, product(bench)), requests(bench, "POST /device")
    (board,) = passes(bench, slot)
    assert (board["deviceId"], requests(bench, "POST /device")) == (device["deviceId"], before)


def test_other_metadata_in_the_cloud_is_overwritten_only_on_request(bench):
    slot = bench.slot()
    device = registered(bench, slot, product(bench), serial="SN-OTHER")
    told = both(bench, slot, "cloud.device-conflict", 8)
    assert "SN-OTHER" in told
    assert "--update-metadata" in told
    (board,) = passes(bench, slot, more=("--update-metadata",))
    assert board["deviceId"] == device["deviceId"]


def test_a_unique_value_that_another_device_holds(bench):
    slot = bench.slot()
    imei = in_slot(bench, slot)["imei"]
    other = registered(bench, slot, product(bench), mcu_id=f"f{slot:015x}")
    told = both(bench, slot, "cloud.metadata-clash", 8)
    assert imei in told
    assert other["deviceId"] in told
    passes(bench, slot, more=("--metadata", f"serialNumber=SN-{slot}"))


def test_required_metadata_that_nobody_gave(bench):
    slot, before = bench.slot(), requests(bench, "POST /device")
    with using(
        bench, profile_with(bench, "no-metadata", lambda profile: profile.update(metadata={}))
    ):
        told = both(bench, slot, "metadata.missing", 3)
        assert "serialNumber" in told
        assert "--metadata" in told
        assert (requests(bench, "POST /device"), in_slot(bench, slot)["counts"]["keygen"]) == (
            before,
            0,
        )
        passes(bench, slot, more=("--metadata", f"serialNumber=SN-{slot}"))


def test_a_registry_name_that_a_stranger_holds(bench):
    slot = bench.slot()
    with using(
        bench,
        profile_with(bench, "by-imei", lambda profile: profile["registry"].update(name="{imei}")),
    ):
        stranger = call(bench, "POST", "/api/v1/devices", {"name": in_slot(bench, slot)["imei"]})
        told = both(bench, slot, "identity.registry-conflict", 8)
        assert stranger["id"] in told
        call_without_answer(bench, "DELETE", f"/api/v1/devices/{stranger['id']}")
        passes(bench, slot)
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


def call_without_answer(bench, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {bench.world.token}"}
    with urllib.request.urlopen(
        urllib.request.Request(bench.world.base_url + path, None, headers, method=method),
        timeout=10,
    ):
        pass
