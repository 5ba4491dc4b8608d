"""SPEAR: tracks as text, ``par-text-partials-format``.

After lines with the names of the columns (``point-type``) and the number of tracks (``partials-count``) and the line
``partials-data``, each track has two lines: its number, its number of points, and its beginning and end in seconds; and its
points, one after the other. SPEAR writes numbers with the decimal separator of the user's system.
"""

import numpy as np
from numpy.typing import NDArray

from ddaudio.editing.exchange.track_data import Floats, Points, TrackData, from_points
from ddaudio.errors import ExchangeError

TITLE, FRAMES_TITLE = "par-text-partials-format", "par-text-frame-format"
COLUMNS = ("time", "frequency", "amplitude")
OPTIONAL = ("phase", "bandwidth")
HEADER_WORDS = 100
"""Largest number of words before the data."""


def write(data: TrackData) -> bytes:
    """Return tracks as text, without phases."""
    lines = [TITLE, "point-type time frequency amplitude", f"partials-count {len(data.counts)}", "partials-data"]
    for number, (first, count) in enumerate(zip(data.starts.tolist(), data.counts.tolist(), strict=True)):
        own = slice(first, first + count)
        time_s, frequency, amplitude = (column[own].tolist() for column in (data.time_s, data.frequency_hz, data.amplitude))
        lines.append(f"{number} {count} {time_s[0]:.9f} {time_s[-1]:.9f}")
        points = zip(time_s, frequency, amplitude, strict=True)
        lines.append(" ".join(f"{at:.9f} {hz:.6f} {level:.12f}" for at, hz, level in points))
    return ("\n".join(lines) + "\n").encode()


def read(data: bytes) -> TrackData:
    """Return the tracks of a text; phases are integrals of the frequency where it has none.

    Raises:
        ExchangeError: it is of another format, or damaged.

    """
    head, found, body = data.partition(b"partials-data")
    words = head.decode("latin-1").split(maxsplit=HEADER_WORDS)
    if not words or words[0] != TITLE:
        what = f"it is {FRAMES_TITLE}, of points by frame" if words[:1] == [FRAMES_TITLE] else f"it is no {TITLE}"
        raise ExchangeError(what, hint="in SPEAR, choose the export format Text - Partials")
    if not found or "point-type" not in words or "partials-count" not in words:
        raise ExchangeError("its header has no point-type, partials-count or partials-data")
    names = words[words.index("point-type") + 1 : words.index("partials-count")]
    count = words[words.index("partials-count") + 1 :][:1]
    missing = [name for name in COLUMNS if name not in names]
    if missing or len(set(names)) != len(names):
        raise ExchangeError(f"its point-type is {' '.join(names)!r:.100}", allowed=f"{' '.join(COLUMNS)}, in any order")
    tracks, points = _points(_numbers(body), len(names))
    if count != [str(len(tracks))]:
        raise ExchangeError(f"it has {len(tracks)} partials, but its header declares {' '.join(count)!r:.50}")
    columns = dict(zip(names, points.T, strict=True))
    owner = np.repeat(np.arange(len(tracks)), tracks)
    values = (columns[name] for name in COLUMNS)
    return from_points(Points(owner, *values, *(columns.get(name) for name in OPTIONAL)))


def _numbers(body: bytes) -> Floats:
    """Return all numbers of the data; a comma is a decimal point."""
    try:
        return np.array(body.replace(b",", b".").split(), dtype=np.float64)
    except ValueError as error:
        raise ExchangeError(f"its data are not numbers: {error}") from None


def _points(numbers: Floats, width: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the number of points of each track, and all points ``[K, width]``."""
    at, parts = 0, [np.zeros((0, width))]
    counts: list[int] = []
    while at < len(numbers):
        count = float(numbers[at + 1]) if at + 1 < len(numbers) else -1.0
        begin = at + 4
        if not 0 <= count <= (len(numbers) - begin) / width or count != int(count):
            raise ExchangeError(f"it ends within partial {len(counts)}, which has {count:.6g} points")
        at = begin + int(count) * width
        counts.append(int(count))
        parts.append(numbers[begin:at].reshape(-1, width))
    return np.array(counts, dtype=np.int64), np.concatenate(parts)
