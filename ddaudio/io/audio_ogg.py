"""Ogg files: pages and consecutive streams (RFC 3533)."""

import dataclasses
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ddaudio.io.audio_streams import Stream, has_sound, read_at

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FIRST, _LAST = 2, 4


@dataclasses.dataclass(frozen=True)
class _Page:
    """A complete page."""

    first: int
    last: int
    flags: int
    granule: int
    serial: int
    number: int
    is_intact: bool


@dataclasses.dataclass
class _Link:
    """Pages of one link of a chained file."""

    first: int
    last: int = 0
    serials: list[int] = dataclasses.field(default_factory=list)
    pages: int = 0
    damaged: int = 0
    missing: int = 0
    granule: int = 0
    number: int | None = None
    damaged_after: int | None = None
    has_end: bool = False


def find_ogg_streams(file: BinaryIO, first: int, last: int) -> list[Stream]:
    """Return consecutive streams; of multiplexed ones, the decoder takes the first that it supports."""
    links: list[_Link] = []
    end = first
    for page in _pages(file, first, last):
        if not links or (page.is_intact and page.flags & _FIRST and links[-1].pages > len(links[-1].serials)):
            links.append(_Link(page.first))
        _add(links[-1], page)
        end = page.last
    streams = [_stream(link) for link in links]
    if streams and read_at(file, end, min(last - end, 4)) == b"OggS":
        streams[-1] = dataclasses.replace(streams[-1], is_cut=True)
    elif streams and has_sound(file, end, last):
        lost = f"incomplete: {last - end} bytes after the sound are not Ogg pages and were not read"
        streams[-1] = dataclasses.replace(streams[-1], left_out=(*streams[-1].left_out, lost))
    return streams


def _add(link: _Link, page: _Page) -> None:
    """Add a page to a link; of multiplexed streams, the first is followed."""
    link.last = page.last
    link.pages += 1
    is_missing = False
    if page.is_intact:
        if page.flags & _FIRST or not link.serials:
            link.serials.append(page.serial)
        if page.serial != link.serials[0]:
            return
        is_missing = link.number is not None and not 0 <= page.number - link.number <= 1
        link.missing += is_missing
    else:
        link.damaged += 1
    if (is_missing or not page.is_intact) and link.damaged_after is None:
        link.damaged_after = link.granule
    if page.is_intact:
        link.number, link.has_end = page.number, bool(page.flags & _LAST)
        link.granule = page.granule if 0 < page.granule < 1 << 62 else link.granule
    elif link.number is not None:
        link.number += 1


def _stream(link: _Link) -> Stream:
    """Return the stream of a link."""
    causes = []
    if link.damaged:
        causes.append(f"{link.damaged} of {link.pages} Ogg pages have wrong checksums")
    if link.missing:
        causes.append("Ogg pages are missing")
    beside = [f"incomplete: {len(link.serials)} Ogg streams are multiplexed, and one of them was read"] * (len(link.serials) > 1)
    return Stream(
        link.first,
        link.last,
        is_cut=not link.has_end,
        damaged_after=link.damaged_after,
        damage=" and ".join(causes),
        left_out=tuple(beside),
    )


def _pages(file: BinaryIO, first: int, last: int) -> Iterator[_Page]:
    """Yield complete pages in order, including damaged ones; bytes between them are skipped."""
    position = first
    while (position := _next_capture(file, position, last)) >= 0:
        page = _page(file, position, last)
        if page is None:
            position += 4
            continue
        yield page
        position = page.last


def _next_capture(file: BinaryIO, position: int, last: int) -> int:
    """Return the position where the next page may begin; -1 if there is none."""
    while position < last - 27:
        found = read_at(file, position, min(1 << 16, last - position)).find(b"OggS")
        if found >= 0:
            return position + found
        position += (1 << 16) - 3
    return -1


def _page(file: BinaryIO, position: int, last: int) -> _Page | None:
    """Return the page at a position; None if it is not complete.

    A page with a wrong checksum ends at the next page, because its length may be damaged.
    """
    head = read_at(file, position, 27 + 255)
    if len(head) < 27 or head[4] != 0:
        return None
    lengths = head[27 : 27 + head[26]]
    end = position + 27 + head[26] + sum(lengths)
    if end > last or len(lengths) < head[26]:
        return None
    flags, granule, serial, number, checksum = struct.unpack_from("<5xBqIII", head)
    is_intact = _checksum(read_at(file, position, end - position)) == checksum
    if not is_intact:
        following = _next_capture(file, position + 4, last)
        end = following if 0 <= following < end else end
    return _Page(position, end, flags, granule, serial, number, is_intact)


def _checksum(page: bytes) -> int:
    """Return the checksum of a page: CRC-32 with the reverse bit order of zlib's, and 0 as initial value."""
    cleared = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(cleared.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")
