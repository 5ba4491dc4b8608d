"""Decode sound files with libsndfile, stream by stream to the end, with warnings about damage and missing parts."""

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile  # type: ignore[import-untyped]
import torch
from torch import Tensor

from ddaudio.errors import RecordingError
from ddaudio.io.audio_chunks import find_chunked_streams, is_chunked
from ddaudio.io.audio_flac import find_flac_streams
from ddaudio.io.audio_mpeg import find_mpeg_streams, tag_length
from ddaudio.io.audio_ogg import find_ogg_streams
from ddaudio.io.audio_signatures import DECODABLE, file_description
from ddaudio.io.audio_streams import Stream, StreamFile, read_at
from ddaudio.io.paths import quoted
from ddaudio.io.quiet_stderr import quiet_c_stderr
from ddaudio.io.samples import block_length

FORMATS = {"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"}
"""Names in libsndfile of formats that are read."""
READABLE = "WAV, FLAC, OGG, MP3 or AIFF"
_MOST_SAMPLES = 1 << 40
"""libsndfile returns more if it does not know the length."""
_MPEG_SLACK_SAMPLES = 2304
"""Samples that a decoder of MPEG audio may omit at the end: two frames."""


class _StreamDecoder(soundfile.SoundFile):  # type: ignore[misc]
    """A stream opened by libsndfile."""

    def __init__(self, file: BinaryIO, stream: Stream) -> None:
        """Open a stream; raises LibsndfileError, or OSError if the system cannot read it."""
        self.bytes_of_stream = StreamFile(file, stream)
        with quiet_c_stderr():
            try:
                super().__init__(self.bytes_of_stream)
            finally:
                self.check()

    def seekable(self) -> bool:
        """Return False: `soundfile` otherwise seeks after each read, which restarts libmpg123 and changes samples."""
        return False

    def check(self) -> None:
        """Raise the OSError of a failed read, which libsndfile takes for the end of the file."""
        if self.bytes_of_stream.error:
            raise self.bytes_of_stream.error

    def next_block(self) -> tuple[Tensor, str | None]:
        """Return the next samples `[C, n]`, n below a block at the end, and an error message if decoding failed."""
        block = np.full((block_length(self.channels), self.channels), np.nan, dtype=np.float32)
        reason = None
        with quiet_c_stderr():
            try:
                n_frames = len(self.read(out=block))
            except soundfile.LibsndfileError as error:  # decoded samples replaced the NaNs; their count is not returned
                n_frames, reason = int(np.append(np.isnan(block).any(axis=1), True).argmax()), _reason(error)
        self.check()
        return torch.from_numpy(np.ascontiguousarray(block[:n_frames].T)), reason


class Decoder:
    """Decoder of a sound file, which is read once from beginning to end."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Open a file; raises RecordingError with its format and the reason if it cannot be decoded, and OSError."""
        self._file, self._streams = file, find_streams(file)
        first = _open(path, file, self._streams[0])
        self._decoder: _StreamDecoder | None = first
        self.sample_rate, self.n_channels = int(first.samplerate), int(first.channels)
        self.file_format, self.encoding = str(first.format_info), str(first.subtype_info)
        self.n_samples = 0
        """Samples per channel decoded so far."""
        self.declared_samples = 0
        """Samples per channel that the headers declare; the decoded ones where they declare none."""
        self.is_truncated = False
        """Whether sound is missing: the file ends early, or decoding failed."""
        self.warnings: list[str] = []
        """Problems, each an adjective, a colon and a description."""
        self._is_cut = False

    def structural_samples(self) -> int | None:
        """Return the samples per channel from the structure of the file; None if only decoding can find out."""
        total = 0
        for number, stream in enumerate(self._streams):
            decoder = self._decoder if number == 0 else self._next_decoder(number, stream)
            if decoder is not None:
                known = _frames(stream, decoder) or stream.declared_samples
                n_samples = min(known, stream.declared_samples) if decoder.format == "MP3" else known
                if n_samples == 0:
                    return None
                total += n_samples
        return total

    def blocks(self) -> Iterator[Tensor]:
        """Yield decoded blocks `[C, n]`, at least one, which may be empty."""
        for number, stream in enumerate(self._streams):
            decoder = self._next_decoder(number, stream)
            if decoder is None:
                yield torch.zeros(self.n_channels, 0)
                continue
            before, reason, is_full = self.n_samples, None, True
            while is_full and reason is None:
                block, reason = decoder.next_block()
                is_full = block.shape[1] == block_length(self.n_channels)
                self.n_samples += block.shape[1]
                yield block
            self._judge(stream, decoder, self.n_samples - before, reason)
        if self._is_cut:
            of = f" of {self.declared_samples}" if self.declared_samples > self.n_samples else ""
            ending = f"the file ends after {self.n_samples}{of} samples, before its own end mark or declared length"
            self.warnings.insert(0, f"truncated: {ending}")
        self.is_truncated = self.is_truncated or self._is_cut

    def _next_decoder(self, number: int, stream: Stream) -> _StreamDecoder | None:
        """Return the decoder of a stream; None, with a warning, if it cannot continue the streams before."""
        if number == 0:
            decoder, self._decoder = self._decoder, None
            return decoder
        size = f"stream {number + 1} of {len(self._streams)}, {stream.last - stream.first} bytes,"
        try:
            decoder = _StreamDecoder(self._file, stream)
        except soundfile.LibsndfileError as error:
            self.warnings.append(f"incomplete: {size} was not read ({_reason(error)})")
            self.is_truncated = True
            return None
        if (decoder.samplerate, decoder.channels) == (self.sample_rate, self.n_channels):
            return decoder
        kind = f"{decoder.channels} channels at {decoder.samplerate} Hz, not {self.n_channels} at {self.sample_rate} Hz"
        self.warnings.append(f"incomplete: {size} was not read, because it has {kind}")
        self.is_truncated = True
        return None

    def _judge(self, stream: Stream, decoder: _StreamDecoder, n_samples: int, reason: str | None) -> None:
        """Add warnings about a stream of which `n_samples` were decoded, to its end or to an error."""
        declared = _declared(stream, decoder)
        self.declared_samples += max(declared, n_samples)
        self.warnings += stream.remarks + stream.left_out
        self.is_truncated |= bool(stream.left_out)
        missing = declared - n_samples - (_MPEG_SLACK_SAMPLES if decoder.format == "MP3" else 0)
        if stream.damaged_after is not None:
            rate = 48_000 if decoder.subtype == "OPUS" else self.sample_rate
            start = (self.n_samples - n_samples) / self.sample_rate
            self._failed(start + stream.damaged_after / rate, stream.damage)
        elif stream.is_cut or (missing > 0 and decoder.bytes_of_stream.is_used_up):
            self._is_cut = True
        elif missing > 0 or (reason and not 0 < declared <= n_samples):
            self._is_cut |= decoder.bytes_of_stream.is_used_up
            if not self._is_cut:
                self._failed(self.n_samples / self.sample_rate, reason or "the decoder stopped")

    def _failed(self, time_s: float, reason: str) -> None:
        """Add a warning that decoding failed at a time."""
        self.warnings.append(f"damaged: decoding failed after {time_s:.6g} s ({reason}); {self.n_samples} samples were read")
        self.is_truncated = True


@contextlib.contextmanager
def open_decoder(path: Path) -> Iterator[Decoder]:
    """Open a file and its decoder; raises RecordingError if the file is missing or cannot be read, then or later."""
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file" if path.exists() else "missing"
            raise refusal(path, f"it is {what}", f"give the path of a {READABLE} file")
        with path.open("rb") as file:
            yield Decoder(path, file)
    except OSError as error:
        raise refusal(path, error.strerror or str(error), "check that the file can be read") from error


def length_s(path: Path) -> float:
    """Return the duration of a sound file in seconds from the structure of its streams, mostly without decoding it.

    It is exact for complete files; a truncated FLAC file counts as long as its header declares. Raises RecordingError as
    `open_decoder`.
    """
    with open_decoder(path) as decoder:
        n_samples = decoder.structural_samples()
        if n_samples is None:
            n_samples = sum(block.shape[1] for block in decoder.blocks())
        return n_samples / decoder.sample_rate


def declared_length_s(file: BinaryIO) -> float:
    """Return the duration that the first header of a sound file declares, in seconds; 0 if it is unknown.

    Nothing but headers is read. Raises soundfile.LibsndfileError, and OSError.
    """
    with _StreamDecoder(file, Stream(0, file.seek(0, os.SEEK_END))) as decoder:
        return float(decoder.frames / decoder.samplerate) if decoder.frames < _MOST_SAMPLES else 0.0


def find_streams(file: BinaryIO) -> list[Stream]:
    """Return the streams of a sound file, at least one: all of it if its structure is unknown."""
    last = file.seek(0, os.SEEK_END)
    first = 0
    while first < last and (length := tag_length(read_at(file, first, 32))) and read_at(file, first, 3) == b"ID3":
        first += length
    head = read_at(file, first, 12)
    found: list[Stream] = []
    if is_chunked(head):
        found = find_chunked_streams(file, first, last)
    elif head.startswith(b"OggS"):
        found = find_ogg_streams(file, first, last)
    elif head.startswith(b"fLaC"):
        found = find_flac_streams(file, first, last)
    elif first > 0 or head.startswith(b"\xff"):
        found = find_mpeg_streams(file, first, last)
    return found or [Stream(0, last)]


def _declared(stream: Stream, decoder: _StreamDecoder) -> int:
    """Return the samples per channel that a stream should have; 0 if unknown."""
    known = _frames(stream, decoder)
    if decoder.format != "MP3":  # libsndfile takes the length from the size of the file
        return stream.declared_samples or known
    # It subtracts what the index of an MP3 removes at both ends. After damage, other streams hold the rest of that count.
    return min(known or stream.declared_samples, stream.declared_samples if stream.damage else _MOST_SAMPLES)


def _frames(stream: Stream, decoder: _StreamDecoder) -> int:
    """Return the samples per channel according to libsndfile; 0 if unknown."""
    return 0 if stream.is_endless or decoder.frames > _MOST_SAMPLES else int(decoder.frames)


def _open(path: Path, file: BinaryIO, stream: Stream) -> _StreamDecoder:
    """Open the first stream of a file; raises RecordingError with its format, the reason and a command to convert it."""
    reason = ""
    try:
        decoder = _StreamDecoder(file, stream)
        if decoder.format in FORMATS:
            return decoder
        decoder.close()
    except soundfile.LibsndfileError as error:
        reason = _reason(error)
    head = read_at(file, 0, 4096)
    if not head:
        raise refusal(path, "it is empty (0 bytes)", "copy or export it again")
    kind = file_description(head)
    target = path.with_suffix(".wav").name if path.suffix != ".wav" else f"{path.stem}-converted.wav"
    command = f"`ffmpeg -i {shlex.quote(path.name)} {shlex.quote(target)}`"
    if reason and kind.startswith(DECODABLE):
        remedy = f"copy it again if it is damaged or truncated, or convert it, for example with {command}"
        raise refusal(path, f"it begins like {kind}, but libsndfile cannot decode it ({reason})", remedy)
    if kind:
        raise refusal(path, f"it is {kind}, not a {READABLE} file", f"convert it, for example with {command}")
    text = head.decode("utf-8", errors="ignore")
    if text and all(character.isprintable() or character.isspace() for character in text):
        raise refusal(path, "it holds text, not sound", f"give a {READABLE} file")
    raise refusal(path, f"it is not a {READABLE} file", f"convert it, for example with {command}")


def refusal(path: Path, reason: str, remedy: str) -> RecordingError:
    """Return the error about a file that cannot be read; the remedy may contain any file name."""
    return RecordingError(f"cannot read {quoted(path)}: {reason}", hint=remedy.replace("{", "{{"))


def _reason(error: soundfile.LibsndfileError) -> str:
    """Return the message of libsndfile as part of a sentence."""
    words = " ".join(str(error.error_string).split()).removeprefix("Error : ").rstrip(".")
    return words[:1].lower() + words[1:] if words[1:2].islower() else words
