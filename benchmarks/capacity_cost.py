"""What trees cost in time and memory, and what they are worth on real recordings."""

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

import torch

from benchmarks.results import SHORT_FOLDERS, recordings, table
from benchmarks.size import without_silence
from ddaudio.fitting.run import fit
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.models import Budget
from ddaudio.models.double_dutch.network import DoubleDutchNetwork
from ddaudio.options import DoubleDutchOptions

RATE, REPEATS = 44_100, 7
SIZES = ((2**16, 16), (2**20, 4), (2**20, 8), (2**20, 12), (2**20, 16), (2**20, 20))
GATES = ("hard", "soft")
SHARES = (0.03, 0.1)
LONGEST_S = 0.5
SUMS = {
    "sine": {"model": "sine"},
    "double-dutch": {"model": "double-dutch"},
    "sine+double-dutch, 3:1": {"model": "sine+double-dutch", "budget_split": "3,1"},
    "the same in turn": {"model": "sine+double-dutch", "budget_split": "3,1", "together": False},
    "sine+sine": {"model": "sine+sine"},
    "double-dutch+double-dutch": {"model": "double-dutch+double-dutch"},
}


def forward_and_backward(n_samples: int, depth: int, gating: str) -> dict[str, float]:
    """Return the median milliseconds of sound and gradient of a whole tree, and the megabytes beyond those before it."""
    before = _megabytes("VmRSS")
    grid = TimeGrid.uniform(RATE, 1, n_samples, n_samples / RATE, 0.0)
    network = DoubleDutchNetwork(grid, DoubleDutchOptions(depth=depth, gating=gating))
    network.initialise(torch.ones(1, n_samples), Budget(network.plan.ladder.n_ropes), "random", torch.Generator().manual_seed(0))
    target, seconds = torch.randn(1, n_samples), []
    for _ in range(REPEATS + 1):
        network.zero_grad()
        began = time.perf_counter()
        (network.estimate() - target).square().sum().backward()
        seconds.append(time.perf_counter() - began)
    used = _megabytes("VmHWM") - before
    return {"ms": 1e3 * statistics.median(seconds[1:]), "mb": used, "ropes": network.n_prunable()}


def _megabytes(field: str) -> float:
    """Return what Linux says of this process's memory: getrusage's peak would be that of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024


def cost() -> list[str]:
    """Return the table of time and memory by depth."""
    rows = []
    for n_samples, depth in SIZES:
        row = [f"{n_samples:,}", str(depth)]
        for gating in GATES:
            found = _apart(n_samples, depth, gating)
            row += [f"{found['ms']:.0f}", f"{found['ms'] / depth:.2f}", f"{found['mb']:.0f}"]
        rows.append((*row[:2], f"{found['ropes']:,.0f}", *row[2:]))
        print(" | ".join(rows[-1]), flush=True)
    return [
        "### Cost of a whole tree",
        "",
        f"Output of a tree with all ropes active and the gradient by all amplitudes, float32, "
        f"cutoffs of 0: median of {REPEATS} runs on {torch.get_num_threads()} threads, and the peak "
        "memory of a separate process in addition to that after its imports, including the construction of the tree.",
        "",
        *table(
            ("samples", "depth", "ropes", *(f"{gating}: {what}" for gating in GATES for what in ("ms", "ms a level", "peak MB"))),
            rows,
        ),
    ]


def _apart(n_samples: int, depth: int, gating: str) -> dict[str, float]:
    """Measure in a separate process."""
    code = (
        "import json; from benchmarks.capacity_cost import forward_and_backward as measure; "
        f"print(json.dumps(measure({n_samples}, {depth}, {gating!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def loudest_part(recording: Recording) -> Recording:
    """Return the loudest `LONGEST_S` of a recording, or all of a shorter one."""
    length = min(recording.n_samples, round(LONGEST_S * recording.sample_rate))
    power = torch.nn.functional.pad(torch.as_tensor(recording.samples[:, :]).double().square().sum(0).cumsum(0), (1, 0))
    first = int((power[length:] - power[:-length]).argmax())
    return Recording(recording.samples[:, first : first + length].contiguous(), recording.sample_rate, recording.source)


def real_recordings() -> list[str]:
    """Return the table of real recordings at equal size."""
    rows, over = [], {share: ([], []) for share in SHARES}
    wins: dict[str, list[str]] = {"the bank of partials": [], "the MDCT": []}
    for path in recordings(*SHORT_FOLDERS):
        recording, name = loudest_part(without_silence(audio.read(path))), f"{path.parent.name}/{path.name}"
        row = []
        for share in SHARES:
            n_parameters = int(share * recording.samples.numel())
            sine, tree = (fit(recording, budget=n_parameters, model=model) for model in ("sine", "double-dutch"))
            tree_db, sine_db, mdct_db = (snr_db or 0.0 for snr_db in (tree.snr_db, sine.snr_db, sine.baseline.snr_db))
            row += [f"{snr_db:.2f}" for snr_db in (tree_db, sine_db, mdct_db)]
            for differences, won, peer_db in zip(over[share], wins.values(), (sine_db, mdct_db), strict=True):
                differences.append(tree_db - peer_db)
                if tree_db > peer_db:
                    won.append(f"`{name}` at {share:.0%}")
        rows.append((name, *row))
        print(" | ".join(rows[-1]), flush=True)
    means = "; ".join(
        f"at {share:g} parameters per sample trees reach {mean(sine):+.2f} dB against the bank of partials and {mean(mdct):+.2f} "
        f"dB against the best-k MDCT"
        for share, (sine, mdct) in over.items()
    )
    beaten = " ".join(f"Trees are better than {peer} on {', '.join(won) or 'none'}." for peer, won in wins.items())
    head = [f"{share:.0%}: {what}" for share in SHARES for what in ("tree dB", "sine dB", "MDCT dB")]
    return [
        "### Real recordings at equal size",
        "",
        f"The loudest {LONGEST_S:g} s of each, digital silence cut off, both networks with their defaults. Mean of "
        f"{len(rows)} recordings: {means}. {beaten}",
        "",
        *table(("recording", *head), rows),
    ]


def sums() -> list[str]:
    """Return the table of sums of networks at equal size."""
    rows, paths = [], [recordings(folder)[0] for folder in SHORT_FOLDERS]
    for share in SHARES:
        columns: list[list[float]] = []
        for path in paths:
            recording = loudest_part(without_silence(audio.read(path)))
            n_parameters = int(share * recording.samples.numel())
            columns.append([fit(recording, budget=n_parameters, **settings).snr_db or 0.0 for settings in SUMS.values()])
            print(path.name, share, *(f"{snr_db:.2f}" for snr_db in columns[-1]), flush=True)
        means = [mean(row[place] for row in columns) for place in range(len(SUMS))]
        best = [sum(max(row) == row[place] for row in columns) for place in range(len(SUMS))]
        rows.append((f"{share:.0%}, mean dB", *(f"{one:.2f}" for one in means)))
        rows.append((f"{share:.0%}, best in", *map(str, best)))
    names = ", ".join(f"`{path.parent.name}/{path.name}`" for path in paths)
    return [
        "### Sums of networks at equal size",
        "",
        f"The loudest {LONGEST_S:g} s of {names}: mean SNR, and in how many of the {len(paths)} each is the best.",
        "",
        *table(("parameters", *SUMS), rows),
    ]
