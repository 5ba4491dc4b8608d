"""Fitting: from a recording to a model and its metrics."""

from ddaudio.fitting.plan import FitPlan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit, plan_fit

__all__ = ["FitPlan", "FitResult", "fit", "plan_fit"]
