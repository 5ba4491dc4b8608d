"""How time is divided: the cheapest of all divisions, whole, and as a listener would cut."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sounds import noise, tones

from ddaudio.fitting import segmentation
from ddaudio.fitting.segmentation import LEVELS, Division, cell_sizes, divide
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import Budget

RATE = 8000
SMALLEST = 24  # 3 ms, an even number


def goal(target: torch.Tensor, db: float) -> Budget:
    return Budget(target.numel(), float(target.double().square().sum()) * 10 ** (-db / 10))


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 44100, 192000])
def test_sizes_double_from_3_ms_on(rate: int) -> None:
    sizes = cell_sizes(rate, 10**9)
    assert len(sizes) == LEVELS
    assert all(large == 2 * small for small, large in itertools.pairwise(sizes))
    assert sizes[0] % 2 == 0
    assert abs(sizes[0] - 0.003 * rate) <= 1 or sizes[0] == 8  # the nearest even number, but for the lowest rates


@given(n_samples=st.integers(1, 10_000))
def test_one_size_holds_a_short_signal_whole(n_samples: int) -> None:
    sizes = cell_sizes(RATE, n_samples)
    assert sizes[0] == SMALLEST
    if len(sizes) < LEVELS:
        assert sizes[-1] >= n_samples
    assert all(size < n_samples for size in sizes[:-1])


def every_division(level: int, index: int, n_samples: int) -> list[list[tuple[int, int]]]:
    """All ways to divide a cell, each a list of cells by level and index; nothing beyond the end."""
    if index << level >= n_samples:
        return [[]]
    if level == 0:
        return [[(0, index)]]
    halves = (every_division(level - 1, 2 * index + half, n_samples) for half in range(2))
    return [[(level, index)], *([*first, *second] for first, second in itertools.product(*halves))]


@given(n_samples=st.integers(1, 16), levels=st.integers(1, 4), seed=st.integers(0, 1000))
@example(n_samples=16, levels=4, seed=0)
@example(n_samples=9, levels=4, seed=0)
@settings(deadline=None, max_examples=60)
def test_the_best_basis_is_the_best_of_all(n_samples: int, levels: int, seed: int) -> None:
    levels = min(levels, math.ceil(math.log2(n_samples)) + 1)
    generator = np.random.default_rng(seed)
    # Larger cells cost more, so that every level is the best one somewhere.
    costs = [generator.uniform(0, 2**level, (1, math.ceil(n_samples / 2**level))) for level in range(levels)]
    roots = range(costs[-1].shape[1])
    divided = segmentation._cheapest([torch.tensor(cost) for cost in costs])
    for root in roots:
        found = segmentation._leaves(divided, [2**level for level in range(levels)], 0, levels - 1, root, n_samples)
        choices = every_division(levels - 1, root, n_samples)
        assert len({tuple(choice) for choice in choices}) == len(choices)
        best = min(choices, key=lambda cells: sum(costs[level][0, index] for level, index in cells))
        assert found == [2**level for level, _ in best]


def test_a_cell_costs_what_it_leaves_over_and_its_numbers() -> None:
    target = noise(0.1, channels=2)[:, :700]
    level, cell, dear = 2, 96, 1e6
    (costs,) = segmentation._costs([Division(target, RATE, Budget(1), "hann")], level, [dear])
    # Nothing is worth its numbers: each cell costs its own energy and the number that says so.
    energy = torch.nn.functional.pad(target.double(), (0, 8 * cell - 700)).square().reshape(2, 8, cell).sum(2)
    assert torch.allclose(costs, energy + dear, rtol=1e-12)
    # A steady tone in the middle of a bin: one partial a cell takes nearly all of it.
    tone, price = tones([1000.0], [0.5], [0.3], 0.096), 0.01
    inner = segmentation._costs([Division(tone, RATE, Budget(1), "hann")], level, [price])[0][0, 1:-1]
    assert bool(((inner - (3 + 1) * price) >= 0).all())
    # A thousandth of a cell's energy of 12 is about what the ridge of the quick solve leaves over.
    assert float((inner - (3 + 1) * price).max()) < 0.012


def test_short_cells_at_a_click_and_long_ones_in_a_tone() -> None:
    n_samples, click = 24_576, 3_100
    target = tones([440.0, 1330.0], [0.2, 0.1], [0.0, 1.0], n_samples / RATE)
    target[:, : 2 * click] = 0
    target[0, click : click + 8] += torch.tensor([1.8, -1.8, 1.6, -1.6, 1.2, -1.2, 0.6, -0.6])
    (row,) = divide(target, RATE, goal(target, 25), "hann")
    first = np.cumsum([0, *row[:-1]])
    at_click = row[int(np.searchsorted(first, click, side="right")) - 1]
    in_tone = [size for begin, size in zip(first.tolist(), row, strict=True) if begin > 2 * click]
    assert at_click <= 2 * SMALLEST
    assert sum(size for size in in_tone if size >= 1536) >= 0.9 * sum(in_tone)  # cells of 0.19 s and more


def test_silence_is_not_divided() -> None:
    assert divide(torch.zeros(2, 10_000), RATE, Budget(100, 1e-9), "hann") == [[3072] * 4] * 2
    # Nor is a silent signal beside another one.
    both = torch.cat([torch.zeros(1, 10_000), noise(1.25)])
    assert divide(both, RATE, goal(both, 20), "hann")[0] == [3072] * 4


@given(n_samples=st.integers(1, 2500), channels=st.integers(1, 2), db=st.sampled_from([5, 25]), seed=st.integers(0, 3))
@example(n_samples=1, channels=1, db=25, seed=0)
@example(n_samples=3073, channels=2, db=25, seed=1)
@settings(deadline=None, max_examples=6)
def test_cells_are_dyadic_and_cover_the_signals_exactly(n_samples: int, channels: int, db: int, seed: int) -> None:
    target = noise(0.5, channels, seed)[:, :n_samples].clone()
    target[:, n_samples // 3 :] *= 0.01
    rows = divide(target, RATE, goal(target, db), "hann")
    known = cell_sizes(RATE, n_samples)
    for row in rows:
        first = np.cumsum([0, *row[:-1]])
        assert set(row) <= set(known)
        assert all(begin % size == 0 for begin, size in zip(first.tolist(), row, strict=True))
        assert first[-1] < n_samples <= sum(row)
    assert TimeGrid.of_sizes(RATE, n_samples, rows).n_signals == channels


def test_cells_that_are_begun_stay_and_the_rest_does_not_change() -> None:
    target = noise(1.2)[:, :9_500]
    target[:, 4_000:] *= torch.linspace(1, 0, 5_500)
    free = divide(target, RATE, goal(target, 15), "hann")
    begun = [[1536, 768, 384, 384]]
    (row,) = divide(target, RATE, goal(target, 15), "hann", begun)
    assert row[:4] == begun[0]
    edge = int(np.searchsorted(np.cumsum(free[0]), 3072)) + 1
    assert row[4:] == free[0][edge:]
    assert divide(target, RATE, goal(target, 15), "hann", [[]]) == free
