"""`infuse serial slots`: which socket, or which adapter, is which slot of this bench."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infuse_cli.config.bench import load_bench
from infuse_cli.config.bench_file import store_slots
from infuse_cli.errors import BoardError, UsageError
from infuse_cli.link import places
from infuse_cli.serial_tools.ports import list_boards, load_profile
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from infuse_cli.config.model import Profile
    from infuse_cli.link.places import By
    from infuse_cli.ports import Clock
    from infuse_cli.settings import Settings
    from infuse_cli.types import PortInfo

_POLL_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that was learned; `place` is a hub path or serial number, `port` what is there now."""

    number: int
    place: str
    port: str | None = None

    @property
    def kind(self) -> str:
        """What the place is: hub path or serial number."""
        return places.kind_of(self.place)


@dataclass(frozen=True, slots=True)
class LearnedSlots:
    """Slots that are new, and all there are now; `file` is where they are, if any is new."""

    new: tuple[Slot, ...]
    slots: tuple[Slot, ...]
    file: Path | None


@dataclass(frozen=True, slots=True)
class ForgottenSlots:
    """Numbers of the slots that were forgotten, and the slots that are left."""

    numbers: tuple[int, ...]
    slots: tuple[Slot, ...]


def list_slots(settings: Settings) -> tuple[Slot, ...]:
    """The slots that were learned, and what is plugged into each now. Raises ProfileError."""
    return _with_ports(load_profile(settings), load_bench(settings.home).slots)


def learn_present(settings: Settings, by: By) -> LearnedSlots:
    """Learn the boards that are plugged in, in the order of the hub; known slots stay.

    Raises BoardError serial.none, serial.ambiguous.
    """
    learner = _Learner(settings, by)
    present = list_boards(learner.profile)
    if not present:
        raise BoardError(
            "serial.none",
            "no port looks like a board's, so there is nothing to learn",
            hint="Plug the boards in; `infuse serial ports` says of each port why it is none.",
        )
    for info in present:
        learner.learn(info)
    return learner.result()


def learn_plugged(
    settings: Settings, by: By, clock: Clock, report: Callable[[str], None]
) -> LearnedSlots:
    """Give each board that is plugged in the next slot, stored at once, until the clock is stopped.

    `report` gets sentences for the person who plugs. Raises as `learn_present`.
    """
    learner = _Learner(settings, by)
    seen = {learner.place_of(info) for info in list_boards(learner.profile)}
    report(
        f"{plural(len(seen), 'board')} plugged in already: unplug and plug in again what is to be"
        " learned. Ctrl-C when done."
    )
    report(learner.question)
    while not clock.wait(_POLL_S):
        present = {learner.place_of(info): info for info in list_boards(learner.profile)}
        fresh = [place for place in present if place not in seen]
        # A board that was unplugged counts as new when it comes back.
        seen &= set(present)
        if not fresh:
            continue
        seen.add(fresh[0])
        info = present[fresh[0]]
        slot = learner.learn(info)
        if slot is None:
            report(f"{info.port} is slot {places.slot_of(info, learner.slots)} already.")
        else:
            learner.store()
            report(f"Slot {slot.number} is {slot.kind} {slot.place} ({info.port}).")
        report(learner.question)
    return learner.result()


def forget(settings: Settings, numbers: Sequence[int], *, everything: bool) -> ForgottenSlots:
    """Forget slots by number, or all. Raises UsageError for a slot that was never learned."""
    slots = dict(load_bench(settings.home).slots)
    if everything == bool(numbers):
        raise UsageError("usage.bad-option", "name the slots to forget, or --all")
    unknown = [number for number in numbers if number not in slots.values()]
    if unknown:
        raise UsageError(
            "usage.bad-option",
            f"slot {unknown[0]} was never learned",
            hint="`infuse serial slots` shows those that were.",
        )
    left = {
        place: number for place, number in slots.items() if not everything and number not in numbers
    }
    if left != slots:
        store_slots(settings.home, left)
    gone = sorted(set(slots.values()) - set(left.values()))
    return ForgottenSlots(tuple(gone), _with_ports(load_profile(settings), left))


@dataclass(slots=True)
class _Learner:
    settings: Settings
    by: By
    profile: Profile | None = None
    slots: dict[str, int] = field(default_factory=dict)
    new: list[Slot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.profile = load_profile(self.settings)
        self.slots = dict(load_bench(self.settings.home).slots)

    @property
    def question(self) -> str:
        return f"Plug in the board of slot {places.free(self.slots.values())} …"

    def place_of(self, info: PortInfo) -> str:
        """What ties a port to a slot. Raises BoardError serial.ambiguous where nothing does."""
        place = places.place_of(info, self.by)
        if place is None:
            raise BoardError(
                "serial.ambiguous",
                f"{info.port} shows neither a hub path nor a USB serial number, so nothing ties it"
                " to a slot",
                hint="Name it with --port where it is used.",
            )
        return place

    def learn(self, info: PortInfo) -> Slot | None:
        """Give a board the lowest free slot; None where it has one."""
        if places.slot_of(info, self.slots) is not None:
            return None
        slot = Slot(places.free(self.slots.values()), self.place_of(info))
        self.slots[slot.place] = slot.number
        self.new.append(slot)
        return slot

    def store(self) -> Path:
        """Write the slots to bench.yaml. Raises ProfileError."""
        return store_slots(self.settings.home, self.slots)

    def result(self) -> LearnedSlots:
        """Store what is new."""
        file = self.store() if self.new else None
        return LearnedSlots(tuple(self.new), _with_ports(self.profile, self.slots), file)


def _with_ports(profile: Profile | None, slots: Mapping[str, int]) -> tuple[Slot, ...]:
    present = {
        place: info.port
        for info in list_boards(profile)
        for place in (info.hub_path, info.serial_number)
        if place
    }
    rows = (Slot(number, place, present.get(place)) for place, number in slots.items())
    return tuple(sorted(rows, key=lambda slot: slot.number))
