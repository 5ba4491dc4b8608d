"""Tables of a model's components, in natural units."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from ddaudio.editing.formats import FORMATS
from ddaudio.models import Network
from ddaudio.options.registry import load


def as_csv(columns: Mapping[str, list[Any]]) -> str:
    """Return columns as CSV with a line of headings."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def as_json(columns: Mapping[str, list[Any]]) -> str:
    """Return columns as a JSON list of objects."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps(rows, indent=1) + "\n"


def partials_table(network: Network, table_format: str) -> str:
    """Return the network's parameters in natural units, one row per component, in one of the `FORMATS`.

    Rows of partials are complete: the signals can be reconstructed from them alone. A constant offset is a row for each signal,
    a partial of 0 Hz. The last columns are constant for a network: its window, its sample rate in Hz, and the numbers of samples
    and signals.

    Raises `OptionError` for another format, and `PluginError` for a broken one.
    """
    write: Callable[[Mapping[str, list[Any]]], str] = load(FORMATS.look_up(table_format, "format", verb="is"))
    columns = _with_offset(network, table_columns(network))
    rows = len(columns["signal"])
    windows = [network.terms[term].facts().get("window") for term in columns.get("network", [0] * rows)]
    n_signals, n_samples = network.shape
    constants = {"sample_rate": network.sample_rate, "n_samples": n_samples, "n_signals": n_signals}
    return write(columns | {"window": windows} | {name: [value] * rows for name, value in constants.items()})


def _with_offset(network: Network, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the columns with a row for the offset of each signal."""
    if network.offset is None:
        return columns
    offsets, rows = network.offset.double().tolist(), len(columns["signal"])
    values: dict[str, list[Any]] = {"signal": list(range(len(offsets))), "amplitude": [abs(offset) for offset in offsets]}
    values["phase_rad"] = [0.0 if offset >= 0 else math.pi for offset in offsets]
    same: dict[str, float] = dict.fromkeys(("network", "time_s", "frequency_hz", "start_s", "fade_in_s", "fade_out_s"), 0)
    same["end_s"] = network.shape[1] / network.sample_rate
    columns = columns | {name: columns.get(name, [None] * rows) for name in values}
    return {name: column + values.get(name, [same.get(name)] * len(offsets)) for name, column in columns.items()}


def table_columns(network: Network) -> dict[str, list[Any]]:
    """Return the network's parameters in natural units by column; None if a network of a sum has no such value."""
    whole = {name for term in network.terms for name, column in term.describe().items() if not column.is_floating_point()}

    def known(name: str, value: float) -> float | None:
        """Return a value, or None for NaN; whole numbers as such."""
        return None if math.isnan(value) else int(value) if name in whole else value

    return {name: [known(name, value) for value in column.tolist()] for name, column in network.describe().items()}
