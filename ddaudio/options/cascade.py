"""Settings of the cascade."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ddaudio.errors import OptionError
from ddaudio.options.checks import check_choice, check_range, check_switch, parse_row
from ddaudio.options.network import NetworkOptions
from ddaudio.options.span import span_ends

LadderName = Literal["free", "linear", "octave", "harmonic", "above-nyquist"]
BaseName = Literal["fixed", "learned"]
PhaseName = Literal["own", "centred"]
ActivationName = Literal["none", "tanh", "sine"]


@dataclass(frozen=True)
class CascadeOptions(NetworkOptions):
    """The network ``cascade``: one wave per layer, added to the sum of the layers before it."""

    training_only: ClassVar[tuple[str, ...]] = ("greedy", "local", "grow_layers", "span")

    ladder: str = "free"
    """Frequencies of a cascade's layers: learned (free), equally spaced (linear), halved from layer to layer (octave), multiples
    of a learned base (harmonic), learned between Nyquist and the sample rate (above-nyquist), or chosen ones in Hz, as in
    440,880,1320."""
    base: BaseName | None = None
    """Whether the first frequency of an octave ladder is Nyquist (fixed) or learned for each frame, as that of a harmonic ladder
    always is (default: fixed for octave)."""
    phase: PhaseName = "own"
    """Phase of a cascade's layer: its own, or an offset from one learned centre of its frame (centred)."""
    activation: ActivationName = "none"
    """Function that a cascade's layer applies to the sum of those before it: none, tanh, or sine."""
    layer_decay: float = 1.0
    """Factor by which a cascade's layer scales the sum of those before it, 0.9 to 1."""
    greedy: bool = False
    """Initialise a cascade layer by layer: each removes as much as it can of what those before it leave."""
    local: bool = False
    """Train each layer of a cascade by its own loss on what those before it leave, instead of by the loss of their sum."""
    grow_layers: bool = False
    """Train a local cascade layer by layer: after each equal share of the steps the next layer is trained as well."""
    span: str | None = None
    """Time of sine and cascade, whose phases are trained as those at time 0: seconds from a frame's first sample, or the values
    at both ends of each frame, as in 4,7 (default: time 0 is the middle of the frame)."""

    def __post_init__(self) -> None:
        span_ends(self.span)
        for name, known in (("phase", PhaseName), ("activation", ActivationName)):
            check_choice(self, name, get_args(known))
        self._check_ladder()
        for name in ("greedy", "local", "grow_layers"):
            check_switch(self, name)
        if self.grow_layers and not self.local:
            raise OptionError("but layers have no losses", setting="grow_layers", value=True, hint="give {local=True} as well")
        check_range(self, "layer_decay", 0.9, 1)

    def _check_ladder(self) -> None:
        """Raise `OptionError` for an unknown ladder, frequencies that are not, and a base that the ladder does not have."""
        if not str(self.ladder)[:1].isdigit():
            check_choice(self, "ladder", get_args(LadderName))
        elif not all(0 < hz < math.inf for hz in self.chosen_hz) or len(set(self.chosen_hz)) < len(self.chosen_hz):
            raise OptionError(setting="ladder", value=self.ladder, allowed="different frequencies above 0 Hz, as in 440,880")
        if self.base is None:
            return
        check_choice(self, "base", get_args(BaseName))
        if self.ladder not in ("octave", "harmonic") or (self.ladder, self.base) == ("harmonic", "fixed"):
            problem = "but octave and harmonic ladders have a learned base, and octave ladders a fixed one"
            hint = "give fixed frequencies as in {ladder=220,440,660}"
            raise OptionError(problem, setting="base", value=self.base, others={"ladder": self.ladder}, hint=hint)

    @property
    def chosen_hz(self) -> tuple[float, ...]:
        """The chosen frequencies in Hz; empty for a ladder with a name."""
        return parse_row("ladder", self.ladder) if str(self.ladder)[:1].isdigit() else ()

    @property
    def learns_frequency(self) -> bool:
        """Whether each layer has a learned frequency."""
        return self.ladder in ("free", "above-nyquist")

    @property
    def learns_base(self) -> bool:
        """Whether each frame has one learned frequency, of which those of its layers are multiples."""
        return self.ladder == "harmonic" or (self.ladder == "octave" and self.base == "learned")

    def check_sample_rate(self, sample_rate: int) -> None:
        """Raise `OptionError` for a chosen frequency above the Nyquist frequency."""
        if self.chosen_hz and max(self.chosen_hz) > sample_rate / 2:
            problem = f"with {max(self.chosen_hz):g} Hz at {sample_rate} samples per second"
            raise OptionError(
                problem, setting="ladder", value=self.ladder, allowed=f"frequencies of up to {sample_rate / 2:g} Hz"
            )

    @property
    def second_order(self) -> bool:
        """Whether the layers are a plain sum, trained together."""
        return self.activation == "none" and not self.local

    def check_start(self, initialisation: str) -> None:
        """Raise `OptionError` if two initialisations are chosen, or one of frequencies that the ladder has already."""
        if initialisation != "peaks" and not self.learns_frequency:
            problem = "but this ladder has its frequencies"
            others, hint = {"ladder": self.ladder}, "use {ladder=free}"
            raise OptionError(problem, setting="initialisation", value=initialisation, others=others, hint=hint)
        if self.greedy and initialisation != "peaks":
            others, hint = {"initialisation": initialisation}, "give only one of the two"
            problem = "but a greedy cascade has its own initialisation"
            raise OptionError(problem, setting="greedy", value=True, others=others, hint=hint)

    def check_optimiser(self, optimiser: str | None) -> None:
        """Raise `OptionError` for local training with Gauss-Newton, which lowers the error of the sum."""
        if self.local and optimiser == "gauss-newton":
            problem, others = "but Gauss-Newton lowers the error of the sum, not that of each layer", {"optimiser": optimiser}
            raise OptionError(problem, setting="local", value=True, others=others, hint="use {optimiser=adam}")
