"""Networks in many settings, each on a grid that it is meant for: what the conformance tests run over."""

from typing import Any

import torch

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import Budget, FramedNetwork, make_network
from ddaudio.options import NETWORKS, CascadeOptions, DoubleDutchOptions, SineOptions, SirenOptions, StackOptions

# Cells of 64 to 512 samples, divided otherwise in each signal; the last ones reach beyond the end.
ROWS = [
    [512, 256, 128, 64, 64, 512, 512],
    [256, 64, 64, 128, 512, 512, 512],
    [512, 512, 256, 256, 512],
]


# Networks in cells as they are made: by name, and in several settings.
IN_CELLS = [name for name, kind in NETWORKS.items() if not kind.is_noise and kind.frames != "none"]
CASES: dict[str, tuple[str, Any]] = {name: (name, NETWORKS[name].options()) for name in IN_CELLS}
CASES |= {
    f"trees, {value}": ("double-dutch", DoubleDutchOptions(**{setting: value, **more}))
    for setting, value, more in (
        ("gating", "soft", {"depth": 5}),
        ("gating", "beam", {"depth": 4}),
        ("cutoffs", "learned", {}),
        ("pair", "quadrature", {"ropes": "sine", "gating": "hard"}),
        ("pair", "shifted", {"depth": 4}),
        ("pair", "sigmoid", {"depth": 4, "cutoffs": "learned"}),
        ("ropes", "square", {}),
        ("reading", "leaf", {"gating": "hard"}),
        ("reading", "binary", {"depth": 4, "cutoffs": "learned"}),
        ("denominators", "300,128,50,20", {}),
    )
}
CASES |= {
    f"cascade, {value}": ("cascade", CascadeOptions(**{setting: value}))
    for setting, value in (
        ("ladder", "linear"),
        ("ladder", "octave"),
        ("ladder", "harmonic"),
        ("ladder", "500,1200,3100"),
        ("ladder", "above-nyquist"),
        ("phase", "centred"),
        ("activation", "tanh"),
        ("layer_decay", 0.95),
        ("greedy", True),
    )
}
CASES["sine, spanned"] = ("sine", SineOptions(span="4,7"))
CASES["cascade, spanned"] = ("cascade", CascadeOptions(span="4,7", phase="centred"))
CASES["cascade, learned base"] = ("cascade", CascadeOptions(ladder="octave", base="learned"))
CASES |= {
    f"stack, {value}": ("stack", StackOptions(widths="5,3,1", **{setting: value}))
    for setting, value in (("positive", "relu"), ("positive", "project"), ("pass_on", True), ("span", "4,7"), ("span", "seconds"))
}
CASES["stack"], CASES["siren"] = ("stack", StackOptions(widths="6,2,1")), ("siren", SirenOptions(widths="6,5", span="-3,3"))
CASES["siren, seconds"] = ("siren", SirenOptions(widths="4,4,4,4", span="seconds", omega=10.0))
UNITS = [name for name, (kind, _) in CASES.items() if NETWORKS[kind].has_widths]
"""Networks of sine units: each is a whole in its frame, of which nothing can be left out."""
BINARY = "trees, binary"
SIGMOID = "trees, sigmoid"
FULL = (BINARY, SIGMOID)
"""Trees whose ropes share amplitudes: two a frame, or one a level."""
LADDERS = ("cascade, linear", "cascade, octave", "cascade, harmonic", "cascade, 500,1200,3100", "cascade, learned base")
"""Ladders that are given: none of their rungs can be left out or added."""
HIGH_LADDERS = LADDERS[2:]
"""Ladders without a frequency that is low enough for a constant."""
WHOLE = (*LADDERS, *UNITS)
SOME = [name for name in CASES if name not in (*FULL, *WHOLE)]
"""Those that may have more parts or fewer; read as binary, a tree has two levels a frame."""
TREES = [name for name, (kind, _) in CASES.items() if kind == "double-dutch"]
SHALLOW = [name for name in TREES if CASES[name][1].depth or CASES[name][1].denominators]
EVERYTHING = 10**6


def grid_for(signals: int = 1, n_samples: int = 2000, name: str = "sine") -> TimeGrid:
    """The grid that a network is meant for: trees stand in equal cells of a power of two, without fades."""
    if NETWORKS[CASES[name][0]].frames == "adaptive":
        return TimeGrid.of_sizes(8000, n_samples, ROWS[:signals])
    overlap = 0.25 if name in UNITS else 0.0
    return TimeGrid.uniform(8000, signals, n_samples, 256 / 8000, overlap)


def made(name: str, grid: TimeGrid) -> FramedNetwork:
    kind, options = CASES[name]
    return make_network(kind, grid, options)


def fitted(name: str, target: torch.Tensor, grid: TimeGrid | None = None, most: int = 60) -> FramedNetwork:
    network = made(name, grid or grid_for(*target.shape, name))
    network.initialise(target, Budget(most), "peaks", torch.Generator().manual_seed(0))
    return network
