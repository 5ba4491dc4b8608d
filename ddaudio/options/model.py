"""Settings of the networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from ddaudio.errors import OptionError, closest
from ddaudio.options.checks import check_choice, check_one_of, check_range, check_switch, check_whole, parse_row

MODELS = ("sine", "double-dutch", "cascade", "surrogate", "stack", "siren")
NETWORK_LINES = {
    "sine": "a bank of partials in each frame",
    "double-dutch": "a binary tree of wave pairs that gate each other",
    "cascade": "an additive ladder of waves, one a layer",
    "surrogate": "damped complex exponentials",
    "stack": "a deep network of sine units with positive frequencies",
    "siren": "the published network of sine units (SIREN)",
}
"""What each network is, in a line of the help."""
MODELS_OF_PARTIALS = ("sine", "cascade", "surrogate")
"""Networks whose frames can be given a fixed number of partials."""
InitialisationName = Literal["peaks", "random", "equal"]
EstimatorName = Literal["annihilating-filter", "optimal-transport"]
StartingPoint = InitialisationName | EstimatorName
LadderName = Literal["free", "linear", "octave", "above-nyquist"]
PhaseName = Literal["own", "centred"]
ActivationName = Literal["none", "tanh", "sine"]
PositiveName = Literal["softplus", "relu", "project"]
WITHOUT_TANGENT = ("stack", "siren")
"""Networks that take no Gauss-Newton steps."""
LAYER_SETTINGS = {
    "cascade": ("ladder", "phase", "activation", "layer_decay", "greedy", "local", "whole"),
    "surrogate": ("whole",),
    "stack": ("widths", "positive", "pass_on", "span", "whole"),
    "siren": ("widths", "omega", "span", "whole"),
}
"""The settings of layers that each network has."""
MOST_UNITS = 4096
"""Units that a layer may have."""
MIN_PARAMETERS, MIN_PARAMETERS_PER_SAMPLE = 4, 0.0001
SPANS = "seconds, or two rising numbers from -1e6 to 1e6, as in 4,7"
"""Values of the setting ``span``."""


@dataclass(frozen=True)
class ModelOptions:
    """Which network, how large, and where it starts."""

    model: str = "sine"
    """Network, or a sum such as sine+double-dutch, in which each network fits the residual of those before it."""
    budget_split: str | None = None
    """Shares of the budget, or of the target SNR in dB, of the networks of a sum, as in 3,1 (default: equal)."""
    target_snr_db: float = 25.0
    """SNR to reach with as few parameters as possible, -10 to 140 dB."""
    max_parameters_per_sample: float = 0.25
    """Limit on the size of a model that aims at an SNR, 0.0001 to 4 parameters per sample."""
    budget: int | None = None
    """Size of the model in parameters, instead of a target SNR, 4 or more."""
    partials: int | None = None
    """Number of partials in every frame, instead of a target SNR, 1 to 10000."""
    initialisation: InitialisationName = "peaks"
    """Initial frequencies: spectral peaks, random, or equally spaced."""
    estimator: EstimatorName | None = None
    """Estimate the frequencies of each frame by gradient descent from random ones, in place of `initialisation`; for 16 partials
    a frame or less."""

    def __post_init__(self) -> None:
        for name in self.terms:
            if name not in MODELS:
                raise OptionError(
                    setting="model", value=name, verb="names", allowed=", ".join(MODELS), hint=closest(name, MODELS)
                )
        if self.budget_split is not None and (
            len(self.terms) == 1 or len(parse_row("budget_split", self.budget_split)) != len(self.terms)
        ):
            raise OptionError(
                setting="budget_split",
                value=self.budget_split,
                others={"model": self.model},
                allowed="one share for each network of a sum",
            )
        if not all(0 < share < float("inf") for share in self.parsed_budget_split):
            raise OptionError(setting="budget_split", value=self.budget_split, allowed="finite shares above 0")
        check_range(self, "target_snr_db", -10, 140, "dB")
        check_range(self, "max_parameters_per_sample", MIN_PARAMETERS_PER_SAMPLE, 4)
        check_whole(self, "budget", MIN_PARAMETERS, 10**12)
        check_whole(self, "partials", 1, 10000)
        check_choice(self, "initialisation", get_args(InitialisationName))
        self._check_estimator()
        if self.partials is not None and (len(self.terms) > 1 or self.terms[0] not in MODELS_OF_PARTIALS):
            hint = "give {budget} or {target_snr_db} in place of {partials}"
            raise OptionError(setting="partials", value=self.partials, others={"model": self.model}, hint=hint)
        if self.budget is not None and len(self.terms) > 1 and self.budget * min(self.parsed_budget_split) < MIN_PARAMETERS:
            least = math.ceil(MIN_PARAMETERS / min(self.parsed_budget_split))
            problem = f"too few for {len(self.terms)} networks of {MIN_PARAMETERS} or more each"
            raise OptionError(problem, setting="budget", value=self.budget, allowed=f"{least} or more")
        check_one_of(self, "budget", "partials")

    def _check_estimator(self) -> None:
        if self.estimator is None:
            return
        check_choice(self, "estimator", get_args(EstimatorName))
        if self.terms != ("sine",):
            hint = "use {model=sine}, or leave {estimator} out"
            raise OptionError(setting="estimator", value=self.estimator, others={"model": self.model}, hint=hint)
        if self.initialisation != "peaks":
            check_one_of(self, "estimator", "initialisation")

    @property
    def starting_point(self) -> StartingPoint:
        """The estimator, or where the network starts without one."""
        return self.estimator or self.initialisation

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the networks that add up, at least one."""
        return tuple(name.strip() for name in str(self.model).split("+"))

    @property
    def parsed_budget_split(self) -> tuple[float, ...]:
        """The share of each network; they sum to 1."""
        row = (1.0,) * len(self.terms) if self.budget_split is None else parse_row("budget_split", self.budget_split)
        return tuple(share / sum(row) for share in row)


@dataclass(frozen=True)
class LayerOptions:
    """The layers of ``cascade``, ``stack`` and ``siren``, and the frames of these and ``surrogate``."""

    ladder: LadderName = "free"
    """Frequencies of a cascade's layers: learned (free), equally spaced (linear), halved from layer to layer (octave), or learned
    between Nyquist and the sample rate (above-nyquist)."""
    phase: PhaseName = "own"
    """Phase of a cascade's layer: its own, or an offset from one learned centre of its frame (centred)."""
    activation: ActivationName = "none"
    """What a cascade's layer does to the sum of those before it: nothing (none), tanh, or sine."""
    layer_decay: float = 1.0
    """Factor that a cascade's layer gives the sum of those before it, 0.9 to 1."""
    greedy: bool = False
    """Start a cascade layer by layer: each takes away as much as it can from what those before it leave."""
    local: bool = False
    """Train each layer of a cascade by its own loss on what those before it leave, not by that of their sum."""
    widths: str | None = None
    """Units in each layer of stack or siren, as in 100,10,1 (default: as many as the numbers allow; of stack, three layers that
    fall to 1; of siren, four equal ones)."""
    positive: PositiveName = "softplus"
    """How stack keeps frequencies and phases positive: as softplus or relu of what is trained, or by a projection after each
    step (project)."""
    pass_on: bool = False
    """Pass the mean frequency and phase of each layer of stack on to the next, which adds its own."""
    omega: float = 30.0
    """Factor of frequency in each layer of siren, 0.1 to 10000."""
    span: str | None = None
    """Time as stack and siren see it: seconds, or the ends of each frame, as in 4,7 (default: -1024,1024 for stack; for siren
    -8,8, and -100,100 with whole)."""
    whole: bool = False
    """Fit the whole recording as one frame, up to 60 s."""

    def __post_init__(self) -> None:
        for name, known in (
            ("ladder", LadderName),
            ("phase", PhaseName),
            ("activation", ActivationName),
            ("positive", PositiveName),
        ):
            check_choice(self, name, get_args(known))
        for name in ("greedy", "local", "pass_on", "whole"):
            check_switch(self, name)
        check_range(self, "layer_decay", 0.9, 1)
        check_range(self, "omega", 0.1, 10_000)
        if self.widths is not None and not all(width % 1 == 0 and 1 <= width <= MOST_UNITS for width in self.parsed_widths):
            raise OptionError(
                setting="widths", value=self.widths, allowed=f"whole numbers from 1 to {MOST_UNITS}, as in 100,10,1"
            )
        low, high = self.ends or (0.0, 1.0)
        if not -1e6 <= low < high <= 1e6:
            raise OptionError(setting="span", value=self.span, allowed=SPANS)

    @property
    def parsed_widths(self) -> tuple[int, ...]:
        """The units of each layer; none where they are not given."""
        row = () if self.widths is None else parse_row("widths", self.widths)
        return tuple(int(width) if width % 1 == 0 else width for width in row)  # type: ignore[misc]

    @property
    def ends(self) -> tuple[float, float] | None:
        """The ends of a frame as the network sees them; None where time is counted in seconds, or no span is given."""
        if self.span in (None, "seconds"):
            return None
        row = parse_row("span", str(self.span))
        if len(row) != 2:
            raise OptionError(setting="span", value=self.span, allowed=SPANS)
        return row[0], row[1]

    def misplaced(self, terms: Sequence[str]) -> str | None:
        """Return the name of a setting that is given although none of the networks has it; None if there is none."""
        known = {name for term in terms for name in LAYER_SETTINGS.get(term, ())}
        given = (member.name for member in fields(self) if getattr(self, member.name) != member.default)
        return next((name for name in given if name not in known), None)

    def table(self, model: str) -> dict[str, Any]:
        """Return the settings that make a network again, by name, without those that have no value."""
        names = [name for name in LAYER_SETTINGS[model] if name not in ("greedy", "local", "whole")]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
