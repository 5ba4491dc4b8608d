"""Accuracy of a tree of wave pairs by depth, and compared with Haar, the MDCT and a bank of partials at equal size."""

import math
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from benchmarks import capacity_cost, capacity_learning
from benchmarks.results import recordings, table
from ddaudio.errors import OptionError
from ddaudio.fitting.run import fit
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.losses import Objective
from ddaudio.metrics.mdct_baseline import best_k_snr
from ddaudio.models import Budget
from ddaudio.models.double_dutch.network import DoubleDutchNetwork
from ddaudio.options import DoubleDutchOptions, TrainingOptions
from ddaudio.training.history import snr_of
from ddaudio.training.trainer import train

ROOT = Path(__file__).parents[1]
RATE, WINDOW = 44_100, 4096
ON, OFF = 64.0, 64 * math.sqrt(2) / 1.13
DEPTHS = (2, 4, 6, 8, 10, 12)
BUDGETS = (20, 60, 200, 600)
VARIED = (60, 200)
BEAM_BUDGETS = (60,)
LEARNED_BUDGETS = (60, 200, 600)
PERIODS = (36 * math.sqrt(2), OFF, 1000 / 3)
EXACT_DB = 120.0
ENOUGH_DB = 20.0
TIE_DB = 0.05
FREED_STEPS = 30
TREE = {"model": "double-dutch", "frame_s": WINDOW / RATE}
LINES = ("tree", "sine", "Haar", "MDCT")
VARIANTS = {
    "hard": {"gating": "hard"},
    "beam": {"gating": "beam"},
    "quadrature": {"pair": "quadrature"},
    "sine ropes": {"ropes": "sine"},
    "square ropes": {"ropes": "square"},
    "cutoffs": {"cutoffs": "learned"},
    "binary": {"reading": "binary"},
}


def tone(period: float) -> Tensor:
    """Return a sinusoid with a period in samples, whose phase differs from those of all ropes."""
    return torch.cos(2 * math.pi * (torch.arange(WINDOW, dtype=torch.float64) + 0.5) / period + 1)


@cache
def signals() -> dict[str, Tensor]:
    """Return the signals ``[T]``, float64 of peak 1/2."""
    time = torch.arange(WINDOW, dtype=torch.float64)
    since = time - 1234
    ladder = torch.cos(2 * math.pi * (time + 0.5) / ON)
    # From 200 to 8000 Hz, evenly in octaves.
    octaves = math.log(8000 / 200)
    sweep = torch.sin(2 * math.pi * 200 / RATE * WINDOW / octaves * torch.exp(time / WINDOW * octaves))
    jumps = torch.randint(WINDOW, (12,), generator=torch.Generator().manual_seed(0))
    found = {
        f"sinusoid on the ladder, period {ON:g}": ladder,
        f"sinusoid off it, period {OFF:.2f}": tone(OFF),
        "two close sinusoids off it": tone(OFF) + tone(1.03 * OFF),
        "click of one sample": (since == 0).double(),
        "decaying click": torch.where(
            since >= 0, torch.exp(-since.clamp(min=0) / 40) * torch.sin(2 * math.pi * since / 9.1), 0.0
        ),
        "sweep, 200 to 8,000 Hz": sweep,
        "two levels, 12 jumps": 1 - 2.0 * ((time[:, None] >= jumps).sum(1) % 2),
        "bark": bark(),
    }
    return {name: signal * (0.5 / float(signal.abs().max())) for name, signal in found.items()}


def bark() -> Tensor:
    """Return the loudest window of a bark."""
    path = next(path for path in recordings("barks") if path.name == "4-191687-A.ogg")
    windows = torch.as_tensor(audio.read(path).samples[0, :]).double().unfold(0, WINDOW, WINDOW // 8)
    return windows[int(windows.square().sum(1).argmax())].clone()


def decibels(snr_db: float | None) -> str:
    """Return an SNR as text; above `EXACT_DB` only rounding is left."""
    return "exact" if snr_db is None or snr_db >= EXACT_DB else f"{max(snr_db, 0.0):.1f}"


def whole_tree(signal: Tensor, depth: int, reading: str) -> tuple[float | None, int]:
    """Return the SNR of a tree in which all ropes may be active, float64, and its number of parameters."""
    grid = TimeGrid.uniform(RATE, 1, WINDOW, WINDOW / RATE, 0.0)
    target = signal[None]
    network = DoubleDutchNetwork(grid, DoubleDutchOptions(depth=depth, reading=reading, gating="hard")).double()
    network.initialise(target, Budget(network.plan.ladder.n_ropes), "peaks", torch.Generator())
    objective = Objective({"mse": 1.0}, target, WINDOW, 1)
    start = snr_of(target - network.estimate().detach(), float(target.square().sum()))
    if start is None or start > EXACT_DB:
        return start, network.n_parameters()
    run = train(network, target, objective, TrainingOptions().resolved(0), lambda _: None)
    return run.best.snr_db, network.n_parameters()


def by_depth() -> list[str]:
    """Return the table of SNR by depth."""
    rows, enough = [], {}
    for (name, signal), reading in product(signals().items(), ("every", "leaf")):
        found = [whole_tree(signal, depth, reading) for depth in DEPTHS]
        rows.append((name, reading, *(f"{decibels(snr_db)} ({n_parameters:,})" for snr_db, n_parameters in found)))
        print(" | ".join(rows[-1]), flush=True)
        if name == "bark":
            sizes = [n_parameters for _, n_parameters in found]
            for peer, best in (("Haar", haar_best_k), ("MDCT", mdct_best_k)):
                rows.append((name, f"{peer} for `{reading}`", *(f"{decibels(best(signal, size))} ({size:,})" for size in sizes)))
        reached = [depth for depth, (snr_db, _) in zip(DEPTHS, found, strict=True) if snr_db is None or snr_db >= ENOUGH_DB]
        enough[name, reading] = str(reached[0]) if reached else f"more than {DEPTHS[-1]}"
    on, off = list(signals())[:2]
    return [
        f"### SNR of a tree by depth, window of {WINDOW:,} samples at {RATE:,} Hz",
        "",
        "SNR in dB (in brackets the number of parameters of the file; below the bark, Haar and the MDCT at equal size) with all "
        "ropes active, hard gates with cutoffs of 0, after initialisation and six Gauss-Newton steps in float64; only the "
        "deepest waves contribute with `leaf`. A tree of depth 12 has an address for each sample, so its initialisation must be "
        "exact. "
        f"{ENOUGH_DB:g} dB for the sinusoid on the ladder need depth "
        f"{enough[on, 'every']} (`leaf`: {enough[on, 'leaf']}), for the one off it depth {enough[off, 'every']} "
        f"(`leaf`: {enough[off, 'leaf']}). A leaf whose cell is short compared with the period of the sound represents a nearly "
        f"constant signal by a quarter wave, which gives {-10 * math.log10(1 - 8 / math.pi**2):.1f} dB, until a cell is one "
        "sample.",
        "",
        *table(("signal", "reading", *(f"depth {depth}" for depth in DEPTHS)), rows),
    ]


def haar_best_k(signal: Tensor, n_parameters: int) -> float | None:
    """Return the SNR of the best Haar coefficients; each takes two parameters, its value and its index."""
    coarse, parts = signal, []
    while coarse.numel() > 1:
        even, odd = coarse[::2], coarse[1::2]
        parts.append((even - odd) / math.sqrt(2))
        coarse = (even + odd) / math.sqrt(2)
    energies = torch.cat([coarse, *parts]).square().sort(descending=True).values
    left = float(energies[n_parameters // 2 :].sum())
    return 10 * math.log10(float(energies.sum()) / left) if left > 0 else None


def mdct_best_k(signal: Tensor, n_parameters: int) -> float | None:
    """Return the SNR of the best MDCT coefficients; each takes two parameters."""
    return best_k_snr(signal[None].numpy(), n_parameters).snr_db


def fitted(signal: Tensor, n_parameters: int, **settings: object) -> float | None:
    """Return the SNR of a fit; NaN if the budget is too small."""
    try:
        return fit(Recording(signal[None].float(), RATE), budget=n_parameters, **settings).snr_db
    except OptionError:
        return math.nan


def at_equal_size() -> tuple[list[str], dict[tuple[str, int], dict[str, float]]]:
    """Return the table at equal size, and the values that are drawn."""
    rows, drawn = [], {}
    for (name, signal), n_parameters in product(signals().items(), BUDGETS):
        found = {
            "tree": fitted(signal, n_parameters, **TREE),
            "sine": fitted(signal, n_parameters, model="sine"),
            "Haar": haar_best_k(signal, n_parameters),
            "MDCT": mdct_best_k(signal, n_parameters),
        }
        drawn[name, n_parameters] = {
            line: EXACT_DB if snr_db is None else min(snr_db, EXACT_DB) for line, snr_db in found.items()
        }
        row = [decibels(snr_db) for snr_db in found.values()]
        for variant, settings in VARIANTS.items():
            budgets = BEAM_BUDGETS if variant == "beam" else VARIED
            row.append(decibels(fitted(signal, n_parameters, **TREE, **settings)) if n_parameters in budgets else "")
        rows.append((name, str(n_parameters), *row))
        print(" | ".join(rows[-1]), flush=True)
    best = [max(figures.values()) - TIE_DB for figures in drawn.values()]
    wins = {line: sum(figures[line] >= most for figures, most in zip(drawn.values(), best, strict=True)) for line in LINES}
    lines = [
        "### At equal size, in the same window",
        "",
        "SNR in dB with at most this number of parameters. `tree` is double-dutch with its defaults (one window, depth 12, "
        "cosine ropes, soft gates of 0.1 ms, cutoffs of 0), and the columns after MDCT are the same with one setting changed; "
        "`sine` is the bank of partials with adaptive cells; Haar and MDCT keep the best k coefficients for 2 k parameters, a "
        f"value and an index each. Variants are fitted with {VARIED[0]} and {VARIED[1]} parameters, the beam, by far the "
        f"slowest, only with {BEAM_BUDGETS[0]}. Of tree, sine, Haar and MDCT the best, shared or alone, is "
        + ", ".join(f"{line} in {count}" for line, count in wins.items())
        + f" of {len(drawn)} rows.",
        "",
        *table(("signal", "parameters", *LINES, *VARIANTS), rows),
    ]
    return lines, drawn


def learned_cutoffs() -> list[str]:
    """Return the table of learned cutoffs against fixed ones."""
    rows = []
    gains: dict[str, list[float]] = {"hard": [], "soft": []}
    free: dict[str, list[float]] = {"hard": [], "soft": []}
    for period, n_parameters in product(PERIODS, LEARNED_BUDGETS):
        row, signal = [], tone(period) / 2
        for gating, differences in gains.items():
            result = fit(Recording(signal[None].float(), RATE), budget=n_parameters, **TREE, gating=gating)
            learned_db = fitted(signal, n_parameters, **TREE, gating=gating, cutoffs="learned")
            before_db, after_db = (_known(snr_db) for snr_db in freed(result.network.terms[0], signal))
            differences.append(_known(learned_db) - before_db)
            free[gating].append(after_db - before_db)
            row += [decibels(snr_db) for snr_db in (before_db, _known(learned_db), after_db)]
        rows.append((f"{period:.2f}", str(n_parameters), *row))
        print(" | ".join(rows[-1]), flush=True)
    said = "; ".join(_in_words(gating, differences) for gating, differences in gains.items())
    head = [f"{gating}, {what}" for gating in gains for what in ("fixed dB", "learned dB", "same ropes dB")]
    return [
        "### Learned against fixed cutoffs at equal size",
        "",
        "A sinusoid off the ladder. A learned cutoff takes a parameter for each stored node, including those along the paths: "
        f"{said}. Under `same ropes` the cutoffs of the fixed tree are made learnable and trained for {FREED_STEPS} Gauss-Newton "
        f"steps, without counting their parameters: {mean(free['hard']):+.1f} dB on average with hard gates, "
        f"{mean(free['soft']):+.1f} dB with soft ones.",
        "",
        *table(("period", "parameters", *head), rows),
    ]


def freed(fixed: DoubleDutchNetwork, signal: Tensor) -> tuple[float | None, float | None]:
    """Return the SNR of a tree with fixed cutoffs, and once they are free and trained."""
    network = DoubleDutchNetwork(fixed.grid, replace(fixed.plan.options, cutoffs="learned"))
    network.from_tensors(fixed.to_tensors() | {"cutoff": torch.zeros(int(fixed.trees.shape.nodes.sum()))})
    target = signal[None].float()
    options = TrainingOptions(steps=FREED_STEPS, tolerance=0.0).resolved(0)
    run = train(network, target, Objective({"mse": 1.0}, target, WINDOW, 1), options, lambda _: None)
    return run.evaluations[0].snr_db, run.best.snr_db


def _known(snr_db: float | None) -> float:
    """Return an SNR that can be compared: that of what is exact is `EXACT_DB`."""
    return EXACT_DB if snr_db is None else min(snr_db, EXACT_DB)


def _in_words(gating: str, differences: list[float]) -> str:
    """Return who wins by how much."""
    better = sum(difference > 0 for difference in differences)
    return (
        f"{gating} gates are better with learned cutoffs in {better} of {len(differences)} cases, by {mean(differences):+.1f} dB "
        f"on average ({min(differences):+.1f} to {max(differences):+.1f})"
    )


def draw(drawn: dict[tuple[str, int], dict[str, float]]) -> None:
    """Draw the SNR over the number of parameters, one panel per signal."""
    mpl.use("Agg")
    names = list(signals())
    styles = {
        "tree": ("#0072B2", "o", "-"),
        "sine": ("#D55E00", "s", "-"),
        "Haar": ("#009E73", "^", "--"),
        "MDCT": ("#000000", "x", ":"),
    }
    figure, axes = plt.subplots(2, math.ceil(len(names) / 2), figsize=(11, 5.6), sharex=True, sharey=True, layout="constrained")
    for panel, name in zip(axes.flat, names, strict=False):
        for line, (colour, marker, dash) in styles.items():
            heights = np.clip([drawn[name, n_parameters][line] for n_parameters in BUDGETS], 0, EXACT_DB)
            panel.plot(BUDGETS, heights, dash, color=colour, marker=marker, label=line, clip_on=False, linewidth=1.6)
        panel.set_title(name, fontsize=10)
        panel.set(xscale="log", ylim=(0, EXACT_DB), xticks=BUDGETS)
        panel.set_xticks(BUDGETS, [str(n_parameters) for n_parameters in BUDGETS])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    for panel in axes[-1]:
        panel.set_xlabel("parameters")
    for panel in axes[:, 0]:
        panel.set_ylabel(f"SNR (dB; {EXACT_DB:g}: exact)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(LINES))
    figure.savefig(ROOT / "docs" / "capacity.png", dpi=110)
    plt.close(figure)


def run() -> tuple[str, list[str]]:
    """Measure everything and draw; return title and tables."""
    equal, drawn = at_equal_size()
    draw(drawn)
    parts = [by_depth(), equal, learned_cutoffs(), capacity_learning.teachers(), capacity_learning.gradients(bark())]
    parts += [capacity_cost.cost(), capacity_cost.real_recordings(), capacity_cost.sums()]
    title = "accuracy, learning and cost of a tree of wave pairs"
    return title, [line for part in parts for line in (*part, "")][:-1]
