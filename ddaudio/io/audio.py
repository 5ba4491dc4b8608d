"""Recordings: samples read from a file and checked."""

import contextlib
import dataclasses
import hashlib
import math
import os
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile  # type: ignore[import-untyped]
import torch
from torch import Tensor

from ddaudio.errors import OptionError, RecordingError
from ddaudio.io.atomic import whole_file
from ddaudio.io.checks import finite_problem, rate_problem, shape_problem
from ddaudio.io.paths import quoted
from ddaudio.io.samples import Samples, block_length, blocks, collect, on_cpu
from ddaudio.io.statistics import SampleStatistics, sample_statistics
from ddaudio.io.wav import write_wav

__all__ = ["Recording", "read", "resample", "whole_file", "write_wav"]

_FORMATS = {"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"}
_READABLE = "WAV, FLAC, OGG, MP3 or AIFF"
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"\xff\xfb")
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
    """`[C, T]` float32, full scale 1.0, all finite; C from 1 to MAX_CHANNELS, T at least 1. What `read` gives is a tensor
    up to `ddaudio.io.samples.IN_MEMORY_SAMPLES`, and a `ddaudio.io.samples.Spool` beyond; slices `[:, first:last]` suit both."""
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
    """Whether the file ends before all that it declares (OGG, which declares no length: without its end mark)."""

    def __post_init__(self) -> None:
        problem = rate_problem(self.sample_rate) or _type_problem(self.samples) or shape_problem(self.samples)
        if problem := problem or finite_problem(self._survey, self.samples, self.sample_rate):
            raise RecordingError(f"cannot use {quoted(self.source)}: {problem}")
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

    @cached_property
    def content_hash(self) -> str:
        """SHA-256, in hex, of shape, sample rate and samples: equal for equal sound, whatever its file is called."""
        digest = hashlib.sha256(struct.pack("<3q", self.n_channels, self.n_samples, self.sample_rate))
        for block in blocks(self.samples):
            digest.update(np.ascontiguousarray(block.T.numpy(), "<f4").data)
        return digest.hexdigest()

    @cached_property
    def _survey(self) -> SampleStatistics:
        """What one pass over the samples finds."""
        return sample_statistics(self.samples)


def read(path: str | os.PathLike[str], sample_rate: int | None = None) -> Recording:
    """Read a WAV, FLAC, OGG, MP3 or AIFF file, keeping its channels, as `[C, T]` float32 with full scale 1.0.

    A file that ends early is read as far as it goes and marked `truncated`. One of more than IN_MEMORY_SAMPLES (see
    `ddaudio.io.samples`) goes through memory block by block into a temporary file, where its samples stay. With
    `sample_rate`, in Hz from MIN_SAMPLE_RATE to MAX_SAMPLE_RATE, it is resampled to ceil(T * sample_rate / its own
    rate) samples.
    Raises RecordingError if the file is missing or not one of these, if its header is damaged, or if it holds no
    samples or non-finite ones; OptionError if `sample_rate` is out of range or shares no divisor with the file's rate;
    OutputError if the temporary file does not fit on its disk.
    """
    if sample_rate is not None and (problem := rate_problem(sample_rate)):
        raise OptionError(problem)
    path = Path(path)
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file" if path.exists() else "missing"
            raise _refusal(path, f"it is {what}", f"give the path of a {_READABLE} file")
        with path.open("rb") as stream, _decoder(path, stream) as file:
            samples = collect(_decoded(file))
            n_samples, own_rate = samples.shape[1], file.samplerate
            declared_samples = max(_declared_samples(stream, file), n_samples)
            slack = max(2304, n_samples // 100) if file.format == "MP3" else 0  # unindexed, its length is an estimate
            truncated = declared_samples > n_samples + slack or (file.format == "OGG" and not _has_ogg_end(stream))
    except OSError as error:
        raise _refusal(path, error.strerror or str(error), "check that the file can be read") from error
    if n_samples == 0:
        raise _refusal(path, f"it holds no samples (its header declares {declared_samples})", "export it again")
    recording = Recording(samples, own_rate, _printable(path), declared_samples, truncated=truncated)
    return recording if sample_rate is None else resample(recording, sample_rate)


def resample(recording: Recording, sample_rate: int) -> Recording:
    """Return the recording at another sample rate: ceil(T * sample_rate / its own rate) samples, the same object if equal.

    Raises OptionError if `sample_rate` is out of range or shares no divisor with the recording's rate.
    """
    if problem := rate_problem(sample_rate):
        raise OptionError(problem)
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
    # Stretch by stretch, each with the neighbours that the filter reaches: the same values in a third of the memory.
    context, stretch = old * math.ceil(reach / old + 1), old * math.ceil(block_length(recording.n_channels) / old)

    def pieces() -> Iterator[Tensor]:
        """Yield the resampled stretches in order."""
        for start in range(0, recording.n_samples, stretch):
            left = max(start - context, 0)
            piece = on_cpu(recording.samples[:, left : start + stretch + context])
            # Silence behind the end, as the filter assumes it: torchaudio rounds lengths in float32, integers cut them.
            piece = resampler(torch.nn.functional.pad(piece, (0, context)))
            n_new = -(-min(stretch, recording.n_samples - start) * new // old)
            yield piece[:, (start - left) // old * new :][:, :n_new].clone()

    samples, declared = collect(pieces()), -(-recording.declared_samples * new // old)
    return dataclasses.replace(recording, samples=samples, sample_rate=sample_rate, declared_samples=declared)


def _type_problem(samples: Samples) -> str:
    """Return what is wrong with what should be float32 tensors `[C, n]` when sliced, and what to do, or nothing."""
    part = samples[:, :0] if not isinstance(samples, Tensor) and hasattr(samples, "shape") else samples
    if isinstance(part, Tensor) and part.dtype == torch.float32:
        return ""
    return f"samples are {getattr(part, 'dtype', type(part).__name__)}; give a float32 torch.Tensor [C, T]"


def _printable(path: Path) -> str:
    """Return the path as text that any file can hold: bytes of a name that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _refusal(path: Path, reason: str, remedy: str) -> RecordingError:
    """Return the error that says why a file cannot be read."""
    return RecordingError(f"cannot read {quoted(path)}: {reason}", hint=remedy)


def _decoder(path: Path, stream: BinaryIO) -> soundfile.SoundFile:
    """Open a file that libsndfile can decode; raises RecordingError, which says what else the file seems to be."""
    with contextlib.suppress(soundfile.LibsndfileError, TypeError):  # TypeError: a name ending in `.raw`
        file = soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else str(path))
        if file.format in _FORMATS:
            return file
        file.close()
    head = stream.read(4096)
    text = head.decode("utf-8", errors="ignore")
    if not head:
        raise _refusal(path, "it is empty (0 bytes)", "copy or export it again")
    if head.startswith(_MAGIC):
        raise _refusal(path, "its header is damaged or cut short", "copy or export it again")
    if text and all(character.isprintable() or character.isspace() for character in text):
        raise _refusal(path, "it holds text, not sound", f"give a {_READABLE} file")
    raise _refusal(path, f"it is not a {_READABLE} file", "convert it to one of these")


def _decoded(file: soundfile.SoundFile) -> Iterator[Tensor]:
    """Yield what can be decoded, in blocks `[C, n]`; at least one, which may be empty."""
    more = True
    while more:
        block = np.full((block_length(file.channels), file.channels), np.nan, dtype=np.float32)
        try:
            n_frames = len(file.read(out=block))
            more = n_frames == len(block)
        except soundfile.LibsndfileError:  # a cut FLAC: what was decoded replaced the NaNs, nobody says how much
            n_frames, more = int(np.append(np.isnan(block).any(axis=1), True).argmax()), False
        yield torch.from_numpy(np.ascontiguousarray(block[:n_frames].T))


def _declared_samples(stream: BinaryIO, file: soundfile.SoundFile) -> int:
    """Return how many samples of each channel the header declares; 0 if it does not say."""
    # libsndfile corrects its count to the length of a WAV or AIFF file, so their headers are read here.
    stream.seek(0)
    order = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}.get(stream.read(12)[:4])
    bytes_per_frame = long_size = 0
    while order and len(head := stream.read(8)) == 8:
        name, size = struct.unpack(f"{order}4sI", head)
        end = stream.tell() + size + size % 2
        body = stream.read(16).ljust(16, b"\0")
        if name == b"COMM":
            return int(struct.unpack_from(">I", body, 2)[0])
        if name == b"ds64":
            long_size = struct.unpack_from("<Q", body, 8)[0]
        if name == b"fmt " and (layout := struct.unpack(f"{order}H10xHxx", body))[0] in (1, 3, 6, 7, 0xFFFE):
            bytes_per_frame = layout[1]
        if name == b"data":  # 0 if it is compressed, or if the writer could not know the length yet
            known = bytes_per_frame > 0 and not 0x7FFF0000 <= size <= 0x80000000
            return int(long_size if size == 0xFFFFFFFF else size) // bytes_per_frame if known else 0
        stream.seek(end)
    return 0 if file.frames == (1 << 63) - 1 else int(file.frames)


def _has_ogg_end(stream: BinaryIO) -> bool:
    """Return whether the last page of an OGG file, which has at most 65,307 bytes, is whole and marked as the last."""
    stream.seek(max(stream.seek(0, os.SEEK_END) - 65_536, 0))
    page = stream.read().rpartition(b"OggS")[2]
    return len(page) > 22 and page[1] & 4 > 0 and len(page) >= 23 + page[22] + sum(page[23 : 23 + page[22]])
