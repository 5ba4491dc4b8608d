"""A fit's folder, read again: its report and its sounds."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddaudio.errors import RecordingError, ReportError
from ddaudio.io import audio
from ddaudio.io.fit_files import REPORT, RESIDUAL, RESYNTHESIS
from ddaudio.io.paths import quoted
from ddaudio.io.samples import Samples, Scaled, Total
from ddaudio.results.report_file import parse_report


@dataclass(frozen=True)
class FitAudio:
    """The three sounds of a fit, of one shape ``[C, T]``, full scale 1.0: original = resynthesis + residual."""

    original: Samples
    resynthesis: Samples
    residual: Samples
    sample_rate: int
    """Samples per second."""

    def __iter__(self) -> Iterator[Samples]:
        """Go through original, resynthesis, residual."""
        return iter((self.original, self.resynthesis, self.residual))


def read_report(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check ``report.json`` of a fit's folder.

    Raises `ReportError` where there is none, or it is damaged, or of another schema.
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
    """Return the recording that a report tells of, if it still lies where it was and has the same samples."""
    path = Path(report["recording"]["source"])
    try:
        return path if audio.read(path).content_hash == report["recording"]["sha256"] else None
    except RecordingError:
        return None


def read_audio(folder: str | os.PathLike[str], report: dict[str, Any]) -> FitAudio:
    """Read the sounds of a fit whose report is given; what they were scaled by so as not to clip is taken back.

    The original is the sum of the other two: exact up to the rounding of their encoding.
    Raises `ReportError` when a WAV is missing, cannot be read, or is not of the length that the report says.
    """
    recording = report["recording"]
    expected = recording["channels"], recording["samples"], recording["sample_rate"]
    parts: list[Samples] = []
    for name in (RESYNTHESIS, RESIDUAL):
        try:
            found = audio.read(Path(folder) / name)
        except RecordingError as error:
            problem = str(error).rsplit(";", 1)[0]  # what to do about a recording is not what to do about a fit
            raise ReportError(f"the fit in {str(folder)!r} is incomplete: {problem}", hint="fit the recording again") from None
        if (found.n_channels, found.n_samples, found.sample_rate) != expected:
            raise ReportError(f"{name} in {str(folder)!r} does not match {REPORT}", hint="fit the recording again")
        parts.append(Scaled(found.samples, 1 / report["wav"]["gains"][name]))
    resynthesis, residual = parts
    return FitAudio(Total(parts), resynthesis, residual, recording["sample_rate"])
