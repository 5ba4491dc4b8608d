"""Networks on a time grid: frames that are windowed, overlapped and added."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Self

import torch
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.grid.coding import WORD, decode, encode
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses.curvature import Differences
from ddaudio.models.base import SampleRanges, Signals, Term
from ddaudio.options import NETWORKS, NetworkOptions, StartingPoint

PIECE_SAMPLES = 1 << 21
"""Samples of all signals that are computed at once when a network is rendered."""
CODE = "division"
"""Tensor of a model file that holds the division of time."""


class FramedNetwork(Term):
    """A network that models the signals of a time grid: ``forward()`` returns frames, not yet windowed.

    New networks derive from `ddaudio.models.DeclaredNetwork`, or from `ddaudio.models.ComponentNetwork`.
    """

    weighting: Differences | None = None
    """How errors are weighted over frequency where components are chosen and ranked during a fit; None for equal weights."""

    def __init__(self, grid: TimeGrid) -> None:
        super().__init__()
        self.grid = grid

    @classmethod
    def on_grid(cls, grid: TimeGrid, options: NetworkOptions) -> Self:
        """Return a silent network on a grid, with its settings if its kind has any."""
        make: Callable[..., Self] = cls
        return make(grid, options) if fields(options) else make(grid)

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.grid.sample_rate

    @property
    def shape(self) -> tuple[int, int]:
        """Number of signals and their length, ``(B, T)``."""
        return self.grid.n_signals, self.grid.n_samples

    def division(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the grid as settings and tensors of a file."""
        settings, code = encode(self.grid)
        return {"window": self.grid.window, **settings}, {CODE: code}

    @classmethod
    def restored(cls, signals: Signals, division: Mapping[str, Any], options: NetworkOptions, tensors: dict[str, Tensor]) -> Self:
        """Return the network of a file; see `Term.restored`."""
        own = dict(tensors)
        code = own.pop(CODE)
        # Each cell has a bit at least: a silent one no more.
        most_cells = WORD * sum(tensor.numel() for tensor in tensors.values())
        shape = signals.sample_rate, signals.n_signals, signals.n_samples
        settings = {name: value for name, value in division.items() if name != "window"}
        network = cls.on_grid(decode(shape, division["window"], settings, code, most_cells), options)
        network.from_tensors(own)
        return network

    def facts(self) -> dict[str, Any]:
        """Return the number and the lengths of frames, and the number of cells by size in samples."""
        shortest_s, longest_s = self._extremes_s()
        sizes, counts = torch.unique(self.grid.cells.size, return_counts=True)
        return {
            "frames": self.grid.n_frames,
            "shortest_frame_s": shortest_s,
            "longest_frame_s": longest_s,
            "window": self.grid.window,
            "cell_samples": {str(size): count for size, count in zip(sizes.tolist(), counts.tolist(), strict=True)},
        }

    def _extremes_s(self) -> tuple[float, float]:
        """Return the lengths of the shortest and the longest frame in seconds, no longer than the sound."""
        shortest, longest = self.grid.cells.length.clamp(max=self.grid.n_samples).aminmax()
        return int(shortest) / self.sample_rate, int(longest) / self.sample_rate

    def size_in_words(self) -> str:
        """Return the number of components, and the lengths of its shortest and longest frame in ms."""
        low_ms, high_ms = (1000 * length_s for length_s in self._extremes_s())
        lengths = f"{low_ms:.0f} ms" if low_ms == high_ms else f"{low_ms:.0f} to {high_ms:.0f} ms"
        return f"{self.n_components()} {NETWORKS[self.name].component_name} in {self.grid.n_frames} frames of {lengths}"

    def estimate(self) -> Tensor:
        """Return the signals ``[B, T]``: windowed frames, overlapped and added."""
        if not torch.is_grad_enabled() and not self.n_components():
            return next(self.parameters()).new_zeros(self.shape)
        return self.grid.overlap_add(self.grid.windowed(self()))

    @abstractmethod
    def forward(self) -> list[Tensor]:
        """Return the frames of all signals, one tensor a group of the grid."""

    @abstractmethod
    def frames_at_rate(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the ``[N, length]`` frames of one group at another sample rate, ``ratio`` times the network's own.

        The first sample of a frame is ``offset [N]`` new samples after the frame's own beginning.
        """

    @abstractmethod
    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Initialise all parameters from ``target [B, T]``."""

    @abstractmethod
    def frames_of_rows(self) -> list[Tensor]:
        """Return the frame that each row of each of ``parameters()`` belongs to, ``[N]`` int64; -1 for the whole network."""

    def ranges_of_rows(self) -> list[SampleRanges]:
        """Return the frame of each row of each of ``parameters()``, in samples."""
        grid, found = self.grid, []
        for frame in self.frames_of_rows():
            signal = torch.where(frame < 0, -1, grid.frames.signal[frame])
            found.append(SampleRanges(signal, grid.start[frame].long(), grid.frames.length[frame]))
        return found

    @abstractmethod
    def pruned(self, keep: int) -> "FramedNetwork":
        """Return a copy with the ``keep`` components of highest energy, and all that cannot be pruned."""

    @abstractmethod
    def regridded(self, grid: TimeGrid, pieces: Sequence[tuple["FramedNetwork", Tensor]]) -> "FramedNetwork":
        """Return a network on ``grid`` that takes its cells from ``pieces``, networks of this kind.

        Each piece comes with the cell of ``grid`` that each of its own cells becomes, ``[F]`` int64; -1 leaves it out.
        """

    @torch.no_grad()
    def pieces(self, sample_rate: int, seed: int = 0) -> Iterator[Tensor]:  # noqa: ARG002 - waves are not random
        """Yield the signals ``[B, n]`` piece by piece at a sample rate in Hz; see `Term.pieces`."""
        grid = self.grid
        own_rate = grid.sample_rate
        root = int(grid.cells.size.max())
        length = root * max(1, PIECE_SAMPLES // (grid.n_signals * root))
        tail = torch.zeros(grid.n_signals, 0)
        for first in range(0, grid.n_samples, length):
            last = min(first + length, grid.n_samples)
            # Fades extend half a cell into the neighbours, plus half a sample: they begin and end between samples.
            reach = root // 2 + 1
            begin, end = max(0, first - reach), min(grid.n_samples, last + reach)
            done = end if last == grid.n_samples else last - reach
            part: FramedNetwork = self
            if length < grid.n_samples:
                own = (grid.cells.first >= first) & (grid.cells.first < last)
                part = self.regridded(grid.part(own, begin, end - begin), [(self, torch.where(own, own.cumsum(0) - 1, -1))])
            sound = part.estimate() if sample_rate == own_rate else _at_rate(part, begin, sample_rate)
            sound[:, : tail.shape[1]] += tail
            finished = ceil_at(done, sample_rate, own_rate) - ceil_at(begin, sample_rate, own_rate)
            yield sound[:, :finished]
            tail = sound[:, finished:]


def ceil_at(samples: int, rate: int, own_rate: int) -> int:
    """Return ``ceil(samples * rate / own_rate)``, in integers: a product of floats is a sample too long at many lengths."""
    return -(-samples * rate // own_rate)


def _at_rate(network: FramedNetwork, begin: int, rate: int) -> Tensor:
    """Evaluate frames and windows at the sample times of another rate, and add them up.

    The network's first sample is sample ``begin`` of the recording. A frame whose first old sample is ``s`` begins half
    a sample before that, between two new ones: its first is ``j = ceil((s - 1/2) r)`` with ``r`` the ratio of the rates,
    and new sample ``j + i`` sits at ``(j + i) / r - s + 1/2`` old samples inside it.
    """
    grid = network.grid
    own_rate, ratio = grid.sample_rate, rate / grid.sample_rate
    origin = ceil_at(begin, rate, own_rate)
    n_samples = ceil_at(begin + grid.n_samples, rate, own_rate) - origin
    total = torch.zeros(grid.n_signals * n_samples)
    for index, group in enumerate(grid.groups):
        begins, length = (grid.start[group.frames] + begin).long(), ceil_at(group.length, rate, own_rate) + 1
        first, starts = -(-(2 * begins - 1) * rate // (2 * own_rate)), begins.double()
        new = first[:, None] + torch.arange(length)
        inside = new.double() / ratio + 0.5 - starts[:, None]
        # If the signal ends without a fade, times between the last old sample and the end still belong to the frame.
        frame = grid.frames.keep(torch.arange(grid.n_frames)[group.frames])
        ends = frame.pre_roll + grid.n_valid[group.frames] - 0.25
        last = (frame.half_fade_out == 0) & (frame.first + frame.size >= grid.n_samples)
        inside = torch.where(last[:, None], torch.minimum(inside, ends[:, None]), inside)
        window = grid.window_at(group.frames, inside) * ((inside > 0) & (inside < group.length + 1))
        frames = network.frames_at_rate(index, first.double() - starts * ratio, length, ratio) * window.float()
        seen = (new >= origin) & (new < origin + n_samples)
        place = new - origin + grid.frames.signal[group.frames, None] * n_samples
        total.index_add_(0, place[seen], frames[seen])
    return total.reshape(grid.n_signals, n_samples)
