"""Gauss-Newton steps under other losses than the squared error: against dense solvers, each step down, batches, levels."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from jacobians import RATE, columns_of, flat, network_of
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
