"""Records of fits, from which pages and figures are made."""

import os
from dataclasses import dataclass
from typing import Any

from ddaudio.errors import ReportError
from ddaudio.fitting.result import FitResult
from ddaudio.models import Network
from ddaudio.models.file import load_model
from ddaudio.results.model_report import is_model
from ddaudio.results.read import FitAudio, read_audio, read_report
from ddaudio.results.report_json import build


@dataclass(frozen=True)
class FitRecord:
    """Report, sounds and network of a fit, either from memory or from its folder."""

    report: dict[str, Any]
    """Contents of ``report.json``."""
    sounds: FitAudio
    """Original, resynthesis and residual."""
    network: Network
    """The model."""

    @classmethod
    def of(cls, result: FitResult) -> "FitRecord":
        """Return the record of a fit in memory."""
        return cls(build(result), audio_of(result), result.network)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "FitRecord":
        """Read a fit's folder; raises `ReportError` or `ModelError` if it is incomplete."""
        report = read_report(folder)
        if is_model(report):
            problem = f"{os.fspath(folder)!r} is a model that was not fitted: it has no recording to be compared with"
            raise ReportError(problem, hint="give the folder of a fit")
        sounds, network = read_audio(folder, report), load_model(folder)
        model, found = report["model"], (network.title, network.n_parameters(), network.shape, network.sample_rate)
        if found != (model["name"], model["n_parameters"], sounds.original.shape, sounds.sample_rate):
            raise ReportError(f"the model in {os.fspath(folder)!r} does not match its report", hint="fit the recording again")
        return cls(report, sounds, network)


def audio_of(result: FitResult) -> FitAudio:
    """Return the sounds of a fit in memory."""
    parts = (None, None) if result.noise is None else (result.waves, result.noise)
    return FitAudio(result.recording.samples, result.estimate, result.residual, result.recording.sample_rate, *parts)
