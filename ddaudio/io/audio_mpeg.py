"""MPEG audio (MP3): frames and consecutive streams of a file (ISO 11172-3, 13818-3).

A file is a sequence of frames; their number is known only after all of them have been visited. A first frame may declare
it (Xing, Info), together with the samples to remove at both ends; it is wrong if frames were added later.
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO

from ddaudio.io.audio_streams import Stream, has_sound, read_at

_BITRATES = {  # kbit/s by version 1 or not, and layer
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_HEAD = 64
"""Bytes of a frame that are examined: its header, and the place of a Xing header."""


@dataclasses.dataclass(frozen=True)
class _Frame:
    """Facts from the header of a frame, which has four bytes."""

    length: int
    n_samples: int
    kind: tuple[int, int, int, bool]
    """Version, layer, sample rate and whether it is mono: equal in all frames of a stream."""
    count_at: int = -1
    """Offset of the number of frames that it declares; -1 if it holds sound."""
    count: int = 0


@dataclasses.dataclass
class _Run:
    """Consecutive frames of one kind without gaps."""

    first: int
    last: int
    kind: tuple[int, int, int, bool]
    n_frames: int = 0
    n_samples: int = 0
    index: _Frame | None = None
    is_cut: bool = False
    lost_bytes: int = 0
    """Bytes after it that are neither frames nor tags."""
    is_last: bool = False
    """Whether no frames follow."""


def find_mpeg_streams(file: BinaryIO, first: int, last: int) -> list[Stream]:
    """Return consecutive streams; a new one begins at an index, after tags and after damage."""
    return [_stream(run) for run in _runs(file, first, last) if run.n_frames]


def tag_length(head: bytes) -> int:
    """Return the length of the ID3v2, APEv2 or ID3v1 tag at the beginning of some bytes; 0 without one."""
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return 10 + size + (10 if head[5] & 16 else 0)
    if head[:8] == b"APETAGEX" and len(head) >= 24:
        return int(struct.unpack_from("<I", head, 12)[0]) + 32
    return 128 if head[:3] == b"TAG" else 0


def _stream(run: _Run) -> Stream:
    """Return the stream of a run of frames."""
    patches = []
    if run.index is not None and run.n_frames > run.index.count + 1:  # some count the index as well
        patches.append((run.first + run.index.count_at, struct.pack(">I", run.n_frames)))
    lost = f"{run.lost_bytes} bytes are not MPEG frames" if run.lost_bytes else ""
    is_damaged = bool(lost) and not run.is_last
    return Stream(
        run.first,
        run.last,
        declared_samples=run.n_samples,
        patches=tuple(patches),
        is_endless=run.index is None,
        is_cut=run.is_cut,
        damaged_after=run.n_samples if is_damaged else None,
        damage=lost if is_damaged else "",
        left_out=(f"incomplete: after the sound, {lost} and were not read",) if lost and not is_damaged else (),
    )


def _runs(file: BinaryIO, first: int, last: int) -> Iterator[_Run]:
    """Yield runs of frames in order."""
    position, run = _after_tags(file, first, last), None
    while position < last:
        frame = _frame(read_at(file, position, _HEAD))
        is_same = frame is not None and run is not None and frame.kind == run.kind
        if frame is None or not (is_same or _is_followed(file, position, frame, last)):
            position, lost_bytes = _next(file, position, last)
            if run is not None:
                run.lost_bytes, run.is_last = lost_bytes, position >= last
                yield run
            run = None
            continue
        if position + frame.length > last:
            if run is not None:
                run.is_cut = True
            break
        if run is None or not is_same or frame.count_at >= 0:
            if run is not None:
                yield run
            run = _Run(position, position, frame.kind, index=frame if frame.count_at >= 0 else None)
        if frame.count_at < 0:
            run.n_frames += 1
            run.n_samples += frame.n_samples
        position += frame.length
        run.last = position
    if run is not None:
        yield run


def _frame(head: bytes) -> _Frame | None:
    """Return the frame at the beginning of some bytes; None without one, or if its header declares no length."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, bitrate_index = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 4 or rate_index == 3 or bitrate_index in (0, 15):
        return None
    sample_rate, bitrate = _SAMPLE_RATES[version][rate_index], 1000 * _BITRATES[version == 3, layer][bitrate_index]
    padding, is_mono = head[2] >> 1 & 1, head[3] >> 6 == 3
    n_samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    length = (12 * bitrate // sample_rate + padding) * 4 if layer == 1 else n_samples // 8 * bitrate // sample_rate + padding
    kind = (version, layer, sample_rate, is_mono)
    # An index follows the side information, of 32, 17 or 9 bytes, and a checksum of 2 bytes if there is one.
    side = (17 if is_mono else 32) if version == 3 else (9 if is_mono else 17)
    for place in (4 + side, 6 + side):
        if layer == 3 and head[place : place + 4] in (b"Xing", b"Info") and len(head) >= place + 12:
            flags, count = struct.unpack_from(">II", head, place + 4)
            return _Frame(length, n_samples, kind, place + 8, count) if flags & 1 else _Frame(length, n_samples, kind)
    return _Frame(length, n_samples, kind)


def _is_followed(file: BinaryIO, position: int, frame: _Frame, last: int) -> bool:
    """Return whether a frame is followed by another one of the same kind, a tag or the end."""
    end = position + frame.length
    following = _frame(read_at(file, end, _HEAD))
    return end == last or (following is not None and following.kind == frame.kind) or bool(tag_length(read_at(file, end, 32)))


def _after_tags(file: BinaryIO, position: int, last: int) -> int:
    """Return the position after all tags at a position."""
    while position < last and (length := tag_length(read_at(file, position, 32))):
        position += length
    return position


def _next(file: BinaryIO, position: int, last: int) -> tuple[int, int]:
    """Return the position of the next frames, and the number of bytes before them that may have been sound.

    Tags, padding with zeros and a few bytes after the last frame do not count.
    """
    began = _after_tags(file, position, last)
    at = began
    while at < last:
        block = read_at(file, at, 1 << 16)
        place = -1
        while (place := block.find(b"\xff", place + 1)) >= 0:
            frame = _frame(read_at(file, at + place, _HEAD))
            if frame is not None and at + place + frame.length <= last and _is_followed(file, at + place, frame, last):
                return at + place, at + place - began if any(read_at(file, began, at + place - began)) else 0
        at += len(block)
    return last, max(last - began, 0) if has_sound(file, began, last) else 0
