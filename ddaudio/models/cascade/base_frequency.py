"""Ladders with a learned base: in each frame the frequencies of all layers are multiples of one.

``harmonic`` has the multiples ``1..K`` of its base, ``octave`` the base divided by ``1, 2, 4, ...``. Candidates for the base are
those whose ladder has a rung at one of the strongest peaks of the frame's spectrum. The gain of a ladder is the sum of the gains
of its rungs, which is right if they are two bins apart.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import SOLVER_STEPS, solve_amplitudes
from ddaudio.analysis.partials import Partials
from ddaudio.analysis.peaks import spectral_peaks
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.cascade.ladder import SEARCH_STEPS, ranks
from ddaudio.options import CascadeOptions

PEAKS, MULTIPLES = 8, 12
"""Candidates: each of the strongest peaks of a frame is one of the first multiples of a base."""
MOST_LAYERS = 128
"""Largest number of layers of a frame."""
APART_BINS = 2.0
"""Least distance of the rungs of a harmonic ladder, and least frequency of an octave ladder's lowest one, in bins."""
NEAR_BINS, NEARBY = 0.2, 25
"""Range and number of the bases tried about each candidate."""
ZOOM = 4
"""Steps of the spectra per bin."""
PRICE_STEPS = 40
"""Bisections of the price of a layer."""


def multiples(counts: Tensor, options: CascadeOptions) -> Tensor:
    """Return the frequency of each layer relative to its frame's base, ``[P]``, descending, for ``counts [F]`` layers."""
    frame, rank = ranks(counts)
    return (counts[frame] - rank).float() if options.ladder == "harmonic" else 2.0 ** -rank.float()


def climb_from_base(target: Tensor, grid: TimeGrid, size: Budget, options: CascadeOptions) -> Partials:
    """Return ladders on the best bases: the shortest that reach the goal of ``size``, or the longest allowed."""
    gains, bases = best_ladders(target, grid, options, size.most_per_frame or MOST_LAYERS)
    low, high = 0.0, float(gains.max()) if gains.numel() else 0.0
    for _ in range(PRICE_STEPS if int(_counts(gains, 0.0).sum()) > size.most else 0):
        middle = (low + high) / 2
        low, high = (low, middle) if int(_counts(gains, middle).sum()) <= size.most else (middle, high)
    price = high if int(_counts(gains, low).sum()) > size.most else low
    found, left = _solved(target, grid, _counts(gains, price), bases, options)
    if size.goal_energy and left <= size.goal_energy:
        low, high = price, float(gains.max())
        for _ in range(2 * SEARCH_STEPS):
            middle = math.sqrt(max(low, 1e-9 * high) * high)
            shorter, left = _solved(target, grid, _counts(gains, middle), bases, options)
            if left <= size.goal_energy:
                found, low = shorter, middle
            else:
                high = middle
    return found


def _counts(gains: Tensor, price: float) -> Tensor:
    """Return the number of layers of each frame with the largest gain minus ``price`` for each, ``[F]``."""
    layers = torch.arange(gains.shape[1] + 1)
    return (pad(gains, (1, 0)) - price * layers).argmax(1)


def _solved(target: Tensor, grid: TimeGrid, counts: Tensor, bases: Tensor, options: CascadeOptions) -> tuple[Partials, float]:
    """Return ladders of ``counts [F]`` layers on ``bases [F, K]`` with their amplitudes, and the residual energy."""
    frame, _ = ranks(counts)
    base = bases[torch.arange(len(counts)), (counts - 1).clamp(min=0)]
    frequency = (base[frame] * multiples(counts, options)).to(target)
    silent = torch.zeros_like(frequency)
    found, residual = solve_amplitudes(Partials(frame, frequency, silent, silent), target, grid, 3 * SOLVER_STEPS)
    return found, float(residual.double().square().sum())


def best_ladders(target: Tensor, grid: TimeGrid, options: CascadeOptions, most: int) -> tuple[Tensor, Tensor]:
    """Return gain and base, in radians per sample, of the best ladder of 1 to ``K`` layers in each frame, ``[F, K]`` float64.

    ``K`` is ``most`` or less. Where there is no ladder of a length, as above Nyquist, its gain is minus infinity.
    """
    most = max(1, min(most, MOST_LAYERS, int(grid.frames.length.max()) // 4))
    peaks = spectral_peaks(target, grid)
    gains, bases = torch.zeros(grid.n_frames, most, dtype=torch.float64), torch.ones(grid.n_frames, most, dtype=torch.float64)
    by_frame = torch.argsort(peaks.frame, stable=True)
    ends = torch.bincount(peaks.frame, minlength=grid.n_frames).cumsum(0)
    for frame, power, bin_rad in _spectra(target, grid):
        first = int(ends[frame - 1]) if frame else 0
        own = peaks.frequency[by_frame[first : int(ends[frame])][:PEAKS]].double()
        if own.numel():
            gains[frame], bases[frame] = _best(own, power, bin_rad, most, options)
    return gains, bases


def _spectra(target: Tensor, grid: TimeGrid) -> Iterator[tuple[int, Tensor, float]]:
    """Yield number, energies that a partial would remove ``[N]`` and bin in radians per sample of each frame's spectrum."""
    for group, frames in zip(grid.groups, grid.frame(target), strict=True):
        n_fft = ZOOM * group.length
        for row in range(frames.shape[0]):
            squared = group.windows[row].to(target) ** 2
            power = torch.fft.rfft(frames[row] * squared, n_fft).abs().square() / (squared.sum() / 2)
            yield group.frames.start + row, power.double(), 2 * math.pi / group.length


def _best(peaks: Tensor, power: Tensor, bin_rad: float, most: int, options: CascadeOptions) -> tuple[Tensor, Tensor]:
    """Return gain and base of the best ladder of each length in one frame, ``[K]``."""
    steps = torch.arange(1, most + 1, dtype=torch.float64)
    harmonic = options.ladder == "harmonic"
    ratio = steps if harmonic else 2.0 ** (1 - steps)
    base = (peaks[:, None] / ratio[:MULTIPLES]).flatten()
    base = base[(base >= APART_BINS * bin_rad) & (base <= math.pi)] if harmonic else base[base <= math.pi]
    if not base.numel():
        base = peaks[:1].clamp(APART_BINS * bin_rad, math.pi)
    # A peak is known to a fraction of a bin, but high multiples of a base need more.
    base = (base[:, None] + torch.linspace(-NEAR_BINS, NEAR_BINS, NEARBY).double() * bin_rad).flatten().clamp(0, math.pi)
    frequency = base[:, None] * ratio
    allowed = (frequency <= math.pi) & (harmonic | (steps == 1) | (frequency >= APART_BINS * bin_rad))
    place = (frequency * (ZOOM / bin_rad)).clamp(0, len(power) - 1.001)
    below = place.long()
    share = place - below
    height = power[below] * (1 - share) + power[below + 1] * share
    best = torch.where(allowed, height.cumsum(1), -torch.inf).max(0)
    return best.values, base[best.indices]
