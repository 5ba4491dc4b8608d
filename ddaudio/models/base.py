"""Base classes of the networks: the interface used by trainer, file format and reports."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.options import NetworkOptions
from ddaudio.synthesis.drift import Drift


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


class SampleRanges(NamedTuple):
    """Ranges of samples, ``[N]`` int64 each."""

    signal: Tensor
    """Which signal; -1 for all of all signals."""
    first: Tensor
    """First sample, possibly before the signal."""
    length: Tensor


class Signals(NamedTuple):
    """What a network models: the shape and the rate of its signals."""

    sample_rate: int
    """Samples per second."""
    n_signals: int
    n_samples: int
    """Length of each signal."""


class Network(nn.Module, ABC):
    """A differentiable model of signals ``[B, T]``.

    Parameters are scaled so that a step of equal size changes the signals about equally, and one learning rate fits all; files
    and tables hold natural units (Hz, full scale).
    """

    drift: Drift | None = None
    """Slow curve that is added to each signal of the model; None for none. It is neither trained nor a part of `estimate`: goals
    and metrics do not count it."""

    @property
    @abstractmethod
    def terms(self) -> list["Term"]:
        """The networks of which this one is the sum; only itself unless it is a sum."""

    @abstractmethod
    def estimate(self) -> Tensor:
        """Return the signals ``[B, T]``."""

    @property
    def has_local_losses(self) -> bool:
        """Whether `estimates` has several signals, whose losses are trained and evaluated in place of that of `estimate`."""
        return False

    @property
    def n_phases(self) -> int:
        """Number of equal shares of the steps, of which the k-th trains the first k of `estimates`; 1 to train all at once."""
        return 1

    @property
    def is_far(self) -> bool:
        """Whether its initial values are so far from a solution that a loss that does not fall is no sign of convergence."""
        return False

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

    def weighted_energies(self) -> Tensor:
        """Return the energies by which components are ranked, ``[P]``: `component_energies`, unless errors are weighted."""
        return self.component_energies()

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

    def amplitudes_of_values(self) -> list[Tensor]:
        """Return the amplitude, in full scale, of the wave that each value of each of ``parameters()`` belongs to.

        One tensor of the parameter's shape for each; an empty list where parameters do not belong to waves.
        """
        return []

    def natural_steps(self) -> list[Tensor]:
        """Return the change, in the units of files, of each value of ``parameters()`` for a step of 1 in its trained value.

        One tensor for each, which broadcasts to the parameter's shape. All are 1 unless overridden.
        """
        return [parameter.new_ones(()) for parameter in self.parameters()]

    def natural_gradients(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Convert ``gradients``, one for each of ``parameters()``, to those by values in the units of files, such as Hz."""
        pairs = zip(gradients, self.natural_steps(), strict=True)
        # A value that does not change with its trained value has neither a step nor a gradient.
        return [part.where(part == 0, part / step) if part.numel() else part for part, step in pairs]

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
        return self.terms[0].sample_rate

    @property
    def shape(self) -> tuple[int, int]:
        """Number of signals and their length, ``(B, T)``."""
        return self.terms[0].shape

    def n_prunable(self) -> int:
        """Return the number of components that can be pruned."""
        return self.component_energies().numel()

    def n_components(self) -> int:
        """Return the number of components, including those that cannot be pruned."""
        return self.n_prunable()

    def n_parameters(self) -> int:
        """Return the number of parameters that a file of this network holds, including the divisions of time."""
        stored = [self.to_tensors(), *(term.division()[1] for term in self.terms)]
        own = sum(tensor.numel() for tensors in stored for tensor in tensors.values())
        return own if self.drift is None else own + self.drift.coefficients.numel()

    def n_wave_parameters(self) -> int:
        """Return the number of parameters of all networks but the noise."""
        return sum(term.n_parameters() for term in self.terms if not term.is_noise)


class Term(Network):
    """A network that has a row in the registry, and may be a term of a sum."""

    name: str
    """Name in the registry and in files."""
    is_noise = False
    """Whether it models levels of noise, not a waveform."""

    @property
    def terms(self) -> list["Term"]:
        """The network itself, alone."""
        return [self]

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Samples per second."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of signals and their length, ``(B, T)``."""

    @abstractmethod
    def pruned(self, keep: int) -> "Term":
        """Return a copy with the ``keep`` components of highest energy, and all that cannot be pruned."""

    @abstractmethod
    def at_bounds(self) -> AtBounds:
        """Return how many values are at their bounds, to the precision of float32."""

    @abstractmethod
    def ranges_of_rows(self) -> list["SampleRanges"]:
        """Return the samples that each row of each of ``parameters()`` acts on."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the settings needed to recreate the network from a file, by name."""

    @abstractmethod
    def division(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the division of time: settings and tensors of a file, in addition to those of `to_tensors`."""

    @classmethod
    @abstractmethod
    def restored(cls, signals: Signals, division: Mapping[str, Any], options: NetworkOptions, tensors: dict[str, Tensor]) -> Self:
        """Recreate a network from a file: the inverse of `division`, `settings` and `to_tensors`.

        Args:
            signals: rate and shape of its signals.
            division: settings of the division of time.
            options: settings of the network.
            tensors: tensors of the division and of the network.

        Raises `ModelError`, KeyError, TypeError or ValueError if they do not fit.
        """

    @abstractmethod
    def pieces(self, sample_rate: int, seed: int = 0) -> Iterator[Tensor]:
        """Yield the signals ``[B, n]`` piece by piece at a sample rate in Hz, ``ceil(T * sample_rate / own rate)`` samples.

        The network is evaluated at the new sample times, not resampled; ``seed`` is that of its random numbers, if any.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return facts about the division of time, serialisable as JSON."""

    @abstractmethod
    def size_in_words(self) -> str:
        """Return the number of components and of frames, such as ``1137 partials in 116 frames of 6 to 383 ms``."""
