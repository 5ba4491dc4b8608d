"""Tables of a model's parts, in natural units."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from ddaudio.errors import OptionError
from ddaudio.models import Network


def _as_csv(columns: Mapping[str, list[Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def _as_json(columns: Mapping[str, list[Any]]) -> str:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps(rows, indent=1) + "\n"


TABLE_WRITERS: dict[str, Callable[[Mapping[str, list[Any]]], str]] = {"csv": _as_csv, "json": _as_json}
"""Formats of a table of partials, by name."""


def partials_table(network: Network, table_format: str) -> str:
    """Return the network's parameters in natural units, a row a partial or rope, as ``csv`` or ``json`` text.

    Raises `OptionError` for another format.
    """
    if table_format not in TABLE_WRITERS:
        raise OptionError(setting="format", value=table_format, allowed=", ".join(TABLE_WRITERS))
    return TABLE_WRITERS[table_format](table_columns(network))


def table_columns(network: Network) -> dict[str, list[Any]]:
    """Return the network's parameters in natural units, column by column; None where one of a sum has no such value."""
    whole = {name for term in network.terms for name, column in term.describe().items() if not column.is_floating_point()}

    def known(name: str, value: float) -> float | None:
        """Return a value, or None for NaN; whole numbers as such."""
        return None if math.isnan(value) else int(value) if name in whole else value

    return {name: [known(name, value) for value in column.tolist()] for name, column in network.describe().items()}
