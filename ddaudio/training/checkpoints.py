"""Checkpoints: an interrupted fit is resumed and gives bit for bit the result of an uninterrupted one.

A fit is a deterministic function of its recording and settings, in which `ddaudio.training.trainer.train` takes nearly all the
time. A checkpoint therefore holds only the results of training: for each finished run of `train`, in order, its final
parameters and its history, and for the current run all that its next step depends on. A resumed fit is computed from the
beginning, but finished runs are loaded instead of trained, and the current run is resumed from its last state. The initial
parameters of each run are compared with those of the first time: the checkpoint is refused if a machine computes other ones.

The files are those of `ddaudio.training.checkpoint_files`.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ddaudio.errors import CheckpointError, OutputError
from ddaudio.io.tensor_file import checksum
from ddaudio.training.checkpoint_files import START_AGAIN, STATE, CheckpointFiles, Snapshot, exists, run_name


class ResumeState(NamedTuple):
    """The stored part of a training run that is about to begin."""

    finished: Snapshot | None = None
    """Its result, if it had finished."""
    under_way: Snapshot | None = None
    """Its last state, if it had not finished."""


class TrainingLog:
    """Log of training runs. This base class stores nothing; see `Checkpoint`."""

    def begin(self, parameters: Sequence[Tensor]) -> ResumeState:
        """Begin the next training run with initial ``parameters``; return what is stored of it."""
        del parameters
        return ResumeState()

    def note(self, state: Callable[[], Snapshot]) -> None:
        """Store the state of the current run after a step, if it is due; ``state`` is called only then."""

    def end(self, result: Callable[[], Snapshot]) -> None:
        """Store the result of the current run."""


class Checkpoint(TrainingLog):
    """Checkpoint of a fit in a folder.

    Args:
        folder: path of the checkpoint, created at the first write.
        about: description of the fit, serialisable as JSON; a checkpoint with another one is refused.
        every_s: interval between writes in seconds; 0 writes at each step.
        resume: resume from the folder, if it contains a checkpoint.
        force: start anew even if the folder contains a checkpoint, whose files are removed at the first write.

    Raises `CheckpointError` if the folder contains a checkpoint and neither ``resume`` nor ``force`` is given, or if with
    ``resume`` it is damaged or belongs to another fit; `OutputError` if it cannot be written.

    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        about: Mapping[str, Any],
        every_s: float,
        *,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        self._files, self._every_s = CheckpointFiles(folder, about), every_s
        self._written, self._index, self._last = 0, 0, time.monotonic()
        self._pending: list[bytes] = []
        self._state: Snapshot | None = None
        self._start = ""
        self._fresh = True
        if not exists(folder):
            return
        if not resume and not force:
            raise CheckpointError(
                f"{str(folder)!r} is the checkpoint of an unfinished fit",
                hint="resume it with {resume=True}, or start again with {force=True}",
            )
        self._files.check_mark()
        if resume:
            self._written, self._state = self._files.read_all()
            self._fresh = False

    def begin(self, parameters: Sequence[Tensor]) -> ResumeState:
        """Begin the next training run; raises `CheckpointError` if its initial parameters differ from those of the first time."""
        self._start = checksum("", {str(place): value.detach().cpu() for place, value in enumerate(parameters)})
        found = ResumeState()
        if self._index < self._written:
            found = ResumeState(finished=self._files.read(run_name(self._index)))
            self._index += 1
        elif self._index == self._written and self._state is not None:
            found, self._state = ResumeState(under_way=self._state), None
        entry = found.finished or found.under_way
        if entry is not None and entry.facts["start"] != self._start:
            raise CheckpointError(
                f"{str(self._files.folder)!r} cannot be resumed: training run {self._index} starts from other parameters than "
                "the first time, as it does on another machine",
                hint=START_AGAIN,
            )
        return found

    def note(self, state: Callable[[], Snapshot]) -> None:
        """Write the state of the current run, if it is due."""
        if self._is_time():
            self._flush(self._files.packed(self._index, self._start, state()))

    def end(self, result: Callable[[], Snapshot]) -> None:
        """Store the result of the current run, and write it if it is due."""
        self._pending.append(self._files.packed(self._index, self._start, result()))
        self._index += 1
        if self._is_time():
            self._flush(None)

    def _is_time(self) -> bool:
        return time.monotonic() - self._last >= self._every_s

    def _flush(self, state: bytes | None) -> None:
        """Write head, finished runs and current state, in this order, so that the files on disk are consistent at any time."""
        try:
            if self._fresh:
                self._files.start()
                self._fresh = False
            while self._pending:
                self._files.write(run_name(self._written), self._pending[0])
                self._written += 1
                self._pending.pop(0)
            if state is not None:
                self._files.write(STATE, state)
        except (OSError, OutputError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            raise OutputError(
                f"cannot write to {str(self._files.folder)!r}: {getattr(cause, 'strerror', None) or error}",
                hint="free some space, and resume with {resume=True}",
            ) from error
        self._last = time.monotonic()


def restored(entry: Snapshot, name: str, like: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors ``name.0``, ``name.1`` and so on of a snapshot, with the shapes and types of ``like``.

    Raises `CheckpointError` if shapes or types differ.
    """
    found = [entry.tensors.get(f"{name}.{place}") for place in range(len(like))]
    kept = [
        one
        for one, other in zip(found, like, strict=True)
        if one is not None and (one.shape, one.dtype) == (other.shape, other.dtype)
    ]
    if len(kept) < len(like):
        raise CheckpointError(f"the checkpoint does not match the network: its {name!r} differ", hint=START_AGAIN)
    return kept
