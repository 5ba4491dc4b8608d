"""Fitting: from a recording to a model and its metrics."""

from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit

__all__ = ["FitResult", "fit"]
