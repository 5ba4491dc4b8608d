"""``batch``: fit all recordings of a folder, a list or a bucket."""

import heapq
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

from ddaudio.batching import gallery
from ddaudio.batching.dispatch import QueuedInput, fit_all
from ddaudio.batching.inputs import Input, find, seconds_of_sound
from ddaudio.batching.results_table import Row, RowStore, read_table, write_tables
from ddaudio.batching.summary import Summary, summary_lines
from ddaudio.batching.up_to_date import BatchJob, reusable_row
from ddaudio.errors import BatchError, OutputError
from ddaudio.io.storage import AT_ONCE, Storage, open_storage, storage_errors
from ddaudio.options import FitOptions
from ddaudio.options.batch import STACKS_PER_WORKER, BatchOptions
from ddaudio.parallel.clusters import make_executor
from ddaudio.parallel.executors import Executor

SMALL_BYTES, STACK_BYTES = 1 << 17, 1 << 19
"""Largest recording in a stack, and largest stack, in bytes of samples: more is not faster, see `ddaudio.fitting.run`."""

REMOVED = "the fit was removed while the batch was running; run the batch again"

COMPRESSION = {".flac": 1.8, ".ogg": 10.0, ".oga": 10.0, ".opus": 12.0, ".mp3": 10.0}
"""Approximate ratio of the size of samples to the size of their file, by format."""


@dataclass(frozen=True)
class BatchProgress:
    """Progress of a batch."""

    stage: str
    """``looking``, ``fitting`` or ``writing``."""
    total: int = 0
    """Number of recordings to fit."""
    done: int = 0
    """Number of recordings that were fitted or failed."""
    failed: int = 0
    sound_s: float = 0.0
    """Total duration of the fitted recordings, in seconds."""
    seconds: float = 0.0
    """Time since the first recording was submitted, in seconds."""
    share: float = 0.0
    """Share of the bytes of all files that is done, 0 to 1."""
    workers: int = 0
    """Number of working threads."""
    dashboard: str | None = None
    """URL of the Dask dashboard, if there is one."""

    @property
    def left_s(self) -> float | None:
        """Estimated remaining time in seconds, from the time per byte so far; None at the beginning."""
        return self.seconds * (1 / self.share - 1) if self.share > 0 else None


@dataclass(frozen=True)
class BatchResult:
    """Results of a batch; `rows` gives those of each recording."""

    output: str
    """Path or URL of the output."""
    contents: dict[str, Any]
    """Counts, quantiles, worst fits, failures and speed, as in ``summary.json``."""
    problem: str | None
    """Reason why tables or gallery could not be written; None if they were."""
    stopped: bool
    """Whether it was interrupted by the user."""
    planned_sound_s: float | None = None
    """Dry runs only: total duration in seconds of the recordings to fit, as far as headers can be read."""

    @property
    def failed(self) -> int:
        """Number of recordings that could not be fitted."""
        return int(self.contents["failed"])

    def rows(self) -> Iterator[Row]:
        """Yield the rows of ``results.parquet``; raises `BatchError` if there is none."""
        return read_table(BytesIO(_results(open_storage(self.output))))


def batch(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    options: FitOptions | None = None,
    *,
    batch: BatchOptions | None = None,
    progress: Callable[[BatchProgress], None] | None = None,
    **settings: Any,
) -> BatchResult:
    """Fit all recordings of a folder, a list or a bucket that have no current fit, each into its own folder.

    Scripts must call this function below ``if __name__ == "__main__":``, since the processes of the local cluster import them.

    Args:
        inputs: a folder, a list file, a URL such as ``s3://bucket/sounds``, or several paths and URLs.
        output: folder or URL for one folder per recording, ``results.csv``, ``results.parquet``,
            ``summary.json`` and ``index.html``.
        options: settings of the fits (default: ``FitOptions()``).
        batch: settings of the batch (default: ``BatchOptions()``).
        progress: called with a `BatchProgress` as recordings finish.
        **settings: single settings of either kind by name, such as ``target_snr_db=30, workers=2``.

    Returns:
        The results; a recording that could not be fitted is a row and does not end the batch.

    Raises:
        BatchError: nothing is found, input and output overlap, or the scheduler does not respond.
        OptionError: a setting is unknown or out of range.
        OutputError: the output cannot be written to.

    """
    own = {member.name for member in fields(BatchOptions)}
    how = replace(batch or BatchOptions(), **{name: value for name, value in settings.items() if name in own})
    fits = (options or FitOptions()).with_settings({name: value for name, value in settings.items() if name not in own})
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    out = open_storage(output)
    tell = progress or (lambda _: None)
    tell(BatchProgress("looking"))
    items = find(given, out, how.pattern)
    return _Run(items, BatchJob(out, fits, how.html, how.force), how, tell).run()


class _Run:
    """A running batch."""

    def __init__(self, items: list[Input], job: BatchJob, how: BatchOptions, tell: Callable[[BatchProgress], None]) -> None:
        self.items, self.job, self.how, self.tell = items, job, how, tell
        self.rows, self.summary = RowStore(len(items)), Summary(len(items))
        self.progress = BatchProgress("fitting")
        self.shown: list[tuple[float, int]] = []
        self._before: Mapping[str, Row] = {}
        self._bytes = self._bytes_done = 0
        self._began = time.monotonic()

    def run(self) -> BatchResult:
        """Run the batch and return its results."""
        began = time.monotonic()
        try:
            self._before = self._failed_before()  # first: nothing is written where there are no failures to retry
            if self.how.dry_run:
                todo = self._missing()
                sound_s = seconds_of_sound([self.items[place] for place in todo])
                return BatchResult(self.job.output.address, self._summary(began), None, stopped=False, planned_sound_s=sound_s)
            if self.how.scheduler is not None:
                with make_executor(0, 0, self.how.scheduler) as workers:  # first: the scheduler may not respond
                    self.job.output.prepare()
                    return self._work(self._missing(), workers, began)
            self.job.output.prepare()
            todo = self._missing()
            with make_executor(len(todo), self.how.n_workers) as workers:
                return self._work(todo, workers, began)
        finally:
            self.rows.close()

    def _missing(self) -> list[int]:
        """Return the indices of the recordings to fit; store the rows of the others."""
        there = set() if self.how.force else self.job.output.finished()
        asked = self.job.asked_sha256
        look = [place for place, item in enumerate(self.items) if item.folder in there]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for place, row in zip(look, pool.map(lambda at: reusable_row(self.job, self.items[at], asked), look), strict=True):
                if row is not None:
                    self._keep(place, row)
        missing = [place for place in range(len(self.items)) if not self.rows.has(place)]
        before = self._before
        todo = [place for place in missing if self.items[place].folder in before] if self.how.retry_failed else missing
        todo = todo[: self.how.limit]
        for place in set(missing).difference(todo):
            if self.items[place].folder in before:
                self._keep(place, before[self.items[place].folder])
        return todo

    def _failed_before(self) -> Mapping[str, Row]:
        """Return the failures of the last batch by folder, if they matter.

        Raises `BatchError` if they are to be retried and there was no batch.
        """
        if not self.how.retry_failed and self.how.limit is None:
            return {}
        try:
            return {row.folder: row for row in read_table(BytesIO(_results(self.job.output))) if row.status == "failed"}
        except BatchError:
            if self.how.retry_failed:
                raise
            return {}

    def _work(self, todo: Sequence[int], workers: Executor, began: float) -> BatchResult:
        """Fit the recordings, and write the tables even if that fails."""
        self._bytes = sum(max(1, self.items[place].size) for place in todo)
        self.progress = replace(self.progress, total=len(todo), dashboard=workers.dashboard)
        self._began = time.monotonic()
        stopped = False
        try:
            fit_all(workers, self.job, self._stacks(todo), self.how.retries, self._landed, self._beat)
        except KeyboardInterrupt:
            stopped = True
        self.tell(replace(self.progress, stage="writing"))
        self._note_removed()
        contents, problem = self._summary(began), None
        try:
            self._write_tables(contents)
            if not stopped and (self.summary.counts["fitted"] or not self.job.output.exists(gallery.GALLERY)):
                self._write_gallery(workers)
        except OutputError as error:
            problem = str(error)
        return BatchResult(self.job.output.address, contents, problem, stopped)

    def _note_removed(self) -> None:
        """Replace the rows of fits that were removed from the output while the batch was running, and count again."""
        try:
            there = self.job.output.finished()
        except storage_errors():  # writing the tables fails, too, and tells why
            return
        gone = [
            (place, item)
            for place, item in enumerate(self.items)
            if self.rows.has(place) and item.folder not in there and self.rows.get(place).status != "failed"
        ]
        if not gone:
            return
        for place, item in gone:
            self.rows.put(place, Row.failure(item.place, item.folder, REMOVED, self.rows.get(place).attempts))
        self.summary, self.shown = Summary(len(self.items)), []
        for place in range(len(self.items)):
            if self.rows.has(place):
                self._count(place, self.rows.get(place))

    def _stacks(self, todo: Sequence[int]) -> Iterator[list[QueuedInput]]:
        """Yield the recordings of each task: short ones in stacks, longer ones alone.

        The longest recordings come first; at the end they would keep a worker busy long after the others have finished.
        """
        most = max(1, min(self.how.stack, len(todo) // (STACKS_PER_WORKER * self.how.n_workers)))
        stack: list[QueuedInput] = []
        held = 0.0
        for place in sorted(todo, key=lambda place: -_sound_bytes(self.items[place])):
            one, size = QueuedInput(place, self.items[place]), _sound_bytes(self.items[place])
            if stack and (len(stack) == most or held + size > STACK_BYTES):
                yield stack
                stack, held = [], 0.0
            if size > SMALL_BYTES:
                yield [one]
            else:
                stack, held = [*stack, one], held + size
        if stack:
            yield stack

    def _landed(self, one: QueuedInput, row: Row) -> None:
        """Store the final row of a recording."""
        self._keep(one.place, row)
        self._bytes_done += max(1, one.item.size)
        now = self.progress
        self.progress = replace(now, done=now.done + 1, failed=self.summary.counts["failed"], sound_s=self.summary.sound_s)
        self._beat(now.workers)

    def _beat(self, threads: int) -> None:
        """Report progress."""
        share = self._bytes_done / self._bytes if self._bytes else 1.0
        self.progress = replace(self.progress, seconds=time.monotonic() - self._began, share=share, workers=threads)
        self.tell(self.progress)

    def _keep(self, place: int, row: Row) -> None:
        """Store a row and count it."""
        self.rows.put(place, row)
        self._count(place, row)

    def _count(self, place: int, row: Row) -> None:
        """Add a row to the summary, and select it for the gallery if its ERB distance is among the largest."""
        self.summary.add(row)
        if row.status != "failed":
            heapq.heappush(self.shown, (row.erb_db if row.erb_db is not None else -1.0, place))
            if len(self.shown) > gallery.MOST_ROWS:
                heapq.heappop(self.shown)

    def _summary(self, began: float) -> dict[str, Any]:
        return self.summary.contents(time.monotonic() - began)

    def _write_tables(self, contents: dict[str, Any]) -> None:
        """Write ``results.csv``, ``results.parquet`` and ``summary.json``; raises `OutputError`."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                tables = Path(folder, "results.csv"), Path(folder, "results.parquet")
                write_tables(self.rows, *tables)
                for table in tables:
                    self.job.output.write(table.name, table)
        except OSError as error:
            raise OutputError(f"cannot make the tables: {error.strerror or error}", hint="free some space") from error
        self.job.output.write("summary.json", (json.dumps(contents, indent=1) + "\n").encode())

    def _write_gallery(self, workers: Executor) -> None:
        """Write ``index.html``; raises `OutputError`."""
        items = [self.items[place] for place in sorted(place for _, place in self.shown)]
        if not items:
            return
        shown = [gallery.Shown(self.job.output, item.folder, item.place) for item in items]
        made = workers.call(gallery.gallery_row, shown)
        (page,) = workers.call(gallery.gallery_page, [[row for row in made if row is not None]])
        self.job.output.write(gallery.GALLERY, page)


def _sound_bytes(item: Input) -> float:
    """Estimate the size of a decoded recording in bytes."""
    return item.size * COMPRESSION.get(PurePath(item.place).suffix.lower(), 1.0)


def _results(output: Storage) -> bytes:
    """Return the bytes of ``results.parquet``; raises `BatchError` if there is none."""
    content = output.read("results.parquet")
    if content is None:
        raise BatchError(
            f"there is no {output.path('results.parquet')!r}: no batch has finished there yet",
            hint="run one without {retry_failed=True}",
        )
    return content


def in_words(result: BatchResult) -> list[str]:
    """Summarise the results of a batch, or of a dry run, in a few lines."""
    contents = result.contents
    if result.planned_sound_s is not None:
        return [
            f"recordings  {contents['recordings']}: {contents['kept']} done before, {contents['left']} to fit",
            f"sound       {result.planned_sound_s:.1f} s in what is to be fitted",
        ]
    return [*summary_lines(contents), f"output      {result.output}"]
