"""From a starting point to the goal: train, exchange weak parts for better ones, add what is missing, leave out the rest."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ddaudio.losses import LONGEST_CROPS_S, Objective
from ddaudio.models import Network, Size
from ddaudio.options import TrainingOptions, parse_terms
from ddaudio.training import ProgressCallback, Training, train

MOST_EXTENSIONS = 4
"""Times that partials are added when training stays short of the goal."""
EXCHANGED_SHARE = 0.15
"""Share of the parts that is exchanged for better ones at a time."""


def refine(
    network: Network, target: Tensor, size: Size, training: TrainingOptions, exchanges: int, tell: ProgressCallback
) -> tuple[Network, list[Training]]:
    """Train ``network`` on ``target [B, T]`` towards ``size``; return it and what was done.

    The network that comes back has gone through a file's units and rounding. `KeyboardInterrupt` ends with the best so far.
    """
    crop_samples = max(1, round(training.crop_s * network.grid.sample_rate))
    objective = Objective(parse_terms(training.losses), target, crop_samples, max(1, round(LONGEST_CROPS_S / training.crop_s)))
    stages = [train(network, target, objective, training, tell)]
    later = replace(training, steps=math.ceil((training.steps or 0) / 2))
    try:
        for _ in range(exchanges if network.ranked() and training.steps else 0):
            if stages[-1].status == "stopped":
                break
            network, better = _exchanged(network, target, size, objective, later, tell, stages)
            if not better:
                break
        for _ in range(MOST_EXTENSIONS if size.goal_energy else 0):
            if stages[-1].status == "stopped" or left_over(network, target) <= size.goal_energy:
                break
            if not network.extend(target, size):
                break
            stages.append(train(network, target, objective, later, tell))
        network.restore(network.stored())
        if size.goal_energy and left_over(network, target) <= size.goal_energy:
            network = _trimmed_again(network, target, size, objective, later, tell, stages)
    except KeyboardInterrupt:
        stages[-1].status = "stopped"
        network.restore(network.stored())
    return network, stages


def _exchanged(
    network: Network,
    target: Tensor,
    size: Size,
    objective: Objective,
    training: TrainingOptions,
    tell: ProgressCallback,
    stages: list[Training],
) -> tuple[Network, bool]:
    """Return the network with its weakest parts exchanged for what fits best beside the others, if that is better."""
    count = network.ranked()
    other = network.without_last(count - max(1, round(EXCHANGED_SHARE * count)))
    other.extend(target, replace(size, most=count, goal_energy=0.0))
    run = train(other, target, objective, training, tell)
    if run.best.total >= stages[-1].best.total:
        if run.status == "stopped":
            stages[-1].status = "stopped"
        return network, False
    stages.append(run)
    return other, True


def _trimmed_again(
    network: Network,
    target: Tensor,
    size: Size,
    objective: Objective,
    training: TrainingOptions,
    tell: ProgressCallback,
    stages: list[Training],
) -> Network:
    """Leave out what the goal does not need; train what is left, and if that helps leave out what is not needed then."""
    trimmed = _trimmed(network, target, size.goal_energy)
    if trimmed.ranked() == network.ranked() or not training.steps or stages[-1].status == "stopped":
        return trimmed
    trained = trimmed.without_last(trimmed.ranked())
    run = train(trained, target, objective, training, tell)
    trained.restore(trained.stored())
    if run.status == "stopped":
        stages[-1].status = "stopped"
    if left_over(trained, target) > size.goal_energy:
        return trimmed
    stages.append(run)
    return _trimmed(trained, target, size.goal_energy)


def left_over(network: Network, target: Tensor) -> float:
    """Return the energy of what the network leaves of ``target [B, T]``."""
    with torch.no_grad():
        return float((target - network.estimate()).double().square().sum())


def _trimmed(network: Network, target: Tensor, goal_energy: float) -> Network:
    """Return ``network`` without the weakest parts that the goal does not need.

    What is kept reaches the goal, and misses it with its own weakest part left out: the bisection holds this at every
    step. A network that does not reach the goal stays whole.
    """
    if left_over(network, target) > goal_energy:
        return network
    misses, reaches = -1, network.ranked()
    while reaches - misses > 1:
        half = (misses + reaches) // 2
        if left_over(network.without_last(half), target) <= goal_energy:
            reaches = half
        else:
            misses = half
    return network.without_last(reaches)
