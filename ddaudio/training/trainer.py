"""The training loop: one step of every run at a time."""

from collections.abc import Sequence

from torch import Tensor

from ddaudio.losses import Objective
from ddaudio.models import Network
from ddaudio.models.batched import estimates
from ddaudio.options import TrainingOptions
from ddaudio.training import gauss_newton
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.gauss_newton import GaussNewton
from ddaudio.training.history import ProgressCallback, Status, TrainingRun
from ddaudio.training.run import Run, TrainingTask


def train(
    network: Network,
    target: Tensor,
    objective: Objective,
    options: TrainingOptions,
    tell: ProgressCallback,
    log: TrainingLog | None = None,
) -> TrainingRun:
    """Train ``network`` on ``target [B, T]`` and set it to the point with the best evaluation.

    It is evaluated before the first step, every ``evaluate_every`` steps and after the last. A loss or gradient that is
    not finite never reaches the parameters: the run ends as diverged, at its best point. `KeyboardInterrupt` ends it as
    stopped, likewise. A run that the ``log`` has is resumed, or not trained again if it had ended.
    """
    return train_many([TrainingTask(network, target, objective, tell, log)], options)[0]


def train_many(tasks: Sequence[TrainingTask], options: TrainingOptions) -> list[TrainingRun]:
    """Train several networks simultaneously and independently; see `train`. `KeyboardInterrupt` stops all of them."""
    runs = [Run(task, options) for task in tasks]
    try:
        _train(runs)
    except KeyboardInterrupt:
        if not all(run.record.evaluations for run in runs):
            raise
        for run in runs:
            run.record.status = "stopped"
    for run in runs:
        run.finish()
    return [run.record for run in runs]


def _train(runs: Sequence[Run]) -> None:
    """Take steps until all runs have ended."""
    _evaluate([run for run in runs if run.is_new])
    active = [run for run in runs if run.start()]
    while active:
        active = [run for run, end in zip(active, _step(active), strict=True) if run.stepped(end)]
        _evaluate([run for run in active if run.is_due])
        active = [run for run in active if run.goes_on()]


def _step(runs: Sequence[Run]) -> list[Status | None]:
    """Take one step of each run; Gauss-Newton steps are one batch."""
    descents = [run.optimiser for run in runs if isinstance(run.optimiser, GaussNewton)]
    if len(descents) == len(runs):
        return gauss_newton.step_many(descents)
    return [run.optimiser.step(run.closure(), run.rate) for run in runs]


def _evaluate(runs: Sequence[Run]) -> None:
    """Evaluate the networks of the runs; estimates that no optimiser has computed are computed as one batch."""
    computed = iter(estimates([run.network for run in runs if run.estimate is None]))
    for run in runs:
        run.evaluate(next(computed) if run.estimate is None else run.estimate)
