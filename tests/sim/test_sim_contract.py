"""The virtual cloud keeps to its own OpenAPI document, whatever it is sent: schemathesis makes the
requests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import cycle

import httpx
import pytest

from infuse_cli.sim.cloud_app import CloudOptions
from infuse_cli.sim.cloud_server import ServerThread
from infuse_cli.sim.openapi import document
from tests.support.thin import thin

TOKEN = "organisation-admin"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
# A request can be well formed and still name what is not there: 422, and 400 where the API has no
# 422.
CHECKS = {"positive_data_acceptance": {"expected-statuses": ["2xx", 401, 404, 409, 422]}}
MAY_BE_REFUSED = [
    {"include-name": name, "checks": {"positive_data_acceptance": {"enabled": False}}}
    for name in ("POST /rpc", "POST /key/sharedSecret")
]


@pytest.fixture
def address():
    server = ServerThread(CloudOptions(token=TOKEN, organisations=("Example Provider",)))
    yield server.start().base_url
    server.stop()


@pytest.mark.parametrize("first", thin(range(3), 3))
def test_a_sample_of_right_and_wrong_requests(address, first):
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis.errors import Unsatisfiable

    config = schemathesis.Config.from_dict({"checks": CHECKS, "operations": MAY_BE_REFUSED})
    operations = [
        result.ok()
        for result in schemathesis.openapi.from_dict(document(), config=config).get_all_operations()
    ][first::3]
    few = settings(
        max_examples=1,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    right, wrong = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    tried = []
    # One request an operation, rightly and wrongly by turns, of a third of them: the storm is the
    # whole of it.
    for operation, mode in zip(operations, cycle([right, wrong]), strict=False):

        @seed(1)
        @few
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_documented(case):
            case.call_and_validate(base_url=address, headers=BEARER)
            tried.append(case)

        try:
            answers_as_documented()
        except Unsatisfiable:
            takes = [*operation.body, *operation.query, *operation.path_parameters]
            assert not takes, "there is something to send wrongly"
    assert len(tried) > 0.8 * len(operations)
    assert httpx.get(f"{address}/health").json() == {"health": "ok"}


@pytest.mark.storm
@pytest.mark.timeout(900)
def test_every_phase_of_schemathesis(address, tmp_path):
    """Coverage of each type's edges, fuzzing, and chains of calls that use each other's answers."""
    # Its own guesses take one API's deviceId for the other's; the links of the document say what
    # leads where.
    lines = [
        "[phases.stateful.inference]",
        "algorithms = []",
        "[checks.positive_data_acceptance]",
        f"expected-statuses = {CHECKS['positive_data_acceptance']['expected-statuses']}",
    ]
    for one in MAY_BE_REFUSED:
        lines += [
            "[[operations]]",
            f'include-name = "{one["include-name"]}"',
            "checks.positive_data_acceptance.enabled = false",
        ]
    (tmp_path / "schemathesis.toml").write_text("\n".join(lines))
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{address}/openapi.json",
            "-H",
            f"Authorization: {BEARER['Authorization']}",
            "--phases=examples,coverage,fuzzing,stateful",
            "--max-examples=20",
            "--seed=1",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-20000:]


def test_the_command_prints_what_the_cloud_serves(address, capsys):
    from infuse_cli.cli.main import run

    assert run(["sim", "openapi"]) == 0
    assert json.loads(capsys.readouterr().out) == httpx.get(f"{address}/openapi.json").json()
    assert run(["sim", "openapi", "--scheme", "x-api-key", "--output", "json"]) == 0
    assert (
        json.loads(capsys.readouterr().out)["data"]["components"]["securitySchemes"]["x-api-key"][
            "name"
        ]
        == "x-api-key"
    )
