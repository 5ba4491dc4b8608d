"""Clusters: a local one of processes, or the workers of any Dask scheduler, as executors."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ddaudio.errors import BatchError
from ddaudio.parallel.dask_executor import DaskExecutor
from ddaudio.parallel.executors import Executor, SerialExecutor
from ddaudio.parallel.interrupts import children_without_interrupts, deferred_interrupts

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

CONNECT_S = 5
"""Timeout for the connection to a scheduler, in seconds."""
_ENVIRONMENT = {
    "GOMP_SPINCOUNT": "3000",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Environment variables of workers, read by libraries when they are loaded."""
_DASK = {
    "distributed.scheduler.allowed-failures": 0,  # each kill is reported
    # By default Dask returns freed memory at once; allocating tensors again then took a third of the time of a fit.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
_START_METHOD = "distributed.worker.multiprocessing-method"
_SET_BY_DASK = ("PYTHONHASHSEED", "__DASK_PARENT_PID")


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
    for this cluster and kept in memory: other users of the machine can reach the ports, but cannot run anything. Ctrl-C is
    deferred while workers start and while they end.
    """
    with _environment():
        running = contextlib.ExitStack()
        try:
            local, client = _started(n_workers, running)
            cluster = DaskExecutor(client, "of the local cluster")
            cluster.dashboard = local.dashboard_link if find_spec("bokeh") else None
            yield cluster
        finally:
            with deferred_interrupts():
                running.close()


def _started(n_workers: int, running: contextlib.ExitStack) -> "tuple[LocalCluster, Client]":
    """Start a local cluster and its client, closed with ``running``; raises `BatchError`."""
    try:
        with deferred_interrupts():
            method = _fork_server()
        import distributed  # noqa: F401, PLC0415 - slow to import; Ctrl-C is delivered meanwhile

        with deferred_interrupts():
            return _connected_workers(n_workers, method, running)
    except (OSError, RuntimeError) as error:  # no shared memory, no folder for temporary files, too few open files
        problem = f"the local cluster cannot start: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise BatchError(problem, hint="fit one recording at a time, or name a {scheduler}") from error


def _fork_server() -> dict[str, str]:
    """Start the process that workers are forked from, on platforms that have it; return the setting of Dask that uses it."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return {}
    from multiprocessing import forkserver, resource_tracker  # noqa: PLC0415 - not available on all platforms

    resource_tracker.ensure_running()  # started within the block, it would unblock the signal
    with children_without_interrupts():
        forkserver.set_forkserver_preload(["distributed", "ddaudio.report.save"])
        forkserver.ensure_running()  # loads modules while Dask is imported here
    return {_START_METHOD: "forkserver"}


def _connected_workers(n_workers: int, method: dict[str, str], running: contextlib.ExitStack) -> "tuple[LocalCluster, Client]":
    """Start the workers and connect to them."""
    import dask  # noqa: PLC0415 - slow to import
    from distributed import Client, LocalCluster, Security  # noqa: PLC0415

    running.enter_context(dask.config.set(_DASK | method))
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
    """Ignore Ctrl-C in workers that are not forked by `_fork_server`: the client ends them."""
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
