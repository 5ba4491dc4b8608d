"""Optimisers: against torch, and against loops of ten lines."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ddaudio.training.ema import Average
from ddaudio.training.first_order import Adam, Lbfgs, Sgd, optimiser_of
from ddaudio.training.optimiser import Closure, Optimiser

STEPS, RATE = 25, 0.03


def parameters() -> list[nn.Parameter]:
    """Float64, so that two orders of the same arithmetic differ by no more than 1e-12 or so."""
    return [nn.Parameter(torch.linspace(-1, 1, 7, dtype=torch.float64)), nn.Parameter(torch.ones(2, 3, dtype=torch.float64))]


MIX = torch.randn(20, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.logspace(0, -1, 13).double()


def loss_of(moved: list[nn.Parameter]) -> Tensor:
    seen = MIX @ torch.cat([parameter.reshape(-1) for parameter in moved])
    return (seen + 0.3 * seen.sin() - 1).square().mean()


def closure_of(moved: list[nn.Parameter]) -> Closure:
    def closure() -> bool:
        for parameter in moved:
            parameter.grad = None
        loss_of(moved).backward()
        return True

    return closure


def flat(moved: list[nn.Parameter]) -> np.ndarray:
    return torch.cat([parameter.detach().reshape(-1) for parameter in moved]).numpy()


def gradient_at(values: np.ndarray) -> np.ndarray:
    point = torch.tensor(values, requires_grad=True)
    return torch.autograd.grad(loss_of([point]), point)[0].numpy()  # type: ignore[list-item]


TORCHS: dict[str, tuple[Callable[[list[nn.Parameter]], Optimiser], Callable[[list[nn.Parameter]], torch.optim.Optimizer]]] = {
    "adam": (Adam, lambda moved: torch.optim.Adam(moved, RATE, betas=(0.9, 0.99), eps=1e-30)),
    "sgd": (Sgd, lambda moved: torch.optim.SGD(moved, RATE, momentum=0.9, nesterov=True)),
    "lbfgs": (Lbfgs, lambda moved: torch.optim.LBFGS(moved, RATE, max_iter=5, history_size=10)),
}


@pytest.mark.parametrize("name", TORCHS)
def test_it_is_that_of_torch(name: str) -> None:
    make, theirs = TORCHS[name]
    ours, others = parameters(), parameters()
    mine, reference = make(ours), theirs(others)
    for _ in range(STEPS):
        mine.step(closure_of(ours), RATE)
        reference.step(lambda: closure_of(others)() and float(loss_of(others).detach()))
        # The same formulas in float64; of L-BFGS the curvature of 125 moves, whose rounding adds up.
        np.testing.assert_allclose(flat(ours), flat(others), atol=1e-9 if name == "lbfgs" else 1e-13)
    assert not np.allclose(flat(ours), flat(parameters()), atol=0.01), "it moved"


def test_sgd_in_float32_has_the_very_bits_of_torch() -> None:
    ours, others = ([nn.Parameter(torch.linspace(-1, 1, 9))] for _ in range(2))
    mine, reference = Sgd(ours), torch.optim.SGD(others, RATE, momentum=0.9, nesterov=True)
    for _ in range(STEPS):
        for moved in (ours, others):
            moved[0].grad = (moved[0] ** 3 + moved[0].cos()).detach()
        mine.step(lambda: True, RATE)
        reference.step()
        assert torch.equal(ours[0], others[0])


@pytest.mark.parametrize("delay", [0, 1, 4])
def test_adam_with_delayed_momentum_is_a_loop_of_ten_lines(delay: int) -> None:
    moved = parameters()
    optimiser, wanted = Adam(moved, delay=delay), flat(moved).copy()
    first = second = np.zeros_like(wanted)
    seen: list[np.ndarray] = []
    for step in range(STEPS):
        seen.append(gradient_at(wanted))
        first = 0.9 * first + 0.1 * seen[max(0, step - delay)]
        second = 0.99 * second + 0.01 * seen[step] ** 2
        wanted = wanted - RATE * first / (1 - 0.9 ** (step + 1)) / np.sqrt(second / (1 - 0.99 ** (step + 1)))
        optimiser.step(closure_of(moved), RATE)
        np.testing.assert_allclose(flat(moved), wanted, atol=1e-12)


@pytest.mark.parametrize("delay", [0, 1, 4])
def test_sgd_with_delayed_momentum_is_a_loop_of_ten_lines(delay: int) -> None:
    moved = parameters()
    optimiser, wanted = Sgd(moved, delay=delay), flat(moved).copy()
    velocity = np.zeros_like(wanted)
    seen: list[np.ndarray] = []
    for step in range(STEPS):
        seen.append(gradient_at(wanted))
        velocity = 0.9 * velocity + seen[max(0, step - delay)]
        wanted = wanted - RATE * (seen[step] + 0.9 * velocity)
        optimiser.step(closure_of(moved), RATE)
        np.testing.assert_allclose(flat(moved), wanted, atol=1e-12)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_shares_of_the_rate_are_rates_of_their_own(name: str) -> None:
    """A first step from equal states: a value with share ``s`` moves ``s`` times as far, and one with 0 never."""
    plain, shared = parameters(), parameters()
    shares = [torch.tensor([0.0, 1.0, 2.0, 0.5, 1.0, 1.0, 10.0]).double(), torch.full((2, 3), 0.1).double()]
    optimiser_of(name, plain).step(closure_of(plain), RATE)  # type: ignore[arg-type]
    other = optimiser_of(name, shared, shares)  # type: ignore[arg-type]
    other.step(closure_of(shared), RATE)
    start, factor = flat(parameters()), torch.cat([share.reshape(-1) for share in shares]).numpy()
    np.testing.assert_allclose(flat(shared) - start, factor * (flat(plain) - start), atol=1e-15)
    for _ in range(3):
        other.step(closure_of(shared), RATE)
    assert flat(shared)[0] == start[0]
    assert flat(shared)[1] != start[1]


MAKERS: dict[str, Callable[[list[nn.Parameter]], Optimiser]] = {
    "adam": lambda moved: Adam(moved, delay=3),
    "adam, no delay": Adam,
    "sgd": lambda moved: Sgd(moved, delay=2),
    "lbfgs": Lbfgs,
}


@pytest.mark.parametrize("done", [0, 1, 2, 13])
@pytest.mark.parametrize("name", MAKERS)
def test_what_it_remembers_can_be_taken_over(name: str, done: int) -> None:
    moved = parameters()
    optimiser = MAKERS[name](moved)
    for _ in range(done):
        optimiser.step(closure_of(moved), RATE)
    state = optimiser.state()
    other = [nn.Parameter(parameter.detach().clone()) for parameter in moved]
    for _ in range(4):
        optimiser.step(closure_of(moved), RATE)
    taken = MAKERS[name](other)
    taken.restore(state)
    for _ in range(4):
        taken.step(closure_of(other), RATE)
    assert np.array_equal(flat(moved), flat(other)), "bit for bit, and not moved by steps in between"


def test_lbfgs_solves_least_squares_and_stays_where_nothing_leads_down() -> None:
    """Of a quadratic with 6 unknowns, full steps end at the solution of the normal equations, also where the loss is tiny."""
    generator = torch.Generator().manual_seed(1)
    matrix, wanted = (torch.randn(9, 6, generator=generator).double(), torch.randn(9, generator=generator).double())
    for scale in (1.0, 1e-6):
        point = nn.Parameter(torch.zeros(6, dtype=torch.float64))

        def closure(point: nn.Parameter = point, scale: float = scale) -> bool:
            point.grad = None
            (scale * (matrix @ point - wanted).square().mean()).backward()
            return True

        optimiser = Lbfgs([point])
        for _ in range(30):
            optimiser.step(closure, 1.0)
        solution = torch.linalg.lstsq(matrix, wanted[:, None]).solution[:, 0]
        torch.testing.assert_close(point.detach(), solution, atol=1e-6, rtol=0)
    level = nn.Parameter(torch.ones(3))
    optimiser = Lbfgs([level])

    def nothing() -> bool:
        level.grad = torch.zeros(3)
        return True

    for _ in range(3):
        optimiser.step(nothing, 1.0)
    assert torch.equal(level.detach(), torch.ones(3))


def test_lbfgs_starts_anew_when_told() -> None:
    moved = parameters()
    optimiser = Lbfgs(moved)
    optimiser.step(closure_of(moved), RATE)
    assert optimiser.state()
    optimiser.restart()
    assert not optimiser.state()


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.999])
def test_the_average_is_the_sum_in_closed_form(keep: float) -> None:
    moved = nn.Parameter(torch.randn(5, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    path = [moved.detach().clone()]
    average = Average([moved], keep)
    for step in range(12):
        with torch.no_grad():
            moved.copy_(torch.randn(5, generator=torch.Generator().manual_seed(step), dtype=torch.float64))
        path.append(moved.detach().clone())
        average.update()
    steps = len(path) - 1
    weights = [keep**steps, *((1 - keep) * keep ** (steps - step) for step in range(1, steps + 1))]
    assert sum(weights) == pytest.approx(1)
    wanted = sum(weight * value for weight, value in zip(weights, path, strict=True))
    torch.testing.assert_close(average.values[0], wanted, atol=1e-14, rtol=0)
    with average.in_place():
        assert torch.equal(moved, average.values[0])
    assert torch.equal(moved.detach(), path[-1])
    with pytest.raises(KeyboardInterrupt), average.in_place():
        raise KeyboardInterrupt
    assert torch.equal(moved.detach(), path[-1]), "whatever happens meanwhile"
