"""Models of tracks for tests of edits: all of their frequencies, levels and phases are known."""

import cmath
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ddaudio.editing.knots import joined
from ddaudio.models.base import Network, Signals
from ddaudio.models.tracks.knots import Tracks
from ddaudio.models.tracks.network import TracksNetwork
from ddaudio.synthesis.knots import Knots

RATE = 16000
EVERY = 160
"""Distance of knots in samples."""


def track(hz: float, amplitude: float, first: int, last: int, phase: float = 0.0, channel: int = 0) -> tuple[Knots, Tensor]:
    """Return a sinusoid between two samples as one track."""
    position = torch.arange(first, last + 1, EVERY).double()
    w = torch.full_like(position, 2 * math.pi * hz / RATE)
    knots = Knots(
        torch.tensor([len(position)]), position, torch.full_like(position, amplitude), w, phase + w * (position - first)
    )
    return knots, torch.tensor([channel])


def model(parts: Sequence[tuple[Knots, Tensor]], n_samples: int, channels: int = 1) -> Network:
    """Return a model of tracks."""
    knots, signal = joined(list(parts))
    return TracksNetwork(Signals(RATE, channels, n_samples), tracks=Tracks(knots, signal), step=1)


def harmonic(f0: float, levels: Sequence[float], seconds: float, phases: Sequence[float] | None = None) -> Network:
    """Return a steady tone with the given amplitudes of its harmonics."""
    n_samples = round(seconds * RATE)
    given = [0.3 * number for number in range(len(levels))] if phases is None else phases
    parts = [track(f0 * (n + 1), level, 0, n_samples - 1, given[n]) for n, level in enumerate(levels)]
    return model(parts, n_samples)


def sound(network: Network) -> Tensor:
    """Return the samples of a model, ``[C, T]`` float64."""
    return torch.stack([term.estimate().detach() for term in network.terms]).sum(0).double()


def level_at(samples: Tensor, hz: float) -> complex:
    """Return amplitude and phase of a sinusoid in the middle half of samples ``[T]``, with a Hann window."""
    count = len(samples) // 2
    part = samples[count // 2 : count // 2 + count].double()
    window = torch.hann_window(count, periodic=False, dtype=torch.float64)
    at = torch.arange(count).double() + count // 2
    wave = torch.polar(window, -2 * math.pi * hz / RATE * at)
    return complex(2 * (part * wave).sum() / window.sum())


def frequency_near(samples: Tensor, hz: float) -> float:
    """Return the frequency of a sinusoid near ``hz`` from its phase in the two halves of samples ``[T]``."""
    half = len(samples) // 2
    first, second = level_at(samples[:half], hz), level_at(samples[half : 2 * half], hz)
    turn = cmath.phase(second) - cmath.phase(first) - 2 * math.pi * hz / RATE * half
    return hz + math.remainder(turn, 2 * math.pi) * RATE / (2 * math.pi * half)


def cents(one: float, other: float) -> float:
    """Return the interval between two frequencies in cents."""
    return 1200 * math.log2(one / other)
