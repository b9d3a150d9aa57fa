"""Everything but the simulator imports and works where pty, termios, fcntl, pwd, grp and resource
don't exist.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.house import without_posix


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    env = {key: value for key, value in os.environ.items() if not key.startswith("INFUSE_")}
    ran = subprocess.run(
        [sys.executable, without_posix.__file__, str(tmp_path_factory.mktemp("without-posix"))],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), ran.stderr


@pytest.mark.parametrize("work", list(without_posix.WORKS))
def test_it_works_without_posix(ended, work):
    how, said = ended
    assert how[work] is None, f"{how[work]}\n{said}"
