"""What pages and figures are made from: a fit's report, its sounds and its network."""

import os
from dataclasses import dataclass
from typing import Any

from ddaudio.errors import ReportError
from ddaudio.fitting.result import FitResult
from ddaudio.models import Network
from ddaudio.models.file import load_model
from ddaudio.results.read import FitAudio, read_audio, read_report
from ddaudio.results.report_json import build


@dataclass(frozen=True)
class FitRecord:
    """A fit, whether it has just been made or was read from its folder."""

    report: dict[str, Any]
    """As ``report.json`` holds it."""
    sounds: FitAudio
    """Original, resynthesis and residual."""
    network: Network
    """The model."""

    @classmethod
    def of(cls, result: FitResult) -> "FitRecord":
        """Return what a fit in memory has to show."""
        sounds = FitAudio(result.recording.samples, result.estimate, result.residual, result.recording.sample_rate)
        return cls(build(result), sounds, result.network)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "FitRecord":
        """Read a fit's folder; raises `ReportError` or `ModelError` where it is not whole."""
        report = read_report(folder)
        sounds, network = read_audio(folder, report), load_model(folder)
        model, found = report["model"], (network.title, network.n_parameters(), network.shape, network.sample_rate)
        if found != (model["name"], model["n_parameters"], sounds.original.shape, sounds.sample_rate):
            raise ReportError(f"the model in {os.fspath(folder)!r} does not match its report", hint="fit the recording again")
        return cls(report, sounds, network)
