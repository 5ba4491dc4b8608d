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

    Rows of partials are complete: the signals can be reconstructed from them alone. The last columns are constant for a network:
    its window, its sample rate in Hz, and the numbers of samples and signals.

    Raises `OptionError` for another format, and `PluginError` for a broken one.
    """
    write: Callable[[Mapping[str, list[Any]]], str] = load(FORMATS.look_up(table_format, "format", verb="is"))
    columns = table_columns(network)
    term_of_row = columns.get("network", [0] * len(columns["signal"]))
    return write(columns | {name: [values[term] for term in term_of_row] for name, values in _sounds(network).items()})


def _sounds(network: Network) -> dict[str, list[Any]]:
    """Return the columns that are constant for each network of a sum."""
    grids = [term.grid for term in network.terms]
    return {
        "window": [grid.window for grid in grids],
        "sample_rate": [grid.sample_rate for grid in grids],
        "n_samples": [grid.n_samples for grid in grids],
        "n_signals": [grid.n_signals for grid in grids],
    }


def table_columns(network: Network) -> dict[str, list[Any]]:
    """Return the network's parameters in natural units by column; None if a network of a sum has no such value."""
    whole = {name for term in network.terms for name, column in term.describe().items() if not column.is_floating_point()}

    def known(name: str, value: float) -> float | None:
        """Return a value, or None for NaN; whole numbers as such."""
        return None if math.isnan(value) else int(value) if name in whole else value

    return {name: [known(name, value) for value in column.tolist()] for name, column in network.describe().items()}
