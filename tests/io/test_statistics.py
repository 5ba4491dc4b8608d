"""One pass over samples finds what a look at each of them finds, wherever blocks begin and end."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from refusals import refused
from soundchecks import noise, spooled

from ddaudio.io import samples as io_samples
from ddaudio.io.audio import read
from ddaudio.io.checks import check_finite
from ddaudio.io.statistics import sample_statistics

FAULTS = Path(__file__).parents[1] / "faults"
LEVELS = st.sampled_from([0.0, 0.5, -0.5, 0.25, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 127 / 128, 2.0])
STEEP = 4.5 / 128
"""The least slope beside a clipped top, for samples of 8 bits: what the strategy gives."""


def clipped_in(row: list[float]) -> int:
    """Samples in flat tops of one channel at its highest and at its lowest value, by the definition, run by run."""
    count = 0
    for extreme in (max(row), min(row)):
        other = min(row) if extreme == max(row) else max(row)
        if extreme == 0 or extreme * (1 if extreme == max(row) else -1) < max(abs(one) for one in row) / 2:
            continue
        flat = steep = place = 0
        others = 0.0
        for value, run in itertools.groupby(row):
            length = len(list(run))
            if value == extreme and length >= 3:
                flat += length
                for beside in (place - 1, place + length):
                    if 0 <= beside < len(row):
                        fall = abs(row[beside] - extreme)
                        steep += STEEP <= fall < abs(extreme - other) / 2
                        others += 0.05 if fall >= abs(extreme - other) / 2 else fall < STEEP
            place += length
        count += flat if steep and steep >= others else 0
    return count


@settings(deadline=None, max_examples=200)
@given(
    rows=st.integers(1, 40).flatmap(lambda n: st.lists(st.lists(LEVELS, min_size=n, max_size=n), min_size=1, max_size=3)),
    size=st.integers(1, 50),
)
@example(rows=[[1.0] * 9], size=1)
@example(rows=[[1.0] * 3 + [0.25] + [-1.0] * 3], size=2)
@example(rows=[[127 / 128, 1.0, 1.0, 1.0, 0.5, -1.0]], size=1)
@example(rows=[[0.5, 1.0, 1.0, 1.0, 1.0, 0.5, -1.0], [0.5, 0.5, 0.5, 0.25, -0.5, 0.0, 0.0]], size=3)
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


def wave(frequency_hz: float, gain: float, sample_rate: int = 44_100) -> np.ndarray:
    """A second of a sine, cut off at 1."""
    return np.clip(gain * np.sin(2 * np.pi * frequency_hz * np.arange(sample_rate) / sample_rate + 0.1), -1, 1)


def rounded(samples: np.ndarray, bits: int) -> torch.Tensor:
    """As an integer format of these bits holds them; as floats from 25 bits on."""
    steps = 2 ** (bits - 1) - 1
    return torch.from_numpy(np.round(samples * steps) / (steps + 1) if bits < 25 else samples).float()[None]


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("frequency_hz", [2, 20, 50, 440, 5000])
def test_a_whole_wave_is_not_clipped_however_flat_rounding_makes_its_tops(frequency_hz: float, bits: int) -> None:
    for peak in (0.01, 0.3, 1.0):
        assert sample_statistics(rounded(peak * wave(frequency_hz, 1.0), bits)).clipped_samples == 0


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("limit", [1.0, 0.3, 1.2])
@pytest.mark.parametrize("frequency_hz", [20, 50, 440, 997])
def test_a_wave_cut_off_at_any_level_is_clipped(frequency_hz: float, limit: float, bits: int) -> None:
    if limit > 1 and bits < 25:
        pytest.skip("integers end at 1")
    for gain in (1.1, 2.0, 10.0):
        found = sample_statistics(rounded(limit * wave(frequency_hz, gain), bits)).clipped_samples
        # of each period the sine is beyond its limit for 1 - (2 / pi) asin(1 / gain): 4 ends a period, a sample each
        share = 1 - 2 / math.pi * math.asin(1 / gain)
        assert abs(found - share * 44_100) <= 4 * frequency_hz + 4


def test_one_clipped_channel_is_counted_alone() -> None:
    both = torch.cat([rounded(wave(440, 1.0), 16), rounded(0.5 * wave(440, 2.0), 16)])
    assert sample_statistics(both).clipped_samples == sample_statistics(both[1:]).clipped_samples > 0


@pytest.mark.parametrize(
    "samples",
    [
        np.full(1000, 1.0),
        np.full(1000, 0.5),
        np.zeros(1000),
        np.sign(wave(101, 1.0)),  # a square wave: it never came nearer to its limit than the other one
        0.5 * np.sign(wave(101, 1.0)) * np.repeat([1.0, 0.5, 0.25], 14_700),
        np.maximum(wave(101, 1.0), 0) ** 3,  # pulses on silence: their lowest value is no limit
        np.maximum(wave(101, 1.0), 0) ** 3 - 0.1,
        1.2 * wave(440, 1.0),
    ],
    ids=["full-scale-dc", "dc", "silence", "square", "falling-square", "pulses", "pulses-on-dc", "loud-float"],
)
def test_what_is_flat_or_loud_for_another_reason_is_not_clipped(samples: np.ndarray) -> None:
    assert sample_statistics(rounded(samples, 32)).clipped_samples == 0


@pytest.mark.parametrize("name", ["full-scale-sine-50hz.wav", "loud-float-sine.wav"])
def test_good_files_are_not_called_clipped(name: str) -> None:
    assert read(FAULTS / name).clipped_samples == 0


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
        problem = "4 of 40 samples are NaN or infinite, the first at 0.0013 s (sample 13 of channel 1)"
        with refused(problem=problem, allowed="finite values", hint="repair or export it again"):
            check_finite(found, source, 10_000)


@pytest.mark.parametrize("place", [0, 1, 9, 18, 19])
def test_no_place_hides_a_nan(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(1, 23):
        monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", size)
        samples: Any = noise(20)
        samples[0, place] = math.nan
        assert not sample_statistics(samples).is_finite
