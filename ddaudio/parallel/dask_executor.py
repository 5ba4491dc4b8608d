"""An executor on the workers of a Dask scheduler.

`distributed.as_completed` is not used: its wait has one limit for the whole iteration, while a lost scheduler has to be noticed,
and progress to be reported, during any wait. Killed workers are counted by the caller, not by the scheduler, whose own count
is one for all tasks; ``retries`` of a task are for exceptions alone.
"""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ddaudio.parallel.executors import Executor, Pending, Returned, Task, WorkerKilledError
from ddaudio.parallel.interrupts import deferred_interrupts

if TYPE_CHECKING:
    from distributed import Client, Future

TICK_S = 1.0
"""Longest wait for a task to finish, in seconds."""
IN_FLIGHT_PER_THREAD, LEAST_IN_FLIGHT = 2, 4
COUNT_S = 5.0
"""Interval after which workers are counted again, in seconds, since a cluster may grow."""


class DaskExecutor(Executor):
    """Runs tasks on the workers of a Dask scheduler."""

    def __init__(self, client: "Client", name: str) -> None:
        self._client, self.name = client, name
        self._threads, self._counted = 0, -COUNT_S
        self._resources: dict[str, float] | None = None
        self._sent = 0

    def _start(self, function: Callable[[Task], Returned], *, fits: bool) -> Pending[Task, Returned]:
        return _Submitted(self._client, partial(self._submit, function, fits=fits))

    def _submit(self, function: Callable[[Task], Returned], task: Task, *, fits: bool) -> "Future[Any]":
        """Submit a task under a key of its own."""
        self._sent += 1
        key = f"ddaudio-{id(self):x}-{time.monotonic_ns():x}-{self._sent}"
        return self._client.submit(function, task, key=key, pure=False, resources=self._resources if fits else None)

    def _count(self) -> tuple[int, int]:
        """Return the number of worker threads, counted at intervals, and of tasks to submit; note the resources they declare."""
        if time.monotonic() - self._counted > COUNT_S:
            with contextlib.suppress(OSError, TypeError, RuntimeError):  # a lost scheduler is reported by the tasks
                workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
                self._threads = sum(worker["nthreads"] for worker in workers)
                # One fit at a time per GPU, if workers declare one.
                has_gpu = any("GPU" in worker.get("resources", {}) for worker in workers)
                self._resources = {"GPU": 1.0} if has_gpu else None
            self._counted = time.monotonic()
        return self._threads, max(LEAST_IN_FLIGHT, IN_FLIGHT_PER_THREAD * self._threads)


class _Submitted(Pending[Task, Returned]):
    """Tasks that have been submitted to the workers."""

    def __init__(self, client: "Client", submit: Callable[[Task], "Future[Any]"]) -> None:
        self._client, self._submit = client, submit
        self._futures: dict[int, tuple[Future[Any], Task]] = {}
        self._done: SimpleQueue[int] = SimpleQueue()
        self._sent = 0

    @property
    def tasks(self) -> list[Task]:
        """The tasks, in the order in which they were submitted."""
        return [task for _, task in self._futures.values()]

    def send(self, task: Task) -> None:
        """Submit a task."""
        self._sent += 1
        with deferred_interrupts():  # an interrupt in between would leave an incomplete future
            future = self._submit(task)
            self._futures[self._sent] = future, task
        future.add_done_callback(lambda _, place=self._sent: self._done.put(place))

    def wait(self) -> tuple[Task, Returned | Exception] | None:
        """Wait for a task to finish; see `Pending.wait`."""
        try:
            place = self._done.get(timeout=TICK_S)
        except Empty:
            self.is_lost = self._client.status not in ("running", "connecting")
            return None
        future, task = self._futures[place]
        if future.status in ("cancelled", "lost"):
            self.is_lost = True
            return None
        del self._futures[place]
        try:
            # The worker may have died since the task finished; the task is then repeated, or has failed.
            return task, future.result()
        except Exception as error:
            return task, WorkerKilledError() if type(error).__name__ == "KilledWorker" else error

    def cancel(self) -> None:
        """Cancel all tasks, also of a scheduler that is lost."""
        with contextlib.suppress(Exception):
            self._client.cancel([future for future, _ in self._futures.values()])
        self._futures.clear()
