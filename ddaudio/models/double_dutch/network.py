"""The ``double-dutch`` network: a tree of waves in each frame, with some ropes active."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.errors import ModelError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.declared import DeclaredNetwork
from ddaudio.models.double_dutch import binary_reading
from ddaudio.models.double_dutch.coding import read_shape, shape_of, words_of
from ddaudio.models.double_dutch.initialisation import LevelByLevel, jointly, shared_amplitudes
from ddaudio.models.double_dutch.jacobian import DoubleDutchJacobian, Speak
from ddaudio.models.double_dutch.trees import Plan, Trees
from ddaudio.models.framed import FramedNetwork
from ddaudio.models.parameters import Parameter
from ddaudio.options import DoubleDutchOptions, StartingPoint

CUTOFF_UNIT = 0.25
"""Scale of the cutoffs, which are kept within the range of their ropes, -1 to 1."""
USUALLY_AT_BOUNDS = 0.15
"""Share of the learned cutoffs that may be at -1 or 1, where a gate is always open or closed: recordings have 4 to 10 %."""


class DoubleDutchNetwork(DeclaredNetwork):
    """``sum_l G_l (g_l a+ r_l - (1 - g_l) a- r_l)`` in each frame, ``G_l`` the product of the gates above; see `Ladder`.

    A rope of level ``l`` is active for about ``T / 2^l`` samples, so gradients by its amplitude, in natural units, decrease from
    level to level. Amplitudes are trained in units of their waves' energy, so that all levels have the same scale.
    """

    name = "double-dutch"
    PARAMETERS = (
        Parameter("amplitude", "full scale", scale="level", linear=True),
        Parameter("cutoff", scale=CUTOFF_UNIT, bounds=(-1, 1), usually_at_bounds=USUALLY_AT_BOUNDS),
    )
    amplitude: nn.Parameter
    cutoff: nn.Parameter

    def __init__(self, grid: TimeGrid, options: DoubleDutchOptions | None = None) -> None:
        """Create a silent network.

        Raises `OptionError` if the tree has more cells than the frames have samples, or more of either than any fit.
        """
        super().__init__(grid, (options or DoubleDutchOptions()).filled())
        self.plan = Plan(grid, self.options)
        self.plan.check_size()
        trees = Trees.silent(self.plan)
        self._set(trees, torch.zeros(trees.frame.numel(), self.plan.voices.n_waves), None)

    def _set(self, trees: Trees, amplitudes: Tensor, cutoffs: Tensor | None) -> None:
        """Replace the trees, with amplitudes ``[K, P]`` and cutoffs ``[F, N]``, and set the scales of the parameters."""
        self.trees = trees
        energies = self.plan.energies.to(amplitudes)[trees.level]
        power = (amplitudes.square() * energies).sum(1)
        level = power.new_zeros(self.grid.n_frames).index_add(0, trees.frame, power)
        unit = (power * level[trees.frame]).pow(0.25)
        # A silent rope still needs a scale to grow: full scale.
        self.unit = torch.where(unit > 0, unit, torch.ones_like(unit))[:, None] / energies.sqrt()
        self.scales = {"amplitude": self.unit, "cutoff": CUTOFF_UNIT}
        self.amplitude = nn.Parameter(amplitudes / self.unit)
        learned = amplitudes.new_zeros(0)
        if self.plan.shares_cutoff:
            learned = amplitudes.new_zeros(self.grid.n_frames) if cutoffs is None else cutoffs[:, 0]
        elif self.plan.learns_cutoffs:
            learned = amplitudes.new_zeros(int(trees.shape.nodes.sum())) if cutoffs is None else cutoffs[trees.shape.nodes]
        self.cutoff = nn.Parameter(learned.to(amplitudes) / CUTOFF_UNIT)

    @property
    def rope_amplitudes(self) -> Tensor:
        """The amplitudes in natural units, ``[K, P]``, detached from the parameters."""
        return self.amplitude.detach() * self.unit

    @property
    def cutoffs(self) -> Tensor:
        """The cutoffs of all nodes, ``[F, N]``, detached from the parameters."""
        return self.trees.all_cutoffs(self.cutoff.detach() * CUTOFF_UNIT)

    def forward(self) -> list[Tensor]:
        """Return the frames of all signals, one tensor a group of the grid."""
        sound: Tensor = Speak.apply(self.trees, self.amplitude * self.unit, self.cutoff * CUTOFF_UNIT)  # type: ignore[no-untyped-call]
        return self.plan.frames(sound)

    def jacobian(self) -> DoubleDutchJacobian:
        """Return the Jacobian at the current parameters; that of hard gates uses the derivative of soft ones."""
        return DoubleDutchJacobian(self.trees, self.rope_amplitudes, self.cutoff.detach() * CUTOFF_UNIT, (self.unit, CUTOFF_UNIT))

    def frames_at_rate(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the frames of a group at ``ratio`` times the sample rate, without waves beyond Nyquist."""
        frames = self.grid.groups[group].frames
        position = (offset[:, None] + torch.arange(length)) / ratio + 0.5
        heard = torch.tensor(self.plan.ladder.denominators)[self.trees.level] * min(ratio, 1.0) > (2.0 if ratio < 1 else 0.0)
        amplitudes = self.trees.all_amplitudes(self.rope_amplitudes * heard[:, None])[frames]
        cutoffs = self.cutoffs[frames]
        rows = range(offset.numel())
        sounds = [self.plan.opened(cutoffs[i : i + 1], position[i : i + 1]).sound(amplitudes[i : i + 1]) for i in rows]
        return torch.cat(sounds).float()

    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Initialise level by level by least squares, or with random or equal amplitudes in the longest waves."""
        windows = self.plan.windows(self.grid.frame(target))
        if self.plan.binary:
            levels, cutoffs = binary_reading.start(windows, self.plan)
            self._set(Trees.silent(self.plan), levels if self.plan.has_amplitudes else levels[:0], cutoffs)
        elif self.plan.options.is_full:
            self._set(Trees.silent(self.plan), shared_amplitudes(self.plan, windows), None)
        elif start == "peaks":
            self._find(windows, size, torch.zeros_like(Trees.silent(self.plan).speaks))
        else:
            self._spread(windows, size, start, generator)

    def _find(self, windows: Tensor, size: Budget, taken: Tensor) -> None:
        """Add the ropes that reduce ``windows [F, T]`` most to the active ones, ``taken [F, R]``."""
        levels = LevelByLevel(self.plan.voices, self.plan.n_samples, windows)

        def affordable(speaks: Tensor) -> bool:
            """Return whether ropes are affordable, together with the active ones."""
            return self._affordable(speaks | taken, size)

        found = levels.within(windows, affordable, size.goal_energy, ~taken)
        cutoffs = self.cutoffs if bool(taken.any()) else None
        if cutoffs is None and not self.plan.gating.hard:
            shape = windows.shape[0], self.plan.ladder.n_nodes
            opened = self.plan.opened(windows.new_full(shape, self.plan.options.given_cutoff))
            found = jointly(opened, self.plan.voices, windows, found, affordable)
        speaks = found.gains > 0
        trees, amplitudes = Trees.of(self.plan, speaks | taken), found.amplitudes
        if cutoffs is not None:
            amplitudes = amplitudes + self.trees.all_amplitudes(self.rope_amplitudes)
        self._set(trees, amplitudes.flatten(0, 1)[trees.ropes], cutoffs)

    def _affordable(self, speaks: Tensor, size: Budget) -> bool:
        if int(speaks.sum()) > size.most:
            return False
        if size.n_parameters is None:
            return True
        shape = shape_of(speaks, self.plan.voices)
        learned = int(shape.nodes.sum()) if self.plan.learns_cutoffs else 0
        learned = self.grid.n_frames if self.plan.shares_cutoff else learned
        return int(speaks.sum()) * self.plan.voices.n_waves + words_of(shape).numel() + learned <= size.n_parameters

    def _spread(self, windows: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Activate the longest waves of all frames that are not silent, as many as affordable, at the level of the frames."""
        n_ropes = self.plan.ladder.n_ropes
        heard = torch.tensor([self.plan.voices.speaks(level) for level in range(self.plan.ladder.depth)])
        heard = heard.repeat_interleave(2 ** torch.arange(1, self.plan.ladder.depth + 1))
        sounding = (windows.abs().amax(1) > 0)[:, None] & heard
        low, high = 0, n_ropes + 1
        while high - low > 1:
            middle = (low + high) // 2
            fits = self._affordable(sounding & (torch.arange(n_ropes) < middle), size)
            low, high = (middle, high) if fits else (low, middle)
        trees = Trees.of(self.plan, sounding & (torch.arange(n_ropes) < low))
        shape = (trees.ropes.numel(), self.plan.voices.n_waves)
        loudness = windows.square().mean(1).sqrt()[trees.frame, None].expand(shape)
        random = torch.randn(shape, generator=generator).to(windows)
        self._set(trees, loudness * (random if start == "random" else 1.0) / math.sqrt(self.plan.ladder.depth), None)

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add the ropes that reduce the residual most."""
        if self.plan.options.is_full:
            return False
        with torch.no_grad():
            windows = self.plan.windows(self.grid.frame(target - self.estimate()))
        before = self.n_prunable()
        self._find(windows, size, self.trees.speaks)
        return self.n_prunable() > before

    def component_energies(self) -> Tensor:
        """Return the energy of each active rope, or of each level for the reading ``binary``."""
        return (self.rope_amplitudes.square() * self.plan.energies.to(self.unit)[self.trees.level]).sum(1)

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each active rope."""
        # The root has no gradient at a silent rope, hence the tiny addend.
        return ((self.amplitude * self.unit).square().sum(1) + 1e-24).sqrt()

    def pruned(self, keep: int) -> "DoubleDutchNetwork":
        """Return a copy with the ``keep`` ropes of highest energy, or levels for the reading ``binary``."""
        kept = torch.argsort(self.component_energies(), descending=True, stable=True)[:keep].sort().values
        network = DoubleDutchNetwork(self.grid, self.plan.options)
        if self.plan.options.is_full:
            quiet = torch.zeros_like(self.rope_amplitudes).index_copy_(0, kept, self.rope_amplitudes[kept])
            network._set(self.trees, quiet, self.cutoffs)
        else:
            network._set(Trees(self.plan, self.trees.ropes[kept]), self.rope_amplitudes[kept], self.cutoffs)
        return network

    def regridded(self, grid: TimeGrid, pieces: Sequence[tuple[FramedNetwork, Tensor]]) -> "DoubleDutchNetwork":
        """Return a network on ``grid`` with the trees of the given cells."""
        network = DoubleDutchNetwork(grid, self.plan.options)
        speaks, cutoffs = torch.zeros_like(network.trees.speaks), self.cutoff.new_zeros(grid.n_frames, self.plan.ladder.n_nodes)
        amplitudes = self.amplitude.new_zeros(*speaks.shape, self.plan.voices.n_waves)
        frame_of_cell = torch.argsort(grid.order)
        for piece, places in pieces:
            if not isinstance(piece, DoubleDutchNetwork) or piece.plan.options != self.plan.options:
                raise TypeError("a double-dutch network takes pieces of its own kind and options")
            place = places[piece.grid.order]
            here, there = (place >= 0).nonzero()[:, 0], frame_of_cell[place[place >= 0]]
            speaks[there], cutoffs[there] = piece.trees.speaks[here], piece.cutoffs[here]
            amplitudes[there] = piece.trees.all_amplitudes(piece.rope_amplitudes)[here]
        trees = Trees.of(network.plan, speaks)
        if self.plan.options.is_full:
            first = 2 ** (self.plan.shared_levels + 1) - 2 + (torch.arange(2) if self.plan.binary else 0)
            spoken = amplitudes[:, first].flatten(0, 1)
            network._set(Trees.silent(network.plan), spoken if self.plan.has_amplitudes else spoken[:0], cutoffs)
        else:
            network._set(trees, amplitudes.flatten(0, 1)[trees.ropes], cutoffs)
        return network

    def settings(self) -> dict[str, Any]:
        """Return the settings needed to recreate the trees."""
        return self.plan.options.table()

    def to_tensors(self) -> dict[str, Tensor]:
        """Return shapes (int32 words), amplitudes ``[K, P]`` and learned cutoffs ``[N]`` (float32), frame by frame.

        There is no shape where ropes share amplitudes: all are active.
        """
        tensors = {"amplitude": self.rope_amplitudes.float().cpu()}
        if not self.plan.options.is_full:
            tensors["shape"] = words_of(self.trees.shape)
        if self.plan.learns_cutoffs:
            tensors["cutoff"] = (self.cutoff.detach() * CUTOFF_UNIT).float().cpu()
        return tensors

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the trees from stored tensors; raises `ModelError` if they do not fit the grid or are out of bounds."""
        expected = sorted(DoubleDutchNetwork(self.grid, self.plan.options).to_tensors())
        if sorted(tensors) != expected:
            raise ModelError(f"this double-dutch model holds the tensors {', '.join(expected)}, not {', '.join(sorted(tensors))}")
        trees = Trees.silent(self.plan)
        if not self.plan.options.is_full:
            if tensors["shape"].dtype != torch.int32 or tensors["shape"].ndim != 1:
                raise ModelError("shape must be words, int32 [N]")
            trees = Trees.of(self.plan, read_shape(tensors["shape"], self.grid.n_frames, self.plan.voices))
        nodes = trees.shape.nodes
        sizes = {
            "amplitude": (trees.frame.numel(), self.plan.voices.n_waves),
            "cutoff": (self.grid.n_frames if self.plan.shares_cutoff else int(nodes.sum()),),
        }
        for name, size in sizes.items():
            values = tensors.get(name, torch.zeros(size))
            if values.dtype != torch.float32 or values.shape != size or not bool(values.isfinite().all()):
                raise ModelError(f"{name} must be {list(size)} finite float32 values, according to the shape of the trees")
        cutoffs = torch.zeros(nodes.shape)
        if self.plan.shares_cutoff:
            cutoffs[:] = tensors["cutoff"][:, None]
        elif self.plan.learns_cutoffs:
            cutoffs[nodes] = tensors["cutoff"]
        if bool((cutoffs.abs() > 1 + 1e-6).any()):
            raise ModelError("cutoff must be from -1 to 1, the range of a rope")
        self._set(trees, tensors["amplitude"], cutoffs)

    def describe(self) -> dict[str, Tensor]:
        """Return the active ropes, in the order of signal, then time, then level.

        ``time_s`` is the mean time of the samples with the rope's address, limited to the window of its frame, and
        ``frequency_hz`` that of the rope; the address has the bits down to its level, the root's bit the highest.
        """
        return self.trees.table(self.rope_amplitudes)

    def frames_of_rows(self) -> list[Tensor]:
        """Return the frame of each amplitude and of each learned cutoff."""
        nodes = self.trees.shape.nodes.nonzero()[:, 0] if not self.plan.shares_cutoff else torch.arange(self.grid.n_frames)
        return [self.trees.frame, nodes[: len(self.cutoff)]]

    def n_components(self) -> int:
        """Return the number of ropes, of shared amplitudes, or of cutoffs where there are no amplitudes."""
        return self.n_prunable() if self.plan.has_amplitudes else self.cutoff.numel()

    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Return the layers ``amplitude, level 1``, ``cutoff, level 1`` and so on, of levels that have such parameters."""
        kinds = {"amplitude": self.trees.level, "cutoff": self.trees.cutoff_level}
        found: dict[str, list[Tensor]] = {}
        for (kind, levels), value in zip(kinds.items(), values, strict=True):
            found |= {f"{kind}, level {level + 1}": [value[levels == level]] for level in torch.unique(levels).tolist()}
        return found

    def natural_steps(self) -> list[Tensor]:
        """Return the scales of amplitudes and cutoffs."""
        return [self.unit, self.cutoff.new_tensor(CUTOFF_UNIT)]

    def amplitudes_of_values(self) -> list[Tensor]:
        """Return the amplitudes of the ropes; for cutoffs the geometric mean of all."""
        amplitudes = self.rope_amplitudes.abs()
        mean = amplitudes.clamp(min=1e-12).log().mean().exp() if amplitudes.numel() else torch.ones(())
        return [amplitudes, mean.expand_as(self.cutoff)]

    def frequencies(self) -> list[Tensor]:
        """Return the frequencies of the ropes, for amplitudes and cutoffs."""
        of_level = 2 * math.pi / torch.tensor(self.plan.ladder.denominators)
        return [of_level[self.trees.level][:, None].expand_as(self.amplitude), of_level[self.trees.cutoff_level]]
