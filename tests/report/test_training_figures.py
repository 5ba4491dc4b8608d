"""Figures of training over the steps: what is drawn is what was recorded, where it was recorded."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sounds import fit_waves as fit
from sounds import pluck

from ddaudio.errors import OptionError
from ddaudio.report import training_figures as figures
from ddaudio.results.record import FitRecord

ALL = (figures.error_over_steps, figures.amplitudes_over_steps, figures.gradients_over_steps)


@pytest.fixture(scope="module")
def mixed() -> FitRecord:
    return FitRecord.of(fit(pluck(), model="sine+double-dutch", steps=4))


def look(step: int, **facts: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"gradients": {}, "natural_gradients": {}, "amplitudes": [], "error_by_time": [], "averaged": False}
    return {"step": step, "snr_db": 1.0, "terms": {"mse": 1.0}, **empty, **facts}


def with_stages(record: FitRecord, *stages: list[list[list[dict[str, Any]]]]) -> FitRecord:
    """The record of stages of blocks of runs of evaluations."""
    report = copy.deepcopy(record.report)
    report["training"]["stages"] = [
        {
            "name": f"stage {place}",
            "blocks": [[{"status": "converged", "evaluations": looks, "losses": []} for looks in runs] for runs in blocks],
        }
        for place, blocks in enumerate(stages)
    ]
    return FitRecord(report, record.sounds, record.network)


def map_of(axis: Axes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values of a heat map, NaN where it is left white, and its edges over steps and rows."""
    (mesh,) = axis.collections
    corners = mesh.get_coordinates()
    return np.ma.filled(mesh.get_array(), math.nan), corners[0, :, 0], corners[:, 0, 1]


def test_error_is_drawn_over_time_and_steps(mixed: FitRecord) -> None:
    """Two runs and then another stage: each begins where the one before it ended."""
    first = [look(0, error_by_time=[1.0, 10.0]), look(4, error_by_time=[1.0, 1.0])]
    second = [look(0, error_by_time=[0.1, 1.0]), look(2, error_by_time=[0.1, None])]
    record = with_stages(mixed, [[first, second]], [[[look(0, error_by_time=[1e-9, 0.0])]]])
    upper, lower = figures.error_over_steps(record).axes[:2]
    levels, steps, times = map_of(upper)
    wanted = np.array([[-10, -10, -20, -20, -60], [0, -10, -10, math.nan, -60]])
    np.testing.assert_allclose(levels, wanted, atol=1e-9)
    np.testing.assert_allclose(steps, [0, 2, 4, 5, 6, 6])
    np.testing.assert_allclose(times, np.array([0, 0.5, 1]) * record.report["recording"]["duration_s"])
    np.testing.assert_allclose(map_of(lower)[0], wanted - wanted[:, :1], atol=1e-9)
    low, high = lower.collections[0].get_clim()
    assert low == -high, "no change is the middle of the colours"
    assert [line.get_xdata()[0] for line in upper.lines] == [6], "the second stage"


def test_each_block_has_its_own_figure(mixed: FitRecord) -> None:
    blocks = [[[look(0, error_by_time=[value, 1.0]), look(3, error_by_time=[value, 1.0])]] for value in (1.0, 0.1)]
    record = with_stages(mixed, blocks)
    for block, level in enumerate((0, -10)):
        figure = figures.error_over_steps(record, block=block)
        levels, _, edges = map_of(figure.axes[0])
        np.testing.assert_allclose(levels[0], level, atol=1e-9)
        assert (edges[-1], figure.axes[0].get_ylabel()) == (1, "time (share of the block)")
    for draw in ALL:
        with pytest.raises(OptionError, match="allowed: 0 to 1"):
            draw(record, block=2)


def test_amplitudes_are_drawn_as_quantiles_in_decibels(mixed: FitRecord) -> None:
    rows = [[0.0, 0.01, 0.01, 0.1, 0.1, 1.0], [0.001, 0.001, 0.001, 0.01, 0.01, 0.1]]
    record = with_stages(mixed, [[[look(5 * place, amplitudes=row) for place, row in enumerate(rows)]]])
    (axis,) = figures.amplitudes_over_steps(record).axes
    lines = {line.get_label(): line for line in axis.lines}
    np.testing.assert_allclose(lines["median"].get_xdata(), [0, 5])
    np.testing.assert_allclose(lines["median"].get_ydata(), [-40, -60])
    np.testing.assert_allclose(lines["largest"].get_ydata(), [0, -20])
    bands = {band.get_label(): band.get_paths()[0].vertices for band in axis.collections}
    assert {label: (points[:, 1].min(), points[:, 1].max()) for label, points in bands.items()} == {
        "80 % of the waves": pytest.approx((-120, -20)),
        "50 % of the waves": pytest.approx((-60, -20)),
    }


def test_gradients_are_drawn_by_layer_scaled_and_in_natural_units(mixed: FitRecord) -> None:
    scaled = [{"level 10": 1.0, "level 2": 10.0}, {"level 10": None, "level 2": 0.0}]
    natural = [{"level 10": 1e-3, "level 2": 1e3}, {"level 2": 1e5}]
    looks = [
        look(2 * place + 2, gradients=one, natural_gradients=other)
        for place, (one, other) in enumerate(zip(scaled, natural, strict=True))
    ]
    first, second = figures.gradients_over_steps(with_stages(mixed, [[[look(0), *looks]]])).axes[:2]
    for axis, wanted in ((first, [[1, math.nan], [0, math.nan]]), (second, [[3, 5], [-3, math.nan]])):
        values, steps, _ = map_of(axis)
        np.testing.assert_allclose(values, wanted)
        np.testing.assert_allclose(steps, [2, 3, 4])
        assert [text.get_text() for text in axis.get_yticklabels()] == ["level 2", "level 10"]
        assert axis.get_ylim()[0] > axis.get_ylim()[1], "the first layer is at the top"


@pytest.mark.parametrize("draw", ALL)
def test_a_fit_is_drawn(draw: Callable[..., Figure], mixed: FitRecord, tmp_path: Any) -> None:
    """All stages of a sum, with all that they recorded."""
    figure = draw(mixed, size=(5.0, 3.0))
    assert tuple(figure.get_size_inches()) == (5.0, 3.0)
    figure.savefig(tmp_path / "a.pdf")
    steps = sum(run["evaluations"][-1]["step"] for one in mixed.report["training"]["stages"] for run in one["blocks"][0])
    assert figure.axes[0].dataLim.x1 == steps
    assert figure.axes[0].get_xlabel() == "step" or figure.axes[1].get_xlabel() == "step"


@pytest.mark.parametrize(
    ("draw", "what"), [(figures.amplitudes_over_steps, "amplitudes"), (figures.gradients_over_steps, "gradients")]
)
def test_what_was_not_recorded_is_not_drawn(draw: Callable[..., Figure], what: str, mixed: FitRecord) -> None:
    with pytest.raises(OptionError, match=f"the fit has no {what} to draw"):
        draw(with_stages(mixed, [[[look(0)]]]))
