"""The drift of recordings, stored as parameters of its own, so that goals and metrics are about what can be heard.

What is below 20 Hz has energy, but no sound. Left in the target, it meets a goal in dB by itself, and costs components in every
cell: of 0.5 plus a tone at -34 dB, 26 partials of 83 parameters model the offset well enough for the tone to appear.
"""

import math
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from ddaudio.analysis.detrending import project
from ddaudio.fitting.budget import allowance
from ddaudio.fitting.plan import FitPlan, make_plan
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Difference
from ddaudio.options import FitOptions, ModelOptions
from ddaudio.synthesis.drift import Drift, intervals, n_coefficients

LEAST_SHARE = 1 - 10**-0.05
"""Share of the energy from which on a drift is stored: with it, an SNR rises by 0.5 dB."""
LEFT_SHARE = 0.01
"""Energy below 20 Hz that the drift may leave, relative to that above: white noise has as much at 4 kHz."""
ROUNDING = 1e-10
"""The same relative to all energy, for recordings of nothing but drift."""
LARGEST_SHARE = 0.5
"""Share of a budget or a cap up to which parameters are spent on the drift."""
LEAST_S, LEAST_CURVE_S = 0.05, 0.375
"""Shortest recordings in seconds whose offset is stored, a period of 20 Hz, and whose curve is."""


class DetrendedPlan(NamedTuple):
    """A recording without its drift, and the plan of its fit."""

    drift: Drift | None
    """The drift of each channel; None for none."""
    target: Recording
    plan: FitPlan


def plan_detrended(recording: Recording, options: FitOptions) -> DetrendedPlan:
    """Return the drift of a recording, the recording without it, and the plan of its fit; raises as `make_plan` does."""
    # Ones and zeros have a mean, and remain ones and zeros.
    drift = drift_of(recording, options.model) if options.input.cut is None else None
    target = detrended(recording, drift)
    return DetrendedPlan(drift, target, with_room(make_plan(target, options), drift, target.energy))


def drift_of(recording: Recording, model: ModelOptions) -> Drift | None:
    """Return the drift of a recording, None where it does not matter: the coarsest that leaves `LEFT_SHARE`.

    Where the parameters of the model have no room for it, the finest that they have room for.
    """
    shape = recording.n_channels, recording.n_samples
    if recording.duration_s < LEAST_S or not recording.energy > 0:
        return None
    lengths = [0] if recording.duration_s < LEAST_CURVE_S else [0, *intervals(recording.sample_rate, recording.n_samples)]
    slow = project(recording.samples, lengths[-1]).energy
    if not slow > LEAST_SHARE * recording.energy:
        return None
    most = _room(model, *shape)
    left = LEFT_SHARE * (recording.energy - slow) + ROUNDING * recording.energy
    found = project(recording.samples, lengths[0])
    for length in lengths[1:]:
        if slow - found.energy <= left or shape[0] * n_coefficients(length, shape[1]) > most:
            break
        found = project(recording.samples, length)
    return Drift(found.coefficients.float(), recording.sample_rate, recording.n_samples)


def _room(model: ModelOptions, n_channels: int, n_samples: int) -> float:
    """Return how many parameters the drift of a recording may have."""
    most = allowance(model, n_channels, n_samples)
    return LARGEST_SHARE * most if most else math.inf


def detrended(recording: Recording, drift: Drift | None) -> Recording:
    """Return the recording without its drift; the same object where it has none."""
    if drift is None:
        return recording
    left = Difference(recording.samples, drift)
    return replace(recording, samples=left[:, :] if isinstance(recording.samples, Tensor) else left)


def with_room(plan: FitPlan, drift: Drift | None, energy: float) -> FitPlan:
    """Return the plan of a recording of some ``energy`` with the parameters of the drift taken off its stages.

    Networks whose size follows from widths keep all of their frames.
    """
    if drift is None:
        return plan
    spent = drift.coefficients.numel()
    stages = [stage if stage.network.has_widths else stage.with_spent(spent, energy, energy) for stage in plan.stages]
    noise = plan.noise
    if noise is not None and noise.budget is not None:
        noise = replace(noise, budget=max(0, noise.budget - spent))
    return replace(plan, stages=tuple(stages), noise=noise)
