"""A virtual world and a way to run `infuse` against it, shared by the tests of the whole line."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infuse_cli.sim.modem import Delays
from infuse_cli.sim.up import SimOptions, SimWorld, running
from infuse_cli.types import IdentityMode
from tests.support.zygote import Ran, Zygote

FAST = Delays(keygen_s=0.0, nvm_s=0.0)


@pytest.fixture(scope="session")
def zygote():
    runner = Zygote()
    yield runner
    runner.close()


@dataclass
class Bench:
    """One bench at a world: a home of its own, and the boards that were not used yet."""

    world: SimWorld
    home: Path
    zygote: Zygote
    profile: str
    _slots: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def env(self) -> dict[str, str]:
        return {"INFUSE_SEALING_KEY_FILE": str(self.home) + ".sealing", "INFUSE_HOME": str(self.home), "NO_COLOR": "1"}

    def slot(self) -> int:
        """A board that no test has touched."""
        return next(self._slots)

    def infuse(self, *argv: str, failpoint: str = "", env: dict[str, str] | None = None, **limits: Any) -> Ran:
        return self.zygote.run(*argv, env={**self.env, **(env or {})}, failpoint=failpoint, **limits)

    def provision(self, *ports: str, failpoint: str = "", more: tuple[str, ...] = (), output: str = "json", **limits: Any) -> Ran:
        return self.infuse(*self.provisioning(*ports, more=more, output=output), failpoint=failpoint, **limits)

    def provisioning(self, *ports: str, more: tuple[str, ...] = (), output: str = "json") -> tuple[str, ...]:
        """The words of a `provision` on these ports."""
        named = [word for port in ports for word in ("--port", port)]
        return ("provision", "--profile", self.profile, *named, "--output", output, *more)


@pytest.fixture(scope="session")
def make_bench(zygote, tmp_path_factory):
    """A context manager that opens a world with a bench at it."""

    @contextmanager
    def make(boards: int, mode: IdentityMode = IdentityMode.LOCAL_CA, **options: Any):
        with running(SimOptions(boards=boards, mode=mode, baud=None, delays=FAST, active_wait_s=options.pop("active_wait_s", 0.0), **options)) as world:
            yield Bench(world, tmp_path_factory.mktemp("bench") / "home", zygote, str(world.profile))

    return make


def audit(world: SimWorld) -> list[str]:
    """Everything in cloud and boards that breaks `never twice`, as sentences; none is right."""
    state = world.state()
    wrong = []
    mcu_ids = [device["mcuId"] for device in state["devices"]]
    wrong += [f"two cloud devices for {mcu_id}" for mcu_id in set(mcu_ids) if mcu_ids.count(mcu_id) > 1]
    names = [device["name"] for device in state["registryDevices"]]
    wrong += [f"two registry devices named {name}" for name in set(names) if names.count(name) > 1]
    wrong += [f"token {token['id']} was used {token['uses']} times" for token in state["tokens"] if token.get("uses", 0) > 1]
    return wrong
