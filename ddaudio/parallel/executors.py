"""Executors: the current process, a local cluster of processes, or the workers of any Dask scheduler.

The number of tasks submitted to a cluster at a time is bounded: the next one is sent when one has finished, so that the memory
of this process does not grow with the number of tasks.
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
"""Timeout for the connection to a scheduler, in seconds."""
TICK_S = 1.0
"""Interval between calls of ``on_tick`` while no task finishes, in seconds."""
IN_FLIGHT_PER_THREAD, LEAST_IN_FLIGHT = 2, 4
CALLS = 4
"""Number of attempts at a small task whose worker is killed."""
COUNT_S = 5.0
"""Interval after which workers are counted again, in seconds, since a cluster may grow."""
_ENVIRONMENT = {
    "GOMP_SPINCOUNT": "3000",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Environment variables of workers, read by libraries when they are loaded."""
_DASK = {
    "distributed.scheduler.allowed-failures": 0,
    # By default Dask returns freed memory at once; allocating tensors again then took a third of the time of a fit.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
_START_METHOD = "distributed.worker.multiprocessing-method"
_SET_BY_DASK = ("PYTHONHASHSEED", "__DASK_PARENT_PID")
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


class _Call(NamedTuple):
    """A pending call: its argument, its index and the number of attempts."""

    given: Any
    place: int
    tries: int = 1


class Executor(ABC):
    """Runs tasks."""

    dashboard: str | None = None
    """URL of a dashboard, if there is one."""

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
        """Apply an importable function to all tasks, and call ``on_done`` as each finishes, in any order.

        Tasks with ``fits`` reserve the GPU of workers that declare one.
        """

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

    def run(
        self,
        function: Callable[[Task], Returned],
        tasks: Iterable[Task],
        on_done: OnDone[Task, Returned],
        on_tick: OnTick | None = None,
        *,
        fits: bool = True,  # noqa: ARG002 - no GPU to reserve
    ) -> None:
        """Run all tasks in this process."""
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
    """Runs tasks on the workers of a Dask scheduler."""

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
        """Run all tasks on the workers."""
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
        """Return the number of worker threads, counted at intervals; note the resources they declare."""
        if time.monotonic() - self._counted > COUNT_S:
            with contextlib.suppress(OSError, TypeError, RuntimeError):  # a lost scheduler is reported by the tasks
                workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
                self._threads = sum(worker["nthreads"] for worker in workers)
                # One fit at a time per GPU, if workers declare one.
                has_gpu = any("GPU" in worker.get("resources", {}) for worker in workers)
                self._resources = {"GPU": 1.0} if has_gpu else None
            self._counted = time.monotonic()
        return self._threads


class _Pending(Generic[Task, Returned]):
    """Tasks that have been submitted to the workers."""

    def __init__(self, client: "Client") -> None:
        self.tasks: dict[str, tuple[Future[Any], Task]] = {}
        self.is_lost = False
        """Whether the scheduler was lost, so that no task can finish."""
        self._client = client
        self._done: SimpleQueue[str] = SimpleQueue()

    def send(self, key: str, function: Callable[[Task], Returned], task: Task, resources: Mapping[str, float] | None) -> None:
        """Submit a task."""
        with _interrupts_wait():  # an interrupt in between would leave an incomplete future
            future = self._client.submit(function, task, key=key, pure=False, resources=resources)
            self.tasks[key] = future, task
        future.add_done_callback(lambda _, key=key: self._done.put(key))

    def wait(self) -> tuple[Task, Returned | Exception] | None:
        """Wait for a task to finish, for one interval at most, and return it with its result or exception."""
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
            # The worker may have died since the task finished; the task is then repeated, or has failed.
            return task, future.result()
        except Exception as error:
            return task, WorkerKilledError() if type(error).__name__ == "KilledWorker" else error

    def cancel(self) -> None:
        """Cancel all tasks."""
        with contextlib.suppress(Exception):
            self._client.cancel([future for future, _ in self.tasks.values()])
        self.tasks.clear()


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Defer Ctrl-C until the block has ended; no effect outside the main thread."""
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
    """Yield an executor: the workers of ``scheduler`` if given, this process for a single task, else a local cluster.

    Raises `BatchError` if the scheduler does not respond, or its workers have another version of ddaudio.
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
    """Yield a cluster of worker processes on this machine, with one thread each.

    Workers are forked from a process that has loaded torch, and share its memory. Connections are authenticated with a key made
    for this cluster and kept in memory: other users of the machine can reach the ports, but cannot run anything.
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
    """Start a local cluster and its client, closed with ``running``; raises OSError or RuntimeError."""
    if forks := "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver  # noqa: PLC0415 - not available on all platforms

        forkserver.set_forkserver_preload(["distributed", "ddaudio.report.save"])
        forkserver.ensure_running()  # loads modules while Dask is imported here
    import dask  # noqa: PLC0415 - slow to import
    from distributed import Client, LocalCluster, Security  # noqa: PLC0415

    running.enter_context(dask.config.set(_DASK | ({_START_METHOD: "forkserver"} if forks else {})))
    # Loopback only: by default Dask's dashboard listens on every address of the machine.
    local = LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        protocol="tls://",
        security=Security.temporary(),
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
        env=dict(os.environ),  # the fork server may have been started with another environment
        preload=[__name__],  # for `dask_setup`
    )
    return running.enter_context(local), running.enter_context(Client(local, set_as_default=False))


def dask_setup(_worker: object) -> None:
    """Ignore Ctrl-C in workers of the local cluster: terminals send it to them too, but the client ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set the environment variables of workers, and restore them afterwards.

    Dask sets its own again for each worker that replaces a killed one, and does not restore them.
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
    """Yield the workers of a running scheduler."""
    from distributed import Client  # noqa: PLC0415 - slow to import

    try:
        # A refused client would keep retrying, so the connection is tested first.
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
    """Connect to a scheduler and disconnect; raises OSError or ValueError if none responds in time."""
    from distributed.comm.core import connect  # noqa: PLC0415 - slow to import
    from distributed.security import Security  # noqa: PLC0415

    asked = connect(address, timeout=CONNECT_S, **Security().get_connection_args("client"))
    # CONNECT_S covers only the connection; the other end may accept it and never respond.
    (await asyncio.wait_for(asked, CONNECT_S + 1)).abort()


def _check_versions(found: dict[str, Any]) -> None:
    """Raise `BatchError` if workers have another version of ddaudio, whose results could differ."""
    other = {worker: each for worker, each in found.items() if each != version("ddaudio")}
    if other:
        worker, each = next(iter(other.items()))
        what = f"has ddaudio {each}" if isinstance(each, str) else "has no ddaudio"
        raise BatchError(
            f"the worker {worker} {what}; this is ddaudio {version('ddaudio')}", hint="install the same version on all workers"
        )
