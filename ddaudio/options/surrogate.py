"""Settings of the network ``surrogate``."""

from dataclasses import dataclass
from typing import ClassVar

from ddaudio.options.checks import check_range
from ddaudio.options.network import NetworkOptions

FAR_DAMPING_PER_SAMPLE = 0.02
"""Default damping of random or equally spaced frequencies."""


@dataclass(frozen=True)
class SurrogateOptions(NetworkOptions):
    """The network ``surrogate``: damped complex exponentials."""

    training_only: ClassVar[tuple[str, ...]] = ("damping_per_sample",)

    damping_per_sample: float | None = None
    """Initial decay of the exponentials of surrogate per sample, 0 to 2: waves of about its inverse in samples (default: 0.02 for
    random or equally spaced frequencies, 0 for peaks)."""

    def __post_init__(self) -> None:
        check_range(self, "damping_per_sample", 0, 2)
