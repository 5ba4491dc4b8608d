"""Stretching of time: attacks keep their speed, tracks their frequencies, noise its levels."""

from dataclasses import replace
from functools import partial

import torch

from ddaudio.editing.attacks import attacks_of
from ddaudio.editing.curves import Curve, CurveLike
from ddaudio.editing.editable import Edit, Editable
from ddaudio.editing.knots import inserted_at
from ddaudio.editing.noise_levels import at_times
from ddaudio.editing.rephasing import ready, rephased
from ddaudio.editing.time_map import Attacks, TimeMap, curve_map, fitted_attacks, with_attacks
from ddaudio.errors import OptionError
from ddaudio.models.noise.grid import STEP_S, NoiseGrid
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.synthesis.knots import segment_starts

LEAST, MOST = 0.01, 100.0
"""Factors that are allowed."""
MOST_SAMPLES = 1 << 29
"""Most samples of a stretched sound over all channels."""


def stretch(*, stretch: CurveLike) -> Edit | None:
    """Return the edit that stretches time; None for a factor of 1.

    Args:
        stretch: factor, or curve of factors, 0.01 to 100.

    """
    curve = Curve.of(stretch, "stretch", LEAST, MOST)
    return None if curve.is_always(1) else partial(stretched, factor=curve)


def stretched(sound: Editable, factor: Curve) -> Editable:
    """Return a sound of another duration.

    Between attacks, phases advance as much more as time does, so that frequencies stay. In an attack, from a few milliseconds
    before the onset to 20 ms after it, time keeps its speed and all phases are the stored ones, so that it has the waveform that
    it had.

    Args:
        sound: tracks and noise.
        factor: how many times as long, 0.01 to 100, over the time of ``sound``.

    """
    base = curve_map(factor, sound.n_samples, sound.sample_rate)
    n_samples = max(1, round(float(base.new[-1])))
    if n_samples * sound.shape[0] > MOST_SAMPLES:
        problem = f"the sound would have {n_samples} samples in {sound.shape[0]} channels"
        raise OptionError(problem, allowed=f"{MOST_SAMPLES} in all channels together")
    attacks = fitted_attacks(base, attacks_of(sound))
    return warped(sound, with_attacks(base, attacks), attacks)


def warped(sound: Editable, times: TimeMap, attacks: Attacks) -> Editable:
    """Return a sound in other times.

    Args:
        sound: tracks and noise.
        times: the map from its times.
        attacks: where the map has slope 1, and phases are the stored ones.

    """
    n_samples = max(1, round(float(times.new[-1])))
    most = float((times.new.diff() / times.old.diff()).max())
    sound = sound.with_tracks(ready(inserted_at(sound.knots, times.old), most))
    knots, left = sound.knots, segment_starts(sound.knots.counts)
    phase = rephased(sound, times.slopes(knots.position[left], knots.position[left + 1]), attacks)
    knots = knots._replace(position=times.at(knots.position), phase=phase)
    noise = None if sound.noise is None else _stretched_noise(sound.noise, times, n_samples)
    return replace(sound, knots=knots, noise=noise, shape=(sound.shape[0], n_samples))


def _stretched_noise(noise: NoiseNetwork, times: TimeMap, n_samples: int) -> NoiseNetwork:
    """Return noise with the levels that it had at the times that are mapped."""
    step = STEP_S * noise.sample_rate
    nodes = torch.arange(NoiseGrid(noise.sample_rate, n_samples).n_intervals + 1, dtype=torch.float64)
    return at_times(noise, times.inverse_at(nodes * step) / step, n_samples)
