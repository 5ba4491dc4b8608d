"""The one training loop: parameters, an objective, an optimiser, a callback."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ddaudio.gauss_newton import GaussNewton
from ddaudio.losses import Moment, Objective
from ddaudio.models import Network
from ddaudio.options import OptimiserName, ScheduleName, TrainingOptions

Status = Literal["converged", "step limit", "diverged", "stopped", "not trained"]
LOOKS = 3
"""Looks of the judge over which a gain must show."""
DIVERGED = 100.0
"""A training loss this many times the start's is a run that has gone wrong."""
SMALLEST_START = 1e-3
"""A start better than this counts as this: from an exact one every step leads away."""


class Progress(NamedTuple):
    """What a progress callable is told."""

    stage: str
    """What is being done, in words."""
    step: int
    """Steps done in this stage."""
    steps: int
    """Steps of this stage, at most."""
    loss: float
    """Sum of the judge's terms, as last looked at."""
    snr_db: float
    """SNR as last looked at; NaN while unknown."""
    block: int = 0
    """Blocks of the recording that are done."""
    blocks: int = 1
    """Blocks of the recording."""


ProgressCallback = Callable[[Progress], None]
"""Called now and then while a fit runs. Returns nothing; raise `KeyboardInterrupt` to stop with the best so far."""


@dataclass(frozen=True)
class Look:
    """One look of the judge."""

    step: int
    """Steps done before it."""
    terms: dict[str, float]
    """The judge's terms, by name of the loss."""
    snr_db: float | None
    """None where it is undefined."""
    gradients: dict[str, float] = field(default_factory=dict)
    """Norms of the gradient of the training loss, by layer, where it was evaluated last: for the step before this look (by
    lbfgs, its last try). See `Network.gradient_norms` for layers and units. Empty before the first step."""

    @property
    def total(self) -> float:
        """Sum of the terms."""
        return sum(self.terms.values())


@dataclass
class Training:
    """What one stretch of training did; the network is left at the best point the judge saw."""

    status: Status = "not trained"
    looks: list[Look] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    """Training loss of each step, by term."""

    @property
    def best(self) -> Look:
        """The look with the lowest total; the earliest of equals."""
        return min(self.looks, key=lambda look: look.total)


def has_converged(totals: Sequence[float], tolerance: float) -> bool:
    """Return whether the last looks are level: ``max - min <= tolerance * max`` over the last ``LOOKS + 1`` of them."""
    recent = totals[-LOOKS - 1 :]
    return len(recent) > LOOKS and max(recent) - min(recent) <= tolerance * max(recent)


def rate_factor(schedule: ScheduleName, step: int, steps: int) -> float:
    """Return the share of the learning rate, 0 to 1, at ``step`` of ``steps``."""
    if schedule == "constant":
        return 1.0
    ramp = min(1.0, (step + 1) / max(1, steps // 10)) if schedule == "warm-up" else 1.0
    return ramp * 0.5 * (1 + math.cos(math.pi * step / steps))


def snr_of(residual: Tensor, energy: float) -> float | None:
    """Return 10 log10 of the target's ``energy`` over the residual's; None where either is zero."""
    left = float(residual.double().square().sum())
    return 10 * math.log10(energy / left) if energy > 0 and left > 0 else None


def train(network: Network, target: Tensor, objective: Objective, options: TrainingOptions, tell: ProgressCallback) -> Training:
    """Train ``network`` on ``target [B, T]`` and leave it at the best point by the judge.

    The judge looks before the first step, every ``judge_every`` steps and after the last. A loss or gradient that is
    not finite never reaches the parameters: the run ends as diverged, at its best point. `KeyboardInterrupt` ends it
    as stopped, likewise.
    """
    run, steps = Training(), options.steps or 0
    energy = float(target.double().square().sum())
    parameters = [parameter for parameter in network.parameters() if parameter.numel()]
    best: list[Tensor] = []

    def look(step: int, gradients: Sequence[Tensor] = ()) -> None:
        """Let the judge look; keep the parameters if they are the best so far."""
        estimate = network.estimate().detach()
        norms = network.gradient_norms(gradients) if gradients else {}
        run.looks.append(Look(step, objective.judge(estimate, network.wave_amplitudes), snr_of(target - estimate, energy), norms))
        if run.best is run.looks[-1]:
            best[:] = [parameter.detach().clone() for parameter in parameters]
        snr_db = run.looks[-1].snr_db
        tell(Progress("training", step, steps, run.looks[-1].total, math.nan if snr_db is None else snr_db))

    try:
        look(0)
        if parameters and steps and energy > 0:
            run.status = _descend(network, target, parameters, objective, options, look, run)
    except KeyboardInterrupt:
        if not run.looks:
            raise
        run.status = "stopped"
    with torch.no_grad():
        for parameter, value in zip(parameters, best, strict=True):
            parameter.copy_(value)
    return run


class _DivergedError(ArithmeticError):
    """A loss or gradient that must not reach the parameters."""


def _descend(
    network: Network,
    target: Tensor,
    parameters: list[torch.nn.Parameter],
    objective: Objective,
    options: TrainingOptions,
    look: Callable[[int, Sequence[Tensor]], None],
    run: Training,
) -> Status:
    """Take the steps of `train`; return how they ended."""
    if options.optimiser == "gauss-newton":
        return _refine(network, target, objective, options, look, run)
    optimiser = _optimiser(options.optimiser, parameters, options.learning_rate)
    order, steps = torch.Generator().manual_seed(options.seed), options.steps or 0
    start = run.looks[0].total
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * rate_factor(options.schedule, step, steps)
        crop = int(torch.randint(len(objective.crops), (), generator=order))
        moment = Moment(step, steps, options.seed)
        terms: dict[str, float] = {}

        def closure(crop: int = crop, moment: Moment = moment, terms: dict[str, float] = terms) -> float:
            """Evaluate loss and gradients; raise before anything that is not finite can move a parameter."""
            for parameter in parameters:
                parameter.grad = None
            values = objective(network.estimate(), crop, moment) | objective.penalise(network.wave_amplitudes)
            total = torch.stack(list(values.values())).sum()
            total.backward()  # type: ignore[no-untyped-call]
            terms.update({name: float(value.detach()) for name, value in values.items()})
            finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in parameters)
            if not finite or not sum(terms.values()) <= DIVERGED * max(start, SMALLEST_START):
                raise _DivergedError
            return sum(terms.values())

        try:
            optimiser.step(closure)
        except _DivergedError:
            return "diverged"
        run.losses.append(terms)
        network.project()
        if (step + 1) % options.judge_every == 0 or step + 1 == steps:
            look(step + 1, [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()])
            if has_converged([seen.total for seen in run.looks], options.tolerance):
                return "converged"
    return "step limit"


def _refine(
    network: Network,
    target: Tensor,
    objective: Objective,
    options: TrainingOptions,
    look: Callable[[int, Sequence[Tensor]], None],
    run: Training,
) -> Status:
    """Take Gauss-Newton steps; return how they ended."""
    descent = GaussNewton(network, target)
    # The objective is weight scale^2 / (B T) times the sum of squares, whose gradient is -2 J' r.
    factor = -2 * objective.terms["mse"] * objective.scale**2 / target.numel()
    for step in range(options.steps or 0):
        if not descent.step():
            return "converged"
        look(step + 1, [factor * part for part in descent.slope])
        run.losses.append(run.looks[-1].terms)
        if has_converged([seen.total for seen in run.looks], options.tolerance):
            return "converged"
    return "step limit"


class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1) over all parameters.

    The one of torch loads a compiler when it is first used, which takes longer than most fits here. Gradients of a
    good fit are tiny, so there is next to no epsilon: with the usual 1e-8 they would not move anything.
    """

    BETAS = (0.9, 0.99)
    EPSILON = 1e-30

    def __init__(self, parameters: list[torch.nn.Parameter], rate: float) -> None:
        self.parameters = parameters
        self.param_groups = [{"lr": rate}]
        self._means = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
        self._steps = 0

    def step(self, closure: Callable[[], float]) -> float:
        """Evaluate the loss and its gradients by ``closure``, and move the parameters."""
        loss = closure()
        self._steps += 1
        correction_1, correction_2 = (1 - beta**self._steps for beta in self.BETAS)
        with torch.no_grad():
            for parameter, (first, second) in zip(self.parameters, self._means, strict=True):
                gradient = parameter.grad
                if gradient is None:
                    continue
                first.lerp_(gradient, 1 - self.BETAS[0])
                second.lerp_(gradient.square(), 1 - self.BETAS[1])
                scale = (second / correction_2).sqrt_().add_(self.EPSILON)
                parameter.addcdiv_(first, scale, value=-self.param_groups[0]["lr"] / correction_1)
        return loss


def _optimiser(name: OptimiserName | None, parameters: list[torch.nn.Parameter], rate: float) -> Adam | torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)
    if name == "lbfgs":
        return torch.optim.LBFGS(parameters, lr=rate, max_iter=5, history_size=10)
    return Adam(parameters, rate)
