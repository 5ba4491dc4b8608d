"""Tasks of the workers: fetch recordings, fit them, and save the fits. Failures become table rows."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from ddaudio.batching.inputs import Input
from ddaudio.batching.results_table import Outcome, Row, outcome_of
from ddaudio.batching.up_to_date import BatchJob, file_hash, is_same, lacks_page, read_existing_report
from ddaudio.errors import OutputError, RecordingError
from ddaudio.fitting.plan import make_plan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import can_batch, iterate_fits
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.io.fit_files import FILES, PAGE
from ddaudio.io.paths import printable, quoted
from ddaudio.io.storage import remote, storage_errors
from ddaudio.options import FitOptions
from ddaudio.parallel.threads import one_thread
from ddaudio.report import save as saving
from ddaudio.report import settings_hash
from ddaudio.report.page import page
from ddaudio.results.record import FitRecord

Returned = TypeVar("Returned")


class _Read(NamedTuple):
    """A recording that was read and needs a fit."""

    item: Input
    recording: Recording
    noted: dict[str, str]
    """Hashes of file and settings to store in the report."""


def fit_stack(job: BatchJob, items: Sequence[Input]) -> list[Outcome]:
    """Fit recordings, together where possible, and return their outcomes in order; raises only KeyboardInterrupt."""
    batched = can_batch(job.options)
    stacks = [items] if batched else [[item] for item in items]
    # Least squares need no gradient; without autograd's bookkeeping half a second of speech takes 7 to 22 % less time.
    with one_thread(), torch.inference_mode(batched and job.options.training.least_squares):
        return [outcome for stack in stacks for outcome in _fit_items(job, stack)]


def _fit_items(job: BatchJob, items: Sequence[Input]) -> list[Outcome]:
    """Read recordings, fit them together, and save the fits."""
    with contextlib.ExitStack() as files:
        read = [_or_failure(item, partial(_fetched_and_read, job, item, files)) for item in items]
        # Each fit is saved before the next one is measured: an interrupt loses no fit that is complete.
        fits = _fit_each([one.recording for one in read if isinstance(one, _Read)], job.options)
        return [one if isinstance(one, Outcome) else _or_failure(one.item, partial(_saved, job, one, next(fits))) for one in read]


def _or_failure(item: Input, work: Callable[[], Returned]) -> Returned | Outcome:
    """Return the result of ``work``, or the outcome of the error that it raises."""
    try:
        return work()
    except Exception as error:
        return outcome_of(item.place, item.folder, error, storage_errors())


def _fit_each(recordings: Sequence[Recording], options: FitOptions) -> Iterator[FitResult | Exception]:
    """Fit recordings together; on failure, retry the rest in halves, so that only the recording at fault gets the error."""
    done = 0
    try:
        for result in iterate_fits(recordings, options):
            done += 1
            yield result
    except Exception as error:
        left = recordings[done:]
        if len(left) == 1:
            yield error
            return
    else:
        return
    half = len(left) // 2
    yield from _fit_each(left[:half], options)
    yield from _fit_each(left[half:], options)


def _saved(job: BatchJob, read: _Read, result: FitResult | Exception) -> Outcome:
    """Save a fit; raises its error if it failed."""
    if isinstance(result, Exception):
        raise result
    if result.stopped:
        raise KeyboardInterrupt
    return Outcome(_save(job, read, result), again=False)


def _fetched_and_read(job: BatchJob, item: Input, files: contextlib.ExitStack) -> _Read | Outcome:
    """Read a recording; return it, or the outcome if its fit is current. Temporary copies are deleted with ``files``."""
    if item.problem:
        raise RecordingError(item.problem, hint="check its permissions")
    read = _read(job, item, files.enter_context(_fetched(item)))
    return Outcome(read, again=False) if isinstance(read, Row) else read


@contextlib.contextmanager
def _fetched(item: Input) -> Iterator[Path]:
    """Yield the recording as a local file: itself, or a temporary copy."""
    if item.is_local:
        yield Path(item.place)
        return
    system, path = remote(item.place)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "recording" + Path(path).suffix[:10])
        try:
            system.get_file(path, str(copy))
        except FileNotFoundError:
            raise RecordingError(f"cannot read {quoted(item.place)}: it is missing", hint="check the address") from None
        yield copy


def _read(job: BatchJob, item: Input, path: Path) -> _Read | Row:
    """Read a recording; return it, or its row if its fit is current."""
    asked, hashed = job.asked_sha256, file_hash(path) if os.path.isfile(path) else ""  # noqa: PTH113
    report = read_existing_report(job, item)
    if report is not None and is_same(report, item, asked, lambda: hashed):
        return _kept(job, item, report)
    try:
        recording = audio.read(path, job.options.input.sample_rate)
    except RecordingError as error:
        raise error.with_facts(problem=error.problem.replace(str(path), printable(item.place))) from error.__cause__
    if hashed != file_hash(path):
        raise OutputError(f"cannot fit {quoted(item.place)}: it changed during reading", hint="wait until it is complete")
    recording = dataclasses.replace(recording, source=printable(item.place))
    if report is not None and _tells_of(report, recording, job):
        return _kept(job, item, report)
    return _Read(item, recording, {"file_sha256": hashed, "asked_sha256": asked, "mark": item.mark})


def _tells_of(report: dict[str, Any], recording: Recording, job: BatchJob) -> bool:
    """Return whether a report has the hashes of these samples and of the settings resolved for them."""
    if report.get("recording", {}).get("sha256") != recording.content_hash:
        return False
    return bool(report.get("settings_sha256") == settings_hash(make_plan(recording, job.options).options))


def _kept(job: BatchJob, item: Input, report: dict[str, Any]) -> Row:
    """Return the row of an existing fit; write its page if it is missing."""
    if lacks_page(job, item):
        with job.output.fetched(item.folder) as folder:
            job.output.write(f"{item.folder}/{PAGE}", page(FitRecord.read(folder), home=".").encode("utf-8", "backslashreplace"))
    return Row.of_report(item.place, item.folder, "kept", report)


def _save(job: BatchJob, read: _Read, result: FitResult) -> Row:
    item = read.item
    try:
        with job.output.making() as folder:
            report = saving.write_fit(result, folder, html=job.html, batch=read.noted)
            job.output.publish(folder, item.folder, FILES)
    except storage_errors() as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise OutputError(
            f"cannot write {job.output.path(item.folder)!r}: {reason}", hint="choose a writable {out} with enough space"
        ) from error
    return Row.of_report(item.place, item.folder, "fitted", report)
