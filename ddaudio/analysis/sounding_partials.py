"""Partials as rows of a table, and which of them sound at which time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ddaudio.io.samples import Samples
from ddaudio.io.spectra import Frames, nearest_fft

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_FRAME_S = 0.03
"""Length of the frames in which the power of the residual is measured."""
_FRAMES_AT_ONCE = 512
_NEAR_BINS, _NEAR_SHARE = 3, 0.1
"""Half the width of the band around a partial: in bins, and as a share of its frequency."""
_LOW_DB, _HIGH_DB = 9.0, 18.0
"""Level of a partial over the noise in its own bandwidth below which it is not tonal, and above which it certainly is.

The strongest of the bins of a noise is 6 to 10 dB above their mean.
"""


@dataclass(frozen=True)
class PartialRows:
    """Columns of a table of partials, ``[P]`` float64 each."""

    signal: Floats
    time_s: Floats
    frequency_hz: Floats
    amplitude: Floats
    phase_rad: Floats
    start_s: Floats
    end_s: Floats
    fade_in_s: Floats
    fade_out_s: Floats
    decay_per_s: Floats

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "PartialRows":
        """Return the columns of a table of tensors or arrays; without a decay it is 0."""
        columns = {name: np.asarray(table[name], np.float64) for name in cls.__dataclass_fields__ if name in table}
        columns.setdefault("decay_per_s", np.zeros_like(columns["time_s"]))
        return cls(**{name: np.nan_to_num(column) for name, column in columns.items()})

    def __len__(self) -> int:
        return len(self.time_s)


@dataclass(frozen=True)
class Sounding:
    """Pairs of a partial and a time at which it sounds, sorted by time; all arrays ``[K]``."""

    partial: Indices
    moment: Indices
    """Index of the time."""
    level: Floats
    """Amplitude at that time, including the window of the cell (its fades taken as those of a Hann window)."""
    slope: Floats
    """Change of the level per second, relative to the level."""

    @classmethod
    def of(cls, rows: PartialRows, times_s: Floats) -> "Sounding":
        """Return the pairs for evenly spaced times from 0."""
        lead_s, trail_s = rows.fade_in_s / 2, rows.fade_out_s / 2
        partial, moment = _overlaps(rows.start_s - lead_s, rows.end_s + trail_s, times_s)
        time_s = times_s[moment]
        rise, rising = _fade(time_s - rows.start_s[partial], rows.fade_in_s[partial])
        fall, falling = _fade(rows.end_s[partial] - time_s, rows.fade_out_s[partial])
        decay = rows.decay_per_s[partial]
        level = rows.amplitude[partial] * rise * fall * np.exp(-decay * (time_s - rows.time_s[partial]))
        return cls(partial, moment, level, rising - falling - decay)

    @classmethod
    def around(cls, rows: PartialRows, times_s: Floats, window_s: float) -> "Sounding":
        """Return the pairs for evenly spaced times with levels by energy in a Hann window of ``window_s`` around each time."""
        half_s = window_s / 2
        partial, moment = _overlaps(rows.start_s - half_s, rows.end_s + half_s, times_s)
        ends = (_risen((edge[partial] - times_s[moment]) / half_s) for edge in (rows.start_s, rows.end_s))
        before, after = ends
        level = rows.amplitude[partial] * np.sqrt(np.maximum(after - before, 0))
        return cls(partial, moment, level, np.zeros_like(level))

    def keep(self, which: NDArray[Any]) -> "Sounding":
        """Return the pairs that a mask or an index selects."""
        return Sounding(self.partial[which], self.moment[which], self.level[which], self.slope[which])


def _overlaps(start_s: Floats, end_s: Floats, times_s: Floats) -> tuple[Indices, Indices]:
    """Return the pairs of an interval and a time in it, sorted by time; times are evenly spaced from 0."""
    hop_s = times_s[1] if len(times_s) > 1 else 1.0
    first = np.clip(np.ceil(start_s / hop_s), 0, len(times_s)).astype(np.int64)
    last = np.clip(np.ceil(end_s / hop_s), first, len(times_s)).astype(np.int64)
    count = last - first
    interval = np.repeat(np.arange(len(count)), count)
    moment = np.arange(len(interval)) - np.repeat(np.cumsum(count) - count, count) + first[interval]
    order = np.argsort(moment, kind="stable")
    return interval[order], moment[order]


def _risen(place: Floats) -> Floats:
    """Return the integral of a Hann window from its beginning at -1 up to ``place``, as a share of the whole."""
    inside = np.clip(place, -1, 1)
    return (1 + inside + np.sin(np.pi * inside) / np.pi) / 2


def _fade(inside_s: Floats, length_s: Floats) -> tuple[Floats, Floats]:
    """Return the value of a Hann fade around 0, and its change per second relative to the value."""
    safe = np.maximum(length_s, 1e-9)
    turn = np.clip(inside_s / safe + 0.5, 1e-3, 1) * (np.pi / 2)
    return np.sin(turn) ** 2, np.where(turn < np.pi / 2, np.pi / safe / np.tan(turn), 0.0)


def tonal_weights(rows: PartialRows, residual: Samples | None, sample_rate: int) -> Floats:
    """Return how certainly each partial stands out of the residual around it, 0 to 1, ``[P]``.

    The power of a partial is compared with that of the residual in its own bandwidth, the inverse of its cell's length.
    """
    if residual is None or not len(rows):
        return np.ones(len(rows))
    n_fft = nearest_fft(_FRAME_S, sample_rate)
    hop = n_fft // 2
    window = torch.hann_window(n_fft)
    frames = Frames(n_fft, hop, residual.shape[1] // hop + 1, first_sample=-hop)
    frame = np.clip(np.round(rows.time_s * sample_rate / hop).astype(np.int64), 0, frames.n_frames - 1)
    signal = rows.signal.astype(np.int64)
    width = np.maximum(_NEAR_BINS, _NEAR_SHARE * rows.frequency_hz * n_fft / sample_rate).astype(np.int64)
    middle = np.round(rows.frequency_hz * n_fft / sample_rate).astype(np.int64)
    low, high = np.clip(middle - width, 0, n_fft // 2), np.clip(middle + width + 1, 1, n_fft // 2 + 1)
    density = np.zeros(len(rows))
    for block, spectrum in enumerate(frames.spectra(residual, window, _FRAMES_AT_ONCE)):
        squares = spectrum.abs().double().square() * (2 / (sample_rate * float(window.square().sum())))
        sums = np.pad(squares.numpy().cumsum(1), ((0, 0), (1, 0), (0, 0)))
        own = np.flatnonzero(frame // _FRAMES_AT_ONCE == block)
        column = frame[own] % _FRAMES_AT_ONCE
        density[own] = (sums[signal[own], high[own], column] - sums[signal[own], low[own], column]) / (high - low)[own]
    power, length_s = rows.amplitude**2 / 2, np.maximum(rows.end_s - rows.start_s, 1 / sample_rate)
    level_db = 10 * np.log10(np.maximum(power * length_s, 1e-30) / np.maximum(density, 1e-30))
    weights: Floats = np.clip((level_db - _LOW_DB) / (_HIGH_DB - _LOW_DB), 0, 1)
    return weights
