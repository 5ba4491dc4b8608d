"""The waves of a double-dutch tree: a decreasing list of denominators, and the address of each sample.

Level ``l`` of ``D`` has the denominator ``d_l``: samples per period of its wave ``r_l``. A pair of ropes is ``r_l`` and
``-r_l``; a gate opens one of the two, and below each rope there is a node of the next level. The path of a sample down the tree
is a binary address of ``D`` bits, 0 where ``r_l`` is positive. Two ladders divide a window of ``T`` samples into contiguous
cells: cosine ropes with ``d_l = 2 T / 2^(l-1)``, where one gate changes at each boundary and the address is the Gray code of the
cell's index, and sine ropes with ``d_l = T / 2^(l-1)``, where it is the binary code.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.options import RopeName

NYQUIST_DENOMINATOR = 2.0
"""A wave with fewer samples per period is above the Nyquist frequency."""


@dataclass(frozen=True)
class Ladder:
    """Denominators ``d_1 > d_2 > ... > d_D``, and the shape of the ropes.

    Example:
        >>> ladder = Ladder.dyadic(16, depth=2)
        >>> ladder.denominators
        (32.0, 16.0)
        >>> ladder.addresses(torch.arange(16) + 0.5)[-1].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 2, 2, 2, 2]

    """

    denominators: tuple[float, ...]
    """Samples per period of each level's wave, decreasing."""
    rope: RopeName = "cosine"
    """Shape of the waves."""
    above_nyquist: bool = False
    """Whether denominators below 2 are allowed; at integer samples such a wave equals its alias."""

    def __post_init__(self) -> None:
        for level, (above, below) in enumerate(pairwise(self.denominators), 1):
            if not above > below:
                problem = f"of which {above:g} and {below:g}, levels {level} and {level + 1}, do not fall"
                raise OptionError(problem, setting="denominators", value=self.text, allowed="falling numbers")
        if not self.denominators or not all(0 < one < math.inf for one in self.denominators):
            allowed = "finite numbers above 0, as in 4096,2048,1024"
            raise OptionError(setting="denominators", value=self.text, allowed=allowed)
        if self.denominators[-1] < NYQUIST_DENOMINATOR and not self.above_nyquist:
            raise OptionError(
                "but below 2 samples per period a wave is above the Nyquist frequency",
                setting="denominators",
                value=self.text,
                hint="end with 2 or more, or allow it with {above_nyquist=True}",
            )

    @classmethod
    def dyadic(cls, n_samples: int, depth: int, rope: RopeName = "cosine") -> "Ladder":
        """Return the ladder that divides ``n_samples`` samples into ``2^depth`` contiguous cells.

        Raises `OptionError` if there are more cells than samples.
        """
        if depth < 1 or 2**depth > n_samples:
            deepest = n_samples.bit_length() - 1
            raise OptionError(
                f"but a frame has {n_samples} samples for {2**depth} cells",
                setting="depth",
                value=depth,
                allowed=f"1 to {deepest}",
                hint="or set a longer {frame_s}",
            )
        longest = n_samples if rope == "sine" else 2 * n_samples
        return cls(tuple(longest / 2**level for level in range(depth)), rope)

    @property
    def text(self) -> str:
        """The denominators, separated by commas."""
        return ",".join(f"{one:g}" for one in self.denominators)

    @property
    def depth(self) -> int:
        """Number of levels, ``D``."""
        return len(self.denominators)

    @property
    def n_nodes(self) -> int:
        """Nodes of all levels, ``2^D - 1``; those of level ``l`` (from 0) begin at ``2^l - 1``, in the order of addresses."""
        return int(2**self.depth - 1)

    @property
    def n_ropes(self) -> int:
        """Ropes of all levels, two a node; those of level ``l`` (from 0) begin at ``2^(l+1) - 2``."""
        return 2 * self.n_nodes

    def cell(self, level: int) -> float:
        """Return the number of samples for which a rope of a level (from 0) keeps its sign: a half period, or a quarter.

        Sine ropes of a dyadic ladder all cross zero at the end of a period; cosine ropes have an extremum there.
        """
        return self.denominators[level] / (2 if self.rope == "sine" else 4)

    @property
    def halves(self) -> bool:
        """Whether each denominator is half of the one before and cells are whole samples, so that the tree can be folded."""
        halved = all(above == 2 * below for above, below in pairwise(self.denominators))
        return halved and self.cell(self.depth - 1).is_integer()

    def wave(self, level: int, position: Tensor) -> Tensor:
        """Return the rope ``r`` of a level (from 0) at ``position`` in samples; sample ``n`` sits at ``n + 1/2``."""
        angle = position * (2 * math.pi / self.denominators[level])
        if self.rope == "sine":
            return torch.sin(angle)
        cosine = torch.cos(angle)
        return torch.where(cosine < 0, -1.0, 1.0).to(cosine) if self.rope == "square" else cosine

    def quadrature(self, level: int, position: Tensor) -> Tensor:
        """Return the wave shifted by a quarter period from the rope."""
        angle = position * (2 * math.pi / self.denominators[level])
        return torch.cos(angle) if self.rope == "sine" else torch.sin(angle)

    def sharpness(self, level: int, transition: float) -> float:
        """Return ``k = d / (2 pi tau)`` of a level (from 0), ``tau`` being ``transition`` of its cells."""
        return self.denominators[level] / (2 * math.pi * transition * self.cell(level))

    def addresses(self, position: Tensor) -> Tensor:
        """Return the address of each position ``[T]`` down to each level, ``[D, T]`` int64, gates cutting at 0."""
        addresses = torch.zeros(self.depth, position.numel(), dtype=torch.int64)
        address = torch.zeros(position.numel(), dtype=torch.int64)
        for level in range(self.depth):
            address = 2 * address + (self.wave(level, position.double()) < 0)
            addresses[level] = address
        return addresses
