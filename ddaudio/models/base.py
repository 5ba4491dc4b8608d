"""Base classes of the networks: the interface used by trainer, file format and reports."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.grid.coding import encode
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.options import StartingPoint


class Jacobian(ABC):
    """The Jacobian of a network's signals with respect to its parameters, as a linear map, and its adjoint."""

    @abstractmethod
    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals ``[B, T]`` for a change of each parameter, in the parameters' own units."""

    @abstractmethod
    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradient of ``(signals * forward(changes)).sum()`` for each parameter."""

    @abstractmethod
    def squares(self) -> list[Tensor]:
        """Return the squared norm of the column of each single parameter, in the shapes of the parameters."""


class AtBounds(NamedTuple):
    """Count of the values that are at the bounds of `Network.project`."""

    held: int
    """Values at a bound."""
    total: int
    """All values that have such bounds."""
    where: str
    """Which values and bounds these are: ``values of frequency are at 0 or 4000 Hz``."""
    usual: float
    """Share of them, 0 to 1, that may be at a bound in a good fit."""


class Network(nn.Module, ABC):
    """A differentiable model of signals ``[B, T]``.

    Parameters are scaled so that a step of equal size changes the signals about equally, and one learning rate fits all; files
    and tables hold natural units (Hz, full scale).
    """

    offset: Tensor | None = None
    """Constant that is added to each signal of the model, ``[B]`` float32; None for none. It is neither trained nor a part of
    `estimate`: goals and metrics do not count it."""

    @property
    @abstractmethod
    def terms(self) -> list["FramedNetwork"]:
        """The networks of which this one is the sum; only itself unless it is a sum."""

    @abstractmethod
    def estimate(self) -> Tensor:
        """Return the signals ``[B, T]``."""

    def estimates(self) -> list[Tensor]:
        """Return the signals ``[B, T]`` that have a training loss each: one, unless layers are trained locally."""
        return [self.estimate()]

    @abstractmethod
    def jacobian(self) -> "Jacobian":
        """Return the Jacobian of the signals with respect to the parameters, at their present values."""

    @abstractmethod
    def component_energies(self) -> Tensor:
        """Return the energy on its own of each component that can be pruned, ``[P]``.

        Empty for a network whose components cannot be pruned: it is neither ranked nor extended.
        """

    @abstractmethod
    def amplitudes(self) -> Tensor:
        """Return the amplitude of each wave in full scale, 0 or more, ``[P]``, with its gradient, for penalties.

        At least those of all components that can be pruned.
        """

    @abstractmethod
    def pruned(self, keep: int) -> "Network":
        """Return a copy with the ``keep`` components of highest energy, and all that cannot be pruned."""

    @abstractmethod
    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add components that model the residual of ``target``, within ``size``; return whether any were added."""

    @abstractmethod
    def to_tensors(self) -> dict[str, Tensor]:
        """Return the contents of a file: named tensors of float32 and int32 on the CPU, in natural units."""

    @abstractmethod
    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the parameters from the result of `to_tensors`; raises `ModelError` when the tensors do not fit the grid."""

    @abstractmethod
    def describe(self) -> dict[str, Tensor]:
        """Return a table of the components in natural units: named columns of equal length, in the order of signal, then time.

        ``time_s`` is within the sound; the last columns are those of `ddaudio.grid.extents.extents`.
        """

    @abstractmethod
    def project(self) -> None:
        """Clamp parameters to their bounds; called after each step of the optimiser."""

    @abstractmethod
    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
        """Return changes of the parameters, with those that enter nonlinearly limited to ``most`` of their scales."""

    @abstractmethod
    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Group ``values``, one tensor of its shape for each of ``parameters()``, by layer and kind of parameter.

        Every value is in exactly one layer, and no layer is empty.
        """

    def frequencies(self) -> list[Tensor]:
        """Return the frequency, in radians per sample, of the wave that each value of each of ``parameters()`` belongs to.

        One tensor of the parameter's shape for each; an empty list where parameters do not belong to waves.
        """
        return []

    def gradient_norms(self, gradients: Sequence[Tensor]) -> dict[str, float]:
        """Return the norm of ``gradients``, one for each of ``parameters()``, in each of the `layers`.

        Always finite: layers with a NaN or infinity are left out.
        """
        squares = {
            name: sum(float(part.detach().double().square().sum()) for part in parts)
            for name, parts in self.layers(gradients).items()
        }
        return {name: math.sqrt(square) for name, square in squares.items() if math.isfinite(square)}

    @property
    def title(self) -> str:
        """Names of all networks, such as ``sine+double-dutch``."""
        return "+".join(term.name for term in self.terms)

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.terms[0].grid.sample_rate

    @property
    def shape(self) -> tuple[int, int]:
        """Number of signals and their length, ``(B, T)``."""
        grid = self.terms[0].grid
        return grid.n_signals, grid.n_samples

    def n_prunable(self) -> int:
        """Return the number of components that can be pruned."""
        return self.component_energies().numel()

    def n_components(self) -> int:
        """Return the number of components, including those that cannot be pruned."""
        return self.n_prunable()

    def n_parameters(self) -> int:
        """Return the number of parameters that a file of this network holds, including the divisions of time."""
        own = sum(tensor.numel() for tensor in self.to_tensors().values()) + sum(
            encode(term.grid)[1].numel() for term in self.terms
        )
        return own if self.offset is None else own + self.offset.numel()


class FramedNetwork(Network):
    """A network that models the signals of a time grid: ``forward()`` returns frames, not yet windowed.

    New networks derive from `ddaudio.models.DeclaredNetwork`, or from `ddaudio.models.ComponentNetwork`.
    """

    name: str
    """Name in the registry and in files."""

    def __init__(self, grid: TimeGrid) -> None:
        super().__init__()
        self.grid = grid

    @property
    def terms(self) -> list["FramedNetwork"]:
        """The network itself, alone."""
        return [self]

    def estimate(self) -> Tensor:
        """Return the signals ``[B, T]``: windowed frames, overlapped and added."""
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

    @abstractmethod
    def pruned(self, keep: int) -> "FramedNetwork":
        """Return a copy with the ``keep`` components of highest energy, and all that cannot be pruned."""

    @abstractmethod
    def regridded(self, grid: TimeGrid, pieces: Sequence[tuple["FramedNetwork", Tensor]]) -> "FramedNetwork":
        """Return a network on ``grid`` that takes its cells from ``pieces``, networks of this kind.

        Each piece comes with the cell of ``grid`` that each of its own cells becomes, ``[F]`` int64; -1 leaves it out.
        """

    @abstractmethod
    def at_bounds(self) -> AtBounds:
        """Return how many values are at their bounds, to the precision of float32."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the settings needed to recreate the network from a file, by name."""
