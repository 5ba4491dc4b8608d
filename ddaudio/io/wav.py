"""Atomic writing of WAV files."""

import os
import struct
from functools import partial
from typing import BinaryIO, get_args

import numpy as np
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.io.atomic import whole_file
from ddaudio.io.checks import check_finite, check_rate, check_shape
from ddaudio.io.paths import quoted
from ddaudio.io.samples import Samples, blocks
from ddaudio.io.statistics import sample_statistics
from ddaudio.options import Encoding

_BYTES_PER_SAMPLE: dict[str, int] = {"pcm16": 2, "pcm24": 3, "float32": 4}


def write_wav(path: str | os.PathLike[str], samples: Samples, sample_rate: int, encoding: Encoding) -> float:
    """Write `samples` `[C, T]`, full scale 1.0, as a WAV file atomically; return the gain that was applied.

    PCM is rounded to the nearest step, without dither, and never clips: samples that exceed full scale are scaled down as a
    whole, so the gain is in (0, 1]. `float32` is written unchanged. Above 4 GB the file is RF64.
    The samples are read twice, block by block, so samples that are expensive to compute should be stored first.
    Raises OutputError as `whole_file` does; OptionError if samples, rate (Hz) or encoding are out of range.
    """
    if encoding not in get_args(Encoding):
        raise OptionError(setting="encoding", value=encoding, allowed=", ".join(get_args(Encoding)))
    refusal = partial(OptionError, source=quoted(path))
    check_rate(sample_rate, refusal)
    check_shape(samples, refusal)
    found = sample_statistics(samples)
    check_finite(found, samples, sample_rate, refusal)
    n_channels, n_samples = samples.shape
    top = 1 - 2.0 ** (1 - 8 * _BYTES_PER_SAMPLE[encoding])  # PCM goes from -1 to one step below 1
    gain = 1.0 if encoding == "float32" else top / max(top, found.highest, -found.lowest * top)
    with whole_file(path) as stream:
        stream.write(_wav_header(n_channels, n_samples, sample_rate, encoding))
        for block in blocks(samples):
            _write_sparsely(stream, _encoded(block.T, gain, encoding))
        stream.truncate()
        stream.write(b"\0" * (n_channels * n_samples * _BYTES_PER_SAMPLE[encoding] % 2))
    return gain


def _write_sparsely(stream: BinaryIO, data: bytes) -> None:
    """Write bytes; zeros are left out, and take no room on disks with sparse files. ``truncate`` must follow at the end."""
    if np.frombuffer(data, np.uint8).any():
        stream.write(data)
    else:
        stream.seek(len(data), os.SEEK_CUR)


def _encoded(frames: Tensor, gain: float, encoding: Encoding) -> bytes:
    """Return frames `[n, C]` as little-endian bytes, scaled by the gain and rounded where the encoding is PCM."""
    if encoding == "float32":
        return np.ascontiguousarray(frames.numpy(), "<f4").tobytes()
    width = _BYTES_PER_SAMPLE[encoding]
    steps = (frames.double() * (gain * (1 << (8 * width - 1)))).round().numpy()
    return np.ascontiguousarray(steps, "<i4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes()


def _wav_header(n_channels: int, n_samples: int, sample_rate: int, encoding: Encoding) -> bytes:
    """Return all bytes before the samples: RIFF, or RF64 if the file is too long for RIFF."""
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
