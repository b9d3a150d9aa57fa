"""Boards and clouds with manners of their own: everything the interfaces allow, and lies that it
does not.
"""

from __future__ import annotations

import json
import random

import pytest

from tests.foreign.board import Fault, Modem, Style
from tests.foreign.cloud import Cloud
from tests.foreign.cloud import Fault as CloudFault
from tests.foreign.conftest import storms
from tests.foreign.verifier import audit, check_board, check_identity, local_root, pem


@pytest.mark.storm
def test_log_text_on_the_same_uart(bench):
    board = bench.board(style=Style(log=True, noise=True))
    shown = bench.passes(board)
    check_identity(bench, board, shown, local_root(bench))


def test_a_board_that_slept_through_the_first_question(bench):
    """Then a quote is sent to close a half line, and what comes behind the refused rest falls on
    deaf ears.
    """
    board = bench.board()
    board.faults.append(Fault("^AT$", "silent-before"))
    bench.passes(board)


@pytest.mark.storm
def test_a_reboot_is_no_refusal_of_the_modem(bench):
    board = bench.board()
    board.faults += [Fault("CGMR", "reset-after"), Fault("CGMR", "reset-before", at=1)]
    bench.passes(board)


@pytest.mark.storm
def test_a_modem_that_takes_its_time(bench):
    board = bench.board(style=Style(cfun_s=2.5))
    board.keygen_s = 3.0
    bench.passes(board)


@pytest.mark.storm
def test_a_list_without_digests_proves_nothing(bench):
    board = bench.board(style=Style(digests="none"))
    ran = bench.provision(board)
    assert ran.code == 7
    assert ran.envelope["data"]["boards"][0]["error"]["code"] == "serial.no-digest"
    assert ran.envelope["data"]["boards"][0]["result"] == "FAIL"


@pytest.mark.storm
def test_a_module_without_an_imei_names_the_source(bench):
    board = bench.board(Modem(imei=""))
    ran = bench.provision(board)
    row = ran.envelope["data"]["boards"][0]
    assert (ran.code, row["result"], row["error"]["code"]) == (7, "FAIL", "board.no-imei")
    assert "imei" in row["error"]["message"].lower()


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ("digest", "identity.digest-mismatch"),
        *storms(
            ("uuid", "identity.uuid-mismatch"),
            ("tag", "identity.tag-mismatch"),
            ("signature", "identity.bad-signature"),
        ),
    ],
)
def test_nothing_is_registered_or_signed_for_a_csr_that_lies(bench, lie, code):
    board = bench.board()
    board.modem.lie = lie
    ran = bench.provision(board)
    row = ran.envelope["data"]["boards"][0]
    assert (ran.code, row["result"], row["error"]["code"], row["failedStep"]) == (
        8,
        "FAIL",
        code,
        "vet",
    )
    assert bench.cloud.writes() == []
    assert (4201, 1) not in board.modem.store
    assert board.modem.mode == 1
    board.modem.lie = ""
    shown = bench.passes(board)
    check_identity(bench, board, shown, local_root(bench))


@pytest.mark.storm
def test_a_key_of_another_board_is_a_clone(bench):
    one, two = bench.board(), bench.board()
    bench.passes(one)
    two.modem.borrowed = one.modem.keys[4201]
    ran = bench.provision(two)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "identity.key-reused"
    assert len(bench.cloud.state.devices) == 1


@pytest.mark.storm
def test_an_imei_of_another_board_is_a_clone(bench):
    one, two = bench.board(), bench.board()
    bench.passes(one)
    two.modem.imei = one.modem.imei
    ran = bench.provision(two)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "identity.clone"
    assert two.modem.counts["keygen"] == 0


@pytest.mark.parametrize(
    ("number", "code", "result"),
    [
        (528, "modem.power", "ERROR"),
        *storms(
            (514, "modem.not-allowed", "FAIL"),
            (515, "modem.full", "FAIL"),
            (518, "modem.active", "FAIL"),
            (519, "modem.exists", "FAIL"),
            (523, "modem.keygen-failed", "FAIL"),
            (527, "modem.bad-certificate", "FAIL"),
        ),
    ],
)
def test_a_refusal_of_the_modem_has_a_name_and_can_be_tried_again(bench, number, code, result):
    board = bench.board()
    at = "KEYGEN" if number == 523 else "CMNG=0,4201,1"
    board.faults += [Fault(at, "cme", number), Fault(at, "cme", number)]
    ran = bench.provision(board)
    row = ran.envelope["data"]["boards"][0]
    assert (ran.code, row["error"]["code"], row["result"]) == (7, code, result)
    assert str(number) in row["error"]["message"]
    board.faults.clear()
    bench.passes(board)
    assert audit(bench.cloud, [board.modem]) == []


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(24))
def test_storm_a_board_that_reboots_when_it_likes(bench, seed):
    dice = random.Random(seed)
    board = bench.board(
        style=Style(
            boot_s=dice.choice([0.0, 0.1, 0.4]),
            empty_line=dice.random() < 0.5,
            echo=dice.random() < 0.5,
        )
    )
    board.faults += [
        Fault("AT", dice.choice(["reset-before", "reset-after"]), at=dice.randrange(2, 30))
        for _ in range(3)
    ]
    for _ in range(4):
        ran = bench.provision(board)
        if ran.code == 0:
            break
        assert ran.envelope["data"]["boards"][0]["result"] == "ERROR", ran.stdout
    shown = bench.passes(board)
    check_identity(bench, board, shown, local_root(bench))
    assert board.modem.mode == 1


# -- clouds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["local-ca", *storms("cloud-ca")])
def test_a_registry_on_a_port_of_its_own(make_bench, mode):
    bench = make_bench()
    registry = Cloud(items=True)
    registry.state, registry.token, registry.issuer = (
        bench.cloud.state,
        bench.cloud.token,
        bench.cloud.issuer,
    )
    bench.write(mode, token=mode == "local-ca", registry={"base_url": registry.url})
    bench.passes(bench.board())
    assert bench.cloud.calls("/api/v1") == []
    assert registry.wrong == []
    registry.close()


@pytest.mark.parametrize("manner", ["bare", *storms("deaf", "items", "deaf-items")])
def test_answers_at_the_edge_of_the_contract(make_bench, manner):
    bench = make_bench(items="items" in manner)
    bench.cloud.bare, bench.cloud.deaf_to_paging = manner == "bare", "deaf" in manner
    for number in range(200):
        made = bench.cloud._stored(
            bench.cloud.state.registry,
            {"name": f"other {number}", "status": "ACTIVE", "tags": [], "metadata": {}},
        )
        bench.cloud._stored(
            bench.cloud.state.tokens,
            {
                "deviceId": made["id"],
                "name": made["name"],
                "status": "PENDING",
                "secret": f"rt_other_{number}",
                "uses": 0,
                "expiresAt": "2099-01-01T00:00:00Z",
            },
        )
    bench.write("cloud-ca", cloud={"lost_answer_grace_s": 0.3})
    board = bench.board()
    bench.cloud.faults += [
        CloudFault("POST .*/tokens", "drop-after"),
        CloudFault("POST .*/provision", "drop-before"),
    ]
    shown = bench.passes(board)
    check_board(shown)
    check_identity(bench, board, shown, pem(bench.cloud.issuer.root))
    assert len(bench.cloud.state.registry) == 201
    assert audit(bench.cloud, [board.modem]) == []


@pytest.mark.storm
@pytest.mark.parametrize("scheme", ["api-key", "x-api-key"])
def test_the_other_ways_to_show_a_credential(bench, scheme):
    bench.cloud.scheme = scheme
    bench.write(cloud={"auth": {"scheme": scheme}})
    bench.passes(bench.board())
    assert bench.cloud.wrong == []


def test_another_bench_is_faster_by_a_moment(bench):
    board = bench.board()

    def faster(request):
        if request.call == "POST /device" and not bench.cloud.state.devices:
            bench.cloud._stored(
                bench.cloud.state.devices,
                {
                    **request.body,
                    "deviceId": "00000000000000f1",
                    "metadata": {"deploymentSite": "Brisbane"},
                },
            )

    bench.cloud.before = faster
    assert bench.passes(board)["deviceId"] == "00000000000000f1"


@pytest.mark.storm
def test_another_bench_takes_the_label_by_a_moment(make_bench):
    bench = make_bench(fields=[{"name": "deploymentSite", "required": True, "unique": True}])
    bench.write()
    board = bench.board()

    def faster(request):
        if request.call == "POST /device" and not bench.cloud.state.devices:
            bench.cloud._stored(
                bench.cloud.state.devices,
                {**request.body, "mcuId": "0999999999999999", "deviceId": "00000000000000f2"},
            )

    bench.cloud.before = faster
    ran = bench.provision(board)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "cloud.metadata-clash"
    assert (4201, 1) not in board.modem.store


@pytest.mark.storm
def test_an_override_by_the_environment_is_shown(bench):
    board = bench.board()
    values = bench.profile.read_text().replace(bench.cloud.url, "http://127.0.0.1:9")
    bench.profile.write_text(values)
    ran = bench.infuse(
        *bench.provision_argv(board, output="jsonl"), env={"INFUSE_BASE_URL": bench.cloud.url}
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    assert (
        "base_url"
        in json.dumps(json.loads(ran.stdout.splitlines()[0])["data"]["overridden"]).lower()
    )


@pytest.mark.storm
def test_a_dry_run_says_what_would_stop_the_board(bench):
    board = bench.board()
    board.modem.occupy(4201, 2)
    ran = bench.provision(board, more=("--dry-run",))
    assert ran.code == 8
    assert bench.cloud.writes() == []
    assert not board.modem.counts


@pytest.mark.parametrize("key", ["imei", *storms("uuid", "mcuId")])
def test_metadata_by_any_key(bench, key):
    bench.write(metadata={"serialNumber": {"from": "scan"}})
    boards = [bench.board(), bench.board()]
    keys = {
        "uuid": lambda modem: modem.uuid,
        "mcuId": lambda modem: "0" + modem.imei,
        "imei": lambda modem: modem.imei,
    }
    table = bench.folder / "labels.csv"
    rows = [f"{keys[key](board.modem)},SN-{number}" for number, board in enumerate(boards)]
    table.write_text("\n".join([f"{key},serialNumber", *rows]) + "\n")
    assert bench.provision(*boards, more=("--metadata-from", str(table))).code == 0
    assert bench.cloud.device_of("0" + boards[1].modem.imei)["metadata"]["serialNumber"] == "SN-1"


@pytest.mark.storm
@pytest.mark.parametrize(
    "argv",
    [("--until", "nonsense"), ("--metadata", "novalue"), ("--metadata-from", "/no/such.csv")],
)
def test_usage_errors_touch_nothing(bench, argv):
    board = bench.board()
    ran = bench.provision(board, more=argv)
    assert ran.code in {2, 3}
    assert "Traceback" not in ran.stdout + ran.stderr
    assert bench.cloud.requests == []
    assert board.commands == []


@pytest.mark.parametrize("kind", ["late", *storms("drop-after", "drop-before")])
def test_the_product_is_created_once(make_bench, kind):
    """A lost POST /board, at a cloud that would take a second of the same name."""
    bench = make_bench(seed=False)
    bench.cloud.names_are_unique = False
    bench.cloud.seed(board="Another", network=None)
    bench.write(cloud={"network": None, "lost_answer_grace_s": 2.0})
    bench.cloud.faults.append(CloudFault("POST /board$", kind, 1.0))
    board = bench.board()
    ran = bench.provision(board)
    assert ran.code == 0, ran.stdout
    bench.passes(board)
    bench.cloud.settle()
    assert [row["name"] for row in bench.cloud.state.boards.values()] == [
        "Another",
        "Example Sensor Board",
    ]


@pytest.mark.storm
@pytest.mark.parametrize("manner", ["dateless", "old_http"])
def test_a_plain_server(bench, manner):
    setattr(bench.cloud, manner, True)
    bench.passes(bench.board())


@pytest.mark.storm
def test_an_imei_that_has_to_be_asked_for_by_form(bench):
    bench.passes(bench.board(style=Style(cgsn_needs_form=True, cgsn_bare=True)))


def test_a_green_board_that_lost_its_certificate_is_no_longer_green(bench):
    board = bench.board()
    bench.passes(board)
    del board.modem.store[4201, 1]
    writes = board.modem.counts["write"]
    ran = bench.provision(board)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "identity.not-read-back"
    assert board.modem.counts["write"] == writes
    shown = bench.passes(board, more=("--again",))
    check_identity(bench, board, shown, local_root(bench))


def test_no_board_anywhere(bench):
    ran = bench.provision()
    assert ran.code == 7
    assert ran.envelope["errors"][0]["code"] == "serial.none"
