"""A virtual board: modem, AT host firmware and the faults it has, still without I/O or clock.

`receive` takes bytes of the wire and gives reactions: bytes to send after a delay, or the plug
being pulled. The bench carries them out.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.sim.faults import BoardFault, OnBoard, Place
from infuse_cli.sim.fronts import Front, Request, front
from infuse_cli.sim.modem import Answer, Modem, ModemIdentity
from infuse_cli.types import CredentialType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BOOT_TEXT: Final = ("*** Booting nRF Connect SDK ***", "Ready")
_BOOT_LINES: Final = 60
_NMEA: Final = (
    b"$GNGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76\r\n"
    b"$GPGSA,A,3,10,07,05,02,29,04,08,13,,,,,1.72,1.03,1.38*0A\r\n"
)
_URC: Final = "+CEREG: 2"


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for the host, to begin `delay_s` seconds after the command was complete."""

    data: bytes
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Unplug:
    """The cable comes out now, and goes back in after `back_s` seconds (None: it stays out)."""

    back_s: float | None = None


@dataclass(frozen=True, slots=True)
class Active:
    """The modem went on the air: the firmware may check in. `delay_s` as in Send."""

    delay_s: float = 0.0


Reaction = Send | Unplug | Active

_PLACES: Final = (
    (
        Place.IDENTIFY,
        re.compile(r"AT(?:%DEVICEUUID|\+CGSN|\+CGMM|\+CGMR).*|hwinfo devid", re.IGNORECASE),
    ),
    (Place.LIST, re.compile(r"AT%CMNG=1.*|cred list.*", re.IGNORECASE)),
    (Place.KEYGEN, re.compile(r"AT%KEYGEN=.*|nrf_cloud_cred keygen.*", re.IGNORECASE)),
    (
        Place.SERVER_CA,
        re.compile(r"AT%CMNG=0,\d+,0,.*|cred add \d+ CA.*", re.IGNORECASE | re.DOTALL),
    ),
    (
        Place.INSTALL,
        re.compile(
            r"AT%CMNG=0,\d+,1,.*|cred add \d+ (?:CLIENT|SELF|SERV).*", re.IGNORECASE | re.DOTALL
        ),
    ),
    (
        Place.TOKEN,
        re.compile(
            r"AT%CMNG=0,\d+,[34],.*|cred add \d+ P.*|settings write .*|prov token .*|kv_write .*",
            re.IGNORECASE | re.DOTALL,
        ),
    ),
    (Place.DELETE, re.compile(r"AT%CMNG=3,.*|cred del .*|nrf_cloud_cred delete.*", re.IGNORECASE)),
    (Place.JWT, re.compile(r"AT%JWT.*", re.IGNORECASE)),
)
# What a board has seen before it is swapped ahead of a place: the next look at its UUID then meets
# the other board.
# A host that doesn't look again meets it with the command itself. `swap@identify#N` swaps at the
# N-th look after the first.
_BEFORE: Final = {
    Place.SERVER_CA: {Place.LIST},
    Place.KEYGEN: {Place.SERVER_CA},
    Place.INSTALL: {Place.KEYGEN},
    Place.TOKEN: {Place.KEYGEN},
    Place.DELETE: {Place.LIST},
    Place.IDENTIFY: {Place.IDENTIFY},
}
_LOOKS: Final = re.compile(r"DEVICEUUID|hwinfo", re.IGNORECASE)
_SECRETS: Final = re.compile(
    r"^(AT%CMNG=0,\d+,[23],|settings write string \S+ |prov token |cred buf |kv_write ).*",
    re.IGNORECASE | re.DOTALL,
)
_STOPS_BEFORE: Final = {
    BoardFault.UNPLUG_BEFORE,
    BoardFault.HANG_BEFORE,
    BoardFault.LOST_BEFORE,
    BoardFault.RESET_BEFORE,
}
_STOPS_AFTER: Final = {BoardFault.UNPLUG, BoardFault.HANG, BoardFault.LOST, BoardFault.RESET}
_NOT_BY_COMMAND: Final = {BoardFault.SWAP, BoardFault.QUICK_DROP}
_FLAGS: Final = {
    BoardFault.NO_IMEI: "no_imei",
    BoardFault.NO_DIGEST: "no_digest",
    BoardFault.NO_JWT: "no_jwt",
    BoardFault.BAD_JWT: "bad_jwt",
    BoardFault.NO_COSE: "no_cose",
    BoardFault.WRONG_READBACK: "wrong_write",
    BoardFault.BROWN_OUT: "brown_out",
}


def place_of(command: str) -> Place:
    """The kind of a command, `ANY` when it is none that faults know."""
    text = command.strip()
    return next((place for place, pattern in _PLACES if pattern.fullmatch(text)), Place.ANY)


class _Armed:
    """A fault that counts how often its place was seen and how often it struck."""

    def __init__(self, fault: OnBoard) -> None:
        self.fault: Final = fault
        self._seen = 0
        self._left = fault.times

    def strikes(self, place: Place) -> bool:
        if self._left == 0 or self.fault.place not in {Place.ANY, place}:
            return False
        self._seen += 1
        if self.fault.nth is not None and self._seen != self.fault.nth:
            return False
        if self._left is not None:
            self._left -= 1
        return True


class VirtualBoard:
    """What is plugged into a slot.

    `make_modem` builds the modem of a new identity, at the start and when swapped.
    """

    def __init__(
        self,
        slot: int,
        make_modem: Callable[[int], Modem],
        faults: Sequence[OnBoard] = (),
        *,
        seed: int | None = None,
        cloud_public: bytes = b"",
    ) -> None:
        self.slot: Final = slot
        self._make_modem: Final = make_modem
        self._chance: Final = random.Random(seed)  # noqa: S311 - noise, not keys
        self.modems: list[Modem] = []
        self.commands: list[str] = []
        self._cloud_public: Final = cloud_public
        self._front: Front = front("at")
        self._hung = False
        self._opened = False
        self._seen: set[Place] = set()
        self._armed: list[_Armed] = []
        self.change_faults(faults)
        self._plug_in_new_board()

    @property
    def modem(self) -> Modem:
        """The modem that is there now; those that were swapped out come before it in `modems`."""
        return self.modems[-1]

    def change_faults(self, faults: Sequence[OnBoard]) -> None:
        """Have these faults from now on, as if they had never struck."""
        self._armed = [_Armed(fault) for fault in faults]
        self._front = front(
            self._text(BoardFault.DIALECT) or "at",
            colour=not self._has(BoardFault.PLAIN),
            blank=self._has(BoardFault.BLANK),
            cloud_public=self._cloud_public,
        )
        self._set_echo()
        if self.modems:
            self._occupy()
            self._set_delays()

    def _chatter(self) -> list[Reaction] | None:
        """What comes from a port behind which there is no board that hears us; None for one that
        does.
        """
        if self._has(BoardFault.GPS):
            return [Send(_NMEA)]
        if self._has(BoardFault.WRONG_BAUD):
            return [Send(bytes(self._chance.choice(range(0x80, 0x100)) for _ in range(24)))]
        return None

    def reset(self) -> list[Reaction]:
        """Reboot: settings are lost, NVM stays, the boot text is printed, the firmware goes on the
        air.
        """
        self.modem.boot()
        self._front.reset()
        self._set_echo()
        self._hung = False
        return (
            []
            if self._has(BoardFault.MUTE)
            else [Send(self._front.boot_text(self._boot_text())), Active()]
        )

    def exchange(self) -> list[Reaction]:
        """Put another board in place of this one: it boots."""
        self._plug_in_new_board()
        return self.reset()

    def quick_drop(self) -> OnBoard | None:
        """The fault by which this connection to the broker ends as soon as it was let in."""
        return next(
            (
                armed.fault
                for armed in self._armed
                if armed.fault.kind is BoardFault.QUICK_DROP and armed.strikes(Place.ANY)
            ),
            None,
        )

    def echo(self, data: bytes) -> bytes:
        """What comes back at once for received bytes."""
        return b"" if self._hung or self._has(BoardFault.MUTE) else self._front.echo(data)

    def receive(self, data: bytes) -> list[Reaction]:
        """Take bytes that have arrived; nothing after the plug was pulled counts."""
        reactions: list[Reaction] = []
        if (chatter := self._chatter()) is not None:
            return chatter
        if self._has(BoardFault.DTR_RESET) and not self._opened:
            self._opened = True
            return self.reset()
        for heard in self._front.receive(data):
            if isinstance(heard, bytes):
                reactions += [] if self._hung or self._has(BoardFault.MUTE) else [Send(heard)]
                continue
            reactions += self._command(heard)
            if any(isinstance(reaction, Unplug) for reaction in reactions):
                break
        return reactions

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values, for tests and `_sim/state`."""
        modem = self.modem
        return {
            "slot": self.slot,
            "uuid": str(modem.identity.uuid),
            "imei": modem.identity.imei,
            "functionalMode": modem.functional_mode,
            "counts": dict(modem.counts),
            "swappedOut": [_written(old) for old in self.modems[:-1]],
            **_written(modem),
        }

    def _plug_in_new_board(self) -> None:
        self.modems.append(self._make_modem(len(self.modems)))
        self._front.reset()
        self._seen.clear()
        self._occupy()
        self._set_delays()

    def _set_delays(self) -> None:
        if (slow := self._text(BoardFault.SLOW_NVM)) is not None:
            self.modem.delays = replace(self.modem.delays, nvm_s=int(slow) / 1000)

    def _occupy(self) -> None:
        for armed in self._armed:
            if armed.fault.kind is BoardFault.OCCUPIED:
                occupy(self.modem, str(armed.fault.value))

    def _command(self, request: Request) -> list[Reaction]:
        command = request.text
        self.commands.append(_masked(command))
        if self._hung or self._has(BoardFault.MUTE):
            return []
        echo: list[Reaction] = [Send(request.echo)] if request.echo else []
        return [*echo, *self._carry_out(request, command)]

    def _carry_out(self, request: Request, command: str) -> list[Reaction]:
        place = place_of(command)
        self._swap_if_due(place, command)
        struck = [
            armed.fault
            for armed in self._armed
            if armed.fault.kind not in _NOT_BY_COMMAND and armed.strikes(place)
        ]
        kinds = {fault.kind for fault in struck}
        if early := [fault for fault in struck if fault.kind in _STOPS_BEFORE]:
            return self._stop(early[0])
        request = self._misheard(request, struck)
        if BoardFault.ACTIVE in kinds:
            self.modem.functional_mode = 1
        was_active = self.modem.active
        answer = self._execute(request, struck)
        self._seen.add(place)
        if late := [fault for fault in struck if fault.kind in _STOPS_AFTER]:
            return self._stop(late[0])
        if self._front.reboots(request):
            return self.reset()
        sent: list[Reaction] = [
            Send(self._bytes(request, answer, kinds), answer.delay_s + _slowness(struck))
        ]
        came_on = self.modem.active and (not was_active or self._front.wakes(request))
        return [*sent, Active(answer.delay_s)] if came_on else sent

    def _execute(self, request: Request, struck: Sequence[OnBoard]) -> Answer:
        for fault in struck:
            if fault.kind is BoardFault.REFUSE:
                return (
                    self.modem.refused(fault.value)
                    if isinstance(fault.value, int)
                    else Answer(ok=False)
                )
        self._set_quirks(struck)
        return self._front.execute(self.modem, request)

    def _misheard(self, request: Request, struck: Sequence[OnBoard]) -> Request:
        """The command as a bad line brings it: a character changed, or some lost."""
        kinds = {fault.kind for fault in struck}
        if (
            not kinds & {BoardFault.FLIP_BEFORE, BoardFault.DROP_BEFORE}
            or request.text != request.line
        ):
            return request
        at = self._chance.randrange(len(request.text))
        middle = chr(ord(request.text[at]) ^ 1) if BoardFault.FLIP_BEFORE in kinds else ""
        text = request.text[:at] + middle + request.text[at + (1 if middle else 3) :]
        return replace(request, text=text, line=text)

    def _on_the_wire(self, said: bytes, kinds: set[BoardFault]) -> bytes:
        """An answer as a bad line brings it."""
        if BoardFault.FLIP in kinds and said:
            at = self._chance.randrange(len(said))
            said = said[:at] + bytes([said[at] ^ (1 << self._chance.randrange(7))]) + said[at + 1 :]
        if BoardFault.DROP in kinds and said:
            at = self._chance.randrange(len(said))
            said = said[:at] + said[at + self._chance.randrange(1, 8) :]
        return said

    def _set_quirks(self, struck: Sequence[OnBoard]) -> None:
        kinds = {fault.kind for fault in struck}
        for kind, flag in _FLAGS.items():
            setattr(self.modem.quirks, flag, kind in kinds)
        self.modem.quirks.csr_fault = next(
            (str(fault.value) for fault in struck if fault.kind is BoardFault.BAD_CSR), None
        )

    def _bytes(self, request: Request, answer: Answer, kinds: set[BoardFault]) -> bytes:
        said = self._front.answer(request, answer)
        if BoardFault.GARBAGE in kinds:
            said = (
                bytes(self._chance.choice(range(0x80, 0x100)) for _ in range(24)) + b"\r\n" + said
            )
        if BoardFault.URC in kinds:
            urc = self._front.unsolicited(_URC)
            said = urc + said + urc
        return self._on_the_wire(said, kinds)

    def _stop(self, fault: OnBoard) -> list[Reaction]:
        match fault.kind:
            case BoardFault.UNPLUG | BoardFault.UNPLUG_BEFORE:
                return [Unplug(fault.value / 1000 if isinstance(fault.value, int) else None)]
            case BoardFault.RESET | BoardFault.RESET_BEFORE:
                return self.reset()
            case BoardFault.HANG | BoardFault.HANG_BEFORE:
                self._hung = True
        return []

    def _swap_if_due(self, place: Place, command: str) -> None:
        for armed in self._armed:
            at = armed.fault.place
            looked_at = (
                place is Place.IDENTIFY
                and _LOOKS.search(command) is not None
                and bool(_BEFORE.get(at, set()) & self._seen)
            )
            if (
                armed.fault.kind is BoardFault.SWAP
                and (looked_at or place is at is not Place.IDENTIFY or at is Place.ANY)
                and armed.strikes(at)
            ):
                self._plug_in_new_board()

    def _boot_text(self) -> Sequence[str]:
        if not self._has(BoardFault.BOOT_LOG):
            return BOOT_TEXT
        log = (
            f"[00:00:{at:02d}.{self._chance.randrange(1000):03d},000] <inf> boot_{at}: stage"
            f" {at} OK"
            for at in range(_BOOT_LINES)
        )
        return (BOOT_TEXT[0], *log, *BOOT_TEXT[1:])

    def _set_echo(self) -> None:
        self._front.set_echo(
            True if self._has(BoardFault.ECHO) else False if self._has(BoardFault.NO_ECHO) else None
        )

    def _text(self, kind: BoardFault) -> str | None:
        """The value of a fault that the board has from the start, None without it."""
        return next(
            (str(armed.fault.value) for armed in self._armed if armed.fault.kind is kind), None
        )

    def _has(self, kind: BoardFault) -> bool:
        return any(armed.fault.kind is kind for armed in self._armed)


def occupy(modem: Modem, tag_and_type: str) -> None:
    """Fill a place such as `4201/2` as if another tool had written it; what is there
    already stays.
    """
    tag, kind = map(int, tag_and_type.split("/"))
    if modem.nvm.get(tag, kind) is not None:
        return
    if kind == CredentialType.CLIENT_KEY:
        modem.generate(tag)
    else:
        modem.nvm.overwrite(tag, kind, f"left by another tool {modem.identity.uuid}".encode())


def identity_for(slot: int, generation: int, seed: int | None) -> ModemIdentity:
    """The identity of the board that is `generation`-th in a slot: fresh, or repeatable with a
    seed.
    """
    return ModemIdentity.make(None if seed is None else f"{seed}/{slot}/{generation}")


def _slowness(struck: Sequence[OnBoard]) -> float:
    return sum(int(fault.value or 0) for fault in struck if fault.kind is BoardFault.SLOW) / 1000


def _written(modem: Modem) -> dict[str, Any]:
    listed = [
        {"secTag": tag, "type": kind, "sha256": digest.lower()}
        for tag, kind, digest in modem.nvm.listed()
    ]
    return {"uuid": str(modem.identity.uuid), "credentials": listed}


def _masked(command: str) -> str:
    return _SECRETS.sub(r"\1***", command)
