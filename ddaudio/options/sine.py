"""Settings of the network ``sine``."""

from dataclasses import dataclass
from typing import ClassVar

from ddaudio.options.network import NetworkOptions
from ddaudio.options.span import span_ends


@dataclass(frozen=True)
class SineOptions(NetworkOptions):
    """The network ``sine``: a bank of partials in each frame."""

    training_only: ClassVar[tuple[str, ...]] = ("span",)

    span: str | None = None
    """Time of sine and cascade, whose phases are trained as those at time 0: seconds from a frame's first sample, or the values
    at both ends of each frame, as in 4,7 (default: time 0 is the middle of the frame)."""

    def __post_init__(self) -> None:
        span_ends(self.span)
