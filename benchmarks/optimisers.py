"""Optimisers compared by gain and time, from the same starting points on the same grids."""

import copy
import time
from statistics import mean

import torch

from benchmarks.results import recordings, table
from benchmarks.size import without_silence
from ddaudio.fitting.budget import size_for
from ddaudio.fitting.segmentation import divide
from ddaudio.grid.coding import encode
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io import audio
from ddaudio.losses import Objective
from ddaudio.models import Budget, SineNetwork
from ddaudio.options import NETWORKS, ModelOptions, TrainingOptions
from ddaudio.training.trainer import train

NAMES = (
    "barks/4-191687-A.ogg",
    "birds/killdeer.wav",
    "birds/misc_crow.flac",
    "instruments/piano.wav",
    "instruments/violin-B3.wav",
    "percussion/drum_snare_hard.flac",
    "speech/sentence-16k.wav",
)
SHARE = 0.03
RUNS = {
    "gauss-newton, 2 steps": {"optimiser": "gauss-newton", "steps": 2},
    "gauss-newton, 6 steps": {"optimiser": "gauss-newton", "steps": 6},
    "gauss-newton, 20 steps": {"optimiser": "gauss-newton", "steps": 20},
    "adam, 20 steps": {"optimiser": "adam", "steps": 20},
    "adam, 80 steps": {"optimiser": "adam", "steps": 80},
    "adam, 300 steps": {"optimiser": "adam", "steps": 300},
    "lbfgs, 5 steps of 5": {"optimiser": "lbfgs", "steps": 5, "learning_rate": 0.5},
    "lbfgs, 20 steps of 5": {"optimiser": "lbfgs", "steps": 20, "learning_rate": 0.5},
}


def run() -> tuple[str, list[str]]:
    """Train each start with each optimiser, one after the other; return title and table of means."""
    gains: dict[str, list[float]] = {name: [] for name in RUNS}
    seconds: dict[str, list[float]] = {name: [] for name in RUNS}
    paths = [path for path in recordings("barks", "birds", "instruments", "percussion", "speech") if str(path).endswith(NAMES)]
    for path in paths:
        recording = without_silence(audio.read(path))
        target, start = (
            torch.as_tensor(recording.samples[:, :]),
            starting_point(torch.as_tensor(recording.samples[:, :]), recording.sample_rate, SHARE),
        )
        for name, settings in RUNS.items():
            network = copy.deepcopy(start)
            options = TrainingOptions(tolerance=0.0, **settings).resolved()
            began = time.perf_counter()
            done = train(network, target, Objective({"mse": 1.0}, target, target.shape[1], 1), options, lambda _: None)
            seconds[name].append(time.perf_counter() - began)
            gains[name].append((done.best.snr_db or 0.0) - (done.evaluations[0].snr_db or 0.0))
            print(path.name, name, f"{gains[name][-1]:.2f} dB {seconds[name][-1]:.2f} s", flush=True)
    rows = [(name, f"{mean(gains[name]):.2f}", f"{min(gains[name]):.2f}", f"{sum(seconds[name]):.2f}") for name in RUNS]
    title = f"SNR that training adds to initial values, {len(paths)} recordings at {SHARE:g} parameters per sample"
    return title, table(("optimiser", "mean dB", "least dB", "s in all"), rows)


def starting_point(target: torch.Tensor, sample_rate: int, share: float) -> SineNetwork:
    """Return a network of ``share`` parameters per sample for ``target [B, T]`` at its starting point."""
    budget = share * target.numel()
    sizes = divide(target, sample_rate, Budget(int(budget / 3)), "hann")
    grid = TimeGrid.of_sizes(sample_rate, target.shape[1], sizes)
    network = SineNetwork(grid)
    kind, words = NETWORKS["sine"], encode(grid)[1].numel()
    taken = kind.parameters_per_frame * grid.n_frames + words
    size = size_for(ModelOptions(budget=int(budget)), (budget, 0.0), grid.n_frames, taken, kind.parameters_per_component, 1)
    network.initialise(target, size, "peaks", torch.Generator())
    return network
