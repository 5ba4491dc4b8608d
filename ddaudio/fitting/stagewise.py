"""A fit, network after network: each fits what those before it leave over; then all of them are trained together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ddaudio.fitting.blockwise import fit_blocks
from ddaudio.fitting.budget import goal_energy
from ddaudio.fitting.plan import _plan, _resolved_term, _second_order
from ddaudio.fitting.refinement import refine
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Difference, Samples, blocks
from ddaudio.models import Budget, FramedNetwork, Network, SumNetwork
from ddaudio.options import (
    MIN_PARAMETERS,
    MIN_PARAMETERS_PER_SAMPLE,
    FitOptions,
    ModelOptions,
    check_lags,
)
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import Progress, ProgressCallback, TrainingRun

LEAST_GOAL_DB = -10.0
"""Goals of the later networks are counted from what the earlier ones leave over, and are no lower than this."""


@dataclass(frozen=True)
class Stage:
    """One pass over the recording."""

    name: str
    """The network that was fitted, or ``together``."""
    blocks: tuple[tuple[TrainingRun, ...], ...]
    """Training runs of each block: the first, and one for each time that parts came or went."""


@dataclass(frozen=True)
class StagewiseFit:
    """What all passes found."""

    network: Network
    """One network, or the sum of several."""
    estimate: Samples
    """What it says, ``[C, T]``."""
    stages: tuple[Stage, ...]
    """In the order in which they were made."""


def fit_stagewise(
    recording: Recording, options: FitOptions, tell: ProgressCallback, log: TrainingLog | None = None
) -> StagewiseFit:
    """Fit a recording with options as `resolve` gives them; the ``log`` may know what was trained before.

    Raises `OptionError`, before any work, when a budget has no room for a single part, or a loss asks for a lag longer than what
    is fitted at a time.
    """
    fitted: list[FramedNetwork] = []
    passes: list[Stage] = []
    left: Samples = recording.samples
    n_terms = len(options.model.terms)
    plans = [_plan(_resolved_term(options, recording, place), recording) for place in range(n_terms)]
    check_lags(options.training.losses, min(last - first for plan in plans for first, last in plan.ranges))
    whole = all(len(plan.ranges) == 1 for plan in plans)
    together = n_terms > 1 and whole and options.training.together and options.training.steps != 0
    for place in range(n_terms):
        term = _resolved_term(options, recording, place)
        told = _telling(tell, term.model.model, place, n_terms + together)
        energy = recording.energy if not place else _energy(left)
        if place:
            spent = sum(network.n_parameters() for network in fitted)
            term = replace(term, model=_shifted(term, recording, energy, spent))
        try:
            found = fit_blocks(left, recording.sample_rate, energy, term, told, log)
        except KeyboardInterrupt:
            if not place:
                raise
            _stop(passes)
            break
        fitted.append(found.network)
        passes.append(Stage(term.model.model, tuple(tuple(runs) for runs in found.blocks)))
        if n_terms == 1:
            return StagewiseFit(found.network, found.estimate, tuple(passes))
        left = Difference(left, found.estimate)
        if found.blocks[-1][-1].status == "stopped":
            break
    if together and len(fitted) == n_terms and not any(map(_stopped, passes)):
        try:
            told = _telling(tell, "all", n_terms, n_terms + 1)
            return _together(fitted, recording, options, passes, told, log)
        except KeyboardInterrupt:
            _stop(passes)
    return StagewiseFit(SumNetwork(fitted), Difference(recording.samples, left), tuple(passes))


def _together(
    fitted: Sequence[FramedNetwork],
    recording: Recording,
    options: FitOptions,
    passes: Sequence[Stage],
    tell: ProgressCallback,
    log: TrainingLog | None,
) -> StagewiseFit:
    """Train all networks of a recording that is one block together."""
    target = torch.zeros(recording.n_channels, recording.n_samples) + recording.samples[:, :]
    size = Budget(sum(network.n_prunable() for network in fitted), goal_energy(options.model, recording.energy))
    training = options.training.resolved(second_order=_second_order(options))
    network, runs = refine(SumNetwork(fitted), target, size, training, 0, tell, log)
    with torch.no_grad():
        return StagewiseFit(network, network.estimate(), (*passes, Stage("together", (tuple(runs),))))


def _shifted(term: FitOptions, recording: Recording, energy: float, spent: int) -> ModelOptions:
    """Return the model options of a later network: what is ``spent`` is taken off, and goals count from the ``energy`` left."""
    model = term.model
    per_sample = spent / (recording.n_channels * recording.n_samples)
    cap = max(model.max_parameters_per_sample - per_sample, MIN_PARAMETERS_PER_SAMPLE)
    if model.budget is not None:
        return replace(model, budget=max(model.budget - spent, MIN_PARAMETERS))
    goal = goal_energy(model, recording.energy)
    goal_db = 10 * math.log10(energy / goal) if energy > 0 and goal > 0 else model.target_snr_db
    return replace(model, target_snr_db=max(goal_db, LEAST_GOAL_DB), max_parameters_per_sample=cap)


def _energy(samples: Samples) -> float:
    return sum(float(block.double().square().sum()) for block in blocks(samples))


def _stopped(one: Stage) -> bool:
    return any(run.status == "stopped" for runs in one.blocks for run in runs)


def _stop(passes: Sequence[Stage]) -> None:
    """Note that the user stopped before the next pass had begun."""
    passes[-1].blocks[-1][-1].status = "stopped"


def _telling(tell: ProgressCallback, name: str, place: int, count: int) -> ProgressCallback:
    """Return a callable that passes progress on as part of ``count`` passes."""

    def told(progress: Progress) -> None:
        """Count the blocks of all passes."""
        block, blocks = progress.block + place * progress.blocks, count * progress.blocks
        tell(progress._replace(stage=f"{progress.stage} ({name})", block=block, blocks=blocks))

    return tell if count == 1 else told
