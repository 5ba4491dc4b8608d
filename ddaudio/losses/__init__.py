"""Losses between estimate and target, one value per signal.

A loss maps ``estimate, target [B, T]`` to ``[B]``, finite and with a finite gradient on silence, on a constant and on a
single sample. `Objective` is the weighted sum of named terms that is minimised in training. ``docs/losses.md`` describes what
each loss is insensitive to, with measured results.
"""

from ddaudio.losses.all_pairs import all_pairs
from ddaudio.losses.base import Loss, StepInfo
from ddaudio.losses.differences import NEAR_LAGS, first_difference, pdl, slope
from ddaudio.losses.objective import LONGEST_CROPS_S, Expansion, Objective, weighting_of
from ddaudio.losses.penalties import zero
from ddaudio.losses.pointwise import huber, mae, mse
from ddaudio.losses.registry import make_loss
from ddaudio.losses.spectral import MSS_DEFAULT, mss
from ddaudio.losses.stft import MAGNITUDE_FLOOR, Resolution, magnitudes

__all__ = [
    "LONGEST_CROPS_S",
    "MAGNITUDE_FLOOR",
    "MSS_DEFAULT",
    "NEAR_LAGS",
    "Expansion",
    "Loss",
    "Objective",
    "Resolution",
    "StepInfo",
    "all_pairs",
    "first_difference",
    "huber",
    "mae",
    "magnitudes",
    "make_loss",
    "mse",
    "mss",
    "pdl",
    "slope",
    "weighting_of",
    "zero",
]
