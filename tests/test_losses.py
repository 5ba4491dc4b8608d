"""Losses against their definitions in plain loops, against auraloss, and one suite that every loss must pass."""

import math
from itertools import pairwise

import auraloss
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddaudio.losses import LOSSES, MAGNITUDE_FLOOR, MSS_DEFAULT, NEAR_LAGS, SPECTRAL, Objective, mae, magnitudes, mse, mss, pdl

ALL = sorted(LOSSES)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def naive_pdl(estimate, target, lags):
    """The definition: every pair of samples at every lag, one by one; a lag without a pair counts zero."""
    error = [float(e) - float(t) for e, t in zip(estimate, target, strict=True)]
    total = 0.0
    for lag in lags:
        squares = [(error[n + lag] - error[n]) ** 2 for n in range(len(error) - lag)]
        total += sum(squares) / len(squares) if squares else 0.0
    return total / len(lags)


def with_gradient(name, estimate, target):
    estimate = estimate.clone().requires_grad_()
    values = LOSSES[name](estimate, target)
    (gradient,) = torch.autograd.grad(values.sum(), estimate)
    return values.detach(), gradient


# --- each loss and its definition -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(n_samples=st.integers(1, 90), seed=st.integers(0, 50), lags=st.lists(st.integers(1, 95), min_size=1, max_size=4))
@example(n_samples=1, seed=0, lags=[1])
@example(n_samples=65, seed=0, lags=list(NEAR_LAGS))
@example(n_samples=64, seed=0, lags=list(NEAR_LAGS))
def test_pdl_is_its_definition(n_samples, seed, lags):
    estimate, target = noise(2, 2, n_samples, seed=seed, dtype=torch.float64)
    wanted = [naive_pdl(*pair, lags) for pair in zip(estimate, target, strict=True)]
    # float64 sums of at most 90 squares, in another order
    np.testing.assert_allclose(pdl(estimate, target, tuple(lags)).numpy(), wanted, rtol=1e-12, atol=0)


def test_pdl_takes_the_near_lags_and_a_constant_offset_costs_nothing():
    estimate, target = noise(2, 3, 200, dtype=torch.float64)
    assert NEAR_LAGS == (1, 2, 4, 8, 16, 32, 64)
    assert torch.equal(pdl(estimate, target), pdl(estimate, target, NEAR_LAGS))
    # An offset of a power of two in whole numbers adds no rounding: exactly nothing.
    whole = noise(1, 200).round()
    assert pdl(whole + 4, whole).item() == 0
    # Elsewhere the offset's rounding stays: 1e-16 of values of order one.
    torch.testing.assert_close(pdl(estimate + 0.7, target), pdl(estimate, target), rtol=1e-13, atol=0)


@pytest.mark.parametrize("lag", [1, 2, 5, 16])
@pytest.mark.parametrize("frequency_hz", [100.0, 500.0, 1000.0, 2000.0, 3200.0])
def test_pdl_at_one_lag_has_the_power_response_of_a_difference(lag, frequency_hz):
    sample_rate, amplitude = 8000, 0.3
    # A whole number of periods of every one of the frequencies, after the lag has cut its pairs off.
    steps = torch.arange(800 + lag, dtype=torch.float64)
    error = amplitude * torch.sin(2 * math.pi * frequency_hz * steps / sample_rate + 0.4)[None]
    found = pdl(error + 0.1, torch.zeros_like(error), (lag,)).item()
    response = 4 * math.sin(math.pi * frequency_hz * lag / sample_rate) ** 2
    # float64 phases up to 2000 are rounded to 2e-13; at a zero of the response only that is left.
    assert found == pytest.approx(response * amplitude**2 / 2, rel=1e-11, abs=1e-13)


def test_mse_and_mae_of_known_errors():
    target = noise(2, 4, dtype=torch.float64)
    error = torch.tensor([[1.0, -1.0, 2.0, 0.0], [0.5, 0.5, -0.5, 0.5]], dtype=torch.float64)
    # (1 + 1 + 4) / 4, 1 / 4; (1 + 1 + 2) / 4, 1 / 2: float64 rounding of the sums is all that is left.
    np.testing.assert_allclose(mse(target + error, target).numpy(), [1.5, 0.25], rtol=1e-14)
    np.testing.assert_allclose(mae(target + error, target).numpy(), [1.0, 0.5], rtol=1e-14)
    steps = torch.arange(1000, dtype=torch.float64)
    sinusoid = 0.3 * torch.sin(2 * math.pi * 37 * steps / 1000)[None]
    # The mean square of 37 whole periods is half the squared amplitude.
    assert mse(sinusoid, sinusoid * 0).item() == pytest.approx(0.045, rel=1e-12)


@pytest.mark.parametrize("n_samples", [2048, 5000, 12001])
@pytest.mark.parametrize("level", [1.0, 0.05])
def test_mss_equals_auraloss_for_one_signal(n_samples, level):
    target = level * noise(1, n_samples)
    estimate = 0.8 * target + 0.1 * level * noise(1, n_samples, seed=1)
    wanted = auraloss.freq.MultiResolutionSTFTLoss()(estimate[:, None], target[:, None]).item()
    # Both in float32: means of up to 1e5 logarithms, each off by some 1e-7 of its size and more where bins nearly cancel.
    assert mss(estimate, target).item() == pytest.approx(wanted, rel=1e-4)


def test_magnitudes_of_a_sinusoid_and_of_silence():
    resolution = MSS_DEFAULT[0]
    steps = torch.arange(4096, dtype=torch.float64)
    spectrum = magnitudes(torch.cos(2 * math.pi * 64 * steps / resolution.n_fft)[None], resolution)
    assert spectrum.shape[:2] == (1, resolution.n_fft // 2 + 1)
    # On its bin, away from the ends, a cosine of amplitude one gives half the sum of the periodic Hann window: 600 / 4.
    inner = spectrum[0, 64, 4:-4]
    torch.testing.assert_close(inner, torch.full_like(inner, 150.0), rtol=1e-6, atol=0)  # side lobes of -w, below 1e-6
    assert magnitudes(torch.zeros(1, 10), resolution).unique().tolist() == pytest.approx([MAGNITUDE_FLOOR], rel=1e-6)


# --- what every loss must do ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_samples", [1, 2, 5, 100, 3000])
def test_one_value_per_signal_and_a_batch_equals_a_loop(name, n_samples):
    estimate, target = noise(2, 3, n_samples)
    values, gradient = with_gradient(name, estimate, target)
    assert values.shape == (3,)
    assert values.dtype == torch.float32
    for index in range(3):
        alone, alone_gradient = with_gradient(name, estimate[index : index + 1], target[index : index + 1])
        # float32 sums that a batch may add up in another order
        torch.testing.assert_close(values[index], alone[0], rtol=1e-5, atol=1e-7)
        scale = alone_gradient.abs().max().item()
        torch.testing.assert_close(gradient[index], alone_gradient[0], rtol=1e-4, atol=1e-4 * scale)


SILENCE, CONSTANT, SOUND = torch.zeros(2, 300), torch.full((2, 300), 0.5), noise(2, 300, seed=5)
ODD_PAIRS = {
    "both silent": (SILENCE, SILENCE),
    "silent estimate": (SILENCE, SOUND),
    "silent target": (SOUND, SILENCE),
    "both constant": (CONSTANT, CONSTANT),
    "constant estimate": (CONSTANT, SILENCE),
    "constant target": (SILENCE, CONSTANT),
    "equal": (SOUND, SOUND),
    "opposite": (SOUND, -SOUND),
    "very quiet": (1e-20 * SOUND, 2e-20 * SOUND),
    "very loud": (1e6 * SOUND, -1e6 * SOUND),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("pair", ODD_PAIRS)
@pytest.mark.parametrize("n_samples", [1, 2, 5, 100, 300])
def test_values_and_gradients_are_finite(name, pair, n_samples):
    estimate, target = (signals[:, :n_samples] for signals in ODD_PAIRS[pair])
    values, gradient = with_gradient(name, estimate, target)
    assert values.shape == (2,)
    assert values.isfinite().all()
    assert (values >= 0).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_samples", [2, 5, 100, 3000])
def test_a_different_estimate_costs_something_and_has_a_gradient(name, n_samples):
    target = noise(2, n_samples)
    values, gradient = with_gradient(name, 0.5 * target + 0.1 * noise(2, n_samples, seed=1), target)
    assert (values > 1e-3).all()  # the estimates are 6 dB off
    assert (gradient.norm(dim=-1) > 0).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_samples", [1, 2, 5, 100, 3000])
def test_a_perfect_estimate_costs_nothing(name, n_samples):
    target = noise(2, n_samples)
    values = LOSSES[name](target, target)
    # The spectral loss keeps the square root of its addend, 1e-8 a scale; the others are zero to the bit.
    assert (values <= (1.1e-8 if name in SPECTRAL else 0)).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_samples", [1, 2, 12])
def test_gradients_equal_finite_differences(name, n_samples):
    target = noise(2, n_samples, dtype=torch.float64)
    # An error of 0.3 and more: no kink of the absolute value, and no bin at the floor, within the step of 1e-6.
    estimate = (target + 0.3 + noise(2, n_samples, seed=1, dtype=torch.float64).abs()).requires_grad_()
    # gradcheck's own defaults for float64
    assert torch.autograd.gradcheck(lambda signals: LOSSES[name](signals, target), [estimate])


# --- the objective --------------------------------------------------------------------------------------------------

TERMS = {"mse": 1.0, "mae": 0.5, "pdl": 0.25, "mss": 0.1}


def test_objective_is_the_weighted_losses_of_signals_over_their_level():
    estimate, target = 0.2 * noise(2, 2, 3000)
    level = target.double().square().mean().sqrt().item()
    found = Objective(TERMS, target, crop_samples=3000, most_crops=1)(estimate)
    assert list(found) == list(TERMS)
    for name, weight in TERMS.items():
        wanted = weight * LOSSES[name](estimate / level, target / level).mean().item()
        assert found[name].item() == pytest.approx(wanted, rel=1e-5)  # float32
    # Over its level, mse is the noise-to-signal ratio.
    ratio = ((estimate - target).double().square().sum() / target.double().square().sum()).item()
    assert found["mse"].item() == pytest.approx(ratio, rel=1e-5)  # float32


@pytest.mark.parametrize("name", ALL)
def test_weights_are_factors(name):
    estimate, target = noise(2, 2, 500)
    one, three = (Objective({name: weight}, target, 500, 1)(estimate)[name].item() for weight in (1.0, 3.0))
    assert three == pytest.approx(3 * one, rel=1e-6)  # one float32 product


@pytest.mark.parametrize("factor", [1e-3, 0.1, 7.0, 100.0])
def test_scaling_target_and_estimate_together_changes_nothing(factor):
    estimate, target = noise(2, 2, 3000)
    wanted = Objective(TERMS, target, 1000, 16).judge(estimate)
    found = Objective(TERMS, factor * target, 1000, 16).judge(factor * estimate)
    assert found == pytest.approx(wanted, rel=1e-5)  # float32, and a few logarithms of bins that nearly cancel


def test_a_silent_target_is_taken_as_it_is():
    objective = Objective(TERMS, torch.zeros(2, 500), 500, 4)
    estimate = noise(2, 500).requires_grad_()
    values = objective(estimate)
    assert values["mse"].item() == pytest.approx(estimate.square().mean().item(), rel=1e-6)  # float32
    sum(values.values()).backward()
    assert estimate.grad.isfinite().all()


@settings(deadline=None, max_examples=60)
@given(n_samples=st.integers(1, 5000), crop_samples=st.integers(1, 3000))
@example(n_samples=1, crop_samples=3000)
@example(n_samples=100, crop_samples=1)
def test_crops_lie_side_by_side_and_cover_the_recording(n_samples, crop_samples):
    count = max(1, round(n_samples / crop_samples))
    crops = Objective({"mss": 1.0}, torch.ones(1, n_samples), crop_samples, count).crops
    assert crops[0][0] == 0
    assert crops[-1][1] == n_samples
    assert all(left[1] == right[0] for left, right in pairwise(crops))
    lengths = [last - first for first, last in crops]
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1  # edges are rounded to whole samples


def test_few_crops_are_spread_over_a_long_recording():
    objective = Objective({"mss": 1.0}, torch.ones(1, 10_000), 100, 5)
    assert len(objective.crops) == 100, "training draws from all of them"
    assert [objective.crops[index][0] for index in objective.judged] == pytest.approx(
        [0, 2500, 5000, 7400, 9900], abs=100
    )  # a crop's length
    assert objective.crops[-1] == (9900, 10_000)
    assert Objective({"mss": 1.0}, torch.ones(1, 10_000), 100, 1).judged == [0]


@pytest.mark.parametrize("most_crops", [4, 5, 16])
def test_every_crop_is_looked_at_where_more_are_allowed(most_crops):
    crops = Objective({"mss": 1.0}, torch.ones(1, 4000), 1000, most_crops).crops
    assert crops == [(0, 1000), (1000, 2000), (2000, 3000), (3000, 4000)]


def test_spectral_terms_look_at_one_crop_or_at_all():
    estimate, target = noise(2, 2, 6000)
    objective = Objective({"mss": 1.0, "mse": 1.0}, target, 2000, 3)
    each = [objective(estimate, crop)["mss"].item() for crop in range(3)]
    for index, found in enumerate(each):
        crop = slice(2000 * index, 2000 * index + 2000)
        wanted = mss(estimate[:, crop] * objective.scale, target[:, crop] * objective.scale).mean().item()
        assert found == pytest.approx(wanted, rel=1e-6)  # the same float32 operations
    assert len(set(each)) == 3
    assert objective(estimate)["mss"].item() == pytest.approx(sum(each) / 3, rel=1e-6)  # float32 mean
    assert objective(estimate, 0)["mse"].item() == objective(estimate)["mse"].item()


def test_the_judge_is_deterministic_whatever_training_looked_at():
    estimate, target = noise(2, 1, 6000)
    first, second = (Objective(TERMS, target, 1000, 6) for _ in range(2))
    before = first.judge(estimate)
    for crop in (3, 0, 5):
        sum(first(noise(1, 6000, seed=crop).requires_grad_(), crop).values()).backward()
    assert first.judge(estimate) == before == second.judge(estimate)
    judged = estimate.clone().requires_grad_()
    assert all(type(value) is float for value in first.judge(judged).values())
    assert judged.grad is None


def test_a_target_at_the_edge_of_float32_keeps_the_judge_finite():
    target = torch.full((1, 100), 1e-40)
    assert all(math.isfinite(value) for value in Objective({"mse": 1.0, "pdl": 1.0}, target, 100, 1).judge(target * 0).values())
