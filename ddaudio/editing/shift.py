"""Shifting of pitch and of formants."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ddaudio.editing.curves import Curve, CurveLike
from ddaudio.editing.editable import Edit, Editable
from ddaudio.editing.envelope import Envelope, envelope_of
from ddaudio.editing.knots import LEAST_RAD, inserted_at, runs
from ddaudio.editing.noise_levels import levels_of, silent_db, with_levels
from ddaudio.editing.rephasing import ready, rephased
from ddaudio.editing.time_map import Attacks, values_of
from ddaudio.editing.tune import tuning
from ddaudio.models.noise.grid import STEP_S
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.synthesis.knots import segment_starts

MOST_SEMITONES = 60.0
"""Largest shift in either direction."""
LEAST_FORMANTS, MOST_FORMANTS = 0.25, 4.0
"""Factors of formants that are allowed."""
KNOT_S = 0.010
"""Interval of knots where the shift or the envelope varies."""


def shift(
    *, shift: CurveLike | None = None, tune: str | None = None, keep_formants: bool = False, formants: CurveLike | None = None
) -> Edit | None:
    """Return the edit that shifts pitch and formants; None if nothing is shifted.

    Args:
        shift: semitones, or curve of semitones, -60 to 60.
        tune: pitch or scale, see `ddaudio.editing.tune.tuning`; with ``shift`` as well, what is tuned is then shifted.
        keep_formants: whether the spectral envelope stays where it is.
        formants: factor, or curve of factors, by which the frequencies of the envelope are multiplied, 0.25 to 4.

    """
    semitones = Curve.of(0.0 if shift is None else shift, "shift", -MOST_SEMITONES, MOST_SEMITONES)
    factor = Curve.of(1.0 if formants is None else formants, "formants", LEAST_FORMANTS, MOST_FORMANTS)
    tuned = None if tune is None else tuning(tune)
    if tuned is None and semitones.is_always(0) and factor.is_always(1):
        return None

    def edit(sound: Editable) -> Editable:
        """Tune, then shift."""
        curves = [semitones] if tuned is None else [tuned(sound), semitones]
        return shifted(sound, curves, factor, keep_formants=keep_formants)

    return edit


def shifted(sound: Editable, semitones: list[Curve], formants: Curve, *, keep_formants: bool) -> Editable:
    """Return a sound whose partials have other frequencies, and whose spectral envelope may have, too.

    Without ``keep_formants`` and a factor of formants, each partial and the noise keep their levels as they move. Otherwise
    partials get the level of the envelope at their new frequency; noise, which has no pitch, moves with the envelope.

    Args:
        sound: tracks and noise.
        semitones: curves that are added up.
        formants: factor of the frequencies of the envelope.
        keep_formants: whether the envelope does not move with the pitch.

    """
    rate, n_samples = sound.sample_rate, sound.n_samples
    ratio, factor = partial(_ratio, semitones), partial(values_of, formants)
    with_envelope = keep_formants or not formants.is_always(1)
    envelope = envelope_of(sound) if with_envelope else None
    most = 2 ** (sum(max(curve.values) for curve in semitones) / 12)
    sound = sound.with_tracks(ready(sound.knots, most))
    if with_envelope or not all(curve.is_constant for curve in (*semitones, formants)):
        points = [time_s * rate for curve in (*semitones, formants) for time_s in curve.times_s]
        even = torch.arange(0, n_samples, KNOT_S * rate, dtype=torch.float64).tolist()
        sound = sound.with_tracks(inserted_at(sound.knots, torch.tensor(sorted({*points, *even}), dtype=torch.float64)))
    here = ratio(sound.knots.position / rate)
    moved = (1.0 if keep_formants else here) * factor(sound.knots.position / rate)
    sound = with_frequencies(sound, here, None if envelope is None else partial(_gains, envelope, moved=moved))
    noise = sound.noise
    if noise is not None:
        node_s = torch.arange(noise.grid.n_intervals + 1, dtype=torch.float64) * STEP_S
        noise = _moved_noise(noise, (1.0 if keep_formants else ratio(node_s)) * factor(node_s))
    return replace(sound, noise=noise)


Gains = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A function from positions, old and new frequencies of all knots to gains."""


def with_frequencies(sound: Editable, ratio: Tensor, gains: Gains | None = None) -> Editable:
    """Return a sound whose tracks have other frequencies, without what would reach the Nyquist frequency.

    Args:
        sound: tracks.
        ratio: new frequency of each knot relative to its own, ``[K]``; above 1, knots must be `ready` for it.
        gains: factor of each amplitude (default: 1).

    """
    knots, left = sound.knots, segment_starts(sound.knots.counts)
    scale = (ratio[left] + ratio[left + 1]) / 2
    frequency, amplitude = knots.frequency * ratio, knots.amplitude
    if gains is not None:
        amplitude = amplitude * gains(knots.position, knots.frequency, frequency)
    phase = rephased(sound, scale, Attacks.none())
    highest = math.pi - LEAST_RAD
    moved = knots._replace(frequency=frequency.clamp(LEAST_RAD, highest), phase=phase, amplitude=amplitude)
    return sound.with_tracks(*runs(moved, sound.signal, frequency < highest))


def _ratio(semitones: list[Curve], times_s: Tensor) -> Tensor:
    """Return the ratio of frequencies at some times."""
    return torch.exp2(sum((values_of(curve, times_s) for curve in semitones), torch.zeros_like(times_s)) / 12)


def _gains(envelope: Envelope, position: Tensor, old: Tensor, new: Tensor, moved: Tensor) -> Tensor:
    """Return the gain from the level of the envelope at ``old`` to that of the ``moved`` envelope at ``new`` frequencies."""
    return 10 ** ((envelope.at(position, new / moved) - envelope.at(position, old)) / 20)


def _moved_noise(noise: NoiseNetwork, ratio: Tensor) -> NoiseNetwork:
    """Return noise whose frequencies are multiplied by ``ratio [n_intervals + 1]``, and whose power stays."""
    if bool((ratio == 1).all()) or not noise.n_components():
        return noise
    grid, levels = noise.grid, levels_of(noise)
    band = grid.band_of(grid.hz / ratio[:, None])
    column = band.long().clamp(max=grid.bands - 2)
    share = (band - column).clamp(max=1)
    index = column.expand(levels.shape[0], -1, -1)
    moved = levels.gather(2, index) * (1 - share) + levels.gather(2, index + 1) * share - 10 * torch.log10(ratio)[:, None]
    # Above what was the highest frequency there is nothing.
    return with_levels(noise, torch.where(band > grid.bands - 1, silent_db(noise), moved), noise.shape[1])
