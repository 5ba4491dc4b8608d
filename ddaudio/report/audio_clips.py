"""Sounds for pages: FLAC in base64."""

import base64
import io
import math
from dataclasses import dataclass

import soundfile  # type: ignore[import-untyped]
import torch
from torch import Tensor

from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Samples, block_length, on_cpu
from ddaudio.results.read import FitAudio

LONGEST_SAMPLES = 1 << 24
"""Largest number of samples of a sound on a page, over all channels (three minutes of stereo at 44.1 kHz)."""
MOST_CHANNELS = 8
"""Largest number of channels of FLAC."""
LOWEST_RATE, HIGHEST_RATE = 8_000, 96_000
"""Range of sample rates that all browsers play; sounds with other rates are resampled."""


@dataclass(frozen=True)
class Clip:
    """A sound as 16-bit FLAC."""

    name: str
    flac: bytes
    gain: float
    """Factor that restores the original level: a power of two, to avoid rounding."""
    rms: float
    """Root mean square of the sound at its original level; full scale is 1."""

    @property
    def base64(self) -> str:
        """The FLAC file as text."""
        return base64.b64encode(self.flac).decode("ascii")


@dataclass(frozen=True)
class Clips:
    """The sounds of a page."""

    clips: tuple[Clip, ...]
    """Original, resynthesis, residual, and waves and noise of a model with noise."""
    start_s: float
    """Start of the clips within the recording, in seconds."""
    end_s: float
    sample_rate: int
    n_channels: int


def clips(sounds: FitAudio, longest: int | None = None) -> Clips:
    """Return the sounds of a fit; of more than ``longest`` samples in total, the excerpt with most error."""
    n_channels, n_samples = sounds.original.shape
    heard = min(n_channels, MOST_CHANNELS)
    length = min(n_samples, (longest or LONGEST_SAMPLES) // heard)
    start = 0 if length == n_samples else worst_stretch(sounds.residual, length)
    taken_as, rate = _rates(sounds.sample_rate)
    named = sounds.by_name()

    def part(sound: Samples) -> Tensor:
        """Return the excerpt of a sound at the rate of the clips."""
        excerpt = on_cpu(sound[:heard, start : start + length])
        return excerpt if rate == sounds.sample_rate else on_cpu(audio.resample(Recording(excerpt, taken_as), rate).samples[:, :])

    # One at a time: together the excerpts would be most of the memory that a long fit takes.
    peaks = [float(torch.stack(part(sound).aminmax()).abs().amax()) for sound in named.values()]
    peaks[0] = peaks[1] = max(peaks[:2])  # original and resynthesis are compared
    made = tuple(_clip(name, part(sound), rate, peak) for (name, sound), peak in zip(named.items(), peaks, strict=True))
    return Clips(made, start / sounds.sample_rate, (start + length) / sounds.sample_rate, rate, heard)


def excerpt_clip(sound: Samples, sample_rate: int, name: str, longest: int) -> Clip:
    """Return the first ``longest`` samples of a sound, of as many channels as a page can play."""
    taken_as, rate = _rates(sample_rate)
    excerpt = on_cpu(sound[: min(sound.shape[0], MOST_CHANNELS), :longest])
    if rate != sample_rate:
        excerpt = on_cpu(audio.resample(Recording(excerpt, taken_as), rate).samples[:, :])
    return _clip(name, excerpt, rate, float(torch.stack(excerpt.aminmax()).abs().amax()))


def _rates(sample_rate: int) -> tuple[int, int]:
    """Return the assumed rate of a recording, and the rate of its clips; one is a multiple of the other.

    The assumed rate differs from the true one by less than 1e-4, a sixth of a cent; other ratios would need very long filters.
    """
    if sample_rate < LOWEST_RATE:
        return sample_rate, sample_rate * math.ceil(LOWEST_RATE / sample_rate)
    if sample_rate > HIGHEST_RATE or (sample_rate >= 1 << 16 and sample_rate % 10):  # FLAC counts high rates in tens of Hz
        factor = math.ceil(sample_rate / (HIGHEST_RATE // 2))
        played = min(round(sample_rate / factor), HIGHEST_RATE)
        return played * factor, played
    return sample_rate, sample_rate


def _clip(name: str, samples: Tensor, sample_rate: int, peak: float) -> Clip:
    """Encode samples ``[C, T]`` with absolute values up to ``peak``, scaled to full scale by a power of two."""
    gain = 2.0 ** math.ceil(math.log2(peak / (1 - 2**-15))) if peak > 0 else 1.0
    stream = io.BytesIO()
    soundfile.write(stream, (samples / gain).T.numpy(), sample_rate, format="FLAC", subtype="PCM_16")
    return Clip(name, stream.getvalue(), gain, float(samples.double().square_().mean().sqrt()))


def worst_stretch(residual: Samples, length: int) -> int:
    """Return the start of the ``length`` samples with most energy of the residual, to within a percent of ``length``."""
    n_channels, n_samples = residual.shape
    step = max(1, length // 100)
    at_once = max(1, block_length(n_channels) // step)
    # In one tensor: a small one from each block would keep the heap from shrinking.
    energy = torch.zeros(math.ceil(n_samples / step), dtype=torch.float64)
    for first in range(0, len(energy), at_once):
        square = on_cpu(residual[:, first * step : (first + at_once) * step]).double().square_().sum(0)
        square = torch.nn.functional.pad(square, (0, -len(square) % step))
        torch.sum(square.reshape(-1, step), 1, out=energy[first : first + at_once])
    total = torch.cat([torch.zeros(1, dtype=torch.float64), energy.cumsum(0)])
    count = min(length // step, len(energy))
    return min(int((total[count:] - total[:-count]).argmax()) * step, residual.shape[1] - length)
