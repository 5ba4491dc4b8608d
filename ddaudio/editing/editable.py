"""What edits act on: tracks and noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddaudio.editing.conversion import tracks_of_partials
from ddaudio.editing.knots import joined, on_samples
from ddaudio.errors import OptionError
from ddaudio.models import Network
from ddaudio.models.base import Signals
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.models.sine import SineNetwork
from ddaudio.models.sum import SumNetwork
from ddaudio.models.tracks.knots import Tracks
from ddaudio.models.tracks.network import TracksNetwork
from ddaudio.synthesis.tracks import Knots, render_tracks

EDITABLE = "sine, tracks, and sums of them and noise"
"""Networks that can be edited."""


@dataclass(frozen=True)
class Editable:
    """A sound as tracks and noise; positions and lengths are in samples."""

    knots: Knots
    """Knots of the tracks, float64 but for the counts."""
    signal: Tensor
    """Channel of each track, ``[N]`` int64."""
    noise: NoiseNetwork | None
    """Noise beside the tracks, of the same rate, channels and length."""
    sample_rate: int
    """Samples per second."""
    shape: tuple[int, int]
    """Number of channels, and samples of each."""

    @property
    def n_samples(self) -> int:
        """Length of the sound."""
        return self.shape[1]

    @property
    def hz(self) -> Tensor:
        """Frequency of each knot, ``[K]``."""
        return self.knots.frequency * (self.sample_rate / (2 * math.pi))

    def render(self) -> Tensor:
        """Return the sound, with noise of seed 0, ``[C, T]`` float32."""
        knots = self.knots._replace(amplitude=self.knots.amplitude.float())
        waves = render_tracks(knots, self.signal, self.shape)
        return waves if self.noise is None else waves + self.noise.estimate()

    def with_tracks(self, knots: Knots, signal: Tensor | None = None) -> "Editable":
        """Return the same sound with other tracks."""
        return replace(self, knots=knots, signal=self.signal if signal is None else signal)


@torch.no_grad()
def editable(network: Network) -> Editable:
    """Return the tracks and the noise of a model; a drift is left out, since it is not audible.

    Raises:
        OptionError: a network of the model is neither tracks, nor partials, nor noise.

    """
    parts, noise = [], None
    for term in network.terms:
        if isinstance(term, NoiseNetwork):
            noise = term
        elif isinstance(term, TracksNetwork) and not term.is_log:
            parts.append((term.tracks.knots, term.tracks.signal))
        elif isinstance(term, SineNetwork):
            parts.append(tracks_of_partials(term.partials, term.grid))
        else:
            problem = f"the model {network.title!r} has a network {term.name!r}, which has no tracks"
            raise OptionError(problem, allowed=f"{EDITABLE}", hint="fit the recording again with one of these models")
    if not parts:
        empty, whole = torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
        parts = [(Knots(whole, empty, empty, empty, empty), whole)]
    knots, signal = joined(parts)
    return Editable(knots, signal, noise, network.sample_rate, network.shape)


Edit = Callable[[Editable], Editable]
"""A function from a sound to an edited one; it changes nothing in place."""


@torch.no_grad()
def network_of(sound: Editable) -> Network:
    """Return a sound as a model: tracks, and noise if it has any; knots are moved to the nearest sample."""
    knots, signal = on_samples(sound.knots, sound.signal, sound.n_samples)
    signals = Signals(sound.sample_rate, *sound.shape)
    tracks = TracksNetwork(signals, tracks=Tracks(knots, signal), step=1)
    return tracks if sound.noise is None else SumNetwork([tracks, sound.noise])
