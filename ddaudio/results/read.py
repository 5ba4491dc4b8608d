"""Reading of saved fits: report and sounds."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddaudio.errors import RecordingError, ReportError
from ddaudio.io import audio
from ddaudio.io.fit_files import NOISE, REPORT, RESIDUAL, RESYNTHESIS, WAVES
from ddaudio.io.paths import quoted
from ddaudio.io.samples import Samples, Scaled, Total
from ddaudio.results.report_file import parse_report


@dataclass(frozen=True)
class FitAudio:
    """The sounds of a fit, all of shape ``[C, T]``, full scale 1.0: original = waves + residual, resynthesis = waves + noise."""

    original: Samples
    resynthesis: Samples
    residual: Samples
    sample_rate: int
    """Samples per second."""
    waves: Samples | None = None
    """The waves of a model with noise; None where the resynthesis has no other part."""
    noise: Samples | None = None
    """The noise of a model with noise."""

    def __iter__(self) -> Iterator[Samples]:
        """Iterate over original, resynthesis and residual."""
        return iter((self.original, self.resynthesis, self.residual))

    def by_name(self) -> dict[str, Samples]:
        """Return the sounds by name: original, resynthesis, residual, and waves and noise of a model with noise."""
        parts = {} if self.waves is None or self.noise is None else {"waves": self.waves, "noise": self.noise}
        return {"original": self.original, "resynthesis": self.resynthesis, "residual": self.residual} | parts


def read_report(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check ``report.json`` of a fit's folder.

    Raises `ReportError` if it is missing, damaged, or of another schema.
    """
    folder = Path(folder)
    path = folder / REPORT
    if not os.path.isdir(folder):  # noqa: PTH112 - no error where it cannot be looked at
        what = "is a file" if os.path.exists(folder) else "does not exist"  # noqa: PTH110
        raise ReportError(f"{str(folder)!r} {what}", hint="give the folder of a fit, such as bark-fit")
    if not os.path.isfile(path):  # noqa: PTH113
        raise ReportError(f"{str(folder)!r} has no {REPORT}: no fit was completed there", hint="fit the recording again")
    try:
        return parse_report(path.read_bytes(), path)
    except OSError as error:
        raise ReportError(f"{quoted(path)} cannot be read: {error.strerror or error}", hint="check the permissions") from None


def original_file(report: dict[str, Any]) -> Path | None:
    """Return the path of the recording of a report, if the file still exists with the same samples."""
    path = Path(report["recording"]["source"])
    try:
        return path if audio.read(path).content_hash == report["recording"]["sha256"] else None
    except RecordingError:
        return None


def read_audio(folder: str | os.PathLike[str], report: dict[str, Any]) -> FitAudio:
    """Read the sounds of a fit with the given report; gains that were applied to avoid clipping are undone.

    The original is the sum of waves and residual: exact up to the rounding of their encoding.
    Raises `ReportError` if a WAV file is missing, cannot be read, or does not have the length given in the report.
    """
    recording = report["recording"]
    expected = recording["channels"], recording["samples"], recording["sample_rate"]
    names = (RESYNTHESIS, RESIDUAL, *(name for name in (WAVES, NOISE) if name in report["files"]))
    parts: list[Samples] = []
    for name in names:
        try:
            found = audio.read(Path(folder) / name)
        except RecordingError as error:
            problem = str(error).rsplit(";", 1)[0]  # without the remedy, which applies to recordings only
            raise ReportError(f"the fit in {str(folder)!r} is incomplete: {problem}", hint="fit the recording again") from None
        if (found.n_channels, found.n_samples, found.sample_rate) != expected:
            raise ReportError(f"{name} in {str(folder)!r} does not match {REPORT}", hint="fit the recording again")
        parts.append(Scaled(found.samples, 1 / report["wav"]["gains"][name]))
    resynthesis, residual, *rest = parts
    return FitAudio(Total([rest[0] if rest else resynthesis, residual]), resynthesis, residual, recording["sample_rate"], *rest)


def read_model_audio(folder: str | os.PathLike[str], report: dict[str, Any]) -> dict[str, Samples]:
    """Read the sounds of a model that was not fitted, by name: resynthesis, and waves and noise of a model with noise.

    Raises `ReportError` if a WAV file is missing, cannot be read, or does not have the length given in the report.
    """
    sound = report["sound"]
    names = {"resynthesis": RESYNTHESIS, "waves": WAVES, "noise": NOISE}
    sounds: dict[str, Samples] = {}
    for name, file in names.items():
        if file not in report["files"]:
            continue
        try:
            found = audio.read(Path(folder) / file)
        except RecordingError as error:
            problem = str(error).rsplit(";", 1)[0]
            raise ReportError(f"the model in {str(folder)!r} is incomplete: {problem}", hint="make it again") from None
        if (found.n_channels, found.n_samples, found.sample_rate) != (sound["channels"], sound["samples"], sound["sample_rate"]):
            raise ReportError(f"{file} in {str(folder)!r} does not match {REPORT}", hint="make it again")
        sounds[name] = Scaled(found.samples, 1 / report["wav"]["gains"][file])
    return sounds
