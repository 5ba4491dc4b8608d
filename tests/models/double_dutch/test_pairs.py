"""Pairs of ropes: imbalance as phase, and sigmoids of +1 and -1 with one amplitude for a level."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from sounds import RATE, noise, pluck
from sounds import fit_waves as fit

from ddaudio.errors import OptionError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import Budget, DoubleDutchNetwork
from ddaudio.models.double_dutch.trees import Plan
from ddaudio.options import DoubleDutchOptions

IMBALANCES = np.linspace(-1, 1, 9)


def fundamental(imbalance: float, **settings: Any) -> complex:
    """Amplitude and phase, at its first sample, of a pair of ropes of 64 samples with amplitudes ``(1 +- imbalance) / 2``."""
    options = DoubleDutchOptions(denominators="64", transition_s="0.0005", **settings).filled()
    tree = Plan(TimeGrid.uniform(RATE, 1, 512, 512 / RATE, 0.0), options).opened(torch.zeros(1, 1, dtype=torch.float64))
    amplitudes = torch.tensor([[[(1 + imbalance) / 2], [(1 - imbalance) / 2]]], dtype=torch.float64)
    n = np.arange(512) + 0.5
    return complex(2 * (tree.sound(amplitudes)[0].numpy() * np.exp(-2j * math.pi * n / 64)).mean())


@pytest.mark.parametrize("gating", ["soft", "hard"])
def test_imbalance_of_a_shifted_pair_is_phase_over_a_quarter_turn(gating: Any) -> None:
    """``atan2(-(a+ + a-), a+ - a-)``, as without gates: those of both halves of a period sum to one."""
    found = [np.angle(fundamental(imbalance, pair="shifted", gating=gating)) for imbalance in IMBALANCES]
    np.testing.assert_allclose(found, np.arctan2(-1, IMBALANCES), atol=1e-9)
    assert (np.diff(found) > 0.1).all()
    assert found[-1] - found[0] == pytest.approx(math.pi / 2)


@pytest.mark.parametrize("gating", ["soft", "hard"])
def test_imbalance_of_opposite_ropes_is_no_phase(gating: Any) -> None:
    """Their sum is a function of the wave, hence even about its maxima: the phase is 0 or pi, and equal ropes cancel."""
    found = np.array([fundamental(imbalance, gating=gating) for imbalance in IMBALANCES])
    np.testing.assert_allclose(found.imag, 0, atol=1e-12)
    np.testing.assert_allclose(found.real, IMBALANCES / 2, atol=1e-9)


def test_a_tree_of_shifted_pairs_is_fitted() -> None:
    opposite, shifted = (
        fit(pluck(0.3), model="double-dutch", depth=6, pair=pair, budget=300) for pair in ("opposite", "shifted")
    )
    assert shifted.snr_db > 1
    assert shifted.snr_db != opposite.snr_db


@pytest.mark.parametrize("gating", ["soft", "hard"])
def test_a_sigmoid_pair_has_one_amplitude_for_each_level(gating: Any) -> None:
    """``sum_l a_l (2 g_l - 1)`` with cutoffs of 0, ``g_l`` the gate of the level."""
    options = DoubleDutchOptions(pair="sigmoid", depth=4, gating=gating, transition_s="0.0005")
    network = DoubleDutchNetwork(TimeGrid.uniform(RATE, 1, 512, 256 / RATE, 0.0), options)
    network.initialise(noise(0.064), Budget(100), "peaks", torch.Generator())
    assert set(network.to_tensors()) == {"amplitude"}
    assert network.to_tensors()["amplitude"].shape == (8, 1)
    n, total = np.arange(256) + 0.5, 0.0
    for level, amplitude in enumerate(network.rope_amplitudes[:4, 0].numpy()):
        wave, k = np.cos(2 * math.pi * n / (512 / 2**level)), network.plan.gating.sharpness[level]
        gate = wave >= 0 if gating == "hard" else 1 / (1 + np.exp(-k * wave))
        total = total + amplitude * (2.0 * gate - 1)
    # Float32 sums of four levels.
    np.testing.assert_allclose(network.estimate()[0, :256].detach().numpy(), total, atol=1e-5)


def test_sigmoid_pairs_are_exact_for_their_own_sums_and_learn_cutoffs() -> None:
    options = DoubleDutchOptions(pair="sigmoid", depth=4, gating="hard")
    network = DoubleDutchNetwork(TimeGrid.uniform(RATE, 1, 256, 256 / RATE, 0.0), options)
    levels = torch.tensor([0.4, -0.3, 0.2, 0.1])
    n = torch.arange(256) + 0.5
    target = sum(a * torch.where(torch.cos(2 * math.pi * n / (512 / 2**k)) < 0, -1.0, 1.0) for k, a in enumerate(levels))[None]
    network.initialise(target, Budget(100), "peaks", torch.Generator())
    torch.testing.assert_close(network.rope_amplitudes[:, 0], levels, atol=1e-5, rtol=0)
    fixed, learned = (
        fit(pluck(0.2), model="double-dutch", pair="sigmoid", depth=5, cutoffs=cutoffs, max_parameters_per_sample=1.0)
        for cutoffs in ("fixed", "learned")
    )
    assert learned.snr_db > fixed.snr_db + 0.1
    assert learned.n_parameters > fixed.n_parameters


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pair": "shift"}, "did you mean 'shifted'"),
        ({"pair": "shifted", "ropes": "square"}, "but a shifted pair needs waves"),
        ({"pair": "sigmoid", "reading": "binary"}, "which has two levels, not one for each level of the tree"),
        ({"pair": "sigmoid", "initialisation": "random"}, "but its amplitudes are always initialised by least squares"),
        ({"pair": "sigmoid", "depth": 8, "cutoffs": "learned", "budget": 300}, "which takes 263 parameters in each frame"),
    ],
)
def test_bad_pairs_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        fit(pluck(0.3), model="double-dutch", **settings)
