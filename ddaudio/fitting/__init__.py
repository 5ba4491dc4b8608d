"""Fitting: from a recording to a model and its metrics."""

from ddaudio.fitting.plan import FitPlan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit, fit_many, plan_fit

__all__ = ["FitPlan", "FitResult", "fit", "fit_many", "plan_fit"]
