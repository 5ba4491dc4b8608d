"""The objective: weighted terms over the target's level, the judge, crops, moments and penalties."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from named_losses import ALL, SAMPLE_RATE, noise

from ddaudio.errors import OptionError
from ddaudio.losses import Objective, StepInfo, make_loss, mss, zero
from ddaudio.losses.differences import far_to_near_lags

TERMS = {"mse": 1.0, "mae": 0.5, "pdl": 0.25, "mss": 0.1}


def test_objective_is_the_weighted_losses_of_signals_over_their_level():
    estimate, target = 0.2 * noise(2, 2, 3000)
    level = target.double().square().mean().sqrt().item()
    found = Objective(TERMS, target, crop_samples=3000, most_crops=1)(estimate)
    assert list(found) == list(TERMS)
    for name, weight in TERMS.items():
        wanted = weight * make_loss(name)(estimate / level, target / level).mean().item()
        assert found[name].item() == pytest.approx(wanted, rel=1e-5)  # float32
    # Over its level, mse is the noise-to-signal ratio.
    ratio = ((estimate - target).double().square().sum() / target.double().square().sum()).item()
    assert found["mse"].item() == pytest.approx(ratio, rel=1e-5)  # float32


@pytest.mark.parametrize("name", ALL)
def test_weights_are_factors(name):
    estimate, target = noise(2, 2, 500)
    one, three = (Objective({name: weight}, target, 500, 1, SAMPLE_RATE)(estimate)[name].item() for weight in (1.0, 3.0))
    assert three == pytest.approx(3 * one, rel=1e-6)  # one float32 product


@pytest.mark.parametrize("factor", [1e-3, 0.1, 7.0, 100.0])
def test_scaling_target_and_estimate_together_changes_nothing(factor):
    estimate, target = noise(2, 2, 3000)
    wanted = Objective(TERMS, target, 1000, 16).evaluate(estimate)
    found = Objective(TERMS, factor * target, 1000, 16).evaluate(factor * estimate)
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
    assert [objective.crops[index][0] for index in objective.evaluated] == pytest.approx(
        [0, 2500, 5000, 7400, 9900], abs=100
    )  # a crop's length
    assert objective.crops[-1] == (9900, 10_000)
    assert Objective({"mss": 1.0}, torch.ones(1, 10_000), 100, 1).evaluated == [0]


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
    before = first.evaluate(estimate)
    for crop in (3, 0, 5):
        sum(first(noise(1, 6000, seed=crop).requires_grad_(), crop).values()).backward()
    assert first.evaluate(estimate) == before == second.evaluate(estimate)
    judged = estimate.clone().requires_grad_()
    assert all(type(value) is float for value in first.evaluate(judged).values())
    assert judged.grad is None


def test_a_target_at_the_edge_of_float32_keeps_the_judge_finite():
    target = torch.full((1, 100), 1e-40)
    assert all(
        math.isfinite(value) for value in Objective({"mse": 1.0, "pdl": 1.0}, target, 100, 1).evaluate(target * 0).values()
    )


# --- names, moments and penalties -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_every_loss_is_judged_alike_whatever_the_moment_of_training(name):
    estimate, target = noise(2, 2, 3000)
    objective = Objective({name: 1.0}, target, 1000, 2, SAMPLE_RATE)
    before = objective.evaluate(estimate)
    for step in range(3):
        objective(estimate, step, StepInfo(step, 3, 5))
    assert objective.evaluate(estimate) == before
    assert list(before) == [name]
    assert math.isfinite(before[name])


def test_lags_in_training_are_those_of_the_moment_and_depend_on_nothing_before():
    estimate, target = noise(2, 1, 3000)
    moment = StepInfo(3, 10, 1)
    fresh = Objective({"pdl:long-range": 1.0, "pdl:far-to-near": 1.0}, target, 3000, 1)
    used = Objective({"pdl:long-range": 1.0, "pdl:far-to-near": 1.0}, target, 3000, 1)
    for step in range(3):
        used(estimate, None, StepInfo(step, 10, 1))
    found = used(estimate, None, moment)
    assert {name: value.item() for name, value in found.items()} == {
        name: value.item() for name, value in fresh(estimate, None, moment).items()
    }
    named = ":".join(map(str, far_to_near_lags(3000, moment)))
    given = Objective({f"pdl:{named}": 1.0}, target, 3000, 1)
    assert found["pdl:far-to-near"].item() == pytest.approx(given(estimate)[f"pdl:{named}"].item(), rel=1e-6)  # float32


def test_a_target_s_spectra_are_made_once_where_the_judge_looks(monkeypatch):
    made = []

    def noting(name, prepare):
        return lambda part: made.append(name) or prepare(part)

    estimate, target = noise(2, 1, 4000)
    objective = Objective({"mss": 1.0, "phase": 1.0}, target, 1000, 2)
    for name, loss in objective.losses.items():
        monkeypatch.setattr(loss, "prepare", noting(name, loss.prepare))
    for _ in range(3):
        objective.evaluate(estimate)
    assert sorted(made) == ["mss", "mss", "phase", "phase"], "two crops each, once"


def test_mel_asks_for_the_sample_rate():
    with pytest.raises(OptionError, match="'mel', which needs the sample rate"):
        Objective({"mel": 1.0}, noise(1, 100), 100, 1)


def test_zero_is_the_mean_of_a_falling_exponential_of_the_amplitudes():
    amplitudes = torch.tensor([0.0, 0.1, 0.5], dtype=torch.float64, requires_grad=True)
    value = zero(amplitudes, 0.2)
    assert value.item() == pytest.approx((1 + math.exp(-0.5) + math.exp(-2.5)) / 3, rel=1e-14)  # float64
    (gradient,) = torch.autograd.grad(value, amplitudes)
    wanted = [-math.exp(-a / 0.2) / 0.2 / 3 for a in (0.0, 0.1, 0.5)]
    assert gradient.tolist() == pytest.approx(wanted, rel=1e-14)
    assert zero(torch.zeros(0), 0.2).item() == 0


def test_penalties_are_weighted_measured_by_the_target_s_level_and_judged():
    target = 0.2 * noise(1, 3000)
    level = target.double().square().mean().sqrt().item()
    objective = Objective({"mse": 1.0}, target, 3000, 1, penalties={"zero:0.5": 0.3, "zero": 2.0})
    amplitudes = torch.tensor([0.0, 0.01, 0.4])
    found = objective.penalise(lambda: amplitudes)
    assert list(found) == ["zero:0.5", "zero"]
    assert found["zero:0.5"].item() == pytest.approx(0.3 * zero(amplitudes, 0.5 * level).item(), rel=1e-6)  # float32
    assert found["zero"].item() == pytest.approx(2 * zero(amplitudes, 0.1 * level).item(), rel=1e-6)
    judged = objective.evaluate(target, lambda: amplitudes)
    assert judged == {"mse": 0.0} | {name: value.item() for name, value in found.items()}


def test_amplitudes_are_not_asked_for_without_a_penalty():
    def unwanted():
        raise AssertionError("asked for")

    assert Objective({"mse": 1.0}, noise(1, 100), 100, 1).evaluate(noise(1, 100), unwanted).keys() == {"mse"}
