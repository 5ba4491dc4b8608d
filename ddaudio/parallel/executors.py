"""Who does the work: this process alone, a local cluster of processes, or the workers of any Dask scheduler.

A cluster has a bounded number of tasks in flight: the next is sent when one has landed, so that the memory of this
process does not grow with the number of tasks.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from ddaudio.errors import BatchError, OutputError

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

CONNECT_S = 5
"""Time in which a scheduler has to answer."""
TICK_S = 1.0
"""Time between two beats while nothing lands."""
IN_FLIGHT_PER_THREAD, LEAST_IN_FLIGHT = 2, 4
CALLS = 4
"""Times that a small task is tried whose worker is killed."""
COUNT_S = 5.0
"""Time after which the workers are counted again: a cluster may grow."""
_ENVIRONMENT = {
    "GOMP_SPINCOUNT": "3000",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""What libraries read when they are loaded, set for workers."""
_DASK = {
    "distributed.scheduler.allowed-failures": 0,
    # Dask gives freed memory back at once; where tensors come and go, asking for it again took a third of a fit's time.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
_START_METHOD = "distributed.worker.multiprocessing-method"
_SET_BY_DASK = ("PYTHONHASHSEED", "__DASK_PARENT_PID")
Task = TypeVar("Task")
Returned = TypeVar("Returned")


class WorkerKilledError(Exception):
    """A task brought nothing back: its worker was killed."""


class SchedulerLostError(Exception):
    """A task brought nothing back, and no other will: the scheduler is gone. The message says so."""


OnDone = Callable[[Task, Returned | Exception], Iterable[Task]]
"""Takes in a task and what its function returned, or why there is nothing; returns what is to be done next, such as it again."""
OnTick = Callable[[int], None]
"""Told now and then that time goes by, with the number of threads that work."""


class _Call(NamedTuple):
    """A call whose argument is this, on its way."""

    given: Any
    place: int
    tries: int = 1


class Executor(ABC):
    """Those who do the work."""

    dashboard: str | None = None
    """Address of a page to watch them on."""

    @abstractmethod
    def run(
        self,
        function: Callable[[Task], Returned],
        tasks: Iterable[Task],
        on_done: OnDone[Task, Returned],
        on_tick: OnTick | None = None,
        *,
        fits: bool = True,
    ) -> None:
        """Do task after task by a function that can be imported; tells of each that landed, in any order.

        Tasks that ``fits`` ask for the GPU of workers that declare one.
        """

    def call(self, function: Callable[[Any], Returned], each: Sequence[Any]) -> list[Returned]:
        """Return what a function that can be imported returns for each of some arguments, in order.

        Raises what it raises, and `OutputError` where the workers are killed, or the scheduler is gone.
        """
        returned: dict[int, Returned] = {}

        def landed(call: _Call, ending: Returned | Exception) -> Iterable[_Call]:
            """Keep what was returned; return the call if its worker was killed."""
            if isinstance(ending, SchedulerLostError):
                raise OutputError(str(ending)) from None
            if isinstance(ending, WorkerKilledError):
                if call.tries == CALLS:
                    raise OutputError("workers were killed at every try", hint="give each more memory, and run again") from None
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
    """The process itself, which does one task after the other."""

    def run(
        self,
        function: Callable[[Task], Returned],
        tasks: Iterable[Task],
        on_done: OnDone[Task, Returned],
        on_tick: OnTick | None = None,
        *,
        fits: bool = True,  # noqa: ARG002 - here is no GPU to ask for
    ) -> None:
        """Work here."""
        waiting, again = iter(tasks), deque[Task]()
        while True:
            task = again.popleft() if again else next(waiting, None)
            if task is None:
                return
            if on_tick is not None:
                on_tick(1)
            ending: Returned | Exception
            try:
                ending = function(task)
            except Exception as error:
                ending = error
            again.extend(on_done(task, ending))


class DaskExecutor(Executor):
    """The workers of a Dask scheduler."""

    def __init__(self, client: "Client", name: str) -> None:
        self._client, self._name = client, name
        self._threads, self._counted = 0, -COUNT_S
        self._resources: dict[str, float] | None = None
        self._sent = 0

    def run(
        self,
        function: Callable[[Task], Returned],
        tasks: Iterable[Task],
        on_done: OnDone[Task, Returned],
        on_tick: OnTick | None = None,
        *,
        fits: bool = True,
    ) -> None:
        """Work on the workers."""
        waiting, again = iter(tasks), deque[Task]()
        flight = _Pending[Task, Returned](self._client)
        try:
            while True:
                threads = self._count()
                if on_tick is not None:
                    on_tick(threads)
                while len(flight.tasks) < max(LEAST_IN_FLIGHT, IN_FLIGHT_PER_THREAD * threads):
                    task = again.popleft() if again else next(waiting, None)
                    if task is None:
                        break
                    self._sent += 1
                    key = f"ddaudio-{id(self):x}-{time.monotonic_ns():x}-{self._sent}"
                    flight.send(key, function, task, self._resources if fits else None)
                if not flight.tasks:
                    return
                down = flight.wait()
                if down is not None:
                    again.extend(on_done(*down))
                elif flight.is_lost:
                    break
            gone = SchedulerLostError(f"the connection to the scheduler {self._name} was lost")
            for task in (*(task for _, task in flight.tasks.values()), *again, *waiting):
                on_done(task, gone)
        finally:
            flight.cancel()

    def _count(self) -> int:
        """Return how many threads work, counted now and then; note what they declare."""
        if time.monotonic() - self._counted > COUNT_S:
            with contextlib.suppress(OSError, TypeError, RuntimeError):  # the scheduler is away: landing will tell
                workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
                self._threads = sum(worker["nthreads"] for worker in workers)
                # One fit at a time on a GPU, where workers say that they have one.
                has_gpu = any("GPU" in worker.get("resources", {}) for worker in workers)
                self._resources = {"GPU": 1.0} if has_gpu else None
            self._counted = time.monotonic()
        return self._threads


class _Pending(Generic[Task, Returned]):
    """The tasks that are with the workers."""

    def __init__(self, client: "Client") -> None:
        self.tasks: dict[str, tuple[Future[Any], Task]] = {}
        self.is_lost = False
        """Whether none will land any more."""
        self._client = client
        self._done: SimpleQueue[str] = SimpleQueue()

    def send(self, key: str, function: Callable[[Task], Returned], task: Task, resources: Mapping[str, float] | None) -> None:
        """Send a task."""
        with _interrupts_wait():  # One in the middle would leave a future behind that is none.
            future = self._client.submit(function, task, key=key, pure=False, resources=resources)
            self.tasks[key] = future, task
        future.add_done_callback(lambda _, key=key: self._done.put(key))

    def wait(self) -> tuple[Task, Returned | Exception] | None:
        """Wait for a task to land, a beat at most, and return it and its ending."""
        try:
            key = self._done.get(timeout=TICK_S)
        except Empty:
            self.is_lost = self._client.status not in ("running", "connecting")
            return None
        future, task = self.tasks[key]
        if future.status in ("cancelled", "lost"):
            self.is_lost = True
            return None
        del self.tasks[key]
        try:
            # The worker may die between the end of a task and this, after which it is done again, or has failed.
            return task, future.result()
        except Exception as error:
            return task, WorkerKilledError() if type(error).__name__ == "KilledWorker" else error

    def cancel(self) -> None:
        """Call all back."""
        with contextlib.suppress(Exception):
            self._client.cancel([future for future, _ in self.tasks.values()])
        self.tasks.clear()


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C come only when this has ended; on other threads than the first there is none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[object] = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def make_executor(n_tasks: int, n_workers: int, scheduler: str | None = None) -> Iterator[Executor]:
    """Give who does the work: a scheduler's workers if it is named, this process for one task, else a local cluster.

    Raises `BatchError` when the scheduler does not answer, or its workers have another ddaudio.
    """
    if scheduler is not None:
        with _connected(scheduler) as cluster:
            yield cluster
    elif n_tasks <= 1:
        yield SerialExecutor()
    else:
        with _local_cluster(min(n_tasks, n_workers)) as cluster:
            yield cluster


@contextlib.contextmanager
def _local_cluster(n_workers: int) -> Iterator[DaskExecutor]:
    """Give worker processes on this machine, with a thread each.

    They are forked from a process that has loaded torch, whose memory they share. Connections are authenticated with a key
    made for this cluster, in memory only: other users of the machine can reach the ports, but not run anything.
    """
    with _environment(), contextlib.ExitStack() as running:
        try:
            local, client = _started(n_workers, running)
        except (OSError, RuntimeError) as error:  # no shared memory, no folder for temporary files, too few open files
            problem = f"the local cluster cannot start: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise BatchError(problem, hint="fit one recording at a time, or name a {scheduler}") from error
        cluster = DaskExecutor(client, "of the local cluster")
        cluster.dashboard = local.dashboard_link if find_spec("bokeh") else None
        yield cluster


def _started(n_workers: int, running: contextlib.ExitStack) -> "tuple[LocalCluster, Client]":
    """Start a local cluster and its client, which end with ``running``; raises OSError or RuntimeError."""
    if forks := "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver  # noqa: PLC0415 - not everywhere

        forkserver.set_forkserver_preload(["distributed", "ddaudio.report.save"])
        forkserver.ensure_running()  # loads these while we load Dask
    import dask  # noqa: PLC0415 - slow to import
    from distributed import Client, LocalCluster, Security  # noqa: PLC0415

    running.enter_context(dask.config.set(_DASK | ({_START_METHOD: "forkserver"} if forks else {})))
    # Loopback alone: Dask's dashboard would listen on every address of the machine.
    local = LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        protocol="tls://",
        security=Security.temporary(),
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
        env=dict(os.environ),  # the process they are forked off may be older than ours is now
        preload=[__name__],  # for `dask_setup`
    )
    return running.enter_context(local), running.enter_context(Client(local, set_as_default=False))


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
def _connected(address: str) -> Iterator[DaskExecutor]:
    """Give the workers of a scheduler that runs already."""
    from distributed import Client  # noqa: PLC0415 - slow to import

    try:
        # A client that is refused would linger: knock before.
        with ThreadPoolExecutor(1) as apart:
            apart.submit(asyncio.run, _knock(address)).result()
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0] or f"no response within {CONNECT_S} s"
        raise BatchError(
            f"the scheduler {address!r} does not respond: {reason}",
            hint="start it with 'dask scheduler', or leave {scheduler} out",
        ) from None
    with client:
        _check_versions(client.run(version, "ddaudio", on_error="return"))
        cluster = DaskExecutor(client, address)
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
        raise BatchError(
            f"the worker {worker} {what}; this is ddaudio {version('ddaudio')}", hint="install the same version on all workers"
        )
