"""Fitting tracks, block by block.

Each block has tracks of its own; those that go on from one to the next are joined.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ddaudio.fitting.budget import share_out, size_for
from ddaudio.fitting.fitted import BlockwiseTask, Fitted
from ddaudio.fitting.plan import StagePlan
from ddaudio.fitting.refinement import refine, residual_energies
from ddaudio.fitting.teacher import part_of
from ddaudio.fitting.track_choice import Rival, cheaper
from ddaudio.io.samples import collect
from ddaudio.models import Budget
from ddaudio.models.base import Signals
from ddaudio.models.tracks.growing import PER_KNOT
from ddaudio.models.tracks.knots import Tracks
from ddaudio.models.tracks.network import TracksNetwork
from ddaudio.models.tracks.pursuit import pursue_tracks
from ddaudio.models.tracks.seams import joined_at
from ddaudio.models.tracks.thinning import thinned_at
from ddaudio.options import TrainingOptions
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import Progress, ProgressCallback, TrainingRun

FINE = 3
"""Knots of the first fit, relative to those that are kept: they follow the sound closely, so that the best ones can be chosen."""
FEWEST = 400
"""Least number of these knots: of a long track there must be room for all."""
PURSUITS = 3
"""Largest number of pursuits, each of what the tracks so far leave."""


def fit_track_blocks(task: BlockwiseTask) -> Fitted:
    """Fit tracks to all blocks, one after the other."""
    run = _Blocks(task)
    run.fit()
    network = run.network()
    # Tracks that are joined differ a little from those of the blocks.
    return Fitted(network, collect(network.pieces(task.stage.sample_rate)), run.blocks)


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

    def fit(self) -> None:
        """Fit all blocks in order; `KeyboardInterrupt` after the first one leaves the others silent."""
        n_signals = self.samples.shape[0]
        for index, (first, last) in enumerate(self.stage.blocks.ranges):
            target = torch.zeros(n_signals, last - first) + self.samples[:, first:last]
            try:
                network, runs = self._fit(index, target)
            except KeyboardInterrupt:
                if not index:
                    raise
                self.blocks[-1][-1].status = "stopped"
                return
            self.blocks.append(runs)
            self._tracks.append(network.tracks.shifted(first))
            self._spent += network.n_parameters()
            self._left += residual_energies([network], [target])[0]
            if runs[-1].status == "stopped":
                return

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
        last, *later = self._tracks
        done = []
        for own, (first, _) in zip(later, self.stage.blocks.ranges[1:], strict=False):
            reaches = last.knots.position[last.knots.counts.cumsum(0) - 1] >= first
            done.append(last.keep(~reaches[last.owner]))
            last = joined_at(last.keep(reaches[last.owner]), own, first)
        tracks = Tracks.beside([*done, last])
        return TracksNetwork(signals_of(self.stage), self.stage.options.network(self.stage.name), tracks)


def signals_of(stage: StagePlan) -> Signals:
    """Return what the network of a stage models."""
    return Signals(stage.sample_rate, *stage.shape)


def fit_tracks(
    target: Tensor, stage: StagePlan, size: Budget, tell: ProgressCallback, log: TrainingLog, lesson: Tensor | None = None
) -> tuple[TracksNetwork, list[TrainingRun]]:
    """Fit tracks to ``target [C, n]`` within a size; return them and the training runs.

    Tracks with many knots are fitted first; those knots are kept that follow them best, and trained again. Where a network of
    cells follows, only those tracks are kept that are cheaper than cells.
    """
    training, room = stage.options.training, size.n_parameters or 0
    is_chosen = stage.has_rival and not stage.is_silent
    rival = Rival.of(target, stage.sample_rate, size, stage.options.grid.window or "hann") if is_chosen else None
    fit = _BlockFit(TracksNetwork(Signals(stage.sample_rate, *target.shape), stage.options.network(stage.name)), target)
    brief, fine = replace(training, steps=math.ceil((training.steps or 0) / 2)), max(FINE * size.most, FEWEST)
    for _ in range(0 if stage.is_silent else PURSUITS if rival is None else 1):
        tell(Progress("finding tracks", 0, 0, math.nan, math.nan))
        if not fit.pursue(fine, size.goal_energy / 2, 0.0 if rival is None else rival.price):
            break
        fit.train(Budget(fine), brief, 0, tell, log, lesson)
        reached = residual_energies([fit.network], [target])[0] <= size.goal_energy
        if reached or fit.network.n_components() >= fine or fit.runs[-1].status == "stopped":
            break
    if rival is not None:
        fit.network.replace_tracks(thinned_at(fit.network.tracks, PER_KNOT * rival.price))
        fit.network = fit.network.fitted_to(room)
        fit.train(Budget(size.most), training, 0, tell, log, lesson)
        return cheaper(fit.network, rival), fit.runs
    fit.network = fit.network.fitted_to(room)
    size = Budget(0) if stage.is_silent else size
    fit.train(size, training, training.exchanges or 0, tell, log, lesson)
    return fit.network.fitted_to(room), fit.runs


class _BlockFit:
    """Tracks during their fit, and their training runs."""

    def __init__(self, network: TracksNetwork, target: Tensor) -> None:
        self.network, self.target = network, target
        self.runs: list[TrainingRun] = []

    def pursue(self, most: int, goal_energy: float, price: float) -> bool:
        """Add tracks for what is left of the target, up to ``most`` knots in all; return whether there are any."""
        with torch.no_grad():
            left = self.target - self.network.estimate()
        room = most - self.network.n_components()
        found = pursue_tracks(left, self.network.sample_rate, self.network.step, room, goal_energy, price)
        if found.n_knots:
            self.network.replace_tracks(self.network.tracks.joined(found))
        return found.n_knots > 0

    def train(
        self,
        size: Budget,
        training: TrainingOptions,
        exchanges: int,
        tell: ProgressCallback,
        log: TrainingLog,
        lesson: Tensor | None,
    ) -> None:
        """Train the tracks; see `ddaudio.fitting.refinement.refine`."""
        self.network, runs = refine(self.network, self.target, size, training, exchanges, tell, log, lesson)
        self.runs += runs
