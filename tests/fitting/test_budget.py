"""Shares of a goal and of a budget, against water-filling spelled out."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import noise, tones

import ddaudio
from ddaudio.errors import OptionError
from ddaudio.fitting.budget import allowance, check_budget, goal_energy, share_out, size_for
from ddaudio.io.audio import Recording
from ddaudio.options import ModelOptions

RATE = 8000
LENGTH = 368  # 46 ms


def test_an_allowance_is_the_budget_or_the_cap() -> None:
    assert allowance(ModelOptions(budget=1234), 2, 10) == 1234
    assert allowance(ModelOptions(max_parameters_per_sample=0.3), 2, 1001) == math.floor(0.3 * 2 * 1001)


def test_a_goal_is_a_share_of_the_energy() -> None:
    assert goal_energy(ModelOptions(target_snr_db=30), 5.0) == pytest.approx(0.005)
    assert goal_energy(ModelOptions(target_snr_db=0), 5.0) == 5
    assert goal_energy(ModelOptions(budget=100), 5.0) == goal_energy(ModelOptions(partials=1), 5.0) == 0


@given(frames=st.integers(1, 50), words=st.integers(0, 4), partials=st.integers(0, 40), extra=st.integers(0, 2))
def test_a_budget_pays_for_cells_and_words_first(frames: int, words: int, partials: int, extra: int) -> None:
    numbers = frames + words + 3 * partials + extra
    size = size_for(ModelOptions(budget=max(4, numbers)), (numbers, 0.0), frames, frames + words, 3)
    assert (size.most, size.goal_energy, size.most_per_frame) == (partials, 0, None)
    # Parts that do not all cost the same may take what is left to the last number.
    assert size.n_parameters == 3 * partials + extra


@given(fewest=st.integers(1, 50), extra=st.integers(-3, 5), per_part=st.integers(1, 3))
def test_a_budget_without_room_for_a_part_is_refused(fewest: int, extra: int, per_part: int) -> None:
    options = ModelOptions(budget=max(4, fewest + per_part + extra))
    if options.budget >= fewest + per_part:
        check_budget(options, fewest, per_part)
        return
    with pytest.raises(OptionError) as caught:
        check_budget(options, fewest, per_part)
    # The least that is allowed is enough.
    assert (caught.value.setting, caught.value.value) == ("budget", options.budget)
    assert caught.value.allowed == f"{fewest + per_part} or more"
    check_budget(ModelOptions(budget=fewest + per_part), fewest, per_part)


@pytest.mark.parametrize(
    "settings",
    [
        {"budget": 10**9, "initialisation": "equal"},
        {"budget": 10**12, "model": "siren"},
        {"budget": 10**11, "model": "double-dutch"},
        {"budget": 10**9, "model": "sine+double-dutch"},
        {"partials": 10_000, "frame_s": 0.0005},
    ],
)
def test_what_no_recording_can_use_is_refused_by_arithmetic(settings: dict[str, Any]) -> None:
    """It took 8.5 GB, or aborted in an allocation."""
    with pytest.raises(OptionError, match="parameters for this recording; allowed: up to 100000 parameters") as caught:
        ddaudio.plan_fit(Recording(noise(0.5), RATE), **settings)
    assert caught.value.setting in settings


def test_longer_recordings_may_use_more() -> None:
    """Four parameters a sample, as much as the cap may be."""
    recording = Recording(noise(10, channels=2), RATE)
    assert ddaudio.plan_fit(recording, model="sine", budget=4 * 160_000).stages[0].n_parameters == 640_000
    with pytest.raises(OptionError, match="allowed: up to 640000"):
        ddaudio.plan_fit(recording, budget=640_001)


def test_a_cap_leaves_room_for_a_partial_a_signal() -> None:
    options = ModelOptions(target_snr_db=20)
    assert size_for(options, (5.7, 0.1), 10, 11, 3, least=4).most == 4
    size = size_for(options, (100.9, 0.1), 10, 11, 3, least=4)
    assert (size.most, size.goal_energy) == ((100 - 10 - 1) // 3, 0.1)
    # A goal of nothing left over is a goal: zero would mean there is none.
    assert 0 < size_for(options, (100, 0.0), 10, 11, 3).goal_energy < 1e-300


def test_a_fixed_count_is_that_many_in_each_frame() -> None:
    size = size_for(ModelOptions(partials=7), (5, 0.1), 11, 14, 3)
    assert (size.most, size.most_per_frame, size.goal_energy) == (77, 7, 0)


def stretches(*parts: torch.Tensor) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Sounds one after the other, and where they are."""
    ends = np.cumsum([part.shape[1] for part in parts]).tolist()
    return torch.cat(parts, 1), list(zip([0, *ends], ends, strict=False))


def powers_of(samples: torch.Tensor) -> np.ndarray:
    """Powers of all bins of Hann spectra that overlap by half, in numpy."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(LENGTH) / LENGTH)
    padded = np.pad(samples.double().numpy(), ((0, 0), (0, max(0, LENGTH - samples.shape[1]))))
    rows = [row[first : first + LENGTH] for row in padded for first in range(0, padded.shape[1] - LENGTH + 1, LENGTH // 2)]
    return np.abs(np.fft.rfft(np.array(rows) * window)).ravel() ** 2


def water_filled(samples: torch.Tensor, ranges: list[tuple[int, int]], db: float) -> tuple[np.ndarray, float]:
    """Shares of the noise and its level by bisection: the same level everywhere, or all power where there is less."""
    powers = [powers_of(samples[:, first:last]) for first, last in ranges]
    wanted = sum(part.sum() for part in powers) * 10 ** (-db / 10)
    low, high = 0.0, max(part.max() for part in powers)
    for _ in range(200):
        level = (low + high) / 2
        low, high = (level, high) if sum(np.minimum(part, level).sum() for part in powers) < wanted else (low, level)
    noise_ = np.array([np.minimum(part, level).sum() for part in powers])
    return noise_ / noise_.sum(), level


def test_equal_stretches_get_equal_shares() -> None:
    one = noise(0.5)
    samples, ranges = stretches(one, one, one)
    for options in (ModelOptions(target_snr_db=20), ModelOptions(budget=600)):
        shares = share_out(samples, RATE, ranges, options, 600, goal_energy(options, 3.0))
        assert shares.n_parameters.tolist() == pytest.approx([200] * 3)
        assert shares.energy.tolist() == pytest.approx([goal_energy(options, 3.0) / 3] * 3)


LOUD = tones([440.0, 1330.0, 2500.0], [0.3, 0.2, 0.05], [0.0] * 3, 1.0) + 0.05 * noise(1.0)


@pytest.mark.parametrize("db", [5, 15, 30])
@pytest.mark.parametrize("channels", [1, 2])
def test_noise_is_shared_as_water_is(db: float, channels: int) -> None:
    parts = [LOUD, 0.1 * noise(1.5, seed=1), noise(0.7, seed=2), 1e-3 * noise(1.0, seed=3), torch.zeros(1, 8000)]
    samples, ranges = stretches(*(part.repeat(channels, 1) for part in parts))
    options = ModelOptions(target_snr_db=db)
    found = share_out(samples, RATE, ranges, options, 1000, 0.7)
    assert float(found.energy.sum()) == pytest.approx(0.7)
    wanted, level = water_filled(samples, ranges, db)
    # Powers are told apart by quarters of an octave: a level is off by at most a factor of 2^(1/4), and so is a share.
    np.testing.assert_allclose(found.energy.numpy() / 0.7, wanted, rtol=2**0.25 - 1, atol=1e-12)
    # Numbers go where bins stand out of the water, at whose level is rounded up by two quarters of an octave at most.
    powers = [powers_of(samples[:, first:last]) for first, last in ranges]
    low, high = (np.array([(part >= level * factor).sum() for part in powers]) for factor in (2**0.5, 1))
    assert bool((found.n_parameters.numpy() / 1000 <= high / low.sum() + 1e-9).all())
    assert bool((found.n_parameters.numpy() / 1000 >= low / high.sum() - 1e-9).all())
    # Not what sharing by energy would be: the loud stretch must be cleaner than that.
    by_energy = np.array([float(samples[:, first:last].square().sum()) for first, last in ranges])
    if db > 5:
        assert found.energy[0] / 0.7 < 0.8 * by_energy[0] / by_energy.sum()


def test_silence_gets_nothing_of_what_counts() -> None:
    samples, ranges = stretches(torch.zeros(1, 6000), LOUD, torch.zeros(1, 100))
    goal = share_out(samples, RATE, ranges, ModelOptions(target_snr_db=25), 900, 0.5)
    assert goal.energy.tolist() == pytest.approx([0, 0.5, 0])
    budget = share_out(samples, RATE, ranges, ModelOptions(budget=900), 900, 0.0)
    assert budget.n_parameters.tolist() == pytest.approx([0, 900, 0])
    assert budget.energy.tolist() == [0, 0, 0]


def test_a_budget_goes_where_bins_stand_out() -> None:
    parts = [LOUD, 0.1 * noise(1.0, seed=1), noise(1.0, seed=2)]
    samples, ranges = stretches(*parts)
    for numbers in (60, 600, 3000):
        found = share_out(samples, RATE, ranges, ModelOptions(budget=numbers), numbers, 0.0).n_parameters
        assert float(found.sum()) == pytest.approx(numbers)
        powers = [powers_of(samples[:, first:last]) for first, last in ranges]
        # As many bins stand out of the water as partials of 3 numbers can be paid for, 4 bins each.
        count = round(4 * numbers / 3)
        level = np.sort(np.concatenate(powers))[-count]
        # The water stands at a quarter of an octave: between these two.
        bounds = np.array([[(part >= level * factor).sum() for part in powers] for factor in (2**-0.25, 1)])
        assert bool((found.numpy() / numbers <= bounds[0] / bounds[1].sum() + 1e-9).all())
        assert bool((found.numpy() / numbers >= bounds[1] / bounds[0].sum() - 1e-9).all())


@given(lengths=st.lists(st.integers(2, 2000), min_size=1, max_size=5), db=st.floats(0.1, 140), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_shares_sum_to_the_whole_whatever_the_sound(lengths: list[int], db: float, seed: int) -> None:
    parts = [10.0 ** (2 * (index % 3) - 4) * noise(0.25, seed=seed + index)[:, :length] for index, length in enumerate(lengths)]
    samples, ranges = stretches(*parts)
    options = ModelOptions(target_snr_db=db)
    shares = share_out(samples, RATE, ranges, options, 500, 0.25)
    assert float(shares.energy.sum()) == pytest.approx(0.25)
    assert float(shares.n_parameters.sum()) == pytest.approx(500)
    assert bool((shares.energy >= 0).all())
    assert bool((shares.n_parameters >= 0).all())


def test_silence_alone_is_shared_by_length() -> None:
    samples, ranges = stretches(torch.zeros(2, 1000), torch.zeros(2, 3000))
    shares = share_out(samples, RATE, ranges, ModelOptions(budget=400), 400, 0.0)
    assert shares.n_parameters.tolist() == pytest.approx([100, 300])
    assert shares.energy.tolist() == [0, 0]


@pytest.mark.parametrize("db", [0, -5, -10])
def test_a_goal_below_the_sound_itself_is_shared_by_energy(db: float) -> None:
    """Where all the sound may be left over, the water stands above it: everywhere as much is left as there is."""
    samples, ranges = stretches(LOUD, 0.3 * LOUD)
    shares = share_out(samples, RATE, ranges, ModelOptions(target_snr_db=db), 400, 0.5)
    assert shares.energy.tolist() == pytest.approx([0.5 / 1.09, 0.5 * 0.09 / 1.09], rel=1e-6)


def test_a_click_that_no_spectrum_shows_is_shared_as_well() -> None:
    """A Hann window is 0 at the first sample, and no spectrum begins before it."""
    samples = torch.zeros(1, 8000)
    samples[0, 0] = 1
    shares = share_out(samples, RATE, [(0, 4000), (4000, 8000)], ModelOptions(target_snr_db=20), 400, 0.01)
    assert float(shares.energy.sum()) == pytest.approx(0.01)
