"""Fitting a recording of any length block by block, in constant memory.

A block is a row of root cells, and one more root cell after it that is fitted with the block and then discarded: its
signal fades into the block's last cells, which are thereby fitted as if the recording were not cut. The division of that
cell is kept, and the next block begins with it, so that the fades match; the part of the last cells beyond the block's end
is subtracted from the next block's target. A recording of one block is fitted as a whole.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddaudio.fitting import plan
from ddaudio.fitting.budget import share_out, size_for, whole
from ddaudio.fitting.plan import StagePlan
from ddaudio.fitting.refinement import refine
from ddaudio.fitting.segmentation import FIRST_LEVEL, cell_sizes, divide
from ddaudio.grid.coding import count_words, encode
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.samples import Samples, collect
from ddaudio.models import PARAMETERS_PER_PARTIAL, Budget, FramedNetwork
from ddaudio.models.registry import make_network
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import Progress, ProgressCallback, TrainingRun

WITHIN_REASON = 0.5, 2.0
"""Bounds on the residual energy of a block that makes up for other blocks, as factors of its own share."""


@dataclass(frozen=True)
class Fitted:
    """The result of all blocks."""

    network: FramedNetwork
    estimate: Samples
    """Signals of the network, ``[C, T]``."""
    blocks: list[list[TrainingRun]]
    """Training runs of each block."""


def fit_blocks(
    samples: Samples, energy: float, stage: StagePlan, tell: ProgressCallback, log: TrainingLog | None = None
) -> Fitted:
    """Fit one network block by block.

    Args:
        samples: the target, ``[C, T]``.
        energy: sum of squares of all samples.
        stage: resolved options and blocks.
        tell: called with the progress.
        log: records each training run; runs that it holds already are looked up.

    """
    run = _BlockwiseFit(samples, energy, stage, tell, log or TrainingLog())
    estimate = collect(run.pieces())
    return Fitted(run.network(), estimate, run.blocks)


class _BlockwiseFit:
    """State of a fit between blocks."""

    def __init__(self, samples: Samples, energy: float, stage: StagePlan, tell: ProgressCallback, log: TrainingLog) -> None:
        self.samples, self.sample_rate, self.options, self.tell, self.log = samples, stage.sample_rate, stage.options, tell, log
        self.n_signals, self.n_samples = samples.shape
        self.kind, self.window = stage.network, stage.options.grid.window or "hann"
        self.equal = not stage.blocks.adaptive
        self.root, self.longest_fade, self.ranges = stage.blocks.root_samples, stage.blocks.longest_fade, stage.blocks.ranges
        fewest, n_parameters, goal = torch.tensor(stage.blocks.fewest), stage.n_parameters, stage.goal_energy(energy)
        if len(self.ranges) == 1:
            self.shares = whole(n_parameters, goal)
        else:
            spare = max(0, n_parameters - int(fewest.sum()))
            shares = share_out(samples, self.sample_rate, self.ranges, self.options.model, spare, goal)
            self.shares = shares._replace(n_parameters=shares.n_parameters + fewest)
        self.blocks: list[list[TrainingRun]] = []
        self._sizes: list[list[int]] = [[] for _ in range(self.n_signals)]
        self._begun: list[list[int]] | None = None
        self._rise: Tensor | None = None
        self._kept: list[tuple[FramedNetwork, Tensor]] = []
        self._spent, self._left = 0, 0.0

    def pieces(self) -> Iterator[Tensor]:
        """Fit block after block; yield the estimate ``[C, n]`` up to where it is final."""
        tail = torch.zeros(self.n_signals, 0)
        for index, (first, last) in enumerate(self.ranges):
            begin = first - self.root // 2 if index else 0
            ends = last == self.n_samples
            stop = last if ends else min(self.n_samples, last + self.root)
            target = torch.zeros(self.n_signals, stop - begin) + self.samples[:, begin:stop]
            recorded = target.clone() if len(self.ranges) > 1 else target
            target[:, : tail.shape[1]] -= tail
            try:
                network = self._fit_block(index, target, first - begin)
            except KeyboardInterrupt:
                if not index:
                    raise
                self.blocks[-1][-1].status = "stopped"
                yield from self._silence(tail, begin)
                return
            sound = self._keep(network, begin, last)
            sound[:, : tail.shape[1]] += tail
            done = stop - begin if ends else last - self.root // 2 - begin
            self._left += float((recorded - sound)[:, :done].double().square().sum())
            yield sound[:, :done]
            tail = sound[:, done : done + self.root]
            if self.blocks[-1][-1].status == "stopped" and not ends:
                yield from self._silence(tail, begin + done)
                return

    def _fit_block(self, index: int, target: Tensor, margin: int) -> FramedNetwork:
        """Fit one block, whose cells begin ``margin`` samples after the start of its target ``[C, n]``."""
        options, share = self.options, self._share(index)
        tell = self._telling(index)
        tell(Progress("dividing time", 0, 0, math.nan, math.nan))
        grid = self._grid(target, margin, *share)
        least = self.n_signals if len(self.ranges) == 1 else 0
        taken = self.kind.parameters_per_frame * grid.n_frames + self._words(grid)
        size = size_for(options.model, share, grid.n_frames, taken, self.kind.parameters_per_component, least)
        tell(Progress("finding the starting point", 0, 0, math.nan, math.nan))
        network = make_network(self.kind.name, grid, options.network(self.kind.name))
        generator = torch.Generator().manual_seed(options.training.seed + index)
        short = replace(size, goal_energy=size.goal_energy * 10 ** (self.kind.expected_gain_db / 10))
        network.initialise(target, short, options.model.starting_point, generator)
        exchanges = (options.training.exchanges or 0) if options.model.starting_point == "peaks" else 0
        network, stages = refine(network, target, size, options.training, exchanges, tell, self.log)
        self.blocks.append(stages)
        return network

    def _grid(self, target: Tensor, margin: int, n_parameters: float, goal: float) -> TimeGrid:
        """Return the grid of a block."""
        options, n_samples = self.options, target.shape[1] - margin
        rows = [[self.root] * math.ceil(n_samples / self.root)] * self.n_signals
        if not self.equal:
            cell = self.root >> max(0, len(cell_sizes(self.sample_rate, self.n_samples)) - 1 - FIRST_LEVEL)
            trial = Budget(max(1, int(n_parameters - self.n_signals * n_samples / cell) // PARAMETERS_PER_PARTIAL), goal)
            divided = divide(target[:, margin:], self.sample_rate, trial, self.window, self._begun)
            # A budget too small for so many cells is better spent on partials in fewer cells.
            if options.model.budget is None or 2 * sum(map(len, divided)) < n_parameters:
                rows = divided
        grid = TimeGrid.of_sizes(self.sample_rate, n_samples, rows, self.window, self.longest_fade)
        if not margin:
            return grid
        part = grid.part(torch.arange(grid.n_frames), -margin, target.shape[1])
        rise = part.cells.half_fade_in.clone()
        rise[part.cells.first == margin] = self._rise if self._rise is not None else 0
        return TimeGrid(self.sample_rate, self.n_signals, target.shape[1], part.cells._replace(half_fade_in=rise), grid.window)

    def _share(self, index: int) -> tuple[float, float]:
        """Return the parameters and the residual energy allowed to a block and the cell after it.

        What earlier blocks left unused of either is passed on; the last block gets all that is left.
        """
        _, last = self.ranges[index]
        beyond = 0.0 if last == self.n_samples else self.root / (self.ranges[index + 1][1] - last)
        own, after = (float(self.shares.energy[i : i + 1].sum()) for i in (index, index + 1))
        goal = float(self.shares.energy[:index].sum()) + own + beyond * after - self._left
        if beyond:
            low, high = (factor * (own + beyond * after) for factor in WITHIN_REASON)
            goal = min(max(goal, low), high)
        own, after = (float(self.shares.n_parameters[i : i + 1].sum()) for i in (index, index + 1))
        return float(self.shares.n_parameters[:index].sum()) + own + beyond * after - self._spent, max(goal, 0.0)

    def _words(self, grid: TimeGrid) -> int:
        """Return the most words that a block's division of time takes in that of the whole."""
        if len(self.ranges) == 1:
            return encode(grid)[1].numel()
        smallest = self.root if self.equal else cell_sizes(self.sample_rate, self.n_samples)[0]
        return count_words(grid, smallest, self.root)

    def _keep(self, network: FramedNetwork, begin: int, last: int) -> Tensor:
        """Keep the block's own cells, begin the next block with the others, and return the block's signals ``[C, n]``."""
        grid = network.grid
        own = grid.cells.first < last - begin
        for signal, row in enumerate(self._sizes):
            row.extend(grid.cells.size[own & (grid.cells.signal == signal)].tolist())
        if not bool(own.all()):
            after = grid.cells.keep(~own)
            self._begun = [after.size[after.signal == signal].tolist() for signal in range(self.n_signals)]
            self._rise = after.half_fade_in[after.first == last - begin]
        with torch.no_grad():
            if len(self.ranges) == 1:
                self._kept.append((network, grid.cells.first))
                return network.estimate()
            places = torch.where(own, own.cumsum(0) - 1, -1)
            network = network.regridded(grid.part(own, 0, grid.n_samples), [(network, places)])
            self._spent += sum(tensor.numel() for tensor in network.to_tensors().values()) + self._words(network.grid)
            # Keep a copy on an unused grid: a used one holds a window for every sample.
            every = torch.arange(network.grid.n_frames)
            unused = network.regridded(network.grid.part(every, 0, grid.n_samples), [(network, every)])
            self._kept.append((unused, network.grid.cells.first + begin))
            return network.estimate()

    def _silence(self, tail: Tensor, done: int) -> Iterator[Tensor]:
        """Yield a fade and then silence, with empty cells, for the blocks after the one in which the user stopped the fit."""
        yield tail
        done += tail.shape[1]
        for signal, row in enumerate(self._sizes):
            row.extend(self._begun[signal] if self._begun else [])
            row.extend([self.root] * math.ceil((self.n_samples - sum(row)) / self.root))
        for first in range(done, self.n_samples, plan.BLOCK_SAMPLES):
            yield torch.zeros(self.n_signals, min(plan.BLOCK_SAMPLES, self.n_samples - first))

    def network(self) -> FramedNetwork:
        """Return the network of the whole recording."""
        if len(self.ranges) == 1:
            return self._kept[0][0]
        grid = TimeGrid.of_sizes(self.sample_rate, self.n_samples, self._sizes, self.window, self.longest_fade)
        # Signal and first sample identify a cell; both rise through the grid.
        key = grid.cells.signal * self.n_samples + grid.cells.first
        pieces = [
            (piece, torch.searchsorted(key, piece.grid.cells.signal * self.n_samples + first)) for piece, first in self._kept
        ]
        return self._kept[0][0].regridded(grid, pieces)

    def _telling(self, index: int) -> ProgressCallback:
        """Return a callback that reports the progress of block ``index`` as part of all blocks."""
        count = len(self.ranges)

        def tell(progress: Progress) -> None:
            """Add the number of the block."""
            self.tell(progress._replace(block=index, blocks=count))

        return tell
