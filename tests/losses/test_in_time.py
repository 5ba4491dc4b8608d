"""Losses of samples and of their differences, against closed forms and the definition in plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from named_losses import noise
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddaudio.losses import NEAR_LAGS, StepInfo, all_pairs, first_difference, huber, mae, make_loss, mse, pdl, slope
from ddaudio.losses.differences import LAGS_AT_ONCE, Pdl, evaluation_lags, far_to_near_lags, long_range_lags
from ddaudio.options import HUBER_DELTA

COSTS = {
    "squared": lambda e: e * e,
    "absolute": abs,
    "huber": lambda e: e * e / 2 if abs(e) <= HUBER_DELTA else HUBER_DELTA * (abs(e) - HUBER_DELTA / 2),
}
WEIGHTS = {"equal": lambda _: 1.0, "by-distance": float, "by-inverse-distance": lambda lag: 1.0 / lag}


def naive_pdl(error, lags, weights="equal", distance="squared"):
    """The definition: every pair of samples at every lag, one by one; a lag without a pair counts zero."""
    weight, cost = WEIGHTS[weights], COSTS[distance]
    total = 0.0
    for lag in lags:
        costs = [cost(error[n + lag] - error[n]) for n in range(len(error) - lag)]
        total += weight(lag) * sum(costs) / len(costs) if costs else 0.0
    return total / sum(weight(lag) for lag in lags)


def naive_all_pairs(error, weights, distance):
    """Every ordered pair, one by one; a sample beside itself has distance 0, and weighs nothing unless all weigh the same."""
    weight = (lambda _: 1.0) if weights == "equal" else lambda lag: WEIGHTS[weights](lag) if lag else 0.0
    pairs = [(i, j) for i in range(len(error)) for j in range(len(error))]
    total = sum(weight(abs(i - j)) for i, j in pairs)
    return sum(weight(abs(i - j)) * COSTS[distance](error[i] - error[j]) for i, j in pairs) / total if total else 0.0


# --- samples --------------------------------------------------------------------------------------------------------


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


def test_huber_is_squared_up_to_delta_and_absolute_beyond():
    error = torch.tensor([[0.1, -0.2, 0.5, -3.0]], dtype=torch.float64)
    # 0.1^2 / 2, 0.2^2 / 2, then 0.2 (|e| - 0.1): whole multiples that float64 sums without much loss
    assert huber(error, error * 0, 0.2).item() == pytest.approx((0.005 + 0.02 + 0.08 + 0.58) / 4, rel=1e-14)
    assert torch.equal(huber(error, error * 0, 10.0), mse(error, error * 0) / 2)
    assert make_loss("huber")(error, error * 0).item() == huber(error, error * 0, HUBER_DELTA).item()
    assert make_loss("huber:0.2")(error, error * 0).item() == huber(error, error * 0, 0.2).item()


# --- differences ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    n_samples=st.integers(1, 90),
    seed=st.integers(0, 50),
    lags=st.lists(st.integers(1, 95), min_size=1, max_size=4),
    weights=st.sampled_from(list(WEIGHTS)),
    distance=st.sampled_from(list(COSTS)),
)
@example(n_samples=1, seed=0, lags=[1], weights="equal", distance="squared")
@example(n_samples=65, seed=0, lags=list(NEAR_LAGS), weights="equal", distance="squared")
@example(n_samples=64, seed=0, lags=list(NEAR_LAGS), weights="by-inverse-distance", distance="huber")
def test_pdl_is_its_definition(n_samples, seed, lags, weights, distance):
    estimate, target = 0.2 * noise(2, 2, n_samples, seed=seed, dtype=torch.float64)
    wanted = [naive_pdl(error.tolist(), lags, weights, distance) for error in estimate - target]
    # float64 sums of at most 90 terms, in another order
    np.testing.assert_allclose(pdl(estimate, target, lags, weights, distance).numpy(), wanted, rtol=1e-12, atol=0)
    name = ":".join(("pdl", *map(str, sorted(set(lags))), weights, distance))
    once = pdl(estimate, target, sorted(set(lags)), weights, distance)
    assert torch.equal(make_loss(name)(estimate, target), once)


def test_pdl_takes_the_near_lags_and_a_constant_offset_costs_nothing():
    estimate, target = noise(2, 3, 200, dtype=torch.float64)
    assert NEAR_LAGS == (1, 2, 4, 8, 16, 32, 64)
    assert torch.equal(make_loss("pdl")(estimate, target), pdl(estimate, target, NEAR_LAGS))
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


def test_slope_is_the_central_difference_a_quarter_of_pdl_at_lag_2_and_deaf_to_nyquist():
    estimate, target = noise(2, 2, 300, dtype=torch.float64)
    error = (estimate - target).numpy()
    wanted = np.square((error[:, 2:] - error[:, :-2]) / 2).mean(1)
    np.testing.assert_allclose(slope(estimate, target).numpy(), wanted, rtol=1e-13)  # float64, another order
    assert torch.equal(slope(estimate, target), pdl(estimate, target, (2,)) / 4)
    nyquist = torch.tensor([1.0, -1.0]).repeat(50)[None]
    assert slope(nyquist, 0 * nyquist).item() == 0
    # The slope of A sin(w n) is A sin(w) cos(w n): over 37 whole periods, its mean square is A^2 sin(w)^2 / 2.
    steps = torch.arange(1002, dtype=torch.float64)
    sinusoid = 0.3 * torch.sin(2 * math.pi * 37 * steps / 1000)[None]
    assert slope(sinusoid, 0 * sinusoid).item() == pytest.approx(0.045 * math.sin(2 * math.pi * 0.037) ** 2, rel=1e-11)


def test_first_difference_is_the_mean_absolute_difference_of_neighbours():
    estimate, target = noise(2, 2, 300, dtype=torch.float64)
    wanted = np.abs(np.diff((estimate - target).numpy())).mean(1)
    np.testing.assert_allclose(first_difference(estimate, target).numpy(), wanted, rtol=1e-13)  # float64, another order
    assert torch.equal(first_difference(estimate, target), make_loss("pdl:1:absolute")(estimate, target))


# --- all pairs ------------------------------------------------------------------------------------------------------

ALL_PAIRS = [("equal", "squared"), ("by-distance", "squared"), ("by-inverse-distance", "squared")]
ALL_PAIRS += [("equal", "absolute"), ("equal", "huber")]


@pytest.mark.parametrize(("weights", "distance"), ALL_PAIRS)
@pytest.mark.parametrize("n_samples", [1, 2, 3, 40, 65])
@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_all_pairs_is_the_double_loop(weights, distance, n_samples, scale):
    estimate, target = scale * noise(2, 2, n_samples, seed=n_samples, dtype=torch.float64) + 5.0
    estimate[:, ::3] = target[:, ::3]  # errors that are equal, which sorting must not mind
    wanted = [naive_all_pairs(error.tolist(), weights, distance) for error in estimate - target]
    # float64, through sums that are some hundred times larger than their differences
    np.testing.assert_allclose(all_pairs(estimate, target, weights, distance).numpy(), wanted, rtol=1e-11, atol=1e-16)


def test_all_pairs_is_twice_the_variance_and_its_gradient_that_of_mse_without_the_mean():
    estimate, target = noise(2, 2, 500, dtype=torch.float64)
    estimate = (estimate + 0.3).requires_grad_()
    found = make_loss("pdl:all-pairs")(estimate, target)
    error = (estimate - target).detach()
    torch.testing.assert_close(found.detach(), 2 * error.var(-1, correction=0), rtol=1e-13, atol=0)  # float64
    (gradient,) = torch.autograd.grad(found.sum(), estimate)
    (of_mse,) = torch.autograd.grad(mse(estimate, target).sum(), estimate)
    torch.testing.assert_close(gradient, 2 * (of_mse - of_mse.mean(-1, keepdim=True)), rtol=1e-12, atol=1e-16)  # float64


@pytest.mark.parametrize(("weights", "distance"), ALL_PAIRS)
def test_all_pairs_does_not_hear_an_offset_even_in_float32(weights, distance):
    estimate, target = 0.01 * noise(2, 1, 4000)
    steps = torch.arange(4000) / 4000
    estimate = estimate + torch.sin(steps)  # slow: neighbours differ by little
    plain = all_pairs(estimate.double(), target.double(), weights, distance).item()
    # The offset's own rounding, 5e-7 a sample, beside differences of 0.01: without float64 the sums would lose far more.
    assert all_pairs(estimate + 8, target, weights, distance).item() == pytest.approx(plain, rel=1e-3)


class Sizes(TorchDispatchMode):
    """Notes the largest tensor that any operation makes, forward or backward, and how many operations there are."""

    def __init__(self):
        super().__init__()
        self.largest, self.count = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.count += 1
        sizes = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return found


@pytest.mark.parametrize(("weights", "distance"), ALL_PAIRS)
def test_all_pairs_of_100_000_samples_takes_memory_and_work_linear_in_them(weights, distance):
    def measured(n_samples):
        estimate, target = noise(2, 1, n_samples)
        estimate.requires_grad_()
        with Sizes() as sizes:
            all_pairs(estimate, target, weights, distance).sum().backward()
        assert estimate.grad.isfinite().all()
        return sizes

    small, large = measured(1000), measured(100_000)
    assert large.count == small.count, "a fixed number of operations, whatever the size"
    # Complex float64 of the next power of two above twice the length, 4.2 MB; all pairs would be 80 GB.
    assert large.largest <= 16 * (1 << 18)


# --- lags that change -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(n_samples=st.integers(1, 200_000), step=st.integers(0, 500), steps=st.integers(1, 500), seed=st.integers(0, 2**31 - 1))
@example(n_samples=1, step=0, steps=1, seed=0)
@example(n_samples=2, step=0, steps=1, seed=0)
def test_lags_have_pairs_and_depend_on_the_moment_alone(n_samples, step, steps, seed):
    moment = StepInfo(min(step, steps - 1), steps, seed)
    for choose in (long_range_lags, far_to_near_lags):
        lags = choose(n_samples, moment)
        assert lags == choose(n_samples, moment)
        assert 1 <= len(lags) <= LAGS_AT_ONCE
        assert all(1 <= lag <= max(1, n_samples - 1) for lag in lags)
    fixed = evaluation_lags(n_samples)
    assert fixed[0] == 1
    assert fixed[-1] == max(1, n_samples - 1)


def test_long_range_lags_are_new_each_step_and_log_uniform_up_to_the_whole():
    lags = [long_range_lags(10_001, StepInfo(step, 2000, 7)) for step in range(2000)]
    assert len(set(map(tuple, lags))) > 1990
    assert lags[0] != long_range_lags(10_001, StepInfo(0, 2000, 8))
    drawn = np.sort(np.log(np.array(lags, dtype=float).ravel()))
    # Beyond the small lags, where whole numbers are coarse, each half of the logarithms holds half of the draws: of 8,000
    # draws, the shares scatter by 0.6 %; 3 % is five times that.
    for share in (0.25, 0.5, 0.75, 0.9):
        assert np.mean(drawn > (1 - share) * math.log(10_001)) == pytest.approx(share, abs=0.03)


def test_far_to_near_begins_with_the_longest_lag_and_ends_with_the_shortest():
    lags = [far_to_near_lags(10_001, StepInfo(step, 50, 0)) for step in range(50)]
    assert lags[0] == [10_000, 5000, 2500, 1250]
    assert lags[-1] == [1]
    reaches = [each[0] for each in lags]
    assert reaches == sorted(reaches, reverse=True)
    assert far_to_near_lags(10_001, StepInfo(0, 1, 0))[0] == 10_000


@pytest.mark.parametrize("lags", ["long-range", "far-to-near"])
def test_the_judge_looks_at_fixed_lags_and_training_at_those_of_the_moment(lags):
    estimate, target = noise(2, 1, 1000)
    loss = Pdl(lags)
    assert torch.equal(loss(estimate, target), pdl(estimate, target, evaluation_lags(1000)))
    choose = {"long-range": long_range_lags, "far-to-near": far_to_near_lags}[lags]
    for moment in (StepInfo(0, 9, 1), StepInfo(4, 9, 1), StepInfo(8, 9, 1)):
        assert torch.equal(loss(estimate, target, moment), pdl(estimate, target, choose(1000, moment)))
