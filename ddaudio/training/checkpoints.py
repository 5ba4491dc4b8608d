"""Checkpoints: an interrupted fit is resumed and gives bit for bit the result of an uninterrupted one.

A fit is a deterministic function of its recording and settings, in which `ddaudio.training.trainer.train` takes nearly all the
time. A checkpoint therefore holds only the results of training: for each finished run of `train`, in order, its final
parameters and its history, and for the current run all that its next step depends on. A resumed fit is computed from the
beginning, but finished runs are loaded instead of trained, and the current run is resumed from its last state. The initial
parameters of each run are compared with those of the first time: the checkpoint is refused if a machine computes other ones.

The folder contains ``checkpoint.json`` (recording, settings and versions), ``run-00000.safetensors`` and so on (one per
finished run), and ``state.safetensors`` (the current run). Files are replaced atomically.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from torch import Tensor

from ddaudio.errors import CheckpointError, OutputError
from ddaudio.io.atomic import is_inside_only, remove_empty, remove_file, temporary_files, whole_file
from ddaudio.io.fit_files import CHECKPOINT
from ddaudio.io.formats import CHECKPOINT_FORMAT
from ddaudio.io.paths import quoted, short_name
from ddaudio.io.tensor_file import checksum, checksummed_safetensors, read_settings, read_tensors

KIND = "ddaudio_checkpoint"
"""Key of the format in the files' metadata."""
HEAD, STATE, MARK = "checkpoint.json", "state.safetensors", ".ddaudio"
"""File names; only a folder that contains the mark is ever cleared."""
_RUN = re.compile(r"run-[0-9]{5,}\.safetensors")
START_AGAIN = CHECKPOINT_FORMAT.remedy


class Snapshot(NamedTuple):
    """Tensors by name, and facts serialisable as JSON."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class ResumeState(NamedTuple):
    """What a log has stored of a training run that is about to begin."""

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
        self._folder, self._every_s = Path(folder), every_s
        self._about = {"version": CHECKPOINT_FORMAT.text, **json.loads(json.dumps(about))}
        self._seal = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).hexdigest()
        self._written, self._index, self._last = 0, 0, time.monotonic()
        self._pending: list[bytes] = []
        self._state: Snapshot | None = None
        self._start = ""
        self._fresh = True
        if (resume or force) and exists(folder):
            self._check_mark()
        if resume:
            self._take_up()
        elif exists(folder) and not force:
            raise CheckpointError(
                f"{str(folder)!r} is the checkpoint of an unfinished fit",
                hint="resume it with {resume=True}, or start again with {force=True}",
            )

    def begin(self, parameters: Sequence[Tensor]) -> ResumeState:
        """Begin the next training run; raises `CheckpointError` if its initial parameters differ from those of the first time."""
        self._start = checksum("", {str(place): value.detach().cpu() for place, value in enumerate(parameters)})
        found = ResumeState()
        if self._index < self._written:
            found = ResumeState(finished=self._read(_run_name(self._index)))
            self._index += 1
        elif self._index == self._written and self._state is not None:
            found, self._state = ResumeState(under_way=self._state), None
        entry = found.finished or found.under_way
        if entry is not None and entry.facts["start"] != self._start:
            raise CheckpointError(
                f"{str(self._folder)!r} cannot be resumed: training run {self._index} starts from other parameters than the "
                "first time, as it does on another machine",
                hint=START_AGAIN,
            )
        return found

    def note(self, state: Callable[[], Snapshot]) -> None:
        """Write the state of the current run, if it is due."""
        if self._is_time():
            self._flush(self._sealed(self._index, state()))

    def end(self, result: Callable[[], Snapshot]) -> None:
        """Store the result of the current run, and write it if it is due."""
        self._pending.append(self._sealed(self._index, result()))
        self._index += 1
        if self._is_time():
            self._flush(None)

    def _is_time(self) -> bool:
        return time.monotonic() - self._last >= self._every_s

    def _sealed(self, index: int, entry: Snapshot) -> bytes:
        facts = {"run": index, "fit": self._seal, "start": self._start, **entry.facts}
        tensors = {name: value.detach().cpu().contiguous() for name, value in entry.tensors.items()}
        return checksummed_safetensors(KIND, CHECKPOINT_FORMAT.text, json.dumps(facts), tensors)

    def _flush(self, state: bytes | None) -> None:
        """Write head, finished runs and current state, in this order, so that the files on disk are consistent at any time."""
        try:
            if self._fresh:
                discard(self._folder)
                self._folder.mkdir(parents=True, exist_ok=True)
                self._write(MARK, b"")
                self._write(HEAD, json.dumps(self._about, indent=1).encode())
                self._fresh = False
            while self._pending:
                self._write(_run_name(self._written), self._pending[0])
                self._written += 1
                self._pending.pop(0)
            if state is not None:
                self._write(STATE, state)
        except (OSError, OutputError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            raise OutputError(
                f"cannot write to {str(self._folder)!r}: {getattr(cause, 'strerror', None) or error}",
                hint="free some space, and resume with {resume=True}",
            ) from error
        self._last = time.monotonic()

    def _write(self, name: str, data: bytes) -> None:
        with whole_file(self._folder / name) as stream:
            stream.write(data)

    def _take_up(self) -> None:
        """Read all files of the checkpoint before any work is done."""
        if not exists(self._folder):
            return
        self._check_head()
        while (self._folder / _run_name(self._written)).exists():
            self._check(self._read(_run_name(self._written)), self._written, _run_name(self._written))
            self._written += 1
        runs = _run_files(self._folder)
        if len(runs) != self._written:
            self._refuse(f"{_run_name(self._written)} is missing")
        if (self._folder / STATE).exists():
            state = self._read(STATE)
            index = state.facts.get("run", -1)
            if not isinstance(index, int) or not 0 <= index <= self._written:
                self._refuse(f"{STATE} belongs to a run that did not begin")
            self._check(state, index, STATE)
            # The state of a run that has finished since is ignored.
            self._state = state if index == self._written else None
        self._fresh = False

    def _check_mark(self) -> None:
        """Refuse a link, and a folder without the mark of a checkpoint: its contents must not be replaced."""
        if not self._folder.is_symlink() and (self._folder / MARK).is_file():
            return
        what = "is a link" if self._folder.is_symlink() else f"is not a checkpoint: it has no mark, the file {MARK!r}"
        raise CheckpointError(f"{str(self._folder)!r} {what}", hint="move it away")

    def _check_head(self) -> None:
        try:
            found = read_settings((self._folder / HEAD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._refuse(f"{HEAD} is missing")
        except (OSError, ValueError) as error:
            self._refuse(f"{HEAD} cannot be read: {error}")
        if not isinstance(found.get("settings", {}), dict):
            self._refuse(f"{HEAD} is not what was written")
        if found.get("version") != CHECKPOINT_FORMAT.text:
            raise CheckpointError(**CHECKPOINT_FORMAT.mismatch(self._folder, found.get("version")))
        differences = _differences(found, self._about)
        if differences:
            raise CheckpointError(f"{str(self._folder)!r} belongs to another fit: {'; '.join(differences)}", hint=START_AGAIN)

    def _check(self, entry: Snapshot, index: int, name: str) -> None:
        if entry.facts.get("run") != index or entry.facts.get("fit") != self._seal or "start" not in entry.facts:
            self._refuse(f"{name} belongs to another fit")

    def _read(self, name: str) -> Snapshot:
        try:
            metadata, tensors = read_tensors(self._folder / name)
            text = metadata.get("settings", "")
            if metadata.get(KIND) != CHECKPOINT_FORMAT.text or metadata.get("sha256") != checksum(text, tensors):
                self._refuse(f"{name} was changed after it was written")
            facts = read_settings(text)
        except OSError as error:
            problem = f"{quoted(self._folder / name)} cannot be read: {error.strerror or error}"
            raise CheckpointError(problem, hint=f"check the permissions, or {START_AGAIN}") from None
        except ValueError as error:
            self._refuse(f"{name} cannot be read: {error}")
        return Snapshot(tensors, facts)

    def _refuse(self, reason: str) -> NoReturn:
        raise CheckpointError(f"{str(self._folder)!r} is damaged: {reason}", hint=START_AGAIN)


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


def exists(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder contains a checkpoint or part of one."""
    folder = Path(folder)
    return (folder / HEAD).exists() or (folder / STATE).exists() or bool(_run_files(folder))


def _run_files(folder: Path) -> list[str]:
    """Return the names of the files of finished runs, in order."""
    return sorted(path.name for path in folder.glob("run-*.safetensors") if _RUN.fullmatch(path.name))


def discard(folder: str | os.PathLike[str]) -> None:
    """Remove a checkpoint, complete or not; other files in its folder are kept, and then so is the folder.

    Nothing is removed from a folder without the mark of a checkpoint, or through a symbolic link.
    """
    folder = Path(folder)
    if folder.is_symlink() or not (folder / MARK).is_file():
        return
    # The head is removed last: a checkpoint without it is refused.
    for name in (STATE, *sorted(_run_files(folder), reverse=True), HEAD, *temporary_files(folder), MARK):
        remove_file(folder / name, folder)
    remove_empty(folder)


def folder_beside(out: str | os.PathLike[str]) -> Path:
    """Return the path of the checkpoint of a fit saved to ``out``: next to that folder, or inside it if that is impossible.

    >>> folder_beside("fits/bark-fit").name
    'bark-fit.checkpoint'
    """
    out = Path(out).absolute()
    return out / CHECKPOINT if is_inside_only(out) else out.parent / short_name(out.name, f".{CHECKPOINT}")


def _run_name(index: int) -> str:
    return f"run-{index:05d}.safetensors"


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Describe up to three differences between two heads."""
    flat = [_flat(one) for one in (found, wanted)]
    names = [name for name in {**flat[0], **flat[1]} if flat[0].get(name) != flat[1].get(name)]
    words = [f"{name} was {_shown(flat[0].get(name))} and is {_shown(flat[1].get(name))}" for name in names]
    return [*words[:3], *([f"{len(words) - 3} more"] if len(words) > 3 else [])]


def _flat(head: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in head.items():
        if isinstance(value, dict):
            flat |= _flat(value)
        else:
            flat[name] = value
    return flat


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
