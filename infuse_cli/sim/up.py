"""A simulated world: a folder with CA, credential and profile, the virtual cloud, and boards on
ptys.

`running` is for programs and tests, `serve` for `infuse sim up`.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import select
import shutil
import signal
import sys
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml

from infuse_cli.capabilities import MCU_ID_SOURCES, TOKEN_STORES, Capability
from infuse_cli.dialect import DIALECTS
from infuse_cli.errors import UsageError
from infuse_cli.pki.store import init_ca
from infuse_cli.sim import faults as fault_plan
from infuse_cli.sim.bench import Bench
from infuse_cli.sim.board import VirtualBoard, identity_for
from infuse_cli.sim.cloud_app import CloudOptions
from infuse_cli.sim.cloud_faults import call_name
from infuse_cli.sim.cloud_server import Addresses, ServerProcess, ServerThread
from infuse_cli.sim.epacket_front import TOKEN_KEY
from infuse_cli.sim.firmware import HOST, TOKEN_SETTING, Endpoints, Firmware
from infuse_cli.sim.modem import Delays, KeyMaker, Modem
from infuse_cli.sim.shell_commands import CREDENTIAL_BUFFER
from infuse_cli.types import IdentityMode, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_BOARDS: Final = 128
ORGANISATION: Final = "Example Provider"
CLOUD_BOARD: Final = "Example Sensor Board"
SEC_TAG: Final = 4201
TOKEN_TAG: Final = 4202
_CALL_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class SimOptions:
    """What a world is like.

    `baud` None: no wire pace. `folder` None: a fresh one that goes away at the end.

    `local_ca` False makes no CA folder; `cloud_process` False keeps the cloud in a thread of this
    process; `trust` are further root files (PEM) whose clients may check in.
    """

    boards: int = 1
    faults: str = ""
    mode: IdentityMode = IdentityMode.LOCAL_CA
    seed: int | None = None
    baud: int | None = 115200
    delays: Delays = field(default_factory=Delays)
    folder: Path | None = None
    cloud_process: bool = True
    auth_scheme: str = "bearer"
    list_as_items: bool = False
    chain_as_list: bool = False
    active_wait_s: float | None = None
    trust: tuple[Path, ...] = ()


class SimWorld:
    """A running world. `profile` is an absolute path, `token` the API credential."""

    def __init__(
        self,
        options: SimOptions,
        folder: Path,
        token: str,
        *,
        addresses: Addresses,
        bench: Bench,
        firmware: Firmware,
    ) -> None:
        self.options: Final = options
        self.folder: Final = folder
        self.token: Final = token
        self.base_url: Final = addresses.base_url
        self.registry_url: Final = addresses.base_url
        self.broker_port: Final = addresses.broker_port
        self.root_pem: Final = addresses.root_pem
        self.profile: Final = folder / "profile.yaml"
        self.bench: Final = bench
        self._firmware: Final = firmware

    @property
    def ports(self) -> list[str]:
        """Ports of the boards that are plugged in, in slot order."""
        return list(self.bench.ports.values())

    def port(self, slot: int) -> str:
        """Port of a slot (from 1). Raises KeyError when its board is unplugged."""
        return self.bench.ports[slot]

    def state(self) -> dict[str, Any]:
        """What cloud and boards hold: `/_sim/state`, with `slots` and `firmwareFailures`
        beside it.
        """
        state: dict[str, Any] = msgspec.json.decode(self._call("GET", "/_sim/state"))
        slots = self.bench.call(lambda: [board.snapshot() for board in self.bench.boards])
        return {**state, "slots": slots, "firmwareFailures": list(self._firmware.failures)}

    def set_faults(self, text: str) -> None:
        """Have these faults from now on, on boards and in the cloud.

        Raises UsageError usage.bad-option.
        """
        plan = _checked(text, self.options.boards)
        self._call("PUT", "/_sim/faults", text.encode())
        self.bench.call(lambda: self._change_board_faults(plan))

    def _change_board_faults(self, plan: fault_plan.FaultPlan) -> None:
        for board in self.bench.boards:
            board.change_faults(plan.of_slot(board.slot))

    def unplug(self, slot: int) -> None:
        """Pull the cable of a board."""
        self.bench.unplug(slot)

    def plug(self, slot: int) -> str:
        """Plug a board in again: it boots. Returns its port, which may be another than before."""
        return self.bench.plug(slot)

    def exchange(self, slot: int) -> None:
        """Put another board into a jig whose port stays: it boots."""
        self.bench.exchange(slot)

    def reset(self, slot: int) -> None:
        """Press the reset button of a board."""
        self.bench.reset(slot)

    def readiness(self) -> dict[str, Any]:
        """The `data` of the envelope that `infuse sim up` prints once."""
        boards = [{"port": port, "slot": slot} for slot, port in self.bench.ports.items()]
        broker = {"host": HOST, "port": self.broker_port, "ca": str(self.folder / "server-ca.pem")}
        return {
            "baseUrl": self.base_url,
            "registryUrl": self.registry_url,
            "token": self.token,
            "profile": str(self.profile),
            "boards": boards,
            "broker": broker,
        }

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.base_url + path, data=body, method=method)  # noqa: S310 - our own loopback address
        with urllib.request.urlopen(request, timeout=_CALL_TIMEOUT_S) as answer:  # noqa: S310
            content: bytes = answer.read()
        return content


@contextlib.contextmanager
def running(options: SimOptions | None = None) -> Iterator[SimWorld]:
    """A world for as long as the context lasts.

    Raises UsageError usage.bad-option for a bad fault plan or number of boards, OSError when there
    is no pty or socket to be had.
    """
    options = options or SimOptions()
    plan = _checked(options.faults, options.boards)
    if not 0 <= options.boards <= MOST_BOARDS:
        raise UsageError(
            "usage.bad-option", f"{options.boards} boards: from 0 to {MOST_BOARDS} can be simulated"
        )
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_folder(options.folder))
        token = secrets.token_urlsafe(32)
        addresses = _start_cloud(options, folder, token, stack)
        firmware = Firmware(
            Endpoints(addresses.port, addresses.broker_port),
            first_boot=options.mode is IdentityMode.FIRST_BOOT,
            sec_tag=SEC_TAG,
        )
        bench = Bench(
            _boards(options, plan, _public_key(addresses, options, token)),
            baud=options.baud,
            on_active=firmware.on_active,
            on_change=firmware.on_change,
        )
        firmware.attach(bench)
        stack.callback(bench.stop)
        stack.callback(firmware.stop)
        bench.start()
        _private(
            folder / "profile.yaml",
            yaml.safe_dump(_profile(options, folder, addresses), sort_keys=False),
        )
        yield SimWorld(options, folder, token, addresses=addresses, bench=bench, firmware=firmware)


def serve(
    options: SimOptions,
    ready: Callable[[dict[str, Any]], None],
    *,
    until_stdin_closes: bool = False,
) -> None:
    """Run a world, tell `ready` once it serves, until SIGTERM, SIGINT or SIGHUP, or until stdin
    closes. Main thread only.
    """
    if sys.platform == "win32":
        raise NotImplementedError("virtual boards need pseudo-terminals")
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    before = {
        number: signal.signal(number, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    old_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    try:
        with running(options) as world:
            ready(world.readiness())
            _wait_for_end(wake_read, until_stdin_closes=until_stdin_closes)
    finally:
        signal.set_wakeup_fd(old_wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake_read)
        os.close(wake_write)


def _wait_for_end(wake_read: int, *, until_stdin_closes: bool) -> None:
    waiting = [wake_read, 0] if until_stdin_closes else [wake_read]
    while True:
        ready = select.select(waiting, [], [])[0]
        if wake_read in ready or os.read(0, 4096) == b"":
            return


def _checked(text: str, boards: int) -> fault_plan.FaultPlan:
    plan = fault_plan.parse(text)
    for slot in (
        fault.slot for fault in plan.boards if fault.slot is not None and fault.slot > boards
    ):
        raise UsageError(
            "usage.bad-option", f"fault: there is no slot {slot}; the simulator has {boards}"
        )
    for fault in plan.cloud:
        if fault.call is not None:
            call_name(fault.call)
    return plan


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield given.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="infuse-sim-"))
    try:
        yield made.resolve()
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _start_cloud(
    options: SimOptions, folder: Path, token: str, stack: contextlib.ExitStack
) -> Addresses:
    roots = [_make_ca(folder)] if options.mode is IdentityMode.LOCAL_CA else []
    roots += [path.read_text() for path in options.trust]
    cloud = CloudOptions(
        token=token,
        scheme=options.auth_scheme,
        faults=options.faults,
        list_as_items=options.list_as_items,
        chain_as_list=options.chain_as_list,
        organisations=(ORGANISATION,),
    )
    server = ServerProcess(cloud, roots) if options.cloud_process else ServerThread(cloud, roots)
    stack.callback(server.stop)
    addresses = server.start()
    _private(folder / "credential", token + "\n")
    (folder / "server-ca.pem").write_text(addresses.root_pem)
    return addresses


def _make_ca(folder: Path) -> str:
    """The local CA of the world and its passphrase file; an existing one in a given folder is kept.

    Returns its root.
    """
    root = folder / "ca" / "root.pem"
    if not root.exists():
        passphrase = secrets.token_urlsafe(24)
        _private(folder / "passphrase", passphrase + "\n")
        init_ca(folder / "ca", "sim", Secret(passphrase))
    return root.read_text()


def _public_key(addresses: Addresses, options: SimOptions, token: str) -> bytes:
    """The key of the virtual cloud, which Infuse-IoT firmware is built with; nothing for a world
    without such boards.
    """
    if not any(fault.value == "epacket" for fault in fault_plan.parse(options.faults).boards):
        return b""
    header = {
        "bearer": ("Authorization", f"Bearer {token}"),
        "api-key": ("Authorization", f"ApiKey {token}"),
    }.get(options.auth_scheme, ("x-api-key", token))
    request = urllib.request.Request(f"{addresses.base_url}/key/publicKey", headers=dict([header]))  # noqa: S310 - our own loopback address
    with urllib.request.urlopen(request, timeout=_CALL_TIMEOUT_S) as answer:  # noqa: S310
        return base64.b64decode(msgspec.json.decode(answer.read())["key"])


def _boards(
    options: SimOptions, plan: fault_plan.FaultPlan, cloud_public: bytes
) -> list[VirtualBoard]:
    keys = KeyMaker()
    seed = options.seed if options.seed is not None else plan.seed

    def board(slot: int) -> VirtualBoard:
        def modem(generation: int) -> Modem:
            return Modem(
                identity_for(slot, generation, seed),
                delays=options.delays,
                make_key=keys.maker((slot, generation)),
            )

        return VirtualBoard(slot, modem, plan.of_slot(slot), seed=seed, cloud_public=cloud_public)

    return [board(slot) for slot in range(1, options.boards + 1)]


def _profile(options: SimOptions, folder: Path, addresses: Addresses) -> dict[str, Any]:
    mode = options.mode
    identity: dict[str, Any] = {"mode": mode.value, "sec_tag": SEC_TAG}
    if mode is IdentityMode.LOCAL_CA:
        identity |= {"ca": str(folder / "ca"), "passphrase": {"file": str(folder / "passphrase")}}
    if mode in {IdentityMode.LOCAL_CA, IdentityMode.CLOUD_CA}:
        identity["server_ca"] = str(folder / "server-ca.pem")
    fields = [{"name": "serialNumber", "required": True, "unique": True}]
    profile: dict[str, Any] = {
        "name": "sim",
        "extends": "simulator",
        "description": "Virtual boards against a virtual cloud, both gone when the simulator ends",
        "board": {
            "soc": "nRF9151",
            "serial": {"baud": 115200, "dialect": "auto"},
            "presence": "port",
            "mcu_id": {"from": "imei"},
            "expect": {"model": "nRF9151-LACA", "modem_firmware": ">=2.0.2"},
        },
        "cloud": {
            "base_url": addresses.base_url,
            "auth": {"scheme": options.auth_scheme, "token_file": str(folder / "credential")},
            "organisation": {"name": ORGANISATION},
            "board": {
                "name": CLOUD_BOARD,
                "create": True,
                "description": "Simulated sensor board",
                "metadata_fields": fields,
            },
        },
        "broker": {
            "host": HOST,
            "port": addresses.broker_port,
            "ca": str(folder / "server-ca.pem"),
        },
        "identity": identity,
        "metadata": {"serialNumber": {"from": "imei"}},
        "keys": {"interfaces": ["udp"]},
        "verify": {"active_wait_s": _active_wait(options)},
    }
    if mode is not IdentityMode.NONE:
        profile["registry"] = {"base_url": addresses.base_url, "auth": "same"}
    if mode in {IdentityMode.LOCAL_CA, IdentityMode.FIRST_BOOT}:
        profile["token"] = {"store": "psk", "sec_tag": TOKEN_TAG}
    return _in_dialect(profile, _spoken(options))


def _spoken(options: SimOptions) -> str:
    """The dialect that all boards of the world speak, for a profile that fits them."""
    faults = fault_plan.parse(options.faults).boards
    return next(
        (
            str(fault.value)
            for fault in faults
            if fault.kind is fault_plan.BoardFault.DIALECT and fault.slot is None
        ),
        "at",
    )


def _in_dialect(profile: dict[str, Any], dialect: str) -> dict[str, Any]:
    """The profile with what boards of this dialect can do: those without a modem to ask are known
    by their chip.
    """
    row = DIALECTS.get(dialect)
    if row is None or row.at_lines:
        return profile
    source = next(name for name, needed in MCU_ID_SOURCES.items() if needed <= row.can)
    board = {**profile["board"], "mcu_id": {"from": source}}
    changed = {**profile, "board": board}
    if "token" in profile:
        changed["token"] = next(
            {"store": store, "name": name}
            for store, name in _STORE_NAMES.items()
            if TOKEN_STORES[store] <= row.can
        )
    if not row.at_carrier:
        board["expect"] = {"model": None, "modem_firmware": None}
        board["serial"] = {**board["serial"], "credential_buffer": CREDENTIAL_BUFFER}
        changed["metadata"] = {"serialNumber": {"from": "mcuId"}}
    return changed


_STORE_NAMES: Final = {"settings": TOKEN_SETTING, "kv": str(TOKEN_KEY)}
"""Where a virtual board looks for its token, by store outside the modem."""


def mode_for(faults: str) -> IdentityMode:
    """The mode that boards of this fault plan's dialect can go through, where nobody named one.

    Raises UsageError usage.bad-option.
    """
    row = DIALECTS.get(_spoken(SimOptions(faults=faults)))
    takes_certificates = row is None or Capability.WRITE in row.can
    return IdentityMode.LOCAL_CA if takes_certificates else IdentityMode.FIRST_BOOT


def _active_wait(options: SimOptions) -> float:
    if options.active_wait_s is not None:
        return options.active_wait_s
    return {IdentityMode.FIRST_BOOT: 20.0, IdentityMode.NONE: 0.0}.get(options.mode, 10.0)


def _private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
