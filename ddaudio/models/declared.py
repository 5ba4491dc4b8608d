"""Base class of networks that declare their parameters, from which everything else is derived."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.partials import Layout
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import tensors as files
from ddaudio.models.base import AtBounds, Jacobian
from ddaudio.models.framed import FramedNetwork
from ddaudio.models.jacobian import AutomaticJacobian
from ddaudio.models.parameters import Parameter, Scope, level_scale

Rows = tuple["DeclaredNetwork", Tensor, Tensor]
"""A network, some of its components ``[N]`` int64, and the frame of another grid that each is moved to, ``[N]`` int64."""


class DeclaredNetwork(FramedNetwork):
    """A network that declares its parameters once; files, tables, bounds, layers and a Jacobian follow.

    A network declares its parameters in `PARAMETERS` and implements `forward`, `frames_at_rate` and `initialise`. Parameters are
    declared per component or per frame. Frames have any number of components, or at most one with `AT_MOST_ONE`.
    """

    PARAMETERS: ClassVar[tuple[Parameter, ...]] = ()
    """The parameters, in the order of ``parameters()``."""
    COUNTS: ClassVar[str] = "components_in_cell"
    """Name of the tensor in files with the number of components in each cell, or with `AT_MOST_ONE` a bit per cell."""
    AT_MOST_ONE: ClassVar[bool] = False
    """Whether a frame has one component or none."""
    layout: Layout
    """Components in each frame."""
    scales: dict[str, Tensor | float]
    """Natural value of a trained value of 1, by parameter."""

    def __init__(self, grid: TimeGrid, options: Any = None) -> None:
        """Create a network without components."""
        super().__init__(grid)
        self.options = options

    def declared(self) -> tuple[Parameter, ...]:
        """Return the trained parameters, which may depend on settings."""
        return self.PARAMETERS

    def stored(self) -> tuple[Parameter, ...]:
        """Return the parameters of files and tables, if they differ from the trained ones; see `natural`."""
        return self.declared()

    def jacobian(self) -> Jacobian:
        """Return the Jacobian at the current parameters, by automatic differentiation."""
        return AutomaticJacobian(self)

    def set_components(self, counts: Tensor, values: Mapping[str, Tensor]) -> None:
        """Replace all parameters.

        Args:
            counts: components in each frame, ``[F]`` int64.
            values: natural values of each parameter, ``[P, ...]`` in the order of frames, ``[F, ...]`` or ``[1, ...]``, by name.

        """
        self.layout = Layout(self.grid, counts)
        self.scales = self.scales_of(values)
        for one in self.declared():
            setattr(self, one.name, nn.Parameter(self.to_trained(one.name, values[one.name])))

    def scales_of(self, values: Mapping[str, Tensor]) -> dict[str, Tensor | float]:
        """Return the scale of each parameter for components with given natural values; see `Parameter.scale`."""
        frame = self.layout.frame_of_partial
        named: dict[str, Tensor] = {}
        scales = {one.name: one.scale for one in self.declared() if not isinstance(one.scale, str)}
        squares = [values[one.name] ** 2 for one in self.declared() if one.scale == "level"]
        if squares:
            named["level"] = level_scale(sum(squares[1:], squares[0]) / 2, frame, self.grid.n_frames)
        for one in self.declared():
            if one.scale == "bin" and "bin" not in named:
                named["bin"] = 1 / self.grid.spread.to(values[one.name])[frame]
        return scales | {one.name: named[one.scale] for one in self.declared() if isinstance(one.scale, str)}

    def to_trained(self, name: str, natural: Tensor) -> Tensor:
        """Return the trained values of a parameter for natural ones."""
        return natural / self.scales[name]

    def to_natural(self, name: str, trained: Tensor) -> Tensor:
        """Return the natural values of a parameter, with their gradient."""
        return trained * self.scales[name]

    def natural_step(self, name: str) -> Tensor | float:
        """Return the derivative of `to_natural` at the current values of a parameter; broadcasts to its shape."""
        return self.scales[name]

    def natural_steps(self) -> list[Tensor]:
        """Return the change of each parameter in the units of files for a step of 1 in its trained value."""
        rows = [(one, getattr(self, one.name)) for one in self.declared()]
        rate = self.grid.sample_rate
        return [torch.as_tensor(self.natural_step(one.name)).to(value) * one.factor(rate) for one, value in rows]

    def value(self, name: str) -> Tensor:
        """Return the current natural values of one parameter, with their gradient."""
        return self.to_natural(name, getattr(self, name))

    def values(self) -> dict[str, Tensor]:
        """Return the natural values of all trained parameters, by name, with their gradients."""
        return {one.name: self.value(one.name) for one in self.declared()}

    def natural(self) -> dict[str, Tensor]:
        """Return the natural values of all stored parameters, by name, without gradients."""
        return {name: value.detach() for name, value in self.values().items()}

    def silent(self, grid: TimeGrid) -> Self:
        """Return a network of the same type and settings without components."""
        network = type(self)(grid) if self.options is None else type(self)(grid, self.options)
        network.weighting = self.weighting
        return network

    def settings(self) -> dict[str, Any]:
        """Return the settings needed to recreate the network from a file, by name."""
        return {} if self.options is None else dict(self.options.table())

    def rows(self) -> dict[str, Tensor]:
        """Return the frame of each row of each stored parameter, by name; -1 for a row of the whole network."""
        own = self._frames_by_scope()
        return {one.name: own[one.per] for one in self.stored()}

    def frames_of_rows(self) -> list[Tensor]:
        """Return the frame of each row of each of ``parameters()``, ``[P]``, ``[F]`` or ``[1]`` int64; -1 for the network's."""
        own = self._frames_by_scope()
        # A parameter that is unused with these settings has no rows.
        return [own[one.per][: len(getattr(self, one.name))] for one in self.declared()]

    def _frames_by_scope(self) -> dict[Scope, Tensor]:
        frames = torch.arange(self.grid.n_frames)
        return {"component": self.layout.frame_of_partial, "frame": frames, "network": torch.tensor([-1])}

    def component_energies(self) -> Tensor:
        """Return the energy of each component on its own; empty unless overridden, for networks that cannot be pruned."""
        return next(self.parameters()).new_zeros(0)

    def weighted_energies(self) -> Tensor:
        """Return the energy of each component, times the response of the network's weighting at its frequency."""
        energies, waves = self.component_energies(), self.wave_frequencies()
        if self.weighting is None or waves is None or not energies.numel():
            return energies
        return energies * self.weighting.response(waves)

    def n_components(self) -> int:
        """Return the number of components of all frames."""
        return int(self.layout.counts.sum())

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each component: the root of the sum of squares of its parameters of the kind ``amplitude``."""
        own = [self.value(one.name).reshape(self.n_components(), math.prod(one.shape)) for one in self._amplitude_parameters()]
        # The root has no gradient at 0, hence the tiny addend.
        return (torch.cat(own, 1).square().sum(1) + 1e-24).sqrt()

    def _amplitude_parameters(self) -> list[Parameter]:
        found = [one for one in self.declared() if one.layer.endswith("amplitude") and one.per == "component"]
        if not found:
            raise NotImplementedError(
                f"{type(self).__name__} has no parameter of the kind amplitude: it has to write amplitudes()"
            )
        return found

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add nothing and return False, unless overridden."""
        del target, size
        return False

    def pruned(self, keep: int) -> Self:
        """Return a copy with the ``keep`` components of highest energy, or with all if they cannot be pruned."""
        frame = self.layout.frame_of_partial
        kept = torch.arange(frame.numel())
        energies = self.weighted_energies()
        if energies.numel():
            kept = torch.argsort(energies, descending=True, stable=True)[:keep].sort().values
        return self.assembled(self.grid, [(self, kept, frame[kept])])

    def regridded(self, grid: TimeGrid, pieces: Sequence[tuple[FramedNetwork, Tensor]]) -> Self:
        """Return a network on ``grid`` with the components of the given cells."""
        frame_of_cell, rows = torch.argsort(grid.order), list[Rows]()
        for piece, places in pieces:
            if not isinstance(piece, type(self)) or piece.settings() != self.settings():
                raise TypeError(f"a {self.name} network takes pieces of its own kind and settings, not a {piece.name}")
            place = places[piece.grid.order][piece.layout.frame_of_partial]
            kept = (place >= 0).nonzero()[:, 0]
            rows.append((piece, kept, frame_of_cell[place[kept]]))
        return self.assembled(grid, rows)

    def assembled(self, grid: TimeGrid, rows: Sequence[Rows]) -> Self:
        """Return a network on ``grid`` with components of other networks."""
        frame = torch.cat([frames for _, _, frames in rows])
        order = torch.argsort(frame, stable=True)
        each = [(piece.natural(), kept) for piece, kept, _ in rows]
        network, values = self.silent(grid), dict[str, Tensor]()
        for one in self.stored():
            if one.per == "component":
                values[one.name] = torch.cat([own[one.name][kept] for own, kept in each])[order]
            elif one.per == "network":
                values[one.name] = _common([own[one.name] for own, _ in each], one.name)
            else:
                values[one.name] = torch.zeros(grid.n_frames, *one.shape).to(each[0][0][one.name])
                for (own, kept), (piece, _, frames) in zip(each, rows, strict=True):
                    values[one.name][frames] = own[one.name][piece.layout.frame_of_partial[kept]]
        network.set_components(torch.bincount(frame, minlength=grid.n_frames), values)
        return network

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the number of components in each cell ``[F]``, then parameters in natural units, cell by cell (float32)."""
        return files.stored_tensors(self)

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the parameters from stored ones; raises `ModelError` if they do not fit the grid or are out of bounds."""
        self.set_components(*files.components_of(self, tensors))

    def describe(self) -> dict[str, Tensor]:
        """Return a table of the components in the order of signal, then time: signal, time, values, extent of the frame."""
        return files.table_of(self)

    @torch.no_grad()
    def project(self) -> None:
        """Clamp parameters to their bounds."""
        for one in self.declared():
            if one.is_bounded:
                parameter, scale = getattr(self, one.name), self.scales[one.name]
                parameter.copy_((parameter * scale).clamp(*one.bounds) / scale)

    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
        """Limit the changes of parameters that enter nonlinearly to ``most`` of their scales."""
        pairs = zip(self.declared(), changes, strict=True)
        return [change if one.linear else change.clamp(-most, most) for one, change in pairs]

    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Return the values by kind of parameter."""
        found: dict[str, list[Tensor]] = {}
        for one, value in zip(self.declared(), values, strict=True):
            found.setdefault(one.layer, []).append(value)
        return {layer: parts for layer, parts in found.items() if any(part.numel() for part in parts)}

    def wave_frequencies(self) -> Tensor | None:
        """Return the frequency of each component in radians per sample, ``[P]``; None if components have no frequency."""
        return self.natural().get("frequency") if any(one.unit == "Hz" for one in self.stored()) else None

    @torch.no_grad()
    def frequencies(self) -> list[Tensor]:
        """Return the frequency of each value's component; for others, the geometric mean over components."""
        waves = self.wave_frequencies()
        return [] if waves is None else self._of_values(waves)

    def amplitudes_of_values(self) -> list[Tensor]:
        """Return the amplitude of each value's component; for others, the geometric mean over components."""
        return [] if self.wave_frequencies() is None else self._of_values(self.amplitudes().detach())

    def _of_values(self, waves: Tensor) -> list[Tensor]:
        """Return a property of the components, above 0, of each value's component; for others, its geometric mean."""
        own = {"component": waves, "frame": self._frame_means(waves), "network": _geometric_mean(waves)[None]}
        rows = [(own[one.per], getattr(self, one.name)) for one in self.declared()]
        return [row[: len(value)].reshape(-1, *[1] * (value.dim() - 1)).expand_as(value) for row, value in rows]

    def _frame_means(self, waves: Tensor) -> Tensor:
        """Return the geometric mean over each frame's components, ``[F]``; for empty frames, that of all."""
        logs = waves.double().clamp(min=1e-12).log()
        sums = logs.new_zeros(self.grid.n_frames).index_add(0, self.layout.frame_of_partial, logs)
        everywhere = logs.mean() if logs.numel() else logs.sum()
        counts = self.layout.counts
        return torch.where(counts > 0, sums / counts.clamp(min=1), everywhere).exp().to(waves)

    def at_bounds(self) -> AtBounds:
        """Return how many values are at their bounds."""
        counted = [one for one in self.stored() if one.is_bounded and one.usually_at_bounds is not None]
        if not counted:
            return AtBounds(0, 0, "values are at their bounds", 1.0)
        natural = self.natural()
        kinds = " and ".join(dict.fromkeys(one.layer.split(": ")[-1] for one in counted))
        where = dict.fromkeys(one.bounds_text(self.grid.sample_rate) for one in counted)
        return AtBounds(
            sum(one.at_bounds(natural[one.name]) for one in counted),
            sum(natural[one.name].numel() for one in counted),
            f"values of {kinds} are at {' or '.join(where)}",
            max(one.usually_at_bounds or 0.0 for one in counted),
        )


def _geometric_mean(waves: Tensor) -> Tensor:
    """Return the geometric mean of frequencies, ``[]``; 1 where there are none."""
    return waves.double().clamp(min=1e-12).log().mean().nan_to_num().exp().to(waves)


def _common(values: Sequence[Tensor], name: str) -> Tensor:
    """Return the value that several networks have in common; raises ValueError if theirs differ."""
    if any(not torch.equal(value, values[0]) for value in values):
        raise ValueError(f"networks with different values of {name!r} cannot be joined")
    return values[0]
