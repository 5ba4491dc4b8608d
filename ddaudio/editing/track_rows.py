"""Tracks in equal intervals of time, their pitch, and their harmonic numbers."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddaudio.analysis.pitch import PitchCurve, harmonic_numbers, harmonics_of_tracks, pitch_of_partials
from ddaudio.editing.editable import Editable
from ddaudio.editing.knots import located, values_at

STEP_S = 0.010
"""Length of the intervals."""
LEAST_DB = -90.0
"""Level relative to the loudest row below which rows do not count for the pitch."""


class TrackRows(NamedTuple):
    """Tracks in equal intervals, a row for each interval that a track sounds in; columns ``[R]``."""

    track: Tensor
    interval: Tensor
    """Number of the interval, from 0."""
    start: Tensor
    """Where the track begins in it, in samples."""
    end: Tensor
    amplitude: Tensor
    """In the middle."""
    frequency: Tensor
    """Radians per sample."""
    phase: Tensor

    @classmethod
    def of(cls, sound: Editable, step: float) -> "TrackRows":
        """Return the rows for intervals of ``step`` samples."""
        knots = sound.knots
        starts = knots.counts.cumsum(0) - knots.counts
        begin, end = knots.position[starts], knots.position[starts + knots.counts - 1]
        first, last = (begin / step).floor().long(), (end / step).ceil().long().clamp(min=1) - 1
        count = (last - first + 1).clamp(min=1)
        track = torch.arange(len(begin)).repeat_interleave(count)
        interval = torch.arange(len(track)) - (count.cumsum(0) - count)[track] + first[track]
        start = torch.maximum(interval * step, begin[track])
        stop = torch.minimum((interval + 1) * step, end[track])
        found = values_at(knots, *located(knots, track, (start + stop) / 2))
        return cls(track, interval, start, stop, found.amplitude, found.frequency.clamp(0, math.pi), found.phase)


def _table(sound: Editable, rows: TrackRows) -> dict[str, np.ndarray]:
    """Return rows as a table of partials, each in a cell of its own."""
    rate = sound.sample_rate
    zeros = torch.zeros_like(rows.amplitude)
    columns = {
        "signal": sound.signal[rows.track].double(),
        "time_s": (rows.start + rows.end) / (2 * rate),
        "frequency_hz": rows.frequency * (rate / (2 * math.pi)),
        "amplitude": rows.amplitude,
        "phase_rad": rows.phase,
        "start_s": rows.start / rate,
        "end_s": rows.end / rate,
        "fade_in_s": zeros,
        "fade_out_s": zeros,
    }
    return {name: column.numpy() for name, column in columns.items()}


def pitch_of(sound: Editable) -> tuple[PitchCurve, Tensor]:
    """Return the pitch of a sound over time, and the harmonic number of each track, ``[N]`` int64, 0 for none."""
    rows = TrackRows.of(sound, STEP_S * sound.sample_rate)
    loud = rows.amplitude > float(rows.amplitude.max() if len(rows.amplitude) else 0) * 10 ** (LEAST_DB / 20)
    rows = TrackRows(*(column[loud] for column in rows))
    duration_s = sound.n_samples / sound.sample_rate
    table = _table(sound, rows)
    if not len(rows.track):
        times_s = np.zeros(1)
        nothing = np.full(1, np.nan)
        return PitchCurve(times_s, nothing, np.zeros(1), nothing), torch.zeros(len(sound.signal), dtype=torch.int64)
    curve = pitch_of_partials(table, duration_s, sound.sample_rate)
    power = table["amplitude"] ** 2 * (table["end_s"] - table["start_s"])
    found = harmonics_of_tracks(rows.track.numpy(), harmonic_numbers(table, curve), power)
    number = torch.zeros(len(sound.signal), dtype=torch.int64)
    number[: len(found)] = torch.from_numpy(found)
    return curve, number
