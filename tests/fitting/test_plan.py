"""The plan of a fit: made once, complete, and followed."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sounds import fit_waves as fit

from ddaudio.errors import OptionError
from ddaudio.fitting import layer_widths, plan, resolved_options, stagewise
from ddaudio.fitting.plan import LEAST_GOAL_DB, make_plan
from ddaudio.fitting.run import plan_fit
from ddaudio.io.audio import Recording
from ddaudio.models.double_dutch import sizing
from ddaudio.options import FitOptions, TrainingOptions

RATE = 8000
SUM = "sine+double-dutch"
QUICK: dict[str, Any] = {"steps": 1, "exchanges": 0}


def tone(n_samples: int = 2000, channels: int = 1) -> Recording:
    return Recording(torch.sin(torch.arange(n_samples) / 5).repeat(channels, 1), RATE)


@pytest.mark.parametrize(
    ("settings", "stages"),
    [({}, 1), ({"model": SUM, "budget": 300}, 2), ({"model": "stack"}, 1), ({"model": "sine+stack"}, 2)],
    ids=str,
)
def test_a_fit_decides_each_thing_once(settings: dict[str, Any], stages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every function that fills options in or cuts a recording into blocks is called once a stage, and none after the plan."""
    calls: Counter[str] = Counter()

    def counted(owner: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def called(*args: Any, **more: Any) -> Any:
            calls[name] += 1
            return function(*args, **more)

        monkeypatch.setattr(owner, name, called)

    for owner, name in (
        (plan, "resolved_term"),
        (plan, "_plan_blocks"),
        (resolved_options, "_resolved_training"),
        (layer_widths, "sized"),
        (sizing, "resolved"),
        (TrainingOptions, "resolved"),
    ):
        counted(owner, name)
    recording, options = tone(), FitOptions().with_settings({**QUICK, **settings})
    make_plan(recording, options)
    planned = calls.copy()
    assert planned["resolved_term"] == planned["_plan_blocks"] == planned["_resolved_training"] == stages
    assert planned["sized"] == ("stack" in options.model.model)
    assert planned["sizing.resolved"] == 0
    # Of a sum, the training of all networks together as well.
    assert planned["resolved"] == stages + (stages > 1) + ("double-dutch" in options.model.model)
    calls.clear()
    fit(recording, options)
    assert calls == planned


@pytest.mark.parametrize("model", ["sine", "double-dutch", "cascade", "surrogate", "stack", "siren"])
@pytest.mark.parametrize("size", [{}, {"budget": 400}], ids=str)
def test_resolved_options_are_their_own_resolution(model: str, size: dict[str, Any]) -> None:
    first = make_plan(tone(), FitOptions().with_settings({"model": model, **size}))
    again = make_plan(tone(), first.options)
    assert again.stages[0].blocks == first.stages[0].blocks
    # Given widths set the size of a network of units; without them it is the budget or the cap that sets the widths.
    assert again.stages[0].n_parameters == first.stages[0].n_parameters or first.stages[0].network.has_widths
    assert again.options.networks == first.options.networks
    assert again.options.grid == first.options.grid
    assert again.options.training == first.options.training


def test_blocks_cover_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BLOCK_SAMPLES", 4096)
    blocks = plan_fit(tone(60_000, 2), frame_s=0.05, partials=2).stages[0].blocks
    assert (blocks.ranges[0][0], blocks.ranges[-1][1]) == (0, 60_000)
    assert all(one[1] == two[0] for one, two in zip(blocks.ranges, blocks.ranges[1:], strict=False))
    assert len(blocks.ranges) > 1
    assert not blocks.adaptive
    # A cell of a frame of 400 samples that overlaps by one half is 200 samples long.
    assert blocks.root_samples == 200
    # One parameter a cell: the number of its partials.
    assert blocks.fewest == tuple(2 * math.ceil((last - first) / 200) for first, last in blocks.ranges)
    assert plan_fit(tone(60_000)).stages[0].blocks.adaptive


def test_a_later_stage_gets_what_earlier_ones_left() -> None:
    stage = plan_fit(tone(), model=SUM, budget=300, budget_split="2,1").stages[1]
    assert stage.n_parameters == 300
    assert stage.with_spent(120, 1.0, 0.5).n_parameters == 180
    # At least the smallest budget there is.
    assert stage.with_spent(300, 1.0, 0.5).n_parameters == 4
    stage = plan_fit(tone(), model=SUM, target_snr_db=20, max_parameters_per_sample=0.2).stages[1]
    assert stage.n_parameters == 400
    later = stage.with_spent(100, 8.0, 0.5)
    assert later.n_parameters == 300
    # The residual aimed at stays the same: 20 dB below the recording, whatever the earlier stages left.
    assert later.goal_energy(0.5) == pytest.approx(stage.goal_energy(8.0), rel=1e-12)
    assert stage.goal_energy(8.0) == pytest.approx(0.08, rel=1e-12)
    # What is better than the goal already is not made worse by more than so much.
    assert stage.with_spent(100, 8.0, 1e-9).options.model.target_snr_db == LEAST_GOAL_DB


def test_the_networks_of_a_sum_are_trained_together_in_recordings_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    options = FitOptions().with_settings({"model": SUM, "budget": 400})
    joint = make_plan(tone(), options).joint
    assert joint is not None
    assert (joint.optimiser, joint.steps) == ("gauss-newton", 6)
    mixed = make_plan(tone(), FitOptions().with_settings({"model": "sine+stack", "budget": 900})).joint
    assert mixed is not None
    assert (mixed.optimiser, mixed.steps) == ("adam", 80)
    assert make_plan(tone(), options.with_settings({"together": False})).joint is None
    assert make_plan(tone(), options.with_settings({"steps": 0})).joint is None
    assert make_plan(tone(), options.with_settings({"model": "sine"})).joint is None
    monkeypatch.setattr(plan, "BLOCK_SAMPLES", 1024)
    assert make_plan(tone(60_000), options.with_settings({"budget": 4000})).joint is None


def test_what_cannot_be_fitted_is_refused_by_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*_: object) -> None:
        pytest.fail("work has begun")

    monkeypatch.setattr(stagewise, "fit_blocks", begun)
    for settings in ({"frame_s": 0.005, "budget": 50}, {"losses": "pdl:5000"}, {"rate_tilt": 1, "model": "siren"}):
        for verb in (plan_fit, fit):
            with pytest.raises(OptionError):
                verb(tone(), **settings)
