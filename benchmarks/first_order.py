"""Adam against L-BFGS on several losses, with an equal number of evaluations of loss and gradient."""

import copy
import math
import time
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from benchmarks.optimisers import starting_point
from benchmarks.results import recordings, table
from benchmarks.training import NAMES, SHAKEN, SHARE, loudest_second, moved
from ddaudio.io import audio
from ddaudio.losses import Objective
from ddaudio.models import Network
from ddaudio.options import TrainingOptions, parse_terms
from ddaudio.training.trainer import train

LOSSES = ("mse", "mae", "pdl", "mss", "mel")
EVALUATIONS, CROP_S, CROPS = 100, 0.75, 16
STARTS = ("peaks", "shaken")
SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "adam": tuple({"learning_rate": rate, "steps": EVALUATIONS, "evaluate_every": 10} for rate in (0.05, 0.1)),
    "lbfgs": tuple({"learning_rate": rate, "steps": EVALUATIONS // 5, "evaluate_every": 2} for rate in (0.5, 1.0)),
}
"""Settings of each optimiser; a step of L-BFGS takes five evaluations."""


def run() -> tuple[str, list[str]]:
    """Train each start with each optimiser; return title and table."""
    torch.set_num_threads(1)
    paths = [path for path in recordings("barks", "birds", "instruments") if str(path).endswith(NAMES)]
    gains: dict[tuple[str, str, str], list[list[float]]] = {}
    seconds: dict[tuple[str, str, str], float] = {}
    for path in paths:
        recording = audio.read(path)
        target = loudest_second(torch.as_tensor(recording.samples[:1, :]), recording.sample_rate)
        found = starting_point(target, recording.sample_rate, SHARE)
        shaken = moved(found, (SHAKEN, SHAKEN, SHAKEN), torch.Generator().manual_seed(0))
        for loss in LOSSES:
            for start, network in zip(STARTS, (found, shaken), strict=True):
                for name, settings in SETTINGS.items():
                    runs = [_gain(copy.deepcopy(network), target, loss, {"optimiser": name, **each}) for each in settings]
                    key = loss, start, name
                    gains.setdefault(key, []).append([gain for gain, _ in runs])
                    seconds[key] = seconds.get(key, 0.0) + sum(spent for _, spent in runs) / len(runs)
                print(path.name, loss, start, {name: gains[loss, start, name][-1] for name in SETTINGS}, flush=True)
    rows = [_row(gains, seconds, loss, start) for loss in LOSSES for start in STARTS]
    lines = [
        f"The loudest second of {len(paths)} recordings, {EVALUATIONS} evaluations, constant rate, one thread; starts as under "
        "`training`. The gain is that of the loss, in dB, at the best evaluation, mean over recordings, at the better of two "
        "rates (0.05 and 0.1 for Adam, 0.5 and 1 for L-BFGS, which takes 20 steps of 5 evaluations). `better in` counts "
        "recordings in which L-BFGS gains over 0.01 dB more. Seconds are of the processor, for all recordings.",
        "",
        *table(("loss", "start", "adam dB", "lbfgs dB", "lbfgs better in", "adam s", "lbfgs s"), rows),
    ]
    return "Adam against L-BFGS at equal evaluations", lines


def _gain(network: Network, target: Tensor, loss: str, settings: dict[str, Any]) -> tuple[float, float]:
    """Return the gain of a loss in dB, and the seconds of the processor."""
    crop_samples = round(CROP_S * network.sample_rate)
    objective = Objective(parse_terms(f"{loss}=1"), target, crop_samples, CROPS, network.sample_rate)
    options = TrainingOptions(losses=f"{loss}=1", schedule="constant", tolerance=0.0, **settings)
    began = time.process_time()
    done = train(network, target, objective, options, lambda _: None)
    return 10 * math.log10(done.evaluations[0].total / done.best.total), time.process_time() - began


def _row(
    gains: dict[tuple[str, str, str], list[list[float]]], seconds: dict[tuple[str, str, str], float], loss: str, start: str
) -> tuple[str, ...]:
    """Return the row of a loss and a start: each optimiser at its better rate."""
    best = {}
    for name, settings in SETTINGS.items():
        by_rate = [[one[rate] for one in gains[loss, start, name]] for rate in range(len(settings))]
        best[name] = max(by_rate, key=mean)
    better = sum(own > other + 0.01 for own, other in zip(best["lbfgs"], best["adam"], strict=True))
    spent = [f"{seconds[loss, start, name]:.1f}" for name in SETTINGS]
    return loss, start, *(f"{mean(best[name]):.2f}" for name in SETTINGS), f"{better} of {len(best['adam'])}", *spent
