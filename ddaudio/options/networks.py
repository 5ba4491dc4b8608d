"""Registry of the networks, one row each. Does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, get_type_hints

from ddaudio.options.cascade import CascadeOptions
from ddaudio.options.double_dutch import DoubleDutchOptions
from ddaudio.options.network import NetworkOptions
from ddaudio.options.noise import NoiseOptions
from ddaudio.options.registry import Registry
from ddaudio.options.sine import SineOptions
from ddaudio.options.siren import SirenOptions
from ddaudio.options.stack import StackOptions
from ddaudio.options.surrogate import SurrogateOptions
from ddaudio.options.tracks import TracksOptions

FramesName = Literal["adaptive", "halving", "equal", "none"]
"""Frames of adaptive lengths, of equal lengths that are a power of two samples, or of any equal lengths; or none, for tracks."""


DrawingName = Literal["lines", "tree", "noise"]
"""Components as lines over time and frequency, levels of a tree over time, or levels of noise over time and frequency."""


@dataclass(frozen=True)
class NetworkSpec:
    """A network: its class, settings, sizes and training defaults."""

    name: str
    """Name in settings and files."""
    summary: str
    """Short description for the help."""
    path: str
    """Its class, a `ddaudio.models.FramedNetwork`, as ``module:Class``; constructed from a grid and its settings, if any."""
    component_name: str
    """Name of its components, in the plural."""
    parameters_per_frame: int
    """Number of parameters of an empty frame."""
    parameters_per_component: int
    """Smallest number of parameters of a component."""
    kinds: tuple[str, ...]
    """Kinds of its parameters, as in `Network.layers`."""
    numbered: tuple[str, int] | None = None
    """Name and largest number of its numbered layers, such as ``level`` and 24; None if it has none."""
    options: type[NetworkOptions] = NetworkOptions
    """Its settings, which are a TOML table and flags."""
    frames: FramesName = "adaptive"
    """Lengths of its frames, unless a length is given."""
    expected_gain_db: float = 1.0
    """Expected improvement of the SNR by training: initialisation stops this far below the goal."""
    exchanges: int = 2
    """Default number of exchanges of weak components."""
    first_order_steps: int = 80
    """Default number of steps of first-order optimisers."""
    second_order: bool = True
    """Whether Gauss-Newton is its default optimiser, unless excluded by its settings."""
    travels: bool = False
    """Whether first-order optimisers move its frequencies far: they are then the default for random or equal frequencies."""
    has_frequencies: bool = True
    """Whether each parameter has a frequency, see `Network.frequencies`."""
    takes_partials: bool = False
    """Whether the number of components per frame can be fixed (``partials``)."""
    takes_whole: bool = False
    """Whether a recording can be fitted as one frame (``whole``)."""
    takes_estimator: bool = False
    """Whether its frequencies can be initialised by an estimator (``estimator``)."""
    parameters_per_network: int = 0
    """Number of parameters of the whole network; if above 0, recordings of any length are fitted as one block."""
    has_widths: bool = False
    """Whether its size is given by the widths of its layers, equal in all frames: its class is a `CoordinateNetwork`."""
    is_batched: bool = False
    """Whether several fits can be computed as one batch: its class is a `ddaudio.models.batched.BatchableNetwork`."""
    drawing: DrawingName | None = None
    """Figure of its components: ``lines`` needs ``frequency_hz`` and ``amplitude`` in its table, ``tree`` the attributes of a
    `DoubleDutchNetwork`, ``noise`` those of a `NoiseNetwork`."""
    is_noise: bool = False
    """Whether it models the levels of the residual of the networks before it, not a waveform; it is the last of a sum."""

    @property
    def has_settings(self) -> bool:
        """Whether it has settings of its own."""
        return bool(fields(self.options))


def _check(spec: NetworkSpec, others: Mapping[str, NetworkSpec]) -> None:
    """Raise an error for a network of another package whose settings are ambiguous."""
    if not issubclass(spec.options, NetworkOptions):
        raise TypeError("its options are no NetworkOptions")
    hints = get_type_hints(spec.options)
    for member in fields(spec.options):
        for other in others.values():
            if get_type_hints(other.options).get(member.name, hints[member.name]) != hints[member.name]:
                raise ValueError(f"its setting {member.name!r} has another type than that of {other.name}")


_coordinate_network = partial(
    NetworkSpec,
    parameters_per_frame=0,
    frames="equal",
    expected_gain_db=0.0,
    exchanges=0,
    second_order=False,
    has_frequencies=False,
    takes_whole=True,
    has_widths=True,
    numbered=("layer", 99),
)
"""Row of a `CoordinateNetwork`."""

NETWORKS = Registry(
    "ddaudio.networks",
    NetworkSpec,
    [
        NetworkSpec(
            "sine",
            "a bank of partials in each frame",
            "ddaudio.models.sine:SineNetwork",
            component_name="partials",
            parameters_per_frame=1,
            parameters_per_component=3,
            kinds=("frequency", "amplitude"),
            options=SineOptions,
            takes_partials=True,
            takes_estimator=True,
            is_batched=True,
            drawing="lines",
        ),
        NetworkSpec(
            "double-dutch",
            "a binary tree of wave pairs that gate each other",
            "ddaudio.models.double_dutch.network:DoubleDutchNetwork",
            component_name="ropes",
            parameters_per_frame=0,
            parameters_per_component=1,
            kinds=("amplitude", "cutoff"),
            numbered=("level", 24),
            options=DoubleDutchOptions,
            frames="halving",
            drawing="tree",
            expected_gain_db=5.0,
            exchanges=8,
        ),
        NetworkSpec(
            "cascade",
            "an additive ladder of waves, one a layer",
            "ddaudio.models.cascade.network:CascadeNetwork",
            component_name="layers",
            parameters_per_frame=1,
            parameters_per_component=3,
            kinds=("amplitude", "phase", "frequency"),
            numbered=("layer", 16),
            options=CascadeOptions,
            takes_partials=True,
            takes_whole=True,
        ),
        NetworkSpec(
            "surrogate",
            "damped complex exponentials",
            "ddaudio.models.surrogate:SurrogateNetwork",
            component_name="exponentials",
            parameters_per_frame=1,
            parameters_per_component=4,
            kinds=("z", "amplitude"),
            options=SurrogateOptions,
            travels=True,
            takes_partials=True,
            takes_whole=True,
        ),
        _coordinate_network(
            "stack",
            "a deep network of sine units with positive frequencies",
            "ddaudio.models.stack:StackNetwork",
            component_name="sine units",
            parameters_per_component=9,
            kinds=("frequency", "phase", "amplitude"),
            options=StackOptions,
        ),
        _coordinate_network(
            "siren",
            "the published network of sine units (SIREN)",
            "ddaudio.models.siren:SirenNetwork",
            component_name="sine units",
            parameters_per_component=11,
            kinds=("weight", "bias", "level"),
            options=SirenOptions,
            first_order_steps=150,
        ),
        NetworkSpec(
            "tracks",
            "partials followed over time, with knots where the sound asks for them",
            "ddaudio.models.tracks.network:TracksNetwork",
            component_name="knots",
            parameters_per_frame=0,
            parameters_per_component=3,
            kinds=("amplitude", "frequency", "phase"),
            options=TracksOptions,
            frames="none",
            drawing="lines",
        ),
        NetworkSpec(
            "noise",
            "noise of varying level, for what the other networks leave over",
            "ddaudio.models.noise.network:NoiseNetwork",
            component_name="levels",
            parameters_per_frame=0,
            parameters_per_component=1,
            kinds=("level",),
            options=NoiseOptions,
            exchanges=0,
            second_order=False,
            has_frequencies=False,
            drawing="noise",
            is_noise=True,
        ),
    ],
    _check,
)
"""The networks, by name."""
