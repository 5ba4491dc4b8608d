"""The Jacobian of a network by automatic differentiation, used by networks without a hand-written one.

Frames do not depend on each other's parameters, so one forward pass gives one column of the Jacobian for each of them. Therefore
``forward()`` is differentiated, which returns frames before windowing and overlap-add. Each value of a parameter of the whole
network takes a forward pass of its own.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call

from ddaudio.models.base import Jacobian
from ddaudio.models.framed import FramedNetwork

EXACT_PROBES = 32
"""Largest number of values in a frame for which column norms are exact; beyond that they are estimated."""
PROBES = 8
"""Number of random signals for an estimate of the column norms; its standard deviation is ``sqrt(2 / 8)``, 50 %."""
SEED = 0
"""Random seed of these signals."""


class AutomaticJacobian(Jacobian):
    """Products with the Jacobian by forward-mode, with its transpose by reverse-mode differentiation.

    The networks' operations must support both, once each. Column norms are exact in networks with at most
    `EXACT_PROBES` values a frame; in larger ones they are Hutchinson's estimate (1990, Commun. Stat. Simul. Comput. 19(2)):
    with random signs ``z``, ``E[(J' z)^2] = diag(J' J)``.
    """

    def __init__(self, network: FramedNetwork, exact_probes: int = EXACT_PROBES) -> None:
        """Differentiate at the current parameters."""
        self._network, self._grid, self._exact_probes = network, network.grid, exact_probes
        self._names = [name for name, _ in network.named_parameters()]
        self._values = [parameter.detach().clone() for parameter in network.parameters()]

    def _frames(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the frames for given values of the parameters."""
        frames: list[Tensor] = functional_call(self._network, dict(zip(self._names, values, strict=True)), ())
        return frames

    @torch.no_grad()
    def _frame_changes(self, changes: Sequence[Tensor]) -> list[Tensor]:
        """Return the changes of the frames, one tensor a group of the grid."""
        with forward_ad.dual_level():
            pairs = zip(self._values, changes, strict=True)
            frames = self._frames([forward_ad.make_dual(value, change) for value, change in pairs])  # type: ignore[no-untyped-call]
            duals = [forward_ad.unpack_dual(part) for part in frames]  # type: ignore[no-untyped-call]
            return [torch.zeros_like(dual.primal) if dual.tangent is None else dual.tangent for dual in duals]

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals ``[B, T]`` for a change of each parameter."""
        return self._grid.add_windowed(self._frame_changes(changes))

    @cached_property
    def _graph(self) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters and frames, with the graph between them."""
        with torch.enable_grad():
            leaves = [value.requires_grad_() for value in map(torch.clone, self._values)]
            return leaves, self._frames(leaves)

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradient of ``(signals * forward(changes)).sum()`` for each parameter."""
        leaves, frames = self._graph
        pairs = zip(frames, self._grid.frame_adjoint(signals), strict=True)
        with torch.enable_grad():
            # A sum of products instead of grad's argument for output gradients, for which torch loads sympy: 2.5 s.
            products = [(part * gradient).sum() for part, gradient in pairs if part.requires_grad]
            if not products:
                return [torch.zeros_like(leaf) for leaf in leaves]
            total = torch.stack(products).sum()
        found = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, found, strict=True)]

    def squares(self) -> list[Tensor]:
        """Return the squared norm of each column, exactly or estimated."""
        counts = [int(places.max()) + 1 if places.numel() else 0 for _, places in self._places]
        return self._exact(counts) if sum(counts) <= self._exact_probes else self._estimated()

    @cached_property
    def _places(self) -> list[tuple[Tensor, Tensor]]:
        """Frame of each value of each parameter, and its number among the frame's values of that parameter, ``[N]`` each."""
        return [
            _numbered(frame, value.numel() // max(1, frame.numel()))
            for frame, value in zip(self._network.frames_of_rows(), self._values, strict=True)
        ]

    def _exact(self, counts: Sequence[int]) -> list[Tensor]:
        """Return the exact squared norms of the columns, one value per frame at a time."""
        squares = [torch.zeros_like(value) for value in self._values]
        for parameter, count in enumerate(counts):
            frame, places = self._places[parameter]
            for place in range(count):
                changes = [torch.zeros_like(value) for value in self._values]
                which = places == place
                changes[parameter].view(-1)[which] = 1
                if bool((frame < 0).any()):  # of the whole network
                    squares[parameter].view(-1)[which] = self.forward(changes).square().sum()
                    continue
                frames = self._grid.windowed(self._frame_changes(changes))
                energies = torch.cat([part.square().sum(1) for part in frames])
                squares[parameter].view(-1)[which] = energies[frame[which]]
        return squares

    def _estimated(self) -> list[Tensor]:
        """Return Hutchinson's estimate of the squared norms."""
        totals = [torch.zeros_like(value) for value in self._values]
        for signs in self._signs():
            totals = [total + part.square() for total, part in zip(totals, self.adjoint(signs), strict=True)]
        return [total / PROBES for total in totals]

    def _signs(self) -> Iterator[Tensor]:
        """Yield random signals of 1 and -1."""
        generator, like = torch.Generator().manual_seed(SEED), self._values[0]
        for _ in range(PROBES):
            yield torch.randint(2, self._network.shape, generator=generator).to(like) * 2 - 1


def _numbered(frame: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return the frames of values of which each row has ``width``, ``[N]``, and each one's number within its frame."""
    order = torch.argsort(frame, stable=True)
    counts = torch.bincount(frame + 1)  # -1 is the whole network
    rank = torch.empty_like(frame)
    rank[order] = torch.arange(frame.numel()) - (counts.cumsum(0) - counts)[frame[order] + 1]
    return frame.repeat_interleave(width), (rank[:, None] * width + torch.arange(width)).flatten()
