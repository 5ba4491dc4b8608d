"""Frames and matrices of SDIF, the Sound Description Interchange Format.

A file is a header, ``SDIF``, its size (8) and two versions, and frames in the order of time. All numbers are big-endian. A frame
is its type (4 characters), its size in bytes (without these 8), time (float64, s), stream, number of matrices (int32 each), and
the matrices. A matrix is its type (4 characters), the type of its elements, numbers of rows and columns (int32 each), and the
elements by row, padded with zeros to a multiple of 8 bytes. The low byte of the type of elements is their size.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddaudio.errors import ExchangeError

SIGNATURE = b"SDIF"
HEADER = struct.pack(">4sIII", SIGNATURE, 8, 3, 1)
"""Header of version 3, with the standard types of version 1."""
FLOAT32, FLOAT64, TEXT = 0x004, 0x008, 0x301
TYPES = {FLOAT32: ">f4", FLOAT64: ">f8", 0x102: ">i2", 0x104: ">i4", 0x108: ">i8", 0x204: ">u4"}
"""Numbers by type of elements."""
NO_TIME = -1.7976931348623157e308
"""Time of a frame without one: before all others."""
_FRAME, _MATRIX = struct.Struct(">4sIdiI"), struct.Struct(">4sIII")


class Matrix(NamedTuple):
    """A matrix of a frame."""

    signature: str
    """Type, 4 characters."""
    values: NDArray[Any]
    """Numbers ``[rows, columns]``; bytes ``[rows * columns * size]`` of text and of unknown elements."""
    kind: int = FLOAT64
    """Type of the elements."""


class Frame(NamedTuple):
    """A frame of a file."""

    signature: str
    """Type, 4 characters."""
    time_s: float
    stream: int
    matrices: Sequence[Matrix]


def frame_bytes(frame: Frame) -> bytes:
    """Return a frame as it is in files."""
    matrices = b"".join(map(_matrix_bytes, frame.matrices))
    head = _FRAME.pack(frame.signature.encode(), 16 + len(matrices), frame.time_s, frame.stream, len(frame.matrices))
    return head + matrices


def text_matrix(signature: str, text: str) -> Matrix:
    """Return a matrix with text, one character in each row."""
    return Matrix(signature, np.frombuffer(text.encode(), dtype=np.uint8)[:, None], TEXT)


def _matrix_bytes(matrix: Matrix) -> bytes:
    values = matrix.values if matrix.kind == TEXT else matrix.values.astype(TYPES[matrix.kind])
    data = values.tobytes()
    return _MATRIX.pack(matrix.signature.encode(), matrix.kind, *matrix.values.shape) + data + bytes(-len(data) % 8)


def frames_of(data: bytes) -> Iterator[Frame]:
    """Yield the frames of a file.

    Raises:
        ExchangeError: it is no SDIF, or damaged.

    """
    if data[:4] != SIGNATURE or len(data) < 16:
        raise ExchangeError("it is not an SDIF file")
    at = 8 + int.from_bytes(data[4:8], "big")
    while at < len(data):
        if len(data) - at < _FRAME.size:
            raise ExchangeError(f"it ends within a frame, at byte {at}")
        kind, size, time_s, stream, count = _FRAME.unpack_from(data, at)
        end = at + 8 + size
        if size < 16 or end > len(data):
            raise ExchangeError(f"the frame at byte {at} has {size} bytes", allowed=f"16 to {len(data) - at - 8}")
        yield Frame(_name(kind), time_s, stream, _matrices(data, at + _FRAME.size, end, count))
        at = end


def _matrices(data: bytes, at: int, end: int, count: int) -> list[Matrix]:
    """Return the matrices of the frame that ends at a byte."""
    found = []
    for _ in range(count):
        if end - at < _MATRIX.size:
            raise ExchangeError(f"the frame before byte {end} has fewer matrices than the {count} that it declares")
        kind, elements, rows, columns = _MATRIX.unpack_from(data, at)
        at += _MATRIX.size
        size = (elements & 0xFF) * rows * columns
        if size > end - at:
            raise ExchangeError(f"the matrix at byte {at} has {size} bytes", allowed=f"0 to {end - at}")
        part = data[at : at + size]
        if elements in TYPES:
            values: NDArray[Any] = np.frombuffer(part, dtype=TYPES[elements]).reshape(rows, columns)
        else:
            values = np.frombuffer(part, dtype=np.uint8)
        found.append(Matrix(_name(kind), values, elements))
        at += size + -size % 8
    return found


def _name(signature: bytes) -> str:
    return signature.decode("latin-1")
