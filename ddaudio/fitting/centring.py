"""Constant offsets of recordings: stored as parameters of their own, so that goals and metrics are about what can be heard.

An offset has energy, but no sound. Left in the target, it meets a goal in dB by itself, and costs components in every cell: of
0.5 plus a tone at -34 dB, 26 partials of 83 parameters model the offset well enough for the tone to appear, in place of 1.
"""

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from ddaudio.fitting.plan import FitPlan, make_plan
from ddaudio.io.audio import Recording
from ddaudio.io.samples import shifted
from ddaudio.options import FitOptions

LEAST_SHARE = 1 - 10**-0.05
"""Share of the energy from which on an offset is stored: with it, an SNR rises by 0.5 dB."""
LEAST_S = 0.05
"""Shortest recording in seconds with an offset: a period of 20 Hz, the lowest frequency that is heard."""


class CentredPlan(NamedTuple):
    """A recording without its offset, and the plan of its fit."""

    offset: Tensor | None
    """The offset of each channel, ``[C]``; None for none."""
    target: Recording
    plan: FitPlan


def plan_centred(recording: Recording, options: FitOptions) -> CentredPlan:
    """Return the offset of a recording, the recording without it, and the plan of its fit; raises as `make_plan` does."""
    offset = offset_of(recording)
    target = centred(recording, offset)
    return CentredPlan(offset, target, with_room(make_plan(target, options), offset, target.energy))


def offset_of(recording: Recording) -> Tensor | None:
    """Return the offset of each channel, its mean, ``[C]`` float32; None where it does not matter."""
    energy = recording.n_samples * float(recording.means.square().sum())
    if recording.duration_s < LEAST_S or not energy > LEAST_SHARE * recording.energy:
        return None
    return recording.means.float()


def centred(recording: Recording, offset: Tensor | None) -> Recording:
    """Return the recording without its offset; the same object where it has none."""
    return recording if offset is None else replace(recording, samples=shifted(recording.samples, -offset))


def with_room(plan: FitPlan, offset: Tensor | None, energy: float) -> FitPlan:
    """Return the plan of a recording of some ``energy`` with the parameters of the offset taken off its stages.

    Networks whose size follows from widths keep all of their frames.
    """
    if offset is None:
        return plan
    stages = [stage if stage.network.has_widths else stage.with_spent(offset.numel(), energy, energy) for stage in plan.stages]
    noise = plan.noise
    if noise is not None and noise.budget is not None:
        noise = replace(noise, budget=max(0, noise.budget - offset.numel()))
    return replace(plan, stages=tuple(stages), noise=noise)
