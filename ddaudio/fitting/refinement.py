"""Refinement of an initialised network: training, exchange of weak components, extension and pruning to the goal."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

from ddaudio.losses import LONGEST_CROPS_S, Objective
from ddaudio.models import Budget, Network
from ddaudio.models.batched import estimates, extend_many
from ddaudio.options import TrainingOptions, parse_penalties, parse_terms
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import ProgressCallback, TrainingRun
from ddaudio.training.run import TrainingTask
from ddaudio.training.trainer import train_many

MOST_EXTENSIONS = 4
"""Largest number of extensions when training does not reach the goal."""
EXCHANGED_SHARE = 0.15
"""Share of the components exchanged at a time."""
Kept = TypeVar("Kept", bound=Network)


class RefinementTask(NamedTuple, Generic[Kept]):
    """A network to be refined."""

    network: Kept
    target: Tensor
    """Recorded signals, ``[B, T]``."""
    size: Budget
    """Budget and goal of the network."""
    tell: ProgressCallback
    log: TrainingLog | None = None
    """Checkpoint of the training runs, in order."""
    lesson: Tensor | None = None
    """Signals of a teacher, ``[B, T]``."""


def refine(
    network: Kept,
    target: Tensor,
    size: Budget,
    training: TrainingOptions,
    exchanges: int,
    tell: ProgressCallback,
    log: TrainingLog | None = None,
    lesson: Tensor | None = None,
) -> tuple[Kept, list[TrainingRun]]:
    """Train ``network`` on ``target [B, T]`` towards ``size``; return it and its training runs.

    The parameters of the returned network are rounded as in a file. `KeyboardInterrupt` ends with the best so far. Training runs
    in the ``log`` are resumed, or loaded if they are finished.
    """
    return refine_many([RefinementTask(network, target, size, tell, log, lesson)], training, exchanges)[0]


def refine_many(
    tasks: Sequence[RefinementTask[Kept]], training: TrainingOptions, exchanges: int
) -> list[tuple[Kept, list[TrainingRun]]]:
    """Refine several networks simultaneously and independently; see `refine`. `KeyboardInterrupt` stops all of them."""
    fits = [_Refinement(task, training) for task in tasks]
    later = replace(training, steps=math.ceil((training.steps or 0) / 2))
    _train(fits, training)
    try:
        active = [fit for fit in fits if fit.network.n_prunable() and training.steps]
        for _ in range(exchanges):
            active = _exchange([fit for fit in active if not fit.stopped], later)
        active = [fit for fit in fits if fit.size.goal_energy]
        for _ in range(MOST_EXTENSIONS):
            active = _extend(_short([fit for fit in active if not fit.stopped]), later)
        for fit in fits:
            fit.round_trip()
        _trim(fits, later)
    except KeyboardInterrupt:
        for fit in fits:
            fit.runs[-1].status = "stopped"
            fit.round_trip()
    return [(fit.network, fit.runs) for fit in fits]


class _Refinement(Generic[Kept]):
    """A network during refinement, and its training runs."""

    def __init__(self, task: RefinementTask[Kept], training: TrainingOptions) -> None:
        self.network, self.target, self.size, self._tell, self._log, self._lesson = task
        sample_rate = self.network.sample_rate
        crop_samples = max(1, round(training.crop_s * sample_rate))
        crops = max(1, round(LONGEST_CROPS_S / training.crop_s))
        if training.optimiser == "gauss-newton":  # which reduces what is evaluated
            crops = self.target.shape[1]
        terms, penalties = parse_terms(training.losses), parse_penalties(training.penalties)
        self._objective = Objective(terms, self.target, crop_samples, crops, sample_rate, penalties)
        self.runs: list[TrainingRun] = []

    @property
    def stopped(self) -> bool:
        """Whether the user has stopped the last run."""
        return self.runs[-1].status == "stopped"

    def training(self, network: Network) -> TrainingTask:
        """Return the task to train a network for this fit."""
        return TrainingTask(network, self.target, self._objective, self._tell, self._log, self._lesson)

    def round_trip(self) -> None:
        """Convert the parameters to the units and the rounding of a file, and back."""
        self.network.from_tensors(self.network.to_tensors())


def _train(fits: Sequence[_Refinement[Kept]], training: TrainingOptions) -> None:
    """Train the networks, and record the runs."""
    runs = train_many([fit.training(fit.network) for fit in fits], training)
    for fit, run in zip(fits, runs, strict=True):
        fit.runs.append(run)


def _try_out(fits: Sequence[_Refinement[Kept]], networks: Sequence[Kept], training: TrainingOptions) -> list[TrainingRun]:
    """Train networks on trial; runs stopped by the user are recorded even if the network is discarded."""
    runs = train_many([fit.training(network) for fit, network in zip(fits, networks, strict=True)], training)
    for fit, run in zip(fits, runs, strict=True):
        if run.status == "stopped":
            fit.runs[-1].status = "stopped"
    return runs


def _exchange(fits: Sequence[_Refinement[Kept]], training: TrainingOptions) -> list[_Refinement[Kept]]:
    """Exchange the weakest components for the best ones for the residual; return the fits that were improved."""
    counts = [fit.network.n_prunable() for fit in fits]
    weakened = [max(1, round(EXCHANGED_SHARE * count)) for count in counts]
    others = [_pruned(fit.network, count - weak) for fit, count, weak in zip(fits, counts, weakened, strict=True)]
    sizes = [replace(fit.size, most=count, goal_energy=0.0) for fit, count in zip(fits, counts, strict=True)]
    extend_many(others, [fit.target for fit in fits], sizes)
    improved = []
    for fit, other, run in zip(fits, others, _try_out(fits, others, training), strict=True):
        if run.best.total < fit.runs[-1].best.total:
            fit.network = other
            fit.runs.append(run)
            improved.append(fit)
    return improved


def _extend(fits: Sequence[_Refinement[Kept]], training: TrainingOptions) -> list[_Refinement[Kept]]:
    """Add components, and train with them; return the fits that could be extended."""
    extended = extend_many([fit.network for fit in fits], [fit.target for fit in fits], [fit.size for fit in fits])
    longer = [fit for fit, added in zip(fits, extended, strict=True) if added]
    _train(longer, training)
    return longer


def _short(fits: Sequence[_Refinement[Kept]]) -> list[_Refinement[Kept]]:
    """Return the fits that have not reached their goals."""
    left = _residuals(fits, [fit.network for fit in fits])
    return [fit for fit, energy in zip(fits, left, strict=True) if not energy <= fit.size.goal_energy]


def _trim(fits: Sequence[_Refinement[Kept]], training: TrainingOptions) -> None:
    """Prune components that are not needed for a goal that is reached; train, and prune again if it is still reached."""
    fits = [fit for fit in fits if fit.size.goal_energy]
    short = _short(fits)
    fits = [fit for fit in fits if fit not in short]
    again = []
    for fit, trimmed in zip(fits, _trimmed(fits, [fit.network for fit in fits]), strict=True):
        if trimmed.n_prunable() == fit.network.n_prunable() or not training.steps or fit.stopped:
            fit.network = trimmed
        else:
            again.append((fit, trimmed))
    _retrain([fit for fit, _ in again], [trimmed for _, trimmed in again], training)


def _retrain(fits: Sequence[_Refinement[Kept]], trimmed: Sequence[Kept], training: TrainingOptions) -> None:
    """Train trimmed networks; keep the result, trimmed again, if it still reaches the goal."""
    trained = [_pruned(network, network.n_prunable()) for network in trimmed]
    runs = _try_out(fits, trained, training)
    for network in trained:
        network.from_tensors(network.to_tensors())
    reached = []
    for place, (fit, energy) in enumerate(zip(fits, _residuals(fits, trained), strict=True)):
        if energy <= fit.size.goal_energy:
            fit.runs.append(runs[place])
            reached.append(place)
        else:
            fit.network = trimmed[place]
    kept = [fits[place] for place in reached]
    for fit, network in zip(kept, _trimmed(kept, [trained[place] for place in reached]), strict=True):
        fit.network = network


def _trimmed(fits: Sequence[_Refinement[Kept]], networks: Sequence[Kept]) -> list[Kept]:
    """Prune the weakest components of ``networks``, which reach the goals of ``fits``, as far as the goals are still reached.

    The result reaches the goal, and would miss it without its weakest component: an invariant of the bisection.
    """
    misses, reaches = [-1] * len(fits), [network.n_prunable() for network in networks]
    while open_ := [place for place in range(len(fits)) if reaches[place] - misses[place] > 1]:
        halves = [(misses[place] + reaches[place]) // 2 for place in open_]
        tried = [_pruned(networks[place], half) for place, half in zip(open_, halves, strict=True)]
        for place, half, energy in zip(open_, halves, _residuals([fits[place] for place in open_], tried), strict=True):
            if energy <= fits[place].size.goal_energy:
                reaches[place] = half
            else:
                misses[place] = half
    return [_pruned(network, count) for network, count in zip(networks, reaches, strict=True)]


def _residuals(fits: Sequence[_Refinement[Kept]], networks: Sequence[Network]) -> list[float]:
    return residual_energies(networks, [fit.target for fit in fits])


def residual_energies(networks: Sequence[Network], targets: Sequence[Tensor]) -> list[float]:
    """Return the energy of each target ``[B, T]`` minus the signals of its network."""
    pairs = zip(targets, estimates(networks), strict=True)
    return [float((target - estimate).double().square().sum()) for target, estimate in pairs]


def _pruned(network: Kept, keep: int) -> Kept:
    """Return `Network.pruned`, checked to be a network of the same type."""
    fewer = network.pruned(keep)
    if not isinstance(fewer, type(network)):
        raise TypeError(f"{type(network).__name__} pruned is a {type(fewer).__name__}")
    return fewer
