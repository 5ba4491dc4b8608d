"""The files of a checkpoint, and how they are read and checked.

The folder contains ``checkpoint.json`` (the head: recording, settings and versions of the fit), one file
``run-00000.safetensors`` and so on for each finished run, and ``state.safetensors`` for the current one. Each file is written
to a temporary name, then renamed.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from torch import Tensor

from ddaudio.errors import CheckpointError
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


class CheckpointFiles:
    """Reads and writes the files of the checkpoint of one fit.

    Args:
        folder: path of the checkpoint.
        about: description of the fit, serialisable as JSON; files of another fit are refused.

    """

    def __init__(self, folder: str | os.PathLike[str], about: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._about = {"version": CHECKPOINT_FORMAT.text, **json.loads(json.dumps(about))}
        self._seal = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).hexdigest()

    def packed(self, index: int, start: str, entry: Snapshot) -> bytes:
        """Return a snapshot of run ``index`` as a file, with the checksum ``start`` of its initial parameters."""
        facts = {"run": index, "fit": self._seal, "start": start, **entry.facts}
        tensors = {name: value.detach().cpu().contiguous() for name, value in entry.tensors.items()}
        return checksummed_safetensors(KIND, CHECKPOINT_FORMAT.text, json.dumps(facts), tensors)

    def write(self, name: str, data: bytes) -> None:
        """Write a file; raises `OutputError`."""
        with whole_file(self.folder / name) as stream:
            stream.write(data)

    def start(self) -> None:
        """Remove an older checkpoint, and write mark and head; raises OSError or `OutputError`."""
        discard(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write(MARK, b"")
        self.write(HEAD, json.dumps(self._about, indent=1).encode())

    def read_all(self) -> tuple[int, Snapshot | None]:
        """Read all files; return the number of finished runs and the state of the current one, if there is one.

        Raises `CheckpointError` where something is damaged, missing or of another fit.
        """
        self._check_head()
        count = 0
        while (self.folder / run_name(count)).exists():
            self._check(self.read(run_name(count)), count, run_name(count))
            count += 1
        if len(_run_files(self.folder)) != count:
            self._refuse(f"{run_name(count)} is missing")
        if not (self.folder / STATE).exists():
            return count, None
        state = self.read(STATE)
        index = state.facts.get("run", -1)
        if not isinstance(index, int) or not 0 <= index <= count:
            self._refuse(f"{STATE} belongs to a run that did not begin")
        self._check(state, index, STATE)
        # The state of a run that has finished since is ignored.
        return count, state if index == count else None

    def check_mark(self) -> None:
        """Refuse a link, and a folder without the mark of a checkpoint: its contents must not be replaced."""
        if not self.folder.is_symlink() and (self.folder / MARK).is_file():
            return
        what = "is a link" if self.folder.is_symlink() else f"is not a checkpoint: it has no mark, the file {MARK!r}"
        raise CheckpointError(f"{str(self.folder)!r} {what}", hint="move it away")

    def _check_head(self) -> None:
        try:
            found = read_settings((self.folder / HEAD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._refuse(f"{HEAD} is missing")
        except (OSError, ValueError) as error:
            self._refuse(f"{HEAD} cannot be read: {error}")
        if not isinstance(found.get("settings", {}), dict):
            self._refuse(f"{HEAD} is not what was written")
        if found.get("version") != CHECKPOINT_FORMAT.text:
            raise CheckpointError(**CHECKPOINT_FORMAT.mismatch(self.folder, found.get("version")))
        differences = _differences(found, self._about)
        if differences:
            raise CheckpointError(f"{str(self.folder)!r} belongs to another fit: {'; '.join(differences)}", hint=START_AGAIN)

    def _check(self, entry: Snapshot, index: int, name: str) -> None:
        if entry.facts.get("run") != index or entry.facts.get("fit") != self._seal or "start" not in entry.facts:
            self._refuse(f"{name} belongs to another fit")

    def read(self, name: str) -> Snapshot:
        """Return the contents of a file; raises `CheckpointError` if it cannot be read or was changed."""
        try:
            metadata, tensors = read_tensors(self.folder / name)
            text = metadata.get("settings", "")
            if metadata.get(KIND) != CHECKPOINT_FORMAT.text or metadata.get("sha256") != checksum(text, tensors):
                self._refuse(f"{name} was changed after it was written")
            facts = read_settings(text)
        except OSError as error:
            problem = f"{quoted(self.folder / name)} cannot be read: {error.strerror or error}"
            raise CheckpointError(problem, hint=f"check the permissions, or {START_AGAIN}") from None
        except ValueError as error:
            self._refuse(f"{name} cannot be read: {error}")
        return Snapshot(tensors, facts)

    def _refuse(self, reason: str) -> NoReturn:
        raise CheckpointError(f"{str(self.folder)!r} is damaged: {reason}", hint=START_AGAIN)


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


def run_name(index: int) -> str:
    """Return the name of the file of a finished run."""
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
