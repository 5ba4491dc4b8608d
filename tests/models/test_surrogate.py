"""The surrogate from frequencies that are not those of the sound: scales, damping, default optimiser."""

import re

import pytest
import torch
from sounds import RATE, pluck
from sounds import fit_waves as fit

from ddaudio.errors import OptionError
from ddaudio.fitting.plan import make_plan
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import Objective
from ddaudio.models import Budget, SurrogateNetwork
from ddaudio.options import FitOptions, SurrogateOptions, TrainingOptions
from ddaudio.training.trainer import train

N = 512


def started(target: torch.Tensor, seed: int = 3, start: str = "random", **settings: float) -> SurrogateNetwork:
    network = SurrogateNetwork(TimeGrid.of_sizes(RATE, N, [[N]]), SurrogateOptions(**settings))
    network.initialise(target, Budget(1), start, torch.Generator().manual_seed(seed))
    return network


def test_a_tone_is_found_from_far_off() -> None:
    """Forty bins from the truth, where the error is the same everywhere to 1 %; with the steps of a bin it is not found."""
    begun = float(started(torch.ones(1, N)).wave_frequencies())
    target = 0.1 * torch.cos((begun - 40 * 2 * 3.14159 / N) * torch.arange(N) + 0.4)[None]
    options, objective = TrainingOptions(optimiser="adam", steps=800), Objective({"mse": 1.0}, target, N, 1, RATE)
    far, near = started(target), started(target)
    run = train(far, target, objective, options, lambda _: None)
    assert run.status == "step limit", "a loss that does not fall yet is no convergence"
    assert run.best.snr_db > 40
    near.replace_partials(near.partials)
    assert not near.is_far
    assert train(near, target, objective, options, lambda _: None).best.snr_db < 1


def test_damping_is_that_of_the_settings() -> None:
    target = torch.sin(torch.arange(N) * 0.3)[None]
    found = {
        (start, damping): float(started(target, start=start, damping_per_sample=damping).natural()["decay"])
        for start in ("random", "peaks")
        for damping in (None, 0.0, 0.5)
    }
    wanted = {None: {"random": 0.02, "peaks": 0.0}, 0.0: {"random": 0.0, "peaks": 0.0}, 0.5: {"random": 0.5, "peaks": 0.5}}
    # Float32 values of z.
    assert found == pytest.approx({key: wanted[key[1]][key[0]] for key in found}, abs=1e-5)


def test_other_scales_do_not_change_the_signals() -> None:
    target = torch.sin(torch.arange(N) * 0.3)[None]
    far = started(target)
    before = far.estimate().detach()
    far.replace_partials(far.partials)
    torch.testing.assert_close(far.estimate().detach(), before, atol=1e-6, rtol=1e-4)


def test_adam_is_the_default_for_frequencies_that_have_a_way_to_go() -> None:
    for start, optimiser in (("random", "adam"), ("equal", "adam"), ("peaks", "gauss-newton")):
        options = FitOptions().with_settings({"model": "surrogate", "initialisation": start})
        assert make_plan(pluck(0.1), options).stages[0].options.training.optimiser == optimiser


def test_bad_damping_is_refused() -> None:
    with pytest.raises(OptionError, match=re.escape("damping_per_sample is 3; allowed: 0 to 2")):
        fit(pluck(0.1), model="surrogate", damping_per_sample=3)
    with pytest.raises(OptionError, match="it is a setting of surrogate"):
        fit(pluck(0.1), model="sine", damping_per_sample=0.1)
