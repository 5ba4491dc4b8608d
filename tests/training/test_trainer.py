"""The training loop: what it keeps, when it stops, and what never reaches the parameters."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sounds import noise, pluck

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import Objective, StepInfo
from ddaudio.models import Budget, Network, SineNetwork
from ddaudio.options import TrainingOptions
from ddaudio.training.history import QUANTILES, Progress, TrainingRun, amplitude_quantiles, has_converged, snr_of
from ddaudio.training.run import TrainingTask
from ddaudio.training.trainer import train, train_many

CELLS = [256, 128, 128, 512, 512, 256, 256]


def prepared(losses: dict[str, float] | None = None) -> tuple[Network, torch.Tensor, Objective]:
    target = pluck(0.25).samples
    network = SineNetwork(TimeGrid.of_sizes(8000, target.shape[1], [CELLS]))
    network.initialise(target, Budget(60), "peaks", torch.Generator())
    return network, target, Objective(losses or {"mse": 1.0}, target, 1000, 16)


def silent(_: Progress) -> None:
    pass


@pytest.mark.parametrize("optimiser", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("losses", [{"mse": 1.0}, {"mse": 1.0, "pdl": 0.5, "mss": 0.001}, {"mae": 1.0}])
def test_training_beats_its_start(optimiser: str, losses: dict[str, float]) -> None:
    network, target, objective = prepared(losses)
    rate = {"adam": 0.02, "sgd": 0.02, "lbfgs": 0.5}[optimiser]
    # With another random crop at each step, L-BFGS has curvatures of different losses, and diverges with one seed in four.
    options = TrainingOptions(optimiser=optimiser, learning_rate=rate, steps=30, seed=1)
    run = train(network, target, objective, options, silent)
    assert run.best.total < run.evaluations[0].total
    # The network is left at the best look, not at the last step.
    assert sum(objective.evaluate(network.estimate()).values()) == pytest.approx(run.best.total, rel=1e-6)
    assert {name for terms in run.losses for name in terms} == set(losses)


def test_defaults_are_filled_in_by_the_losses() -> None:
    assert (TrainingOptions().resolved(2).optimiser, TrainingOptions().resolved(2).steps) == ("gauss-newton", 6)
    summed = TrainingOptions(losses="mse=1,pdl=0.5,mss=0.1").resolved(2)
    assert (summed.optimiser, summed.steps) == ("gauss-newton", 6)
    phase = TrainingOptions(losses="mse=1,phase=0.1").resolved(2)
    assert (phase.optimiser, phase.steps) == ("adam", 80)
    given = TrainingOptions(optimiser="sgd", steps=7)
    assert given.resolved(2) == replace(given, exchanges=2, learning_rate=0.02)


def test_gauss_newton_looks_at_each_step_and_only_goes_down() -> None:
    network, target, objective = prepared()
    run = train(network, target, objective, TrainingOptions(tolerance=0).resolved(2), silent)
    assert [look.step for look in run.evaluations] == list(range(7))
    assert run.status == "step limit"
    totals = [look.total for look in run.evaluations]
    assert totals == sorted(totals, reverse=True)
    # The judge's mse is the noise-to-signal ratio, so its decibels are the SNR.
    assert all(look.snr_db == pytest.approx(-10 * math.log10(look.total), abs=1e-4) for look in run.evaluations)
    assert sum(objective.evaluate(network.estimate()).values()) == pytest.approx(run.best.total, rel=1e-6)
    level = train(network, target, objective, TrainingOptions(steps=50).resolved(2), silent)
    assert level.status == "converged"
    assert len(level.evaluations) < 30


def test_gauss_newton_ends_where_no_step_helps() -> None:
    network, _, _ = prepared()
    exact = network.estimate().detach()
    run = train(network, exact, Objective({"mse": 1.0}, exact, 1000, 16), TrainingOptions().resolved(2), silent)
    assert (run.status, len(run.evaluations)) == ("converged", 1)


def test_a_run_that_gets_worse_comes_back_to_its_best() -> None:
    network, target, objective = prepared()
    options = TrainingOptions(optimiser="adam", learning_rate=0.06, schedule="constant", steps=20, evaluate_every=5)
    run = train(network, target, objective, options, silent)
    # Far too large steps: the start is the best that the judge sees.
    assert run.evaluations[-1].total > 1.5 * run.best.total
    assert sum(objective.evaluate(network.estimate()).values()) == pytest.approx(run.best.total, rel=1e-6)


def test_gauss_newton_stopped_by_the_user_keeps_the_best_so_far() -> None:
    network, target, objective = prepared()

    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    run = train(network, target, objective, TrainingOptions(steps=5, tolerance=0).resolved(2), stop)
    assert run.status == "stopped"
    assert run.evaluations[-1].step == 2
    assert sum(objective.evaluate(network.estimate()).values()) == pytest.approx(run.best.total, rel=1e-6)


def test_the_stopping_rule() -> None:
    assert not has_converged([1.0, 1.0, 1.0], 0.01)
    assert has_converged([5.0, 1.0, 1.0, 0.995, 0.991], 0.01)
    assert not has_converged([5.0, 1.0, 1.0, 0.995, 0.989], 0.01)
    # A loss that first rises and then falls is still on its way.
    assert not has_converged([1.0, 3.0, 2.0, 1.5], 0.01)


def test_a_level_loss_stops_early() -> None:
    network, target, objective = prepared()
    options = TrainingOptions(optimiser="adam", learning_rate=1e-7, steps=200, evaluate_every=5)
    run = train(network, target, objective, options, silent)
    assert run.status == "converged"
    assert run.evaluations[-1].step == 15


@pytest.mark.parametrize("optimiser", ["gauss-newton", "adam", "sgd"])
def test_a_look_has_the_gradients_of_the_step_before_it(optimiser: str) -> None:
    """Gradients of the objective by autograd, at the start and at where one step leads."""

    def trained(steps: int) -> tuple[Network, Objective, TrainingRun]:
        target = torch.cat([pluck(0.25).samples, noise(0.25)])
        network = SineNetwork(TimeGrid.of_sizes(8000, target.shape[1], [CELLS, CELLS]))
        network.initialise(target, Budget(60), "peaks", torch.Generator())
        objective = Objective({"mse": 3.0}, target, 1000, 16)
        rate = {"gauss-newton": 1.0, "adam": 0.001, "sgd": 1.0}[optimiser]
        options = TrainingOptions(
            optimiser=optimiser, learning_rate=rate, schedule="constant", steps=steps, evaluate_every=1, tolerance=0
        )
        return network, objective, train(network, target, objective, options, silent)

    _, _, run = trained(2)
    assert [look.step for look in run.evaluations] == [0, 1, 2]
    assert run.evaluations[0].gradients == run.evaluations[0].natural_gradients == {}
    for step in (0, 1):
        network, objective, before = trained(step)
        assert before.best is before.evaluations[-1], "the network is left where the step led"
        network.zero_grad()
        objective(network.estimate())["mse"].backward()
        wanted = network.gradient_norms([parameter.grad for parameter in network.parameters()])
        # Gauss-Newton's goes another way through the Jacobian, in float32; 4000 products a parameter.
        assert run.evaluations[step + 1].gradients == pytest.approx(wanted, rel=1e-4)
        hz = network.frequency.grad / (network.step_rad * 8000 / (2 * math.pi))
        full_scale = torch.stack([network.cosine.grad, network.sine.grad]) / network.unit
        natural = {"frequency": float(hz.norm()), "amplitude": float(full_scale.norm())}
        assert run.evaluations[step + 1].natural_gradients == pytest.approx(natural, rel=1e-4)
    assert run.evaluations[1].gradients != pytest.approx(run.evaluations[2].gradients, rel=1e-3)


@pytest.mark.parametrize("count", [0, 1, 7, 30])
def test_quantiles_of_amplitudes_are_those_of_numpy(count: int) -> None:
    amplitudes = torch.rand(count, generator=torch.Generator().manual_seed(count))
    found = amplitude_quantiles(amplitudes)
    # The smallest value that is not exceeded by that share.
    assert found == (tuple(np.quantile(amplitudes.numpy(), QUANTILES, method="inverted_cdf")) if count else ())


def test_a_look_has_the_amplitudes_of_its_point() -> None:
    network, target, objective = prepared()
    start = amplitude_quantiles(network.amplitudes())
    options = TrainingOptions(
        optimiser="adam", learning_rate=0.001, schedule="constant", steps=20, evaluate_every=10, tolerance=0
    )
    run = train(network, target, objective, options, silent)
    assert run.evaluations[0].amplitudes == start
    assert run.best is run.evaluations[-1], "the network is left where the last step led"
    assert run.evaluations[-1].amplitudes == amplitude_quantiles(network.amplitudes()) != start


def test_a_look_of_lbfgs_has_the_gradients_of_its_last_try() -> None:
    network, target, objective = prepared()
    gradients: list[dict[str, float]] = []

    def note(parameters: list[torch.nn.Parameter]) -> None:
        gradients.append(network.gradient_norms([p.grad for p in parameters]))

    options = TrainingOptions(optimiser="lbfgs", learning_rate=0.5, steps=3, evaluate_every=1, tolerance=0)
    with pytest.MonkeyPatch.context() as patch:
        backward = torch.Tensor.backward
        patch.setattr(torch.Tensor, "backward", lambda total: (backward(total), note(list(network.parameters())))[0])
        run = train(network, target, objective, options, silent)
    tries = [gradients.index(look.gradients) for look in run.evaluations[1:]]
    assert tries == sorted(tries)
    assert tries[-1] == len(gradients) - 1


@pytest.mark.parametrize("kind", ["NaN", "infinity", "explosion"])
def test_a_loss_gone_wrong_ends_at_the_best_point(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, target, objective = prepared()
    calls = 0
    estimate = network.estimate

    def wrong_later() -> torch.Tensor:
        nonlocal calls
        calls += 1
        return estimate() * ({"NaN": math.nan, "infinity": math.inf, "explosion": 1e4}[kind] if calls > 15 else 1)

    monkeypatch.setattr(network, "estimate", wrong_later)
    run = train(network, target, objective, TrainingOptions(optimiser="adam", steps=40, evaluate_every=5), silent)
    assert run.status == "diverged"
    monkeypatch.undo()
    assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())
    assert float((target - network.estimate()).detach().square().sum()) <= float(target.square().sum()) * 10 ** (
        -run.evaluations[0].snr_db / 10
    ) * (1 + 1e-5)


def test_stopped_by_the_user_it_keeps_the_best_so_far() -> None:
    network, target, objective = prepared()

    def stop(progress: Progress) -> None:
        if progress.step >= 20:
            raise KeyboardInterrupt

    run = train(network, target, objective, TrainingOptions(optimiser="adam", steps=80), stop)
    assert run.status == "stopped"
    assert run.evaluations[-1].step == 20
    assert sum(objective.evaluate(network.estimate()).values()) == pytest.approx(run.best.total, rel=1e-6)


def test_the_same_seed_trains_the_same() -> None:
    ends = []
    for seed in (3, 3, 4):
        network, target, objective = prepared({"mse": 1.0, "mss": 0.001})
        train(
            network,
            target,
            objective,
            replace(TrainingOptions(losses="mse+mss", optimiser="adam").resolved(2), seed=seed, steps=30),
            silent,
        )
        ends.append(network.to_tensors()["frequency_hz"])
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2]), "the seed chooses the crops"


def test_losses_are_told_where_training_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    network, target, objective = prepared({"pdl:long-range": 1.0})
    moments: list[StepInfo] = []
    plain = Objective.__call__

    def noting(
        self: Objective, estimate: torch.Tensor, crop: int | None = None, moment: StepInfo | None = None
    ) -> dict[str, torch.Tensor]:
        moments.extend([] if moment is None else [moment])
        return plain(self, estimate, crop, moment)

    monkeypatch.setattr(Objective, "__call__", noting)
    options = TrainingOptions(losses="pdl:long-range", optimiser="adam", steps=5, seed=7)
    run = train(network, target, objective, options, silent)
    assert moments == [StepInfo(step, 5, 7) for step in range(5)]
    assert len({terms["pdl:long-range"] for terms in run.losses}) == 5


def test_a_penalty_is_trained_and_judged_beside_the_losses() -> None:
    weakest, terms = [], []
    for penalties in ({}, {"zero:0.02": 3.0}):
        network, target, _ = prepared()
        objective = Objective({"mse": 1.0}, target, 1000, 16, penalties=penalties)
        run = train(network, target, objective, TrainingOptions(optimiser="adam", steps=40), silent)
        weakest.append(float(network.amplitudes().detach().sort().values[:10].mean()))
        terms.append([set(each) for each in (run.best.terms, run.losses[0])])
    assert terms == [[{"mse"}] * 2, [{"mse", "zero:0.02"}] * 2]
    assert weakest[1] > 1.2 * weakest[0], "the weakest waves are pushed away from silence"


def test_nothing_to_train() -> None:
    target = torch.zeros(1, 500)
    network = SineNetwork(TimeGrid.uniform(8000, 1, 500, 0.032))
    run = train(network, target, Objective({"mse": 1.0}, target, 500, 1), TrainingOptions().resolved(2), silent)
    assert run.status == "not trained"
    assert len(run.evaluations) == 1


def test_snr() -> None:
    residual = noise(1.0)
    assert snr_of(residual, float(residual.double().square().sum()) * 1000) == pytest.approx(30)
    assert snr_of(residual, 0.0) is None
    assert snr_of(torch.zeros(3), 1.0) is None


@pytest.mark.parametrize("optimiser", ["adam", "sgd", "lbfgs"])
def test_runs_of_a_list_are_those_of_each_and_one_that_diverges_ends_alone(
    optimiser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TrainingOptions(optimiser=optimiser, learning_rate=0.02, steps=12, evaluate_every=4)
    alone, together, broken = prepared(), prepared(), prepared()
    monkeypatch.setattr(broken[0], "estimates", lambda: [broken[0].estimate() * math.nan])
    wanted = train(*alone, options, silent)
    runs = train_many([TrainingTask(*each, silent) for each in (broken, together)], options)
    assert [run.status for run in runs] == ["diverged", wanted.status]
    # Evaluations are computed as a batch, whose sums round differently; gradients are not.
    assert runs[1].losses == wanted.losses
    assert [seen.step for seen in runs[1].evaluations] == [seen.step for seen in wanted.evaluations]
    assert all(torch.equal(*pair) for pair in zip(alone[0].parameters(), together[0].parameters(), strict=True))


def test_an_interrupt_stops_all_runs_of_a_list_at_their_best() -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    tasks = [TrainingTask(*prepared(), tell) for tell in (silent, stop, silent)]
    runs = train_many(tasks, TrainingOptions(steps=5, tolerance=0).resolved(2))
    assert [run.status for run in runs] == ["stopped"] * 3
    for task, run in zip(tasks, runs, strict=True):
        now = sum(task.objective.evaluate(task.network.estimate().detach()).values())
        assert now == pytest.approx(run.best.total, rel=1e-6)
