"""From a starting point to the goal: train, exchange weak parts for better ones, add what is missing, leave out the rest."""

import math
from dataclasses import replace
from typing import TypeVar

from torch import Tensor

from ddaudio.losses import LONGEST_CROPS_S, Objective
from ddaudio.models import Budget, Network
from ddaudio.models.batched import estimate_of
from ddaudio.options import TrainingOptions, parse_penalties, parse_terms
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import ProgressCallback, TrainingRun
from ddaudio.training.trainer import train

MOST_EXTENSIONS = 4
"""Times that parts are added when training stays short of the goal."""
EXCHANGED_SHARE = 0.15
"""Share of the parts that is exchanged for better ones at a time."""
Kept = TypeVar("Kept", bound=Network)


def refine(
    network: Kept,
    target: Tensor,
    size: Budget,
    training: TrainingOptions,
    exchanges: int,
    tell: ProgressCallback,
    log: TrainingLog | None = None,
) -> tuple[Kept, list[TrainingRun]]:
    """Train ``network`` on ``target [B, T]`` towards ``size``; return it and what was done.

    The network that comes back has gone through a file's units and rounding. `KeyboardInterrupt` ends with the best so far.
    The ``log`` is told of each run of training, in order, and may know some of them.
    """
    refining = _Refinement(target, size, training, (tell, log or TrainingLog()), network.sample_rate)
    refining.train(network, training)
    try:
        for _ in range(exchanges if network.n_prunable() and training.steps else 0):
            if refining.stopped:
                break
            other = refining.exchanged(network)
            if other is None:
                break
            network = other
        for _ in range(MOST_EXTENSIONS if size.goal_energy else 0):
            if refining.stopped or refining.reached(network) or not network.extend(target, size):
                break
            refining.train(network, refining.later)
        network.from_tensors(network.to_tensors())
        network = refining.trimmed(network)
    except KeyboardInterrupt:
        refining.stages[-1].status = "stopped"
        network.from_tensors(network.to_tensors())
    return network, refining.stages


class _Refinement:
    """Training runs on one target, and the steps between them."""

    def __init__(
        self,
        target: Tensor,
        size: Budget,
        training: TrainingOptions,
        told: tuple[ProgressCallback, TrainingLog],
        sample_rate: int,
    ) -> None:
        crop_samples = max(1, round(training.crop_s * sample_rate))
        crops = max(1, round(LONGEST_CROPS_S / training.crop_s))
        self.target, self.size, self.told = target, size, told
        terms, penalties = parse_terms(training.losses), parse_penalties(training.penalties)
        self.objective = Objective(terms, target, crop_samples, crops, sample_rate, penalties)
        self.later = replace(training, steps=math.ceil((training.steps or 0) / 2))
        self.stages: list[TrainingRun] = []

    @property
    def stopped(self) -> bool:
        """Whether the user has stopped the last run."""
        return self.stages[-1].status == "stopped"

    def train(self, network: Network, training: TrainingOptions) -> None:
        """Train, and note the run."""
        self.stages.append(train(network, self.target, self.objective, training, *self.told))

    def try_out(self, network: Network) -> TrainingRun:
        """Train a network that may be dropped; if the user stops it, that is noted all the same."""
        run = train(network, self.target, self.objective, self.later, *self.told)
        if run.status == "stopped":
            self.stages[-1].status = "stopped"
        return run

    def reached(self, network: Network) -> bool:
        """Return whether there is a goal, and it is reached."""
        return self.size.goal_energy > 0 and left_over(network, self.target) <= self.size.goal_energy

    def exchanged(self, network: Kept) -> Kept | None:
        """Return the network with its weakest parts exchanged for what fits best beside the others; None if that is no better."""
        count = network.n_prunable()
        other = _without_last(network, count - max(1, round(EXCHANGED_SHARE * count)))
        other.extend(self.target, replace(self.size, most=count, goal_energy=0.0))
        run = self.try_out(other)
        if run.best.total >= self.stages[-1].best.total:
            return None
        self.stages.append(run)
        return other

    def trimmed(self, network: Kept) -> Kept:
        """Leave out what the goal does not need; train what is left, and if that helps leave out what is not needed then."""
        if not self.reached(network):
            return network
        trimmed = _trimmed(network, self.target, self.size.goal_energy)
        if trimmed.n_prunable() == network.n_prunable() or not self.later.steps or self.stopped:
            return trimmed
        trained = _copy(trimmed)
        run = self.try_out(trained)
        trained.from_tensors(trained.to_tensors())
        if not self.reached(trained):
            return trimmed
        self.stages.append(run)
        return _trimmed(trained, self.target, self.size.goal_energy)


def left_over(network: Network, target: Tensor) -> float:
    """Return the energy of what the network leaves of ``target [B, T]``."""
    return float((target - estimate_of(network)).double().square().sum())


def _trimmed(network: Kept, target: Tensor, goal_energy: float) -> Kept:
    """Return ``network``, which reaches the goal, without the weakest parts that the goal does not need.

    What is kept reaches the goal, and misses it with its own weakest part left out: the bisection holds this at every step.
    """
    misses, reaches = -1, network.n_prunable()
    while reaches - misses > 1:
        half = (misses + reaches) // 2
        if left_over(network.pruned(half), target) <= goal_energy:
            reaches = half
        else:
            misses = half
    return _without_last(network, reaches)


def _copy(network: Kept) -> Kept:
    return _without_last(network, network.n_prunable())


def _without_last(network: Kept, keep: int) -> Kept:
    """`Network.without_last`, which gives a network of the same kind."""
    fewer = network.pruned(keep)
    if not isinstance(fewer, type(network)):
        raise TypeError(f"{type(network).__name__} without parts is a {type(fewer).__name__}")
    return fewer
