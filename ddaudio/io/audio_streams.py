"""Streams of a sound file: consecutive parts, each decoded like a file of its own."""

import dataclasses
import io
from typing import BinaryIO

ENDLESS_BYTES = 1 << 40
"""Size that is reported to the decoder of a stream without a known end."""
_TAIL_BYTES = 1024


@dataclasses.dataclass(frozen=True)
class Stream:
    """Position of a stream in its file, and facts from its headers and structure."""

    first: int
    """Position of its first byte."""
    last: int
    """Position after its last byte."""
    declared_samples: int = 0
    """Samples per channel according to its header; 0 if unknown."""
    patches: tuple[tuple[int, bytes], ...] = ()
    """Bytes that replace wrong lengths in what the decoder reads, each with its position in the file."""
    is_endless: bool = False
    """Whether the decoder is given ENDLESS_BYTES as the size: libmpg123 estimates the length from the size of the file, and
    libsndfile stops there."""
    is_cut: bool = False
    """Whether it ends without its end mark, or in an incomplete frame."""
    damaged_after: int | None = None
    """Samples per channel before the first damage in its structure, if there is any."""
    damage: str = ""
    """Description of that damage."""
    left_out: tuple[str, ...] = ()
    """Warnings about sound next to it or after it that is not decoded."""
    remarks: tuple[str, ...] = ()
    """Other warnings."""


class StreamFile(io.RawIOBase):
    """A stream as a file that libsndfile reads through callbacks, which must not raise: errors are kept in `error`."""

    def __init__(self, file: BinaryIO, stream: Stream) -> None:
        """Open a stream of a file."""
        self._file, self._stream = file, stream
        self._length = stream.last - stream.first
        self._size = ENDLESS_BYTES if stream.is_endless else self._length
        self._position = 0
        self.reached = 0
        """Position up to which its bytes have been read."""
        self.error: OSError | None = None
        """Error of the system, if reading failed."""

    @property
    def is_used_up(self) -> bool:
        """Whether its last byte has been read."""
        return self.reached >= self._length

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in the stream, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, 0 or more."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read up to the length of the buffer; 0 bytes at the end and after an error."""
        if self._stream.is_endless and self._position >= self._size - _TAIL_BYTES:  # libmpg123 looks for a tag there
            count = min(len(buffer), self._size - self._position)
            buffer[:count] = bytes(count)
        else:
            count = self._read(buffer)
        self._position += count
        return count

    def _read(self, buffer: bytearray | memoryview) -> int:
        """Read bytes of the file, with patches applied."""
        count = min(len(buffer), self._length - self._position)
        if count <= 0 or self.error:
            return 0
        start = self._stream.first + self._position
        try:
            self._file.seek(start)
            data = bytearray(self._file.read(count))
        except OSError as error:
            self.error = error
            return 0
        for place, patch in self._stream.patches:
            for index, byte in enumerate(patch, place - start):
                if 0 <= index < len(data):
                    data[index] = byte
        buffer[: len(data)] = bytes(data)
        self.reached = max(self.reached, self._position + len(data))
        return len(data)


def read_at(file: BinaryIO, position: int, count: int) -> bytes:
    """Return up to `count` bytes of a file from a position on."""
    file.seek(position)
    return file.read(count)


def has_sound(file: BinaryIO, first: int, last: int) -> bool:
    """Return whether bytes may be lost sound: more than a tag or padding, and not all zero."""
    return last - first > 512 and any(read_at(file, first, min(last - first, 1 << 16)))
