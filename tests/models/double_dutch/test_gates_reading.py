"""The reading ``gates``: ones and zeros of the deepest gates, without amplitudes."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from sounds import RATE, pluck
from sounds import fit_waves as fit

import ddaudio
from ddaudio.errors import OptionError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import Budget, DoubleDutchNetwork
from ddaudio.options import DoubleDutchOptions
from ddaudio.report import save as saving


def test_ones_and_zeros_are_right_but_for_the_cells_of_their_edges() -> None:
    """A deepest node has four samples, of which its cutoff opens none, some at one end, or all: at an edge two may be wrong."""
    target = torch.zeros(1, 64)
    target[0, 10:30] = 1.0
    network = DoubleDutchNetwork(TimeGrid.uniform(RATE, 1, 64, 64 / RATE, 0.0), DoubleDutchOptions(reading="gates", depth=5))
    network.initialise(target, Budget(1000), "peaks", torch.Generator())
    assert set(network.to_tensors()) == {"amplitude", "cutoff"}
    assert network.to_tensors()["amplitude"].numel() == 0
    assert network.n_components() == 31
    assert set(network.estimate().detach().unique().tolist()) <= {0.0, 1.0}
    assert float((network.estimate().detach() - target).square().sum()) <= 4


def test_a_cut_recording_is_fitted_by_gates_alone(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model": "double-dutch", "cut": "learned", "depth": 6}
    gates, binary = (fit(pluck(0.2), reading=reading, **settings) for reading in ("gates", "binary"))
    assert set(gates.network.estimate().detach().unique().tolist()) <= {0.0, 1.0}
    assert gates.n_parameters < binary.n_parameters
    assert gates.snr_db > 0
    saving.save_fit(gates, tmp_path / "fit")
    again = ddaudio.load_model(tmp_path / "fit")
    torch.testing.assert_close(again.estimate(), gates.network.estimate())


def test_trained_gates_move_only_cutoffs() -> None:
    target = (torch.sin(torch.arange(256) * 0.05) > 0.3).float()[None]
    network = DoubleDutchNetwork(TimeGrid.uniform(RATE, 1, 256, 256 / RATE, 0.0), DoubleDutchOptions(reading="gates", depth=4))
    network.initialise(target, Budget(1000), "peaks", torch.Generator())
    (network.estimate() - target).square().sum().backward()
    assert network.amplitude.numel() == 0
    jacobian = network.jacobian()
    change = [torch.zeros(0, 1), torch.zeros_like(network.cutoff)]
    assert not jacobian.forward(change).any(), "no change of the parameters is no change of the signals"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cutoffs": "fixed"}, "which has no parameters but learned cutoffs"),
        ({"ropes": "square"}, "which has no parameters but learned cutoffs"),
        ({"pair": "quadrature"}, "but a quadrature pair needs waves"),
        ({"initialisation": "random"}, "always initialised by least squares"),
    ],
)
def test_what_gates_do_not_have_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        fit(pluck(0.1), model="double-dutch", reading="gates", **settings)
