"""What the tests of reading, writing and spooling share."""

from pathlib import Path

import numpy as np
import torch
from badfiles import sound_bytes

from ddaudio.io.audio import Recording, read
from ddaudio.io.audio_decoding import length_s
from ddaudio.io.samples import DiskSamples

RATE = 44_100
FAULTS = Path(__file__).parent / "faults"
"""Files of other programs, as small as they are wrong: see the `README.md` there."""


def noise(n_samples: int, n_channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Uniform noise on 16-bit steps, so that every lossless format holds it exactly."""
    steps = np.random.default_rng(seed).integers(-20_000, 20_000, (n_channels, n_samples))
    return torch.from_numpy((steps / 32_768).astype(np.float32))


def sine(frequency_hz: float, sample_rate: int, n_samples: int) -> torch.Tensor:
    """A tone at half of full scale, one channel."""
    times_s = torch.arange(n_samples, dtype=torch.float64) / sample_rate
    return (0.5 * torch.sin(2 * torch.pi * frequency_hz * times_s)).float()[None]


def stored(path: Path, samples: torch.Tensor, subtype: str | None = None, sample_rate: int = RATE) -> bytes:
    """The bytes of a sound file, after writing it."""
    return sound_bytes(path, samples.T.numpy(), subtype, sample_rate)


def is_one_line_that_says(message: str, words: tuple[str, ...]) -> bool:
    return "\n" not in message and all(word in message for word in words)


def spooled(samples: torch.Tensor) -> DiskSamples:
    """The same samples in a temporary file."""
    spool = DiskSamples(len(samples))
    spool.append(samples)
    return spool


def read_bytes(folder: Path, name: str, data: bytes) -> Recording:
    """The recording that a file of these bytes gives."""
    (folder / name).write_bytes(data)
    return read(folder / name)


def same(found: Recording, *parts: torch.Tensor) -> bool:
    """Whether a recording is these parts, one behind the other, bit by bit."""
    assert isinstance(found.samples, torch.Tensor)
    return torch.equal(found.samples, torch.cat(parts, 1))


def samples_of(path: Path) -> torch.Tensor:
    samples = read(path).samples
    assert isinstance(samples, torch.Tensor)
    return samples


def duration_samples(path: Path) -> float:
    """The length by the structure of a file, in samples."""
    return length_s(path) * read(path).sample_rate
