"""From a starting point to the goal: no further than needed, never worse, and stopped when asked."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import noise, pluck

from ddaudio.fitting import refinement
from ddaudio.fitting.refinement import refine, residual_energies
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import Objective
from ddaudio.models import Budget, Network, SineNetwork
from ddaudio.options import TrainingOptions
from ddaudio.training.history import Progress, TrainingRun

ROWS = [[256, 128, 128, 512, 512, 256, 256]]
FAST = replace(TrainingOptions().resolved(2), steps=3)


def silent(_: Progress) -> None:
    pass


def left_over(network: Network, target: torch.Tensor) -> float:
    return residual_energies([network], [target])[0]


def begun(most: int, db: float | None = None, target: torch.Tensor | None = None) -> tuple[Network, torch.Tensor, Budget]:
    """A network at its start, its target and the size that it is meant to have."""
    target = pluck(0.25).samples if target is None else target
    network = SineNetwork(TimeGrid.of_sizes(8000, target.shape[1], ROWS))
    goal = 0.0 if db is None else float(target.double().square().sum()) * 10 ** (-db / 10)
    size = Budget(most, goal)
    # As a fit does it: the start stops a decibel short of the goal.
    network.initialise(target, replace(size, goal_energy=goal * 10**0.1), "peaks", torch.Generator())
    return network, target, size


@pytest.mark.parametrize("db", [12, 20, 26])
@pytest.mark.parametrize("optimiser", ["gauss-newton", "adam"])
def test_the_goal_is_reached_and_nothing_can_be_left_out(db: float, optimiser: str) -> None:
    network, target, size = begun(2000, db)
    steps = 3 if optimiser == "gauss-newton" else 20
    network, stages = refine(network, target, size, TrainingOptions(optimiser=optimiser, steps=steps), 1, silent)
    assert left_over(network, target) <= size.goal_energy
    assert left_over(network.pruned(network.n_prunable() - 1), target) > size.goal_energy
    assert float((target - network.estimate()).detach().double().square().sum()) == left_over(network, target)
    assert len(stages) >= 1


def test_a_goal_out_of_reach_leaves_everything_in() -> None:
    network, target, size = begun(12, 60)
    before = left_over(network, target)
    network, _ = refine(network, target, size, FAST, 1, silent)
    assert network.n_prunable() == 12
    assert size.goal_energy < left_over(network, target) < before


@pytest.mark.parametrize("db", [None, 9.0])
def test_what_comes_back_has_gone_through_a_file(db: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files that hold whole Hz only, frequencies come back in whole Hz, and the goal is reached with those."""
    network, target, size = begun(300, db)
    stored = SineNetwork.to_tensors

    def coarse(self: SineNetwork) -> dict[str, torch.Tensor]:
        """Round frequencies to whole Hz."""
        return {name: tensor.round() if name == "frequency_hz" else tensor for name, tensor in stored(self).items()}

    monkeypatch.setattr(SineNetwork, "to_tensors", coarse)
    network, _ = refine(network, target, size, FAST, 1, silent)
    hz = stored(network)["frequency_hz"]
    # Hz to radians and back: float32 roundings of up to 4000.
    assert float((hz - hz.round()).abs().max()) < 2e-3
    if db is not None:
        assert left_over(network, target) <= size.goal_energy


def test_stored_and_restored_it_is_the_same() -> None:
    network, target, size = begun(60, 15)
    network, _ = refine(network, target, size, FAST, 1, silent)
    copy = SineNetwork(network.grid)
    copy.from_tensors(network.to_tensors())
    # Units of float32 there and back: a rounding of the last digit of a phase of up to 800 is 5e-5 of an amplitude of 0.1.
    assert torch.allclose(copy.estimate(), network.estimate(), atol=1e-5)


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_an_exchange_is_kept_only_when_the_judge_likes_it(loss: str) -> None:
    network, target, size = begun(40)
    # Random frequencies leave much to exchange.
    network.initialise(target, size, "random", torch.Generator().manual_seed(0))
    count = network.n_prunable()
    options = replace(TrainingOptions(losses=loss).resolved(2), steps=8)
    # Trained once, without exchanges: what exchanging begins with.
    alone, stages = refine(network.pruned(count), target, size, options, 0, silent)
    assert len(stages) == 1
    network, stages = refine(network, target, size, options, 5, silent)
    totals = [stage.best.total for stage in stages]
    assert len(totals) > 1
    assert all(after < before for before, after in pairwise(totals))
    objective = Objective({loss: 1.0}, target, 6000, 16)
    judged = [sum(objective.evaluate(one.estimate().detach()).values()) for one in (alone, network)]
    assert judged[1] < judged[0]
    assert judged[1] == pytest.approx(totals[-1], rel=1e-3)  # a file's rounding
    assert network.n_prunable() == count


def test_a_worse_exchange_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    network, target, size = begun(40)

    def spoilt(self: SineNetwork, *_: object) -> bool:
        """Add nothing: a network with fewer partials is worse."""
        return self is not None

    monkeypatch.setattr(SineNetwork, "extend", spoilt)
    refined, stages = refine(network, target, size, FAST, 3, silent)
    assert len(stages) == 1
    assert refined.n_prunable() == 40
    # The file's rounding is all that comes after the training.
    assert sum(Objective({"mse": 1.0}, target, 6000, 16).evaluate(refined.estimate().detach()).values()) == pytest.approx(
        stages[0].best.total, rel=1e-3
    )


@given(most=st.integers(1, 60), db=st.none() | st.floats(1, 40), exchanges=st.integers(0, 2), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=6)
def test_a_budget_is_never_exceeded(most: int, db: float | None, exchanges: int, seed: int) -> None:
    network, target, size = begun(most, db, pluck(0.25).samples + 0.1 * noise(0.25, seed=seed))
    start = left_over(network, target)
    network, _ = refine(network, target, size, FAST, exchanges, silent)
    assert network.n_prunable() <= most
    left = left_over(network, target)
    # Left out is only what the goal does not need.
    assert left <= max(start * (1 + 1e-5), size.goal_energy)


class Stop:
    """A progress callable that interrupts when told for the ``n``-th time, and knows what was said before."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, _: Progress) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def told(most: int, db: float | None) -> int:
    """How often a whole run tells of its progress."""
    count = Stop(-1)
    refine(*begun(most, db), FAST, 2, count)
    return -1 - count.left


@pytest.mark.parametrize(("most", "db"), [(12, None), (400, 16.0)])
def test_stopped_anywhere_it_keeps_the_best_and_says_so(most: int, db: float | None) -> None:
    wrong = []
    for n in range(1, told(most, db) + 1):
        network, target, size = begun(most, db)
        start = left_over(network, target)
        stop = Stop(n)
        network, stages = refine(network, target, size, FAST, 2, stop)
        assert left_over(network, target) <= max(start * (1 + 1e-5), size.goal_energy)
        assert network.n_prunable() <= most
        # Who asked to stop is not kept waiting: nothing is looked at any more.
        if stages[-1].status != "stopped" or stop.left < 0:
            wrong.append(n)
    assert not wrong, f"an interrupt at call {wrong} was not heeded"


def test_stopped_between_trainings_it_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    network, target, size = begun(40)
    start = left_over(network, target)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(refinement, "_exchange", interrupted)
    network, stages = refine(network, target, size, FAST, 2, silent)
    assert [stage.status for stage in stages] == ["stopped"]
    assert left_over(network, target) < start


def test_without_steps_a_start_is_only_trimmed() -> None:
    network, target, size = begun(400, 15)
    assert network.extend(target, replace(size, goal_energy=size.goal_energy / 2))
    stored, taken = network.to_tensors(), []
    options = replace(FAST, steps=0)
    network, stages = refine(network, target, size, options, 2, lambda progress: taken.append(progress.step))
    assert isinstance(stages[0], TrainingRun)
    assert [stage.status for stage in stages] == ["not trained"]
    assert set(taken) == {0}
    assert left_over(network, target) <= size.goal_energy < left_over(network.pruned(network.n_prunable() - 1), target)
    assert set(network.to_tensors()["frequency_hz"].tolist()) <= set(stored["frequency_hz"].tolist())
