"""Benches with boards that were killed at every boundary, and what the program said of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.pipeline.plan import PLANS, STEPS
from infuse_cli.pipeline.step import Effect
from world import (
    HERE,
    PASSPHRASE,
    PlacedCloud,
    StoredBench,
    private,
    restored,
    store,
    write_packed,
    write_profile,
)

from tests.foreign.cloud import Fault, Issuer, _pem
from tests.foreign.conftest import profile_values
from tests.foreign.test_foreign_kills import POINTS, firmware
from tests.line import test_kill_points
from tests.support.quick_keys import quicken

if TYPE_CHECKING:
    from collections.abc import Callable

MODES: Final = ("local-ca", "cloud-ca", "first-boot", "none")
KILLS: Final = {
    "local-ca": test_kill_points.LOCAL_CA,
    "cloud-ca": test_kill_points.CLOUD_CA,
    "first-boot": test_kill_points.FIRST_BOOT,
    "none": test_kill_points.NONE,
}
ABSENT: Final = {
    "local-ca": ("write-id", "check-in"),
    "cloud-ca": ("write-id", "check-in"),
    "first-boot": ("write-id", "derive"),
    "none": ("write-id",),
}
"""Steps that the profiles of tests/foreign give nothing to do."""

YEAR_S: Final = 31_536_000


def make_journals(data: Path) -> None:
    for number, mode in enumerate(MODES, 1):
        with tempfile.TemporaryDirectory() as folder:
            make_journal(data / "journals", mode, f"127.91.51.{number}", Path(folder))


def make_journal(data: Path, mode: str, address: str, folder: Path) -> None:
    """The bench of a mode, with a board for each fail-point and for each story."""
    bench = new_bench(folder, mode, address)
    try:
        for point in points(mode):
            killed(bench, mode, point)
        for story in STORIES.get(mode, ()):
            story(bench)
        said = answers(bench)
        archive = data / f"{mode}.tar.xz"
        store(bench, archive)
    finally:
        bench.close()
    with tempfile.TemporaryDirectory() as other:
        said["resumed"] = outcomes(archive, mode, Path(other), "resume")
    with tempfile.TemporaryDirectory() as other:
        said["provisioned"] = outcomes(archive, mode, Path(other), "provision")
    write_packed(data / f"{mode}.json.xz", said)


def new_bench(folder: Path, mode: str, address: str) -> StoredBench:
    cloud = PlacedCloud(address)
    cloud.seed()
    bench = StoredBench(folder, cloud)
    (folder / "home").mkdir(0o700)
    (folder / "home" / "bench.yaml").write_text("station: bench-1\noperator: operator\n")
    private(folder / "passphrase", PASSPHRASE + "\n")
    (folder / "broker-ca.pem").write_text(_pem(Issuer().root))
    write_profile(bench, profile_of(bench, mode))
    if mode == "local-ca":
        secret = ("--passphrase-file", str(HERE / "passphrase"))
        ran = bench.infuse("ca", "init", *secret, "--root-out", "safe")
        assert ran.code == 0, ran.stderr
        quicken(folder / "home" / "ca" / "default", PASSPHRASE)
    return bench


def profile_of(bench: StoredBench, mode: str) -> dict[str, Any]:
    """The profile of tests/foreign, with tokens that live for a year and without a passphrase."""
    values = profile_values(bench, mode, "field-sensor", token=mode == "local-ca")
    values["cloud"] |= {"lost_answer_grace_s": 0.3}
    values["identity"].pop("passphrase", None)
    if "registry" in values:
        values["registry"]["token_ttl_s"] = YEAR_S
    return values


def points(mode: str) -> list[str]:
    """Where a board of this mode is killed: each boundary of each step, and the kill lists."""
    steps = [step for step in PLANS[mode] if step not in ABSENT[mode]]
    bounds = [
        f"{place}:{step}"
        for step in steps
        for place in (("before", "begun", "ran", "done") if acts(step) else ("before",))
    ]
    return list(dict.fromkeys([*bounds, *KILLS[mode], *POINTS[mode]]))


def acts(step: str) -> bool:
    """Whether a step has an effect, and so is journalled."""
    return STEPS[step].effect is not Effect.NONE


def killed(bench: StoredBench, mode: str, point: str) -> bool:
    """Whether a run on a fresh board came to this point, and died there; else it is left out."""
    board = new_board(bench, mode, point)
    ran = bench.on("provision", board, failpoint=point)
    if ran.code == -9:
        return True
    assert ran.code == 0, (point, ran.stdout)
    bench.boards.pop(point).close()
    print(f"{mode}: {point} was never reached")
    return False


def new_board(bench: StoredBench, mode: str, name: str) -> Any:
    board = bench.board(name)
    if mode == "first-boot":
        board.online = firmware(bench)
    return board


# What else can be of a board


def passed(bench: StoredBench) -> None:
    assert bench.on("provision", bench.board("passed")).code == 0


def failed(bench: StoredBench) -> None:
    board = bench.board("failed")
    board.modem.lie = "signature"
    assert bench.on("provision", board).code == 8


def refused_by_the_cloud(bench: StoredBench) -> None:
    bench.cloud.faults = [Fault("POST /device$", "status-before", 403)]
    assert bench.on("provision", bench.board("refused by the cloud")).code in {4, 6}
    bench.cloud.faults = []


def stopped_after_a_step(bench: StoredBench) -> None:
    board = bench.board("stopped after a step")
    assert bench.on("provision", board, more=("--until", "register")).code == 0


def closed(bench: StoredBench) -> None:
    board = bench.board("closed")
    assert bench.on("provision", board, failpoint="done:register").code == -9
    ran = bench.infuse("journal", "close", board.modem.uuid, "--reason", "lost")
    assert ran.code == 0, ran.stderr


def made_again(bench: StoredBench) -> None:
    board = bench.board("made again")
    assert bench.on("provision", board).code == 0
    assert bench.on("provision", board, more=("--again", "--replace")).code in {0, 8}


def retired(bench: StoredBench) -> None:
    board = bench.board("retired")
    ran = bench.on("provision", board)
    device = ran.envelope["data"]["boards"][0]["deviceId"]
    ran = bench.infuse("device", "retire", device, "--reason", "scrapped", "--yes")
    assert ran.code == 0, ran.stderr


STORIES: Final[dict[str, tuple[Callable[[StoredBench], None], ...]]] = {
    "local-ca": (
        passed,
        failed,
        refused_by_the_cloud,
        stopped_after_a_step,
        closed,
        made_again,
        retired,
    ),
    "cloud-ca": (passed, failed, refused_by_the_cloud, stopped_after_a_step),
    "none": (passed, refused_by_the_cloud),
}


# What the program says


def answers(bench: StoredBench) -> dict[str, Any]:
    """What the commands that read a journal say of it. The first opens and closes it whole."""
    said = {words: answer(bench, *words.split()) for words in READING}
    said["journal show"] = {
        name: answer(bench, "journal", "show", board.modem.uuid, "--events")
        for name, board in bench.boards.items()
    }
    said["journal export"] = exported(bench, "csv")
    return {"answers": said}


READING: Final = (
    "journal verify",
    "journal list --limit 0",
    "journal list --open",
    "journal summary",
    "journal summary --by profile",
    "journal reconcile",
    "ca list",
    "registry token ledger",
)


def answer(bench: StoredBench, *words: str) -> dict[str, Any]:
    ran = bench.infuse(*words, "--output", "json")
    return {"code": ran.code, "envelope": ran.envelope}


def exported(bench: StoredBench, form: str) -> str:
    ran = bench.infuse("journal", "export", "--format", form, "--out", "exported")
    assert ran.code == 0, ran.stderr
    text = (bench.folder / "exported").read_text()
    (bench.folder / "exported").unlink()
    return text


def outcomes(archive: Path, mode: str, folder: Path, command: str) -> dict[str, Any]:
    """How the boards of a stored bench end when it is gone on with, by their names."""
    with restored(archive, folder) as bench:
        for board in bench.boards.values():
            if mode == "first-boot":
                board.online = firmware(bench)
        ran = bench.on(command, *bench.boards.values(), more=("--slots", "16"))
        return ended(bench, ran)


def ended(bench: StoredBench, ran: Any) -> dict[str, Any]:
    names = {board.modem.uuid: name for name, board in bench.boards.items()}
    rows = {names[row["board"]["uuid"]]: row for row in ran.envelope["data"]["boards"]}
    return {"code": ran.code, "boards": {name: outcome(row) for name, row in rows.items()}}


def outcome(row: dict[str, Any]) -> dict[str, Any]:
    """What of a board's result does not differ from run to run."""
    error = row["error"]
    return {
        "result": row["result"],
        "already": row["already"],
        "possession": row["possession"],
        "failedStep": row["failedStep"],
        "error": None if error is None else error["code"],
        "certificate": None if row["certificate"] is None else sorted(row["certificate"]),
    }
