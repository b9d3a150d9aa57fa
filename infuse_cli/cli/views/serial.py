"""`infuse serial ports, probe, info, at, check, write-id` for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from infuse_cli.config.model import Profile
    from infuse_cli.serial_tools.at import AtResult
    from infuse_cli.serial_tools.board import BoardHistory, BoardReport, IdentifiedBoard
    from infuse_cli.serial_tools.check import BoardCheck, CloudDevice
    from infuse_cli.serial_tools.ports import NoSinglePortError, PortRow
    from infuse_cli.serial_tools.write_id import WrittenId

_MODES: Final = {
    0: "off",
    1: "normal",
    2: "receive only",
    4: "flight mode",
    20: "LTE off",
    21: "LTE on",
    30: "GNSS off",
    31: "GNSS on",
    40: "receive only",
    41: "flight mode with SIM",
    44: "flight mode, SIM kept",
}


def ports(rows: Sequence[PortRow], profile: Profile | None) -> OperationResult:
    """The ports of this machine."""
    data = {
        "ports": [row.as_json() for row in rows],
        "profile": None if profile is None else profile.name,
    }
    return OperationResult("serial ports", data, human=lambda console: show_ports(console, rows))


def no_single_port(command: str, error: NoSinglePortError) -> OperationResult:
    """The ports there are, where a command needs one."""
    return OperationResult(
        command,
        {"ports": [row.as_json() for row in error.rows]},
        status="error",
        errors=[error.as_json()],
        exit_code=int(error.exit),
        human=lambda console: show_ports(console, error.rows),
    )


def show_ports(console: Console, rows: Sequence[PortRow]) -> None:
    """A port with what it is, and under it who holds it and why it is or is not a board's."""
    if not rows:
        console.print(
            "This machine shows no serial port. Check the cable, and that the board has power.",
            soft_wrap=True,
        )
    for row in rows:
        chosen = row.seen.chosen
        console.print(
            f"{row.seen.info.port}  {_known(row.as_json()) or 'nothing known'}",
            soft_wrap=True,
            markup=False,
            style="bold" if chosen else None,
        )
        for line in _remarks(row):
            console.print(
                f"    {line}",
                soft_wrap=True,
                markup=False,
                style="green" if line.startswith("chosen") else None,
            )


def _known(row: dict[str, Any]) -> str:
    parts = (
        row["board"] or row["description"],
        row["usb"] and f"USB {row['usb']}",
        row["serialNumber"] and f"serial number {row['serialNumber']}",
        row["hubPath"] and f"hub path {row['hubPath']}",
        row["slot"] and f"slot {row['slot']}",
    )
    return ", ".join(str(part) for part in parts if part)


def _remarks(row: PortRow) -> list[str]:
    lines = [f"{'chosen' if row.seen.chosen else 'not chosen'}: {row.seen.why}"]
    if row.holder:
        lines.append(f"held by {row.holder}")
    if row.permitted is False:
        lines.append("this user may not open it: `infuse doctor` says why")
    return lines


def probed(port: str, dialect: str) -> OperationResult:
    """That a port answers, and how."""
    from infuse_cli.dialect import DIALECTS

    return OperationResult(
        "serial probe",
        {"port": port, "answers": True, "dialect": dialect},
        human=f"{port} answers {DIALECTS[dialect].speaks} (dialect {dialect}).",
    )


def info(report: BoardReport) -> OperationResult:
    """Who the board says it is, then what the journal has of it."""
    return OperationResult(
        "serial info",
        {**_board_json(report.board), **_history_json(report.history)},
        human=lambda console: _show_board(console, report.board, report.history),
    )


def checked(check: BoardCheck) -> OperationResult:
    """The comparison; the differences themselves follow as errors."""
    from infuse_cli.cli.views.credentials import rows_json

    errors = [difference.as_json() for difference in check.differences]
    slots = None if check.credentials is None else rows_json(check.credentials)
    data = {
        **_board_json(check.board),
        "slots": slots,
        **_history_json(check.history),
        "possession": check.possession,
        "cloud": None if check.cloud is None else _cloud_json(check.cloud),
        "differences": errors,
        "notes": list(check.notes),
    }
    return OperationResult(
        "serial check",
        data,
        status="error" if errors else "ok",
        errors=errors,
        exit_code=int(check.differences[0].exit) if errors else 0,
        human=lambda console: _show_check(console, check),
    )


def exchanged(result: AtResult) -> OperationResult:
    """Answers as they came; with several commands each stands under its own."""
    error, exchanges = result.error, result.exchanges
    not_sent = len(result.commands) - len(exchanges)

    def human(console: Console) -> None:
        for exchange in exchanges:
            if len(result.commands) > 1:
                command = exchange.as_json()["command"]
                console.print(f"> {command}", soft_wrap=True, markup=False, style="bold")
            for line in exchange.shown_lines():
                console.print(line, soft_wrap=True, markup=False)
            if exchange.ok:
                console.print("OK", soft_wrap=True)
        if not_sent:
            console.print(f"{plural(not_sent, 'command')} not sent.", soft_wrap=True)

    data = {
        "port": result.port,
        "dialect": result.dialect,
        "board": result.board,
        "commands": [exchange.as_json() for exchange in exchanges],
        "notSent": not_sent,
    }
    if error is None:
        return OperationResult("serial at", data, human=human)
    return OperationResult(
        "serial at",
        data,
        status="partial" if any(exchange.ok for exchange in exchanges) else "error",
        errors=[error.as_json()],
        exit_code=int(error.exit),
        human=human,
    )


def id_written(result: WrittenId) -> OperationResult:
    """One sentence for a person."""
    from infuse_cli.cli.views.credentials import change_json

    seen = result.board.identity
    how = "was in the chip already" if result.already else "is in the chip now, read back"
    return OperationResult(
        "serial write-id",
        change_json(result.board, result.notes, deviceId=result.device_id, already=result.already),
        human=f"device id {result.device_id} {how}: board {seen.imei or seen.uuid}",
    )


def console_left(port: str, board: str | None) -> OperationResult:
    """A console that a person left; it has said everything itself."""
    return OperationResult("serial console", {"port": port, "board": board}, human=lambda _: None)


def _board_json(board: IdentifiedBoard) -> dict[str, Any]:
    from infuse_cli.cli.views.credentials import board_json

    seen, problem = board.identity, board.mcu_id_problem
    return {
        "port": board.port,
        "dialect": board.dialect,
        "board": board_json(board),
        "model": seen.model,
        "modemFirmware": seen.modem_firmware,
        "iccid": seen.iccid,
        "functionalMode": seen.functional_mode,
        "functionalModeName": _mode_name(seen.functional_mode),
        "mcuIdProblem": None if problem is None else problem.as_json(),
    }


def _mode_name(mode: int | None) -> str | None:
    return None if mode is None else _MODES.get(mode, "another mode")


def _history_json(history: BoardHistory) -> dict[str, Any]:
    return {
        "record": _record_json(history),
        "byHand": len(history.manual_changes),
        "functionalModeOwed": history.pending_mode,
    }


def _record_json(history: BoardHistory) -> dict[str, Any] | None:
    from infuse_cli.journal.board_json import brief, word

    if history.board is None:
        return None
    newest = history.attempts[-1] if history.attempts else None
    return {
        "imei": history.board.imei,
        "mcuId": history.board.mcu_id,
        "attempts": len(history.attempts),
        "newest": None if newest is None else {**brief(newest), "word": word(newest)},
        "certificates": [
            {
                "serial": row.serial,
                "sha256": row.sha256,
                "notAfter": row.not_after,
                "deviceId": row.device_id,
            }
            for row in history.certificates
        ],
    }


def _cloud_json(cloud: CloudDevice) -> dict[str, Any]:
    device = cloud.device
    if device is None:
        return {"deviceId": None}
    return {
        "deviceId": device.device_id,
        "organisationId": device.organisation_id,
        "boardId": device.board_id,
        "metadata": device.metadata,
        "heard": cloud.heard,
    }


def _show_board(console: Console, board: IdentifiedBoard, history: BoardHistory) -> None:
    from infuse_cli.cli.views.layout import fields

    seen, problem = board.identity, board.mcu_id_problem
    mode = seen.functional_mode
    fields(
        console,
        {
            "port": f"{board.port} (dialect {board.dialect})",
            "board": seen.uuid,
            "IMEI": seen.imei or "none",
            "mcuId": seen.mcu_id or (problem and f"not read: {problem.message}"),
            "model": seen.model,
            "modem firmware": seen.modem_firmware,
            "ICCID": seen.iccid,
            "functional mode": None if mode is None else f"{mode} ({_mode_name(mode)})",
        },
    )
    if history.pending_mode is not None:
        console.print(
            "A change by hand was stopped before it brought functional mode"
            f" {history.pending_mode} back: `infuse resume` does.",
            soft_wrap=True,
            style="yellow",
        )
    console.print()
    _show_history(console, history, seen.uuid)


def _show_history(console: Console, history: BoardHistory, uuid: str) -> None:
    from infuse_cli.cli.views.layout import fields

    manual = len(history.manual_changes)
    if manual:
        console.print(
            f"{plural(manual, 'change')} by hand on record: infuse journal show {uuid}",
            soft_wrap=True,
            markup=False,
        )
    record = _record_json(history)
    if record is None:
        nothing = "This journal knows nothing of this board."
        console.print(
            "No run of this bench ever took this board." if manual else nothing, soft_wrap=True
        )
        return
    newest = record["newest"] or {}
    fields(
        console,
        {
            "on record": plural(record["attempts"], "attempt"),
            "newest": newest.get("word"),
            "run": newest.get("run"),
            "cloud device": newest.get("deviceId"),
            "registry device": newest.get("registryDeviceId"),
            "cause": newest.get("errorCode"),
        },
    )
    for row in history.certificates:
        console.print(
            f"certificate {row.serial}, until {row.not_after:%Y-%m-%d}",
            soft_wrap=True,
            markup=False,
        )


def _show_check(console: Console, check: BoardCheck) -> None:
    from infuse_cli.cli.views.credentials import show_notes, table
    from infuse_cli.cli.views.layout import fields

    _show_board(console, check.board, check.history)
    if check.cloud is not None:
        device, heard = check.cloud.device, check.cloud.heard
        fields(
            console,
            {
                "in the cloud": "not registered" if device is None else device.device_id,
                "last heard": heard and f"{heard:%Y-%m-%d %H:%M:%S} UTC",
            },
        )
    fields(console, {"possession": check.possession})
    console.print()
    if check.credentials is not None:
        table(console, check.credentials)
        console.print()
    show_notes(console, check.notes)
    count = len(check.differences)
    console.print(
        f"{plural(count, 'difference')}:" if count else "No differences.",
        soft_wrap=True,
        style="red" if count else "green",
    )
