"""WAV and AIFF files: chunks, whose lengths are hints.

A program that writes to a pipe does not know the length and declares 0 or about the largest one; a recorder that lost
power leaves 0; a truncated file still has its old length.
"""

import dataclasses
import struct
from typing import BinaryIO

from ddaudio.io.audio_mpeg import find_mpeg_streams
from ddaudio.io.audio_streams import Stream, has_sound, read_at

_ORDERS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}
_TYPES = (b"WAVE", b"AIFF", b"AIFC")
_UNCOMPRESSED = {1, 3, 6, 7, 0xFFFE}
_MPEG = {0x50, 0x55}
_BITS_OF_CODEC = {b"fl64": 64, b"FL64": 64, b"fl32": 32, b"FL32": 32, b"ulaw": 8, b"alaw": 8, b"ULAW": 8, b"ALAW": 8}
_PCM_CODECS = {b"NONE", b"twos", b"sowt", b"raw ", b"in24", b"in32", b"42ni", b"23ni", *_BITS_OF_CODEC}


@dataclasses.dataclass
class _Form:
    """Facts from the chunks before the sound."""

    first: int
    order: str
    frame_bytes: int = 0
    """Bytes per sample of all channels together; 0 if compressed."""
    n_frames: int | None = None
    """Number of samples per channel that AIFF declares."""
    long_bytes: int = 0
    """Length of the sound that RF64 declares in a field of 8 bytes."""
    long_at: int = -1
    """Position of that field; -1 without one."""
    is_mpeg: bool = False


def is_chunked(head: bytes) -> bool:
    """Return whether 12 bytes are the beginning of a WAV or AIFF file."""
    return head[:4] in _ORDERS and head[8:12] in _TYPES


def find_chunked_streams(file: BinaryIO, first: int, last: int) -> list[Stream]:
    """Return the streams of a WAV or AIFF file, and of those appended to it; none without sound."""
    streams: list[Stream] = []
    while is_chunked(head := read_at(file, first, 12)):
        form = _Form(first, _ORDERS[head[:4]])
        position = first + 12
        while (chunk := _chunk(file, position, last, form.order)) and chunk[0] not in (b"data", b"SSND"):
            _note(form, chunk[0], position + 8, read_at(file, position + 8, min(chunk[1], 32)))
            position += 8 + chunk[1] + chunk[1] % 2
        if not chunk:
            break
        found, position = _sound(file, form, position, chunk, last)
        streams += found
        first = position
    return streams


def _chunk(file: BinaryIO, position: int, last: int, order: str) -> tuple[bytes, int] | None:
    """Return name and size of the chunk at a position; None without one."""
    head = read_at(file, position, 8)
    if len(head) < 8 or not all(0x20 <= byte < 0x7F for byte in head[:4]) or position + 8 > last:
        return None
    return head[:4], int(struct.unpack_from(f"{order}I", head, 4)[0])


def _note(form: _Form, name: bytes, position: int, body: bytes) -> None:
    """Note the facts from a chunk before the sound."""
    if name == b"ds64" and len(body) >= 16:
        form.long_bytes, form.long_at = int(struct.unpack_from("<Q", body, 8)[0]), position + 8
    elif name == b"fmt " and len(body) >= 16:
        tag, frame_bytes = struct.unpack_from(f"{form.order}H10xH", body)
        form.frame_bytes = frame_bytes if tag in _UNCOMPRESSED else 0
        form.is_mpeg = tag in _MPEG
    elif name == b"COMM" and len(body) >= 18:
        n_channels, form.n_frames, bits = struct.unpack_from(">HIH", body)
        codec = body[18:22] if len(body) >= 22 else b"NONE"
        bits = _BITS_OF_CODEC.get(codec, bits)
        form.frame_bytes = n_channels * -(-bits // 8) if codec in _PCM_CODECS or len(body) < 22 else 0


def _sound(file: BinaryIO, form: _Form, position: int, chunk: tuple[bytes, int], last: int) -> tuple[list[Stream], int]:
    """Return the streams of the chunk of sound at a position, and the position where another file may follow."""
    name, size = chunk
    begin = position + 8
    there = last - begin
    length = form.long_bytes if size == 0xFFFFFFFF and form.long_bytes else size
    before = 8 if name == b"SSND" else 0  # bytes at the beginning of the AIFF chunk that are not sound
    is_empty = length < form.frame_bytes + before or length == 0
    is_open = (
        there > 0 and (is_empty or _may_be_open(length)) and not _are_chunks(file, begin + length + length % 2, last, form.order)
    )
    end, is_cut = (last, False) if is_open else (min(begin + length, last), length - there >= max(form.frame_bytes, 1))
    declared = 0 if is_open else _declared(form, name, length)
    patches = []
    if form.long_at >= 0 and end - begin != form.long_bytes:
        patches.append((form.long_at, struct.pack("<Q", end - begin)))
    if end - begin != size and end - begin < 0xFFFFFFFF:
        patches.append((position + 4, struct.pack(f"{form.order}I", end - begin)))
    remarks = []
    if is_open and is_empty and form.frame_bytes:
        remarks.append(
            f"header unfinished: it declares no samples; the {(there - before) // form.frame_bytes} after it were read"
        )
    following, more = _following(file, form, end + length % 2 if end < last else last, last)
    if form.is_mpeg and (streams := find_mpeg_streams(file, begin, end)):
        return streams, following
    return [
        Stream(form.first, end, declared, tuple(patches), is_cut=is_cut, left_out=tuple(more), remarks=tuple(remarks))
    ], following


def _declared(form: _Form, name: bytes, length: int) -> int:
    """Return the samples per channel that the header declares; 0 if unknown."""
    if name == b"SSND":
        return form.n_frames if form.n_frames is not None and form.n_frames < 1 << 31 else 0
    return length // form.frame_bytes if form.frame_bytes else 0


def _may_be_open(length: int) -> bool:
    """Return whether a length is one that programs declare when they do not know it.

    That is the largest one of 31 or 32 bits, at times less the headers or in whole blocks.
    """
    return any(limit - (1 << 16) <= length <= limit for limit in (0x7F000000 + (1 << 16), 1 << 31, 1 << 32))


def _are_chunks(file: BinaryIO, position: int, last: int, order: str) -> bool:
    """Return whether there are only complete chunks between two positions, or nothing at all."""
    if position > last:
        return False
    while last - position >= 8:
        chunk = _chunk(file, position, last, order)
        if chunk is None or position + 8 + chunk[1] > last:
            return False
        position += 8 + chunk[1] + chunk[1] % 2
    return True


def _following(file: BinaryIO, form: _Form, position: int, last: int) -> tuple[int, list[str]]:
    """Return the position where another file follows the sound, and warnings about what is not read."""
    remarks = []
    while not is_chunked(read_at(file, position, 12)):
        chunk = _chunk(file, position, last, form.order)
        if chunk is None:
            if has_sound(file, position, last):
                remarks.append(f"incomplete: {last - position} bytes after the sound belong to no chunk and were not read")
            return last, remarks
        if chunk[0] in (b"data", b"SSND"):
            amount = f"{chunk[1] // form.frame_bytes} samples" if form.frame_bytes else f"{chunk[1]} bytes"
            remarks.append(f"incomplete: another {chunk[0].decode()} chunk, of {amount}, was not read")
        position += 8 + chunk[1] + chunk[1] % 2
    return position, remarks
