"""Tracks at random, and their sum by a plain implementation of McAulay and Quatieri (1986) in numpy, sample by sample."""

import math

import numpy as np
import torch

from ddaudio.synthesis.tracks import Knots


def random_tracks(counts, *, span=(0, 400), seed=0, dtype=torch.float64, top=3.0, lowest=0.0):
    """Knots at random places of a span, with random values; frequencies between 0.05 and ``top`` radians per sample."""
    generator = np.random.default_rng(seed)
    # Never closer than a sample.
    places = [np.sort(generator.uniform(*span, count)) + np.arange(count) for count in counts]
    n_knots = sum(counts)
    values = generator.uniform(lowest, 1, n_knots), generator.uniform(0.05, top, n_knots), generator.uniform(-9, 9, n_knots)
    tensors = [torch.tensor(value, dtype=dtype) for value in values]
    return Knots(torch.tensor(counts, dtype=torch.int64), torch.tensor(np.concatenate([*places, []])), *tensors)


def reference(knots, signal, shape, first=0, *, log_amplitude=False):
    """Return the signals ``[B, T]``, one sample of one track after another, as the paper has it."""
    counts, position, amplitude, frequency, phase = (part.detach().double().numpy() for part in knots)
    total, begin = np.zeros(shape), 0
    for number, count in enumerate(counts.astype(int)):
        for n in range(math.ceil(position[begin]), math.floor(position[begin + count - 1]) + 1):
            k = min(begin + count - 2, begin + int(np.searchsorted(position[begin : begin + count], n, side="right")) - 1)
            if 0 <= n - first < shape[1]:
                total[signal[number], n - first] += _sample(
                    n, *(part[k : k + 2] for part in (position, amplitude, frequency, phase)), log_amplitude
                )
        begin += count
    return total


def _sample(n, position, amplitude, frequency, phase, log_amplitude):
    """Return the sample at ``n`` between two knots: equations 33 to 37 of the paper."""
    distance, (w0, w1), (phi0, phi1) = position[1] - position[0], frequency, phase
    turns = round((phi0 + w0 * distance - phi1 + (w1 - w0) * distance / 2) / (2 * math.pi))
    missing = phi1 - phi0 - w0 * distance + 2 * math.pi * turns
    alpha = 3 / distance**2 * missing - (w1 - w0) / distance
    beta = -2 / distance**3 * missing + (w1 - w0) / distance**2
    time = n - position[0]
    share = time / distance
    level = amplitude[0] + share * (amplitude[1] - amplitude[0])
    if log_amplitude and min(amplitude) > 0:
        level = amplitude[0] ** (1 - share) * amplitude[1] ** share
    return level * math.cos(phi0 + w0 * time + alpha * time**2 + beta * time**3)
