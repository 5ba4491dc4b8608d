"""Candidates for the pitch at each time, and the best path through them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddaudio.analysis.sounding_partials import Floats, PartialRows, Sounding

WINDOW_S = 0.04
"""Length of the Hann window within which partials are compared with a candidate."""
LOWEST_HZ = 25.0
"""Lowest pitch: below the lowest note of a piano, 27.5 Hz."""
MOST_PARTIALS, STRONGEST, MOST_DIVISOR = 32, 6, 9
"""Partials at a time that are compared with a candidate; those that yield candidates; and the harmonics that these may be."""
MOST_CANDIDATES = 24
"""Candidates at a time that the path may go through."""
MOST_SLOTS = 24
"""Harmonics of a candidate that are distinguished; partials above count as the last."""
MOST_WIDTH, WIDTH_SHARE, WIDTH_HZ = 0.2, 0.03, 12.0
"""Width of a harmonic: a share of its frequency plus some Hz, for glides and short cells, but at most this share of f0."""
UNMATCHED = 0.32
"""Weight of partials between harmonics."""
EXPECTED_DB = -30.0
"""Level, relative to the strongest partial, of the highest one up to which all harmonics are expected."""
ENOUGH = 0.4
"""Pitch strength from which on a time is voiced."""
STEP_S = 0.01
OCTAVE_COST, SWITCH_COST = 10.0, 0.6
"""Costs of a jump by an octave, and of a change between voiced and unvoiced, in pitch strength times `STEP_S`."""
FREE_OCTAVES = 0.03
"""Change between two times that costs nothing: a third of a semitone, as in glides, and where one cell follows another."""
LOW_DB, HIGH_DB = -50.0, -35.0
"""Level, relative to the loudest time, up to which a time is unvoiced, and from which on its pitch strength counts in full."""
_AT_ONCE = 64


class Spectra(NamedTuple):
    """The strongest partials at each time, ``[N, MOST_PARTIALS]`` each, by falling level; 0 for none."""

    frequency_hz: Floats
    level: Floats
    """Amplitude."""
    tonal: Floats
    """Amplitude times the tonal weight, 0 to 1."""


def tracked_pitch(rows: PartialRows, weights: Floats, times_s: Floats) -> tuple[Floats, Floats]:
    """Return the pitch in Hz (NaN for none) and its strength, 0 to 1, at each time, ``[N]`` each.

    Args:
        rows: the partials.
        weights: tonal weight of each partial, 0 to 1, ``[P]``.
        times_s: the times, evenly spaced from 0.

    """
    spectra = strongest_partials(rows, weights, times_s)
    parts = [slice(first, first + _AT_ONCE) for first in range(0, len(times_s), _AT_ONCE)]
    found = [best_candidates(Spectra(*(column[part] for column in spectra))) for part in parts]
    candidate, strength = (np.concatenate(columns) for columns in zip(*found, strict=True))
    power = (spectra.level**2).sum(1)
    level_db = 10 * np.log10(np.maximum(power, 1e-30) / max(float(power.max()), 1e-30))
    strength *= (np.clip((level_db - LOW_DB) / (HIGH_DB - LOW_DB), 0, 1) * (power > 0))[:, None]
    hop_s = times_s[1] if len(times_s) > 1 else STEP_S
    path = best_path(candidate, strength, hop_s / STEP_S)
    at = np.arange(len(path)), np.minimum(path, MOST_CANDIDATES - 1)
    voiced = path < MOST_CANDIDATES
    return np.where(voiced, candidate[at], np.nan), np.minimum(np.where(voiced, strength[at], strength.max(1)), 1.0)


def strongest_partials(rows: PartialRows, weights: Floats, times_s: Floats) -> Spectra:
    """Return the strongest partials within `WINDOW_S` around each time, those below `LOWEST_HZ` left out."""
    pairs = Sounding.around(rows, times_s, WINDOW_S)
    pairs = pairs.keep(rows.frequency_hz[pairs.partial] >= LOWEST_HZ)
    pairs = pairs.keep(np.lexsort((-pairs.level, pairs.moment)))
    counts = np.bincount(pairs.moment, minlength=len(times_s))
    rank = np.arange(len(pairs.moment)) - np.repeat(np.cumsum(counts) - counts, counts)
    pairs, rank = pairs.keep(rank < MOST_PARTIALS), rank[rank < MOST_PARTIALS]
    columns = np.zeros((3, len(times_s), MOST_PARTIALS))
    for column, values in zip(columns, (rows.frequency_hz[pairs.partial], pairs.level, weights[pairs.partial]), strict=True):
        column[pairs.moment, rank] = values
    return Spectra(columns[0], columns[1], columns[1] * columns[2])


def best_candidates(spectra: Spectra) -> tuple[Floats, Floats]:
    """Return candidates in Hz and their pitch strengths, ``[N, MOST_CANDIDATES]`` each; NaN and 0 for none.

    Candidates are those f0 of which one of the strongest partials is a harmonic.
    """
    divisors = np.arange(1, MOST_DIVISOR + 1)
    every = (spectra.frequency_hz[:, :STRONGEST, None] / divisors).reshape(len(spectra.level), -1)
    able = (np.repeat(spectra.tonal[:, :STRONGEST] > 0, MOST_DIVISOR, 1)) & (every >= LOWEST_HZ)
    strength = np.where(able, pitch_strength(np.where(able, every, LOWEST_HZ), spectra), 0.0)
    chosen = np.argpartition(-strength, MOST_CANDIDATES - 1, 1)[:, :MOST_CANDIDATES]
    strength = np.take_along_axis(strength, chosen, 1)
    return np.where(strength > 0, np.take_along_axis(every, chosen, 1), np.nan), np.maximum(strength, 0)


def pitch_strength(candidate: Floats, spectra: Spectra) -> Floats:
    """Return the similarity between partials and the harmonic series of candidates ``[N, K]``, ``[N, K]``, up to about 1.

    Each harmonic collects the tonal energy near it, and each place between two harmonics the energy that is far from both. With
    the fourth roots of these (square roots of amplitudes) ``m_n`` and ``u_n``, and ``a_n`` those of all energy around a
    harmonic, the strength is ``sum_n (m_n / sqrt(n) - UNMATCHED u_n / sqrt(n - 1/2))``, divided by the norms of ``a`` and of
    ``1 / sqrt(n)`` over the harmonics that are expected: the cosine of the angle between the two. Missing harmonics, as
    those of a subharmonic, make the second norm larger; partials between harmonics, as with a multiple of f0, make the
    sum smaller.
    """
    hz, energy, tonal = (part.astype(np.float32)[:, None] for part in (spectra.frequency_hz, spectra.level**2, spectra.tonal**2))
    candidate = candidate.astype(np.float32)
    ratio = hz / candidate[:, :, None]
    number = np.clip(np.round(ratio), 1, MOST_SLOTS)
    width = np.minimum(MOST_WIDTH, WIDTH_SHARE * ratio + WIDTH_HZ / candidate[:, :, None])
    near = np.exp(-(((ratio - number) / width) ** 2))
    at, between = number.astype(np.int64) - 1, np.minimum(ratio, MOST_SLOTS - 1).astype(np.int64)
    sums = _by_harmonic(at, tonal * near), _by_harmonic(between, energy * (1 - near)), _by_harmonic(at, energy)
    matched, unmatched, every = (np.sqrt(np.sqrt(part)) for part in sums)
    place = np.arange(1, MOST_SLOTS + 1)
    found = matched @ (1 / np.sqrt(place)) - unmatched @ (UNMATCHED / np.sqrt(place - 0.5))
    heard = spectra.level > spectra.level[:, :1] * 10 ** (EXPECTED_DB / 20)
    highest = np.where(heard, spectra.frequency_hz, 0).max(1)
    expected = np.maximum(1, np.floor(highest[:, None] / candidate + 0.25))
    harmonic_sum = np.log(expected + 0.5) + 0.5772  # of 1 / n
    strength: Floats = found / np.maximum(np.sqrt((every**2).sum(2) * harmonic_sum), 1e-30)
    return strength


def _by_harmonic(place: NDArray[np.int64], values: NDArray[np.float32]) -> Floats:
    """Return sums of values ``[N, K, M]`` by their places, ``[N, K, MOST_SLOTS]``."""
    rows = place.shape[0] * place.shape[1]
    key = (place + np.arange(rows).reshape(*place.shape[:2], 1) * MOST_SLOTS).ravel()
    sums = np.bincount(key, np.broadcast_to(values, place.shape).ravel(), rows * MOST_SLOTS).astype(np.float64)
    return sums.reshape(*place.shape[:2], MOST_SLOTS)


def best_path(candidate: Floats, strength: Floats, hop: float) -> NDArray[np.int64]:
    """Return the index of the candidate at each time, or the number of candidates for unvoiced, ``[N]`` (Viterbi algorithm).

    Maximises the sum of strengths over `ENOUGH`, less the costs of jumps and of switches.

    Args:
        candidate: frequencies in Hz, ``[N, K]``; NaN for none.
        strength: pitch strengths, ``[N, K]``.
        hop: time between two rows, in units of `STEP_S`.

    """
    count, states = strength.shape[0], strength.shape[1] + 1
    none = np.isnan(candidate)
    octave = np.log2(np.where(none, 1.0, candidate))
    reward = np.pad(np.where(none, -np.inf, (strength - ENOUGH) * hop), ((0, 0), (0, 1)))
    back = np.zeros((count, states), np.int64)
    cost = np.full((states, states), SWITCH_COST)
    cost[-1, -1] = 0
    total = reward[0]
    for at in range(1, count):
        cost[:-1, :-1] = OCTAVE_COST * np.maximum(np.abs(octave[at] - octave[at - 1][:, None]) - FREE_OCTAVES, 0)
        arrived = total[:, None] - cost
        back[at] = arrived.argmax(0)
        total = arrived.max(0) + reward[at]
    path = np.zeros(count, np.int64)
    path[-1] = total.argmax()
    for at in range(count - 1, 0, -1):
        path[at - 1] = back[at, path[at]]
    return path
