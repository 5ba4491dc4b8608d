"""What every network offers: one contract, so that one trainer, one file format and one report serve them all."""

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
    """A linear map from small changes of a network's parameters to changes of its signals (the Jacobian), and its adjoint."""

    @abstractmethod
    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals ``[B, T]`` for a change of each parameter, in the parameters' own units."""

    @abstractmethod
    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradient of ``(signals * forward(changes)).sum()`` for each parameter."""

    @abstractmethod
    def squares(self) -> list[Tensor]:
        """Return the squared change of the signals for a change of 1 of each single parameter (the Jacobian's columns)."""


class AtBounds(NamedTuple):
    """Values of one kind that lie at the bounds that `Network.project` keeps them in."""

    held: int
    """How many do."""
    total: int
    """How many there are."""
    where: str
    """What they are and where they lie, in words: ``partials lie at 0 Hz or Nyquist``."""
    usual: float
    """Share of them, 0 to 1, that may lie there in a good fit."""


class Network(nn.Module, ABC):
    """Something with parameters that says signals ``[B, T]``.

    Parameters are in units in which a step of equal size means about equally much for each, so that one learning rate
    fits all; files and tables hold natural units (Hz, full scale).
    """

    @property
    @abstractmethod
    def terms(self) -> list["FramedNetwork"]:
        """The networks that add up to this one; itself alone unless it is a sum."""

    @abstractmethod
    def estimate(self) -> Tensor:
        """Return the signals ``[B, T]``."""

    def estimates(self) -> list[Tensor]:
        """Return the signals ``[B, T]`` that each have a training loss of their own: one, unless layers are trained locally."""
        return [self.estimate()]

    @abstractmethod
    def jacobian(self) -> "Jacobian":
        """Return how the signals change with the parameters, to first order, at the parameters as they are.

        Networks without one, which `ddaudio.FitOptions.has_jacobian` tells, raise `OptionError`.
        """

    @abstractmethod
    def component_energies(self) -> Tensor:
        """Return the energy of each part that can be left out by itself, as far as it sounds alone, ``[P]``.

        Empty for a network that is a whole: it is neither ranked nor extended, and all of it is kept.
        """

    @abstractmethod
    def amplitudes(self) -> Tensor:
        """Return the amplitude of each wave in full scale, 0 or more, ``[P]``, with its gradient: what penalties look at.

        At least those of all parts that can be left out; of a network that is a whole, those of its own waves.
        """

    @abstractmethod
    def pruned(self, keep: int) -> "Network":
        """Return a copy with only the ``keep`` parts of highest energy, and all that cannot be left out."""

    @abstractmethod
    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add parameters for what the network leaves of ``target``, within ``size``; return whether any were added."""

    @abstractmethod
    def to_tensors(self) -> dict[str, Tensor]:
        """Return what is written to a file: named tensors of float32 and int32 on the CPU, in natural units."""

    @abstractmethod
    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `stored` gave; raises `ModelError` when the tensors do not fit the grid."""

    @abstractmethod
    def describe(self) -> dict[str, Tensor]:
        """Return a table of the parameters in natural units: named columns of equal length."""

    @abstractmethod
    def project(self) -> None:
        """Bring parameters back into their bounds; called after each step of the optimiser."""

    @abstractmethod
    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
        """Return changes of the parameters with those that enter nonlinearly kept within ``most`` of their units."""

    @abstractmethod
    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Sort ``values``, one tensor of its shape for each of ``parameters()``, by layer and kind of parameter.

        Every value is in one layer, and no layer is empty.
        """

    def frequencies(self) -> list[Tensor]:
        """Return the frequency, in radians a sample, of the wave that each value of each of ``parameters()`` belongs to.

        One tensor of the parameter's shape for each; none at all where parameters belong to no waves.
        """
        return []

    def gradient_norms(self, gradients: Sequence[Tensor]) -> dict[str, float]:
        """Return the root of the sum of squares of ``gradients``, one for each of ``parameters()``, in each of the `layers`.

        Always finite: a layer with a NaN or infinity in it is left out.
        """
        squares = {
            name: sum(float(part.detach().double().square().sum()) for part in parts)
            for name, parts in self.layers(gradients).items()
        }
        return {name: math.sqrt(square) for name, square in squares.items() if math.isfinite(square)}

    @property
    def title(self) -> str:
        """The names of all networks, such as ``sine+double-dutch``."""
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
        """Return how many parts the network has that can be left out one by one, the weakest last."""
        return self.component_energies().numel()

    def n_components(self) -> int:
        """Return how many parts the network has, those included that cannot be left out."""
        return self.n_prunable()

    def n_parameters(self) -> int:
        """Return how many numbers a file of this network holds, the divisions of time included."""
        return sum(tensor.numel() for tensor in self.to_tensors().values()) + sum(
            encode(term.grid)[1].numel() for term in self.terms
        )


class FramedNetwork(Network):
    """A network that fits the signals of a time grid: ``forward()`` gives frames, not yet windowed."""

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

        The first sample of a frame lies ``offset [N]`` new samples after the frame's own beginning.
        """

    @abstractmethod
    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Set a starting point for ``target [B, T]`` from the data; replaces all parameters."""

    @abstractmethod
    def pruned(self, keep: int) -> "FramedNetwork":
        """Return a copy with only the ``keep`` parts of highest energy."""

    @abstractmethod
    def regridded(self, grid: TimeGrid, pieces: Sequence[tuple["FramedNetwork", Tensor]]) -> "FramedNetwork":
        """Return a network on ``grid`` that takes its cells from ``pieces``, networks of this kind.

        Each piece comes with the place of each of its cells among the cells of ``grid``, ``[F]`` int64; -1 leaves it out.
        """

    @abstractmethod
    def at_bounds(self) -> AtBounds:
        """Return how many values lie at their bounds, as far as float32 can tell."""

    def settings(self) -> dict[str, Any]:
        """Return the settings, by name, that a file needs to make the network again."""
        return {}
