"""Reversal of time."""

from dataclasses import replace

import torch

from ddaudio.editing.editable import Edit, Editable
from ddaudio.editing.knots import in_order, owners
from ddaudio.editing.noise_levels import at_times
from ddaudio.models.noise.grid import STEP_S


def reverse(*, reverse: bool) -> Edit | None:
    """Return the edit that reverses time; None if ``reverse`` is false."""
    return reversed_in_time if reverse else None


def reversed_in_time(sound: Editable) -> Editable:
    """Return a sound that runs backwards: tracks to the sample, noise by its levels."""
    knots, last = sound.knots, sound.n_samples - 1
    # Tracks stay in their order; the knots of each are reversed.
    starts = knots.counts.cumsum(0) - knots.counts
    owner = owners(knots)
    index = (2 * starts + knots.counts - 1)[owner] - torch.arange(len(owner))
    columns = last - knots.position[index], knots.amplitude[index], knots.frequency[index], -knots.phase[index]
    turned, signal = in_order(knots._replace(**dict(zip(knots._fields[1:], columns, strict=True))), sound.signal)
    noise = sound.noise
    if noise is not None and noise.n_components():
        nodes = torch.arange(noise.grid.n_intervals + 1, dtype=torch.float64)
        noise = at_times(noise, last / (STEP_S * sound.sample_rate) - nodes, sound.n_samples)
    return replace(sound, knots=turned, signal=signal, noise=noise)
