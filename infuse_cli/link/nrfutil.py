"""The chip's id through a debug probe, by Nordic's `nrfutil device`.

`nrfutil --json` gives JSON, an object a line; with `--skip-overhead` only the payload: `devices`,
each with `serialNumber` and `memoryData`, whose blocks have `startAddress` (hex text) and `values`
(bytes in memory order). `x-read` is the name that older versions of `nrfutil device` know and newer
ones keep beside `read`. Nothing of it is taken on trust: the exit code, the probe, the address and
the number of bytes are all looked at. Sources: Nordic's documentation of `nrfutil device read` and
its change log; pc-nrfconnect-shared nrfutil/device/xRead.ts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.errors import BoardError, Interrupted, ProfileError
from infuse_cli.link.discover import list_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from infuse_cli.types import PortInfo

TOOL: Final = "nrfutil"
ID_BYTES: Final = 8
DEADLINE_S: Final = 20.0

# Address of the 8 bytes DEVICEID in the FICR, by the beginning of the soc's name (product
# specifications).
_FICR: Final = {"nrf91": 0x00FF0204, "nrf53": 0x00FF0204, "nrf54l": 0x00FFC304, "nrf52": 0x10000060}
# What a probe reads where there is nothing to read: erased, held in reset, or refused to a
# non-secure read.
_NOTHING: Final = frozenset({b"\xff" * ID_BYTES, b"\x00" * ID_BYTES, bytes.fromhex("addeadde") * 2})
# Address of the 64-bit device id, little-endian, in the chip's one-time memory (UICR) by the
# beginning of the soc's name.
_OTP: Final = {"nrf91": 0x00FF8108, "nrf53": 0x00FF8100, "nrf54l": 0x00FFD500, "nrf52": 0x10001080}
_EMPTY: Final = b"\xff" * ID_BYTES
_WORD: Final = 4
_POLL_S: Final = 0.1
_LONGEST_WHY: Final = 200
_OTHERWISE: Final = (
    "or set board.mcu_id to another source (imei, command or scan): one source for a product,"
    " always."
)
_GET_TOOL: Final = (
    "Install nrfutil and its command `device` (nrfutil install device), put it on the PATH,"
    f" {_OTHERWISE}"
)
_NAME_PROBE: Final = f"Name the probe's serial number under `probes` in bench.yaml, {_OTHERWISE}"
_CHECK_PROBE: Final = (
    "`nrfutil device list` shows the probes; check its cable, the board's power and its access"
    f" protection, {_OTHERWISE}"
)


class ProbeReader:
    """Reads ids with `nrfutil device`; see `ports.ChipIds`. Safe to share between threads.

    The probe is the one that has the port's own USB serial number, unless `probes` (port or USB hub
    path to serial number) names it: in a jig the serial adapter and the probe are two things.
    `abort` ends what is under way.
    """

    def __init__(
        self,
        probes: Mapping[str, str] | None = None,
        *,
        abort: threading.Event | None = None,
        ports: Callable[[], Sequence[PortInfo]] = list_ports,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._probes: Final = dict(probes or {})
        self._abort: Final = abort or threading.Event()
        self._ports: Final = ports
        self._deadline_s: Final = deadline_s

    def chip_id(self, port: str, soc: str) -> str:
        """Read the id. Raises BoardError board.no-mcu-id."""
        address = next(
            (place for name, place in _FICR.items() if soc.lower().startswith(name)), None
        )
        if address is None:
            raise _unread(
                f"where the id of soc {soc!r} is stored is not known",
                f"Check board.soc, {_OTHERWISE}",
            )
        probe = self._probe_of(port)
        data = self._read(probe, address)
        if data in _NOTHING:
            raise _unread(
                f"probe {probe} read {data.hex()} at {address:#010x}: that is no id", _CHECK_PROBE
            )
        return data.hex()

    def can_write_device_id(self, soc: str) -> None:
        """See `ports.ChipIds`.

        Raises ProfileError profile.unsupported: no tool on the PATH, or a soc whose memory is not
        known.
        """
        if shutil.which(TOOL) is None:
            raise ProfileError(
                "profile.unsupported",
                f"board.write_id needs {TOOL}, and there is none on the PATH",
                hint=(
                    "Install nrfutil and its command `device` (nrfutil install device) and put it"
                    " on the PATH, or leave board.write_id out."
                ),
            )
        try:
            _id_address(soc)
        except BoardError as error:
            raise ProfileError("profile.unsupported", f"board.write_id: {error.message}") from error

    def knows_probe(self, port: str) -> None:
        """See `ports.ChipIds`. Raises BoardError board.id-not-written."""
        with _about_device_id():
            self._probe_of(port)

    def device_id(self, port: str, soc: str) -> str | None:
        """The device id in the chip's one-time memory, 16 hex digits; None while it is empty.

        Raises BoardError board.id-not-written, naming tool or probe, and for memory that cannot be
        read.
        """
        with _about_device_id():
            return _held(self._read(self._probe_of(port), _id_address(soc)))

    def write_device_id(self, port: str, soc: str, device_id: str) -> None:
        """Write the id into the chip's one-time memory, word by word, and compare what is there
        after.

        Words that are right are left, so an interrupted write is completed. Raises BoardError
        board.other-id where another id is in the way and nothing was written, board.id-not-written
        for everything else.
        """
        with _about_device_id():
            probe, address = self._probe_of(port), _id_address(soc)
            wanted = bytes.fromhex(device_id)[::-1]
            before = self._read(probe, address)
            _check_room(before, wanted, probe)
            for at in range(0, ID_BYTES, _WORD):
                if before[at : at + _WORD] != wanted[at : at + _WORD]:
                    value = int.from_bytes(wanted[at : at + _WORD], "little")
                    output = self._run(
                        probe,
                        ["write", "--address", f"{address + at:#x}", "--value", f"{value:#010x}"],
                    )
                    if why := _why(output):
                        raise _unread(
                            f"{TOOL} refused to write through probe {probe}: {why}", _CHECK_PROBE
                        )
            after = self._read(probe, address)
            if after != wanted:
                raise _unread(
                    f"after writing {device_id} the probe {probe} reads {after[::-1].hex()}",
                    _CHECK_PROBE,
                )

    def _read(self, probe: str, address: int) -> bytes:
        output = self._run(
            probe, ["x-read", "--address", f"{address:#x}", "--bytes", str(ID_BYTES), "--direct"]
        )
        return _memory(output, probe, address)

    def _probe_of(self, port: str) -> str:
        if port in self._probes:
            return self._probes[port]
        path = str(Path(port).resolve()) if port.startswith("/") else port
        seen = next((info for info in self._ports() if info.port in {port, path}), None)
        if seen is not None and (named := self._probes.get(seen.hub_path or "")):
            return named
        if seen is None or not seen.serial_number:
            raise _unread(
                f"{port} has no USB serial number, so its debug probe is not known", _NAME_PROBE
            )
        return seen.serial_number

    def _run(self, probe: str, what: list[str]) -> str:
        tool = shutil.which(TOOL)
        if tool is None:
            raise _unread(
                f"there is no {TOOL} on the PATH, which board.mcu_id from: nrfutil and"
                " board.write_id need",
                _GET_TOOL,
            )
        words = [tool, "--json", "--skip-overhead", "device", *what, "--serial-number", probe]
        # Files and not pipes: nrfutil starts further processes, and one that stays would keep a
        # pipe open.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self._wait(words, out, err, probe)
            output, complaint = _all_of(out), _all_of(err)
        if code != 0:
            raise _unread(
                f"{TOOL} ended with {code} for probe {probe}:"
                f" {_why(output) or _short(complaint) or 'it gives no reason'}",
                _CHECK_PROBE,
            )
        return output

    def _wait(self, words: list[str], out: Any, err: Any, probe: str) -> int:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise _unread(
                f"{TOOL} cannot be started: {error.strerror or error}", _GET_TOOL
            ) from error
        try:
            return self._code(process, probe)
        finally:
            if process.poll() is None:
                _end(process)

    def _code(self, process: subprocess.Popen[bytes], probe: str) -> int:
        deadline = time.monotonic() + self._deadline_s
        while time.monotonic() < deadline:
            if self._abort.is_set():
                raise Interrupted("stopped at once by the operator")
            try:
                return process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                continue
        raise _unread(
            f"{TOOL} gave no answer for probe {probe} within {self._deadline_s:g} s", _CHECK_PROBE
        )


@contextmanager
def _about_device_id() -> Iterator[None]:
    """Trouble with probe or tool as trouble of the device id."""
    try:
        yield
    except BoardError as error:
        if error.code != "board.no-mcu-id":
            raise
        raise BoardError("board.id-not-written", error.message) from error


def _id_address(soc: str) -> int:
    address = next((place for name, place in _OTP.items() if soc.lower().startswith(name)), None)
    if address is None:
        raise BoardError(
            "board.id-not-written", f"where a device id is kept in soc {soc!r} is not known"
        )
    return address


def _held(data: bytes) -> str | None:
    if data == _EMPTY:
        return None
    if data in _NOTHING:
        raise BoardError(
            "board.id-not-written",
            f"the one-time memory reads {data.hex()}: it is protected, or the chip is held",
        )
    return data[::-1].hex()


def _check_room(before: bytes, wanted: bytes, probe: str) -> None:
    """Each word has to be empty or right: bits that were written never come back."""
    found = _held(before)
    words = ((before[at : at + _WORD], wanted[at : at + _WORD]) for at in range(0, ID_BYTES, _WORD))
    if found is not None and any(have not in {want, _EMPTY[:_WORD]} for have, want in words):
        raise BoardError(
            "board.other-id",
            f"the board behind probe {probe} carries device id {found}, not {wanted[::-1].hex()};"
            " nothing was written",
        )


def _memory(output: str, probe: str, address: int) -> bytes:
    """The bytes of the one block of the one device that was asked for."""
    devices = [device for message in _messages(output) for device in _devices(message)]
    if len(devices) != 1:
        raise _unread(
            f"{TOOL} answered for {len(devices)} probes, not for the one with serial number"
            f" {probe}{_because(output)}",
            _CHECK_PROBE,
        )
    answered = str(devices[0].get("serialNumber"))
    if answered.lstrip("0") != probe.lstrip("0"):
        raise _unread(f"{TOOL} answered for probe {answered}, not for {probe}", _CHECK_PROBE)
    blocks = devices[0].get("memoryData")
    if not isinstance(blocks, list) or len(blocks) != 1 or not isinstance(blocks[0], dict):
        raise _unread(f"{TOOL} gave no memory of probe {probe}{_because(output)}", _CHECK_PROBE)
    return _bytes(blocks[0], probe, address)


def _bytes(block: dict[str, Any], probe: str, address: int) -> bytes:
    start, values = block.get("startAddress"), block.get("values")
    if _number(start) != address:
        raise _unread(
            f"{TOOL} read at {start!r} through probe {probe}, not at {address:#010x}", _CHECK_PROBE
        )
    if (
        not isinstance(values, list)
        or len(values) != ID_BYTES
        or not all(type(value) is int and 0 <= value <= 255 for value in values)
    ):
        raise _unread(f"{TOOL} did not give {ID_BYTES} bytes through probe {probe}", _CHECK_PROBE)
    return bytes(values)


def _number(text: object) -> int | None:
    try:
        return int(str(text), 16)
    except ValueError:
        return None


def _messages(output: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of the output; a line that is none makes all of it worthless."""
    for line in filter(None, map(str.strip, output.splitlines())):
        try:
            message = json.loads(line)
        except ValueError:
            raise _unread(
                f"{TOOL} answered something that is not JSON: {_short(line)!r}", _CHECK_PROBE
            ) from None
        if isinstance(message, dict):
            yield message


def _devices(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The devices of a payload, with the frame `{"type", "data"}` around it or without."""
    data = message.get("data")
    payload = data if isinstance(data, dict) else message
    found = payload.get("devices")
    return (
        [device for device in found if isinstance(device, dict) and "memoryData" in device]
        if isinstance(found, list)
        else []
    )


def _because(output: str) -> str:
    why = _why(output)
    return f": {why}" if why else ""


def _why(output: str) -> str:
    """The first error that the output describes, in its own words."""
    for line in output.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if found := _described(message):
            return _short(found)
    return ""


def _described(value: object) -> str:
    if isinstance(value, list):
        return next((text for part in value if (text := _described(part))), "")
    if not isinstance(value, dict):
        return ""
    error = value.get("error")
    if isinstance(error, dict):
        return str(error.get("description") or error.get("message") or error)
    if isinstance(error, str) and error:
        return error
    return next((text for part in value.values() if (text := _described(part))), "")


def _short(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_WHY]


def _all_of(file: Any) -> str:
    file.seek(0)
    content: bytes = file.read()
    return content.decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    """Ours without our own variables: a credential is nobody else's business."""
    return {key: value for key, value in os.environ.items() if not key.startswith("INFUSE_")}


def _end(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(
            process.pid, signal.SIGKILL
        )  # it has a session of its own: its children go with it
    process.wait()


def _unread(message: str, hint: str) -> BoardError:
    return BoardError("board.no-mcu-id", message, hint=hint)
