"""What commit dadc716 wrote for later: backup, signed head, hand-over, sealed secrets, profiles."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from infuse_cli.config import model as prof
from infuse_cli.provisioning.plan import run_plan
from tests.baseline.compare import differences
from tests.baseline.world import HERE, read_packed, restored
from tests.foreign.verifier import audit

DATA = Path(__file__).parent / "data"
SECRET = ("--passphrase-file", str(HERE / "passphrase"))
SAID = read_packed(DATA / "files" / "bench.json.xz")
PLANS = read_packed(DATA / "plans.json.xz")

linux = pytest.mark.skipif(sys.platform != "linux", reason="stored paths go by /proc/self/cwd")
pytestmark = pytest.mark.posix


@pytest.fixture
def bench(zygote, tmp_path):
    with restored(DATA / "files" / "bench.tar.xz", tmp_path / "bench", zygote) as made:
        yield made


def data(bench, *words, home="home", code=0):
    ran = bench.infuse(*words, "--output", "json", home=home)
    assert ran.code == code, (words, ran.stdout, ran.stderr)
    return ran.envelope["data"]


def says_the_same(bench, was, home="home"):
    for words, told in was.items():
        assert differences(words, told, data(bench, *words.split(), home=home)) == []


@linux
def test_a_chain_is_vouched_for_by_a_head_that_was_signed_before_it_went_on(bench):
    says_the_same(bench, SAID["now"])
    data(bench, "journal", "verify", "--head", "head", "--root", "safe/root.pem")
    chain = bench.folder / "home" / "journal.sqlite3"
    chain.unlink()
    data(bench, "journal", "import", "plain")
    data(bench, "journal", "verify", "--head", "head", "--root", "safe/root.pem")


@linux
def test_a_head_gives_a_chain_away_that_was_cut(bench):
    """The journal of another home is not what was signed."""
    words = ("journal", "verify", "--head", "head", "--root", "safe/root.pem")
    assert bench.infuse(*words, "--output", "json", home="job").code == 10


@linux
@pytest.mark.parametrize("file", ["backup", "plain"])
def test_a_backup_is_taken_back_into_an_empty_home(bench, file):
    data(bench, "journal", "import", file, *SECRET, home="other")
    data(bench, "journal", "verify", home="other")
    same = {words: was for words, was in SAID["backup"].items() if words != "journal verify"}
    says_the_same(bench, same, home="other")


@linux
def test_secrets_are_unsealed_and_sealed_again(bench):
    before = len(bench.cloud.state.minted)
    data(bench, "journal", "rekey")
    assert bench.on("provision", bench.boards["after"]).code == 0
    assert audit(bench.cloud, [bench.boards["after"].modem]) == []
    assert len(bench.cloud.state.minted) == before, "the sealed token was used"


@linux
def test_a_hand_over_brings_its_tokens_to_another_bench(bench):
    told = data(bench, "journal", "import", "hand-over", *SECRET)
    assert told["tokens"] == SAID["hand-over"]["tokens"]
    boards = [bench.boards["handed over"], bench.boards["handed over too"]]
    before = len(bench.cloud.state.minted)
    ran = bench.on("provision", *boards)
    assert ran.code == 0, ran.stdout
    assert len(bench.cloud.state.minted) == before, "no token was minted"
    assert audit(bench.cloud, [board.modem for board in boards]) == []


@linux
def test_the_home_of_a_batch_still_knows_what_it_handed_over(bench):
    ran = bench.infuse("batch", "status", "lot.csv", "--output", "json", home="job")
    assert ran.code == 0, ran.stdout
    taken = data(bench, "batch", "export", "lot.csv", "--take-back", "--yes", home="job")
    assert taken["takenBack"] == 2


@pytest.mark.parametrize("name", PLANS)
def test_the_profile_of_a_run_gives_the_plan_that_it_gave(name):
    """An attempt that it began is gone on with, and not taken for one of another plan."""
    was = PLANS[name]
    profile = prof.from_json(was["profile"])
    assert differences(name, was["profile"], as_json(prof.to_json(profile))) == []
    plan = run_plan(profile)
    assert (list(plan.steps), plan.digest) == (was["plan"], was["planHash"])


def as_json(values):
    return json.loads(json.dumps(values))
