"""What all tests share: the option that brings in the long storms, and bytecode that is made once."""

from __future__ import annotations

import os
import sys

import pytest

# Hundreds of processes are started by the tests: where nothing compiled may be kept, each would compile all of it anew,
# and half of the suite's time goes there.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--storm", action="store_true", help="run the long kill and fault storms too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --storm the storms are not part of the run: deselected, since nothing about this machine keeps them from running."""
    if config.getoption("--storm"):
        return
    storms = [item for item in items if item.get_closest_marker("storm")]
    if storms:
        config.hook.pytest_deselected(items=storms)
        items[:] = [item for item in items if not item.get_closest_marker("storm")]
