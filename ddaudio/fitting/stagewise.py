"""A fit in stages: each network is fitted to the residual of those before it; then all are trained jointly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ddaudio.fitting.blockwise import fit_blocks, fit_whole_many
from ddaudio.fitting.fitted import BlockwiseTask
from ddaudio.fitting.noise_descent import NoiseDescent
from ddaudio.fitting.plan import FitPlan, NoisePlan
from ddaudio.fitting.refinement import refine
from ddaudio.fitting.teacher import part_of
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Difference, Samples, Scaled, blocks, collect
from ddaudio.models import Budget, Network, SumNetwork, Term
from ddaudio.models.noise.fit import fit_noise
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import Progress, ProgressCallback, TrainingRun


@dataclass(frozen=True)
class Stage:
    """Training history of one stage."""

    name: str
    """Name of the network, or ``together``."""
    blocks: tuple[tuple[TrainingRun, ...], ...]
    """Training runs of each block: the first one, and one after each exchange, extension or pruning of components."""


@dataclass(frozen=True)
class StagewiseFit:
    """The result of all stages."""

    network: Network
    """One network, or the sum of several."""
    waves: Samples
    """Signals of all networks but the noise, ``[C, T]``."""
    stages: tuple[Stage, ...]
    """Histories of the stages, in order."""
    noise: Samples | None = None
    """Signals of the noise, ``[C, T]``; None for a model without noise."""


def fit_stagewise(recording: Recording, plan: FitPlan, tell: ProgressCallback, log: TrainingLog | None = None) -> StagewiseFit:
    """Fit a recording according to its plan: waves first, then noise.

    Args:
        recording: the recording that the plan was made for.
        plan: stages, blocks and options.
        tell: progress callback.
        log: log of the training runs; finished runs are loaded from it.

    `KeyboardInterrupt` after the first stage ends the fit with the best parameters so far.
    """
    if plan.noise is None:
        return _fit_waves(recording, plan, tell, log)
    if not plan.stages:
        return _add_noise(recording, plan.noise, None, tell)
    waves = _fit_waves(recording, plan, tell, log)
    try:
        return _add_noise(recording, plan.noise, waves, tell)
    except KeyboardInterrupt:
        _stop(waves.stages)
        return waves


def _add_noise(recording: Recording, plan: NoisePlan, fitted: StagewiseFit | None, tell: ProgressCallback) -> StagewiseFit:
    """Return a fit with the noise of the residual of its waves; without any waves, a fit of noise alone."""
    tell(Progress("fitting the noise", 0, 0, math.nan, math.nan))
    terms = [] if fitted is None else fitted.network.terms
    waves = Scaled(recording.samples, 0.0) if fitted is None else fitted.waves
    room = plan.room(sum(term.n_parameters() for term in terms))
    noise = fit_noise(recording.samples, waves, recording.sample_rate, room, plan.price_db2)
    stages = () if fitted is None else fitted.stages
    if plan.options.noise_steps:
        waves, run = _descend(recording, plan, waves, noise, None if fitted is None else fitted.network, tell)
        stages = (*stages, Stage(plan.name, ((run,),)))
    signals = collect(noise.pieces(recording.sample_rate))
    network = SumNetwork([*terms, noise]) if terms else noise
    return StagewiseFit(network, waves, stages, signals)


def _descend(
    recording: Recording, plan: NoisePlan, waves: Samples, noise: NoiseNetwork, network: Network | None, tell: ProgressCallback
) -> tuple[Samples, TrainingRun]:
    """Train the noise, and the waves if they are to be, on expected power; return the waves' estimate and the record."""
    whole = slice(None)
    target, given = (torch.zeros(*each.shape) + each[whole, whole] for each in (recording.samples, waves))
    trained = network if plan.options.noise_waves else None
    run = NoiseDescent(target, given, noise, trained, plan.options, plan.training).descend(tell)
    if trained is None:
        return waves, run
    trained.from_tensors(trained.to_tensors())  # rounded as in a file
    with torch.no_grad():
        return trained.estimate(), run


def _fit_waves(recording: Recording, plan: FitPlan, tell: ProgressCallback, log: TrainingLog | None) -> StagewiseFit:
    """Fit all networks of waves as planned; where tracks replace cells, also without them, and return the better fit."""
    fitted = _fit_stages(recording, plan, tell, log)
    rivals = [place for place, stage in enumerate(plan.stages) if stage.has_rival]
    if not any(fitted.network.terms[place].n_components() for place in rivals) or any(map(_stopped, fitted.stages)):
        return fitted
    stages = [replace(stage, is_silent=stage.has_rival) for stage in plan.stages]
    try:
        other = _fit_stages(recording, replace(plan, stages=tuple(stages)), tell, log)
    except KeyboardInterrupt:
        _stop(fitted.stages)
        return fitted
    return min(fitted, other, key=lambda fit: _rank(fit, recording, plan))


def _rank(fit: StagewiseFit, recording: Recording, plan: FitPlan) -> tuple[float, int]:
    """Return what is to be small: the energy of the residual, down to the goal, and the number of parameters."""
    energy = _energy(Difference(recording.samples, fit.waves))
    return max(energy, plan.goal_energy(recording.energy)), fit.network.n_parameters()


def _fit_stages(recording: Recording, plan: FitPlan, tell: ProgressCallback, log: TrainingLog | None) -> StagewiseFit:
    """Fit all networks of waves, one after the other, and then together."""
    fitted: list[Term] = []
    done: list[Stage] = []
    left: Samples = recording.samples
    for index, planned in enumerate(plan.stages):
        energy = _energy(left) if fitted else recording.energy
        spent = sum(network.n_parameters() for network in fitted)
        stage = planned.with_spent(spent, recording.energy, energy) if fitted else planned
        try:
            found = fit_blocks(BlockwiseTask(left, energy, stage, _telling(tell, plan, index), log))
        except KeyboardInterrupt:
            if not fitted:
                raise
            _stop(done)
            break
        fitted.append(found.network)
        done.append(Stage(stage.name, tuple(tuple(runs) for runs in found.blocks)))
        if len(plan.stages) == 1:
            return StagewiseFit(found.network, found.estimate, tuple(done))
        left = Difference(left, found.estimate)
        if found.blocks[-1][-1].status == "stopped":
            break
    if plan.joint is not None and len(fitted) == len(plan.stages) and not any(map(_stopped, done)):
        try:
            size = Budget(sum(network.n_prunable() for network in fitted), plan.goal_energy(recording.energy))
            network, runs = _fit_together(fitted, recording, size, plan, _telling(tell, plan, len(fitted)), log)
            with torch.no_grad():
                return StagewiseFit(network, network.estimate(), (*done, Stage("together", (tuple(runs),))))
        except KeyboardInterrupt:
            _stop(done)
    return StagewiseFit(SumNetwork(fitted), Difference(recording.samples, left), tuple(done))


def fit_single_stage_many(
    recordings: Sequence[Recording], plans: Sequence[FitPlan], tell: ProgressCallback
) -> list[StagewiseFit]:
    """Fit several recordings simultaneously, whose plans have one stage with one block."""
    tasks = [
        BlockwiseTask(recording.samples, recording.energy, plan.stages[0], tell)
        for recording, plan in zip(recordings, plans, strict=True)
    ]
    fits = [
        StagewiseFit(found.network, found.estimate, (Stage(plan.stages[0].name, (tuple(found.blocks[0]),)),))
        for found, plan in zip(fit_whole_many(tasks), plans, strict=True)
    ]
    return [
        fit if plan.noise is None else _add_noise(recording, plan.noise, fit, tell)
        for recording, plan, fit in zip(recordings, plans, fits, strict=True)
    ]


def _fit_together(
    fitted: Sequence[Term],
    recording: Recording,
    size: Budget,
    plan: FitPlan,
    tell: ProgressCallback,
    log: TrainingLog | None,
) -> tuple[SumNetwork, list[TrainingRun]]:
    """Train all networks of a recording of one block jointly; return their sum and the training runs."""
    target = torch.zeros(recording.n_channels, recording.n_samples) + recording.samples[:, :]
    training = plan.joint or plan.options.training
    return refine(SumNetwork(fitted), target, size, training, 0, tell, log, part_of(plan.lesson, target))


def _energy(samples: Samples) -> float:
    return sum(float(block.double().square().sum()) for block in blocks(samples))


def _stopped(one: Stage) -> bool:
    return any(run.status == "stopped" for runs in one.blocks for run in runs)


def _stop(done: Sequence[Stage]) -> None:
    """Record that the user stopped the fit before the next stage."""
    done[-1].blocks[-1][-1].status = "stopped"


def _telling(tell: ProgressCallback, plan: FitPlan, index: int) -> ProgressCallback:
    """Return a callback that reports the progress of stage ``index`` as part of all stages; the last may be the joint one."""
    names = [stage.name for stage in plan.stages] + ["all"] * (plan.joint is not None)

    def told(progress: Progress) -> None:
        """Count the blocks of all stages."""
        block, blocks = progress.block + index * progress.blocks, len(names) * progress.blocks
        tell(progress._replace(stage=f"{progress.stage} ({names[index]})", block=block, blocks=blocks))

    return tell if len(names) == 1 else told
