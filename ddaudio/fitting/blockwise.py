"""Fitting a recording of any length block by block, in constant memory.

A block is a sequence of root cells. One more root cell after it is fitted with the block and then discarded: its signal fades
into the block's last cells, which are therefore fitted as if the recording were not divided. The division of that cell is kept
for the next block, so that the fades match; the part of the last cells beyond the block's end is subtracted from the next
block's target. A recording of one block is fitted as a whole.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ddaudio.fitting import plan
from ddaudio.fitting.block import Block, division_words, fit_block_many
from ddaudio.fitting.budget import share_out
from ddaudio.fitting.fitted import BlockwiseTask, Fitted
from ddaudio.fitting.tracks import fit_track_blocks
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.samples import collect
from ddaudio.models import FramedNetwork
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import Progress, ProgressCallback, TrainingRun

WITHIN_REASON = 0.5, 2.0
"""Bounds on the residual energy of a block that compensates for other blocks, as factors of its own share."""


def fit_blocks(task: BlockwiseTask) -> Fitted:
    """Fit one network, block by block."""
    if task.stage.network.frames == "none":
        return fit_track_blocks(task)
    if len(task.stage.blocks.ranges) == 1:
        return fit_whole_many([task])[0]
    run = _BlockwiseFit(task)
    estimate = collect(run.pieces())
    return Fitted(run.network(), estimate, run.blocks)


@torch.no_grad()
def _estimate(network: FramedNetwork) -> Tensor:
    return network.estimate()


def fit_whole_many(tasks: Sequence[BlockwiseTask]) -> list[Fitted]:
    """Fit one network to each of several signals of one block simultaneously; see `fit_block_many`."""
    blocks = []
    for task in tasks:
        target = torch.zeros(*task.samples.shape) + task.samples[:, :]
        share = float(task.stage.n_parameters), task.stage.goal_energy(task.energy)
        blocks.append(Block(task.stage, target, share, task.tell, task.log or TrainingLog()))
    return [Fitted(network, collect(iter([_estimate(network)])), [runs]) for network, runs in fit_block_many(blocks)]


class _BlockwiseFit:
    """State of a fit between blocks."""

    def __init__(self, task: BlockwiseTask) -> None:
        self.samples, energy, self.stage, self.tell, log = task
        self.log = log or TrainingLog()
        self.n_signals, self.n_samples = self.samples.shape
        self.root, self.ranges = self.stage.blocks.root_samples, self.stage.blocks.ranges
        fewest, goal = torch.tensor(self.stage.blocks.fewest), self.stage.goal_energy(energy)
        spare = max(0, self.stage.n_parameters - int(fewest.sum()))
        shares = share_out(self.samples, self.stage.sample_rate, self.ranges, self.stage.options.model, spare, goal)
        self.shares = shares._replace(n_parameters=shares.n_parameters + fewest)
        self.blocks: list[list[TrainingRun]] = []
        self._sizes: list[list[int]] = [[] for _ in range(self.n_signals)]
        self._begun: list[list[int]] | None = None
        self._rise: Tensor | None = None
        self._kept: list[tuple[FramedNetwork, Tensor]] = []
        self._spent, self._left = 0, 0.0

    def pieces(self) -> Iterator[Tensor]:
        """Fit all blocks in order; yield the final parts of the estimate ``[C, n]``."""
        tail = torch.zeros(self.n_signals, 0)
        for index, (first, last) in enumerate(self.ranges):
            begin = first - self.root // 2 if index else 0
            ends = last == self.n_samples
            stop = last if ends else min(self.n_samples, last + self.root)
            target = torch.zeros(self.n_signals, stop - begin) + self.samples[:, begin:stop]
            recorded = target.clone()
            target[:, : tail.shape[1]] -= tail
            try:
                network = self._fit_block(index, target, begin)
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

    def _fit_block(self, index: int, target: Tensor, begin: int) -> FramedNetwork:
        """Fit one block, whose target ``[C, n]`` starts at the sample ``begin``."""
        share, margin = self._share(index), self.ranges[index][0] - begin
        block = Block(self.stage, target, share, self._telling(index), self.log, index, margin, self._begun, self._rise, begin)
        ((network, runs),) = fit_block_many([block])
        self.blocks.append(runs)
        return network

    def _share(self, index: int) -> tuple[float, float]:
        """Return the parameters and the residual energy allowed to a block and the cell after it.

        Unused parts of earlier blocks are passed on; the last block gets the remainder.
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

    def _keep(self, network: FramedNetwork, begin: int, last: int) -> Tensor:
        """Store the block's own cells, start the next block with the others, and return the block's signals ``[C, n]``."""
        grid = network.grid
        own = grid.cells.first < last - begin
        for signal, row in enumerate(self._sizes):
            row.extend(grid.cells.size[own & (grid.cells.signal == signal)].tolist())
        if not bool(own.all()):
            after = grid.cells.keep(~own)
            self._begun = [after.size[after.signal == signal].tolist() for signal in range(self.n_signals)]
            self._rise = after.half_fade_in[after.first == last - begin]
        with torch.no_grad():
            places = torch.where(own, own.cumsum(0) - 1, -1)
            network = network.regridded(grid.part(own, 0, grid.n_samples), [(network, places)])
            self._spent += sum(tensor.numel() for tensor in network.to_tensors().values()) + division_words(
                self.stage, network.grid
            )
            # A copy on a new grid is stored, since a used grid caches a window for every sample.
            every = torch.arange(network.grid.n_frames)
            unused = network.regridded(network.grid.part(every, 0, grid.n_samples), [(network, every)])
            self._kept.append((unused, network.grid.cells.first + begin))
            return network.estimate()

    def _silence(self, tail: Tensor, done: int) -> Iterator[Tensor]:
        """Yield a fade and then silence, with empty cells, for the blocks after an interruption by the user."""
        yield tail
        done += tail.shape[1]
        for signal, row in enumerate(self._sizes):
            row.extend(self._begun[signal] if self._begun else [])
            row.extend([self.root] * math.ceil((self.n_samples - sum(row)) / self.root))
        for first in range(done, self.n_samples, plan.BLOCK_SAMPLES):
            yield torch.zeros(self.n_signals, min(plan.BLOCK_SAMPLES, self.n_samples - first))

    def network(self) -> FramedNetwork:
        """Return the network of the whole recording."""
        options, blocks = self.stage.options, self.stage.blocks
        window = options.grid.window or "hann"
        grid = TimeGrid.of_sizes(self.stage.sample_rate, self.n_samples, self._sizes, window, blocks.longest_fade)
        # Signal and first sample identify a cell; both ascend through the grid.
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
