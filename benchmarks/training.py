"""Gain of each training method, on and off, at equal steps: from peaks, from shaken parameters, and from detuned waves."""

import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor

from benchmarks.optimisers import starting_point
from benchmarks.results import recordings, table
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io import audio
from ddaudio.losses import Objective
from ddaudio.models import Budget, Network, SineNetwork
from ddaudio.options import TrainingOptions
from ddaudio.training.trainer import train

NAMES = ("barks/1-100032-A.ogg", "birds/killdeer.wav", "instruments/violin-B3.wav")
SHARE, STEPS, RATE = 0.02, 100, 0.05
SHAKEN, DETUNED, SEEDS, LONG_FRAME_PARTIALS = 0.5, 2.0, 2, 16
STARTS = ("peaks", "shaken", "detuned")
BASE = "adam, warm-up"
IDEAS: dict[str, dict[str, Any]] = {
    BASE: {},
    "rate 0.02": {"learning_rate": 0.02},
    "rate 0.1": {"learning_rate": 0.1},
    "schedule cosine": {"schedule": "cosine"},
    "schedule constant": {"schedule": "constant"},
    "schedule rise": {"schedule": "rise"},
    "rates frequency=0.3": {"rates": "frequency=0.3"},
    "rates frequency=3": {"rates": "frequency=3"},
    "rate_tilt -0.5": {"rate_tilt": -0.5},
    "rate_tilt 0.5": {"rate_tilt": 0.5},
    "momentum_delay 1": {"momentum_delay": 1},
    "momentum_delay 4": {"momentum_delay": 4},
    "grow 3": {"grow": 3},
    "grow 3, from the start": {"grow": 3, "grow_from": "start"},
    "schedule constant, grow 3": {"schedule": "constant", "grow": 3},
    "crops of 0.25 s": {"crops": True, "crop_s": 0.25},
    "ema 0.9": {"ema": 0.9},
    "schedule constant, ema 0.9": {"schedule": "constant", "ema": 0.9},
    "ema 0.9, teacher 0.1": {"ema": 0.9, "teacher": 0.1},
    "ema 0.9, teacher 1": {"ema": 0.9, "teacher": 1.0},
    "sgd, rate 2": {"optimiser": "sgd", "learning_rate": 2.0},
    "lbfgs, 20 steps of 5": {"optimiser": "lbfgs", "learning_rate": 0.5, "steps": STEPS // 5},
    "gauss-newton, 6 steps": {"optimiser": "gauss-newton", "steps": 6},
}


def run() -> tuple[str, list[str]]:
    """Train each start with each idea; return title and tables."""
    paths = [path for path in recordings("barks", "birds", "instruments") if str(path).endswith(NAMES)]
    gains: dict[tuple[str, str], list[float]] = {}
    seconds = dict.fromkeys(IDEAS, 0.0)
    for path in paths:
        for start, seed, network, target in _starts(path):
            for idea, settings in IDEAS.items():
                gain, spent = _gain(copy.deepcopy(network), target, {**settings, "seed": seed})
                gains.setdefault((start, idea), []).append(gain)
                seconds[idea] += spent
            print(path.name, start, seed, " ".join(f"{gains[start, idea][-1]:.2f}" for idea in IDEAS), flush=True)
    head = ("idea", *(f"{start}: {what}" for start in STARTS for what in ("dB", "against none", "better in")), "s in all")
    rows = [(idea, *(cell for start in STARTS for cell in _cells(gains, start, idea)), f"{seconds[idea]:.0f}") for idea in IDEAS]
    lines = [
        f"The loudest second of {len(paths)} recordings, {STEPS} steps with a learning rate of {RATE:g} unless stated otherwise, "
        f"`mse` alone. Initial values: `peaks`, as in a fit, at {SHARE:g} parameters per sample; `shaken`, the same with "
        f"every parameter moved by a normal random number of half its unit; `detuned`, {LONG_FRAME_PARTIALS} partials that last "
        f"as long as the sound, with frequencies moved by normal random numbers of {DETUNED:g} units (1.1 bins), {SEEDS} seeds. "
        "`dB` is the SNR that training added at the best evaluation, mean over recordings and seeds; `against none` is the "
        "median of its difference from the first row, run by run; `better in` counts runs that are better than the first row by "
        "more than 0.01 dB.",
        "",
        *table(head, rows),
    ]
    return "SNR that each training method adds, at equal steps", lines


def _starts(path: Path) -> Iterator[tuple[str, int, Network, Tensor]]:
    """Yield each starting point of a recording: what it is called, a seed, a network and its target."""
    recording = audio.read(path)
    target = loudest_second(torch.as_tensor(recording.samples[:1, :]), recording.sample_rate)
    found = starting_point(target, recording.sample_rate, SHARE)
    for seed in range(SEEDS):
        if not seed:
            yield "peaks", seed, found, target
        generator = torch.Generator().manual_seed(seed)
        if not seed:
            yield "shaken", seed, moved(found, (SHAKEN, SHAKEN, SHAKEN), generator), target
        network = SineNetwork(TimeGrid.uniform(recording.sample_rate, 1, target.shape[1], 1.0, 0.0))
        network.initialise(target, Budget(LONG_FRAME_PARTIALS), "peaks", generator)
        yield "detuned", seed, moved(network, (DETUNED, 0.0, 0.0), generator), target


def moved(network: SineNetwork, by: Sequence[float], generator: torch.Generator) -> SineNetwork:
    """Return a copy with frequencies, cosine and sine amplitudes moved by normal random numbers of some units each."""
    moved = copy.deepcopy(network)
    with torch.no_grad():
        for parameter, deviation in zip(moved.parameters(), by, strict=True):
            parameter.add_(deviation * torch.randn(parameter.shape, generator=generator))
    moved.project()
    return moved


def loudest_second(samples: Tensor, sample_rate: int) -> Tensor:
    """Return the second of most energy of ``samples [1, T]``, or all of it if it is shorter."""
    if samples.shape[1] <= sample_rate:
        return samples
    energy = torch.nn.functional.pad(samples.double().square().sum(0).cumsum(0), (1, 0))
    first = int((energy[sample_rate:] - energy[:-sample_rate]).argmax())
    return samples[:, first : first + sample_rate].clone()


def _gain(network: Network, target: Tensor, settings: dict[str, Any]) -> tuple[float, float]:
    """Return the SNR that training adds, in dB, and its seconds."""
    options = TrainingOptions(**{"optimiser": "adam", "steps": STEPS, "learning_rate": RATE, "tolerance": 0.0, **settings})
    began = time.perf_counter()
    done = train(network, target, Objective({"mse": 1.0}, target, target.shape[1], 1), options, lambda _: None)
    return (done.best.snr_db or 0.0) - (done.evaluations[0].snr_db or 0.0), time.perf_counter() - began


def _cells(gains: dict[tuple[str, str], list[float]], start: str, idea: str) -> tuple[str, str, str]:
    own, none = gains[start, idea], gains[start, BASE]
    differences = [one - other for one, other in zip(own, none, strict=True)]
    better = sum(difference > 0.01 for difference in differences)
    return f"{mean(own):.2f}", f"{median(differences):+.2f}", f"{better} of {len(own)}"
