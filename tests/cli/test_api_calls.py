"""No call of the two APIs is without a client method and a command."""

import re

import pytest

from infuse_cli.cli._lazy import root, walk
from infuse_cli.cli.api_calls import INFUSE, REGISTRY
from infuse_cli.cloud import infuse_api, inventory, messages, registry_api
from infuse_cli.cloud.failures import Call
from infuse_cli.sim.cloud_table import CALLS


def _bare(name):
    return re.sub(r"\{\w+\}", "{}", name.replace(" /api/v1", " "))


def _of(*modules):
    return {
        _bare(value.name)
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Call)
    }


@pytest.mark.parametrize(
    ("listed", "clients", "registry"),
    [(INFUSE, (infuse_api, messages), False), (REGISTRY, (registry_api, inventory), True)],
)
def test_the_list_the_clients_and_the_virtual_cloud_have_the_same_calls(listed, clients, registry):
    names = {_bare(one.call) for one in listed}
    assert len(names) == len(listed)
    assert names == _of(*clients)
    assert names == {_bare(call.name) for call in CALLS if call.is_registry == registry}


def test_every_command_of_the_list_exists():
    there = {" ".join(one.path) for one in walk(root())}
    assert {command for one in (*INFUSE, *REGISTRY) for command in one.commands} <= there
