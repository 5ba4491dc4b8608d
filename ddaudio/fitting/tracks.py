"""Fitting tracks, block by block.

Tracks end at the end of a block, and begin at its beginning: a sound that goes on costs two more knots there.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ddaudio.fitting.budget import share_out, size_for
from ddaudio.fitting.fitted import BlockwiseTask, Fitted
from ddaudio.fitting.plan import StagePlan
from ddaudio.fitting.refinement import refine, residual_energies
from ddaudio.fitting.teacher import part_of
from ddaudio.io.samples import collect
from ddaudio.models import Budget
from ddaudio.models.base import Signals
from ddaudio.models.tracks.knots import Tracks
from ddaudio.models.tracks.network import TracksNetwork
from ddaudio.models.tracks.pursuit import pursue_tracks
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import Progress, ProgressCallback, TrainingRun

FINE = 3
"""Knots of the first fit, relative to those that are kept: they follow the sound closely, so that the best ones can be chosen."""
PURSUITS = 4
"""Largest number of pursuits, each of what the tracks so far leave."""


def fit_track_blocks(task: BlockwiseTask) -> Fitted:
    """Fit tracks to all blocks, one after the other."""
    run = _Blocks(task)
    estimate = collect(run.pieces())
    return Fitted(run.network(), estimate, run.blocks)


class _Blocks:
    """State of a fit between blocks."""

    def __init__(self, task: BlockwiseTask) -> None:
        self.samples, energy, self.stage, self.tell, log = task
        self.log = log or TrainingLog()
        stage, ranges = self.stage, self.stage.blocks.ranges
        goal = stage.goal_energy(energy)
        self.shares = share_out(self.samples, stage.sample_rate, ranges, stage.options.model, stage.n_parameters, goal)
        self.blocks: list[list[TrainingRun]] = []
        self._tracks: list[Tracks] = []
        self._spent, self._left = 0, 0.0

    def pieces(self) -> Iterator[Tensor]:
        """Fit all blocks in order; yield the estimate of each, ``[C, n]``."""
        n_signals = self.samples.shape[0]
        for index, (first, last) in enumerate(self.stage.blocks.ranges):
            target = torch.zeros(n_signals, last - first) + self.samples[:, first:last]
            try:
                network, runs = self._fit(index, target)
            except KeyboardInterrupt:
                if not index:
                    raise
                self.blocks[-1][-1].status = "stopped"
            else:
                self.blocks.append(runs)
                self._tracks.append(network.tracks.shifted(first))
                self._spent += network.n_parameters()
                with torch.no_grad():
                    estimate = network.estimate()
                self._left += float((target - estimate).double().square().sum())
                yield estimate
            if self.blocks[-1][-1].status == "stopped":
                yield from self._silence(len(self._tracks))
                return

    def _silence(self, index: int) -> Iterator[Tensor]:
        for first, last in self.stage.blocks.ranges[index:]:
            yield torch.zeros(self.samples.shape[0], last - first)

    def _fit(self, index: int, target: Tensor) -> tuple[TracksNetwork, list[TrainingRun]]:
        """Fit one block; what earlier blocks have left of their shares is added to its own."""
        energy, numbers = (float(shares[: index + 1].sum()) for shares in self.shares)
        goal = max(energy - self._left, 0.5 * float(self.shares.energy[index]))
        size = size_for(
            self.stage.options.model, (numbers - self._spent, goal), 0, 0, self.stage.network.parameters_per_component
        )
        first, count = self.stage.blocks.ranges[index][0], len(self.stage.blocks.ranges)

        def tell(progress: Progress) -> None:
            """Add the number of the block."""
            self.tell(progress._replace(block=index, blocks=count))

        return fit_tracks(target, self.stage, size, tell, self.log, part_of(self.stage.lesson, target, first))

    def network(self) -> TracksNetwork:
        """Return the tracks of all blocks as one network."""
        tracks = Tracks.none()
        for own in self._tracks:
            tracks = tracks.joined(own)
        return TracksNetwork(signals_of(self.stage), self.stage.options.network(self.stage.name), tracks)


def signals_of(stage: StagePlan) -> Signals:
    """Return what the network of a stage models."""
    return Signals(stage.sample_rate, *stage.shape)


def fit_tracks(
    target: Tensor, stage: StagePlan, size: Budget, tell: ProgressCallback, log: TrainingLog, lesson: Tensor | None = None
) -> tuple[TracksNetwork, list[TrainingRun]]:
    """Fit tracks to ``target [C, n]`` within a size; return them and the training runs.

    Tracks with many knots are fitted first; those knots are kept that follow them best, and trained again.
    """
    training, room = stage.options.training, size.n_parameters or 0
    signals = Signals(stage.sample_rate, target.shape[0], target.shape[1])
    network, runs = TracksNetwork(signals, stage.options.network(stage.name)), list[TrainingRun]()
    fine = Budget(FINE * size.most)
    for _ in range(PURSUITS):
        tell(Progress("finding tracks", 0, 0, math.nan, math.nan))
        with torch.no_grad():
            left = target - network.estimate()
        found = pursue_tracks(left, stage.sample_rate, network.step, fine.most - network.n_components(), size.goal_energy / 2)
        if not found.n_knots:
            break
        network.replace_tracks(network.tracks.joined(found))
        network, more = refine(network, target, fine, training, 0, tell, log, lesson)
        runs += more
        reached = residual_energies([network], [target])[0] <= size.goal_energy
        if reached or network.n_components() >= fine.most or more[-1].status == "stopped":
            break
    network, more = refine(network.fitted_to(room), target, size, training, training.exchanges or 0, tell, log, lesson)
    return network.fitted_to(room), [*runs, *more]
