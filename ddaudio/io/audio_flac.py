"""FLAC files: consecutive streams and the lengths in their headers (RFC 9639)."""

from collections.abc import Iterator
from typing import BinaryIO

from ddaudio.io.audio_streams import Stream, read_at

_START = b"fLaC\0\0\0\x22"
"""Marker of a stream and header of its first block, STREAMINFO of 34 bytes, which does not occur in encoded sound."""
_HEADER_BYTES = 42


def find_flac_streams(file: BinaryIO, first: int, last: int) -> list[Stream]:
    """Return consecutive streams, with lengths hidden from the decoder so that it reads to the end."""
    starts = [place for place in _starts(file, first, last) if place + _HEADER_BYTES <= last]
    ends = [*starts[1:], _before_tag(file, last)][: len(starts)]
    return [_stream(file, start, end) for start, end in zip(starts, ends, strict=True)]


def _stream(file: BinaryIO, first: int, last: int) -> Stream:
    """Return a stream whose length, the last 36 bits of bytes 21 to 25, is patched to 0: unknown."""
    field = read_at(file, first + 21, 5)
    declared = int.from_bytes(field, "big") & ((1 << 36) - 1)
    return Stream(first, last, declared, patches=((first + 21, bytes([field[0] & 0xF0, 0, 0, 0, 0])),))


def _before_tag(file: BinaryIO, last: int) -> int:
    """Return the end of a file without an ID3v1 tag, which some programs append."""
    return last - 128 if last >= 128 and read_at(file, last - 128, 3) == b"TAG" else last


def _starts(file: BinaryIO, first: int, last: int) -> Iterator[int]:
    """Yield the positions where streams begin."""
    size = 1 << 20
    for begin in range(first, last, size):
        block = read_at(file, begin, min(size + len(_START) - 1, last - begin))
        place = -1
        while (place := block.find(_START, place + 1)) >= 0:
            yield begin + place
