"""A call with an effect is sent once, whatever becomes of its answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infuse_cli.effects.send_once import SendOnce
from infuse_cli.errors import CloudError, Interrupted

GRACE_S = 5.0


class FakeClock:
    """Time passes only by waiting and by calls."""

    def __init__(self) -> None:
        self.time, self.stop_at = 100.0, float("inf")

    def monotonic(self) -> float:
        return self.time

    def wait(self, seconds: float) -> bool:
        self.time += seconds
        return self.time >= self.stop_at


@dataclass
class Fault:
    """What happens to one call: whether it takes effect and when, how it is answered, how long it
    lasts.
    """

    answer: str
    takes_effect: bool = False
    visible_after_s: float = 0.0
    lasts_s: float = 0.0


LOST = {
    "time-out": ("cloud.timeout", None),
    "connection lost": ("cloud.unreachable", None),
    "500": ("cloud.unavailable", 500),
    "502": ("cloud.unavailable", 502),
    "503": ("cloud.unavailable", 503),
    "504": ("cloud.unavailable", 504),
}
NOT_DONE = {"429": 429, "503 with Retry-After": 503, "400": 400}


@dataclass
class FakeCloud:
    """Makes things, and doubles if it is asked twice; answers as its script says."""

    clock: FakeClock
    faults: list[Fault] = field(default_factory=list)
    look_up_fails: list[bool] = field(default_factory=list)
    visible_at: list[float] = field(default_factory=list)
    posts: int = 0
    unique: bool = False

    def post(self) -> str:
        self.posts += 1
        fault = self.faults.pop(0) if self.faults else Fault("ok", takes_effect=True)
        if fault.answer in NOT_DONE:
            self.clock.time += fault.lasts_s
            status = NOT_DONE[fault.answer]
            raise CloudError("cloud.refused", "not done", status=status, retry_after_s=1.0)
        if self.unique and any(time <= self.clock.time for time in self.visible_at):
            raise CloudError("cloud.refused", "it exists already", status=409)
        if fault.takes_effect or fault.answer == "ok":
            seen = self.clock.time + fault.lasts_s + fault.visible_after_s
            self.visible_at.append(self.clock.time if fault.answer == "ok" else seen)
        self.clock.time += fault.lasts_s
        if fault.answer == "ok":
            return "thing"
        code, status = LOST[fault.answer]
        raise CloudError(code, fault.answer, unknown=True, status=status)

    def look_up(self) -> str | None:
        if self.look_up_fails and self.look_up_fails.pop(0):
            raise CloudError("cloud.unreachable", "no way there")
        return "thing" if any(time <= self.clock.time for time in self.visible_at) else None

    @property
    def effects(self) -> int:
        return len(self.visible_at)


def world(*faults: Fault, **more) -> tuple[FakeCloud, SendOnce]:
    clock = FakeClock()
    return FakeCloud(clock, list(faults), **more), SendOnce(clock, GRACE_S)


def test_an_answer_is_taken_as_it_is():
    cloud, once = world()
    assert once.send(cloud.post, cloud.look_up) == "thing"
    assert cloud.posts == 1


@pytest.mark.parametrize("answer", LOST)
@pytest.mark.parametrize("visible_after_s", [0.0, 0.3, GRACE_S])
def test_a_lost_answer_is_looked_up_for_the_grace_time(answer, visible_after_s):
    cloud, once = world(Fault(answer, takes_effect=True, visible_after_s=visible_after_s))
    assert once.send(cloud.post, cloud.look_up, most=10) == "thing"
    assert (cloud.posts, cloud.effects) == (1, 1)


@pytest.mark.parametrize("answer", LOST)
def test_without_a_trace_it_stays_unknown_and_is_not_sent_again(answer):
    cloud, once = world(Fault(answer))
    with pytest.raises(CloudError, match="not sent again") as caught:
        once.send(cloud.post, cloud.look_up)
    assert caught.value.unknown
    assert "look again later" in caught.value.hint
    assert cloud.posts == 1


@pytest.mark.parametrize("answer", NOT_DONE)
def test_what_was_not_done_is_known_and_needs_no_look_up(answer):
    cloud, once = world(Fault(answer), look_up_fails=[True])
    with pytest.raises(CloudError) as caught:
        once.send(cloud.post, cloud.look_up, adopt_conflict=True)
    assert not caught.value.unknown
    assert cloud.look_up_fails == [True]


def test_it_is_sent_again_only_when_the_grace_time_is_over():
    cloud, once = world(Fault("time-out"))
    began = cloud.clock.time
    assert once.send(cloud.post, cloud.look_up, most=2) == "thing"
    assert cloud.posts == 2
    assert cloud.clock.time >= began + GRACE_S


def test_a_look_up_that_fails_allows_no_second_send():
    cloud, once = world(Fault("time-out"), look_up_fails=[False, True])
    with pytest.raises(CloudError, match="could not be looked up") as caught:
        once.send(cloud.post, cloud.look_up, most=10)
    assert caught.value.unknown
    assert cloud.posts == 1


def test_a_conflict_is_adopted_only_where_that_was_asked():
    cloud, once = world(unique=True, visible_at=[0.0])
    with pytest.raises(CloudError) as caught:
        once.send(cloud.post, cloud.look_up)
    assert caught.value.status == 409
    assert once.send(cloud.post, cloud.look_up, adopt_conflict=True) == "thing"


def test_a_stop_ends_the_look_up():
    cloud, once = world(Fault("504"))
    cloud.clock.stop_at = cloud.clock.time + 1
    with pytest.raises(Interrupted):
        once.send(cloud.post, cloud.look_up, most=10)
    assert cloud.posts == 1


def test_a_delete_whose_answer_was_lost_is_done_when_the_thing_is_gone():
    cloud, once = world(Fault("connection lost"))
    once.delete(cloud.post, lambda: None)
    with pytest.raises(CloudError) as caught:
        once.delete(world(Fault("502"))[0].post, lambda: "still there")
    assert caught.value.unknown


faults = st.builds(
    Fault,
    st.sampled_from(["ok", *LOST, *NOT_DONE]),
    takes_effect=st.booleans(),
    visible_after_s=st.floats(0, GRACE_S),
    lasts_s=st.floats(0, 60),
)


@given(
    script=st.lists(faults, max_size=12),
    look_up_fails=st.lists(st.booleans(), max_size=40),
    most=st.integers(1, 10),
    unique=st.booleans(),
    adopt_conflict=st.booleans(),
)
def test_never_two_effects(script, look_up_fails, most, unique, adopt_conflict):
    cloud, once = world(*script, look_up_fails=look_up_fails, unique=unique)
    made, error = None, None
    try:
        made = once.send(cloud.post, cloud.look_up, adopt_conflict=adopt_conflict, most=most)
    except CloudError as caught:
        error = caught
    assert cloud.effects <= 1
    assert cloud.posts <= most
    if error is None:
        assert (made, cloud.effects) == ("thing", 1)
    else:
        assert error.unknown or cloud.effects == 0
