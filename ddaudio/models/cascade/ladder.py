"""Fixed ladders of frequencies of the ``cascade``, and its initialisation layer by layer."""

import math

import torch
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import SOLVER_STEPS, solve_amplitudes
from ddaudio.analysis.partials import Partials
from ddaudio.analysis.peaks import spectral_peaks
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.options import ActivationName, CascadeOptions

NEAR_BEST = 0.1
"""Share of the best peak's gain above which other peaks are taken in the same round."""
SEARCH_STEPS = 6
"""Number of bisections in the search for the shortest ladder that reaches a goal."""


def ranks(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return frame and number of layers before it of each layer, ``[P]`` int64, for ``counts [F]`` layers in each frame."""
    frame = torch.arange(counts.numel()).repeat_interleave(counts)
    return frame, torch.arange(frame.numel()) - (counts.cumsum(0) - counts)[frame]


def rungs(counts: Tensor, options: CascadeOptions, sample_rate: int) -> Tensor:
    """Return the frequencies of fixed ladders, ``[P]`` radians per sample, descending, ``counts [F]`` in each frame.

    ``linear`` divides the band from 0 to Nyquist equally, rung ``k`` of ``K`` in the middle of its share:
    ``pi (K - k + 1/2) / K``. ``octave`` begins at Nyquist, ``pi / 2^(k - 1)``: waves of 2, 4, 8 samples and so on. Chosen ones
    are all or none in each frame.
    """
    frame, rank = ranks(counts)
    if options.chosen_hz:
        return torch.tensor(sorted(options.chosen_hz, reverse=True))[rank] * (2 * math.pi / sample_rate)
    if options.ladder == "octave":
        return math.pi * 2.0 ** -rank.float()
    return math.pi * (counts[frame] - rank - 0.5).float() / counts[frame]


def most_rungs(lengths: Tensor, options: CascadeOptions) -> Tensor:
    """Return the largest useful number of rungs for frames of ``lengths [F]``: one per bin, or for octaves down to one period."""
    if options.chosen_hz:
        return torch.full_like(lengths, len(options.chosen_hz))
    if options.ladder == "octave":
        return lengths.float().log2().floor().long().clamp(min=1)
    return torch.div(lengths + 1, 2, rounding_mode="floor")


def climb(target: Tensor, grid: TimeGrid, size: Budget, options: CascadeOptions) -> Partials:
    """Return the shortest fixed ladder that reaches the goal of ``size``, or the longest allowed, fitted by least squares."""
    sounding = torch.cat([frames.abs().amax(1) > 0 for frames in grid.frame(target)])
    most = most_rungs(grid.frames.length, options) * sounding
    if size.most_per_frame is not None and not options.chosen_hz:
        most = most.clamp(max=size.most_per_frame)
    energy = torch.cat([frames.square().sum(1) for frames in grid.frame(target)])
    loudness_rank = torch.argsort(torch.argsort(energy, descending=True, stable=True))

    def of(share: float) -> Tensor:
        """Return the number of rungs of each frame for a share of the largest, at least one in frames that are not silent.

        Of chosen frequencies a share of the frames has all, the loudest ones.
        """
        if options.chosen_hz:
            return most * (loudness_rank < round(share * int(sounding.sum())))
        if options.ladder == "octave":
            return most.clamp(max=round(share * int(most.max()))) if most.numel() else most
        return torch.where(most > 0, (share * most).long().clamp(min=1), 0)

    low, high = 0.0, 1.0
    for _ in range(2 * SEARCH_STEPS if int(of(1.0).sum()) > size.most else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if int(of(middle).sum()) <= size.most else (low, middle)
    share = high if int(of(high).sum()) <= size.most else low
    if int(of(share).sum()) > size.most:
        return Partials.none(target)
    found, left = _solved(target, grid, of(share), options)
    if size.goal_energy and left <= size.goal_energy:
        low, high = 0.0, share
        for _ in range(SEARCH_STEPS):
            middle = (low + high) / 2
            shorter, left = _solved(target, grid, of(middle), options)
            if left <= size.goal_energy:
                found, high = shorter, middle
            else:
                low = middle
    return found


def _solved(target: Tensor, grid: TimeGrid, counts: Tensor, options: CascadeOptions) -> tuple[Partials, float]:
    """Return a fixed ladder with its amplitudes, and the residual energy."""
    frequency = rungs(counts, options, grid.sample_rate).to(target)
    frame, rank = ranks(counts)
    silent = Partials(frame, frequency, torch.zeros_like(frequency), torch.zeros_like(frequency))
    if not options.greedy:
        found, residual = solve_amplitudes(silent, target, grid, 3 * SOLVER_STEPS)
        return found, float(residual.double().square().sum())
    layers, residual = [], target
    for layer in range(int(counts.max())):
        found, residual = solve_amplitudes(silent.keep(rank == layer), residual, grid, SOLVER_STEPS)
        layers.append(found)
    none = Partials.none(target)
    return (none.joined(*layers).falling() if layers else none), float(residual.double().square().sum())


def greedy_peaks(target: Tensor, grid: TimeGrid, size: Budget) -> Partials:
    """Return waves found one after another: in each round every frame may take the strongest peak of the residual.

    The amplitudes of a wave are solved for on their own and then fixed. With a budget, a round takes as many peaks as affordable.
    """
    found, residual = Partials.none(target), target
    most_per_frame = size.most_per_frame or size.most
    counts = torch.zeros(grid.n_frames, dtype=torch.int64)
    while True:
        energy = float(residual.double().square().sum())
        left = size.most - len(found)
        if left < 1 or energy <= size.goal_energy:
            break
        peaks = spectral_peaks(residual, grid)
        first = torch.full((grid.n_frames,), peaks.frame.numel()).scatter_reduce(
            0, peaks.frame, torch.arange(peaks.frame.numel()), "amin"
        )
        chosen = first[(first < peaks.frame.numel()) & (counts < most_per_frame)]
        # Peaks are sorted, strongest first; weak ones are left to later rounds.
        chosen = chosen[peaks.gain[chosen] > NEAR_BEST * float(peaks.gain[0])].sort().values[:left] if len(peaks.gain) else chosen
        if not chosen.numel():
            break
        order = torch.argsort(peaks.frame[chosen])
        silent = torch.zeros_like(peaks.gain[chosen])
        wave = Partials(peaks.frame[chosen][order], peaks.frequency[chosen][order].to(target), silent, silent)
        wave, residual = solve_amplitudes(wave, residual, grid, SOLVER_STEPS)
        found, counts = found.joined(wave), counts.index_add(0, wave.frame, torch.ones_like(wave.frame))
    return found


def centres(partials: Partials, grid: TimeGrid) -> Tensor:
    """Return the mean phase of each frame's waves, weighted by amplitude, ``[F]`` radians."""
    real, imaginary = (
        part.new_zeros(grid.n_frames).index_add(0, partials.frame, part) for part in (partials.cosine, -partials.sine)
    )
    return torch.atan2(imaginary, real)


def activated(values: Tensor, activation: ActivationName) -> Tensor:
    """Apply an activation to ``values``."""
    if activation == "none":
        return values
    return torch.tanh(values) if activation == "tanh" else torch.sin(values)
