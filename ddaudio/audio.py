"""Recordings: samples read from a file and checked, and WAV files written whole or not at all."""

import contextlib
import dataclasses
import hashlib
import math
import os
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, get_args

import numpy as np
import soundfile  # type: ignore[import-untyped]
import torch

from ddaudio.errors import OptionError, OutputError, RecordingError
from ddaudio.options import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, Encoding

MAX_CHANNELS = 1_024
CLIPPED_LEVEL = 0.9999

_FORMATS = {"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"}
_READABLE = "WAV, FLAC, OGG, MP3 or AIFF"
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"\xff\xfb")
_BLOCK = 1 << 20
_BYTES_PER_SAMPLE: dict[str, int] = {"pcm16": 2, "pcm24": 3, "float32": 4}
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

    samples: torch.Tensor = dataclasses.field(repr=False)
    """`[C, T]` float32, full scale 1.0, all finite; C from 1 to MAX_CHANNELS, T at least 1."""
    sample_rate: int
    """Hz, from MIN_SAMPLE_RATE to MAX_SAMPLE_RATE."""
    source: str = "samples"
    """The path as it was given, or `samples` for what never was a file."""
    declared_samples: int = -1
    """T according to the file's header, at `sample_rate`; by default T itself."""
    clipped_samples: int = -1
    """Samples of all channels that stand in a run of three or more of one sign at CLIPPED_LEVEL; counted by default.
    A resampled recording keeps the count of its file, because resampling rounds the flat tops off."""
    truncated: bool = False
    """Whether the file ends before all that it declares (OGG, which declares no length: without its end mark)."""

    def __post_init__(self) -> None:
        if problem := _rate_problem(self.sample_rate) or _samples_problem(self.samples, self.sample_rate):
            raise RecordingError(f"cannot use {_quoted(self.source)}: {problem}")
        if self.declared_samples < 0:
            object.__setattr__(self, "declared_samples", self.n_samples)
        if self.clipped_samples < 0:
            object.__setattr__(self, "clipped_samples", _count_clipped(self.samples))

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

    @cached_property
    def content_hash(self) -> str:
        """SHA-256, in hex, of shape, sample rate and samples: equal for equal sound, whatever its file is called."""
        digest = hashlib.sha256(struct.pack("<3q", self.n_channels, self.n_samples, self.sample_rate))
        digest.update(np.ascontiguousarray(self.samples.detach().cpu().numpy(), "<f4").data)
        return digest.hexdigest()


def read(path: str | os.PathLike[str], sample_rate: int | None = None) -> Recording:
    """Read a WAV, FLAC, OGG, MP3 or AIFF file, keeping its channels, as `[C, T]` float32 with full scale 1.0.

    A file that ends early is read as far as it goes and marked `truncated`. With `sample_rate`, in Hz from
    MIN_SAMPLE_RATE to MAX_SAMPLE_RATE, it is resampled to ceil(T * sample_rate / its own rate) samples.
    Raises RecordingError if the file is missing or not one of these, if its header is damaged, or if it holds no
    samples or non-finite ones; OptionError if `sample_rate` is out of range or shares no divisor with the file's rate.
    """
    if sample_rate is not None and (problem := _rate_problem(sample_rate)):
        raise OptionError(problem)
    path = Path(path)
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file" if path.exists() else "missing"
            raise _refusal(path, f"it is {what}", f"give the path of a {_READABLE} file")
        with path.open("rb") as stream, _decoder(path, stream) as file:
            samples = _read_samples(file)
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


def write_wav(path: str | os.PathLike[str], samples: torch.Tensor, sample_rate: int, encoding: Encoding) -> float:
    """Write `samples` `[C, T]`, full scale 1.0, as a WAV file whole or not at all; return the gain that was applied.

    PCM is rounded to the nearest step, without dither, and never clips: what goes beyond full scale is scaled down as
    a whole until it fits, so the gain is in (0, 1]. `float32` is written as it is. Above 4 GB the file is RF64.
    Raises OutputError as `whole_file` does; OptionError if samples, rate (Hz) or encoding are out of range.
    """
    if encoding not in get_args(Encoding):
        raise OptionError(f"encoding is {encoding!r}; allowed are {', '.join(get_args(Encoding))}; choose one of these")
    samples = samples.detach().to("cpu", torch.float32)
    if problem := _rate_problem(sample_rate) or _samples_problem(samples, sample_rate):
        raise OptionError(f"cannot write {_quoted(path)}: {problem}")
    n_channels, n_samples = samples.shape
    lowest, highest = (float(extreme) for extreme in torch.aminmax(samples))
    top = 1 - 2.0 ** (1 - 8 * _BYTES_PER_SAMPLE[encoding])  # PCM goes from -1 to one step below 1
    gain = 1.0 if encoding == "float32" else top / max(top, highest, -lowest * top)
    with whole_file(path) as stream:
        stream.write(_wav_header(n_channels, n_samples, sample_rate, encoding))
        for start in range(0, n_samples, _BLOCK // n_channels):
            stream.write(_encoded(samples[:, start : start + _BLOCK // n_channels].T, gain, encoding))
        stream.write(b"\0" * (n_channels * n_samples * _BYTES_PER_SAMPLE[encoding] % 2))
    return gain


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its place at `path` only when the block ends without an error.

    Raises OutputError if it cannot be written; then an older file at `path` is untouched and no part of the new stays.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name[:100]}.tmp-{os.getpid()}"
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {_quoted(path)}: it is not a file; give the path of a file")
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = f"there is no folder {_quoted(path.parent)}" if absent else error.strerror
        raise OutputError(f"cannot write {_quoted(path)}: {reason}; give a writable folder with room") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _printable(path: Path) -> str:
    """Return the path as text that any file can hold: bytes of a name that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _quoted(path: str | os.PathLike[str]) -> str:
    return repr(os.fspath(path)).replace("\\\\", "\\")


def _refusal(path: Path, reason: str, remedy: str) -> RecordingError:
    return RecordingError(f"cannot read {_quoted(path)}: {reason}; {remedy}")


def _rate_problem(sample_rate: int) -> str:
    if isinstance(sample_rate, int) and MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        return ""
    return f"sample_rate is {sample_rate!r}; choose a whole number of Hz from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"


def _samples_problem(samples: torch.Tensor, sample_rate: int) -> str:
    if not isinstance(samples, torch.Tensor) or samples.dtype != torch.float32:
        return f"samples are {getattr(samples, 'dtype', type(samples).__name__)}; give a float32 torch.Tensor [C, T]"
    if samples.ndim != 2 or samples.numel() == 0 or len(samples) > MAX_CHANNELS:
        return f"samples have shape {list(samples.shape)}; give [C, T], C from 1 to {MAX_CHANNELS}, T at least 1"
    # The extremes are NaN where any sample is, and take no memory: an hour of sound leaves no room for masks.
    if all(math.isfinite(extreme) for extreme in torch.aminmax(samples)):
        return ""
    bad = ~samples.isfinite()
    first, channel = (int(index) for index in bad.T.nonzero()[0])
    where = f"the first at {first / sample_rate:.6g} s (sample {first} of channel {channel})"
    return f"{int(bad.sum())} of {bad.numel()} samples are NaN or infinite, {where}; repair or export it again"


def _count_clipped(samples: torch.Tensor) -> int:
    count = 0
    for full in filter(torch.any, (samples >= CLIPPED_LEVEL, samples <= -CLIPPED_LEVEL)):
        run_ends = torch.nn.functional.pad(full, (2, 2)).unfold(1, 3, 1).all(dim=-1)
        count += int(run_ends.unfold(1, 3, 1).any(dim=-1).count_nonzero())
    return count


def resample(recording: Recording, sample_rate: int) -> Recording:
    """Return the recording at another sample rate: ceil(T * sample_rate / its own rate) samples, the same object if equal.

    Raises OptionError if `sample_rate` is out of range or shares no divisor with the recording's rate.
    """
    if problem := _rate_problem(sample_rate):
        raise OptionError(problem)
    if sample_rate == recording.sample_rate:
        return recording
    from torchaudio.transforms import Resample  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import

    common = math.gcd(recording.sample_rate, sample_rate)
    old, new = recording.sample_rate // common, sample_rate // common
    reach = math.ceil(_LOWPASS_WIDTH * old / (min(old, new) * _ROLLOFF))
    if new * (old + 2 * reach) > _LARGEST_FILTER:
        given = f"cannot resample {_quoted(recording.source)} from {recording.sample_rate} to {sample_rate} Hz"
        raise OptionError(f"{given}: their largest common divisor, {common}, is too small; choose a rounder rate")
    resampler = Resample(old, new, "sinc_interp_kaiser", _LOWPASS_WIDTH, _ROLLOFF, _KAISER_BETA)
    # Stretch by stretch, each with the neighbours that the filter reaches: the same values in a third of the memory.
    context, stretch = old * math.ceil(reach / old + 1), old * math.ceil(_BLOCK / old)
    pieces = []
    for start in range(0, recording.n_samples, stretch):
        left = max(start - context, 0)
        piece = resampler(recording.samples[:, left : start + stretch + context])
        pieces.append(piece[:, (start - left) // old * new :][:, : stretch // old * new].clone())
    samples, declared = torch.cat(pieces, dim=1), math.ceil(recording.declared_samples * new / old)
    return dataclasses.replace(recording, samples=samples, sample_rate=sample_rate, declared_samples=declared)


def _decoder(path: Path, stream: BinaryIO) -> soundfile.SoundFile:
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


def _read_samples(file: soundfile.SoundFile) -> torch.Tensor:
    blocks, more = [], True
    while more:
        block = np.full((_BLOCK // file.channels, file.channels), np.nan, dtype=np.float32)
        try:
            n_frames = len(file.read(out=block))
            more = n_frames == len(block)
        except soundfile.LibsndfileError:  # a cut FLAC: what was decoded replaced the NaNs, nobody says how much
            n_frames, more = int(np.append(np.isnan(block).any(axis=1), True).argmax()), False
        blocks.append(torch.from_numpy(np.ascontiguousarray(block[:n_frames].T)))
    return torch.cat(blocks, dim=1)


def _declared_samples(stream: BinaryIO, file: soundfile.SoundFile) -> int:
    # libsndfile corrects its count to the length of a WAV or AIFF file, so their headers are read here; 0 is unknown.
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


def _has_ogg_end(stream: BinaryIO) -> bool:  # whether the last page is whole and marked so; it has at most 65,307 bytes
    stream.seek(max(stream.seek(0, os.SEEK_END) - 65_536, 0))
    page = stream.read().rpartition(b"OggS")[2]
    return len(page) > 22 and page[1] & 4 > 0 and len(page) >= 23 + page[22] + sum(page[23 : 23 + page[22]])


def _encoded(frames: torch.Tensor, gain: float, encoding: Encoding) -> bytes:
    if encoding == "float32":
        return np.ascontiguousarray(frames.numpy(), "<f4").tobytes()
    width = _BYTES_PER_SAMPLE[encoding]
    steps = (frames.double() * (gain * (1 << (8 * width - 1)))).round().numpy()
    return np.ascontiguousarray(steps, "<i4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes()


def _wav_header(n_channels: int, n_samples: int, sample_rate: int, encoding: Encoding) -> bytes:
    width = _BYTES_PER_SAMPLE[encoding]
    n_bytes, per_second = n_samples * n_channels * width, sample_rate * n_channels * width
    layout = (3 if encoding == "float32" else 1, n_channels, sample_rate, per_second, n_channels * width, 8 * width)
    chunks = struct.pack("<4sIHHIIHH", b"fmt ", 16, *layout)
    if encoding == "float32":
        chunks += struct.pack("<4sII", b"fact", 4, min(n_samples, 0xFFFFFFFF))
    size = 12 + len(chunks) + n_bytes + n_bytes % 2
    if size <= 0xFFFFFFFF:
        return struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + chunks + struct.pack("<4sI", b"data", n_bytes)
    chunks = struct.pack("<4sIQQQI", b"ds64", 28, size + 36, n_bytes, n_samples, 0) + chunks
    return struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE") + chunks + struct.pack("<4sI", b"data", 0xFFFFFFFF)
