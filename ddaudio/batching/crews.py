"""Who does the work: this process alone, a local cluster of processes, or the workers of any Dask scheduler.

A cluster has a bounded number of tasks in flight: the next is sent when one has landed, so that the memory of this
process does not grow with the number of recordings.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from ddaudio.batching.finding import Item
from ddaudio.batching.rows import Outcome, Row
from ddaudio.batching.settings import BatchOptions
from ddaudio.batching.standing import Job
from ddaudio.errors import BatchError, OutputError

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S = 5
"""Time in which a scheduler has to answer."""
BEAT_S = 1.0
"""Time between two beats while nothing lands."""
IN_FLIGHT_PER_THREAD, LEAST_IN_FLIGHT = 2, 4
CALLS = 4
"""Times that a small task is tried whose worker is killed."""
COUNT_S = 5.0
"""Time after which the workers are counted again: a cluster may grow."""
_ENVIRONMENT = {
    "GOMP_SPINCOUNT": "3000",
    "MALLOC_TRIM_THRESHOLD_": "65536",  # Dask's own: freed memory goes back to the system
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""What libraries read when they are loaded, set for workers."""
_SET_BY_DASK = ("PYTHONHASHSEED", "__DASK_PARENT_PID")
Given = TypeVar("Given")
Returned = TypeVar("Returned")


@dataclass(frozen=True)
class Placed:
    """A recording that waits to be fitted."""

    place: int
    """Its place in the batch."""
    item: Item
    attempts: int = 0
    """How often that has been tried."""


Landed = Callable[[Placed, Row], None]
"""Told what became of a recording in the end."""
Beat = Callable[[int], None]
"""Told now and then that time goes by, with the number of threads that work."""


def fit_stack(job: Job, items: Sequence[Item]) -> list[Outcome]:
    """Fit some recordings where this is called: see `ddaudio.batching.task`."""
    from ddaudio.batching import task  # noqa: PLC0415 - imports torch, which the process that steers does without

    return task.fit_stack(job, items)


class Crew(ABC):
    """Those who do the work."""

    dashboard: str | None = None
    """Address of a page to watch them on."""

    @abstractmethod
    def fit(self, job: Job, stacks: Iterable[Sequence[Placed]], retries: int, landed: Landed, beat: Beat) -> None:
        """Fit stack after stack; tells of each recording once, in any order."""

    @abstractmethod
    def call(self, function: Callable[[Given], Returned], each: Sequence[Given]) -> list[Returned]:
        """Return what a function that can be imported returns for each of some arguments, in order."""


class Alone(Crew):
    """The process itself, which fits one recording after the other."""

    def fit(self, job: Job, stacks: Iterable[Sequence[Placed]], retries: int, landed: Landed, beat: Beat) -> None:
        """Fit here."""
        for stack in stacks:
            beat(1)
            waiting = deque(stack)
            while waiting:
                one = waiting.popleft()
                (outcome,) = fit_stack(job, [one.item])
                one = replace(one, attempts=one.attempts + 1)
                if outcome.again and one.attempts <= retries:
                    waiting.append(one)
                else:
                    landed(one, outcome.row.tried(one.attempts))

    def call(self, function: Callable[[Given], Returned], each: Sequence[Given]) -> list[Returned]:
        """Call here."""
        return [function(one) for one in each]


class Cluster(Crew):
    """The workers of a Dask scheduler."""

    def __init__(self, client: "Client", name: str) -> None:
        self._client, self._name = client, name
        self._threads, self._counted = 0, -COUNT_S
        self._resources: dict[str, float] | None = None
        self._aloft: dict[str, tuple[Future[Any], Sequence[Placed]]] = {}
        self._down: SimpleQueue[str] = SimpleQueue()
        self._sent = 0

    def call(self, function: Callable[[Given], Returned], each: Sequence[Given]) -> list[Returned]:
        """Call on the workers, again where one is killed; raises `OutputError` where all are, or the scheduler is gone."""
        returned: dict[int, Returned] = {}
        for _ in range(CALLS):
            left = [place for place in range(len(each)) if place not in returned]
            futures = [self._client.submit(function, each[place], pure=False) for place in left]
            for place, future in zip(left, futures, strict=True):
                error = future.exception()
                if error is None:
                    returned[place] = future.result()
                elif isinstance(error, CancelledError):
                    raise OutputError(self._gone())
                elif not _is_killed(error):
                    raise error
            if len(returned) == len(each):
                return [returned[place] for place in range(len(each))]
        raise OutputError("the gallery cannot be made: its workers were killed; give each more memory, and run the batch again")

    def fit(self, job: Job, stacks: Iterable[Sequence[Placed]], retries: int, landed: Landed, beat: Beat) -> None:
        """Fit on the workers, each stack in a task."""
        waiting, again = iter(stacks), deque[Sequence[Placed]]()
        lost = ""
        try:
            while True:
                beat(self._count())
                while len(self._aloft) < max(LEAST_IN_FLIGHT, IN_FLIGHT_PER_THREAD * self._threads):
                    stack = again.popleft() if again else next(waiting, None)
                    if stack is None:
                        break
                    self._send(job, stack)
                if not self._aloft:
                    return
                lost = self._land(again, retries, landed)
                if lost:
                    break
            every = [*(stack for _, stack in self._aloft.values()), *again]
            for stack in (*every, *waiting):
                for one in stack:
                    landed(one, Row.failure(one.item.place, one.item.folder, lost, one.attempts))
        finally:
            with contextlib.suppress(Exception):
                self._client.cancel([future for future, _ in self._aloft.values()])
            self._aloft.clear()

    def _send(self, job: Job, stack: Sequence[Placed]) -> None:
        self._sent += 1
        key = f"fit-{id(self):x}-{time.monotonic_ns():x}-{self._sent}"
        items = [one.item for one in stack]
        future = self._client.submit(fit_stack, job, items, key=key, pure=False, resources=self._resources)
        self._aloft[key] = future, stack
        future.add_done_callback(lambda _, key=key: self._down.put(key))

    def _land(self, again: deque[Sequence[Placed]], retries: int, landed: Landed) -> str:
        """Wait for a task to land, a beat at most, and take it in; return why none will land any more, if so."""
        try:
            key = self._down.get(timeout=BEAT_S)
        except Empty:
            return "" if self._client.status in ("running", "connecting") else self._gone()
        future, stack = self._aloft.pop(key)
        if future.status in ("cancelled", "lost"):
            self._aloft[key] = future, stack
            return self._gone()
        tried = [replace(one, attempts=one.attempts + 1) for one in stack]
        error = future.exception() if future.status == "error" else None
        for one, outcome in zip(tried, [_killed(one, error) for one in tried] if error else future.result(), strict=True):
            if outcome.again and one.attempts <= retries:
                again.append([one])
            else:
                landed(one, outcome.row.tried(one.attempts))
        return ""

    def _gone(self) -> str:
        return f"the scheduler {self._name} is gone; run the batch again to go on"

    def _count(self) -> int:
        """Return how many threads work, counted now and then; note what they declare."""
        if time.monotonic() - self._counted > COUNT_S:
            with contextlib.suppress(OSError, TypeError, RuntimeError):  # the scheduler is away: `_land` will tell
                workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
                self._threads = sum(worker["nthreads"] for worker in workers)
                # One fit at a time on a GPU, where workers say that they have one.
                has_gpu = any("GPU" in worker.get("resources", {}) for worker in workers)
                self._resources = {"GPU": 1.0} if has_gpu else None
            self._counted = time.monotonic()
        return self._threads


def _killed(one: Placed, error: BaseException) -> Outcome:
    """Return what became of a recording whose task brought nothing back."""
    item = one.item
    killed = _is_killed(error)
    reason = (
        f"its worker was killed at each of {one.attempts} tries: by a signal, or for want of memory; give each worker more of it"
        if killed
        else f"the worker could not do its task: {type(error).__name__}: {error}; install the same ddaudio there"
    )
    return Outcome(Row.failure(item.place, item.folder, reason, one.attempts), again=killed)


def _is_killed(error: BaseException) -> bool:
    """Return whether a task failed because its worker was killed."""
    return type(error).__name__ == "KilledWorker"


@contextlib.contextmanager
def crew(options: BatchOptions, n_stacks: int) -> Iterator[Crew]:
    """Give who does the work: a scheduler's workers if it is named, this process for one stack, else a local cluster.

    Raises `BatchError` when the scheduler does not answer, or its workers have another ddaudio.
    """
    if options.scheduler is None and n_stacks <= 1:
        yield Alone()
        return
    if options.scheduler is not None:
        with _connected(options.scheduler) as cluster:
            yield cluster
        return
    with _local_cluster(min(options.n_workers, n_stacks)) as cluster:
        yield cluster


@contextlib.contextmanager
def _local_cluster(n_workers: int) -> Iterator[Cluster]:
    """Give worker processes on this machine, with a thread each.

    They are forked off a process that has loaded torch: it is loaded once, and its memory is shared.
    """
    import dask  # noqa: PLC0415 - slow to import
    from distributed import Client, LocalCluster  # noqa: PLC0415
    from distributed.utils import get_mp_context  # noqa: PLC0415

    forks = "forkserver" in multiprocessing.get_all_start_methods()
    settings: dict[str, Any] = {"distributed.scheduler.allowed-failures": 0}
    if forks:
        settings["distributed.worker.multiprocessing-method"] = "forkserver"
    with dask.config.set(settings), _environment():
        if forks:
            get_mp_context().set_forkserver_preload(["distributed", "ddaudio.batching.task"])
        # Loopback alone: Dask's dashboard would listen on every address of the machine.
        local = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            env=dict(os.environ),  # the process they are forked off may be older than ours is now
            preload=[__name__],  # for `dask_setup`
        )
        with local, Client(local, set_as_default=False) as client:
            cluster = Cluster(client, "of the local cluster")
            cluster.dashboard = local.dashboard_link if find_spec("bokeh") else None
            yield cluster


def dask_setup(_worker: object) -> None:
    """Let a worker of the local cluster pass over Ctrl-C, which a terminal sends to it too: the client ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set the environment for workers, and put back what there was.

    Dask sets its part again for each worker that takes a killed one's place, and would leave it.
    """
    before = {name: os.environ.get(name) for name in (*_ENVIRONMENT, *_SET_BY_DASK)}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Cluster]:
    """Give the workers of a scheduler that runs already."""
    from distributed import Client  # noqa: PLC0415 - slow to import

    try:
        # A client that is refused would linger: knock before.
        with ThreadPoolExecutor(1) as apart:
            apart.submit(asyncio.run, _knock(address)).result()
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0] or f"it says nothing for {CONNECT_S} s"
        raise BatchError(
            f"the scheduler {address!r} does not answer: {reason}; start it with 'dask scheduler', or give no --scheduler"
        ) from None
    with client:
        _check_versions(client.run(version, "ddaudio", on_error="return"))
        cluster = Cluster(client, address)
        cluster.dashboard = client.dashboard_link
        yield cluster


async def _knock(address: str) -> None:
    """Connect to a scheduler, and leave; raises OSError or ValueError where none answers in time."""
    from distributed.comm.core import connect  # noqa: PLC0415 - slow to import
    from distributed.security import Security  # noqa: PLC0415

    asked = connect(address, timeout=CONNECT_S, **Security().get_connection_args("client"))
    # The connection itself has that time; what listens there may still say nothing.
    (await asyncio.wait_for(asked, CONNECT_S + 1)).abort()


def _check_versions(found: dict[str, Any]) -> None:
    """Refuse workers with another ddaudio than here: they would not do the same."""
    other = {worker: each for worker, each in found.items() if each != version("ddaudio")}
    if other:
        worker, each = next(iter(other.items()))
        what = f"has ddaudio {each}" if isinstance(each, str) else "has no ddaudio"
        raise BatchError(f"the worker {worker} {what}; this is ddaudio {version('ddaudio')}: install the same on all workers")
