"""Checkpoints: what lets a fit that was killed go on, and end bit for bit where an unbroken one does.

A fit is a deterministic programme of its recording and settings, in which `ddaudio.training.trainer.train` takes nearly all the
time. So no more is kept than what training did: of each finished run of `train` the parameters it ended with and its
history, in the order of the runs, and of the run under way everything that its next step depends on. A fit that goes on
begins at the beginning; a run that is finished is looked up instead of trained, one that was under way goes on from its
last checkpoint. Parameters that a run begins with are checked against those of the first time: where a machine computes
differently, the checkpoint is refused.

The folder holds ``checkpoint.json`` (what was fitted, with which settings and versions), ``run-00000.safetensors`` and so
on (one for each finished run), and ``state.safetensors`` (the run under way). Each file is written beside, then renamed.
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
from ddaudio.io.paths import quoted, short_name
from ddaudio.io.tensor_file import checksum, checksummed_safetensors, read_settings, read_tensors

VERSION = "2"
"""Version of the checkpoint; others are refused."""
KIND = "ddaudio_checkpoint"
"""Name of the version in the files' metadata."""
HEAD, STATE, MARK = "checkpoint.json", "state.safetensors", ".ddaudio"
"""Names of files; only a folder with the mark is ever cleared."""
_RUN = re.compile(r"run-[0-9]{5,}\.safetensors")
START_AGAIN = "leave {resume} out and set {force=True} to start again"


class Snapshot(NamedTuple):
    """Tensors by name, and facts that JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class ResumeState(NamedTuple):
    """What is known of a run of training that begins."""

    finished: Snapshot | None = None
    """How it ended, the first time."""
    under_way: Snapshot | None = None
    """Where it was last, if it did not end."""


class TrainingLog:
    """Where training notes how far it is. This one notes nothing; see `Checkpoint`."""

    def begin(self, parameters: Sequence[Tensor]) -> ResumeState:
        """Begin the next run of training, from some ``parameters``; return what is known of it."""
        del parameters
        return ResumeState()

    def note(self, state: Callable[[], Snapshot]) -> None:
        """Note the state of the run under way after a step, if it is time; it is computed only then."""

    def end(self, result: Callable[[], Snapshot]) -> None:
        """Note how the run ended."""


class Checkpoint(TrainingLog):
    """A folder that holds how far a fit is.

    Args:
        folder: where it is, or will be when there is something to write.
        about: what was asked for, as JSON holds it: a checkpoint of anything else is refused.
        every_s: seconds between two times of writing; 0 writes at each step.
        resume: go on from what the folder holds, if it holds anything.
        force: start afresh even if it holds a fit that is under way; its files are removed at the first time of writing.

    Raises `CheckpointError` if the folder holds a fit and neither ``resume`` nor ``force`` is given, or if it is damaged or
    belongs to another fit and ``resume`` is given; `OutputError` if it cannot be written.

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
        self._about = {"version": VERSION, **json.loads(json.dumps(about))}
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
        """Begin the next run of training; raises `CheckpointError` if the first time it began with other parameters."""
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
        """Write the state of the run under way, if it is time."""
        if self._is_time():
            self._flush(self._sealed(self._index, state()))

    def end(self, result: Callable[[], Snapshot]) -> None:
        """Keep how the run ended, and write it if it is time."""
        self._pending.append(self._sealed(self._index, result()))
        self._index += 1
        if self._is_time():
            self._flush(None)

    def _is_time(self) -> bool:
        return time.monotonic() - self._last >= self._every_s

    def _sealed(self, index: int, entry: Snapshot) -> bytes:
        facts = {"run": index, "fit": self._seal, "start": self._start, **entry.facts}
        tensors = {name: value.detach().cpu().contiguous() for name, value in entry.tensors.items()}
        return checksummed_safetensors(KIND, VERSION, json.dumps(facts), tensors)

    def _flush(self, state: bytes | None) -> None:
        """Write the head, finished runs, and the run under way, in this order: whatever is on disk at any time is whole."""
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
        """Read what the folder holds, all of it before any work is done."""
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
            # One of a run that has ended since is of no use any more.
            self._state = state if index == self._written else None
        self._fresh = False

    def _check_mark(self) -> None:
        """Refuse a link, and a folder that no checkpoint was written to by this version: what is in it is not to be replaced."""
        if not self._folder.is_symlink() and (self._folder / MARK).is_file():
            return
        what = (
            "is a link" if self._folder.is_symlink() else f"is not a checkpoint of version {VERSION}, which this ddaudio resumes"
        )
        raise CheckpointError(f"{str(self._folder)!r} {what}", hint="resume it with the ddaudio that wrote it, or move it away")

    def _check_head(self) -> None:
        try:
            found = read_settings((self._folder / HEAD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._refuse(f"{HEAD} is missing")
        except (OSError, ValueError) as error:
            self._refuse(f"{HEAD} cannot be read: {error}")
        if not isinstance(found.get("settings", {}), dict):
            self._refuse(f"{HEAD} is not what was written")
        if found.get("version") != VERSION:
            problem = f"{quoted(self._folder)} is a checkpoint of version {str(found.get('version'))[:20]}"
            problem += f", which the ddaudio that wrote it resumes; this one resumes version {VERSION}"
            raise CheckpointError(problem, hint=START_AGAIN)
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
            if metadata.get(KIND) != VERSION or metadata.get("sha256") != checksum(text, tensors):
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
    """Return the tensors ``name.0``, ``name.1`` and so on of an entry, of the shapes and types of others.

    Raises `CheckpointError` if they are others.
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
    """Return whether a folder holds a checkpoint, or part of one."""
    folder = Path(folder)
    return (folder / HEAD).exists() or (folder / STATE).exists() or bool(_run_files(folder))


def _run_files(folder: Path) -> list[str]:
    """Return the names of the files of finished runs, in order."""
    return sorted(path.name for path in folder.glob("run-*.safetensors") if _RUN.fullmatch(path.name))


def discard(folder: str | os.PathLike[str]) -> None:
    """Remove a checkpoint, whole or not; other files in its folder stay, and then so does the folder.

    Nothing is removed from a folder without the mark of a checkpoint, or through a link.
    """
    folder = Path(folder)
    if folder.is_symlink() or not (folder / MARK).is_file():
        return
    # The head goes last: without it the rest is refused.
    for name in (STATE, *sorted(_run_files(folder), reverse=True), HEAD, *temporary_files(folder), MARK):
        remove_file(folder / name, folder)
    remove_empty(folder)


def folder_beside(out: str | os.PathLike[str]) -> Path:
    """Return where the checkpoint of a fit lies that goes to the folder ``out``: beside it, or in it where that cannot be.

    >>> folder_beside("fits/bark-fit").name
    'bark-fit.checkpoint'
    """
    out = Path(out).absolute()
    return out / CHECKPOINT if is_inside_only(out) else out.parent / short_name(out.name, f".{CHECKPOINT}")


def _run_name(index: int) -> str:
    return f"run-{index:05d}.safetensors"


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return what differs between two heads, in words, three of them at most."""
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
