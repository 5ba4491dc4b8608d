"""Gauss-Newton: the Jacobian against sums spelled out in numpy, the step against a dense solver, the end against the bound."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import noise, tones

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import Objective
from ddaudio.losses.curvature import BINS, HOP
from ddaudio.models import Budget, Partials, SineNetwork
from ddaudio.models.component import ComponentNetwork
from ddaudio.models.parameters import Parameter
from ddaudio.options import StartingPoint, TrainingOptions, parse_terms
from ddaudio.training.gauss_newton import FIRST_DAMPING, GaussNewton, step_many
from ddaudio.training.preconditioning import curvature_levels, stacked_levels
from ddaudio.training.trainer import train

RATE = 8000
CELLS = [[64, 32, 32, 128, 64], [128, 128, 64]]


def network_of(grid: TimeGrid, partials: Partials) -> SineNetwork:
    """A network with these partials, of the dtype that they have."""
    network = SineNetwork(grid)
    network.replace_partials(partials)
    return network


def scattered(grid: TimeGrid, most: int, seed: int = 0, low: float = 0.0) -> Partials:
    """Up to ``most`` random partials in each frame, float64."""
    generator = np.random.default_rng(seed)
    frame = np.repeat(np.arange(grid.n_frames), generator.integers(0, most + 1, grid.n_frames))
    columns = generator.uniform(low, math.pi - low, len(frame)), *generator.normal(0, 0.3, (2, len(frame)))
    return Partials(torch.tensor(frame), *(torch.tensor(column) for column in columns))


def columns_of(network: SineNetwork) -> np.ndarray:
    """The Jacobian in numpy: a column ``[B T]`` for each frequency, then each cosine, then each sine amplitude."""
    grid, partials = network.grid, network.partials
    columns = np.zeros((3, len(partials), grid.n_signals, grid.n_samples))
    units = network.step_rad.numpy(), network.unit.numpy(), network.unit.numpy()
    for k, frame in enumerate(partials.frame.tolist()):
        begin, length, signal = int(grid.start[frame]), int(grid.frames.length[frame]), int(grid.frames.signal[frame])
        (group,) = [group for group in grid.groups if group.length == length]
        window = group.windows[frame - group.frames.start].double().numpy()
        d = np.arange(length) - (length - 1) / 2
        w, a, b = (float(column[k]) for column in (partials.frequency, partials.cosine, partials.sine))
        waves = d * (b * np.cos(w * d) - a * np.sin(w * d)), np.cos(w * d), np.sin(w * d)
        inside = slice(max(0, -begin), min(length, grid.n_samples - begin))
        for kind in range(3):
            columns[kind, k, signal, begin + inside.start : begin + inside.stop] = (window * waves[kind] * units[kind][k])[inside]
    return columns.reshape(3 * len(partials), grid.n_signals * grid.n_samples)


def flat(parts: list[torch.Tensor]) -> np.ndarray:
    return torch.cat(parts).detach().numpy()


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


def test_a_step_under_a_filter_is_that_of_a_dense_solver() -> None:
    """The same with ``mse=1,pdl=0.5``: the matrix between the columns is spelled out as differences."""
    grid, level = TimeGrid.of_sizes(RATE, 128, [[64, 64]]), 0.3
    partials = Partials(
        torch.tensor([0, 1]), *(torch.tensor(x, dtype=torch.float64) for x in ([0.8, 1.0], [0.3, 0.2], [0.1, -0.4]))
    )
    network = network_of(grid, partials)
    target = network.estimate().detach() + 0.01 * torch.randn(1, 128, generator=torch.Generator().manual_seed(0)).double()
    target = target * (level / target.square().mean().sqrt())
    before, columns = flat(list(network.parameters())), columns_of(network)
    weight = 2 * np.eye(128) / 128
    responses = np.ones((3, 2)) * 2 / 128
    for lag in (1, 2, 4, 8, 16, 32, 64):
        difference = np.eye(128)[lag:] - np.eye(128)[:-lag]
        weight += 0.5 / 7 * 2 * difference.T @ difference / (128 - lag)
        # At frequencies to the nearest of 257.
        radians = np.round(partials.frequency.numpy() * 256 / math.pi) * math.pi / 256
        responses += 0.5 / 7 * 2 * 4 * np.sin(lag * radians / 2) ** 2 / (128 - lag)
    weight, responses = weight / level**2, responses.flatten() / level**2
    squares = flat(network.jacobian().squares()) * responses
    residual = (target - network.estimate()).detach().flatten().numpy()
    gradient = columns @ weight @ residual
    step = np.linalg.solve(columns @ weight @ columns.T + FIRST_DAMPING * np.diag(squares), gradient)
    descent = GaussNewton(network, target, objective=Objective({"mse": 1.0, "pdl": 0.5}, target, 128, 1))
    assert descent.step() is None
    # Levels are float32, and so is their square root's effect on eight steps of conjugate gradients.
    np.testing.assert_allclose(flat(list(network.parameters())) - before, step, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(-flat(descent.gradients()), gradient, rtol=1e-6, atol=1e-9)


CURVED = ("mae", "huber", "slope", "first-difference", "pdl", "pdl:absolute", "pdl:huber", "pdl:all-pairs")
CURVED += (
    "pdl:all-pairs:by-distance",
    "mss",
    "mss:ddsp",
    "mss:smooth",
    "mel",
    "dft",
    "dft:log",
    "correlation",
    "mse=1,pdl=0.5,mss=0.1",
)


@pytest.mark.parametrize("losses", CURVED)
def test_every_loss_with_a_curvature_falls_at_each_step(losses: str) -> None:
    target = tones([310.0, 905.0, 2200.0], [0.5, 0.3, 0.1], [0.2, 2.0, -1.0], 0.25) + noise(0.25)
    network = SineNetwork(TimeGrid.uniform(RATE, 1, target.shape[1], 0.064))
    network.initialise(target, Budget(60, most_per_frame=6), "peaks", torch.Generator())
    objective = Objective(parse_terms(losses), target, 1000, 16, RATE)
    options = TrainingOptions(losses=losses, tolerance=0).resolved()
    run = train(network, target, objective, options, lambda _: None)
    totals = [look.total for look in run.evaluations]
    assert len(totals) == 7 or run.status == "converged"
    assert all(after < before for before, after in pairwise(totals))
    assert totals[-1] == pytest.approx(sum(objective.evaluate(network.estimate().detach()).values()), rel=1e-6)


@pytest.mark.parametrize("losses", ["pdl", "mse=1,mss=0.1", "mae=1,mel=0.1"])
def test_six_steps_get_as_far_as_eighty_of_adam(losses: str) -> None:
    target = tones([310.0, 905.0, 2200.0], [0.5, 0.3, 0.1], [0.2, 2.0, -1.0], 0.25) + noise(0.25)
    ends = {}
    for optimiser in ("gauss-newton", "adam"):
        network = SineNetwork(TimeGrid.uniform(RATE, 1, target.shape[1], 0.064))
        network.initialise(target, Budget(60, most_per_frame=6), "peaks", torch.Generator())
        options = replace(TrainingOptions(losses=losses), optimiser=optimiser, tolerance=0).resolved()
        objective = Objective(parse_terms(losses), target, target.shape[1], 1, RATE)
        ends[optimiser] = train(network, target, objective, options, lambda _: None).best.total
    assert ends["gauss-newton"] <= 1.01 * ends["adam"]


def test_a_batch_under_a_sum_of_losses_is_each_by_itself() -> None:
    steps = []
    for together in (False, True):
        descents = []
        for seed, n_samples in ((1, 900), (2, 1400)):
            target = noise(0.2, 1, seed)[:, :n_samples].double()
            network = SineNetwork(TimeGrid.uniform(RATE, 1, target.shape[1], 0.016))
            network.initialise(target, Budget(20), "peaks", torch.Generator())
            objective = Objective({"mse": 1.0, "pdl": 0.5, "mss:smooth": 0.1}, target, 500, 16)
            descents.append(GaussNewton(network, target, objective=objective))
        for group in [descents] if together else [[one] for one in descents]:
            step_many(group)
        steps.append([flat(list(one.network.parameters())) for one in descents])
    for alone, beside in zip(*steps, strict=True):
        # float64, but for levels, and for sums over signals of other lengths.
        np.testing.assert_allclose(beside, alone, rtol=1e-4, atol=1e-6)


def test_levels_of_parameters_are_those_of_their_cells() -> None:
    grid = TimeGrid.of_sizes(RATE, 2048, [[1024, 1024], [2048]])
    partials = Partials(torch.arange(3), *(torch.tensor(x) for x in ([0.0, math.pi / 2, math.pi], [0.3] * 3, [0.1] * 3)))
    network = network_of(grid, partials)
    levels = torch.arange(2 * BINS * 9, dtype=torch.float32).view(2, BINS, 9)
    found = curvature_levels(network, levels)
    for place in range(3):
        signal, begin = int(grid.frames.signal[place]), int(grid.start[place])
        end = begin + int(grid.frames.length[place])
        cells = range(max(0, begin // HOP), min(9, -(-end // HOP)))
        wanted = levels[signal, 128 * place, list(cells)].mean()
        assert all(float(part[place]) == pytest.approx(float(wanted), rel=1e-5) for part in found)
    constant = stacked_levels([torch.full((1, 1, 1), 2.0), torch.ones(1, BINS, 9)])
    assert constant.shape == (2, BINS, 9)
    assert all(float(part[2]) == 1 and float(part[0]) == 2 for part in curvature_levels(network, constant))


class Idle(ComponentNetwork):
    """A wave whose second parameter changes nothing."""

    name = "idle"
    PARAMETERS = (Parameter("level", "full scale", kind="amplitude", linear=True), Parameter("unused", "none", linear=True))

    def waveforms(self, values: Mapping[str, torch.Tensor], position: torch.Tensor) -> torch.Tensor:
        """Return waves of a fixed frequency."""
        return values["level"][:, None] * torch.cos(0.3 * position) + 0 * values["unused"][:, None]

    def initialise(self, target: torch.Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Set a silent wave in each frame."""
        del target, size, start, generator
        count = self.grid.n_frames
        self.set_components(torch.ones(count, dtype=torch.int64), {"level": torch.zeros(count), "unused": torch.zeros(count)})


def test_a_parameter_that_changes_nothing_does_not_stop_the_others() -> None:
    grid = TimeGrid.of_sizes(RATE, 256, [[256]])
    network = Idle(grid)
    network.initialise(torch.zeros(1, 256), Budget(1), "peaks", torch.Generator())
    target = 0.5 * torch.cos(0.3 * torch.arange(256))[None]
    descent = GaussNewton(network, target)
    assert descent.step() is None
    # One linear parameter, with a damping of 1e-2: within a hundredth of the solution, and the rest at the next step.
    assert float(network.level[0].detach()) == pytest.approx(0.5, rel=0.02)
    assert float(network.unused[0].detach()) == 0


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
