"""Executors: run tasks in the current process or, see `ddaudio.parallel.dask_executor`, on the workers of a Dask scheduler."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from ddaudio.errors import OutputError

CALLS = 4
"""Number of attempts at a small task whose worker is killed."""
Task = TypeVar("Task")
Returned = TypeVar("Returned")


class WorkerKilledError(Exception):
    """The worker died before the task finished."""


class SchedulerLostError(Exception):
    """The connection to the scheduler was lost, so no task can finish; the message is meant for the user."""


OnDone = Callable[[Task, Returned | Exception], Iterable[Task]]
"""Called with a task and its result or its exception; returns tasks to run next, such as the same one again."""
OnTick = Callable[[int], None]
"""Called at regular intervals with the number of working threads."""


class Pending(ABC, Generic[Task, Returned]):
    """Tasks that have been started and have not finished."""

    is_lost = False
    """Whether the scheduler was lost, so that no task can finish."""

    @property
    @abstractmethod
    def tasks(self) -> list[Task]:
        """The tasks, in the order in which they were started."""

    @abstractmethod
    def send(self, task: Task) -> None:
        """Start a task."""

    @abstractmethod
    def wait(self) -> tuple[Task, Returned | Exception] | None:
        """Wait for a task to finish, and return it with its result or exception; None if none has after a while."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel all tasks."""


class _Call(NamedTuple):
    """A pending call: its argument, its index and the number of attempts."""

    given: Any
    place: int
    tries: int = 1


class Executor(ABC):
    """Runs tasks.

    The number of tasks started at a time is bounded: the next one is started when one has finished, so that the memory of this
    process does not grow with the number of tasks.
    """

    dashboard: str | None = None
    """URL of a dashboard, if there is one."""
    name = "of this process"
    """Name of the scheduler in errors."""

    @abstractmethod
    def _start(self, function: Callable[[Task], Returned], *, fits: bool) -> Pending[Task, Returned]:
        """Return a run of a function on tasks, not started yet."""

    @abstractmethod
    def _count(self) -> tuple[int, int]:
        """Return the number of working threads, and of tasks to start at a time."""

    def run(
        self,
        function: Callable[[Task], Returned],
        tasks: Iterable[Task],
        on_done: OnDone[Task, Returned],
        on_tick: OnTick | None = None,
        *,
        fits: bool = True,
    ) -> None:
        """Apply an importable function to all tasks, and call ``on_done`` as each finishes, in any order.

        Tasks with ``fits`` reserve the GPU of workers that declare one.
        """
        waiting, again = iter(tasks), deque[Task]()
        pending = self._start(function, fits=fits)
        try:
            while not pending.is_lost:
                threads, most = self._count()
                if on_tick is not None:
                    on_tick(threads)
                while len(pending.tasks) < most:
                    task = again.popleft() if again else next(waiting, None)
                    if task is None:
                        break
                    pending.send(task)
                if not pending.tasks:
                    return
                finished = pending.wait()
                if finished is not None:
                    again.extend(on_done(*finished))
            lost = SchedulerLostError(f"the connection to the scheduler {self.name} was lost")
            for task in (*pending.tasks, *again, *waiting):
                on_done(task, lost)
        finally:
            pending.cancel()

    def call(self, function: Callable[[Any], Returned], each: Sequence[Any]) -> list[Returned]:
        """Return the results of an importable function for each argument, in order.

        Raises the exceptions of the function, and `OutputError` if workers are killed or the scheduler is lost.
        """
        returned: dict[int, Returned] = {}

        def landed(call: _Call, ending: Returned | Exception) -> Iterable[_Call]:
            """Store the result; return the call if it is to be repeated."""
            if isinstance(ending, SchedulerLostError):
                raise OutputError(str(ending)) from None
            if isinstance(ending, WorkerKilledError):
                if call.tries == CALLS:
                    raise OutputError("workers were killed in every attempt", hint="give each more memory") from None
                return [call._replace(tries=call.tries + 1)]
            if isinstance(ending, Exception):
                raise ending
            returned[call.place] = ending
            return []

        calls = [_Call(given, place) for place, given in enumerate(each)]
        self.run(partial(_call, function), calls, landed, fits=False)
        return [returned[place] for place in range(len(each))]


def _call(function: Callable[[Any], Returned], call: _Call) -> Returned:
    return function(call.given)


class SerialExecutor(Executor):
    """Runs tasks one after another in the current process."""

    def _start(self, function: Callable[[Task], Returned], *, fits: bool) -> Pending[Task, Returned]:
        del fits  # no GPU to reserve
        return _Own(function)

    def _count(self) -> tuple[int, int]:
        return 1, 1


class _Own(Pending[Task, Returned]):
    """Tasks of this process; one runs when it is waited for."""

    def __init__(self, function: Callable[[Task], Returned]) -> None:
        self._function, self._tasks = function, deque[Task]()

    @property
    def tasks(self) -> list[Task]:
        """The tasks, in order."""
        return list(self._tasks)

    def send(self, task: Task) -> None:
        """Add a task; it runs when it is waited for."""
        self._tasks.append(task)

    def wait(self) -> tuple[Task, Returned | Exception]:
        """Run the first task."""
        task = self._tasks.popleft()
        try:
            return task, self._function(task)
        except Exception as error:
            return task, error

    def cancel(self) -> None:
        """Remove all tasks."""
        self._tasks.clear()
