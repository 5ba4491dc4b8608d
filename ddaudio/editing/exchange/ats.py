"""ATS (analysis, transformation, synthesis): partials and noise in frames at equal intervals, of type 4.

All values are float64. The header is 123 (which shows the byte order), sample rate, samples from one frame to the next, samples
of the window of the analysis, number of partials, number of frames, largest amplitude, largest frequency in Hz, duration in
seconds, and type. A frame is its time in seconds; amplitude, frequency in Hz and phase in radians of each partial; and 25
energies of noise in critical bands: half of their mean square, times the samples of the window, since the analysis adds up the
powers of a spectrum without negative frequencies. Type 1 has neither phases nor energies, type 2 no energies, type 3 no phases.
"""

import math
import struct
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddaudio.editing.exchange.noise_bands import EDGES_HZ
from ddaudio.editing.exchange.track_data import (
    Floats,
    Integers,
    NoiseBands,
    Points,
    TrackData,
    curves_at,
    extents,
    from_points,
    on_frames,
)
from ddaudio.errors import ExchangeError

MAGIC, BANDS, HEADER_VALUES = 123.0, len(EDGES_HZ) - 1, 10
BEGINS = struct.pack("<d", MAGIC), struct.pack(">d", MAGIC)
STEP_S = 0.005
"""Interval of the frames that are written."""
MOST_SAMPLES = 1 << 40
WINDOW_FRAMES = 4
"""Length of the window that is declared, in intervals."""


class _Frames(NamedTuple):
    """Partials on frames, ``[partials, frames]`` each: where silent, with the frequency of the nearest sound."""

    amplitude: Floats
    frequency_hz: Floats
    phase_rad: Floats


def write(data: TrackData) -> bytes:
    """Return tracks of one channel, and noise, as frames every `STEP_S`; tracks that do not overlap share a partial."""
    rate = data.sample_rate or 44_100
    hop = max(1, round(STEP_S * rate))
    n_frames = max(2, math.ceil(data.duration_s * rate / hop - 1e-9) + 1)
    times = np.arange(n_frames, dtype=np.float64) * (hop / rate)
    frames = _on_frames(data, times)
    amplitude, frequency = frames.amplitude, frames.frequency_hz
    n_partials, window = len(amplitude), WINDOW_FRAMES * hop
    most = [float(column.max()) if column.size else 0.0 for column in (amplitude, frequency)]
    header = [MAGIC, rate, hop, window, n_partials, n_frames, *most, n_frames * hop / rate, 4]
    partials = np.stack(frames, axis=2).transpose(1, 0, 2).reshape(n_frames, -1)
    energies = _powers(data.noise, times) * (window / 2)
    rows = np.concatenate([times[:, None], partials, energies], axis=1)
    return np.array(header).astype("<f8").tobytes() + rows.astype("<f8").tobytes()


def _powers(noise: NoiseBands | None, times: Floats) -> Floats:
    """Return the powers of noise at times, ``[F, 25]``, 0 without noise."""
    if noise is None:
        return np.zeros((len(times), BANDS))
    at = np.arange(len(noise.power)) * noise.step_s
    return np.stack([np.interp(times, at, column) for column in noise.power.T], axis=1)


def _on_frames(data: TrackData, times: Floats) -> _Frames:
    """Return tracks on frames; those that sound at no frame are left out."""
    frame, track = on_frames(*extents(data), times)
    values = curves_at(data, track, times[frame])
    kept, number = np.unique(track, return_inverse=True)
    first, last = (np.full(len(kept), start) for start in (len(times), -1))
    np.minimum.at(first, number, frame)
    np.maximum.at(last, number, frame)
    slot = _slots(first, last, data.frequency_hz[data.starts[kept]])
    n_slots = int(slot.max()) + 1 if len(slot) else 0
    columns = [np.zeros((n_slots, len(times))) for _ in range(3)]
    found = values.amplitude, values.frequency_hz, np.remainder(values.phase_rad, 2 * math.pi)
    for column, each in zip(columns, found, strict=True):
        column[slot[number], frame] = each
    frames = _Frames(*columns)
    _fill(frames, slot, first, last, float(times[1]))
    return frames


def _slots(first: Integers, last: Integers, frequency: Floats) -> Integers:
    """Return a partial for each track: those of one partial are three frames apart or more, and near in frequency."""
    slot = np.zeros(len(first), dtype=np.int64)
    free_from: list[int] = []
    heard: list[float] = []
    for track in np.lexsort((frequency, first)).tolist():
        free = [place for place, frame in enumerate(free_from) if frame <= first[track]]
        if free:
            chosen = min(free, key=lambda place: abs(heard[place] - frequency[track]))
        else:
            chosen = len(free_from)
            free_from.append(0)
            heard.append(0.0)
        slot[track], free_from[chosen], heard[chosen] = chosen, int(last[track]) + 3, float(frequency[track])
    return slot


def _fill(frames: _Frames, slot: Integers, first: Integers, last: Integers, step_s: float) -> None:
    """Give silent frames the frequency of the sound before them, and the last one before a sound that sound's own."""
    order = np.lexsort((first, slot))
    follows = np.append(slot[order][1:] == slot[order][:-1], False)
    ends = np.where(follows, np.append(first[order][1:], 0), frames.amplitude.shape[1])
    for track, end in zip(order.tolist(), ends.tolist(), strict=True):
        own = int(slot[track])
        for place, silent, side in ((int(last[track]), slice(int(last[track]) + 1, end), 1), (int(first[track]), None, -1)):
            beside = place + side
            if not 0 <= beside < frames.amplitude.shape[1]:
                continue
            frames.frequency_hz[own, beside if silent is None else silent] = frames.frequency_hz[own, place]
            turn = side * 2 * math.pi * frames.frequency_hz[own, place] * step_s
            frames.phase_rad[own, beside] = (frames.phase_rad[own, place] + turn) % (2 * math.pi)


def read(data: bytes) -> TrackData:
    """Return the tracks and the noise of a file of any type and byte order.

    A partial is a track wherever it sounds in successive frames.

    Raises:
        ExchangeError: it is no ATS file, or damaged.

    """
    if data[:8] not in BEGINS:
        raise ExchangeError("it is not an ATS file")
    values = np.frombuffer(data[: len(data) // 8 * 8], dtype="<f8" if data[:8] == BEGINS[0] else ">f8").astype(np.float64)
    if len(values) < HEADER_VALUES or not np.isfinite(values[:HEADER_VALUES]).all():
        raise ExchangeError("its header is incomplete")
    rate, window, n_partials, n_frames, duration, kind = (float(values[place]) for place in (1, 3, 4, 5, 8, 9))
    if kind not in (1, 2, 3, 4):
        raise ExchangeError(f"its type is {kind:.6g}", allowed="1, 2, 3, 4")
    width, with_noise = 3 if kind in (2, 4) else 2, kind in (3, 4)
    row = 1 + width * n_partials + BANDS * with_noise
    if not (n_partials >= 0 and n_frames >= 1 and n_frames * row == len(values) - HEADER_VALUES and row == int(row)):
        raise ExchangeError(f"it has {len(values) - HEADER_VALUES} values, but its header declares {n_frames:.6g} x {row:.6g}")
    table = values[HEADER_VALUES:].reshape(int(n_frames), int(row))
    if not (1 <= rate <= 384_000 and rate == int(rate) and window >= 1 and 0 <= duration * rate <= MOST_SAMPLES):
        raise ExchangeError(f"its sample rate is {rate:.6g} Hz, its window {window:.6g} samples, its duration {duration:.6g} s")
    partials = table[:, 1 : 1 + width * int(n_partials)].reshape(int(n_frames), int(n_partials), width)
    tracks = _tracks(table[:, 0], partials.transpose(1, 0, 2))
    noise = _noise(table[:, 0], table[:, -BANDS:] * (2 / window)) if with_noise and table[:, -BANDS:].any() else None
    return replace(tracks, sample_rate=int(rate), n_samples=max(1, round(duration * rate)), noise=noise)


def _noise(times: Floats, power: Floats) -> NoiseBands | None:
    """Return the powers of noise of frames; raises `ExchangeError` for impossible ones."""
    if not np.isfinite(power).all() or (power < 0).any():
        raise ExchangeError("it has energies of noise that are negative or not finite", allowed="finite numbers, 0 or more")
    step_s = float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    return NoiseBands(step_s, power) if step_s > 0 else None


def _tracks(times: Floats, partials: Floats) -> TrackData:
    """Return the tracks of partials ``[partials, frames, 2 or 3]``."""
    amplitude: NDArray[np.float64] = partials[..., 0]
    sounds = amplitude != 0
    padded = np.pad(sounds, ((0, 0), (1, 1)))
    # A silent frame beside a sound is its end, or its beginning.
    used = padded[:, 1:-1] | padded[:, :-2] | padded[:, 2:]
    begins = used & ~(np.pad(used, ((0, 0), (1, 0)))[:, :-1])
    # Two sounds with one silent frame between them share it, as one track with an amplitude of 0 there.
    track = np.cumsum(begins.flatten()).reshape(used.shape)[used]
    phase = partials[..., 2][used] if partials.shape[2] > 2 else None
    time_s = np.broadcast_to(times, used.shape)[used]
    return from_points(Points(track, time_s, partials[..., 1][used], amplitude[used], phase))
