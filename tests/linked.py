"""Partials made for tests of linking."""

import math

import numpy as np
import torch
from hypothesis import strategies as st

from ddaudio.analysis.partials import Partials
from ddaudio.grid.time_grid import TimeGrid

RATE = 8000


def partials_of(rows: list[tuple[int, float, float, float]], grid: TimeGrid) -> Partials:
    """Return partials of (cell, frequency in Hz, amplitude, phase at the middle)."""
    cell, hz, amplitude, phase = (torch.tensor(column) for column in zip(*rows, strict=True))
    frame = torch.argsort(grid.order)[cell]
    frequency = 2 * math.pi * hz.double() / grid.sample_rate
    found = Partials(frame, frequency, amplitude * torch.cos(phase), -amplitude * torch.sin(phase))
    return found.keep(torch.argsort(frame, stable=True))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Partials, TimeGrid]:
    """Draw partials at random in cells of different lengths of up to two signals."""
    sizes = draw(st.lists(st.lists(st.sampled_from([16, 32, 64, 128]), min_size=1, max_size=6), min_size=1, max_size=2))
    n_samples = min(map(sum, sizes)) - draw(st.integers(0, 15))
    kept = [[size for size, end in zip(row, np.cumsum(row), strict=True) if end - size < n_samples] for row in sizes]
    grid = TimeGrid.of_sizes(RATE, n_samples, kept)
    # Few different values, so that there are ties.
    row = st.tuples(
        st.integers(0, grid.n_frames - 1),
        st.sampled_from([0.0, 100.0, 150.0, 200.0, 1000.0, 1010.0, 4000.0]),
        st.sampled_from([0.0, 0.1, 0.5]),
        st.sampled_from([0.0, 1.0, 3.0]),
    )
    return partials_of(draw(st.lists(row, min_size=1, max_size=20)), grid), grid
