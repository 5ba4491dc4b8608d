"""Tasks that go on side by side in one thread; where they meet, their work is done as one.

A fit of half a second of sound takes thousands of small steps, whose arithmetic costs less than asking for them. Fits of
many such recordings take the same steps, each at its own pace. Here each task runs until it comes to a piece of work that
can be done for several at once, and waits there; when all wait, the piece that most of them wait for is done for those
together, and they go on. Tasks are written as if each were alone: greenlets are coroutines that need no ``await`` on the
way down.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

from greenlet import getcurrent, greenlet

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Returned = TypeVar("Returned")
Work = Callable[[Sequence[Asked]], Sequence[Answer]]
"""Does a piece of work for several tasks, and returns what each of them gets; if it raises, it has changed nothing."""


class _Errand(NamedTuple):
    """What a task waits for."""

    work: Work[Any, Any]
    asked: Any


class _Member(greenlet):
    """A task among others."""

    elsewhere_s = 0.0
    """Wall time that went by for others."""
    left_s = 0.0
    """When it was left last."""
    is_apart = False
    """Whether it does all its work by itself."""


def meet(work: Work[Asked, Answer], asked: Asked) -> Answer:
    """Return what ``work`` gives for ``asked``: at once where the task is alone, else together with others who come here."""
    member = getcurrent()
    if isinstance(member, _Member) and member.parent is not None and not member.is_apart:
        return cast("Answer", member.parent.switch(_Errand(work, asked)))
    return work([asked])[0]


def apart(task: Callable[[], Returned]) -> Returned:
    """Do a task from beginning to end, without meeting others; they wait."""
    member = getcurrent()
    if not isinstance(member, _Member):
        return task()
    member.is_apart = True
    try:
        return task()
    finally:
        member.is_apart = False


def now_s() -> float:
    """Return seconds since some moment, as `time.perf_counter` does; of work that is done together each task counts its share."""
    member = getcurrent()
    return time.perf_counter() - (member.elsewhere_s if isinstance(member, _Member) else 0.0)


def side_by_side(tasks: Sequence[Callable[[], Returned]]) -> list[Returned]:
    """Do tasks side by side, and return what they return, in order. What one raises ends the others, and is raised."""
    return [tasks[0]()] if len(tasks) == 1 else _Meeting(tasks).run()


class _Meeting(Generic[Returned]):
    """Tasks on their way."""

    def __init__(self, tasks: Sequence[Callable[[], Returned]]) -> None:
        self.members = [_Member(task) for task in tasks]
        self.waiting: dict[int, _Errand] = {}
        self.returned: dict[int, Returned] = {}

    def run(self) -> list[Returned]:
        """Go on until all have ended."""
        try:
            for place, member in enumerate(self.members):
                self._take(place, member.switch())
            while self.waiting:
                work, _ = Counter(errand.work for errand in self.waiting.values()).most_common(1)[0]
                self._do(work, [place for place, errand in self.waiting.items() if errand.work is work])
        finally:
            for member in self.members:
                member.throw()  # Does nothing to those that have ended; others clean up behind themselves.
        return [self.returned[place] for place in range(len(self.members))]

    def _do(self, work: Work[Any, Any], places: Sequence[int]) -> None:
        """Do a piece of work for some tasks, and let them go on."""
        began_s = time.perf_counter()
        members = [self.members[place] for place in places]
        try:
            answers = work([self.waiting[place].asked for place in places])
        except Exception as error:
            if len(places) > 1:  # It is of one of them: the others shall not have it.
                for place in places:
                    self._do(work, [place])
                return
            ways = [partial(members[0].throw, error)]
        else:
            ways = [partial(member.switch, answer) for member, answer in zip(members, answers, strict=True)]
        share_s = (time.perf_counter() - began_s) / len(places)
        for place, member, go_on in zip(places, members, ways, strict=True):
            member.elsewhere_s += time.perf_counter() - member.left_s - share_s
            self._take(place, go_on())

    def _take(self, place: int, said: Any) -> None:
        """Note what a task waits for now, or what it has returned."""
        member = self.members[place]
        member.left_s = time.perf_counter()
        self.waiting.pop(place, None)
        if member.dead:
            self.returned[place] = said
        else:
            self.waiting[place] = said
