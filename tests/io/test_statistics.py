"""One pass over samples finds what a look at each of them finds, wherever blocks begin and end."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from soundchecks import noise, spooled

from ddaudio.io import samples as io_samples
from ddaudio.io.checks import finite_problem
from ddaudio.io.statistics import CLIPPED_LEVEL, sample_statistics

LEVELS = st.sampled_from([0.0, 0.5, -0.5, CLIPPED_LEVEL - 1e-4, CLIPPED_LEVEL, 1.0, 1.0, -CLIPPED_LEVEL, -1.0, -1.0, 2.0])


def clipped_in(row: list[float]) -> int:
    """Length of all runs of three or more full samples of one sign, in one channel."""
    kinds = [0 if abs(value) < np.float32(CLIPPED_LEVEL) else math.copysign(1, value) for value in row]
    lengths = [(kind, len(list(run))) for kind, run in itertools.groupby(kinds)]
    return sum(length for kind, length in lengths if kind and length >= 3)


@settings(deadline=None, max_examples=200)
@given(
    rows=st.integers(1, 40).flatmap(lambda n: st.lists(st.lists(LEVELS, min_size=n, max_size=n), min_size=1, max_size=3)),
    size=st.integers(1, 50),
)
@example(rows=[[1.0] * 9], size=1)
@example(rows=[[1.0] * 3 + [0.0] + [-1.0] * 3], size=2)
def test_extremes_energy_and_clipping_are_those_of_the_whole(rows: list[list[float]], size: int) -> None:
    samples = torch.tensor(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io_samples, "BLOCK_SAMPLES", size)
        found, same = sample_statistics(samples), sample_statistics(spooled(samples))
    assert found == same
    assert (found.lowest, found.highest) == (float(samples.min()), float(samples.max()))
    assert found.peak == float(samples.abs().max())
    assert found.clipped_samples == sum(clipped_in(row) for row in samples.tolist())
    # float64 sums of at most 120 terms
    assert found.energy == pytest.approx(float(np.square(samples.double().numpy()).sum()), rel=1e-14)
    assert found.is_finite


def test_energy_is_added_up_in_float64() -> None:
    samples = torch.full((1, 3_000_000), 0.1)
    samples[0, 0] = 1e4  # in float32 its square would swallow every other one
    exact = 1e8 + 2_999_999 * float(np.float32(0.1)) ** 2
    assert sample_statistics(samples).energy == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("size", [1, 7, 10, 1 << 20])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_counted_and_placed(bad: float, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", size)
    samples = noise(20, 2)
    samples[1, 13] = samples[0, 14] = samples[0, 19] = bad
    samples[1, 19] = math.nan
    for source in (samples, spooled(samples)):
        found = sample_statistics(source)
        assert not found.is_finite
        expected = "4 of 40 samples are NaN or infinite, the first at 0.0013 s (sample 13 of channel 1); "
        assert finite_problem(found, source, 10_000) == expected + "repair or export it again"


@pytest.mark.parametrize("place", [0, 1, 9, 18, 19])
def test_no_place_hides_a_nan(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(1, 23):
        monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", size)
        samples: Any = noise(20)
        samples[0, place] = math.nan
        assert not sample_statistics(samples).is_finite
