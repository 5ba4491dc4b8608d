"""Declaration of a network's parameters, from which files, tables, bounds and layers are derived."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ddaudio.errors import ModelError

Unit = Literal["Hz", "1/s", "rad", "full scale", ""]
"""Unit of a parameter in files and tables; empty for dimensionless ones."""

Scope = Literal["component", "frame", "network"]
"""Owner of each value of a parameter."""
SUFFIXES: dict[Unit, str] = {"Hz": "_hz", "1/s": "_per_s", "rad": "_rad", "full scale": "", "": ""}
"""Suffix of column names, by unit."""
ROUNDING = 1e-6
"""Relative distance to a bound that is ignored: rounding and conversion of units give differences of 3e-7."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a network: one value, or a tensor of some shape, for each component, for each frame, or for the network.

    A network trains ``natural / scale``, so that one learning rate fits all parameters. Natural values of frequencies are
    radians per sample and those of decays are per sample; files and tables have Hz and 1/s.

    Example:
        >>> Parameter("frequency", "Hz", scale="bin", bounds=(0, math.pi)).column
        'frequency_hz'

    """

    name: str
    """Name of the network's attribute that holds the trained tensor."""
    unit: Unit = ""
    """Unit in files and tables."""
    kind: str = ""
    """Layer in which it is trained and reported, see `Network.layers` (default: its name)."""
    per: Scope = "component"
    """Whether there is a value per component, frame or network: tensors are ``[P, ...]``, ``[F, ...]`` or ``[1, ...]``."""
    shape: tuple[int, ...] = ()
    """Shape of the value of one component, frame or network."""
    scale: Literal["bin", "level"] | float = 1.0
    """Natural value of a trained value of 1: a constant; or for components ``bin``, the inverse of the frame's spread, about a
    bin of its spectrum, or ``level``, the geometric mean of the component's own amplitude and the level of its frame."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """Smallest and largest natural value."""
    usually_at_bounds: float | None = None
    """Share of the values, 0 to 1, that may be at their bounds in a good fit; None if they are not counted."""
    linear: bool = False
    """Whether the signals are linear in it, so that steps are not limited."""

    @property
    def layer(self) -> str:
        """Name of its layer."""
        return self.kind or self.name

    @property
    def column(self) -> str:
        """Name in files and tables, with the unit as suffix."""
        return self.name + SUFFIXES[self.unit]

    @property
    def is_bounded(self) -> bool:
        """Whether it has bounds."""
        return self.bounds != (-math.inf, math.inf)

    def factor(self, sample_rate: int) -> float:
        """Return the factor from natural values to those in files and tables."""
        return {"Hz": sample_rate / (2 * math.pi), "1/s": float(sample_rate)}.get(self.unit, 1.0)

    def in_units(self, natural: Tensor, sample_rate: int) -> Tensor:
        """Convert natural values to the unit of files and tables, in float64 if it is another one."""
        return natural if self.unit not in ("Hz", "1/s") else natural.double() * self.factor(sample_rate)

    def from_units(self, values: Tensor, sample_rate: int) -> Tensor:
        """Convert values of a file to natural values, float32; raises `ModelError` for values out of bounds."""
        low, high = (bound * self.factor(sample_rate) for bound in self.bounds)
        if values.numel() and not (
            float(values.min()) >= low - ROUNDING * abs(low) and float(values.max()) <= high + ROUNDING * abs(high)
        ):
            raise ModelError(f"{self.column} must be from {low:g} to {high:g}{self.unit_text}")
        if self.unit == "Hz":
            return (values.double() * (2 * math.pi / sample_rate)).float()
        return (values.double() / sample_rate).float() if self.unit == "1/s" else values

    @property
    def unit_text(self) -> str:
        """The unit with a leading space; empty for dimensionless values and full scale."""
        return f" {self.unit}" if self.unit not in ("", "full scale") else ""

    def at_bounds(self, natural: Tensor) -> int:
        """Return how many values are at their bounds, to the precision of float32."""
        low, high = self.bounds
        margin = ROUNDING if self.unit in ("Hz", "1/s") else 0.0
        return int(((natural <= low + margin * abs(low)) | (natural >= high - margin * abs(high))).sum())

    def bounds_text(self, sample_rate: int) -> str:
        """Format the finite bounds, such as ``0 or 4000 Hz``."""
        finite = [bound * self.factor(sample_rate) for bound in self.bounds if math.isfinite(bound)]
        return " or ".join(f"{bound:g}" for bound in finite) + self.unit_text


def without_bounds(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """Return the same parameters without bounds."""
    return tuple(replace(one, bounds=(-math.inf, math.inf), usually_at_bounds=None) for one in parameters)


def level_scale(power: Tensor, frame: Tensor, n_frames: int) -> Tensor:
    """Return the scale ``level`` of components, ``[P]``: the geometric mean of their own amplitude and their frame's level.

    With only the frame's level, steps of weak components are too long; with only their own, they cannot grow.

    Args:
        power: mean square of each component, ``[P]``.
        frame: frame of each, ``[P]`` int64.
        n_frames: number of frames.

    """
    wide = power.double()
    level = wide.new_zeros(n_frames).index_add(0, frame, wide)
    unit = (wide * level[frame]).pow(0.25) * math.sqrt(2)
    # A silent component with random initial values still needs a scale to grow; that of a silent frame is full scale.
    return torch.where(unit > 0, unit, torch.ones_like(unit)).to(power)
