"""One cutoff for all gates of a tree."""

from pathlib import Path

import pytest
import torch
from sounds import RATE, pluck
from sounds import fit_waves as fit

import ddaudio
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import Budget, DoubleDutchNetwork
from ddaudio.options import DoubleDutchOptions
from ddaudio.report import save as saving


@pytest.mark.parametrize("reading", ["every", "binary", "gates"])
def test_a_tree_has_one_cutoff(reading: str, tmp_path: Path) -> None:
    result = fit(pluck(0.2), model="double-dutch", cutoffs="shared", reading=reading, depth=5, cut="learned")
    network = result.network
    assert network.cutoff.numel() == network.grid.n_frames
    assert torch.equal(network.cutoffs, network.cutoffs[:, :1].expand_as(network.cutoffs))
    saving.save_fit(result, tmp_path / "fit", html=False)
    torch.testing.assert_close(ddaudio.load_model(tmp_path / "fit").estimate(), network.estimate(), atol=1e-5, rtol=1e-4)


def test_a_shared_cutoff_has_the_sum_of_the_gradients_of_all() -> None:
    target = (torch.sin(torch.arange(512) * 0.04) * 0.5)[None]
    grids = [TimeGrid.uniform(RATE, 1, 512, 256 / RATE, 0.0) for _ in range(2)]
    gradients = []
    for grid, cutoffs in zip(grids, ("shared", "learned"), strict=True):
        options = DoubleDutchOptions(depth=4, cutoffs=cutoffs, pair="sigmoid")
        network = DoubleDutchNetwork(grid, options)
        network.initialise(target, Budget(1000), "peaks", torch.Generator())
        (network.estimate() - 2 * target).square().sum().backward()
        gradients.append(network.cutoff.grad.reshape(2, -1).sum(1))
    # Float32 sums in another order.
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
    assert gradients[0].abs().min() > 0


def test_a_shared_cutoff_moves_the_edge_of_a_step() -> None:
    target = torch.zeros(1, 256)
    target[0, :50] = 1.0
    fixed, shared = (
        DoubleDutchNetwork(
            TimeGrid.uniform(RATE, 1, 256, 256 / RATE, 0.0), DoubleDutchOptions(depth=1, reading="binary", cutoffs=cutoffs)
        )
        for cutoffs in ("fixed", "shared")
    )
    for network in (fixed, shared):
        network.initialise(target, Budget(100), "peaks", torch.Generator())
    errors = [float((network.estimate().detach() - target).square().sum()) for network in (fixed, shared)]
    assert errors[1] < 0.1 * errors[0]
