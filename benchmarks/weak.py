"""Why strong partials fit and weak ones struggle: two partials, one weaker, both off their frequencies, by three optimisers."""

import math

import torch

from benchmarks.results import table
from ddaudio.analysis.partials import Partials
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses import Objective
from ddaudio.models import SineNetwork
from ddaudio.options import TrainingOptions
from ddaudio.training.history import Progress
from ddaudio.training.trainer import train

SAMPLES, RATE = 1024, 8000
BINS = 100.3, 112.6
"""Frequencies of the strong partial and the weak one."""
OFF, FOUND = 0.3, 0.01
"""How far from the truth each starts, and how near it counts as found, in bins."""
LEVELS_DB = (0, -20, -40, -60)
OPTIMISERS = {"sgd": (3000, 0.5), "adam": (1000, 0.02), "gauss-newton": (50, 0.02)}
"""Steps at most, and the learning rate."""


def run() -> tuple[str, list[str]]:
    """Count steps; return title and table."""
    rows = []
    for name, (steps, rate) in OPTIMISERS.items():
        for level_db in LEVELS_DB:
            found = [_in_words(count, steps) for count in _steps(name, level_db, steps, rate)]
            rows.append((name, f"{level_db} dB", *found))
    heads = ("optimiser", "weak partial", "steps until the strong one is found", "until the weak one is")
    return f"two partials {BINS[1] - BINS[0]:.1f} bins apart, each {OFF} bins off, found within {FOUND} bins", table(heads, rows)


def _in_words(count: int | None, steps: int) -> str:
    return f"more than {steps}" if count is None else str(count)


def _steps(optimiser: str, level_db: float, steps: int, rate: float) -> list[int | None]:
    """Return after how many steps each partial stays near its frequency."""
    grid = TimeGrid.of_sizes(RATE, SAMPLES, [[SAMPLES]])
    amplitudes = torch.tensor([1.0, 10 ** (level_db / 20)])
    truth = torch.tensor(BINS) * 2 * math.pi / SAMPLES
    network = SineNetwork(grid)

    def stand(radians: torch.Tensor) -> None:
        network.replace_partials(Partials(torch.zeros(2, dtype=torch.long), radians, amplitudes, torch.zeros(2)))

    stand(truth)
    target = network.estimate().detach()
    stand(truth + torch.tensor([OFF, -OFF]) * 2 * math.pi / SAMPLES)
    errors: dict[int, torch.Tensor] = {}

    def look(progress: Progress) -> None:
        errors[progress.step] = (network.partials.frequency - truth).abs() * SAMPLES / (2 * math.pi)

    options = TrainingOptions(
        optimiser=optimiser,
        steps=steps,
        learning_rate=rate,
        schedule="constant",
        evaluate_every=1,
        tolerance=0,  # type: ignore[arg-type]
    ).resolved(0)
    train(network, target, Objective({"mse": 1.0}, target, SAMPLES, 1), options, look)
    near = {step: error < FOUND for step, error in errors.items()}
    return [_from(sorted(step for step, each in near.items() if not each[place]), max(near)) for place in (0, 1)]


def _from(away: list[int], last: int) -> int | None:
    """Return the first step after those at which a partial is away; None where it is at the last."""
    step = max(away, default=-1) + 1
    return step if step <= last else None
