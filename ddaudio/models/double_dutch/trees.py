"""One tree in each frame: the active ropes, and the map between parameters and the tables of all ropes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.errors import OptionError
from ddaudio.grid.extents import extents
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.double_dutch.coding import Shape, shape_of
from ddaudio.models.double_dutch.folded_tree import FoldedTree
from ddaudio.models.double_dutch.gates import Gating, OpenedTree, Voices
from ddaudio.models.double_dutch.ladder import Ladder
from ddaudio.models.double_dutch.path_tree import WalkedTree
from ddaudio.options import MAX_FRAME_S, DoubleDutchOptions

LONGEST_TRANSITION = 0.125
"""Largest length of a transition relative to the cell, unless transitions are given by level."""
PATHS_BETWEEN = 32
"""Number of paths of soft gates between samples: with transitions of an eighth of a cell, others weigh less than 1e-6."""
MOST_ROPES = 1 << 31
"""Largest number of ropes of all trees, used or not: 2 GB of flags. An hour of mono at 44.1 kHz has 300 million by default."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Properties that all trees of a network share."""

    grid: TimeGrid
    """Frames; each has a tree."""
    options: DoubleDutchOptions
    """Settings of the trees."""

    @cached_property
    def n_samples(self) -> int:
        """Samples in a tree's window, ``T``: those of a whole frame."""
        return int(self.grid.cells.size.max() + 2 * self.grid.cells.pre_roll.max())

    @cached_property
    def ladder(self) -> Ladder:
        """The waves; raises `OptionError` if the window is too short for them."""
        return ladder_of(self.options, self.n_samples)

    def check_size(self) -> None:
        """Raise `OptionError` for trees that take more memory or time than those of any fit: a file may declare them."""
        longest = 2 * round(MAX_FRAME_S * self.grid.sample_rate)
        if self.n_samples > longest:
            raise OptionError(f"a tree has a window of {self.n_samples} samples", allowed=f"up to {longest}")
        if (n_ropes := self.grid.n_frames * self.ladder.n_ropes) > MOST_ROPES:
            raise OptionError(f"the trees have {n_ropes} ropes, used or not", allowed=f"up to {MOST_ROPES}")

    @cached_property
    def voices(self) -> Voices:
        """Waveforms of the ropes."""
        return Voices(self.ladder, self.options.reading, self.options.pair, self.folds)

    @property
    def folds(self) -> bool:
        """Whether the trees can be folded."""
        return can_fold(self.options, self.ladder, self.n_samples)

    @cached_property
    def gating(self) -> Gating:
        """Type of the gates."""
        transitions, depth = self.options.transitions_s(self.ladder.depth), self.ladder.depth
        shares = [
            transition * self.grid.sample_rate / self.ladder.cell(level)
            for level, transition in enumerate(transitions if len(transitions) == depth else transitions * depth)
        ]
        if len(transitions) == 1:
            # Short cells have short transitions: with more than an eighth, a cell extends beyond its neighbours.
            shares = [min(share, LONGEST_TRANSITION) for share in shares]
        return Gating(self.options.gating == "hard", tuple(map(self.ladder.sharpness, range(depth), shares)))

    @property
    def binary(self) -> bool:
        """Whether the output is that of the deepest gates only: each frame then has two levels, one per state of the gates."""
        return self.options.is_binary

    @property
    def shares_cutoff(self) -> bool:
        """Whether all nodes of a tree have one cutoff."""
        return self.options.cutoffs == "shared"

    @property
    def has_amplitudes(self) -> bool:
        """Whether amplitudes are parameters; otherwise those of open and closed gates are 1 and 0."""
        return self.options.reading != "gates"

    @property
    def n_shared(self) -> int:
        """Number of amplitudes of a tree whose ropes share them: one for each state of the deepest gates, or each level."""
        return 2 if self.binary else sum(map(self.voices.speaks, range(self.ladder.depth)))

    @property
    def shared_levels(self) -> Tensor:
        """Level (from 0) of each shared amplitude, ``[n_shared]``."""
        depth = self.ladder.depth
        if self.binary:
            return torch.full((2,), depth - 1)
        return torch.tensor([level for level in range(depth) if self.voices.speaks(level)])

    @property
    def learns_cutoffs(self) -> bool:
        """Whether cutoffs are parameters."""
        return self.options.learns_cutoffs

    @cached_property
    def energies(self) -> Tensor:
        """Mean energy of the waves over the ropes of each level, ``[D, P]`` float64."""
        position = torch.arange(self.n_samples, dtype=torch.float64) + 0.5
        rows = [self.voices.waves(level, position).square().sum(1) for level in range(self.ladder.depth)]
        if self.options.pair == "sigmoid":  # which all ropes of a level have in common
            return torch.stack(rows)
        return torch.stack(rows) / 2.0 ** torch.arange(1, self.ladder.depth + 1, dtype=torch.float64)[:, None]

    def opened(self, cutoffs: Tensor, position: Tensor | None = None) -> OpenedTree:
        """Return trees with their gates set by ``cutoffs [W, N]``, at all samples or at ``position [W, L]``."""
        beam = self.options.gating == "beam"
        if position is None and self.folds and not beam:
            return FoldedTree(self.voices, self.gating, cutoffs, self.n_samples, shared=not self.learns_cutoffs)
        paths = self.options.beam if beam else None if position is None else PATHS_BETWEEN
        position = torch.arange(self.n_samples) + 0.5 if position is None else position
        siblings = self.gating.hard and self.learns_cutoffs
        return WalkedTree(self.voices, self.gating, cutoffs, position, paths=paths, siblings=siblings)

    def windows(self, frames: Sequence[Tensor]) -> Tensor:
        """Return frames, one tensor a group of the grid, as windows ``[F, T]``; zero where a frame ends before its window."""
        return torch.cat([pad(part, (0, self.n_samples - part.shape[1])) for part in frames])

    def frames(self, windows: Tensor) -> list[Tensor]:
        """Return windows ``[F, T]`` as frames, one tensor a group of the grid."""
        return [windows[group.frames, : group.length] for group in self.grid.groups]


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees with some active ropes."""

    plan: Plan
    """Common properties."""
    ropes: Tensor
    """Indices of the active ropes, ``[K]`` ascending: frame times ropes in a tree, plus rope."""

    @classmethod
    def of(cls, plan: Plan, speaks: Tensor) -> "Trees":
        """Return trees in which the ropes of the mask ``[F, R]`` are active."""
        return cls(plan, speaks.reshape(-1).nonzero()[:, 0])

    @classmethod
    def silent(cls, plan: Plan) -> "Trees":
        """Return trees without active ropes; with all ropes that contribute, if they share amplitudes."""
        speaks = torch.zeros(plan.grid.n_frames, plan.ladder.n_ropes, dtype=torch.bool)
        if plan.options.is_full:
            for level in plan.shared_levels.tolist():
                speaks[:, 2 ** (level + 1) - 2 : 2 ** (level + 2) - 2] = True
        return cls.of(plan, speaks)

    @cached_property
    def speaks(self) -> Tensor:
        """Active ropes, ``[F, R]`` bool."""
        speaks = torch.zeros(self.plan.grid.n_frames * self.plan.ladder.n_ropes, dtype=torch.bool)
        speaks[self.ropes] = True
        return speaks.reshape(self.plan.grid.n_frames, -1)

    @cached_property
    def shape(self) -> Shape:
        """Nodes and bits of each tree."""
        return shape_of(self.speaks, self.plan.voices)

    @cached_property
    def frame(self) -> Tensor:
        """Frame of each amplitude, ``[K]``; of shared ones, ``n_shared`` in each."""
        if self.plan.options.is_full:
            n_shared = self.plan.n_shared if self.plan.has_amplitudes else 0
            return torch.arange(self.plan.grid.n_frames).repeat_interleave(n_shared)
        return torch.div(self.ropes, self.plan.ladder.n_ropes, rounding_mode="floor")

    @cached_property
    def level(self) -> Tensor:
        """Level (from 0) of each amplitude, ``[K]``."""
        if self.plan.options.is_full:
            return self.plan.shared_levels.repeat(self.plan.grid.n_frames)[: self.frame.numel()]
        return self._level_of_rope

    @property
    def _level_of_rope(self) -> Tensor:
        """Level (from 0) of each active rope."""
        return torch.log2((self.ropes % self.plan.ladder.n_ropes + 2).double()).floor().long() - 1

    @cached_property
    def cutoff_level(self) -> Tensor:
        """Level (from 0) of each learned cutoff, ``[N]``."""
        depth = self.plan.ladder.depth
        if self.plan.shares_cutoff:
            return torch.zeros(self.plan.grid.n_frames, dtype=torch.int64)
        levels = torch.arange(depth).repeat_interleave(2 ** torch.arange(depth)).expand_as(self.shape.nodes)
        return levels[self.shape.nodes] if self.plan.learns_cutoffs else levels.new_zeros(0)

    @cached_property
    def _source(self) -> Tensor:
        """Index of the amplitude of each active rope, ``[K]``; for ``binary``, open and closed ropes share one each."""
        if not self.plan.options.is_full:
            return torch.arange(self.ropes.numel())
        frame = torch.div(self.ropes, self.plan.ladder.n_ropes, rounding_mode="floor")
        own = self.ropes % 2 if self.plan.binary else torch.searchsorted(self.plan.shared_levels, self._level_of_rope)
        return self.plan.n_shared * frame + own

    def all_amplitudes(self, spoken: Tensor) -> Tensor:
        """Expand amplitudes ``[K, P]`` to all ropes, ``[F, R, P]``; without parameters, those of open gates are 1."""
        if not self.plan.has_amplitudes:
            spoken = spoken.new_tensor([[1.0], [0.0]]).repeat(self.plan.grid.n_frames, 1)
        return self._expanded(spoken)

    def all_changes(self, spoken: Tensor) -> Tensor:
        """Expand changes of the amplitudes ``[K, P]`` to all ropes, ``[F, R, P]``."""
        if not self.plan.has_amplitudes:
            spoken = spoken.new_zeros(2 * self.plan.grid.n_frames, 1)
        return self._expanded(spoken)

    def _expanded(self, spoken: Tensor) -> Tensor:
        flat = spoken.new_zeros(self.plan.grid.n_frames * self.plan.ladder.n_ropes, self.plan.voices.n_waves)
        return flat.index_copy_(0, self.ropes, spoken[self._source]).reshape(self.plan.grid.n_frames, -1, flat.shape[1])

    def all_cutoffs(self, learned: Tensor) -> Tensor:
        """Expand learned cutoffs to all nodes, ``[F, N]``."""
        if self.plan.shares_cutoff:
            return learned[:, None].expand(self.shape.nodes.shape)
        given = 0.0 if self.plan.learns_cutoffs else self.plan.options.given_cutoff
        cutoffs = learned.new_full(self.shape.nodes.shape, given)
        if self.plan.learns_cutoffs:
            cutoffs[self.shape.nodes] = learned
        return cutoffs

    def kept(self, amplitudes: Tensor, cutoffs: Tensor | None) -> tuple[Tensor, Tensor]:
        """Reduce amplitudes ``[F, R, P]`` and cutoffs ``[F, N]`` to those that are parameters: the adjoint of both expansions."""
        spoken = amplitudes.new_zeros(self.frame.numel(), amplitudes.shape[2])
        if self.plan.has_amplitudes:
            spoken.index_add_(0, self._source, amplitudes.flatten(0, 1)[self.ropes])
        if cutoffs is not None and self.plan.shares_cutoff:
            return spoken, cutoffs.sum(1)
        learned = amplitudes.new_zeros(0) if cutoffs is None else cutoffs[self.shape.nodes]
        return spoken, learned

    def table(self, amplitudes: Tensor) -> dict[str, Tensor]:
        """Return columns for the amplitudes ``[K, P]``, in the order of signal, then time, then level; see `describe`."""
        ladder, grid = self.plan.ladder, self.plan.grid
        rope = self.ropes % ladder.n_ropes
        if self.plan.options.is_full:
            sides = torch.arange(2).repeat(grid.n_frames)[: self.frame.numel()]
            rope = 2 ** (self.level + 1) - 2 + (sides if self.plan.binary else 0)
        begin = grid.start[self.frame].double()
        centre = begin + (self.plan.n_samples / 2 if self.plan.options.is_full else _centres(ladder, self.plan.n_samples)[rope])
        frames, last = grid.frames.keep(self.frame), grid.frames.first[self.frame] + grid.n_valid[self.frame]
        # A tree extends over its whole frame, whose window is shorter if a neighbour or the signal ends.
        centre = centre.clamp(frames.first - frames.half_fade_in, last + frames.half_fade_out)
        amplitudes = amplitudes.double().cpu()
        table = {
            "signal": grid.frames.signal[self.frame],
            "time_s": centre / grid.sample_rate,
            "level": self.level + 1,
            "address": rope - (2 ** (self.level + 1) - 2),
            "frequency_hz": grid.sample_rate / torch.tensor(ladder.denominators, dtype=torch.float64)[self.level],
            "amplitude": amplitudes.square().sum(1).sqrt() * torch.where(amplitudes[:, 0] < 0, -1, 1),
        }
        if self.plan.options.pair == "quadrature":
            table["phase_rad"] = torch.atan2(-amplitudes[:, 1], amplitudes[:, 0])
        table |= extents(grid, self.frame)
        order = torch.argsort(grid.order[self.frame] * ladder.n_ropes + rope, stable=True)
        return {name: column[order] for name, column in table.items()}


def ladder_of(options: DoubleDutchOptions, n_samples: int) -> Ladder:
    """Return the ladder for windows of ``n_samples`` samples; raises `OptionError` if it is invalid."""
    if options.denominators is not None:
        return Ladder(options.parsed_denominators, options.ropes, options.above_nyquist)
    return Ladder.dyadic(n_samples, options.depth or n_samples.bit_length() - 1, options.ropes)


def can_fold(options: DoubleDutchOptions, ladder: Ladder, n_samples: int) -> bool:
    """Return whether trees over ``n_samples`` samples can be folded: with a second wave only if the root's cell is the window.

    A shifted pair is not even about the ends of its cells, and cannot.
    """
    if options.pair == "shifted":
        return False
    return ladder.halves and (options.pair != "quadrature" or 2 * ladder.cell(0) >= n_samples)


def _centres(ladder: Ladder, n_samples: int) -> Tensor:
    """Return the mean position of the samples with each rope's address, ``[R]``; 0 if there are none."""
    position = torch.arange(n_samples, dtype=torch.float64) + 0.5
    centres = []
    for level, addresses in enumerate(ladder.addresses(position), 1):
        counts = torch.bincount(addresses, minlength=2**level)
        centres.append(torch.bincount(addresses, position, 2**level) / counts.clamp(min=1))
    return torch.cat(centres)
