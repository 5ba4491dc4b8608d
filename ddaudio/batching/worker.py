"""What a worker does: fetch a recording, fit it, and put the fit into its place. Whatever goes wrong becomes a row."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ddaudio.batching.inputs import Input
from ddaudio.batching.results_table import Outcome, Row, outcome_of
from ddaudio.batching.up_to_date import BatchJob, file_hash, is_same, lacks_page, read_existing_report
from ddaudio.errors import OutputError, RecordingError
from ddaudio.fitting.plan import make_plan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.io.fit_files import FILES, PAGE
from ddaudio.io.paths import printable, quoted
from ddaudio.io.storage import remote, storage_errors
from ddaudio.options import NETWORKS, FitOptions
from ddaudio.parallel.lockstep import apart, side_by_side
from ddaudio.parallel.threads import one_thread
from ddaudio.report import save as saving
from ddaudio.report import settings_hash
from ddaudio.report.page import page
from ddaudio.results.record import FitRecord

TOGETHER_SAMPLES = 1 << 18
"""Samples of all channels that are fitted side by side at most. Recordings of 50,000 samples take no less time so (a twentieth
more for 130,000), those of 10,000 half as much, those of 4,000 less than half (measured, 12 at a time)."""


class _Read(NamedTuple):
    """A recording that has to be fitted."""

    item: Input
    recording: Recording
    noted: dict[str, str]
    """What the report will say of the file and the settings."""


def fit_stack(job: BatchJob, items: Sequence[Input]) -> list[Outcome]:
    """Fit some recordings, short ones side by side, and return what became of each, in order; raises nothing but an interrupt."""
    with one_thread():
        if not _meets(job.options):
            return [_fit_item(job, item, fit) for item in items]
        room = _Room(TOGETHER_SAMPLES)
        # No gradient is taken, and half a second of speech takes 7 to 22 % less time without what one needs.
        with torch.inference_mode():
            return side_by_side([partial(_fit_item, job, item, room.fit) for item in items])


def _meets(options: FitOptions) -> bool:
    """Return whether fits with these settings can be done side by side: no gradient is taken, and the network can be batched."""
    second_order = options.training.resolved().optimiser == "gauss-newton"
    batched = len(options.model.terms) == 1 and NETWORKS[options.model.terms[0]].is_batched
    return batched and options.model.estimator is None and second_order


class _Room:
    """How many samples may still be fitted side by side."""

    def __init__(self, n_samples: int) -> None:
        self.left = n_samples

    def fit(self, recording: Recording, options: FitOptions) -> FitResult:
        """Fit a recording: beside others if there is room for it, else at once, before any other is read."""
        n_samples = recording.n_channels * recording.n_samples
        if n_samples > self.left:
            return apart(lambda: fit(recording, options))
        self.left -= n_samples
        return fit(recording, options)


def _fit_item(job: BatchJob, item: Input, fit_one: Callable[[Recording, FitOptions], FitResult]) -> Outcome:
    try:
        if item.problem:
            raise RecordingError(item.problem, hint="check its permissions")
        with _fetched(item) as path:
            read = _read(job, item, path)
            if isinstance(read, Row):
                return Outcome(read, again=False)
            result = fit_one(read.recording, job.options)
            if result.stopped:
                raise KeyboardInterrupt
            return Outcome(_save(job, read, result), again=False)
    except Exception as error:
        return outcome_of(item.place, item.folder, error, storage_errors())


@contextlib.contextmanager
def _fetched(item: Input) -> Iterator[Path]:
    """Give the recording as a local file: itself, or a temporary copy."""
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
    """Read a recording; return it, or its row if its fit is there already."""
    asked, hashed = job.asked_sha256, file_hash(path) if os.path.isfile(path) else ""  # noqa: PTH113
    report = read_existing_report(job, item)
    if report is not None and is_same(report, item, asked, lambda: hashed):
        return _kept(job, item, report)
    try:
        recording = audio.read(path, job.options.input.sample_rate)
    except RecordingError as error:
        raise error.with_facts(problem=error.problem.replace(str(path), printable(item.place))) from error.__cause__
    if hashed != file_hash(path):
        raise OutputError(f"cannot fit {quoted(item.place)}: it changed while it was read", hint="wait until it is complete")
    recording = dataclasses.replace(recording, source=printable(item.place))
    if report is not None and _tells_of(report, recording, job):
        return _kept(job, item, report)
    return _Read(item, recording, {"file_sha256": hashed, "asked_sha256": asked, "mark": item.mark})


def _tells_of(report: dict[str, Any], recording: Recording, job: BatchJob) -> bool:
    """Return whether a report tells of these samples and of what the settings are with them."""
    if report.get("recording", {}).get("sha256") != recording.content_hash:
        return False
    return bool(report.get("settings_sha256") == settings_hash(make_plan(recording, job.options).options))


def _kept(job: BatchJob, item: Input, report: dict[str, Any]) -> Row:
    """Return the row of a fit that is there; make its page if it should have one."""
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
