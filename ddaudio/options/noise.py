"""Settings of the network ``noise``."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ddaudio.errors import OptionError
from ddaudio.options.checks import check_choice, check_switch, check_whole
from ddaudio.options.network import NetworkOptions

NoiseLossName = Literal["erb", "mss", "mel"]
MOST_NOISE_STEPS = 10_000


@dataclass(frozen=True)
class NoiseOptions(NetworkOptions):
    """The network ``noise``: levels of what the other networks leave over."""

    training_only: ClassVar[tuple[str, ...]] = ("noise_steps", "noise_loss", "noise_waves")

    noise_steps: int = 0
    """Steps of gradient descent on the expected power of waves and noise together, after the fit of both, 0 to 10000."""
    noise_loss: NoiseLossName = "erb"
    """Loss of these steps: levels of the bands of the noise (erb), or of a multi-scale spectrogram (mss, mel)."""
    noise_waves: bool = False
    """Train the waves too in these steps, for recordings that are fitted in one block; the MSE of the waves is then added."""

    def __post_init__(self) -> None:
        check_whole(self, "noise_steps", 0, MOST_NOISE_STEPS)
        check_choice(self, "noise_loss", get_args(NoiseLossName))
        check_switch(self, "noise_waves")
        for name in ("noise_loss", "noise_waves"):
            if name in self.changes() and not self.noise_steps:
                hint = "give {noise_steps} as well, as in {noise_steps=50}"
                raise OptionError("without any steps", setting=name, value=getattr(self, name), hint=hint)
