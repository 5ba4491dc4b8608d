"""How tasks are sent and taken in: a bounded number in flight, whatever becomes of them. The client here is made up."""

import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddaudio.batching.dispatch import QueuedInput, fit_all
from ddaudio.batching.inputs import Input
from ddaudio.batching.results_table import Outcome, Row, outcome_of
from ddaudio.batching.up_to_date import BatchJob
from ddaudio.errors import BatchError
from ddaudio.io.storage import LocalStorage
from ddaudio.options import FitOptions
from ddaudio.parallel import clusters, dask_executor
from ddaudio.parallel.dask_executor import DaskExecutor

JOB = BatchJob(LocalStorage("/out"), FitOptions(), html=False, force=False)


class KilledWorker(Exception):  # noqa: N818 - as Dask calls it
    """What Dask says when a worker died."""


class Future:
    """A task that has an end already."""

    def __init__(self, client: "Client", ending: Any) -> None:
        self.client, self.ending = client, ending
        self.status = "cancelled" if ending == "gone" else "error" if isinstance(ending, Exception) else "finished"

    def add_done_callback(self, tell: Callable[["Future"], None]) -> None:
        tell(self)

    def result(self) -> Any:
        self.client.in_flight -= 1
        if isinstance(self.ending, Exception):
            raise self.ending
        return self.ending


class Client:
    """A client of some threads; what becomes of a task is asked for by the names of its recordings."""

    status = "running"

    def __init__(self, ending: Callable[[list[Input]], Any], threads: int = 3, **declared: float) -> None:
        self.ending, self.threads, self.declared = ending, threads, declared
        self.in_flight = self.most = 0
        self.resources: list[Any] = []

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        assert n_workers == -1, "by default Dask tells of five workers only"
        return {"workers": {f"w{place}": {"nthreads": 1, "resources": self.declared} for place in range(self.threads)}}

    def submit(self, _function: Any, stack: list[QueuedInput], **how: Any) -> Future:
        self.resources.append(how["resources"])
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        return Future(self, self.ending([one.item for one in stack]))

    def cancel(self, _futures: list[Future]) -> None:
        pass


def done(items: list[Input]) -> list[Outcome]:
    return [Outcome(Row(item.place, item.folder, "fitted"), again=False) for item in items]


def waiting(count: int, size: int = 1) -> Iterator[list[QueuedInput]]:
    for first in range(0, count, size):
        yield [QueuedInput(place, Input(str(place), f"{place}-fit", 1)) for place in range(first, min(first + size, count))]


def fit(client: Client, stacks: Iterator[list[QueuedInput]], retries: int = 2) -> dict[int, Row]:
    rows: dict[int, Row] = {}

    def landed(one: QueuedInput, row: Row) -> None:
        assert one.place not in rows, "each recording is told of once"
        rows[one.place] = row

    fit_all(DaskExecutor(client, "tcp://x"), JOB, stacks, retries, landed, lambda _: None)
    return rows


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 8))
def test_every_recording_lands_once_and_few_are_in_flight(count: int, size: int, threads: int) -> None:
    client = Client(done, threads)
    rows = fit(client, waiting(count, size))
    assert sorted(rows) == list(range(count))
    assert {row.attempts for row in rows.values()} <= {1}
    assert client.most <= max(dask_executor.LEAST_IN_FLIGHT, dask_executor.IN_FLIGHT_PER_THREAD * threads)


def test_stacks_are_not_made_before_there_is_room() -> None:
    made = []

    def making() -> Iterator[list[QueuedInput]]:
        for stack in waiting(1000):
            made.append(stack[0].place)
            yield stack

    client = Client(lambda items: made.append(-len(made)) or done(items), threads=2)
    taken: list[int] = []
    land = lambda *_: taken.append(len([m for m in made if m >= 0]))  # noqa: E731
    fit_all(DaskExecutor(client, "tcp://x"), JOB, making(), 0, land, lambda _: None)
    assert all(ahead <= place + 1 + dask_executor.LEAST_IN_FLIGHT for place, ahead in enumerate(taken))


def test_a_stack_whose_worker_dies_is_tried_again_one_by_one() -> None:
    def ending(items: list[Input]) -> Any:
        return KilledWorker() if any(item.place == "3" for item in items) else done(items)

    rows = fit(Client(ending), waiting(8, 4), retries=2)
    assert {place for place, row in rows.items() if row.status == "failed"} == {3}
    assert (rows[3].attempts, rows[0].attempts, rows[4].attempts) == (3, 2, 1)
    assert "killed in each of 3 attempts" in str(rows[3].reason)


def test_what_may_pass_is_tried_again_and_what_may_not_is_not() -> None:
    tries: dict[str, int] = {}

    def ending(items: list[Input]) -> list[Outcome]:
        (item,) = items
        tries[item.place] = tries.get(item.place, 0) + 1
        if item.place == "0" and tries["0"] < 3:
            return [Outcome(Row.failure("0", "", "full", 1), again=True)]
        return [Outcome(Row.failure("1", "", "text", 1), again=False)] if item.place == "1" else done(items)

    rows = fit(Client(ending), waiting(3))
    assert tries == {"0": 3, "1": 1, "2": 1}
    assert [(rows[place].status, rows[place].attempts) for place in range(3)] == [("fitted", 3), ("failed", 1), ("fitted", 1)]


def test_a_task_that_the_worker_cannot_load_is_a_row() -> None:
    rows = fit(Client(lambda _: ModuleNotFoundError("no module named 'ddaudio'")), waiting(2))
    assert all(
        re.search("ModuleNotFoundError: no module named.*install the same version of ddaudio", str(row.reason))
        for row in rows.values()
    )


class Vanishing(Future):
    """A task that ended well, whose worker dies before its result is fetched."""

    def __init__(self, client: "Client") -> None:
        super().__init__(client, KilledWorker())
        self.status = "finished"


def test_a_worker_that_dies_between_finishing_and_being_read_is_one_that_was_killed() -> None:
    class Forgetful(Client):
        def submit(self, *arguments: Any, **how: Any) -> Future:
            future = super().submit(*arguments, **how)
            return Vanishing(self) if len(self.resources) == 1 else future

    rows = fit(Forgetful(done), waiting(3), retries=2)
    assert [(rows[place].status, rows[place].attempts) for place in range(3)] == [("fitted", 2), ("fitted", 1), ("fitted", 1)]


def test_a_local_cluster_that_cannot_start_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(clusters, "_fork_server", dict)
    monkeypatch.setattr(clusters, "_connected_workers", failing)
    with pytest.raises(BatchError, match="the local cluster cannot start: FileNotFoundError"), clusters.make_executor(4, 2):
        pass


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), True),
        (RuntimeError("shapes do not match"), False),
        (MemoryError(), True),
    ],
)
def test_lack_of_memory_may_pass(error: Exception, again: bool) -> None:
    assert outcome_of("a.wav", "a.wav-fit", error, (OSError,)).again is again


class SilentClient(Client):
    """A client that has given up on its scheduler: nothing that it sends is ever heard of again."""

    status = "closed"

    def submit(self, *_: Any, **__: Any) -> Future:
        return SilentFuture(self, None)


class SilentFuture(Future):
    """A task without an end."""

    def add_done_callback(self, tell: Callable[[Future], None]) -> None:
        pass


@pytest.mark.parametrize("kind", [Client, SilentClient])
def test_when_the_scheduler_is_gone_all_that_is_left_says_so(kind: type[Client]) -> None:
    rows = fit(kind(lambda items: "gone" if items[0].place == "5" else done(items)), waiting(30))
    assert sorted(rows) == list(range(30))
    failed = {place for place, row in rows.items() if row.status == "failed"}
    assert failed >= set(range(10, 30))
    assert all(rows[place].reason == "the connection to the scheduler tcp://x was lost" for place in failed)
    assert (0 in failed) == (kind is SilentClient)


@pytest.mark.parametrize(("declared", "asked"), [({}, None), ({"GPU": 1.0}, {"GPU": 1.0}), ({"MEMORY": 9.0}, None)])
def test_a_declared_gpu_is_asked_for(declared: dict[str, float], asked: Any) -> None:
    client = Client(done, **declared)
    fit(client, waiting(3))
    assert client.resources == [asked] * 3


def test_an_interrupt_waits_until_a_task_is_sent() -> None:
    """In the middle it left half a future behind, which said so on the terminal."""
    sent = []

    class Interrupted(Client):
        def submit(self, *arguments: Any, **how: Any) -> Future:
            signal.raise_signal(signal.SIGINT)
            sent.append(super().submit(*arguments, **how))
            return sent[-1]

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(done), waiting(3))
    assert len(sent) == 1
    assert signal.getsignal(signal.SIGINT) is before
