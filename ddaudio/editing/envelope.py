"""The spectral envelope of tracks over time: the true envelope.

The levels of the partials at one time, joined by straight lines over frequency, are smoothed by leaving out cepstral coefficients
above ``sample_rate / (2 f0)``, and replaced by the larger of themselves and the smooth curve, until the curve passes over all of
them (Röbel and Rodet, 2005, "Efficient spectral envelope estimation and its application to pitch shifting and envelope
preservation", DAFx-05).
"""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ddaudio.editing.editable import Editable
from ddaudio.editing.track_rows import STEP_S, TrackRows, pitch_of

BIN_HZ = 30.0
"""Largest distance between two frequencies of the envelope."""
DEFAULT_F0_HZ = 200.0
"""Distance of partials that is assumed where there is no pitch."""
RANGE_DB = 90.0
"""Levels this far below the loudest partial of a time are equal."""
CLOSE_DB, ROUNDS = 0.5, 60
"""Most that a partial may be above the envelope, and most rounds."""


class Envelope:
    """Level over time and frequency, the same in all channels."""

    def __init__(self, levels_db: Tensor, step: float) -> None:
        """Store levels ``[F, K]`` at the middles of intervals of ``step`` samples, and at frequencies from 0 to pi."""
        self._levels, self._step = levels_db, step

    def at(self, position: Tensor, frequency: Tensor) -> Tensor:
        """Return the level in dB at positions in samples and frequencies in radians per sample, ``[M]``."""
        rows, columns = self._levels.shape
        row = (position / self._step - 0.5).clamp(0, rows - 1)
        column = (frequency / math.pi * (columns - 1)).clamp(0, columns - 1)
        top, left = row.long().clamp(max=max(0, rows - 2)), column.long().clamp(max=columns - 2)
        below, right = (row - top), (column - left)
        under = (top + 1).clamp(max=rows - 1)
        upper = self._levels[top, left] * (1 - right) + self._levels[top, left + 1] * right
        lower = self._levels[under, left] * (1 - right) + self._levels[under, left + 1] * right
        return upper * (1 - below) + lower * below


def envelope_of(sound: Editable) -> Envelope:
    """Return the true envelope of the tracks of a sound, in intervals of 10 ms."""
    step = STEP_S * sound.sample_rate
    rows = TrackRows.of(sound, step)
    curve, _ = pitch_of(sound)
    count = max(1, math.ceil(sound.n_samples / step))
    n_fft = 1 << math.ceil(math.log2(sound.sample_rate / BIN_HZ))
    levels = _joined_levels(rows, count, n_fft // 2 + 1)
    f0_hz = np.interp((np.arange(count) + 0.5) * STEP_S, curve.time_s, np.nan_to_num(curve.f0_hz))
    voiced = f0_hz > 20
    f0_hz = np.where(voiced, f0_hz, np.median(f0_hz[voiced]) if voiced.any() else DEFAULT_F0_HZ)
    order = torch.from_numpy(np.clip(sound.sample_rate / (2 * f0_hz), 4, n_fft // 2))
    return Envelope(true_envelope(levels, order), step)


def _joined_levels(rows: TrackRows, count: int, columns: int) -> Tensor:
    """Return the levels of the partials in each interval, joined by straight lines over frequency, ``[F, K]`` dB."""
    grid = np.linspace(0, math.pi, columns)
    levels = np.full((count, columns), -RANGE_DB * 2)
    order = torch.argsort(rows.frequency, stable=True)
    order = order[torch.argsort(rows.interval[order], stable=True)]
    interval, frequency, amplitude = (column[order].numpy() for column in (rows.interval, rows.frequency, rows.amplitude))
    edges = np.searchsorted(interval, np.arange(count + 1))
    for place, (first, last) in enumerate(pairwise(edges.tolist())):
        own = amplitude[first:last]
        if not len(own) or not own.max() > 0:
            continue
        high = own > own.max() * 10 ** (-RANGE_DB / 20)
        levels[place] = np.interp(grid, frequency[first:last][high], 20 * np.log10(own[high]))
    return torch.from_numpy(levels)


def true_envelope(levels_db: Tensor, order: Tensor) -> Tensor:
    """Return the true envelopes of spectra.

    Args:
        levels_db: levels at frequencies from 0 to pi, ``[F, K]``.
        order: number of cepstral coefficients that are kept, ``[F]``.

    """
    n_fft = 2 * (levels_db.shape[1] - 1)
    quefrency = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
    lifter = ((order[:, None] - quefrency) / 2 + 1).clamp(0, 1)
    target = levels_db
    smooth = levels_db
    for _ in range(ROUNDS):
        cepstrum = torch.fft.irfft(target.to(torch.complex128), n_fft)
        full = torch.cat([lifter, lifter[:, 1:-1].flip(1)], 1)
        smooth = torch.fft.rfft(cepstrum * full, n_fft).real
        if float((levels_db - smooth).amax()) <= CLOSE_DB:
            break
        target = torch.maximum(levels_db, smooth)
    return smooth
