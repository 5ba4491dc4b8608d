"""Partials chosen, solved for and ranked with errors weighted over frequency."""

import math

import numpy as np
import pytest
import torch
from jacobians import columns_of, network_of
from sounds import RATE, noise, tones

from ddaudio.analysis.matching_pursuit import Pursuit, pursue, pursue_many
from ddaudio.analysis.peaks import spectral_peaks
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import weighting_of
from ddaudio.models import Budget, Partials, SineNetwork

SLOPE = weighting_of({"slope": 1.0}, 4096)
"""``2 sin^2 w``: 400 Hz count 30 times less than 2 kHz, a quarter of the rate."""


def test_the_strongest_peak_is_that_of_the_weighted_error() -> None:
    sound = tones([400.0, 2000.0], [1.0, 0.4], [0.3, 0.7], 0.512)
    grid = TimeGrid.of_sizes(RATE, 4096, [[4096]])
    for weighting, hz in ((None, 400), (SLOPE, 2000)):
        peaks = spectral_peaks(sound, grid, weighting)
        assert float(peaks.frequency[0]) * RATE / (2 * math.pi) == pytest.approx(hz, abs=1)
        partials, _ = pursue(sound, grid, Budget(1), weighting=weighting)
        assert float(partials.frequency[0]) * RATE / (2 * math.pi) == pytest.approx(hz, abs=1)
    first, second = (spectral_peaks(sound, grid, weighting).gain[0] for weighting in (None, SLOPE))
    assert float(first / second) == pytest.approx(1 / 0.16, rel=0.2)  # plain energies, on a grid of half bins


def test_amplitudes_solve_weighted_least_squares() -> None:
    """Two partials less than a bin apart, and noise: another weighting gives other amplitudes, those of a dense solver."""
    grid, n_samples = TimeGrid.of_sizes(RATE, 256, [[256]]), 256
    weighting = weighting_of({"mse": 0.1, "pdl:1": 1.0}, n_samples)
    sound = (noise(n_samples / RATE) + tones([500.0, 1900.0], [0.3, 0.2], [0.1, 0.2], n_samples / RATE)).double()
    size = Budget(2)
    found, residual = pursue(sound, grid, size, rounds=1, weighting=weighting)
    columns = columns_of(network_of(grid, found))[2:] / np.tile(network_of(grid, found).unit.numpy(), 2)[:, None]
    matrix = np.stack([weighting.product(row[None])[0].numpy() for row in torch.eye(n_samples, dtype=torch.float64)])
    wanted = np.linalg.solve(columns @ matrix @ columns.T, columns @ matrix @ sound[0].numpy())
    # Four steps of conjugate gradients on four unknowns, with a ridge of 1e-4 of a partial's energy.
    np.testing.assert_allclose(np.concatenate([found.cosine, found.sine]), wanted, rtol=0.01, atol=1e-3)
    np.testing.assert_allclose(residual[0].numpy(), sound[0].numpy() - columns.T @ wanted, atol=2e-3)


def test_a_batch_is_each_by_itself() -> None:
    sounds = [noise(0.2, 1, seed) for seed in (1, 2)]
    sounds[1] = sounds[1][:, :1000]
    pursuits = [Pursuit(sound, TimeGrid.uniform(RATE, 1, sound.shape[1], 0.032), Budget(20), weighting=SLOPE) for sound in sounds]
    for (together, _), pursuit in zip(pursue_many(pursuits), pursuits, strict=True):
        ((alone, _),) = pursue_many([pursuit])
        torch.testing.assert_close(together.frequency, alone.frequency, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.cosine, alone.cosine, rtol=1e-3, atol=1e-4)


def test_partials_are_ranked_by_weighted_energy() -> None:
    grid = TimeGrid.of_sizes(RATE, 1024, [[1024]])
    columns = ([0.3, math.pi / 2], [0.5, 0.3], [0.0, 0.0])
    network = network_of(grid, Partials(torch.zeros(2, dtype=torch.int64), *map(torch.tensor, columns)))
    assert isinstance(network, SineNetwork)
    assert float(network.pruned(1).partials.frequency[0]) == pytest.approx(0.3)
    network.weighting = SLOPE
    kept = network.pruned(1)
    assert float(kept.partials.frequency[0]) == pytest.approx(math.pi / 2)
    assert kept.weighting is SLOPE
