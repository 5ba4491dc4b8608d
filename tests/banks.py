"""Banks of partials, and their sum in float64 with every sine spelled out."""

import math

import numpy as np
import torch


def partials(*shape, seed=0, dtype=torch.float32):
    """Frequencies over the whole band, its ends 0 and pi among them, and normal amplitudes."""
    generator = np.random.default_rng(seed)
    frequency = generator.uniform(0, math.pi, shape)
    if frequency.size > 1:
        frequency.flat[0], frequency.flat[-1] = 0, math.pi
    return tuple(torch.tensor(part, dtype=dtype) for part in (frequency, *generator.standard_normal((2, *shape))))


def decays(*shape, scale, seed=9, dtype=torch.float32):
    """Decays of both signs: envelopes that fall and envelopes that grow."""
    return torch.tensor(np.random.default_rng(seed).uniform(-scale, scale, shape), dtype=dtype)


def reference(frequency, cosine, sine, n_samples, origin=0.0, decay=None):
    """The definition in float64, one partial after another; numpy's sines are exact for large phases."""
    frequency, cosine, sine = (part.double().numpy() for part in (frequency, cosine, sine))
    steps = np.arange(n_samples) - origin
    total = np.zeros((*frequency.shape[:-1], n_samples))
    for k in range(frequency.shape[-1]):
        phase = frequency[..., k, None] * steps
        envelope = 1.0 if decay is None else np.exp(-decay.double().numpy()[..., k, None] * steps)
        total += envelope * (cosine[..., k, None] * np.cos(phase) + sine[..., k, None] * np.sin(phase))
    return total


def relative_error(found, wanted):
    """Norm of the error over the norm of what was wanted."""
    return np.linalg.norm(found.detach().double().numpy() - wanted) / max(np.linalg.norm(wanted), 1e-300)
