"""Figures of what changes in training: error by time, amplitudes, and gradients by layer, over the steps.

As those of `ddaudio.report.figures`, they take the result of `ddaudio.fit` or of `FitRecord.read` and a size in inches, and
return a `matplotlib.figure.Figure`.

>>> training_figures.error_over_steps(result).savefig("error.pdf")  # doctest: +SKIP

Stages and their runs are drawn in sequence, and each evaluation reaches half-way to its neighbours. A long recording has several
blocks, of which ``block`` is drawn.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ddaudio.errors import OptionError
from ddaudio.fitting.result import FitResult
from ddaudio.report import training_curves
from ddaudio.report.figure_style import COLOURS, SMALL_PT, blank, colour_bar, dress
from ddaudio.report.figures import evidence_of
from ddaudio.results.record import FitRecord
from ddaudio.training.history import QUANTILES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

RANGE_DB = 60.0
"""Dynamic range of errors and amplitudes."""


class _Evaluations(NamedTuple):
    """Evaluations of one block, in the order of training."""

    steps: list[int]
    """Steps before each, from the first stage on."""
    rows: list[Mapping[str, Any]]
    """Each as in ``report.json``."""
    begins: list[int]
    """Step at which each stage begins."""


def error_over_steps(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 3.6), block: int = 0) -> "Figure":
    """Plot the error of each interval of time over the steps: its level, and its change since the first evaluation.

    The level is that of the sum of squares of the residual, relative to the largest, and at least -60 dB. The axis of time is in
    seconds for a recording of one block, otherwise in shares of the block.

    Raises `OptionError` if there is no such block, from 0, or no training is recorded.
    """
    evidence = evidence_of(fit)
    report = evidence.report
    evaluations = _evaluations(report, block, "error_by_time")
    errors = _padded([one["error_by_time"] for one in evaluations.rows])
    levels = 10 * np.log10(np.maximum(errors / (np.nanmax(errors) or 1.0), 10 ** (-RANGE_DB / 10)))
    change = levels - levels[:1]
    is_whole = all(len(one["blocks"]) == 1 for one in report["training"]["stages"])
    end, label = (report["recording"]["duration_s"], "time (s)") if is_whole else (1.0, "time (share of the block)")
    edges = np.linspace(0, end, errors.shape[1] + 1)
    figure = blank(size)
    upper, lower = figure.subplots(2, 1, sharex=True)
    most = float(np.nanmax(np.abs(change))) or 1.0
    drawn = _draw_map(upper, evaluations, edges, levels, cmap="magma")
    colour_bar(figure, drawn, [upper], "error (dB)")
    drawn = _draw_map(lower, evaluations, edges, change, cmap="PuOr_r", vmin=-most, vmax=most)
    colour_bar(figure, drawn, [lower], "change (dB)")
    dress(upper, y=label)
    dress(lower, y=label, x="step")
    return figure


def amplitudes_over_steps(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 2.6), block: int = 0) -> "Figure":
    """Plot quantiles of the amplitudes of all waves over the steps: the largest, the median, and the ranges of 50 and 80 %.

    Amplitudes are drawn down to 120 dB below the largest.

    Raises `OptionError` if there is no such block, from 0, or no amplitudes are recorded.
    """
    evaluations = _evaluations(evidence_of(fit).report, block, "amplitudes")
    amplitudes = _padded([one["amplitudes"] for one in evaluations.rows])
    least = (float(np.nanmax(amplitudes)) or 1.0) * 10 ** (-2 * RANGE_DB / 20)
    rows = dict(zip(QUANTILES, 20 * np.log10(np.maximum(amplitudes, least)).T, strict=True))
    figure = blank(size)
    axis = figure.subplots()
    colour = COLOURS["original"]
    for low, high, alpha in ((0.1, 0.9, 0.2), (0.25, 0.75, 0.35)):
        label = f"{round(100 * (high - low))} % of the waves"
        axis.fill_between(evaluations.steps, rows[low], rows[high], color=colour, alpha=alpha, linewidth=0, label=label)
    axis.plot(evaluations.steps, rows[0.5], color=colour, linewidth=1.2, label="median")
    axis.plot(evaluations.steps, rows[1.0], color=COLOURS["residual"], linewidth=1.2, linestyle="--", label="largest")
    _mark_stages(axis, evaluations)
    dress(axis, x="step", y="amplitude\n(dB of full scale)")
    axis.legend(fontsize=SMALL_PT, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figure


def gradients_over_steps(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 4.2), block: int = 0) -> "Figure":
    """Plot the norm of the gradient in each layer over the steps, as trained (scaled) and in natural units.

    Scaled, a step of equal size changes the signals about equally in all layers. In natural units gradients are those by Hz,
    full scale and so on: compare layers of one kind. Rows are in the order of the numbers in their names. Norms of 0, and those
    that were not recorded, are left white.

    Raises `OptionError` if there is no such block, from 0, or no gradients are recorded.
    """
    evaluations = _evaluations(evidence_of(fit).report, block, "gradients")
    names = sorted({name for one in evaluations.rows for name in one["gradients"]}, key=training_curves.by_number)
    figure = blank(size)
    titles = {"gradients": "scaled", "natural_gradients": "in natural units"}
    axes = figure.subplots(2, 1, sharex=True)
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        norms = np.array([[one[key].get(name) or math.nan for name in names] for one in evaluations.rows], dtype=float)
        drawn = _draw_map(axis, evaluations, np.arange(len(names) + 1) - 0.5, np.log10(norms), cmap="cividis")
        axis.invert_yaxis()
        axis.set_yticks(range(len(names)), names)
        dress(axis, title=title)
        colour_bar(figure, drawn, [axis], "gradient norm\n(log10)")
    dress(axes[-1], x="step")
    return figure


def _evaluations(report: Mapping[str, Any], block: int, key: str) -> _Evaluations:
    """Return the evaluations of a block that have a value of ``key``."""
    stages = report["training"]["stages"]
    most = max((len(one["blocks"]) for one in stages), default=1)
    if block not in range(most):
        raise OptionError(setting="block", value=block, allowed=f"0 to {most - 1}")
    _, begins = training_curves.curves(stages)
    steps, rows = list[int](), list[Mapping[str, Any]]()
    for stage, at in zip(stages, begins, strict=True):
        # A stage may have been fitted in one block where others have several.
        end = at
        for run in (run for runs in stage["blocks"][block : block + 1] for run in runs):
            found = [one for one in run["evaluations"] if one[key]]
            steps += [end + one["step"] for one in found]
            rows += found
            end += run["evaluations"][-1]["step"] if run["evaluations"] else 0
    if not rows:
        raise OptionError(f"the fit has no {key.replace('_', ' ')} to draw", hint="fit a model of waves, with one step or more")
    return _Evaluations(steps, rows, begins)


def _padded(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Return rows as an array, NaN for None and beyond the end of shorter rows."""
    longest = max(map(len, rows))
    return np.array([[*row, *[None] * (longest - len(row))] for row in rows], dtype=float)


def _draw_map(axis: "Axes", evaluations: _Evaluations, edges: np.ndarray, values: np.ndarray, **style: Any) -> "QuadMesh":
    """Draw ``values [evaluations, rows]`` over the steps, with rows between ``edges``."""
    steps = np.array(evaluations.steps, dtype=float)
    first, last = (steps[0], steps[-1]) if steps[0] < steps[-1] else (steps[0] - 0.5, steps[0] + 0.5)
    columns = np.concatenate([[first], (steps[1:] + steps[:-1]) / 2, [last]])
    drawn = axis.pcolormesh(columns, edges, np.ma.masked_invalid(values.T), rasterized=True, **style)
    _mark_stages(axis, evaluations)
    return drawn


def _mark_stages(axis: "Axes", evaluations: _Evaluations) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow to import

    for begin in evaluations.begins[1:]:
        axis.axvline(begin, color="0.6", linewidth=0.6)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
