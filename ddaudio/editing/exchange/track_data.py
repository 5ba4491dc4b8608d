"""Tracks as files of other programs hold them: knots in seconds and Hz."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.errors import ExchangeError
from ddaudio.synthesis.knots import Knots

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
LEAST_RAD = 1e-9
"""Least distance of frequencies from 0 and pi, which knots must not reach."""
LEAST_STEP_S = 1e-9
"""Distance of two knots of a track that have the same time."""
RANGES = {
    "time_s": (-1e6, 1e6),
    "frequency_hz": (0.0, 1e7),
    "amplitude": (0.0, 1e6),
    "phase_rad": (-1e9, 1e9),
    "bandwidth": (0.0, 1.0),
}
"""Values that are read; others are no sound."""


@dataclass(frozen=True)
class NoiseBands:
    """Power of noise in the bands of `ddaudio.editing.exchange.ats.EDGES_HZ`."""

    step_s: float
    """Interval of the frames in seconds; the first is at 0."""
    power: Floats
    """Mean square in full scale squared, ``[frames, 25]``."""


@dataclass(frozen=True)
class PitchLine:
    """Fundamental frequency over time, ``[N]`` each."""

    time_s: Floats
    """Rising."""
    f0_hz: Floats
    """NaN where there is no pitch."""


@dataclass(frozen=True)
class TrackData:
    """Tracks, each a list of knots: between two of them the amplitude is linear, and the phase the cubic through both.

    Columns of knots ``[K]`` are in the order of track, then time.
    """

    counts: Integers
    """Number of knots of each track, ``[N]``, 2 or more."""
    signal: Integers
    """Channel of each track, from 0, ``[N]``."""
    time_s: Floats
    """From the beginning of the sound, rising within a track."""
    frequency_hz: Floats
    """0 or more."""
    amplitude: Floats
    """Full scale, 0 or more."""
    phase_rad: Floats
    """Of a cosine."""
    bandwidth: Floats
    """Share of the knot's energy that is noise, 0 to 1 (Loris)."""
    sample_rate: int | None = None
    """Of the sound, in Hz; None where a file does not have it."""
    n_samples: int | None = None
    """Length of the sound; None where a file does not have it."""
    n_signals: int = 1
    """Number of channels."""
    noise: NoiseBands | None = None
    """Noise beside the tracks."""
    pitch: PitchLine | None = None
    """Pitch of the sound, if it has one and it was looked for."""
    notes: tuple[str, ...] = ()
    """What a reader skipped or assumed."""

    @property
    def owner(self) -> Integers:
        """Track of each knot, ``[K]``."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def starts(self) -> Integers:
        """First knot of each track, ``[N]``."""
        starts: Integers = np.cumsum(self.counts) - self.counts
        return starts

    @property
    def duration_s(self) -> float:
        """Length of the sound: given, or up to the last knot."""
        if self.n_samples is not None and self.sample_rate is not None:
            return self.n_samples / self.sample_rate
        return float(self.time_s.max()) if len(self.time_s) else 0.0

    def keep(self, which: NDArray[np.bool_]) -> "TrackData":
        """Return some of the tracks, by a mask ``[N]``."""
        knots = np.repeat(which, self.counts)
        names = ("time_s", "frequency_hz", "amplitude", "phase_rad", "bandwidth")
        columns = {name: getattr(self, name)[knots] for name in names}
        return replace(self, counts=self.counts[which], signal=self.signal[which], **columns)


def from_knots(knots: Knots, signal: Tensor, sample_rate: int, shape: tuple[int, int]) -> TrackData:
    """Return the tracks of a model of ``shape`` ``(B, T)``."""
    scale = sample_rate / (2 * math.pi)
    position, amplitude, frequency, phase = (column.detach().double().numpy() for column in knots[1:])
    return TrackData(
        counts=knots.counts.numpy(),
        signal=signal.numpy(),
        time_s=position / sample_rate,
        frequency_hz=frequency * scale,
        amplitude=amplitude,
        phase_rad=phase,
        bandwidth=np.zeros_like(amplitude),
        sample_rate=sample_rate,
        n_samples=shape[1],
        n_signals=shape[0],
    )


def to_knots(data: TrackData, sample_rate: int) -> tuple[Knots, Tensor]:
    """Return the knots of tracks at a sample rate, and their channels; noise and bandwidths are no part of them.

    The amplitude of a knot with a bandwidth is that of its sinusoidal part.
    """
    frequency = (data.frequency_hz * (2 * math.pi / sample_rate)).clip(LEAST_RAD, math.pi - LEAST_RAD)
    amplitude = data.amplitude * np.sqrt(1 - data.bandwidth)
    columns = data.counts, data.time_s * sample_rate, amplitude, frequency, data.phase_rad
    return Knots(*(torch.from_numpy(np.ascontiguousarray(column)) for column in columns)), torch.from_numpy(data.signal)


@dataclass(frozen=True)
class Points:
    """Rows of a file in any order, a knot each; columns ``[K]``, of the same meaning as in `TrackData`."""

    track: Integers
    """Any number that is the same for the knots of one track."""
    time_s: Floats
    frequency_hz: Floats
    amplitude: Floats
    phase_rad: Floats | None = None
    """None for a file without phases: they are then integrals of the frequency, from 0."""
    bandwidth: Floats | None = None
    signal: Integers | None = None
    """Channel of each knot; None for all in the first."""


def from_points(points: Points, notes: tuple[str, ...] = ()) -> TrackData:
    """Return the tracks of rows; those of a single knot are left out, with a note.

    Raises:
        ExchangeError: values are not finite or out of range.

    """
    _check(points)
    order = np.lexsort((points.time_s, points.track))
    track, time_s = points.track[order], points.time_s[order]
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (track[1:] == track[:-1]) & (time_s[1:] - time_s[:-1] <= LEAST_STEP_S)
    if same.any():
        notes = (*notes, f"skipped {int(same.sum())} points at the time of another one of their track")
        order, track, time_s = order[~same], track[~same], time_s[~same]
    _, owner, counts = np.unique(track, return_inverse=True, return_counts=True)
    if (counts < 2).any():
        notes = (*notes, f"skipped {int((counts < 2).sum())} tracks of a single point")
        order, owner, counts = order[counts[owner] > 1], owner[counts[owner] > 1], counts[counts > 1]
        time_s = points.time_s[order]
    notes, time_s = _from_zero(notes, time_s)
    frequency = points.frequency_hz[order]
    phase = phases(counts, time_s, frequency) if points.phase_rad is None else points.phase_rad[order]
    signal = np.zeros(len(counts), dtype=np.int64)
    if points.signal is not None and len(counts):
        signal = points.signal[order][np.cumsum(counts) - counts]
    return TrackData(
        counts=counts.astype(np.int64),
        signal=signal,
        time_s=time_s,
        frequency_hz=frequency,
        amplitude=points.amplitude[order],
        phase_rad=phase,
        bandwidth=np.zeros(len(order)) if points.bandwidth is None else points.bandwidth[order],
        n_signals=int(signal.max()) + 1 if len(signal) else 1,
        notes=notes,
    )


def _from_zero(notes: tuple[str, ...], time_s: Floats) -> tuple[tuple[str, ...], Floats]:
    """Return times that begin at 0 where some are before it, with a note."""
    first = float(time_s.min()) if len(time_s) else 0.0
    return (notes, time_s) if first >= 0 else ((*notes, f"the tracks begin at {first:.6g} s, which is now 0"), time_s - first)


def _check(points: Points) -> None:
    """Raise `ExchangeError` for values that no track has."""
    for name, (least, most) in RANGES.items():
        values = getattr(points, name)
        if values is None:
            continue
        bad = ~(np.isfinite(values) & (values >= least) & (values <= most))
        if bad.any():
            what = f"{name}: {int(bad.sum())} of {len(values)} values are not allowed, first {float(values[bad][0]):.6g}"
            raise ExchangeError(what, allowed=f"{least:g} to {most:g}")


def phases(counts: Integers, time_s: Floats, frequency_hz: Floats) -> Floats:
    """Return the phase at each knot in radians, the integral of the linearly interpolated frequency, 0 at the first, ``[K]``."""
    if not len(time_s):
        return np.zeros(0)
    steps = np.zeros(len(time_s))
    steps[1:] = math.pi * np.diff(time_s) * (frequency_hz[1:] + frequency_hz[:-1])
    starts = np.cumsum(counts) - counts
    steps[starts] = 0
    total = np.cumsum(steps)
    result: Floats = np.remainder(total - np.repeat(total[starts], counts), 2 * math.pi)
    return result


@dataclass(frozen=True)
class Curves:
    """Values of tracks at given times, ``[M]`` each."""

    amplitude: Floats
    frequency_hz: Floats
    phase_rad: Floats


def curves_at(data: TrackData, track: Integers, time_s: Floats) -> Curves:
    """Return the values of tracks at times within their extents.

    Args:
        data: the tracks.
        track: which track each value belongs to, ``[M]``.
        time_s: at which time, from the track's first to its last knot, ``[M]``.

    """
    left = _segment(data, track, time_s)
    t0, t1 = data.time_s[left], data.time_s[left + 1]
    w0, w1 = (2 * math.pi * data.frequency_hz[left + side] for side in (0, 1))
    length, bend = t1 - t0, (w1 - w0) * (t1 - t0)
    gap = data.phase_rad[left + 1] - data.phase_rad[left] - w0 * length
    rest = gap - 2 * math.pi * np.round((gap - bend / 2) / (2 * math.pi))
    x = (time_s - t0) / length
    square, cube = 3 * rest - bend, bend - 2 * rest
    phase = data.phase_rad[left] + w0 * length * x + square * x**2 + cube * x**3
    frequency = w0 + (2 * square * x + 3 * cube * x**2) / length
    amplitude = data.amplitude[left] * (1 - x) + data.amplitude[left + 1] * x
    return Curves(amplitude, (frequency / (2 * math.pi)).clip(0), phase)


def _segment(data: TrackData, track: Integers, time_s: Floats) -> Integers:
    """Return the left knot of the segment of each track that contains a time, ``[M]``."""
    # Knots sorted by track, then time: a search in one list of keys, exact in both.
    order = np.lexsort((np.concatenate([data.time_s, time_s]), np.concatenate([data.owner, track])))
    is_knot = order < len(data.time_s)
    last_knot = np.empty(len(order), dtype=np.int64)
    last_knot[order] = np.cumsum(is_knot) - 1
    left = last_knot[len(data.time_s) :]
    first, ends = data.starts[track], (data.starts + data.counts)[track] - 2
    return left.clip(first, ends)


def extents(data: TrackData) -> tuple[Floats, Floats]:
    """Return the times of the first and of the last knot of each track, ``[N]`` each."""
    return data.time_s[data.starts], data.time_s[data.starts + data.counts - 1]


def on_frames(begins: Floats, ends: Floats, times_s: Floats) -> tuple[Integers, Integers]:
    """Return all pairs of a frame and a track that sounds at its time, by frame, then track: frames and tracks ``[M]``.

    Args:
        begins: time at which each track begins, ``[N]``.
        ends: time at which each track ends, ``[N]``.
        times_s: times of the frames, rising, ``[F]``.

    """
    first, last = np.searchsorted(times_s, begins), np.searchsorted(times_s, ends, side="right")
    lengths = (last - first).clip(0)
    track = np.repeat(np.arange(len(begins)), lengths)
    frame = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[track]
    order = np.lexsort((track, frame))
    return frame[order], track[order]


def levels_at(data: TrackData, times_s: Floats) -> Floats:
    """Return the amplitude of all tracks together at rising times, the root of the sum of their squares, ``[F]``."""
    frame, track = on_frames(*extents(data), times_s)
    values = curves_at(data, track, times_s[frame])
    levels: Floats = np.sqrt(np.bincount(frame, values.amplitude**2, minlength=len(times_s)))
    return levels
