"""Tracks as comma-separated values, a knot in each row: complete, all digits."""

import csv
import io
from dataclasses import replace

import numpy as np

from ddaudio.editing.exchange.track_data import Points, TrackData, from_points
from ddaudio.errors import ExchangeError

COLUMNS = ("track", "signal", "time_s", "frequency_hz", "amplitude", "phase_rad", "bandwidth")
CONSTANTS = ("sample_rate", "n_samples", "n_signals")
"""Columns that are the same in all rows."""
LIMITS = {"sample_rate": 384_000, "n_samples": 1 << 40, "n_signals": 1024}
BEGINS = ",".join(COLUMNS[:3]).encode()


def write(data: TrackData) -> bytes:
    """Return tracks as CSV with a line of headings."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS + CONSTANTS)
    owner = data.owner
    values = data.time_s, data.frequency_hz, data.amplitude, data.phase_rad, data.bandwidth
    constants = ["" if value is None else value for value in (data.sample_rate, data.n_samples, data.n_signals)]
    columns = [owner.tolist(), data.signal[owner].tolist(), *(column.tolist() for column in values)]
    writer.writerows([*row, *constants] for row in zip(*columns, strict=True))
    return stream.getvalue().encode()


def read(data: bytes) -> TrackData:
    """Return the tracks of CSV; columns may be in any order, and those after the amplitude may be missing.

    Raises:
        ExchangeError: it has no such columns, or no numbers in them.

    """
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExchangeError(f"it is no CSV: {error}") from None
    rows = [row for row in rows if row]
    names = rows[0] if rows else []
    missing = [name for name in COLUMNS[:5] if name not in names]
    if missing or len(set(names)) != len(names):
        raise ExchangeError(f"its headings are {','.join(names)!r:.100}", allowed=f"at least {','.join(COLUMNS[:5])}")
    lengths = {len(row) for row in rows}
    if lengths != {len(names)}:
        raise ExchangeError(f"its rows have {min(lengths)} to {max(lengths)} values", allowed=f"{len(names)}, as the headings")
    columns = dict(zip(names, zip(*rows[1:], strict=True), strict=True)) if len(rows) > 1 else dict.fromkeys(names, ())
    try:
        track, signal = (np.array([int(value) for value in columns[name]], dtype=np.int64) for name in COLUMNS[:2])
        values = [np.array(columns[name], dtype=np.float64) if name in columns else None for name in COLUMNS[2:]]
        facts = {name: int(columns[name][0]) for name in CONSTANTS if columns.get(name) and columns[name][0]}
    except (ValueError, OverflowError) as error:
        raise ExchangeError(f"its values are not numbers: {str(error)[:100]}") from None
    for name, value in (
        facts | {"signal": 1 + int(signal.max(initial=0)), "first signal": 1 + int(signal.min(initial=0))}
    ).items():
        most = LIMITS.get(name, LIMITS["n_signals"])
        if not 1 <= value <= most:
            raise ExchangeError(f"its {name} is {value}", allowed=f"1 to {most}")
    time_s, frequency, amplitude, phase, bandwidth = values
    assert time_s is not None and frequency is not None and amplitude is not None  # noqa: PT018 - checked above
    found = from_points(Points(track, time_s, frequency, amplitude, phase, bandwidth, signal))
    n_signals = max(found.n_signals, facts.get("n_signals", 1))
    return replace(found, sample_rate=facts.get("sample_rate"), n_samples=facts.get("n_samples"), n_signals=n_signals)
