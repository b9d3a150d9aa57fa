"""What `infuse serial` shows people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.views.layout import columns, fields
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from infuse_cli.serial_tools.at import Answered


_WIDE: Final = 120
"""Columns from which on a digest has room beside the rest."""


def ports(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """A port with what it is, and under it who holds it and why it is or is not a board's."""
    if not rows:
        console.print(
            "This machine shows no serial port. Check the cable, and that the board has power.",
            soft_wrap=True,
        )
        return
    for row in rows:
        console.print(
            f"{row['port']}  {', '.join(_known(row)) or 'nothing known'}",
            soft_wrap=True,
            markup=False,
            style="bold" if row["chosen"] else None,
        )
        for line in _said(row):
            console.print(
                f"    {line}",
                soft_wrap=True,
                markup=False,
                style="green" if row["chosen"] and line.startswith("chosen") else None,
            )


def _known(row: dict[str, Any]) -> list[str]:
    what = [
        row["board"] or row["description"],
        row["usb"] and f"USB {row['usb']}",
        row["serialNumber"] and f"serial number {row['serialNumber']}",
        row["hubPath"] and f"hub path {row['hubPath']}",
        row["slot"] and f"slot {row['slot']}",
    ]
    return [str(part) for part in what if part]


def _said(row: dict[str, Any]) -> list[str]:
    lines = [f"{'chosen' if row['chosen'] else 'not chosen'}: {row['why']}"]
    if row["heldBy"]:
        lines.append(f"held by {row['heldBy']}")
    if row["permitted"] is False:
        lines.append("this user may not open it: `infuse doctor` says why")
    return lines


def probed(found: dict[str, Any]) -> str:
    """That a port answers, and how."""
    what = "ePacket frames" if found["dialect"] == "epacket" else "AT commands"
    return f"{found['port']} answers {what} (dialect {found['dialect']})."


def board(console: Console, found: dict[str, Any]) -> None:
    """Who the board says it is, then what the journal knows of it."""
    told = found["board"]
    problem = found["mcuIdProblem"]
    fields(
        console,
        {
            "port": f"{found['port']} (dialect {found['dialect']})",
            "board": told["uuid"],
            "IMEI": told["imei"] or "none",
            "mcuId": told["mcuId"] or (f"not read: {problem['message']}" if problem else None),
            "model": found["model"],
            "modem firmware": found["modemFirmware"],
            "ICCID": found["iccid"],
            "functional mode": (
                None
                if found["functionalMode"] is None
                else f"{found['functionalMode']} ({found['functionalModeName']})"
            ),
        },
    )
    if (owed := found.get("functionalModeOwed")) is not None:
        console.print(
            f"A change by hand was stopped before it brought functional mode {owed} back: `infuse"
            " resume` does.",
            soft_wrap=True,
            style="yellow",
        )
    console.print()
    recorded(console, found["record"], told["uuid"], found["byHand"])


def recorded(console: Console, record: dict[str, Any] | None, uuid: str, by_hand: int) -> None:
    """What the journal knows of a board."""
    if by_hand:
        console.print(
            f"{plural(by_hand, 'change')} by hand on record: infuse journal show {uuid}",
            soft_wrap=True,
            markup=False,
        )
    if record is None:
        console.print(
            (
                "No run of this bench ever took this board."
                if by_hand
                else "This journal knows nothing of this board."
            ),
            soft_wrap=True,
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
    for row in record["certificates"]:
        console.print(
            f"certificate {row['serial']}, until {row['notAfter']:%Y-%m-%d}",
            soft_wrap=True,
            markup=False,
        )


def credentials(console: Console, rows: Sequence[dict[str, Any]], tag: int | None = None) -> None:
    """A line a credential; `journal` says whether this journal put it there."""
    if not rows:
        console.print(
            (
                "The modem holds no credential."
                if tag is None
                else f"The modem holds no credential under sec_tag {tag}."
            ),
            soft_wrap=True,
        )
        return
    told = [
        (
            str(row["secTag"]),
            str(row["type"]),
            row["typeName"],
            _origin(row),
            row["sha256"] or "not given",
        )
        for row in rows
    ]
    if console.width >= _WIDE:
        columns(console, ("sec_tag", "type", "what", "journal", "SHA-256"), told)
        return
    for place, kind, what, origin, sha256 in told:
        console.print(
            f"sec_tag {place}, type {kind}: {what}, {origin}",
            soft_wrap=True,
            markup=False,
            style="bold",
        )
        console.print(f"    {sha256}", soft_wrap=True, markup=False)


def listed(
    console: Console, rows: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]], tag: int | None
) -> None:
    """The credentials, then how many keys are the modem's own."""
    credentials(console, rows, tag)
    if own:
        console.print(
            f"and {plural(len(own), 'key')} of the modem's own, which nobody can write or delete",
            soft_wrap=True,
        )


def _origin(row: dict[str, Any]) -> str:
    """Whose a credential is, by the journal of this bench."""
    return "ours" if row["known"] else "by hand" if row["byHand"] else "unknown"


def written(console: Console, rows: Sequence[dict[str, Any]], notes: Sequence[str]) -> None:
    """A line a credential: what was written and read back, or left alone because it was there."""
    for row in rows:
        verb = (
            "There already"
            if row["already"]
            else "Replaced, read back"
            if row["replaced"]
            else "Written, read back"
        )
        console.print(
            f"{verb}: {row['typeName']} of sec_tag {row['secTag']}, SHA-256 {row['sha256']}",
            soft_wrap=True,
            markup=False,
        )
    _noted(console, notes)


def token(console: Console, made: dict[str, Any], notes: Sequence[str]) -> None:
    """Where a registration token went, and whether the board shows it."""
    if made["store"] != "psk":
        seen = "read back" if made["readBack"] else "the board cannot show it"
        done = (
            "There already"
            if made["already"]
            else (
                "Written"
                if made["replaced"] is None
                else f"Written over SHA-256 {made['replaced']}"
            )
        )
        console.print(
            f"{done}, {seen}: registration token, store {made['store']} {made['name'] or ''}".rstrip(),
            soft_wrap=True,
            markup=False,
        )
    written(console, made["credentials"], notes)


def deleted(console: Console, rows: Sequence[dict[str, Any]], notes: Sequence[str]) -> None:
    """A line a credential that is gone."""
    for row in rows:
        console.print(
            f"Deleted: {row['typeName']} of sec_tag {row['secTag']}, SHA-256"
            f" {row['sha256'] or 'not given'}",
            soft_wrap=True,
            markup=False,
        )
    if not rows:
        console.print("Nothing there, nothing deleted.", soft_wrap=True)
    _noted(console, notes)


def requested(console: Console, made: dict[str, Any], notes: Sequence[str]) -> None:
    """A key that was made, and where its CSR is."""
    fields(
        console,
        {
            "sec_tag": made["secTag"],
            "subject": made["subject"],
            "public key": f"SHA-256 {made['publicKeySha256']}",
            "attestation": made["attestation"],
            "CSR": made["out"],
            "modem's text": made["keygen"],
        },
    )
    _noted(console, notes)
    console.print(
        f"Next: infuse ca sign {made['out']} --device-id ID --out CERT.pem",
        soft_wrap=True,
        markup=False,
    )


def _noted(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)


def exchanges(console: Console, answers: Sequence[Answered], texts: Sequence[str]) -> None:
    """Answers as they came; with several commands each stands under its own."""
    for text, answer in zip(texts, answers, strict=False):
        if len(texts) > 1:
            console.print(f"> {text}", soft_wrap=True, markup=False, style="bold")
        for line in answer.shown_lines():
            console.print(line, soft_wrap=True, markup=False)
        if answer.ok:
            console.print("OK", soft_wrap=True)
    if len(answers) < len(texts):
        console.print(f"{plural(len(texts) - len(answers), 'command')} not sent.", soft_wrap=True)


def checked(console: Console, found: dict[str, Any]) -> None:
    """The comparison; the differences themselves follow as errors."""
    board(console, found)
    if found["cloud"] is not None:
        cloud = found["cloud"]
        heard = cloud.get("heard")
        fields(
            console,
            {
                "in the cloud": cloud["deviceId"] or "not registered",
                "last heard": heard and f"{heard:%Y-%m-%d %H:%M:%S} UTC",
            },
        )
    fields(console, {"possession": found["possession"]})
    console.print()
    if found["slots"] is not None:
        credentials(console, found["slots"])
        console.print()
    _noted(console, found["notes"])
    count = len(found["differences"])
    console.print(
        "No differences." if not count else f"{plural(count, 'difference')}:",
        soft_wrap=True,
        style="green" if not count else "red",
    )
