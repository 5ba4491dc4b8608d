"""``batch``: every recording of a folder, a list or a bucket fitted, once."""

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
from ddaudio.io.storage import AT_ONCE, Storage, open_storage
from ddaudio.options import FitOptions
from ddaudio.options.batch import STACKS_PER_WORKER, BatchOptions
from ddaudio.parallel.executors import Executor, make_executor

SMALL_BYTES, STACK_BYTES = 1 << 17, 1 << 19
"""Largest recording in a stack, and largest stack, in bytes of sound: more is not faster, see `ddaudio.fitting.run`."""

COMPRESSION = {".flac": 1.8, ".ogg": 10.0, ".oga": 10.0, ".opus": 12.0, ".mp3": 10.0}
"""How many times larger sound is than its file, about."""


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is."""

    stage: str
    """``looking``, ``fitting`` or ``writing``."""
    total: int = 0
    """Recordings to fit."""
    done: int = 0
    """Recordings that were fitted, or failed."""
    failed: int = 0
    sound_s: float = 0.0
    """Seconds of sound that were fitted."""
    seconds: float = 0.0
    """Since the first recording was sent to be fitted."""
    share: float = 0.0
    """How much of all files' bytes is done, 0 to 1."""
    workers: int = 0
    """Threads that work."""
    dashboard: str | None = None
    """Address of the Dask dashboard, if there is one."""

    @property
    def left_s(self) -> float | None:
        """Seconds until it is done, if the bytes that are left take as long as those that are done; None at the beginning."""
        return self.seconds * (1 / self.share - 1) if self.share > 0 else None


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch; `rows` has what became of each recording."""

    output: str
    """Path or address of the output."""
    contents: dict[str, Any]
    """Counts, quantiles, the worst, the failures and the speed, as in ``summary.json``."""
    problem: str | None
    """Why tables or gallery could not be written; None if they were."""
    stopped: bool
    """Whether the user stopped it."""
    planned_sound_s: float | None = None
    """Of a dry run: the seconds of sound in what would be fitted, as far as headers tell."""

    @property
    def failed(self) -> int:
        """How many recordings could not be fitted."""
        return int(self.contents["failed"])

    def rows(self) -> Iterator[Row]:
        """Yield the rows of ``results.parquet``; raises `BatchError` where there is none."""
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
    """Fit every recording of a folder, a list or a bucket that is not fitted yet, each into a folder of its own.

    A script that is run as a program calls this below ``if __name__ == "__main__":``, as the local cluster's processes
    import it.

    Args:
        inputs: a folder, a list file, an address such as ``s3://bucket/sounds``, or several paths and addresses.
        output: the folder or address that gets a folder a recording, ``results.csv``, ``results.parquet``,
            ``summary.json`` and ``index.html``.
        options: settings of the fits (default: ``FitOptions()``).
        batch: settings of the batch (default: ``BatchOptions()``).
        progress: told how far the batch is; silent without.
        **settings: single settings of either kind by name, such as ``target_snr_db=30, workers=2``.

    Returns:
        What became of it; a recording that could not be fitted is a row there, and ends nothing.

    Raises:
        BatchError: nothing is found, the output would harm the input, or the scheduler does not answer.
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
    """A batch on its way."""

    def __init__(self, items: list[Input], job: BatchJob, how: BatchOptions, tell: Callable[[BatchProgress], None]) -> None:
        self.items, self.job, self.how, self.tell = items, job, how, tell
        self.rows, self.summary = RowStore(len(items)), Summary(len(items))
        self.progress = BatchProgress("fitting")
        self.shown: list[tuple[float, int]] = []
        self._bytes = self._bytes_done = 0
        self._began = time.monotonic()

    def run(self) -> BatchResult:
        """Do it all."""
        began = time.monotonic()
        try:
            if self.how.dry_run:
                todo = self._missing()
                sound_s = seconds_of_sound([self.items[place] for place in todo])
                return BatchResult(self.job.output.address, self._summary(began), None, stopped=False, planned_sound_s=sound_s)
            if self.how.scheduler is not None:
                with make_executor(0, 0, self.how.scheduler) as workers:  # first of all: it may not answer
                    self.job.output.prepare()
                    return self._work(self._missing(), workers, began)
            self.job.output.prepare()
            todo = self._missing()
            with make_executor(len(todo), self.how.n_workers) as workers:
                return self._work(todo, workers, began)
        finally:
            self.rows.close()

    def _missing(self) -> list[int]:
        """Return the places of the recordings to fit; keep the rows of those that are not."""
        there = set() if self.how.force else self.job.output.finished()
        asked = self.job.asked_sha256
        look = [place for place, item in enumerate(self.items) if item.folder in there]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for place, row in zip(look, pool.map(lambda at: reusable_row(self.job, self.items[at], asked), look), strict=True):
                if row is not None:
                    self._keep(place, row)
        missing = [place for place in range(len(self.items)) if not self.rows.has(place)]
        if not self.how.retry_failed and self.how.limit is None:
            return missing
        before = self._failed_before()
        todo = [place for place in missing if self.items[place].folder in before] if self.how.retry_failed else missing
        todo = todo[: self.how.limit]
        for place in set(missing).difference(todo):
            if self.items[place].folder in before:
                self._keep(place, before[self.items[place].folder])
        return todo

    def _failed_before(self) -> Mapping[str, Row]:
        """Return the failures of the last batch, by folder; none where there was no batch and none is asked for."""
        try:
            return {row.folder: row for row in read_table(BytesIO(_results(self.job.output))) if row.status == "failed"}
        except BatchError:
            if self.how.retry_failed:
                raise
            return {}

    def _work(self, todo: Sequence[int], workers: Executor, began: float) -> BatchResult:
        """Fit, and write the tables whatever happens."""
        self._bytes = sum(max(1, self.items[place].size) for place in todo)
        self.progress = replace(self.progress, total=len(todo), dashboard=workers.dashboard)
        self._began = time.monotonic()
        stopped = False
        try:
            fit_all(workers, self.job, self._stacks(todo), self.how.retries, self._landed, self._beat)
        except KeyboardInterrupt:
            stopped = True
        self.tell(replace(self.progress, stage="writing"))
        contents, problem = self._summary(began), None
        try:
            self._write_tables(contents)
            if not stopped and (self.summary.counts["fitted"] or not self.job.output.exists(gallery.GALLERY)):
                self._write_gallery(workers)
        except OutputError as error:
            problem = str(error)
        return BatchResult(self.job.output.address, contents, problem, stopped)

    def _stacks(self, todo: Sequence[int]) -> Iterator[list[QueuedInput]]:
        """Yield what is fitted together: short recordings in stacks, any other one by itself.

        What has most sound comes first: if it came last, it would keep a worker busy long after the others are done.
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
        """Take in what became of a recording."""
        self._keep(one.place, row)
        self._bytes_done += max(1, one.item.size)
        now = self.progress
        self.progress = replace(now, done=now.done + 1, failed=self.summary.counts["failed"], sound_s=self.summary.sound_s)
        self._beat(now.workers)

    def _beat(self, threads: int) -> None:
        """Tell how far it is."""
        share = self._bytes_done / self._bytes if self._bytes else 1.0
        self.progress = replace(self.progress, seconds=time.monotonic() - self._began, share=share, workers=threads)
        self.tell(self.progress)

    def _keep(self, place: int, row: Row) -> None:
        """Keep a row, and note it for the gallery if it is one of those with the lowest SNR."""
        self.rows.put(place, row)
        self.summary.add(row)
        if row.status != "failed":
            heapq.heappush(self.shown, (-row.snr_db if row.snr_db is not None else -200.0, place))
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
    """Return about how many bytes a recording has when it is decoded."""
    return item.size * COMPRESSION.get(PurePath(item.place).suffix.lower(), 1.0)


def _results(output: Storage) -> bytes:
    """Return ``results.parquet``; raises `BatchError` where there is none."""
    content = output.read("results.parquet")
    if content is None:
        raise BatchError(
            f"there is no {output.path('results.parquet')!r}: no batch has finished there yet",
            hint="run one without {retry_failed=True}",
        )
    return content


def in_words(result: BatchResult) -> list[str]:
    """Return what became of a batch, or what would, in some lines."""
    contents = result.contents
    if result.planned_sound_s is not None:
        return [
            f"recordings  {contents['recordings']}: {contents['kept']} done before, {contents['left']} to fit",
            f"sound       {result.planned_sound_s:.1f} s in what is to be fitted",
        ]
    return [*summary_lines(contents), f"output      {result.output}"]
