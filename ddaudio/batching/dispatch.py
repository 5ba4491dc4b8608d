"""The fits of a batch, done by a crew: short recordings in stacks, tried again where that makes sense, each a row in the end."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ddaudio.batching.inputs import Input
from ddaudio.batching.results_table import Outcome, Row
from ddaudio.batching.up_to_date import BatchJob
from ddaudio.parallel.executors import Executor, OnTick, SchedulerLostError, WorkerKilledError


@dataclass(frozen=True)
class QueuedInput:
    """A recording that waits to be fitted."""

    place: int
    """Its place in the batch."""
    item: Input
    attempts: int = 0
    """How often that has been tried."""


Stack = Sequence[QueuedInput]
"""Recordings that are fitted in one task."""
Told = Callable[[QueuedInput, Row], None]
"""Told what became of a recording in the end."""


def fit_all(workers: Executor, job: BatchJob, stacks: Iterable[Stack], retries: int, tell: Told, beat: OnTick) -> None:
    """Fit stack after stack; tells of each recording once, in any order."""

    def landed(stack: Stack, ending: list[Outcome] | Exception) -> list[Stack]:
        """Tell of what has an end; return what is to be tried again, one by one."""
        if isinstance(ending, SchedulerLostError):
            for one in stack:
                tell(one, Row.failure(one.item.place, one.item.folder, str(ending), one.attempts))
            return []
        again: list[Stack] = []
        tried = [replace(one, attempts=one.attempts + 1) for one in stack]
        outcomes = [_nothing(one, ending) for one in tried] if isinstance(ending, Exception) else ending
        for one, outcome in zip(tried, outcomes, strict=True):
            if outcome.again and one.attempts <= retries:
                again.append([one])
            else:
                tell(one, outcome.row.tried(one.attempts))
        return again

    workers.run(partial(fit_stack, job), stacks, landed, beat)


def fit_stack(job: BatchJob, stack: Stack) -> list[Outcome]:
    """Fit some recordings where this is called: see `ddaudio.batching.worker`."""
    from ddaudio.batching import worker  # noqa: PLC0415 - imports torch, which the process that steers does without

    return worker.fit_stack(job, [one.item for one in stack])


def _nothing(one: QueuedInput, error: Exception) -> Outcome:
    """Return what became of a recording whose task brought nothing back."""
    item, killed = one.item, isinstance(error, WorkerKilledError)
    reason = (
        f"its worker was killed at each of {one.attempts} tries: by a signal, or for want of memory; give each worker more of it"
        if killed
        else f"the worker could not do its task: {type(error).__name__}: {error}; install the same ddaudio there"
    )
    return Outcome(Row.failure(item.place, item.folder, reason, one.attempts), again=killed)
