"""ERB distance, dead bands and missing bands: differences in level where they are audible.

A signal is cut into frames of 20 ms without overlap, each with a Hann window, and the power of its spectrum is summed in 24
bands of equal width in ERB number, from 50 Hz to 16 kHz or Nyquist. A cell (one band of one frame) is audible where the
target is within 50 dB of its loudest cell. The distance is the root mean square of the difference in level over the audible
bands of a frame, averaged over the frames that have any. A floor 65 dB below the loudest cell is added to all powers, so that
silence is at a finite distance. A cell is dead where the estimate is 15 dB or more below the target.

Two realisations of the same white noise have a distance of 3.7 dB (44.1 kHz): no random signal can be nearer on average.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddaudio.grid.erb import bin_shares, evenly_spaced_hz
from ddaudio.io.samples import Samples, block_length
from ddaudio.io.spectra import Frames
from ddaudio.metrics.registry import (
    AUDIBLE_DB,
    DEAD_DB,
    ERB_BANDS,
    ERB_FLOOR_DB,
    ERB_FRAME_S,
    EVERYWHERE,
    HIGHEST_ERB_HZ,
    LOWEST_ERB_HZ,
    MISSING_SHARE,
    MOST_OF_DEAD,
    REPORTED_SHARE,
)
from ddaudio.metrics.signals import SILENT, Metric, SignalPair, defined


@dataclass(frozen=True)
class MissingBand:
    """A range of frequencies that is audible in the target and dead in the estimate."""

    low_hz: float
    """Lower end; 0 if nothing below is audible."""
    high_hz: float
    """Upper end; Nyquist if nothing above is audible."""
    share: float
    """Share of the target's audible cells that the range contains, 0 to 1."""


class Range(NamedTuple):
    """A range of frequencies in Hz."""

    low_hz: float
    """Lower end; 0 if nothing below is audible in the target."""
    high_hz: float
    """Upper end; Nyquist if nothing above is audible in the target."""


class ErbDistance(NamedTuple):
    """Result of `erb_distance`, over all channels."""

    distance_db: float
    """Root mean square difference in level, dB; NaN for a silent target, or where a signal is not finite."""
    dead_share: float
    """Share of the audible cells that are dead, 0 to 1; NaN for a silent target, or where a signal is not finite."""
    missing: list[MissingBand]
    """Ranges of frequencies that are missing, from low to high."""
    most_dead: Range | None = None
    """The narrowest range that contains four fifths of the dead cells outside missing ones; None without such cells, or if
    they are everywhere."""


def erb_distance(estimate: Samples, target: Samples, sample_rate: int) -> ErbDistance:
    """Measure the difference in level between two signals ``[C, T]`` where they are audible.

    Args:
        estimate: ``[C, T]``, T at least 1; read once, block by block.
        target: of the same shape; read twice.
        sample_rate: samples per second.

    Example:
        >>> noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
        >>> halved = erb_distance(noise / 2, noise, 16000)
        >>> round(halved.distance_db, 1), halved.dead_share, halved.missing
        (6.0, 0.0, [])
        >>> erb_distance(noise * 0, noise, 16000).missing
        [MissingBand(low_hz=0.0, high_hz=8000.0, share=1.0)]

    """
    loudest = float(torch.stack([powers.amax() for (powers,) in _powers(sample_rate, target)]).amax())
    if not 0 < loudest < math.inf:
        return ErbDistance(math.nan, math.nan, [])
    least, floor = loudest * 10 ** (-AUDIBLE_DB / 10), loudest * 10 ** (-ERB_FLOOR_DB / 10)
    frames = torch.zeros(2, dtype=torch.float64)
    cells = torch.zeros(2, ERB_BANDS, dtype=torch.float64)
    for given, wanted in _powers(sample_rate, estimate, target):
        audible = wanted >= least
        difference = torch.where(audible, 10 * torch.log10((wanted + floor) / (given + floor)), 0)
        count = audible.sum(-1)
        frames += torch.stack([(difference.square().sum(-1) / count.clamp(min=1)).sqrt().sum(), (count > 0).sum()])
        dead = audible & (given <= wanted * 10 ** (-DEAD_DB / 10))
        cells += torch.stack([audible.sum((0, 1)), dead.sum((0, 1))])
    distance, (audible_cells, dead_cells) = float(frames[0] / frames[1]), cells.sum(1).tolist()
    if not math.isfinite(distance):
        return ErbDistance(math.nan, math.nan, [])
    in_bands = cells[0].tolist(), cells[1].tolist()
    missing = _missing(*in_bands, sample_rate)
    return ErbDistance(distance, dead_cells / audible_cells, missing, _most_dead(*in_bands, missing, sample_rate))


def erb_metrics(pair: SignalPair) -> dict[str, Any]:
    """Return the ERB distance and the share of dead cells, missing bands, and the range of most other dead cells, by name."""
    found = erb_distance(pair.estimate, pair.target, pair.sample_rate)
    values = {"erb_db": found.distance_db, "dead_bands": found.dead_share}
    metrics = {name: defined(value) if pair.sums.peak else Metric(None, SILENT) for name, value in values.items()}
    return {**metrics, "missing_bands": found.missing, "most_dead": found.most_dead}


def _missing(audible: list[float], dead: list[float], sample_rate: int) -> list[MissingBand]:
    """Return the ranges of adjacent bands that are missing; bands without audible cells belong to either side."""
    found, run = [], list[int]()
    for band in range(ERB_BANDS + 1):
        if band < ERB_BANDS and dead[band] >= MISSING_SHARE * audible[band]:
            run += [band] if audible[band] else []
            continue
        share = sum(audible[one] for one in run) / sum(audible)
        if share >= REPORTED_SHARE:
            found.append(MissingBand(*_range(run[0], run[-1], audible, sample_rate), share))
        run = []
    return found


def _most_dead(audible: list[float], dead: list[float], missing: list[MissingBand], sample_rate: int) -> Range | None:
    """Return the narrowest range of adjacent bands with most of the dead cells outside missing ranges."""
    edges = band_edges_hz(sample_rate).tolist()
    named = [any(one.low_hz <= low < one.high_hz for one in missing) for low in edges[:-1]]
    left = [0.0 if is_named else count for count, is_named in zip(dead, named, strict=True)]
    wanted = MOST_OF_DEAD * sum(left)
    if not wanted:
        return None
    ranges = ((first, last) for first in range(ERB_BANDS) for last in range(first, ERB_BANDS))
    enough = (one for one in ranges if sum(left[one[0] : one[1] + 1]) >= wanted)
    first, last = min(enough, key=lambda one: one[1] - one[0])
    if sum(audible[first : last + 1]) >= EVERYWHERE * sum(audible):
        return None
    return _range(first, last, audible, sample_rate)


def _range(first: int, last: int, audible: list[float], sample_rate: int) -> Range:
    """Return the range of adjacent bands, extended where nothing beyond is audible."""
    edges = band_edges_hz(sample_rate).tolist()
    low_hz = edges[first] if any(audible[:first]) else 0.0
    return Range(low_hz, edges[last + 1] if any(audible[last + 1 :]) else sample_rate / 2)


def band_edges_hz(sample_rate: int) -> Tensor:
    """Return the edges of the bands in Hz, ``[25]`` float64."""
    highest_hz = min(HIGHEST_ERB_HZ, sample_rate / 2)
    return evenly_spaced_hz(min(LOWEST_ERB_HZ, highest_hz / 2), highest_hz, ERB_BANDS + 1)


@lru_cache(maxsize=16)
def _weights(sample_rate: int, n_fft: int) -> Tensor:
    """Return the share of each bin in each band, ``[n_fft // 2 + 1, 24]``."""
    return bin_shares(band_edges_hz(sample_rate), n_fft, sample_rate)


def _powers(sample_rate: int, *signals: Samples) -> Iterator[list[Tensor]]:
    """Yield the powers of all bands of the frames of each signal, ``[C, F, 24]`` float64, block by block."""
    length = max(2, round(ERB_FRAME_S * sample_rate))
    n_fft = 1 << math.ceil(math.log2(2 * length))
    # Sampled at half positions, so that no value is 0 and a single sample counts.
    window = torch.sin((torch.arange(length, dtype=torch.float64) + 0.5) * (math.pi / length)).square()
    weights, (n_channels, n_samples) = _weights(sample_rate, n_fft), signals[0].shape
    # The window is in the middle of a frame of the FFT.
    frames = Frames(n_fft, hop=length, n_frames=-(-n_samples // length), first_sample=-((n_fft - length) // 2))
    at_a_time = max(1, block_length(8 * n_channels) // length)
    for spectra in zip(*(frames.spectra(signal, window, at_a_time) for signal in signals), strict=True):
        yield [torch.view_as_real(each.mT).square().sum(-1) @ weights for each in spectra]
