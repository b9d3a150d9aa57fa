"""What all tests share: the option that brings in the long storms, bytecode that is made once, the
runner of `infuse`, and virtual worlds.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.world import Worlds
    from tests.support.zygote import Zygote

# Hundreds of processes are started by the tests: where nothing compiled may be kept, each would
# compile all of it anew,
# and half of the suite's time goes there.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


# A loaded machine is no mistake of what is tested: nothing generated has a time limit of its own.
settings.register_profile("infuse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("infuse")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--storm", action="store_true", help="run the long kill and fault storms too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --storm the storms are not part of the run: deselected, since nothing about this
    machine keeps them from running.
    """
    if config.getoption("--storm"):
        return
    storms = [item for item in items if item.get_closest_marker("storm")]
    if storms:
        config.hook.pytest_deselected(items=storms)
        items[:] = [item for item in items if not item.get_closest_marker("storm")]


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """One for all tests of a worker: starting another takes as long as three runs."""
    from tests.support.zygote import Zygote

    runner = Zygote()
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def make_bench(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    """A context manager that opens a world with a bench at it."""
    from tests.support.world import Worlds

    return Worlds(zygote, tmp_path_factory)
