"""Gauss-Newton: the Jacobian against sums spelled out in numpy, the step against a dense solver, the end against the bound."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jacobians import CELLS, RATE, columns_of, flat, network_of, scattered
from sounds import noise, tones

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import Objective
from ddaudio.models import Budget, Partials, SineNetwork
from ddaudio.options import TrainingOptions
from ddaudio.training.gauss_newton import FIRST_DAMPING, GaussNewton
from ddaudio.training.trainer import train

GRIDS = st.builds(
    lambda n_samples, cells, window: TimeGrid.of_sizes(RATE, n_samples, cells, window),
    st.integers(260, 320),
    st.just(CELLS),
    st.sampled_from(["hann", "sine", "triangle", "gate"]),
) | st.builds(
    lambda n_samples, overlap: TimeGrid.uniform(RATE, 2, n_samples, 0.008, overlap), st.integers(1, 300), st.floats(0, 0.5)
)


@given(grid=GRIDS, most=st.integers(0, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_the_tangent_is_the_jacobian(grid: TimeGrid, most: int, seed: int) -> None:
    network = network_of(grid, scattered(grid, most, seed))
    tangent, columns = network.jacobian(), columns_of(network)
    generator = torch.Generator().manual_seed(seed)
    changes = [torch.randn(network.n_prunable(), generator=generator, dtype=torch.float64) for _ in range(3)]
    signals = torch.randn(2, grid.n_samples, generator=generator, dtype=torch.float64)
    there, here = tangent.forward(changes), tangent.adjoint(signals)
    assert there.dtype == torch.float64
    # float64 sums of a few hundred products, of order 1 to 100 with the distances from the middle.
    np.testing.assert_allclose(there.flatten().numpy(), flat(changes) @ columns, rtol=0, atol=1e-10)
    np.testing.assert_allclose(flat(here), columns @ signals.flatten().numpy(), rtol=0, atol=1e-10)
    products = float((there * signals).sum()), float(sum((c * h).sum() for c, h in zip(changes, here, strict=True)))
    assert products[0] == pytest.approx(products[1], rel=1e-9, abs=1e-9)


def test_the_tangent_is_the_slope_of_the_sound() -> None:
    grid = TimeGrid.of_sizes(RATE, 300, CELLS)
    network = network_of(grid, scattered(grid, 4))
    generator = torch.Generator().manual_seed(1)
    changes = [torch.randn(network.n_prunable(), generator=generator, dtype=torch.float64) for _ in range(3)]
    slope, ends = network.jacobian().forward(changes), []
    signals = torch.randn(2, 300, generator=generator, dtype=torch.float64)
    (network.estimate() * signals).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    # Autograd goes another way, through the engine's own gradients; all in float64.
    np.testing.assert_allclose(flat(gradients), flat(network.jacobian().adjoint(signals)), rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        step = 1e-4
        for sign in (1, -2):
            for parameter, change in zip(network.parameters(), changes, strict=True):
                parameter.add_(change, alpha=sign * step)
            ends.append(network.estimate())
    # Central differences err by step^2 / 6 times a third derivative of order 10 here.
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), slope, rtol=0, atol=1e-6)


def test_squares_are_those_of_the_columns_for_one_partial_alone() -> None:
    grid = TimeGrid.of_sizes(RATE, 640, [[128, 256, 128, 128]])
    partials = Partials(
        torch.arange(4), *(torch.tensor(x, dtype=torch.float64) for x in ([0.9, 1.5, 2.0, 1.1], [0.3] * 4, [-0.2] * 4))
    )
    network = network_of(grid, partials)
    wanted = (columns_of(network) ** 2).sum(1)
    # Exact but for the sum at twice the frequency, whose side lobes at 20 bins and more are below a percent, times d^2 a few.
    np.testing.assert_allclose(flat(network.jacobian().squares()), wanted, rtol=0.03)


@pytest.mark.parametrize("damping", [FIRST_DAMPING, 1.0])
def test_a_step_is_that_of_a_dense_solver(damping: float) -> None:
    """Two partials have six parameters: eight steps of conjugate gradients are exact."""
    grid = TimeGrid.of_sizes(RATE, 128, [[64, 64]])
    partials = Partials(
        torch.tensor([0, 1]), *(torch.tensor(x, dtype=torch.float64) for x in ([0.8, 1.0], [0.3, 0.2], [0.1, -0.4]))
    )
    network = network_of(grid, partials)
    target = network.estimate().detach() + 0.01 * torch.randn(1, 128, generator=torch.Generator().manual_seed(0)).double()
    before, columns = flat(list(network.parameters())), columns_of(network)
    squares = flat(network.jacobian().squares())
    residual = (target - network.estimate()).detach().flatten().numpy()
    step = np.linalg.solve(columns @ columns.T + damping * np.diag(squares), columns @ residual)
    descent = GaussNewton(network, target)
    descent.damping = damping
    assert descent.step() is None
    # Conjugate gradients in float64 on six unknowns, preconditioned: near the rounding.
    np.testing.assert_allclose(flat(list(network.parameters())) - before, step, rtol=1e-6, atol=1e-9)
    assert descent.energy == pytest.approx(float((target - network.estimate()).detach().square().sum()), rel=1e-12)
    # The slope is that of where the step began, in float64.
    np.testing.assert_allclose(flat(descent.slope), columns @ residual, rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 99), n_samples=st.integers(1, 900), db=st.sampled_from([5, 15]))
@settings(deadline=None, max_examples=12)
def test_the_error_never_grows(seed: int, n_samples: int, db: int) -> None:
    target = noise(0.2, 2, seed)[:, :n_samples]
    network = SineNetwork(TimeGrid.uniform(RATE, 2, n_samples, 0.016))
    network.initialise(target, Budget(40, float(target.square().sum()) * 10 ** (-db / 10)), "peaks", torch.Generator())
    descent = GaussNewton(network, target)
    for _ in range(6):
        before = descent.energy
        helped = descent.step() is None
        assert descent.energy < before if helped else descent.energy == before
        now = float((target - network.estimate()).detach().double().square().sum())
        # The residual is computed again here, in float32.
        assert now == pytest.approx(descent.energy, rel=1e-5, abs=1e-12)
        assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())
        radians = network.partials.frequency
        assert bool(((radians >= 0) & (radians <= math.pi + 1e-6)).all())


def few_sinusoids() -> tuple[torch.Tensor, SineNetwork]:
    """A noiseless sum that a network can say exactly, with its start from peaks, float64."""
    grid = TimeGrid.of_sizes(RATE, 1024, [[1024]])
    t = torch.arange(1024, dtype=torch.float64)
    target = torch.stack([a * torch.cos(w * t + p) for a, w, p in ((0.5, 0.31, 0.2), (0.3, 0.9, 2.0), (0.02, 2.2, -1.0))]).sum(0)[
        None
    ]
    network = SineNetwork(grid)
    network.initialise(target, Budget(1), "peaks", torch.Generator())
    assert network.extend(target, Budget(2))
    assert network.extend(target, Budget(3))
    return target, network


def test_a_noiseless_sum_is_found_exactly() -> None:
    target, network = few_sinusoids()
    descent = GaussNewton(network, target)
    assert all(descent.step() is None for _ in range(4))
    # Convergence gets faster as the damping falls; with that of the start, 1e-2, the energy would fall to 1e-4 a step.
    assert descent.energy < 1e-22 * float(target.square().sum())
    table = network.describe()
    found = sorted(zip(table["frequency_hz"].tolist(), table["amplitude"].tolist(), strict=True))
    for (hz, level), (w, a) in zip(found, ((0.31, 0.5), (0.9, 0.3), (2.2, 0.02)), strict=True):
        assert hz == pytest.approx(w * RATE / (2 * math.pi), rel=1e-9)
        assert level == pytest.approx(a, rel=1e-8)


def test_it_gets_at_least_as_far_as_adam_in_ten_times_the_steps() -> None:
    target = tones([310.0, 905.0, 2200.0], [0.5, 0.3, 0.1], [0.2, 2.0, -1.0], 0.25)
    ends = {}
    for optimiser, steps in (("gauss-newton", 8), ("adam", 80)):
        network = SineNetwork(TimeGrid.uniform(RATE, 1, target.shape[1], 0.064))
        network.initialise(target, Budget(60, most_per_frame=3), "peaks", torch.Generator())
        options = TrainingOptions(optimiser=optimiser, steps=steps, tolerance=0)
        ends[optimiser] = train(network, target, Objective({"mse": 1.0}, target, 1000, 1), options, lambda _: None).best.total
    assert ends["gauss-newton"] <= ends["adam"]


def parameters_of(network: SineNetwork) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.mark.parametrize("wrong", ["uphill", "NaN", "infinity"])
def test_a_step_that_does_not_help_leaves_the_parameters_alone(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, network = few_sinusoids()
    descent, before = GaussNewton(network, target), parameters_of(network)
    energy, bounded = descent.energy, network.clip_step
    spoilt = {"uphill": lambda part: -part, "NaN": lambda part: part * math.nan, "infinity": lambda part: part * 0 + math.inf}[
        wrong
    ]
    monkeypatch.setattr(network, "clip_step", lambda changes, most: [spoilt(part) for part in bounded(changes, most)])
    assert descent.step() == "converged"
    assert descent.energy == energy
    assert all(torch.equal(one, two) for one, two in zip(before, network.parameters(), strict=True))
    # Nothing of it stays behind: the next step is as good as ever.
    monkeypatch.undo()
    assert descent.step() is None
    assert descent.energy < energy


def test_nothing_is_changed_where_nothing_is_left() -> None:
    grid = TimeGrid.of_sizes(RATE, 320, CELLS)
    network = network_of(grid, scattered(grid, 3))
    before = parameters_of(network)
    assert GaussNewton(network, network.estimate().detach()).step() == "converged"
    assert all(torch.equal(one, two) for one, two in zip(before, network.parameters(), strict=True))
    empty = SineNetwork(grid)
    assert GaussNewton(empty, noise(0.04, 2)).step() == "converged"


def test_frequencies_change_by_a_bounded_step() -> None:
    """A partial far off its target would be sent anywhere: it goes at most 0.7 of its unit a step."""
    target = tones([1000.0], [0.5], [0.0], 0.032)
    network = SineNetwork(TimeGrid.of_sizes(RATE, 256, [[256]]))
    values = torch.tensor([0.78]), torch.tensor([0.001]), torch.tensor([0.0])
    network.replace_partials(Partials(torch.tensor([0]), *values))
    before = parameters_of(network)[0]
    GaussNewton(network, target).step()
    moved = float((parameters_of(network)[0] - before).abs())
    assert 0.05 < moved <= 0.7 + 1e-5


class TestCramerRao:
    """One partial in white noise: the variance of its frequency against the least that any unbiased estimator can have.

    A real sinusoid of amplitude ``A``, known neither in frequency nor amplitude nor phase, in white noise of variance
    ``sigma^2``, ``N`` samples, away from 0 and Nyquist: ``var(w) >= 24 sigma^2 / (A^2 N (N^2 - 1))`` in (rad/sample)^2
    (Kay, 1993, "Fundamentals of statistical signal processing: estimation theory", example 3.14).
    """

    N_SAMPLES, TRIALS = 2048, 300

    @pytest.mark.parametrize("snr_db", [0, 20, 40, 60])
    def test_frequencies_are_as_good_as_can_be(self, snr_db: int) -> None:
        n, trials = self.N_SAMPLES, self.TRIALS
        generator = torch.Generator().manual_seed(snr_db)
        w, phase = torch.rand(2, trials, 1, generator=generator, dtype=torch.float64)
        w, phase = 0.2 + (math.pi - 0.4) * w, 2 * math.pi * phase
        d = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
        sigma = math.sqrt(0.5 * 10 ** (-snr_db / 10))
        disturbance = sigma * torch.randn(trials, n, generator=generator, dtype=torch.float64)
        target = torch.cos(w * d + phase) + disturbance
        network = SineNetwork(TimeGrid.of_sizes(RATE, n, [[n]] * trials))
        network.initialise(target, Budget(trials, most_per_frame=1), "peaks", torch.Generator())
        descent = GaussNewton(network, target)
        for _ in range(3):
            descent.step()
        found = network.partials
        assert found.frequency.dtype == torch.float64
        assert found.frame.tolist() == list(range(trials))
        rmse = float((found.frequency - w[:, 0]).square().mean().sqrt())
        bound = math.sqrt(24 * sigma**2 / (n * (n**2 - 1)))
        # What an efficient estimator errs by on these very trials: the noise's share along the frequency's own column,
        # -d sin(w d + p), which is orthogonal to those of the amplitudes up to terms at twice the frequency.
        column = -d * torch.sin(w * d + phase)
        efficient = float(((disturbance * column).sum(1) / column.square().sum(1)).square().mean().sqrt())
        # An RMSE of n trials has the relative standard error 1 / sqrt(2 n); three of them.
        assert efficient == pytest.approx(bound, rel=3 / math.sqrt(2 * trials))
        # Beside it, on the same noise, there is hardly any sampling error left.
        assert rmse <= 1.05 * efficient
        assert rmse <= 1.05 * bound * (1 + 2 / math.sqrt(2 * trials))
