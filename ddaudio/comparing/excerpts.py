"""Excerpts: the part of each recording that is fitted, either its loudest stretch (as a separate file) or the whole."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddaudio.analysis.loudest import loudest
from ddaudio.errors import OptionError
from ddaudio.io import audio
from ddaudio.io.atomic import check_inside
from ddaudio.io.audio import Recording
from ddaudio.io.fit_files import ENDING
from ddaudio.io.paths import folder_of, printable
from ddaudio.io.wav import write_wav


@dataclass(frozen=True)
class Excerpt:
    """The part of a recording that is fitted."""

    source: str
    """Path of the recording."""
    name: str
    """Name in tables: the shortest end of the path that distinguishes it from the other recordings."""
    folder: str
    """Name of its folder: a safe file name, unique to this sound."""
    content_hash: str
    n_channels: int
    n_samples: int
    sample_rate: int
    begin_s: float
    """Start of the excerpt within the recording, in seconds."""
    warnings: tuple[str, ...]
    """Problems found while the recording was read."""
    samples: Tensor | None = field(repr=False)
    """Samples of the excerpt; None if the recording's own file is used unchanged."""

    def facts(self) -> dict[str, Any]:
        """Return the description stored in ``compare.json``."""
        told = {name: getattr(self, name) for name in ("name", "source", "begin_s", "sample_rate")}
        sizes = {"channels": self.n_channels, "duration_s": self.n_samples / self.sample_rate}
        return {**told, **sizes, "sha256": self.content_hash, "warnings": list(self.warnings)}

    def place(self, folder: Path) -> str:
        """Return the path of the sound file to fit, written below ``folder`` unless the recording's own file is used."""
        if self.samples is None:
            return str(Path(self.source).absolute())
        path = folder.absolute() / f"{self.folder}.wav"
        check_inside(folder.parent, path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, self.samples, self.sample_rate, "float32")
        return str(path)


def read_stretches(
    paths: Sequence[str | os.PathLike[str]], stretch_s: float, sample_rate: int | None, *, whole: bool
) -> list[Excerpt]:
    """Read recordings and return the loudest stretch of each; raises `RecordingError`, and `OptionError` on duplicates."""
    files = [Path(path) for path in paths]
    absolute = [path.parent.resolve() / path.name for path in files]
    for place, path in enumerate(absolute):
        if path in absolute[:place]:
            raise OptionError(f"{str(files[place])!r} is given twice", hint="give each recording once")
    above = _common_folder(absolute)
    found = []
    for file, path in zip(files, absolute, strict=True):
        parts = path.parts if above is None else path.relative_to(above).parts
        recording = audio.read(file, sample_rate)
        rate = recording.sample_rate
        first, length = (0, recording.n_samples) if whole else loudest(recording, max(1, round(stretch_s * rate)))
        samples, warnings = None, recording.warnings
        # A resampled recording differs from its file and is written anew.
        if length < recording.n_samples or sample_rate is not None:
            samples = torch.as_tensor(recording.samples[:, first : first + length]).clone()
            recording = Recording(samples, rate, recording.source)
        folder = f"{folder_of([path.name]).removesuffix(ENDING)}-{recording.content_hash[:8]}"
        facts = recording.content_hash, recording.n_channels, length, rate, first / rate, warnings
        found.append(Excerpt(str(file), printable("/".join(parts)), folder, *facts, samples))
    return found


def _common_folder(paths: Sequence[Path]) -> Path | None:
    """Return the deepest folder that contains all paths; None if they are on several drives."""
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        return None
