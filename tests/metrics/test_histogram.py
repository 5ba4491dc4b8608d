"""The histogram against a sort of all values."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddaudio.metrics import histogram
from ddaudio.metrics.histogram import MagnitudeHistogram

VALUES = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 1.0, -1.0, 1e-40, 1e-30, 3e30])


def made(*parts: np.ndarray) -> MagnitudeHistogram:
    result = MagnitudeHistogram()
    for part in parts:
        result.add(part)
    return result


def sorted_energies(values: np.ndarray) -> np.ndarray:
    """Squares in float64, the largest first."""
    return np.sort(np.square(values.ravel().astype(np.float64)))[::-1]


@given(values=st.lists(VALUES, min_size=1, max_size=60), count=st.integers(0, 70), split=st.integers(0, 60))
def test_the_energy_of_all_but_the_largest_is_that_of_a_sort(values: list[float], count: int, split: int) -> None:
    array = np.array(values, np.float32)
    energies = sorted_energies(array)
    result = made(array[:split], array[split:])
    edge = energies[min(count, len(energies)) - 1]
    # at most 0.4 % of the values in one bin with the k-th, and those lie within 0.8 % of it
    near = energies[(energies >= edge / 1.02) & (energies <= edge * 1.02)].sum() if count else 0.0
    assert result.energy_of_all_but(count) == pytest.approx(energies[count:].sum(), rel=1e-12, abs=0.004 * near + 1e-74)
    assert result.energy_of_all_but(0) == pytest.approx(energies.sum(), rel=1e-14)


@given(count=st.integers(0, 12))
def test_equal_values_are_split_exactly(count: int) -> None:
    values = np.array([3.0] * 2 + [-1.5] * 8, np.float32)
    exact = sorted_energies(values)[count:].sum()
    assert made(values).energy_of_all_but(count) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("count", [1, 10, 1000, 30_000, 99_999])
def test_many_values_leave_hardly_a_trace_of_the_bins(count: int) -> None:
    values = np.random.default_rng(0).laplace(size=(10, 10_000)).astype(np.float32)
    result, magnitudes = made(*values), np.sort(np.abs(values.ravel()))[::-1]
    # the edge's bin, 1/128 of an octave, holds about 1 % of the dropped energy, and is split with an error of 0.4 % of that
    assert result.energy_of_all_but(count) == pytest.approx(np.square(magnitudes[count:], dtype=np.float64).sum(), rel=4e-5)
    assert magnitudes[count - 1] * 1.008 >= result.edge_of(count) >= magnitudes[count] / 1.008
    # the share of the edge's bin is right too: at most a few of its values are on the wrong side
    assert (magnitudes > result.edge_of(count)).sum() == pytest.approx(count, abs=max(5, 0.003 * count))


def test_there_is_no_edge_where_nothing_is_dropped() -> None:
    values = np.array([0.0, 2.0, 1.0], np.float32)
    assert [made(values).edge_of(count) for count in (3, 4)] == [0.0, 0.0]
    assert [made(values).energy_of_all_but(count) for count in (1, 2, 3, 4)] == [1.0, 0.0, 0.0, 0.0]
    assert MagnitudeHistogram().energy_of_all_but(0) == 0.0


def test_the_examples_run() -> None:
    results = doctest.testmod(histogram)
    assert (results.failed, results.attempted > 0) == (0, True)
