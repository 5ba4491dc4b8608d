"""Settings of the cascade."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ddaudio.errors import OptionError
from ddaudio.options.checks import check_choice, check_range, check_switch
from ddaudio.options.network import NetworkOptions

LadderName = Literal["free", "linear", "octave", "above-nyquist"]
PhaseName = Literal["own", "centred"]
ActivationName = Literal["none", "tanh", "sine"]


@dataclass(frozen=True)
class CascadeOptions(NetworkOptions):
    """The network ``cascade``: one wave per layer, added to the sum of the layers before it."""

    training_only: ClassVar[tuple[str, ...]] = ("greedy", "local")

    ladder: LadderName = "free"
    """Frequencies of a cascade's layers: learned (free), equally spaced (linear), halved from layer to layer (octave), or learned
    between Nyquist and the sample rate (above-nyquist)."""
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

    def __post_init__(self) -> None:
        for name, known in (("ladder", LadderName), ("phase", PhaseName), ("activation", ActivationName)):
            check_choice(self, name, get_args(known))
        for name in ("greedy", "local"):
            check_switch(self, name)
        check_range(self, "layer_decay", 0.9, 1)

    @property
    def second_order(self) -> bool:
        """Whether the layers are a plain sum, trained together."""
        return self.activation == "none" and not self.local

    def check_start(self, initialisation: str) -> None:
        """Raise `OptionError` if two initialisations are chosen."""
        if self.greedy and initialisation != "peaks":
            others, hint = {"initialisation": initialisation}, "give only one of the two"
            problem = "but a greedy cascade has its own initialisation"
            raise OptionError(problem, setting="greedy", value=True, others=others, hint=hint)

    def check_optimiser(self, optimiser: str | None) -> None:
        """Raise `OptionError` for local training with Gauss-Newton, which lowers the error of the sum."""
        if self.local and optimiser == "gauss-newton":
            problem, others = "but Gauss-Newton lowers the error of the sum, not that of each layer", {"optimiser": optimiser}
            raise OptionError(problem, setting="local", value=True, others=others, hint="use {optimiser=adam}")
