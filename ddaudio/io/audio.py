"""Recordings: samples read from a file and checked."""

import dataclasses
import hashlib
import math
import os
import struct
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddaudio.errors import OptionError, RecordingError
from ddaudio.io.atomic import whole_file
from ddaudio.io.audio_decoding import open_decoder, refusal
from ddaudio.io.checks import Refusal, check_finite, check_rate, check_shape
from ddaudio.io.paths import quoted
from ddaudio.io.samples import Samples, block_length, blocks, collect, on_cpu
from ddaudio.io.statistics import SampleStatistics, sample_statistics
from ddaudio.io.wav import write_wav

__all__ = ["Recording", "read", "resample", "whole_file", "write_wav"]

# torchaudio's recommended best quality: a tone at 0.4 of the lower rate is off by less than 1e-4.
_LOWPASS_WIDTH, _ROLLOFF, _KAISER_BETA = 64, 0.9475937167399596, 14.769656459379492
_LARGEST_FILTER = 1 << 26


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Samples with their sample rate and source, checked once; raises RecordingError if they are not as described.

    >>> tone = Recording(torch.sin(torch.arange(8000) / 5)[None], sample_rate=8000)
    >>> tone.n_channels, tone.n_samples, tone.duration_s, tone.clipped_samples
    (1, 8000, 1.0, 0)
    """

    samples: Samples = dataclasses.field(repr=False)
    """`[C, T]` float32, full scale 1.0, all finite; C from 1 to MAX_CHANNELS, T at least 1. `read` returns a tensor
    up to `ddaudio.io.samples.IN_MEMORY_SAMPLES` and `ddaudio.io.samples.DiskSamples` above; both take slices
    `[:, first:last]`."""
    sample_rate: int
    """Hz, from MIN_SAMPLE_RATE to MAX_SAMPLE_RATE."""
    source: str = "samples"
    """The path as it was given, or `samples` for what never was a file."""
    declared_samples: int = -1
    """T according to the file's header, at `sample_rate`; by default T itself."""
    clipped_samples: int = -1
    """Samples of all channels in flat tops, see `ddaudio.io.statistics`; counted by default. A resampled recording
    keeps the count of its file, because resampling rounds the flat tops off."""
    truncated: bool = False
    """Whether sound is missing: the file ends before its own end mark or declared length, or a part cannot be decoded."""
    warnings: tuple[str, ...] = ()
    """Problems found while the file was read, such as `truncated: ...`, `damaged: ...` or `incomplete: ...`."""
    file_format: str = ""
    """Name of the file format in libsndfile, such as `FLAC (Free Lossless Audio Codec)`; empty without a file."""
    encoding: str = ""
    """Encoding of samples in the file, such as `Signed 16 bit PCM`; empty without a file."""

    def __post_init__(self) -> None:
        refusal = partial(RecordingError, source=quoted(self.source))
        check_rate(self.sample_rate, refusal)
        _check_type(self.samples, refusal)
        check_shape(self.samples, refusal)
        check_finite(self._survey, self.samples, self.sample_rate, refusal)
        if self.declared_samples < 0:
            object.__setattr__(self, "declared_samples", self.n_samples)
        if self.clipped_samples < 0:
            object.__setattr__(self, "clipped_samples", self._survey.clipped_samples)

    @property
    def n_channels(self) -> int:
        """Number of channels, C."""
        return self.samples.shape[0]

    @property
    def n_samples(self) -> int:
        """Number of samples in each channel, T."""
        return self.samples.shape[1]

    @property
    def duration_s(self) -> float:
        """Length in seconds, T / sample_rate."""
        return self.n_samples / self.sample_rate

    @property
    def peak(self) -> float:
        """The largest absolute sample of all channels; full scale is 1.0."""
        return self._survey.peak

    @property
    def energy(self) -> float:
        """The sum of squares of the samples of all channels, added up in float64."""
        return self._survey.energy

    @property
    def means(self) -> Tensor:
        """The mean of each channel, `[C]` float64."""
        return self._survey.means

    @cached_property
    def content_hash(self) -> str:
        """SHA-256, in hex, of shape, sample rate and samples, independent of the name of the file."""
        digest = hashlib.sha256(struct.pack("<3q", self.n_channels, self.n_samples, self.sample_rate))
        for block in blocks(self.samples):
            digest.update(np.ascontiguousarray(block.T.numpy(), "<f4").data)
        return digest.hexdigest()

    @cached_property
    def _survey(self) -> SampleStatistics:
        """Statistics from one pass over the samples."""
        return sample_statistics(self.samples)


def read(path: str | os.PathLike[str], sample_rate: int | None = None) -> Recording:
    """Read a WAV, FLAC, OGG, MP3 or AIFF file, keeping its channels, as `[C, T]` float32 with full scale 1.0.

    All consecutive streams of a file are decoded to their ends: lengths in headers are hints. A file that ends early or is
    damaged is read as far as possible, marked `truncated`, and described by its `warnings`. More than IN_MEMORY_SAMPLES
    (see `ddaudio.io.samples`) are moved to a temporary file block by block. With `sample_rate`, in Hz from
    MIN_SAMPLE_RATE to MAX_SAMPLE_RATE, the result is resampled to ceil(T * sample_rate / its own rate) samples.

    Raises RecordingError if the file is missing or not one of these, if libsndfile cannot decode it, or if it holds no
    samples or non-finite ones; OptionError if `sample_rate` is out of range or shares no divisor with the file's rate;
    OutputError if the temporary file does not fit on its disk.
    """
    if sample_rate is not None:
        check_rate(sample_rate)
    path = Path(path)
    with open_decoder(path) as decoder:
        samples = collect(decoder.blocks())
    if decoder.n_samples == 0:
        raise refusal(path, f"it holds no samples (its header declares {decoder.declared_samples})", "export it again")
    recording = Recording(
        samples,
        decoder.sample_rate,
        _printable(path),
        decoder.declared_samples,
        truncated=decoder.is_truncated,
        warnings=tuple(decoder.warnings),
        file_format=decoder.file_format,
        encoding=decoder.encoding,
    )
    return recording if sample_rate is None else resample(recording, sample_rate)


def resample(recording: Recording, sample_rate: int) -> Recording:
    """Return the recording at another sample rate: ceil(T * sample_rate / its own rate) samples, the same object if equal.

    Raises OptionError if `sample_rate` is out of range or shares no divisor with the recording's rate.
    """
    check_rate(sample_rate)
    if sample_rate == recording.sample_rate:
        return recording
    from torchaudio.transforms import Resample  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import

    common = math.gcd(recording.sample_rate, sample_rate)
    old, new = recording.sample_rate // common, sample_rate // common
    reach = math.ceil(_LOWPASS_WIDTH * old / (min(old, new) * _ROLLOFF))
    if new * (old + 2 * reach) > _LARGEST_FILTER:
        given = f"cannot resample {quoted(recording.source)} from {recording.sample_rate} to {sample_rate} Hz"
        raise OptionError(f"{given}: their largest common divisor, {common}, is too small", hint="choose a rounder rate")
    resampler = Resample(old, new, "sinc_interp_kaiser", _LOWPASS_WIDTH, _ROLLOFF, _KAISER_BETA)
    # In blocks that overlap by the length of the filter: the same values with a third of the memory.
    context, stretch = old * math.ceil(reach / old + 1), old * math.ceil(block_length(recording.n_channels) / old)

    def pieces() -> Iterator[Tensor]:
        """Yield the resampled blocks in order."""
        for start in range(0, recording.n_samples, stretch):
            left = max(start - context, 0)
            piece = on_cpu(recording.samples[:, left : start + stretch + context])
            # Zeros after the end, as the filter assumes; the length is an integer, since torchaudio rounds it in float32.
            piece = resampler(torch.nn.functional.pad(piece, (0, context)))
            n_new = -(-min(stretch, recording.n_samples - start) * new // old)
            yield piece[:, (start - left) // old * new :][:, :n_new].clone()

    samples, declared = collect(pieces()), -(-recording.declared_samples * new // old)
    return dataclasses.replace(recording, samples=samples, sample_rate=sample_rate, declared_samples=declared)


def _check_type(samples: Samples, refusal: Refusal) -> None:
    """Raise an error for samples whose slices are not float32 tensors `[C, n]`."""
    part = samples[:, :0] if not isinstance(samples, Tensor) and hasattr(samples, "shape") else samples
    if not isinstance(part, Tensor) or part.dtype != torch.float32:
        given = getattr(part, "dtype", type(part))
        raise refusal(setting="samples", verb="are", value=given, allowed="a float32 torch.Tensor [C, T]")


def _printable(path: Path) -> str:
    """Return the path as valid text: bytes of a name that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
