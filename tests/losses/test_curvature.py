"""Curvatures: dense second derivatives, parabolas that touch from above, short-time spectra spelled out, levels of waves."""

import math

import pytest
import torch
from named_losses import ALL, SAMPLE_RATE, noise

from ddaudio.losses import Objective, make_loss, weighting_of
from ddaudio.losses.curvature import BINS, HOP, PHASE_SHARE, WINDOW, Centred, Curvature, Differences, Magnitudes, n_cells, pooled
from ddaudio.losses.spectral import (
    PRESETS,
    SMALLEST_CHANGE,
    convergence_and_log,
    linear_and_log,
    squared,
    weigh_compressed,
    weigh_convergence_and_log,
    weigh_linear_and_log,
)
from ddaudio.losses.stft import Resolution, magnitudes
from ddaudio.options import has_curvature

CURVED = [name for name in ALL if has_curvature(name)]
QUADRATIC = ["mse", "dft:complex", "slope", "pdl", "pdl:by-distance", "pdl:1:5:44", "pdl:all-pairs"]
QUADRATIC += ["pdl:all-pairs:by-distance", "pdl:all-pairs:by-inverse-distance"]
ROBUST = ["mae", "huber", "huber:0.3", "first-difference", "pdl:absolute", "pdl:huber"]


def dense(curvature: Curvature, n_samples: int) -> torch.Tensor:
    """The matrix of a curvature of one signal, float64."""
    return torch.stack([curvature.product(row[None])[0] for row in torch.eye(n_samples, dtype=torch.float64)])


def expanded(name: str, estimate: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Curvature]:
    """Value and gradient of the sum over signals, and curvature."""
    loss, leaf = make_loss(name, SAMPLE_RATE), estimate.clone().requires_grad_()
    values, curvature = loss.expand(leaf, loss.prepare(target))
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach().sum(), gradient, curvature


def test_all_that_can_be_are_trained_by_their_curvature():
    without = {"delta-time", "delta-frequency", "phase", "axis", "auraloss"}
    assert {name for name in ALL if name.split(":")[0] not in without} - set(CURVED) == {
        "pdl:long-range",
        "pdl:far-to-near",
        "pdl:long-range:by-distance:huber",
        "pdl:far-to-near:absolute",
        "pdl:all-pairs:absolute",
        "pdl:all-pairs:huber",
    }
    assert all(map(has_curvature, (*QUADRATIC, *ROBUST)))
    for name in set(ALL) - set(CURVED):
        if "range" not in name and "far" not in name:  # of lags that vary, those for evaluations have one
            loss = make_loss(name, SAMPLE_RATE)
            with pytest.raises(NotImplementedError):
                loss.expand(noise(1, 600), loss.prepare(noise(1, 600, seed=1)))


@pytest.mark.parametrize("name", QUADRATIC)
def test_a_quadratic_loss_has_its_second_derivative(name):
    estimate, target = noise(2, 1, 100, dtype=torch.float64)
    wanted = torch.autograd.functional.hessian(lambda signal: make_loss(name)(signal[None], target[None, 0])[0], estimate[0])
    curvature = expanded(name, estimate[None, 0], target[None, 0])[2]
    # float64 sums of up to a hundred terms; all pairs go through an FFT.
    torch.testing.assert_close(dense(curvature, 100), wanted, rtol=1e-9, atol=1e-14)


def test_the_matrix_of_pdl_is_that_of_its_differences():
    n_samples, lags = 90, (1, 2, 4, 8, 16, 32, 64)
    wanted = torch.zeros(n_samples, n_samples, dtype=torch.float64)
    for lag in lags:
        step = torch.eye(n_samples, dtype=torch.float64)[lag:] - torch.eye(n_samples, dtype=torch.float64)[:-lag]
        wanted += 2 / len(lags) * step.mT @ step / (n_samples - lag)
    found = dense(expanded("pdl", *noise(2, 1, n_samples, dtype=torch.float64))[2], n_samples)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ROBUST)
def test_a_robust_loss_is_below_a_parabola_that_touches_it(name):
    estimate, target = noise(2, 2, 300, dtype=torch.float64)
    value, gradient, curvature = expanded(name, estimate, target)
    for seed, size in ((1, 1e-3), (2, 0.3), (3, 3.0)):
        change = size * noise(2, 300, seed=seed, dtype=torch.float64)
        above = value + (gradient * change).sum() + (change * curvature.product(change)).sum() / 2
        assert make_loss(name)(estimate + change, target).sum() <= above + 1e-12  # equal where the change is 0
    # With the error's sign turned, every distance is the same again, and so is a parabola that touches it at both.
    turned = 2 * (target - estimate)
    above = value + (gradient * turned).sum() + (turned * curvature.product(turned)).sum() / 2
    # Errors below the floor of absolute values have a wider parabola: two in a thousand of errors of 1.4, each 1e-3 at most.
    assert above == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("name", CURVED)
def test_curvatures_are_symmetric_and_positive(name):
    curvature = expanded(name, *(0.3 * part for part in noise(2, 1, 400, dtype=torch.float64)))[2]
    matrix = dense(curvature, 400)
    scale = matrix.abs().max()
    # PairWeights and short-time spectra go through FFTs in float64.
    torch.testing.assert_close(matrix / scale, matrix.mT / scale, rtol=0, atol=1e-12)
    assert torch.linalg.eigvalsh(matrix).min() > -1e-10 * scale


@pytest.mark.parametrize("name", CURVED)
@pytest.mark.parametrize("n_samples", [1, 2, 700])
def test_curvatures_are_finite_everywhere(name, n_samples):
    zero, sound = torch.zeros(2, n_samples), noise(2, n_samples)
    for estimate, target in ((zero, sound), (sound, zero), (sound, sound), (zero, zero), (1e-20 * sound, sound)):
        curvature = expanded(name, estimate, target)[2]
        assert curvature.product(noise(2, n_samples, seed=3)).isfinite().all()
        assert curvature.levels().isfinite().all()
        assert (curvature.levels() >= 0).all()


# The weights of dft:log differ by decades from bin to bin, so that sixteen waves are no average.
@pytest.mark.parametrize("name", [name for name in CURVED if name != "dft:log"])
def test_levels_are_those_of_waves(name):
    """Waves of all phases: those of the estimate are random, so both of a bin's axes count."""
    n_samples = 64 * HOP
    estimate, target = noise(2, 1, n_samples, dtype=torch.float64)
    curvature = expanded(name, estimate, 2 * target)[2]
    levels = curvature.levels().expand(1, BINS, n_cells(n_samples)).mean((0, 2))
    times = torch.arange(n_samples, dtype=torch.float64)
    for place in (40, 101, 200):
        phases = torch.stack([math.pi * (place + offset / 16) / (BINS - 1) * times for offset in range(-8, 8)])
        waves = [part[None] for part in (*phases.cos(), *phases.sin())]
        found = sum(float((wave * curvature.product(wave)).sum() / wave.square().sum()) for wave in waves) / len(waves)
        spectral = name.startswith(("mss", "mel", "dft"))
        near = levels[place - 1 : place + 2].mean() if spectral else levels[place]
        # Weights of noise scatter; sixty cells of a bin, and of its two neighbours in the window's main lobe, are averaged.
        assert found == pytest.approx(float(near), rel=0.35 if spectral else 0.1)


def test_short_time_weights_are_products_of_the_jacobian_of_magnitudes():
    signals, n_samples = noise(1, 700, dtype=torch.float64), 700
    weight = noise(1, BINS, n_cells(n_samples), seed=2, dtype=torch.float64).square()
    window = torch.sin(math.pi * (torch.arange(WINDOW, dtype=torch.float64) + 0.5) / WINDOW)

    def spectrum(signal: torch.Tensor) -> torch.Tensor:
        """Spectrum spelled out, frame by frame."""
        padded = torch.nn.functional.pad(signal, (HOP, WINDOW))
        starts = range(0, n_cells(n_samples) * HOP, HOP)
        return torch.stack([torch.fft.rfft(padded[first : first + WINDOW] * window) for first in starts], 1)

    jacobian = torch.autograd.functional.jacobian(lambda signal: spectrum(signal).abs(), signals[0]).flatten(0, 1)
    real, imaginary = (
        torch.autograd.functional.jacobian(lambda signal, part=part: part(spectrum(signal)), signals[0]).flatten(0, 1)
        for part in (torch.real, torch.imag)
    )
    shares = ((jacobian, 1 - PHASE_SHARE), (real, PHASE_SHARE), (imaginary, PHASE_SHARE))
    wanted = sum(share * part.mT @ (weight[0].flatten()[:, None] * part) for part, share in shares)
    torch.testing.assert_close(dense(Magnitudes(weight, signals), n_samples), wanted, rtol=1e-9, atol=1e-9)


def test_pooled_weights_cost_a_louder_estimate_as_much_and_a_turned_one_its_share():
    """A gain changes every magnitude by its own share, a turn of all phases none: both have a closed form."""
    times = torch.arange(16_000, dtype=torch.float64)
    waves = [(0.1 * k, 1.0 / k, 0.7 * k) for k in range(1, 20)]
    estimate = sum(a * torch.cos(w * times + p) for w, a, p in waves)[None]
    turned = sum(a * torch.sin(w * times + p) for w, a, p in waves)[None]
    scale, found = Resolution(1024, 120, 600), magnitudes(estimate, Resolution(1024, 120, 600))
    weight = torch.linspace(0.5, 2, found.shape[1], dtype=torch.float64)[None, :, None].expand_as(found)
    energy = 0.375 * scale.window * scale.n_fft / scale.hop
    curvature = Magnitudes(pooled([(weight, energy)], 16_000), estimate)
    wanted = float((weight * found.square()).sum())
    # Ends are padded in two ways: 300 of 16,000 samples at each.
    assert float((estimate * curvature.product(estimate)).sum()) == pytest.approx(wanted, rel=0.05)
    # In the frames at the ends, and where neighbouring waves meet, a turn changes magnitudes a little.
    assert float((turned * curvature.product(turned)).sum()) == pytest.approx(PHASE_SHARE * wanted, rel=0.1)


@pytest.mark.parametrize(
    ("distance", "weigh"),
    [(convergence_and_log, weigh_convergence_and_log), (linear_and_log, weigh_linear_and_log), (squared, weigh_compressed)],
)
def test_weights_of_magnitudes_have_the_slope_of_the_distance_and_the_minimum_of_the_target(distance, weigh):
    found, wanted = noise(2, 2, 9, 7, dtype=torch.float64).abs() * 10 + 0.1
    scale, smooth = Resolution(16, 4, 16), distance is squared
    compress = PRESETS["smooth"].picture if smooth else None
    found.requires_grad_()
    knee = 0.03**2 * 0.375 * 16
    assert (compress is not None) == smooth
    images = [(part.square() / knee).log1p() / 2 if smooth else part for part in (found, wanted)]
    (slope,) = torch.autograd.grad(distance(*images).sum(), found)
    weight = weigh(images[0].detach(), images[1], scale)
    apart = (wanted - found).detach().abs() > SMALLEST_CHANGE * found.detach()
    torch.testing.assert_close((weight * (found.detach() - wanted))[apart], slope[apart], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", CURVED)
def test_an_objective_is_expanded_as_it_is_evaluated(name):
    estimate, target = 0.2 * noise(2, 2, 3000)
    objective = Objective({name: 0.7, "mse": 0.3} if name != "mse" else {"mse": 0.7}, target, 1000, 16, SAMPLE_RATE)
    found, leaf = objective.expand(estimate), estimate.clone().requires_grad_()
    assert found.terms == pytest.approx(objective.evaluate(estimate), rel=1e-6)  # float32 means over crops
    (gradient,) = torch.autograd.grad(sum(objective(leaf).values()), leaf)
    scale = float(gradient.abs().max())
    torch.testing.assert_close(found.gradient / scale, gradient / scale, rtol=1e-4, atol=1e-5)
    change = 0.01 * noise(2, 3000, seed=4)
    curved = float((change * found.curvature.product(change)).sum())
    if name in QUADRATIC:
        ends = [
            sum(Objective(objective.terms, target.double(), 1000, 16)(estimate.double() + s * change).values())
            for s in (1, -1, 0)
        ]
        assert curved == pytest.approx(float(ends[0] + ends[1] - 2 * ends[2]), rel=1e-4)  # float32 products
    assert curved > 0


def test_the_weighting_of_a_sum_is_that_of_its_filters():
    assert weighting_of({"mse": 2.0}, 1000) is None
    assert weighting_of({"mss": 1.0, "mse": 1.0, "mae": 1.0}, 1000) is None
    found = weighting_of({"mse": 1.0, "pdl:3": 0.5, "slope": 2.0, "mss": 0.1}, 100_000)
    frequency = torch.linspace(0, math.pi, 50, dtype=torch.float64)
    wanted = 1 + 0.5 * 4 * torch.sin(1.5 * frequency).square() + 2 * torch.sin(frequency).square()
    # Over all frequencies the squared sine of the slope has the mean 1/2; a lag leaves out 3 of 100,000 pairs.
    torch.testing.assert_close(found.response(frequency), wanted / 3, rtol=1e-4, atol=1e-5)
    assert found.mean_response() == pytest.approx(1)


def test_a_lag_without_pairs_has_no_curvature():
    assert Differences({5: 1.0}).product(torch.ones(1, 4)).eq(0).all()
    assert Centred(2.0).product(torch.ones(1, 4)).eq(0).all()
