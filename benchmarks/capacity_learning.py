"""Whether a tree learns a tree, and what units do to its gradients from level to level."""

import copy
import math
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor

from benchmarks.results import table
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import Objective
from ddaudio.models import Budget
from ddaudio.models.double_dutch.gates import OpenedTree
from ddaudio.models.double_dutch.network import DoubleDutchNetwork
from ddaudio.options import DoubleDutchOptions, TrainingOptions
from ddaudio.training.first_order import Adam
from ddaudio.training.gauss_newton import GaussNewton
from ddaudio.training.trainer import train

RATE = 44_100
SEEDS, TEACHER_SAMPLES, TEACHER_DEPTH = 20, 1024, 8
OPTIMISERS = {"gauss-newton": (100, (0.02,)), "adam": (500, (0.4,)), "sgd": (500, (0.2, 0.5))}
"""Steps of each optimiser and learning rates, found by trial, of which the best counts. Gauss-Newton has none."""
STUDENTS = (
    ("its own shape", "hard", "hard", TEACHER_DEPTH),
    ("its own shape, soft", "soft", "soft", TEACHER_DEPTH),
    ("two levels less", "hard", "hard", TEACHER_DEPTH - 2),
    ("hard for soft", "soft", "hard", TEACHER_DEPTH),
    ("hard for soft, one level more", "soft", "hard", TEACHER_DEPTH + 1),
)
"""Description of the student; gates of teacher and student; depth of the student."""
DESCENT_DEPTH, LOOKS_AT = 10, (100, 500)
STEP_SHARES = (1.0, 1.9)
"""Plain steps over one over the largest curvature: above 2 they diverge."""
ADAM_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
EXACT_DB = 120.0


def _whole(n_signals: int, n_samples: int, options: DoubleDutchOptions, seed: int, double: bool = True) -> DoubleDutchNetwork:
    """Return trees in which all ropes speak, about equally loud waves of random amplitudes."""
    grid = TimeGrid.uniform(RATE, n_signals, n_samples, n_samples / RATE, 0.0)
    network = DoubleDutchNetwork(grid, options)
    network = network.double() if double else network
    size = Budget(n_signals * network.plan.ladder.n_ropes)
    noise = torch.ones(n_signals, n_samples, dtype=torch.float64)
    network.initialise(noise, size, "random", torch.Generator().manual_seed(seed))
    return network


def _snrs(network: DoubleDutchNetwork, target: Tensor) -> list[float]:
    """Return the SNR of each signal."""
    with torch.no_grad():
        left = (target - network.estimate()).square().sum(1)
    return (10 * torch.log10(target.square().sum(1) / left.clamp(min=1e-300))).tolist()


def teachers() -> list[str]:
    """Return the table of students fitted to teachers."""
    rows, condition = [], 0.0
    for name, teacher_gates, gates, depth in STUDENTS:
        with torch.no_grad():
            teacher = _whole(SEEDS, TEACHER_SAMPLES, DoubleDutchOptions(depth=TEACHER_DEPTH, gating=teacher_gates), 1)
            target = teacher.estimate()
        start = _whole(SEEDS, TEACHER_SAMPLES, DoubleDutchOptions(depth=depth, gating=gates), 2)
        columns = [_pair(best_possible(start, target))]
        for optimiser, (steps, rates) in OPTIMISERS.items():
            columns.append(_pair(max((_taught(start, target, optimiser, steps, rate) for rate in rates), key=median)))
        rows.append((name, teacher_gates, f"{gates}, depth {depth}", *columns))
        print(" | ".join(rows[-1]), flush=True)
        if depth == TEACHER_DEPTH and gates == "hard":
            spread = torch.linalg.svdvals(torch.nn.functional.normalize(_columns(start), dim=0))
            condition = float(spread[0] / spread[-1])
    return [
        "### Can a tree be fitted to another tree",
        "",
        f"{SEEDS} teachers, whole trees of depth {TEACHER_DEPTH} over {TEACHER_SAMPLES:,} samples with random amplitudes; "
        "students are initialised with other random amplitudes, and have the same gates. Worst and median SNR in dB after "
        f"{_steps()}, {SEEDS} signals side by side in float64, at learning rates found by trial; `exact` is {EXACT_DB:g} dB or "
        "more. Least squares is the optimum for the student's amplitudes. The waves of a tree are nearly linearly dependent, "
        f"since short ones add up to almost a long one: at unit energy, those of depth {TEACHER_DEPTH} have the condition number "
        f"{condition:,.0f}, which is why descent is slow at the end.",
        "",
        *table(("student", "teacher's gates", "student's gates", "least squares", *OPTIMISERS), rows),
    ]


def _steps() -> str:
    """Return the number of steps of each optimiser, as text."""
    return ", ".join(f"{steps} steps of {optimiser}" for optimiser, (steps, _) in OPTIMISERS.items())


def _pair(snrs: Sequence[float]) -> str:
    """Return worst and median as text."""
    return ", ".join("exact" if one >= EXACT_DB else f"{one:.1f}" for one in (min(snrs), median(snrs)))


def _columns(network: DoubleDutchNetwork) -> Tensor:
    """Return the output of each rope with an amplitude of 1, ``[T, R]``."""
    plan = network.plan
    single = plan.opened(torch.zeros(plan.ladder.n_ropes, plan.ladder.n_nodes, dtype=torch.float64))
    return single.sound(torch.eye(plan.ladder.n_ropes, dtype=torch.float64)[..., None]).T


def best_possible(network: DoubleDutchNetwork, target: Tensor) -> list[float]:
    """Return the SNR of the least squares solution for each signal, from all columns written out."""
    columns = _columns(network)
    left = target.T - columns @ torch.linalg.lstsq(columns, target.T, driver="gelsd").solution
    return (10 * torch.log10(target.square().sum(1) / left.square().sum(0).clamp(min=1e-300))).tolist()


def _taught(start: DoubleDutchNetwork, target: Tensor, optimiser: str, steps: int, rate: float) -> list[float]:
    """Return the SNR of each student after training."""
    network = copy.deepcopy(start)
    # The loss is a mean over signals; weighted by their number it has the gradients of each signal on its own.
    options = TrainingOptions(optimiser=optimiser, steps=steps, learning_rate=rate, tolerance=0.0, evaluate_every=steps)
    train(network, target, Objective({"mse": float(SEEDS)}, target, TEACHER_SAMPLES, 1), options.resolved(0), lambda _: None)
    return _snrs(network, target)


def gradients(window: Tensor) -> list[str]:
    """Return the table of gradients by level in natural units and in the network's, and of descent in both."""
    target = window[None] / window.square().mean().sqrt()
    network = _whole(1, window.numel(), DoubleDutchOptions(depth=DESCENT_DEPTH, gating="hard"), 3)
    plan = network.plan
    opened = plan.opened(torch.zeros(1, plan.ladder.n_nodes, dtype=torch.float64))
    scale = (1 / plan.energies[network.trees.level, 0].sqrt()).reshape(1, -1, 1)

    def gradient(amplitudes: Tensor) -> Tensor:
        """Return the gradient of half the squared error."""
        return opened.correlate(opened.sound(amplitudes) - target)[0]

    columns: list[list[float]] = []
    for amplitudes in (network.rope_amplitudes[None], torch.zeros_like(network.rope_amplitudes)[None]):
        found = gradient(amplitudes)
        units = [torch.ones_like(scale), scale]
        units += [network.unit[None]] if float(amplitudes.abs().max()) else []
        columns += [_by_level(found * unit, network.trees.level, torch.mean) for unit in units]
        columns += [_by_level(found, network.trees.level, torch.sum)] if not float(amplitudes.abs().max()) else []
    rows = [(str(level + 1), *(f"{column[level] / column[0]:.4f}" for column in columns)) for level in range(DESCENT_DEPTH)]
    head = (
        "level",
        "random: natural",
        "random: by energy",
        "random: network's",
        "zero: natural",
        "zero: by energy",
        "zero: norm",
    )
    return [
        "### Gradients by level, and the effect of units",
        "",
        f"The bark's window, whole tree of depth {DESCENT_DEPTH}, hard gates. Root mean square of the gradient by one amplitude "
        "over that at level 1, at random amplitudes and at zero: in natural units, in units of each level's energy "
        "(1/sqrt(`plan.energies`)) and in the network's own (which also include the levels of frame and rope; at zero they are "
        "those of the energy). The last column is the norm of the whole level in natural units, of twice as many "
        f"amplitudes at each level. An amplitude of level {DESCENT_DEPTH} has a gradient {_fall(columns[0])} times smaller than "
        f"one of level 1 at random amplitudes, {_fall(columns[3])} at zero; in units of energy {_fall(columns[1])} and "
        f"{_fall(columns[4])}, in the network's {_fall(columns[2])}.",
        "",
        *table(head, rows),
        "",
        *descents(opened, target, network, scale),
    ]


def _fall(column: Sequence[float]) -> str:
    """Return how many times smaller the last is than the first."""
    return f"{column[0] / column[-1]:.1f}"


def _by_level(values: Tensor, level: Tensor, collect: Callable[[Tensor], Tensor]) -> list[float]:
    """Return the square root of the sum or mean of squares of each level."""
    return [float(collect(values.reshape(-1)[level == one].square()).sqrt()) for one in range(int(level.max()) + 1)]


def descents(opened: OpenedTree, target: Tensor, network: DoubleDutchNetwork, scale: Tensor) -> list[str]:
    """Return the table of descent from zero amplitudes in natural units and in units of energy, and of Gauss-Newton."""
    energy, deep = float(target.square().sum()), (network.trees.level >= DESCENT_DEPTH - 3).reshape(1, -1, 1)
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.amplitude.zero_()
    newton = GaussNewton(network, target)
    newton_rows = {}
    for step in range(1, LOOKS_AT[0] + 1):
        end = newton.step()
        newton_rows[step] = newton.energy
        if end is not None:
            break
    solved = float(opened.sound(torch.where(deep, network.rope_amplitudes[None], 0.0)).square().sum())

    def row(name: str, unit: Tensor, walk: Callable[..., list[Tensor]], rates: Sequence[float]) -> tuple[str, ...]:
        """Return the SNR at each look of the run that ends best, and how loud its deepest levels are."""
        runs = [(rate, walk(opened, target, unit, rate)) for rate in rates]
        finite = [(rate, seen) for rate, seen in runs if bool(seen[-1].isfinite().all())]
        rate, seen = min(finite, key=lambda run: _left(opened, target, run[1][-1]))
        loudness = [float(opened.sound(torch.where(deep, amplitudes, 0.0)).square().sum()) / solved for amplitudes in seen]
        snrs = [10 * math.log10(energy / _left(opened, target, amplitudes)) for amplitudes in seen]
        return name, f"{rate:g}", *(f"{snr_db:.1f}" for snr_db in snrs), *(f"{10 * math.log10(one):.1f}" for one in loudness)

    ones = torch.ones_like(scale)
    rows = [
        row("sgd, natural units", ones, _plain, STEP_SHARES),
        row("sgd, units of energy", scale, _plain, STEP_SHARES),
        row("adam, natural units", ones, _adam, ADAM_RATES),
        row("adam, units of energy", scale * math.sqrt(target.numel() / 2), _adam, ADAM_RATES),
    ]
    last = max(newton_rows)
    six_db, last_db = (10 * math.log10(energy / newton_rows[min(look, last)]) for look in (6, last))
    rows.append((f"gauss-newton ({last} steps; {six_db:.1f} dB after 6)", "", f"{last_db:.1f}", "", "0.0", ""))
    head = (
        "descent",
        "rate",
        *(f"dB after {look}" for look in LOOKS_AT),
        *(f"deepest three levels after {look}" for look in LOOKS_AT),
    )
    return [
        "Descent from zero amplitudes to the same window, the best of a few learning rates each (sgd: plain steps, rate 1 is one "
        "over the largest curvature; adam: shares of the window's level). SNR, and level of the output of the deepest three "
        "levels in dB relative to that after Gauss-Newton: far below 0, the deep levels remain silent.",
        "",
        *table(head, rows),
    ]


def _left(opened: OpenedTree, target: Tensor, amplitudes: Tensor) -> float:
    """Return the energy of the residual."""
    return float((opened.sound(amplitudes) - target).square().sum())


def _plain(opened: OpenedTree, target: Tensor, unit: Tensor, share: float) -> list[Tensor]:
    """Take plain gradient steps in parameters of a unit; return the amplitudes at each look."""
    probe = torch.randn(unit.shape, dtype=unit.dtype, generator=torch.Generator().manual_seed(0))
    curvature = 1.0
    for _ in range(50):
        probe = unit * opened.correlate(opened.sound(unit * probe))[0]
        curvature = float(probe.norm())
        probe = probe / curvature
    parameters, seen = torch.zeros_like(unit), []
    for step in range(1, LOOKS_AT[-1] + 1):
        gradient = unit * opened.correlate(opened.sound(unit * parameters) - target)[0]
        parameters = parameters - share / curvature * gradient
        seen += [unit * parameters] if step in LOOKS_AT else []
    return seen


def _adam(opened: OpenedTree, target: Tensor, unit: Tensor, rate: float) -> list[Tensor]:
    """Take steps of Adam in parameters of a unit; return the amplitudes at each look."""
    parameter, seen = torch.nn.Parameter(torch.zeros_like(unit)), []
    descent = Adam([parameter])

    def closure() -> bool:
        """Set the gradient."""
        left = opened.sound(unit * parameter.detach()) - target
        parameter.grad = unit * opened.correlate(left)[0]
        return True

    for step in range(1, LOOKS_AT[-1] + 1):
        descent.step(closure, rate)
        seen += [unit * parameter.detach()] if step in LOOKS_AT else []
    return seen
