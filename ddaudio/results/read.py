"""A fit's folder, read again: its report and its sounds."""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddaudio.errors import RecordingError, ReportError
from ddaudio.io import audio
from ddaudio.io.fit_files import REPORT, RESIDUAL, RESYNTHESIS
from ddaudio.io.paths import quoted
from ddaudio.io.samples import Samples, Scaled, Total

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SCHEMA = 6
"""Version of the report's schema; it rises with every change that a reader could stumble over."""


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
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ReportError(f"{str(folder)!r} {what}", hint="give the folder of a fit, such as bark-fit")
    if not path.is_file():
        raise ReportError(f"{str(folder)!r} has no {REPORT}: no fit was completed there", hint="fit the recording again")
    try:
        contents = json.loads(path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite, parse_int=_whole)
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(f"{str(path)!r} is damaged: {error}", hint="fit the recording again") from None
    found = contents.get("schema") if isinstance(contents, dict) else None
    if isinstance(found, int) and found != SCHEMA:
        remedy = "update ddaudio" if found > SCHEMA else "fit the recording again"
        what = f"has schema {found}, which the ddaudio that wrote it reads; this one reads schema {SCHEMA}"
        raise ReportError(f"{quoted(path)} {what}", hint=remedy)
    try:
        problem = next(iter(sorted(_validator().iter_errors(contents), key=lambda error: error.json_path)), None)
    except RecursionError as error:
        raise ReportError(f"{str(path)!r} is damaged: {error}", hint="fit the recording again") from None
    if problem is not None:
        raise ReportError(
            f"{str(path)!r} is damaged at {problem.json_path}: {problem.message[:200]}", hint="fit the recording again"
        )
    return dict(contents)


def _finite(text: str) -> float:
    """Return the number that JSON text stands for; raises ValueError for NaN and infinity, which JSON has not."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def _whole(text: str) -> int:
    """Return the whole number that JSON text stands for; raises ValueError for one that no float can hold."""
    _finite(text)
    return int(text)


@cache
def _validator() -> "Validator":
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow to import

    return Draft202012Validator(json.loads((files("ddaudio.results") / "report.schema.json").read_text(encoding="utf-8")))


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
