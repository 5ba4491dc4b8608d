"""Pitch over time from the partials of a fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddaudio.analysis.pitch_candidates import tracked_pitch
from ddaudio.analysis.pitch_refinement import (
    BAND,
    inharmonicities,
    instants_of_partials,
    instants_of_recording,
    refined_pitch,
)
from ddaudio.analysis.sounding_partials import PartialRows, Sounding, tonal_weights
from ddaudio.io.samples import Difference, Samples

Floats = NDArray[np.float64]

HOP_S = 0.005
"""Time between two values of a curve, in seconds; more if there would be more than `MOST_TIMES`."""
MOST_TIMES = 20_000
STRIDE = 2
"""Candidates are compared at every second time; what is between them is refined from their mean."""
PYIN_LOWEST_HZ, PYIN_HIGHEST_HZ = 40.0, 2000.0
"""Range of pYIN, which has states for all frequencies in it."""
PYIN_FRAME_S = 0.08
"""Length of the frames of pYIN: three periods of its lowest frequency."""


@dataclass(frozen=True)
class PitchCurve:
    """Fundamental frequency over time; all arrays ``[N]``."""

    time_s: Floats
    """Times in seconds, evenly spaced from 0."""
    f0_hz: Floats
    """Fundamental frequency in Hz; NaN where the sound is unvoiced."""
    voicing: Floats
    """Pitch strength, 0 to 1: similarity between the partials and a harmonic series (pYIN: probability of voicing)."""
    inharmonicity: Floats
    """``B`` of the harmonics' frequencies ``n f0 sqrt(1 + B n^2)``; 0 for a harmonic series, NaN where unvoiced."""

    @property
    def voiced(self) -> NDArray[np.bool_]:
        """Whether there is a pitch, ``[N]``."""
        return np.isfinite(self.f0_hz)

    @property
    def median_hz(self) -> float | None:
        """Median fundamental frequency in Hz; None without a pitch at any time."""
        return float(np.median(self.f0_hz[self.voiced])) if self.voiced.any() else None

    @property
    def voiced_share(self) -> float:
        """Share of the times at which there is a pitch, 0 to 1."""
        return float(self.voiced.mean())


def curve_times_s(duration_s: float) -> Floats:
    """Return the times of a pitch curve over a sound: every `HOP_S` seconds, at most `MOST_TIMES`."""
    hop_s = max(HOP_S, duration_s / MOST_TIMES)
    return np.arange(max(1, int(np.ceil(duration_s / hop_s))), dtype=np.float64) * hop_s


def pitch_of_partials(
    table: Mapping[str, Any], duration_s: float, sample_rate: int, recording: Samples | None = None, waves: Samples | None = None
) -> PitchCurve:
    """Return the pitch over time of the partials of a model, one curve for all channels together.

    Candidates are compared by the similarity between the partials and a harmonic series (after Camacho and Harris, 2008, "A
    sawtooth waveform inspired pitch estimator for speech and music", JASA 124), in which missing harmonics and partials between
    harmonics count against a candidate. The path through the candidates, or none, with the highest similarity and the
    smallest jumps is found by dynamic programming. Its frequencies are then refined by weighted least squares on the
    instantaneous frequencies of its harmonics: those of the partials, then those of the recording, if it is given. f0 is
    at least 25 Hz and has no upper bound.

    Args:
        table: partials in natural units, named columns ``[P]`` as of `ddaudio.models.base.Network.describe`.
        duration_s: length of the sound in seconds.
        sample_rate: in Hz.
        recording: what was modelled, ``[C, T]``.
        waves: sum of the partials, ``[C, T]``. With both, partials that do not stand out of what they leave over count less.

    """
    rows = PartialRows.of(table)
    times_s = curve_times_s(duration_s)
    residual = None if recording is None or waves is None else Difference(recording, waves)
    found = tracked_pitch(rows, tonal_weights(rows, residual, sample_rate), times_s[::STRIDE])
    rough_hz, strength = (_between(column, len(times_s)) for column in found)
    instants = instants_of_partials(rows, Sounding.of(rows, times_s), rough_hz, times_s)
    f0_hz = refined_pitch(instants, rough_hz)
    if recording is not None:
        instants = instants_of_recording(recording, sample_rate, f0_hz, times_s)
        f0_hz = refined_pitch(instants, f0_hz)
    inharmonicity = inharmonicities(instants, f0_hz)
    return PitchCurve(times_s, refined_pitch(instants, f0_hz, inharmonicity), strength, inharmonicity)


def _between(values: Floats, count: int) -> Floats:
    """Return values at each of ``count`` times, given those at every `STRIDE`-th; beside NaN, the value before."""
    before = np.repeat(values, STRIDE)[:count]
    places = np.arange(count) / STRIDE
    found = np.interp(places, np.arange(len(values)), values)
    return np.where(np.isnan(found), before, found)


def pitch_by_pyin(recording: Samples, sample_rate: int) -> PitchCurve:
    """Return the pitch of the mean of all channels by pYIN (Mauch and Dixon, 2014), as implemented by `librosa.pyin`.

    Frequencies are between `PYIN_LOWEST_HZ` and `PYIN_HIGHEST_HZ` or a quarter of the sample rate, in steps of 10 cents. All
    samples are read into memory. The import of librosa takes seconds the first time.
    """
    import librosa  # noqa: PLC0415 - slow to import

    mono = np.asarray(recording[:, :].mean(0), np.float64)
    times_s = curve_times_s(len(mono) / sample_rate)
    hop = max(1, round((times_s[1] if len(times_s) > 1 else HOP_S) * sample_rate))
    frame = max(16, 2 * round(PYIN_FRAME_S * sample_rate / 2))
    highest_hz = min(PYIN_HIGHEST_HZ, sample_rate / 4)
    f0_hz, _, voicing = librosa.pyin(
        mono, fmin=PYIN_LOWEST_HZ, fmax=highest_hz, sr=sample_rate, frame_length=frame, hop_length=hop
    )
    found = np.minimum(np.round(times_s * sample_rate / hop).astype(int), len(f0_hz) - 1)
    f0_hz = f0_hz[found]
    return PitchCurve(times_s, f0_hz, voicing[found], np.where(np.isnan(f0_hz), np.nan, 0.0))


def harmonic_numbers(table: Mapping[str, Any], curve: PitchCurve) -> NDArray[np.int64]:
    """Return the harmonic number of each partial, ``[P]``, from 1; 0 for partials that are not part of a pitched sound.

    A partial belongs to the nearest harmonic of the mean pitch within its cell, if that is at most `BAND` f0 away and at
    least half of the cell is voiced.

    Args:
        table: partials in natural units, as for `pitch_of_partials`.
        curve: the pitch.

    """
    rows = PartialRows.of(table)
    hop_s = curve.time_s[1] if len(curve.time_s) > 1 else 1.0
    first = np.clip(np.ceil(rows.start_s / hop_s), 0, len(curve.time_s)).astype(int)
    last = np.clip(np.floor(rows.end_s / hop_s) + 1, 0, len(curve.time_s)).astype(int)
    # A cell between two times has the pitch of the nearest one.
    nearest = np.clip(np.round((rows.start_s + rows.end_s) / 2 / hop_s), 0, len(curve.time_s) - 1).astype(int)
    first, last = np.where(last > first, first, nearest), np.where(last > first, last, nearest + 1)
    columns = curve.voiced.astype(float), np.nan_to_num(curve.f0_hz), np.nan_to_num(curve.inharmonicity)
    sums = (np.concatenate([[0.0], np.cumsum(column)]) for column in columns)
    count, f0_hz, inharmonicity = (total[last] - total[first] for total in sums)
    number = nearest_harmonic(rows.frequency_hz, f0_hz / np.maximum(count, 1), inharmonicity / np.maximum(count, 1))
    return np.where(2 * count >= last - first, number, 0)


def nearest_harmonic(frequency_hz: Floats, f0_hz: Floats, inharmonicity: Floats) -> NDArray[np.int64]:
    """Return the number of the nearest harmonic, 0 where it is more than `BAND` f0 away or f0 is 0."""
    ratio = frequency_hz / np.where(f0_hz > 0, f0_hz, np.inf)
    # n^2 (1 + B n^2) = ratio^2, solved for n^2 in a form that is exact for B = 0.
    number = np.round(ratio * np.sqrt(2 / (1 + np.sqrt(1 + 4 * inharmonicity * ratio**2))))
    off = np.abs(ratio - number * np.sqrt(1 + inharmonicity * number**2))
    return np.where(off <= BAND, number, 0).astype(np.int64)


def harmonics_of_tracks(track: NDArray[np.int64], harmonic: NDArray[np.int64], power: Floats) -> NDArray[np.int64]:
    """Return the harmonic number of each track, ``[N]``: the one with most power among its partials, 0 for none.

    Args:
        track: track of each partial, from 0, ``[P]``.
        harmonic: harmonic number of each partial, ``[P]``, see `harmonic_numbers`.
        power: mean square of each partial, ``[P]``.

    """
    shape = int(track.max(initial=-1)) + 1, int(harmonic.max(initial=0)) + 1
    total = np.bincount(track * shape[1] + harmonic, power, shape[0] * shape[1]).reshape(shape)
    number: NDArray[np.int64] = total.argmax(1)
    return number
