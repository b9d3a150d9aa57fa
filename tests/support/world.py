"""A virtual world and a way to run `infuse` against it."""

from __future__ import annotations

import itertools
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infuse_cli.pki.store import init_ca
from infuse_cli.sim.modem import Delays
from infuse_cli.sim.up import SimOptions, SimWorld, running
from infuse_cli.types import IdentityMode, Secret
from tests.support.quick_keys import quicken

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.support.zygote import Ran, Zygote

FAST = Delays(keygen_s=0.0, nvm_s=0.0)
PASSPHRASE = "correct horse battery staple of the line"


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
        return {
            "INFUSE_SEALING_KEY_FILE": str(self.home) + ".sealing",
            "INFUSE_HOME": str(self.home),
            "NO_COLOR": "1",
        }

    def slot(self) -> int:
        """A board that no test has touched."""
        return next(self._slots)

    def infuse(
        self, *argv: str, failpoint: str = "", env: dict[str, str] | None = None, **limits: Any
    ) -> Ran:
        return self.zygote.run(
            *argv, env={**self.env, **(env or {})}, failpoint=failpoint, **limits
        )

    def provision(
        self,
        *ports: str,
        failpoint: str = "",
        more: tuple[str, ...] = (),
        output: str = "json",
        **limits: Any,
    ) -> Ran:
        return self.infuse(
            *self.provisioning(*ports, more=more, output=output), failpoint=failpoint, **limits
        )

    def provisioning(
        self, *ports: str, more: tuple[str, ...] = (), output: str = "json"
    ) -> tuple[str, ...]:
        """The words of a `provision` on these ports."""
        named = [word for port in ports for word in ("--port", port)]
        return ("provision", "--profile", self.profile, *named, "--output", output, *more)


@dataclass
class Worlds:
    """Opens worlds.

    Their cloud runs in a thread, and they share a CA whose keys open at once: both cost more than a
    run.
    """

    zygote: Zygote
    folders: pytest.TempPathFactory
    _ca: list[Path] = field(default_factory=list)

    @contextmanager
    def __call__(
        self,
        boards: int,
        mode: IdentityMode = IdentityMode.LOCAL_CA,
        *,
        active_wait_s: float = 0.0,
        cloud_process: bool = False,
        **options: Any,
    ) -> Iterator[Bench]:
        folder = self.folders.mktemp("world")
        if mode is IdentityMode.LOCAL_CA:
            shutil.copytree(self._made_ca(), folder, dirs_exist_ok=True)
        options = {"baud": None, "delays": FAST, "folder": folder, **options}
        with running(
            SimOptions(
                boards=boards,
                mode=mode,
                active_wait_s=active_wait_s,
                cloud_process=cloud_process,
                **options,
            )
        ) as world:
            yield Bench(
                world, self.folders.mktemp("bench") / "home", self.zygote, str(world.profile)
            )

    def _made_ca(self) -> Path:
        """A folder with `ca` and its `passphrase`, as a world makes them."""
        if not self._ca:
            folder = self.folders.mktemp("line-ca")
            secret = folder / "passphrase"
            secret.touch(0o600)
            secret.write_text(PASSPHRASE + "\n")
            init_ca(folder / "ca", "sim", Secret(PASSPHRASE))
            quicken(folder / "ca", PASSPHRASE)
            self._ca.append(folder)
        return self._ca[0]


def audit(world: SimWorld) -> list[str]:
    """Everything in cloud and boards that breaks `never twice`, as sentences; none is right."""
    state = world.state()
    wrong = []
    mcu_ids = [device["mcuId"] for device in state["devices"]]
    wrong += [
        f"two cloud devices for {mcu_id}" for mcu_id in set(mcu_ids) if mcu_ids.count(mcu_id) > 1
    ]
    names = [device["name"] for device in state["registryDevices"]]
    wrong += [f"two registry devices named {name}" for name in set(names) if names.count(name) > 1]
    wrong += [
        f"token {token['id']} was used {token['uses']} times"
        for token in state["tokens"]
        if token.get("uses", 0) > 1
    ]
    return wrong
