"""SDIF: tracks with bandwidths (RBEP), and as sampled sinusoids (1TRC).

Each row of a matrix is a point of a track: index, frequency in Hz, amplitude, phase in radians, and in RBEP bandwidth and time
offset in seconds.
"""

import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ddaudio.editing.exchange.sdif_frames import (
    FLOAT32,
    FLOAT64,
    HEADER,
    NO_TIME,
    TEXT,
    Frame,
    Matrix,
    frame_bytes,
    frames_of,
    text_matrix,
)
from ddaudio.editing.exchange.track_data import (
    Floats,
    Integers,
    Points,
    TrackData,
    curves_at,
    extents,
    from_points,
    on_frames,
)
from ddaudio.errors import ExchangeError

RBEP, SINES, HARMONICS, NAMES = "RBEP", "1TRC", "1HRM", "1NVT"
"""Types of frames that are read."""
COLUMNS = {RBEP: 6, SINES: 4, HARMONICS: 4}
"""Number of columns with a meaning."""
LEAST_STEP_S = 0.001
"""Least distance of the frames of 1TRC: programs count its time in milliseconds."""
NO_STREAM = -3
"""Stream of frames that belong to none."""


def write_rbep(data: TrackData) -> bytes:
    """Return tracks as RBEP: each knot a row, in a frame at its time."""
    signal = data.signal[data.owner]
    order = np.lexsort((data.owner, signal, data.time_s))
    columns = data.owner + 1.0, data.frequency_hz, data.amplitude, data.phase_rad, data.bandwidth, np.zeros(len(order))
    rows = np.stack(columns, axis=1)[order]
    return HEADER + _about(data) + _frames(RBEP, FLOAT64, data.time_s[order], signal[order], rows)


def write_1trc(data: TrackData) -> bytes:
    """Return tracks as 1TRC: frames at the times of the knots, each with a row for every track that sounds there.

    Knots closer than `LEAST_STEP_S` share a frame, and tracks begin and end at the frames nearest to their ends; those that then
    have a single frame are left out. There is no other frame in the file, since programs stop at it.
    """
    frames_s = frame_times(data)
    first, last = extents(data)
    begins, ends = _nearest(frames_s, first), _nearest(frames_s, last)
    frame, track = on_frames(np.where(ends > begins, begins, math.inf), ends, frames_s)
    at = frames_s[frame].clip(first[track], last[track])
    values = curves_at(data, track, at)
    phase = values.phase_rad + 2 * math.pi * values.frequency_hz * (frames_s[frame] - at)
    columns = track + 1.0, values.frequency_hz, values.amplitude, np.remainder(phase, 2 * math.pi)
    signal = data.signal[track]
    order = np.lexsort((track, signal, frame))
    return HEADER + _frames(SINES, FLOAT32, frames_s[frame[order]], signal[order], np.stack(columns, axis=1)[order])


def frame_times(data: TrackData) -> Floats:
    """Return the times of all knots, without those that follow another one by less than `LEAST_STEP_S`."""
    kept: list[float] = []
    for time_s in np.unique(data.time_s).tolist():
        if not kept or time_s >= kept[-1] + LEAST_STEP_S:
            kept.append(time_s)
    return np.array(kept)


def _nearest(frames_s: Floats, times_s: Floats) -> Floats:
    """Return the frame nearest to each time."""
    if len(frames_s) < 2:
        return np.zeros_like(times_s)
    after = np.searchsorted(frames_s, times_s).clip(1, len(frames_s) - 1)
    low, high = frames_s[after - 1], frames_s[after]
    nearest: Floats = np.where(times_s - low < high - times_s, low, high)
    return nearest


def _frames(kind: str, elements: int, time_s: Floats, signal: Integers, rows: Floats) -> bytes:
    """Return the frames of rows that are sorted by time and signal, one for each change of either."""
    if not len(rows):
        return b""
    begins = np.flatnonzero(np.append(True, (np.diff(time_s) > 0) | (np.diff(signal) != 0)))
    parts = zip(begins, np.append(begins[1:], len(rows)), strict=True)
    return b"".join(
        frame_bytes(Frame(kind, float(time_s[first]), int(signal[first]), [Matrix(kind, rows[first:end], elements)]))
        for first, end in parts
    )


def _about(data: TrackData) -> bytes:
    """Return a frame with a table of names and values: rate, length and channels of the sound."""
    facts = {"SampleRate": data.sample_rate, "Samples": data.n_samples, "Channels": data.n_signals}
    lines = "".join(f"{name} {value};\n" for name, value in facts.items() if value is not None)
    return frame_bytes(Frame(NAMES, NO_TIME, NO_STREAM, [text_matrix(NAMES, f"{{\n{lines}}}\n")]))


def read(data: bytes) -> TrackData:
    """Return the tracks of RBEP, 1TRC and 1HRM frames; other frames are skipped, with a note.

    Streams are channels, in the order of their numbers.

    Raises:
        ExchangeError: it is no SDIF, is damaged, or has no tracks.

    """
    skipped, facts = Counter[str](), dict[str, int]()
    tables: list[NDArray[np.float64]] = []
    for number, frame in enumerate(frames_of(data)):
        for matrix in frame.matrices:
            if matrix.signature == NAMES and matrix.kind == TEXT:
                facts |= _facts(matrix)
            elif not _is_table(frame, matrix):
                skipped[f"{frame.signature}/{matrix.signature}"] += 1
            else:
                tables.append(_table(frame, matrix, number))
        if not frame.matrices:
            skipped[frame.signature] += 1
    notes = tuple(f"skipped {count} matrices of the type {name!r}" for name, count in sorted(skipped.items()))
    if not tables:
        raise ExchangeError(f"it has no frames of the types {', '.join(COLUMNS)}", allowed="SDIF of tracks")
    result = _tracks(np.concatenate(tables), notes)
    n_signals = max(result.n_signals, facts.get("Channels", 1))
    return replace(result, sample_rate=facts.get("SampleRate"), n_samples=facts.get("Samples"), n_signals=n_signals)


def _is_table(frame: Frame, matrix: Matrix) -> bool:
    numbers = matrix.kind in (FLOAT32, FLOAT64) and matrix.values.shape[1] >= 3
    return numbers and frame.signature == matrix.signature and matrix.signature in COLUMNS


def _table(frame: Frame, matrix: Matrix, number: int) -> Floats:
    """Return a matrix as rows of kind, stream, frame, time, and the six columns of RBEP."""
    rows = np.zeros((len(matrix.values), 10))
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = list(COLUMNS).index(matrix.signature), frame.stream, number, frame.time_s
    used = min(COLUMNS[matrix.signature], matrix.values.shape[1])
    rows[:, 4 : 4 + used] = matrix.values[:, :used]
    if used == 3:
        rows[:, 7] = np.nan
    rows[:, 3] += rows[:, 9]
    return rows


def _facts(matrix: Matrix) -> dict[str, int]:
    """Return the facts of `_about` that a table of names has, as far as they are sensible."""
    text = matrix.values.tobytes().decode("utf-8", "replace")
    found = {name: float(value) for name, value in re.findall(r"(\w+)[ \t]+(\d{1,15}(?:\.\d*)?)[ \t]*[;\n]", text)}
    limits = {"SampleRate": 384_000, "Samples": 1 << 40, "Channels": 1024}
    return {name: int(found[name]) for name, most in limits.items() if 1 <= found.get(name, 0) <= most}


def _tracks(rows: Floats, notes: tuple[str, ...]) -> TrackData:
    """Return the tracks of all rows of `_table`."""
    kind, stream, frame, time_s, index = rows[:, :5].T
    if not (np.isfinite(index).all() and np.isfinite(time_s).all()):
        raise ExchangeError("indices or times are not finite")
    signal = np.unique(stream, return_inverse=True)[1].reshape(-1).astype(np.int64)
    _, track = np.unique(np.stack([kind, signal, index]), axis=1, return_inverse=True)
    track = _divided(track.reshape(-1), kind, signal, frame)
    phase = None if np.isnan(rows[:, 7]).any() else rows[:, 7]
    points = Points(track, time_s, rows[:, 5], rows[:, 6], phase, rows[:, 8], signal)
    return from_points(points, notes)


def _divided(track: Integers, kind: Floats, signal: Integers, frame: Floats) -> Integers:
    """Return the numbers of tracks, of 1TRC divided where a frame of the stream has no row of the track: it is silent there."""
    order = np.lexsort((frame, track))
    # Number of each frame among those of its kind and stream.
    place = np.zeros(len(track), dtype=np.int64)
    for each in np.unique(np.stack([kind, signal]), axis=1).T:
        own = (kind == each[0]) & (signal == each[1])
        place[own] = np.unique(frame[own], return_inverse=True)[1].reshape(-1)
    steps, same = np.diff(place[order]), np.diff(track[order]) == 0
    is_new = ~same | ((steps > 1) & (kind[order][1:] != list(COLUMNS).index(RBEP)))
    number = np.empty(len(track), dtype=np.int64)
    number[order] = np.cumsum(np.append(False, is_new))
    return number
