"""Checks of `infuse doctor` around the boards: ports, groups, ModemManager, J-Link and nrfutil."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import BoardError
from infuse_cli.link.discover import KNOWN, Seen, UsbRule, explain
from infuse_cli.maintenance.doctor import Finding, Subject, doubtful, failed, passed
from infuse_cli.serial_tools.ports import describe
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GROUPS: Final = ("dialout", "uucp")
_MODEM_MANAGER: Final = "ModemManager"
_IGNORED: Final = frozenset({"ID_MM_DEVICE_IGNORE", "ID_MM_PORT_IGNORE"})
_RULES: Final = "/etc/udev/rules.d/77-infuse-boards.rules"
_JLINK: Final = ("JLinkExe", "JLink")


def ports(subject: Subject) -> Sequence[Finding]:
    """Whether a board's port is there, may be opened, and is free."""
    seen = _seen(subject)
    chosen = [one for one in seen if one.chosen]
    rows = [describe(port, holder=subject.machine.holder).as_json() for port in seen]
    found = [finding for row in rows if row["chosen"] and (finding := _hindered(row)) is not None]
    if found:
        return found
    if chosen:
        return [
            passed(
                "ports",
                f"{plural(len(chosen), 'board')} plugged in:"
                f" {', '.join(port.info.port for port in chosen)}",
                ports=rows,
            )
        ]
    doubt = next((port.why for port in seen if "several ports" in port.why), None)
    if doubt is not None:
        return [
            doubtful(
                "ports",
                doubt,
                "Name it with --port, or give board.usb an interface in the profile.",
                ports=rows,
            )
        ]
    return [
        doubtful(
            "ports",
            f"no port looks like a board's ({plural(len(seen), 'port')} seen)",
            "Plug a board in; `infuse serial ports` says of each port why it is none.",
            ports=rows,
        )
    ]


def _hindered(row: dict[str, object]) -> Finding | None:
    port, holder = row["port"], row["heldBy"]
    if row["permitted"] is False:
        return failed(
            "ports", BoardError("serial.denied", f"this user may not open {port}"), ports=[row]
        )
    if holder is not None and not str(holder).startswith("infuse "):
        return failed(
            "ports",
            BoardError(
                "serial.busy",
                f"{port} is held by {holder}",
                hint="Close that program; for ModemManager see the check of that name.",
            ),
            ports=[row],
        )
    if holder is not None:
        return doubtful(
            "ports",
            f"{port} is held by {holder}",
            "Let that run finish: a port is never shared.",
            ports=[row],
        )
    return None


def groups(subject: Subject) -> Sequence[Finding]:
    """Whether this user is in the group that may open serial ports."""
    machine = subject.machine
    if sys.platform != "linux":
        return [passed("groups", "not needed on this system")]
    if machine.user_id == 0:
        return [passed("groups", "this user is the superuser, who may open every port")]
    known = next(
        ((name, found) for name in _GROUPS if (found := machine.group(name)) is not None), None
    )
    if known is None:
        return [
            doubtful(
                "groups",
                "this system has neither a group dialout nor uucp",
                "A udev rule has to give the boards' ports to a group that this user is in.",
            )
        ]
    name, (number, members) = known
    if number in machine.group_ids:
        return [passed("groups", f"this user is in the group {name}")]
    user = _user()
    if user in members:
        return [
            failed(
                "groups",
                BoardError(
                    "serial.denied",
                    f"{user} was added to the group {name} after this session began",
                    hint="Log out and in again.",
                ),
            )
        ]
    return [
        failed(
            "groups",
            BoardError(
                "serial.denied",
                f"{user} is not in the group {name}",
                hint=f"sudo usermod -aG {name} {user}, then log out and in again.",
            ),
        )
    ]


def modem_manager(subject: Subject) -> Sequence[Finding]:
    """Whether ModemManager holds a board's port, or will probe the next that is plugged in."""
    machine = subject.machine
    running = machine.processes(_MODEM_MANAGER)
    if not running:
        return [passed(_MODEM_MANAGER, "not running")]
    rule = udev_rule(_rules(subject))
    fix = (
        f"Put this into {_RULES}, then `sudo udevadm control --reload && sudo udevadm trigger`:"
        f" {rule}"
    )
    chosen = [port.info.port for port in _seen(subject) if port.chosen]
    held = [port for port in chosen if _MODEM_MANAGER in (machine.holder(port) or "")]
    if held:
        return [
            failed(
                _MODEM_MANAGER,
                BoardError("serial.busy", f"ModemManager holds {', '.join(held)}", hint=fix),
                rule=rule,
                file=_RULES,
            )
        ]
    probed = [port for port in chosen if not _ignored(machine.udev_notes(port))]
    if chosen and not probed:
        return [passed(_MODEM_MANAGER, f"running, and told to leave {', '.join(chosen)} alone")]
    what = ", ".join(probed) if probed else "the next board's ports"
    return [
        doubtful(
            _MODEM_MANAGER,
            f"running, and will send its own commands to {what}",
            fix,
            rule=rule,
            file=_RULES,
        )
    ]


def udev_rule(rules: Iterable[UsbRule]) -> str:
    """Lines that keep ModemManager off the ports with these USB ids (its documentation:
    ID_MM_DEVICE_IGNORE).
    """
    ids = dict.fromkeys((rule.vid.lower(), rule.pid.lower()) for rule in rules)
    return "\n".join(
        f'SUBSYSTEMS=="usb", ATTRS{{idVendor}}=="{vid}", ATTRS{{idProduct}}=="{pid}",'
        ' ENV{ID_MM_DEVICE_IGNORE}="1"'
        for vid, pid in ids
    )


def jlink(subject: Subject) -> Sequence[Finding]:
    """Whether SEGGER's tools are there, which nrfutil uses for its probes."""
    machine = subject.machine
    found = next((path for name in _JLINK if (path := machine.which(name))), None)
    found = found or next(
        (str(folder) for folder in machine.jlink_folders if folder.is_dir()), None
    )
    if found is not None:
        return [passed("J-Link", f"installed: {found}")]
    if _wants_probe(subject):
        return [
            doubtful(
                "J-Link",
                "SEGGER's J-Link software is not installed, and the profile needs a debug probe",
                "Install SEGGER's J-Link software, which nrfutil needs for its probes.",
            )
        ]
    return [
        passed(
            "J-Link",
            (
                "not installed, and not needed"
                if subject.profile is not None
                else "not installed; needed only where a profile needs a debug probe"
            ),
        )
    ]


def nrfutil(subject: Subject) -> Sequence[Finding]:
    """Whether Nordic's tool is there with its command `device`, where the profile needs it."""
    path = subject.machine.which("nrfutil")
    if path is None and _wants_probe(subject):
        code, wanted = (
            ("board.no-mcu-id", "board.mcu_id is from: nrfutil")
            if _reads_chip(subject)
            else ("board.id-not-written", "board.write_id is set")
        )
        return [
            failed(
                "nrfutil",
                BoardError(
                    code,
                    f"{wanted}, and there is no nrfutil on the PATH",
                    hint=(
                        "Install nrfutil and its command `device` (nrfutil install device), and put"
                        " it on the PATH."
                    ),
                ),
            )
        ]
    if path is None:
        return [
            passed(
                "nrfutil",
                (
                    "not on the PATH, and not needed"
                    if subject.profile is not None
                    else "not on the PATH; needed only where a profile needs a debug probe"
                ),
            )
        ]
    told = subject.machine.told_by(path, "device", "--version")
    if told is None:
        return [
            doubtful(
                "nrfutil",
                f"{path} has no command `device`, or did not answer",
                "nrfutil install device",
            )
        ]
    version = next(iter(told.split("\n")), "").strip()
    return [passed("nrfutil", f"{path}, {version or 'no version told'}", version=version)]


def _wants_probe(subject: Subject) -> bool:
    return _reads_chip(subject) or (subject.profile is not None and subject.profile.board.write_id)


def _reads_chip(subject: Subject) -> bool:
    profile = subject.profile
    return (
        profile is not None
        and profile.board.mcu_id is not None
        and profile.board.mcu_id.source == "nrfutil"
    )


def _rules(subject: Subject) -> Sequence[UsbRule]:
    profile = subject.profile
    return KNOWN if profile is None or not profile.board.usb else profile.board.usb


def _seen(subject: Subject) -> Sequence[Seen]:
    profile = subject.profile
    return explain(subject.machine.ports(), () if profile is None else profile.board.usb)


def _ignored(notes: object) -> bool:
    return isinstance(notes, dict) and any(notes.get(name) in {"1", "true"} for name in _IGNORED)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "this user"
