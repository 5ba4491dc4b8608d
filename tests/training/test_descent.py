"""What a run of training looks at and learns from: pieces that grow, crops, averages, teachers; and what it notes."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from sounds import noise, pluck
from torch import Tensor

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import Objective, StepInfo
from ddaudio.models import Budget, CascadeNetwork, Network, SineNetwork
from ddaudio.options import CascadeOptions, TrainingOptions
from ddaudio.training.ema import Average
from ddaudio.training.first_order import Adam, FirstOrder, Lbfgs, Sgd
from ddaudio.training.history import MAX_INTERVALS, Progress, Status, TrainingRun, error_by_time
from ddaudio.training.optimiser import Closure
from ddaudio.training.trainer import train

CELLS = [256, 128, 128, 512, 512, 256, 256]
N_SAMPLES = 2000


def silent(_: Progress) -> None:
    pass


def prepared(losses: dict[str, float] | None = None) -> tuple[Network, Tensor, Objective]:
    """A network some way off its best point, so that there is something to learn."""
    target = pluck(0.25).samples
    network = SineNetwork(TimeGrid.of_sizes(8000, N_SAMPLES, [CELLS]))
    generator = torch.Generator().manual_seed(0)
    network.initialise(target, Budget(60), "peaks", generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    network.project()
    return network, target, Objective(losses or {"mse": 1.0}, target, 1000, 16)


def options(**settings: Any) -> TrainingOptions:
    return TrainingOptions(
        **{"optimiser": "adam", "schedule": "constant", "tolerance": 0.0, "steps": 8, "evaluate_every": 2} | settings
    )


class Watched(Objective):
    """An objective that notes what it is asked about; `within` gives one that notes in the same place."""

    seen: list[tuple[int, int, Tensor]]
    first: int

    def __call__(self, estimate: Tensor, crop: int | None = None, moment: StepInfo | None = None) -> dict[str, Tensor]:
        if crop is not None:
            self.seen.append((self.first, estimate.shape[-1], estimate.detach().clone()))
        return super().__call__(estimate, crop, moment)

    def within(self, first: int, last: int) -> Objective:
        part = super().within(first, last)
        assert isinstance(part, Watched)
        part.first = first
        return part


def watched(losses: dict[str, float] | None = None) -> tuple[Network, Tensor, Watched]:
    network, target, objective = prepared(losses)
    spy = Watched(objective.terms, target, 1000, 16)
    spy.seen, spy.first = [], 0
    return network, target, spy


def test_a_stretch_is_judged_as_if_it_were_alone_at_the_scale_of_the_whole() -> None:
    _, target, objective = prepared({"mse": 2.0, "pdl": 0.5, "mss": 0.1})
    estimate = target + noise(0.25)
    part = objective.within(300, 1500)
    alone = Objective(objective.terms, target[:, 300:1500] * objective.scale, 1200, 16)
    alone.scale, alone.target = 1.0, target[:, 300:1500] * objective.scale
    wanted = alone(estimate[:, 300:1500] * objective.scale)
    assert part(estimate[:, 300:1500]).keys() == wanted.keys()
    for name, value in part(estimate[:, 300:1500]).items():
        assert float(value) == pytest.approx(float(wanted[name]), rel=1e-6)
    assert objective.within(0, 1).crops == [(0, 1)]
    assert objective.target.shape[-1] == N_SAMPLES, "the whole is as it was"


@pytest.mark.parametrize("start", ["middle", "start"])
def test_the_loss_sees_pieces_that_grow_and_at_last_the_whole(start: str) -> None:
    network, target, spy = watched()
    run = train(network, target, spy, options(grow=3, grow_from=start), silent)
    lengths = [250, 250, 500, 500, 1000, 1000, 2000, 2000]
    firsts = [(N_SAMPLES - length) // 2 if start == "middle" else 0 for length in lengths]
    assert [(first, length) for first, length, _ in spy.seen] == list(zip(firsts, lengths, strict=True))
    # The training loss of the first step is that of the piece alone; the judge looks at the whole all the time.
    first = spy.seen[0][2]
    wanted = ((first - target[:, firsts[0] : firsts[0] + 250]) * spy.scale).square().mean()
    assert run.losses[0]["mse"] == pytest.approx(float(wanted), rel=1e-5)
    assert run.evaluations[-1].total == pytest.approx(
        float(((last_estimate(run, network) - target) * spy.scale).square().mean()), rel=1e-3
    )


@pytest.mark.parametrize("order", ["in-order", "shuffled"])
def test_batches_cover_the_signal_once_in_every_epoch(order: str) -> None:
    network, target, spy = watched()
    settings = options(crops=True, crop_s=0.05, batch_order=order, batch_steps=2, epochs=3, steps=None).with_epochs(
        N_SAMPLES, 8000
    )
    assert settings.steps == 30  # 5 batches of 400 samples
    train(network, target, spy, replace(settings, tolerance=0), silent)
    seen = [(first, length) for first, length, _ in spy.seen]
    assert seen[::2] == seen[1::2], "each batch for two steps"
    epochs = [seen[::2][start : start + 5] for start in (0, 5, 10)]
    whole = [(first, 400) for first in range(0, 2000, 400)]
    assert all(sorted(epoch) == whole for epoch in epochs)
    assert (epochs[0] == whole) == (order == "in-order")
    assert (epochs[0] == epochs[1]) == (order == "in-order")


def last_estimate(run: TrainingRun, network: Network) -> Tensor:
    """What the network says at its best, which must be the last look for this to be its estimate."""
    assert run.best is run.evaluations[-1]
    return network.estimate().detach()


def test_a_piece_moves_only_what_sounds_in_it() -> None:
    network, target, objective = prepared()
    before = network.describe()
    train(network, target, objective, options(grow=4, grow_from="start", steps=5, evaluate_every=1), silent)
    # Four steps see 125, 250, 500 and 1000 samples; the fifth alone moves the last cells, by one step of the rate.
    moved = network.describe()["amplitude"] - before["amplitude"]
    assert bool((moved != 0).all())
    network, target, objective = prepared()
    monkey = options(grow=4, grow_from="start", steps=5, evaluate_every=1, learning_rate=0.001)

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    train(network, target, objective, monkey, stop)
    late = before["time_s"] > 0.2
    assert bool(late.any())
    assert torch.equal(network.describe()["amplitude"][late], before["amplitude"][late])
    assert not torch.equal(network.describe()["amplitude"][~late], before["amplitude"][~late])


def test_the_loss_sees_crops_all_over_the_signal_that_the_seed_chooses() -> None:
    found = []
    for seed in (1, 1, 2):
        network, target, spy = watched({"mse": 1.0, "mss": 0.001})
        train(network, target, spy, options(crops=True, crop_s=0.05, steps=40, evaluate_every=20, seed=seed), silent)
        assert {length for _, length, _ in spy.seen} == {400}
        found.append([first for first, _, _ in spy.seen])
    assert found[0] == found[1] != found[2]
    assert min(found[0]) < 200
    assert max(found[0]) > 1400
    assert len(set(found[0])) > 20


def test_crops_lie_in_the_piece_that_has_grown() -> None:
    network, target, spy = watched()
    train(network, target, spy, options(crops=True, crop_s=0.05, grow=2, steps=30, evaluate_every=30), silent)
    for third, (low, high) in enumerate([(750, 1250), (500, 1500), (0, 2000)]):
        seen = [(first, first + length) for first, length, _ in spy.seen[10 * third : 10 * third + 10]]
        assert all(low <= first < last <= high for first, last in seen)
    assert min(first for first, _, _ in spy.seen) < 500


def test_lbfgs_starts_anew_with_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has learned of the curvature of one piece's loss says nothing of another's."""
    network, target, objective = prepared()
    pairs: list[bool] = []
    step = Lbfgs.step

    def noted(self: Lbfgs, closure: Closure, rate: float) -> Status | None:
        pairs.append(bool(self.state()))
        return step(self, closure, rate)

    monkeypatch.setattr(Lbfgs, "step", noted)
    train(network, target, objective, options(optimiser="lbfgs", grow=2, learning_rate=0.3, steps=9), silent)
    assert pairs == [False, True, True] * 3


def test_the_average_is_judged_too_and_the_better_one_is_kept() -> None:
    """With far too large steps the parameters jump about the solution, and their average is nearer to it."""
    network, target, objective = prepared()
    run = train(network, target, objective, options(learning_rate=0.1, ema=0.9, steps=60, evaluate_every=10), silent)
    assert not run.evaluations[0].averaged
    assert run.best.averaged
    plain, _, _ = prepared()
    without = train(plain, target, objective, options(learning_rate=0.1, steps=60, evaluate_every=10), silent)
    assert [look.total for look in run.evaluations[1:]] < [look.total for look in without.evaluations[1:]]
    assert run.losses == without.losses, "to average changes nothing of the descent"
    assert sum(objective.evaluate(network.estimate()).values()) == pytest.approx(run.best.total, rel=1e-6)


def test_the_average_that_is_judged_is_that_of_the_path() -> None:
    network, target, objective = prepared()
    paths: list[list[Tensor]] = []
    original = Average.update

    def noted(self: Average) -> None:
        paths.append([parameter.detach().clone() for parameter in self._parameters])
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Average, "update", noted)
        start = [parameter.detach().clone() for parameter in network.parameters()]
        run = train(network, target, objective, options(learning_rate=0.1, ema=0.5, steps=6, evaluate_every=6), silent)
    assert run.best.averaged
    for place, parameter in enumerate(network.parameters()):
        wanted = 0.5**6 * start[place] + sum(0.5 ** (6 - step) * paths[step][place] for step in range(6))
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-5, atol=1e-6)


def test_an_average_that_begins_later_is_that_of_the_rest_of_the_path() -> None:
    network, target, objective = prepared()
    paths: dict[str, list[list[Tensor]]] = {"update": [], "reset": []}
    with pytest.MonkeyPatch.context() as patch:
        for name, original in (("update", Average.update), ("reset", Average.reset)):

            def noted(self: Average, name: str = name, original: Callable[[Average], None] = original) -> None:
                paths[name].append([parameter.detach().clone() for parameter in self._parameters])
                original(self)

            patch.setattr(Average, name, noted)
        late = options(learning_rate=0.1, ema=0.5, ema_from=3, steps=6, evaluate_every=6)
        run = train(network, target, objective, late, silent)
    assert [len(paths[name]) for name in ("reset", "update")] == [3, 3]
    assert run.best.averaged
    for place, parameter in enumerate(network.parameters()):
        rest = sum(0.5 ** (3 - step) * paths["update"][step][place] for step in range(3))
        torch.testing.assert_close(parameter.detach(), 0.5**3 * paths["reset"][-1][place] + rest, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimiser", [Adam, Sgd])
def test_momentum_that_begins_later_is_that_of_a_new_start(optimiser: type[FirstOrder]) -> None:
    """By hand, on gradients that are given: without momentum, then as if it were the first step with the second moment kept."""
    gradients = [torch.randn(5, generator=torch.Generator().manual_seed(seed)) for seed in range(7)]
    parameter = torch.nn.Parameter(torch.zeros(5))
    late = optimiser([parameter], begin=3)
    wanted, velocity, first, second = torch.zeros(5), torch.zeros(5), torch.zeros(5), torch.zeros(5)
    for step, gradient in enumerate(gradients):
        parameter.grad = gradient.clone()
        late.step(lambda: True, 0.1)
        second = 0.99 * second + 0.01 * gradient**2
        scale = (second / (1 - 0.99 ** (step + 1))).sqrt()
        if step < 3:
            wanted = wanted - 0.1 * (gradient if optimiser is Sgd else gradient / scale)
            continue
        velocity, first = 0.9 * velocity + gradient, 0.9 * first + 0.1 * gradient
        change = gradient + 0.9 * velocity if optimiser is Sgd else first / (1 - 0.9 ** (step - 2)) / scale
        wanted = wanted - 0.1 * change
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-5, atol=1e-6)


def test_the_teacher_pulls_to_what_the_average_says() -> None:
    """The loss of each step, from parameters and averages by hand."""
    network, target, objective = prepared()
    pupil, teacher = deepcopy(network), deepcopy(network)
    before: list[tuple[list[Tensor], list[Tensor]]] = []
    update = Average.update

    def noted(self: Average) -> None:
        update(self)
        before.append(([p.detach().clone() for p in self._parameters], [value.clone() for value in self.values]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Average, "update", noted)
        run = train(network, target, objective, options(learning_rate=0.05, ema=0.9, teacher=3.0, steps=5), silent)
    assert [set(terms) for terms in run.losses] == [{"mse", "teacher"}] * 5
    assert run.losses[0]["teacher"] == 0
    for step in range(1, 5):
        for one, values in zip((pupil, teacher), before[step - 1], strict=True):
            with torch.no_grad():
                for parameter, value in zip(one.parameters(), values, strict=True):
                    parameter.copy_(value)
        wanted = 3.0 * ((pupil.estimate() - teacher.estimate()) * objective.scale).square().mean()
        assert run.losses[step]["teacher"] == pytest.approx(float(wanted.detach()), rel=1e-4)
    assert "teacher" not in run.evaluations[-1].terms, "the judge has only the losses"
    free, _, _ = prepared()
    train(free, target, objective, options(learning_rate=0.05, ema=0.9, steps=5), silent)
    assert any(not torch.equal(one, other) for one, other in zip(free.parameters(), network.parameters(), strict=True))


def test_a_rate_of_zero_keeps_a_kind_as_it_is() -> None:
    network, target, objective = prepared()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    run = train(network, target, objective, options(rates="frequency=0"), silent)
    assert run.best.step > 0
    frequency, cosine, _ = network.parameters()
    assert torch.equal(frequency, before[0])
    assert not torch.equal(cosine, before[1])


@pytest.mark.parametrize("settings", [{"grow": 3}, {"schedule": "rise"}])
def test_a_level_loss_does_not_end_a_run_before_the_whole_is_trained(settings: dict[str, Any]) -> None:
    network, target, objective = prepared()
    level = {"learning_rate": 1e-7, "tolerance": 0.01, "steps": 80, "evaluate_every": 2}
    run = train(network, target, objective, options(**level, **settings), silent)
    assert run.status == "converged"
    settled = 60 if "grow" in settings else 40
    assert run.evaluations[-1].step == settled + 6, "three looks after the first one that counts"
    assert train(network, target, objective, options(**level), silent).evaluations[-1].step == 6


def test_crops_do_not_count_as_divergence() -> None:
    """All of the start's error may lie in one crop: its mean square is that much larger than that of the whole."""
    target = torch.zeros(1, N_SAMPLES)
    target[:, :10] = 1.0
    network = SineNetwork(TimeGrid.of_sizes(8000, N_SAMPLES, [CELLS]))
    network.initialise(target + 1e-3, Budget(3), "peaks", torch.Generator())
    objective = Objective({"mse": 1.0}, target, 400, 16)
    run = train(network, target, objective, options(crops=True, crop_s=0.05, grow=8, grow_from="start", steps=40), silent)
    assert run.status == "step limit"


def test_error_by_time_is_the_residuals_energy_stretch_by_stretch() -> None:
    network, target, objective = prepared()
    run = train(network, target, objective, options(), silent)
    residual = (target - network.estimate()).detach().double()
    assert run.best is run.evaluations[-1]
    errors = run.evaluations[-1].error_by_time
    assert len(errors) == MAX_INTERVALS
    # 2000 = 64 * 31 + 16: the first 16 stretches have 32 samples, the others 31.
    edges = [0, *(32 * (k + 1) if k < 16 else 512 + 31 * (k - 15) for k in range(64))]
    wanted = [float(residual[:, first:last].square().sum()) for first, last in pairwise(edges)]
    assert errors == pytest.approx(wanted, rel=1e-6)
    assert sum(run.evaluations[0].error_by_time) == pytest.approx(
        10 ** (-(run.evaluations[0].snr_db or 0) / 10) * float(target.square().sum())
    )
    assert error_by_time(torch.tensor([[1.0, 2.0], [0.0, 3.0]])) == (1.0, 13.0)


def test_gauss_newton_notes_error_by_time_too() -> None:
    network, target, objective = prepared()
    run = train(network, target, objective, TrainingOptions(steps=3, tolerance=0).resolved(0), silent)
    assert all(len(look.error_by_time) == MAX_INTERVALS and not look.averaged for look in run.evaluations)


IDEAS: dict[str, dict[str, Any]] = {
    "rates": {"rates": "frequency=0.3,amplitude=2"},
    "tilt": {"rate_tilt": -1.0},
    "tilt by amplitude": {"amplitude_tilt": 0.5},
    "late momentum": {"momentum_from": 20},
    "late rise": {"schedule": "rise", "rise_at": 0.8},
    "late average": {"ema": 0.9, "ema_from": 30},
    "delay": {"momentum_delay": 4},
    "grow": {"grow": 3},
    "crops": {"crops": True, "crop_s": 0.1},
    "batches": {"crops": True, "crop_s": 0.05, "batch_order": "shuffled", "batch_steps": 3},
    "rise": {"schedule": "rise"},
    "teacher": {"ema": 0.9, "teacher": 1.0},
    "all": {
        "rates": "frequency=0.3",
        "momentum_delay": 2,
        "grow": 2,
        "crops": True,
        "ema": 0.9,
        "teacher": 0.1,
        "schedule": "rise",
    },
}


@pytest.mark.parametrize("idea", IDEAS)
def test_each_idea_descends_and_the_same_seed_does_the_same(idea: str) -> None:
    ends = []
    for _ in range(2):
        network, target, objective = prepared()
        run = train(network, target, objective, options(steps=60, evaluate_every=20, **IDEAS[idea]), silent)
        assert run.best.total < 0.95 * run.evaluations[0].total
        ends.append([parameter.detach().clone() for parameter in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


@pytest.mark.parametrize(
    "settings", [{"steps": 20}, *({"steps": 60, **IDEAS[idea]} for idea in ("grow", "crops", "teacher", "all"))]
)
def test_losses_of_layers_add_up_whatever_is_looked_at(settings: dict[str, Any]) -> None:
    """A local cascade has a loss a layer, which begin far above that of their sum."""
    target = prepared()[1]
    network = CascadeNetwork(TimeGrid.uniform(8000, 1, N_SAMPLES, 0.05, 0.5), CascadeOptions(local=True))
    network.initialise(target, Budget(200), "peaks", torch.Generator())
    objective = Objective({"mse": 1.0}, target, 400, 16, penalties={"zero": 1e-6})
    estimates = [estimate.detach() for estimate in network.estimates()]
    assert len(estimates) > 3
    start = network.estimate().detach()
    run = train(network, target, objective, options(evaluate_every=20, tolerance=0, **settings), silent)
    assert run.status == "step limit"
    assert sorted(run.losses[0]) == ["mse", *(["teacher"] if "teacher" in settings else []), "zero"]
    if "crops" not in settings and "grow" not in settings:
        wanted = sum(float(((estimate - target) * objective.scale).square().mean()) for estimate in estimates)
        assert run.losses[0]["mse"] == pytest.approx(wanted, rel=1e-5)  # float32
        # Local losses judge the training too; that of the sum is far below them.
        assert run.evaluations[0].terms["mse"] == pytest.approx(wanted, rel=1e-5)
        assert wanted > 2 * float(((start - target) * objective.scale).square().mean())
    if "teacher" in settings and settings.get("crops") is None:
        assert run.losses[0]["teacher"] == pytest.approx(0, abs=1e-12)
        assert run.losses[-1]["teacher"] > 0


def test_layers_by_themselves_do_not_count_as_divergence() -> None:
    """Of a start that is exact every layer but the last still leaves most of the sound."""
    network = CascadeNetwork(TimeGrid.uniform(8000, 1, N_SAMPLES, 0.05, 0.5), CascadeOptions(local=True))
    network.initialise(pluck(0.25).samples, Budget(200), "peaks", torch.Generator())
    target = network.estimate().detach()
    run = train(network, target, Objective({"mse": 1.0}, target, 1000, 16), options(steps=4), silent)
    assert run.evaluations[0].snr_db is None  # of the sum, which is exact
    assert run.losses[0]["mse"] > 1
    assert run.status == "step limit"


def test_ctrl_c_keeps_the_best_of_parameters_and_average() -> None:
    network, target, objective = prepared()

    def stop(progress: Progress) -> None:
        if progress.step >= 40:
            raise KeyboardInterrupt

    run = train(network, target, objective, options(learning_rate=0.1, ema=0.9, steps=60, evaluate_every=10), stop)
    assert (run.status, run.evaluations[-1].step, run.best.averaged) == ("stopped", 40, True)
    assert sum(objective.evaluate(network.estimate()).values()) == pytest.approx(run.best.total, rel=1e-6)
