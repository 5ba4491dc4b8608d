"""Tables of a model's components, in natural units."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ddaudio.analysis.pitch import harmonic_numbers, pitch_of_partials
from ddaudio.editing.formats import FORMATS
from ddaudio.errors import OptionError
from ddaudio.models import Network
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.models.noise.table import hat_rows
from ddaudio.models.partial_bank import PartialBankNetwork
from ddaudio.models.tracks.network import TracksNetwork
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


def _writer(table_format: str) -> Callable[[Mapping[str, list[Any]]], str]:
    """Return the function of a format of tables; raises `OptionError` for another format, `PluginError` for a broken one."""
    spec = FORMATS.look_up(table_format, "format", verb="is")
    if spec.content != "components":
        allowed = ", ".join(name for name, row in FORMATS.items() if row.content == "components")
        raise OptionError("not a table of components", setting="format", value=table_format, allowed=allowed)
    writer: Callable[[Mapping[str, list[Any]]], str] = load(spec)
    return writer


def partials_table(network: Network, table_format: str) -> str:
    """Return the network's parameters in natural units, one row per component, in one of the `FORMATS`.

    Rows of partials are complete: the signals can be reconstructed from them alone. A drift is rows of 0 Hz, a
    constant or cubic B-splines for each signal. The last columns are constant for a network: its window, its sample rate in Hz,
    and the numbers of samples and signals.

    Raises `OptionError` for another format, and `PluginError` for a broken one.
    """
    write = _writer(table_format)
    columns = table_columns(network)
    terms = columns.get("network", [0] * len(columns["signal"]))
    windows = [term.facts().get("window") for term in network.terms]
    columns["window"] = [windows[term] for term in terms]
    columns = _with_drift(network, _with_harmonics(network, columns, terms))
    return write(columns | _constants(network, len(columns["signal"])))


def noise_table(network: Network, table_format: str) -> str:
    """Return the hats of the network's noise, one row each, in one of the `FORMATS`.

    The levels of the noise can be rebuilt from the rows alone. The last columns are constant: the floor of the noise, the sample
    rate in Hz, and the numbers of samples and signals.

    Raises `OptionError` for another format or a model without noise, and `PluginError` for a broken format.
    """
    write = _writer(table_format)
    layers = [term for term in network.terms if isinstance(term, NoiseNetwork)]
    if not layers:
        raise OptionError(f"but the model {network.title!r} has no noise", setting="only", value="noise")
    columns = hat_rows(layers[0])
    return write(columns | _constants(network, len(columns["height_db"])))


def pitch_table(f0: Mapping[str, Any], table_format: str) -> str:
    """Return the pitch of a report, one row per time, in one of the `FORMATS`: time in seconds, f0 in Hz, voicing.

    Raises `OptionError` for another format, and `PluginError` for a broken one.
    """
    write = _writer(table_format)
    times_s = [round(place * (f0["hop_s"] or 0.0), 9) for place in range(len(f0["f0_hz"]))]
    return write({"time_s": times_s, "f0_hz": f0["f0_hz"], "voicing": f0["voicing"]})


def _with_harmonics(network: Network, columns: dict[str, list[Any]], terms: Sequence[int]) -> dict[str, list[Any]]:
    """Return the columns with ``harmonic`` after ``track``: numbers from 1, 0 for none, None for what is no partial."""
    rows = [row for row, term in enumerate(terms) if isinstance(network.terms[term], (PartialBankNetwork, TracksNetwork))]
    if not rows:
        return columns
    table = {name: [column[row] for row in rows] for name, column in columns.items()}
    curve = pitch_of_partials(table, network.shape[1] / network.sample_rate, network.sample_rate)
    numbers = dict(zip(rows, harmonic_numbers(table, curve).tolist(), strict=True))
    added = {"harmonic": [numbers.get(row) for row in range(len(terms))]}
    place = list(columns).index("track") + 1
    return dict([*list(columns.items())[:place], *added.items(), *list(columns.items())[place:]])


def _constants(network: Network, rows: int) -> dict[str, list[Any]]:
    """Return the columns that are the same in all rows."""
    n_signals, n_samples = network.shape
    constants = {"sample_rate": network.sample_rate, "n_samples": n_samples, "n_signals": n_signals}
    return {name: [value] * rows for name, value in constants.items()}


def _with_drift(network: Network, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the columns with the rows of the drift: a constant for each signal, or a cubic B-spline for each coefficient."""
    if network.drift is None:
        return columns
    n_signals, n_splines = network.drift.coefficients.shape
    levels = network.drift.coefficients.double().flatten().tolist()
    step_s, end_s = network.drift.interval / network.sample_rate, network.shape[1] / network.sample_rate
    same: dict[str, Any] = dict.fromkeys(("network", "time_s", "frequency_hz", "start_s", "fade_in_s", "fade_out_s"), 0)
    added: dict[str, list[Any]] = {name: [value] * len(levels) for name, value in same.items()}
    added["signal"] = [signal for signal in range(n_signals) for _ in range(n_splines)]
    added |= {"amplitude": [abs(level) for level in levels], "phase_rad": [0.0 if level >= 0 else math.pi for level in levels]}
    added |= {"end_s": [end_s] * len(levels), "window": [network.terms[0].facts().get("window")] * len(levels)}
    if step_s:
        middles = [(spline - 1) * step_s for spline in range(n_splines)] * n_signals
        added |= {"time_s": middles, "start_s": [at - 2 * step_s for at in middles], "end_s": [at + 2 * step_s for at in middles]}
        added["window"] = ["cubic"] * len(levels)
    kept = [name for name in added if name in columns or name in ("signal", "amplitude", "phase_rad")]
    rows = len(columns["signal"])
    columns = columns | {name: columns.get(name, [None] * rows) for name in kept}
    return {name: column + added.get(name, [None] * len(levels)) for name, column in columns.items()}


def table_columns(network: Network) -> dict[str, list[Any]]:
    """Return the network's parameters in natural units by column; None if a network of a sum has no such value."""
    whole = {name for term in network.terms for name, column in term.describe().items() if not column.is_floating_point()}

    def known(name: str, value: float) -> float | None:
        """Return a value, or None for NaN; whole numbers as such."""
        return None if math.isnan(value) else int(value) if name in whole else value

    return {name: [known(name, value) for value in column.tolist()] for name, column in network.describe().items()}
