"""Runs the fits of a batch on an executor: stacks of short recordings, with retries, and one row per recording."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ddaudio.batching.inputs import Input
from ddaudio.batching.results_table import Outcome, Row
from ddaudio.batching.up_to_date import BatchJob
from ddaudio.parallel.executors import Executor, OnTick, SchedulerLostError, WorkerKilledError


@dataclass(frozen=True)
class QueuedInput:
    """A recording waiting to be fitted."""

    place: int
    """Index in the batch."""
    item: Input
    attempts: int = 0
    """Number of attempts so far."""


Stack = Sequence[QueuedInput]
"""Recordings fitted in one task."""
Told = Callable[[QueuedInput, Row], None]
"""Called with a recording and its final row."""


def fit_all(workers: Executor, job: BatchJob, stacks: Iterable[Stack], retries: int, tell: Told, beat: OnTick) -> None:
    """Fit all stacks, and report the final row of each recording once, in any order."""

    def landed(stack: Stack, ending: list[Outcome] | Exception) -> list[Stack]:
        """Report final outcomes; return the recordings to retry, one per stack."""
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
    """Fit a stack of recordings in the calling process; see `ddaudio.batching.worker`."""
    from ddaudio.batching import worker  # noqa: PLC0415 - imports torch, which the main process does not need

    return worker.fit_stack(job, [one.item for one in stack])


def _nothing(one: QueuedInput, error: Exception) -> Outcome:
    """Return the outcome of a recording whose task did not finish."""
    item, killed = one.item, isinstance(error, WorkerKilledError)
    reason = (
        f"the worker was killed in each of {one.attempts} attempts, by a signal or for lack of memory; "
        "give each worker more memory"
        if killed
        else f"the worker failed: {type(error).__name__}: {error}; install the same version of ddaudio on all workers"
    )
    return Outcome(Row.failure(item.place, item.folder, reason, one.attempts), again=killed)
