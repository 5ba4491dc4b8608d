"""Refinement of a pitch by the instantaneous frequencies of its harmonics."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from ddaudio.analysis.sounding_partials import Floats, Indices, PartialRows, Sounding
from ddaudio.io.samples import Samples, on_cpu

MOST_HARMONICS = 12
"""Harmonics that f0 is fitted to; of those of a voice, which grow less exact with their number, these have most of the energy."""
SMOOTHING_S = 0.01
"""Half the time over which instantaneous frequencies of partials are averaged, in seconds."""
FAR_CENTS = (120.0, 60.0, 30.0)
"""Distance from the present estimate beyond which a harmonic is left out, in each round."""
BAND = 0.35
"""Half the width of the band of a harmonic, in f0."""
PERIODS, SHORTEST_S = 4.5, 0.012
"""Length of the window on the recording: periods of f0, with the neighbours of a harmonic in side lobes, and the least."""
BLACKMAN_HARRIS = (0.35875, -0.48829, 0.14128, -0.01168)
"""Coefficients of cosines of the window, whose side lobes have -92 dB (Harris, 1978)."""
JUMP_CENTS = 80.0
"""A larger change between two times begins a new tone, with an inharmonicity of its own."""
PAYS, LEAST_INHARMONICITY, MOST_INHARMONICITY = 0.3, 1e-5, 0.01
"""Share of the deviations from a harmonic series that an inharmonicity must explain, and the range of its values."""
FEWEST, FAINT = 3, 0.003
"""Harmonics that an inharmonicity takes, and the share of all weights from which on they count."""
_SAMPLES_AT_ONCE = 1 << 17

Instants = tuple[Floats, Floats]
"""Frequency in Hz and power of each harmonic at each time, ``[N, MOST_HARMONICS]`` each."""
_NUMBER = np.arange(1, MOST_HARMONICS + 1)


def refined_pitch(instants: Instants, f0: Floats, inharmonicity: Floats | float = 0.0) -> Floats:
    """Return f0 in Hz, fitted to the frequencies of its harmonics by weighted least squares, ``[N]``; NaN where it is.

    With equal noise at all harmonics, the variance of a frequency is inverse to the power of its harmonic, and f0 is the mean of
    ``f_n / n`` with weights ``n^2`` times power. Harmonics far from the estimate are left out (`FAR_CENTS`).
    """
    frequency, power = instants
    stretch = np.sqrt(1 + np.expand_dims(np.nan_to_num(inharmonicity), -1) * _NUMBER**2)
    pitch = frequency / (_NUMBER * stretch)
    for far in FAR_CENTS:
        weight = power * _NUMBER**2 * (_cents(pitch, f0[:, None]) < far)
        total = weight.sum(1)
        f0 = np.where(total > 0, (pitch * weight).sum(1) / np.maximum(total, 1e-300), f0)
    return f0


def inharmonicities(instants: Instants, f0: Floats) -> Floats:
    """Return B of each tone, ``[N]``: that of ``f_n = n f0 sqrt(1 + B n^2)``; 0 where it explains little, NaN without pitch.

    The slope of ``f_n / (n f0)`` over ``n^2 / 2`` by weighted least squares, with a constant for each time.
    """
    frequency, power = instants
    found = np.where(np.isnan(f0), np.nan, 0.0)
    with np.errstate(invalid="ignore"):
        off = frequency / (_NUMBER * f0[:, None]) - 1
        weight = np.where(_cents(1 + off, 1.0) < FAR_CENTS[0], power * _NUMBER**2, 0.0)
    total = np.maximum(weight.sum(1, keepdims=True), 1e-300)
    off = np.where(weight > 0, off, 0.0)
    square = np.broadcast_to(_NUMBER**2 / 2, off.shape)
    x, y = (column - (column * weight).sum(1, keepdims=True) / total for column in (square, off))
    for first, last in _tones(f0):
        own = slice(first, last)
        xx, xy, yy = (float((weight[own] * part[own]).sum()) for part in (x * x, x * y, y * y))
        slope = xy / xx if xx > 0 else 0.0
        each = weight[own].sum(0)
        enough = (each > FAINT * each.sum()).sum() >= FEWEST
        if enough and LEAST_INHARMONICITY < slope < MOST_INHARMONICITY and xy * slope > PAYS * yy:
            found[own] = slope
    return found


def _tones(f0: Floats) -> Iterator[tuple[int, int]]:
    """Yield the first time of each tone, and the time after its last."""
    with np.errstate(invalid="ignore"):
        joined = _cents(f0[1:], f0[:-1]) < JUMP_CENTS
    edges = [0, *(np.flatnonzero(~joined) + 1).tolist(), len(f0)]
    for first, last in pairwise(edges):
        if np.isfinite(f0[first]):
            yield first, last


def _cents(pitch: Floats, other: Floats | float) -> Floats:
    """Return the distance of two pitches in cents; infinite where one is no pitch."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cents: Floats = np.nan_to_num(np.abs(1200 * np.log2(pitch / other)), nan=np.inf)
    return cents


def instants_of_partials(rows: PartialRows, sounding: Sounding, f0: Floats, times_s: Floats) -> Instants:
    """Return the instantaneous frequencies of harmonics from the partials in their bands.

    They add up to an analytic signal ``z``, whose frequency is ``Im(conj(z) z') / |z|^2``; numerator and denominator are averaged
    over `SMOOTHING_S` to both sides.
    """
    with np.errstate(invalid="ignore"):
        ratio = rows.frequency_hz[sounding.partial] / f0[sounding.moment]
        number = np.round(ratio).astype(np.int64)
        inside = (np.abs(ratio - number) < BAND) & (number >= 1) & (number <= MOST_HARMONICS)
    sounding, number = sounding.keep(inside), number[inside].astype(np.int64)
    partial, moment = sounding.partial, sounding.moment
    speed = 2 * np.pi * rows.frequency_hz[partial]
    wave = sounding.level * np.exp(1j * (speed * (times_s[moment] - rows.time_s[partial]) + rows.phase_rad[partial]))
    change = wave * (sounding.slope + 1j * speed)
    signal = rows.signal[partial].astype(np.int64)
    key = (signal * len(times_s) + moment) * MOST_HARMONICS + number - 1
    shape = int(signal.max(initial=0)) + 1, len(times_s), MOST_HARMONICS
    z, turned = (_sums(key, values, shape) for values in (wave, change))
    reach = int(SMOOTHING_S / times_s[1]) if len(times_s) > 1 else 0
    turning, power = (_smooth(values, reach) for values in ((z.conj() * turned).imag.sum(0), (np.abs(z) ** 2).sum(0)))
    return turning / np.maximum(power, 1e-300) / (2 * np.pi), power


def _sums(key: Indices, values: NDArray[np.complex128], shape: tuple[int, int, int]) -> NDArray[np.complex128]:
    size = math.prod(shape)
    return (np.bincount(key, values.real, size) + 1j * np.bincount(key, values.imag, size)).reshape(shape)


def _smooth(values: Floats, reach: int) -> Floats:
    """Return sums over ``reach`` rows to both sides with triangular weights."""
    weights = reach + 1 - np.abs(np.arange(-reach, reach + 1))
    padded = np.pad(values, ((reach, reach), (0, 0)))
    parts = [weight * padded[at : at + len(values)] for at, weight in enumerate(weights)]
    return np.asarray(np.sum(parts, axis=0))


def instants_of_recording(recording: Samples, sample_rate: int, f0: Floats, times_s: Floats) -> Instants:
    """Return the instantaneous frequencies of harmonics of a recording ``[C, T]``, all channels together.

    The frequency at which the phase of a short-time spectrum turns, at each harmonic: ``w - Im(X' / X)``, ``X'`` with the
    derivative of the window (Auger and Flandrin, 1995, "Improving the readability of time-frequency and time-scale
    representations by the reassignment method", IEEE Trans. Signal Processing 43). For a linear glide it is exact.
    """
    frequency, power = np.zeros((2, len(f0), MOST_HARMONICS))
    voiced = np.flatnonzero(np.isfinite(f0))
    length = np.maximum(PERIODS / f0[voiced], SHORTEST_S) * sample_rate
    # Few lengths, a quarter of an octave apart, so that many frames are computed at once.
    length = 2 * np.round(2 ** (np.round(4 * np.log2(length)) / 4) / 2).astype(np.int64)
    for size in np.unique(length).tolist():
        own = voiced[length == size]
        at_once = max(1, _SAMPLES_AT_ONCE // (size * recording.shape[0]))
        for first in range(0, len(own), at_once):
            part = own[first : first + at_once]
            frequency[part], power[part] = _reassigned(recording, sample_rate, f0[part], times_s[part], size)
    return frequency, power


def _reassigned(recording: Samples, sample_rate: int, f0: Floats, times_s: Floats, size: int) -> Instants:
    """Return `instants_of_recording` for frames of one size."""
    begin = torch.from_numpy(np.round(times_s * sample_rate).astype(np.int64)) - size // 2
    low, high = max(0, int(begin.min())), min(recording.shape[1], int(begin.max()) + size)
    inside = torch.nn.functional.pad(on_cpu(recording[:, low:high]).float(), (max(0, -int(begin.min())), size))
    frames = inside[:, begin[:, None] - int(begin.min()) + torch.arange(size)]
    place = (torch.arange(size, dtype=torch.float64) + 0.5) * (2 * math.pi / size)
    levels, order = torch.tensor(BLACKMAN_HARRIS, dtype=torch.float64), torch.arange(len(BLACKMAN_HARRIS))
    window = torch.cos(place[:, None] * order) @ levels
    slope = torch.sin(place[:, None] * order) @ (levels * order) * (-2 * math.pi / size)
    speed = torch.from_numpy(f0) * (2 * math.pi / sample_rate)
    turn = torch.polar(torch.ones(1, dtype=torch.float64), -speed[:, None] * torch.arange(size)).to(torch.complex64)
    shapes = torch.stack([window, slope], 1).to(torch.complex64)
    wave, turned, powers = torch.ones_like(turn), [], []
    for number in range(1, MOST_HARMONICS + 1):
        wave = wave * turn
        known = torch.from_numpy(np.asarray(f0 * number < sample_rate / 2))
        x, dx = ((frames * wave) @ shapes).to(torch.complex128).unbind(-1)
        power = (x.abs() ** 2).sum(0) * known
        # The derivative of a window that slides over the sound has the opposite sign.
        turned.append((number * speed - (dx * x.conj()).imag.sum(0) / power.clamp(min=1e-300)) * known)
        powers.append(power)
    scale = sample_rate / (2 * math.pi)
    return torch.stack(turned, 1).numpy() * scale, torch.stack(powers, 1).numpy()
