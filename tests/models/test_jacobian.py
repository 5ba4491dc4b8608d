"""The Jacobian by automatic differentiation, against those that are written by hand and against explicit columns."""

import pytest
import torch
from network_cases import CASES, SOME, fitted
from sounds import noise

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import FramedNetwork, jacobian
from ddaudio.models.jacobian import AutomaticJacobian
from ddaudio.training.gauss_newton import GaussNewton


def small(name: str, n_samples: int = 160) -> FramedNetwork:
    """A network of each kind in float64, on two signals whose frames overlap; trees have frames of one length, side by side."""
    target = noise(n_samples / 8000, channels=2).double()
    if CASES[name][0] == "double-dutch":
        grid = TimeGrid.uniform(8000, 2, n_samples, 64 / 8000, 0.0)
    else:
        grid = TimeGrid.of_sizes(8000, n_samples, [[32, 32, 64, 32], [64, 64, 32]])
    return fitted(name, target, grid, most=8 if name in SOME else 30)


def changes_of(network: FramedNetwork, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(one.shape, generator=generator, dtype=one.dtype) for one in network.parameters()]


def columns_of(network: FramedNetwork) -> list[torch.Tensor]:
    """The squared norms of the columns, by reverse-mode differentiation of each sample of the signals."""
    parameters = list(network.parameters())
    squares = [torch.zeros_like(one) for one in parameters]
    for sample in network.estimate().flatten():
        rows = torch.autograd.grad(sample, parameters, retain_graph=True, allow_unused=True)
        squares = [total if row is None else total + row.square() for total, row in zip(squares, rows, strict=True)]
    return [one.detach() for one in squares]


@pytest.mark.parametrize("name", CASES)
class TestEveryNetwork:
    def test_it_is_the_one_that_is_written_by_hand(self, name: str) -> None:
        network = small(name)
        ours, theirs = AutomaticJacobian(network), network.jacobian()
        if isinstance(theirs, AutomaticJacobian):
            assert CASES[name][0] in ("stack", "siren") or name == "cascade, tanh"
            return
        changes, signals = changes_of(network, 1), noise(0.02, channels=2, seed=4).double()
        # Float64 sums of some hundred products in another order.
        torch.testing.assert_close(ours.forward(changes), theirs.forward(changes), rtol=1e-9, atol=1e-11)
        for found, wanted in zip(ours.adjoint(signals), theirs.adjoint(signals), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)

    def test_the_adjoint_is_that_of_the_forward_map(self, name: str) -> None:
        network = small(name)
        found, changes = AutomaticJacobian(network), changes_of(network, 2)
        signals = noise(0.02, channels=2, seed=5).double()
        there = float((found.forward(changes) * signals).sum())
        back = sum(float((one * change).sum()) for one, change in zip(found.adjoint(signals), changes, strict=True))
        # Both are sums of some hundred float64 products of one size, which cancel at most in part.
        assert there == pytest.approx(back, rel=1e-9, abs=1e-11)
        assert there != 0

    def test_squares_are_those_of_explicit_columns(self, name: str) -> None:
        network = small(name)
        found = AutomaticJacobian(network, exact_probes=10**6).squares()
        for one, wanted in zip(found, columns_of(network), strict=True):
            torch.testing.assert_close(one, wanted, rtol=1e-9, atol=1e-14)  # float64

    def test_gauss_newton_steps_lower_the_error(self, name: str) -> None:
        target = noise(0.05)
        grid = TimeGrid.uniform(8000, 1, 400, 64 / 8000, 0.0 if CASES[name][0] == "double-dutch" else 0.25)
        network = fitted(name, target, grid, most=40)
        with torch.no_grad():  # away from the least squares of the start, where some networks have nowhere to go
            for parameter in network.parameters():
                parameter.mul_(0.9)
        network.project()
        descent = GaussNewton(network, target)
        before = descent.energy
        assert descent.step() is None  # not converged: a trial lowered the error
        assert descent.energy < before
        with torch.no_grad():
            assert float((target - network.estimate()).double().square().sum()) == pytest.approx(descent.energy)


@pytest.mark.parametrize("name", ["stack", "siren", "cascade, tanh"])
def test_an_estimate_of_squares_comes_near(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = small(name)
    monkeypatch.setattr(jacobian, "PROBES", 800)
    found = AutomaticJacobian(network, exact_probes=0).squares()
    for one, wanted in zip(found, columns_of(network), strict=True):
        # The estimate's relative standard deviation is sqrt(2 / 800), 5 %: of a hundred values all are within 5 of it.
        torch.testing.assert_close(one, wanted, rtol=0.25, atol=1e-12)
    again = AutomaticJacobian(network, exact_probes=0).squares()
    assert all(map(torch.equal, found, again))


def test_it_stays_where_it_was_taken() -> None:
    network = small("stack")
    found, changes, signals = AutomaticJacobian(network), changes_of(network, 3), noise(0.02, channels=2).double()
    before = AutomaticJacobian(network).forward(changes), AutomaticJacobian(network).adjoint(signals)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    assert torch.equal(found.forward(changes), before[0])
    assert all(map(torch.equal, found.adjoint(signals), before[1]))
