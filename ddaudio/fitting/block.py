"""One block of a recording: division of time, initialisation, refinement. Several blocks are fitted as one batch."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.fitting.budget import size_for
from ddaudio.fitting.plan import StagePlan
from ddaudio.fitting.refinement import RefinementTask, refine_many
from ddaudio.fitting.segmentation import FIRST_LEVEL, Division, cell_sizes, divide_many
from ddaudio.fitting.starting_model import extended, first_sizes, placed
from ddaudio.fitting.teacher import part_of
from ddaudio.grid.coding import count_words, encode
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import make_loss, weighting_of
from ddaudio.models import PARAMETERS_PER_PARTIAL, Budget, FramedNetwork
from ddaudio.models.batched import initialise_many
from ddaudio.models.registry import make_network
from ddaudio.options import WindowName, parse_terms
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import Progress, ProgressCallback, TrainingRun

SPECTRAL_GAIN_SHARE = 0.3
"""Expected gain of the SNR by training on spectral losses, relative to that on others: on a bark 0.4 dB in place of 1.2."""


class Block(NamedTuple):
    """A block to be fitted."""

    stage: StagePlan
    target: Tensor
    """The target, ``[C, n]``."""
    share: tuple[float, float]
    """Limits on parameters and residual energy."""
    tell: ProgressCallback
    log: TrainingLog
    number: int = 0
    """Index of the block in its recording, from 0."""
    margin: int = 0
    """Samples of the target before the first cell."""
    begun: Sequence[Sequence[int]] | None = None
    """Required sizes of the first cells of each signal."""
    rise: Tensor | None = None
    """Half the length of the fade at the start of each signal's first cell, ``[C]``; None for no fade."""
    begin: int = 0
    """First sample of the target within the recording."""

    @property
    def window(self) -> WindowName:
        """Shape of the fades."""
        return self.stage.options.grid.window or "hann"

    def division(self) -> Division:
        """Return the task of the division of time."""
        n_parameters, goal = self.share
        (n_signals, n_samples), blocks, sample_rate = self.target.shape, self.stage.blocks, self.stage.sample_rate
        cell = blocks.root_samples >> max(0, len(cell_sizes(sample_rate, self.stage.shape[1])) - 1 - FIRST_LEVEL)
        spare = int(n_parameters - n_signals * (n_samples - self.margin) / cell)
        trial = Budget(max(1, spare // PARAMETERS_PER_PARTIAL), goal)
        start = self.stage.start
        begun = self.begun if start is None else first_sizes(start, n_samples)
        return Division(self.target[:, self.margin :], sample_rate, trial, self.window, begun)

    def grid(self, divided: Sequence[Sequence[int]] | None) -> TimeGrid:
        """Return the grid, given the sizes of the cells of each signal, or None if they are equal."""
        blocks, (n_signals, n_samples), sample_rate = self.stage.blocks, self.target.shape, self.stage.sample_rate
        inside = n_samples - self.margin
        rows: Sequence[Sequence[int]] = [[blocks.root_samples] * math.ceil(inside / blocks.root_samples)] * n_signals
        # A budget that is small for so many cells is better spent on partials in fewer cells.
        free = self.stage.options.model.budget is None or self.stage.start is not None
        if divided is not None and (free or 2 * sum(map(len, divided)) < self.share[0]):
            rows = divided
        grid = TimeGrid.of_sizes(sample_rate, inside, rows, self.window, blocks.longest_fade)
        if not self.margin:
            return grid
        part = grid.part(torch.arange(grid.n_frames), -self.margin, n_samples)
        rise = part.cells.half_fade_in.clone()
        rise[part.cells.first == self.margin] = self.rise if self.rise is not None else 0
        return TimeGrid(sample_rate, n_signals, n_samples, part.cells._replace(half_fade_in=rise), grid.window)

    def size(self, grid: TimeGrid) -> Budget:
        """Return the budget and goal of the network on a grid."""
        spec = self.stage.network
        least = self.target.shape[0] if len(self.stage.blocks.ranges) == 1 else 0
        taken = spec.parameters_per_network + spec.parameters_per_frame * grid.n_frames + division_words(self.stage, grid)
        return size_for(self.stage.options.model, self.share, grid.n_frames, taken, spec.parameters_per_component, least)


def division_words(stage: StagePlan, grid: TimeGrid) -> int:
    """Return the largest number of words of a block in the coded division of time of its recording."""
    blocks = stage.blocks
    if len(blocks.ranges) == 1:
        return encode(grid)[1].numel()
    smallest = cell_sizes(stage.sample_rate, stage.shape[1])[0] if blocks.adaptive else blocks.root_samples
    return count_words(grid, smallest, blocks.root_samples)


def fit_block_many(blocks: Sequence[Block]) -> list[tuple[FramedNetwork, list[TrainingRun]]]:
    """Fit several blocks simultaneously; their stages must have the same network and training.

    Returns the network and the training runs of each. Computed as a batch where possible.
    """
    grids = _divide(blocks)
    sizes = [block.size(grid) for block, grid in zip(blocks, grids, strict=True)]
    _announce(blocks, "finding the starting point")
    networks = [_start(block, grid) for block, grid in zip(blocks, grids, strict=True)]
    options, targets = blocks[0].stage.options, [block.target for block in blocks]
    start, training = options.model.starting_point, options.training
    generators = [torch.Generator().manual_seed(training.seed + block.number) for block in blocks]
    gain = 10 ** (_expected_gain_db(blocks[0].stage) / 10)
    goals = [replace(size, goal_energy=size.goal_energy * gain) for size in sizes]
    if options.model.from_model is None:
        initialise_many(networks, targets, goals, start, generators)
    else:
        networks = extended(networks, targets, goals)
    exchanges = (training.exchanges or 0) if start == "peaks" else 0
    tasks = [
        RefinementTask(network, block.target, size, block.tell, block.log, part_of(block.stage.lesson, block.target, block.begin))
        for network, block, size in zip(networks, blocks, sizes, strict=True)
    ]
    return refine_many(tasks, training, exchanges)


def _expected_gain_db(stage: StagePlan) -> float:
    """Return by how much training improves the SNR; spectral losses spend most of it on spectra."""
    losses = [make_loss(name, stage.sample_rate) for name in parse_terms(stage.options.training.losses)]
    return stage.network.expected_gain_db * (SPECTRAL_GAIN_SHARE if any(loss.on_crops for loss in losses) else 1)


def _start(block: Block, grid: TimeGrid) -> FramedNetwork:
    """Return a network that is not initialised, or the starting model."""
    name, options, sample_rate = block.stage.network.name, block.stage.options, block.stage.sample_rate
    network = make_network(name, grid, options.network(name))
    if block.stage.start is not None:
        network = placed(block.stage.start, network)
    network.weighting = weighting_of(parse_terms(options.training.losses), block.target.shape[1], sample_rate)
    return network


def _divide(blocks: Sequence[Block]) -> list[TimeGrid]:
    """Return the grid of each block."""
    _announce(blocks, "dividing time")
    adaptive = [block for block in blocks if block.stage.blocks.adaptive]
    divided = iter(divide_many([block.division() for block in adaptive]))
    return [block.grid(next(divided) if block.stage.blocks.adaptive else None) for block in blocks]


def _announce(blocks: Sequence[Block], what: str) -> None:
    for block in blocks:
        block.tell(Progress(what, 0, 0, math.nan, math.nan))
