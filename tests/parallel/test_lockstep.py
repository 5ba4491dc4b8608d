"""Tasks that go on side by side, and what they do together."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddaudio.parallel import lockstep
from ddaudio.parallel.lockstep import apart, meet, now_s, side_by_side


class Work:
    """Doubles numbers, and notes for how many tasks at a time; what is below 0 it cannot do."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    def __call__(self, asked: Sequence[int]) -> list[int]:
        """Double."""
        self.groups.append(list(asked))
        if min(asked) < 0:
            raise ValueError(f"{min(asked)} is below 0")
        return [2 * number for number in asked]


def asking(work: Work, numbers: Sequence[int]) -> list[int]:
    return [meet(work, number) for number in numbers]


def test_who_is_alone_is_answered_at_once() -> None:
    work = Work()
    assert asking(work, [1, 2]) == side_by_side([partial(asking, work, [1, 2])]) == [2, 4] or work.groups
    assert work.groups == [[1], [2]] * 2


@given(plans=st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=2, max_size=6))
def test_everybody_gets_own_answers_and_all_who_wait_are_served_together(plans: list[list[int]]) -> None:
    work = Work()
    returned = side_by_side([partial(asking, work, plan) for plan in plans])
    assert returned == [[2 * number for number in plan] for plan in plans]
    # With one kind of work nobody falls behind: the n-th call is for all that ask n times.
    assert work.groups == [[plan[n] for plan in plans if len(plan) > n] for n in range(max(map(len, plans)))]


def test_those_who_come_later_are_waited_for() -> None:
    """Two kinds of work: one task takes a step more of the first; the three still take the last together."""
    first, last = Work(), Work()

    def task(steps: int) -> int:
        asking(first, range(steps))
        return meet(last, steps)

    assert side_by_side([partial(task, steps) for steps in (1, 2, 1)]) == [2, 4, 2]
    assert last.groups == [[1, 1], [2]], "most wait for the last when one still takes the first"
    last.groups.clear()
    assert side_by_side([partial(task, steps) for steps in (1, 2, 2)]) == [2, 4, 4]
    assert last.groups == [[1, 2, 2]]


def test_an_error_is_only_that_of_who_asked_for_it() -> None:
    work = Work()

    def careful(number: int) -> str:
        try:
            return str(meet(work, number))
        except ValueError as error:
            return str(error)

    assert side_by_side([partial(careful, number) for number in (1, -2, 3)]) == ["2", "-2 is below 0", "6"]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=repr)
def test_what_a_task_raises_ends_the_others_which_clean_up(error: BaseException) -> None:
    work, cleaned = Work(), []

    def breaking() -> None:
        meet(work, 1)
        raise error

    def tidy(name: str) -> None:
        try:
            asking(work, [1, 2, 3])
        finally:
            cleaned.append(name)

    with pytest.raises(type(error)):
        side_by_side([partial(tidy, "before"), breaking, partial(tidy, "after")])
    assert cleaned == ["before", "after"]
    assert all(len(group) == 3 for group in work.groups), "nobody goes on behind it"


def test_who_is_apart_meets_nobody() -> None:
    work = Work()
    tasks: list[Callable[[], list[int]]] = [partial(asking, work, [1, 2]), lambda: apart(lambda: asking(work, [3, 4]))]
    assert side_by_side(tasks) == [[2, 4], [6, 8]]
    assert work.groups == [[3], [4], [1], [2]]
    assert apart(lambda: asking(work, [5])) == [10], "also outside a meeting"


def test_time_spent_together_is_shared_and_that_of_others_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def spend(seconds: float) -> None:
        clock[0] += seconds

    def together(asked: Sequence[float]) -> Sequence[float]:
        spend(8.0)
        return asked

    def task(own_s: float) -> float:
        began = now_s()
        spend(own_s)
        meet(together, own_s)
        spend(own_s)
        return now_s() - began

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert side_by_side([partial(task, own_s) for own_s in (1.0, 2.0, 3.0, 4.0)]) == [2 + 2, 4 + 2, 6 + 2, 8 + 2]
    assert lockstep.now_s() == clock[0] == 8 + 2 * 10


def test_time_of_others_is_not_counted_after_an_error_either(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def failing(asked: Sequence[float]) -> Sequence[float]:
        clock[0] += asked[0]
        raise ZeroDivisionError

    def task(seconds: float) -> float:
        began = now_s()
        with pytest.raises(ZeroDivisionError):
            meet(failing, seconds)
        return now_s() - began

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert side_by_side([partial(task, seconds) for seconds in (1.0, 2.0, 4.0)]) == [1, 2, 4]
