"""Settings of the network ``siren``."""

from dataclasses import dataclass

from ddaudio.errors import OptionError
from ddaudio.options.checks import check_range
from ddaudio.options.units import UnitOptions


@dataclass(frozen=True)
class SirenOptions(UnitOptions):
    """The network ``siren``: layers of sines with weights (Sitzmann et al., 2020)."""

    omega: float = 30.0
    """Factor of frequency in each layer of siren, 0.1 to 10000."""

    def check_start(self, initialisation: str) -> None:
        """Raise `OptionError` for equal frequencies: the published initialisation is random."""
        if initialisation == "equal":
            problem, hint = "but siren is always initialised at random, as published", "use {initialisation=random}"
            raise OptionError(problem, setting="initialisation", value=initialisation, others={"model": "siren"}, hint=hint)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "omega", 0.1, 10_000)
