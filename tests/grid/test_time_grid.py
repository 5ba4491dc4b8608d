"""The time grid: no seam, no sample lost, windows as they are spelled out here, and an adjoint that is one."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from refusals import refused

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.grid.windows import fade_in
from ddaudio.models.double_dutch.gates import Gating
from ddaudio.models.double_dutch.ladder import Ladder
from ddaudio.options import WindowName

WINDOWS = get_args(WindowName)
UNIFORM = st.builds(
    TimeGrid.uniform,
    sample_rate=st.sampled_from([1000, 8000, 11025]),
    n_signals=st.integers(1, 3),
    n_samples=st.integers(1, 3000),
    frame_s=st.floats(0.0005, 0.2),
    overlap=st.floats(0, 0.5),
    window=st.sampled_from(WINDOWS),
)


@st.composite
def divided(draw):
    """Cells of any even sizes, or of sizes 2, 4, 8 .. in any order; another division for each signal."""
    n_samples = draw(st.integers(1, 600))
    some = draw(st.sampled_from([st.integers(1, 100).map(lambda half: 2 * half), st.integers(1, 8).map(lambda power: 2**power)]))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        row = [draw(some)]
        while sum(row) < n_samples:
            row.append(draw(some))
        rows.append(row)
    return TimeGrid.of_sizes(8000, n_samples, rows, draw(st.sampled_from(WINDOWS)), draw(st.none() | st.integers(0, 40)))


# The edges: one sample under a long frame, the shortest frames, a signal that ends in the fade of its last cell.
EDGES = (
    TimeGrid.uniform(11025, 1, 1, 0.2),
    TimeGrid.uniform(1000, 2, 17, 0.0005, 0.5),
    TimeGrid.uniform(8000, 1, 500, 0.01, 0.0, "triangle"),
    TimeGrid.of_sizes(8000, 9, [[8, 8]]),
    TimeGrid.of_sizes(8000, 130, [[2, 128], [64, 2, 2, 62]], "sine"),
)


def for_grids(test):
    """Run a test over drawn grids and the edges."""
    test = given(grid=st.one_of(UNIFORM, divided()))(test)
    for grid in EDGES:
        test = example(grid=grid)(test)
    return settings(deadline=None, max_examples=30)(test)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def random_frames(grid, seed=0, dtype=torch.float64):
    return [noise(*group.sample_index.shape, seed=seed + index, dtype=dtype) for index, group in enumerate(grid.groups)]


def rows_of(grid):
    """Sizes of each signal's cells."""
    return [grid.cells.size[grid.cells.signal == signal].tolist() for signal in range(grid.n_signals)]


def fade(position, shape):
    """The rising side of a window, from its definition."""
    position = np.clip(position, 0, 1)
    if shape == "hann":
        return 0.5 - 0.5 * np.cos(np.pi * position)
    if shape == "sine":
        return np.sin(np.pi / 2 * position) / (np.sin(np.pi / 2 * position) + np.cos(np.pi / 2 * position))
    if shape == "gate":
        # A cosine with a quarter of its period from one end of the fade to the other; sharpness 16 / pi; ends at 0 and 1.
        gate, end = (1 / (1 + np.exp(-16 / np.pi * np.sin(np.pi / 2 * (x - 0.5)))) for x in (position, 0.0))
        return (gate - end) / (1 - 2 * end)
    return position


def spelled_out(sizes, n_samples, shape, longest_fade=None):
    """The window of each cell over the whole signal, ``[cells, T]``: fades around each edge, as long as the shorter cell."""
    edges, at = np.cumsum([0, *sizes]), np.arange(n_samples) + 0.5
    windows = np.ones((len(sizes), n_samples))
    for index in range(1, len(sizes)):
        half = min(sizes[index - 1] // 2, sizes[index] // 2, longest_fade if longest_fade is not None else n_samples + 1000)
        rising = fade((at - edges[index] + half) / (2 * half), shape) if half else (at > edges[index]).astype(float)
        windows[index] *= rising
        windows[index - 1] *= 1 - rising
    return windows


def laid_out(grid, frames):
    """Each frame on a row of its own over all signals, ``[F, B, T]``, written with loops."""
    rows = np.zeros((grid.n_frames, grid.n_signals, grid.n_samples))
    for group, part in zip(grid.groups, frames, strict=True):
        for number, frame in enumerate(range(group.frames.start, group.frames.stop)):
            begin, signal = int(grid.start[frame]), int(grid.frames.signal[frame])
            for n in range(max(0, -begin), min(group.length, grid.n_samples - begin)):
                rows[frame, signal, begin + n] = float(part[number, n])
    return rows


@given(cell=st.integers(1, 5000))
@settings(deadline=None)
def test_the_window_gate_is_a_gate_of_a_tree_cut_off_where_the_fade_ends(cell):
    """Two cells of a tree of one level, transitions of an eighth of a cell: the fade goes from the middle of one to the other."""
    ladder = Ladder.dyadic(2 * cell, 1)
    gating = Gating(hard=False, sharpness=(ladder.sharpness(0, 0.125),))
    inside = torch.linspace(0, 1, 101, dtype=torch.float64)
    wave = ladder.wave(0, (inside + 0.5) * cell)
    opens = 1 - gating.open(0, wave, torch.zeros(1, dtype=torch.float64))
    window = fade_in(inside, "gate")
    end = float(opens[0])
    torch.testing.assert_close(window, (opens - end) / (1 - 2 * end), rtol=0, atol=1e-12)
    # What is cut off is what a gate still lets through in the middle of the neighbouring cell.
    assert end < 0.03
    assert float((window - opens).abs().max()) <= end + 1e-12
    assert (float(window[0]), float(window[-1])) == pytest.approx((0, 1), abs=1e-12)


@for_grids
def test_framing_windowing_and_overlap_adding_gives_the_signal_back(grid):
    signals = noise(grid.n_signals, grid.n_samples)
    again = grid.overlap_add(grid.windowed(grid.frame(signals)))
    assert again.shape == signals.shape
    assert again.dtype == torch.float32
    # The promise is 1e-6 of the peak: two products with float32 windows, each rounded to 6e-8.
    assert (again - signals).abs().max() <= 1e-6 * signals.abs().max()


@given(grid=st.one_of(UNIFORM, divided()))
@settings(deadline=None, max_examples=15)
@example(grid=EDGES[3])
@example(grid=EDGES[4])
def test_frames_are_slices_of_the_signals(grid):
    signals = noise(grid.n_signals, grid.n_samples)
    longest = int(grid.frames.length.max())
    silent = torch.zeros(grid.n_signals, longest)
    padded = torch.cat([silent, signals, silent], 1)
    for group, frames in zip(grid.groups, grid.frame(signals), strict=True):
        assert frames.shape == group.windows.shape == (group.frames.stop - group.frames.start, group.length)
        for row, frame in zip(frames, range(group.frames.start, group.frames.stop), strict=True):
            begin = longest + int(grid.start[frame])
            assert torch.equal(row, padded[grid.frames.signal[frame], begin : begin + group.length])


@given(drawn=divided(), longest_fade=st.none() | st.integers(0, 40))
@example(drawn=EDGES[3], longest_fade=None)
@example(drawn=EDGES[4], longest_fade=3)
@settings(deadline=None, max_examples=25)
def test_windows_are_those_spelled_out_and_sum_to_one(drawn, longest_fade):
    rows, n_samples = rows_of(drawn), drawn.n_samples
    assume(drawn.n_frames * n_samples <= 30_000)  # the loops of the reference
    grid = TimeGrid.of_sizes(8000, n_samples, rows, drawn.window, longest_fade)
    found = laid_out(grid, [group.windows for group in grid.groups])
    wanted = np.zeros((grid.n_frames, grid.n_signals, n_samples))
    cells = [
        (signal, window) for signal, row in enumerate(rows) for window in spelled_out(row, n_samples, grid.window, longest_fade)
    ]
    for frame, cell in enumerate(grid.order.tolist()):
        signal, window = cells[cell]
        wanted[frame, signal] = window
    # Windows are made in float64 and rounded to float32 once.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.sum(0), 1, rtol=0, atol=2e-7)  # two roundings
    # No more than two frames sound at once.
    assert (found > 0).sum(0).max() <= 2


def assert_moments(grid):
    """Compare a grid's energy and spread with sums over its windows."""
    energy, spread, centre = [], [], []
    for group in grid.groups:
        square = group.windows.double() ** 2
        energy.append(square.sum(1))
        distance = torch.arange(group.length, dtype=torch.float64) - (group.length - 1) / 2
        spread.append(((square * distance**2).sum(1) / square.sum(1)).sqrt().clamp(min=0.5))  # the floor it promises
        centre.append((square * distance).sum(1) / square.sum(1) + grid.start[group.frames] + (group.length - 1) / 2)
    # Windows rounded to float32 on this side, the sums on the other: a few 1e-7.
    torch.testing.assert_close(grid.energy.double(), torch.cat(energy), rtol=1e-6, atol=0)
    torch.testing.assert_close(grid.spread.double(), torch.cat(spread), rtol=1e-6, atol=0)
    torch.testing.assert_close(grid.centre, torch.cat(centre), rtol=1e-6, atol=1e-4)
    assert grid.energy.min() > 0


@for_grids
def test_energy_and_spread_are_sums_over_the_windows(grid):
    # Signals that end within a fade have a test of their own.
    within = grid.cells.first + grid.cells.size + grid.cells.half_fade_out
    assume(bool((within <= grid.n_samples)[grid.cells.half_fade_out > 0].all()))
    assert_moments(grid)


@pytest.mark.parametrize("n_samples", [9, 11, 13])
def test_energy_and_spread_know_that_a_signal_ends_in_a_fade(n_samples):
    assert_moments(TimeGrid.of_sizes(8000, n_samples, [[8, 8]]))


@for_grids
def test_frame_adjoint_is_the_adjoint_of_windowed_overlap_add(grid):
    frames, signals = random_frames(grid), noise(grid.n_signals, grid.n_samples, seed=99, dtype=torch.float64)
    added, back = grid.overlap_add(grid.windowed(frames)), grid.frame_adjoint(signals)
    assert added.dtype == back[0].dtype == torch.float64
    there, here = (added * signals).sum(), sum((part * own).sum() for part, own in zip(frames, back, strict=True))
    size = added.norm() * signals.norm() + sum(part.norm() * own.norm() for part, own in zip(frames, back, strict=True))
    # Sums of products in float64, in another order; the norms bound what the sums cancel from.
    assert abs(there - here) <= 1e-12 * size


@for_grids
def test_frames_are_added_up_where_they_lie(grid):
    assume(sum(group.sample_index.numel() for group in grid.groups) <= 20_000)  # the loops of the reference
    frames = random_frames(grid)
    windowed = grid.windowed(frames)
    # Two products in float64, added in another order.
    np.testing.assert_allclose(grid.overlap_add(windowed).numpy(), laid_out(grid, windowed).sum(0), rtol=1e-14, atol=1e-14)
    assert torch.equal(grid.add(windowed), grid.overlap_add(windowed))
    assert torch.equal(grid.add_windowed(frames), grid.add(windowed))


@pytest.mark.parametrize("grid", [*EDGES[1:4], TimeGrid.of_sizes(8000, 21, [[8, 2, 4, 16], [4, 4, 8, 8]])], ids=range(4))
def test_gradient_of_overlap_add_equals_finite_differences(grid):
    frames = [part[:, :6].clone().requires_grad_() for part in random_frames(grid)]
    rest = random_frames(grid, seed=5)

    def sound(*parts):
        """Put a few samples of each frame in their places: a gradient of all would take long."""
        return grid.overlap_add(grid.windowed([torch.cat([p, r[:, 6:]], 1) for p, r in zip(parts, rest, strict=True)]))

    # gradcheck's own defaults for float64
    assert torch.autograd.gradcheck(sound, frames)


@given(grid=divided())
@settings(deadline=None, max_examples=30)
@example(grid=EDGES[4])
def test_frames_are_ordered_by_length_then_signal_then_time(grid):
    key = list(zip(grid.frames.length.tolist(), grid.frames.signal.tolist(), grid.frames.first.tolist(), strict=True))
    assert key == sorted(key)
    assert sorted(grid.order.tolist()) == list(range(grid.n_frames))
    assert torch.equal(grid.frames.size, grid.cells.size[grid.order])
    assert torch.equal(grid.start, grid.frames.first - grid.frames.pre_roll)
    assert [group.frames.start for group in grid.groups[1:]] == [group.frames.stop for group in grid.groups[:-1]]
    assert [group.length for group in grid.groups] == sorted({length for length, _, _ in key})
    # Cells follow one another without a gap, and each signal's last one reaches its end.
    for row, signal in zip(rows_of(grid), range(grid.n_signals), strict=True):
        mine = grid.cells.signal == signal
        assert grid.cells.first[mine].tolist() == np.cumsum([0, *row[:-1]]).tolist()
        assert sum(row) - row[-1] < grid.n_samples <= sum(row)
        # What the sounding parts of a signal's cells add up to is the signal.
        assert int(grid.n_valid[grid.frames.signal == signal].sum()) == grid.n_samples


@for_grids
def test_several_signals_are_treated_one_by_one(grid):
    signals, fade_ = noise(grid.n_signals, grid.n_samples), int(grid.cells.pre_roll.max())
    frames, back = grid.frame(signals), grid.frame_adjoint(signals)
    for signal, row in enumerate(rows_of(grid)):
        # A signal of one cell has no fades, so no frame that shows how long they may be.
        alone = TimeGrid.of_sizes(grid.sample_rate, grid.n_samples, [row], grid.window, fade_)
        own, lengths = signals[signal : signal + 1], [group.length for group in grid.groups]
        for part, (group, framed) in zip(alone.frame_adjoint(own), zip(alone.groups, alone.frame(own), strict=True), strict=True):
            index = lengths.index(group.length)
            mine = grid.frames.signal[grid.groups[index].frames] == signal
            assert torch.equal(frames[index][mine], framed)
            assert torch.equal(back[index][mine], part)


@given(grid=divided(), data=st.data())
@settings(deadline=None, max_examples=30)
def test_a_part_and_the_rest_are_the_whole(grid, data):
    which = torch.tensor(data.draw(st.lists(st.booleans(), min_size=grid.n_frames, max_size=grid.n_frames)))
    assume(0 < int(which.sum()) < grid.n_frames)
    signals = noise(grid.n_signals, grid.n_samples, dtype=torch.float64)
    total = torch.zeros_like(signals)
    for mask in (which, ~which):
        part = grid.part(mask, 0, grid.n_samples)
        assert part.n_frames == int(mask.sum())
        total += part.overlap_add(part.windowed(part.frame(signals)))
        # Windows stay as they were: those of the frames that are kept.
        kept = [group.windows[mask[grid.order[group.frames]]] for group in grid.groups]
        assert all(torch.equal(a.windows, b) for a, b in zip(part.groups, [w for w in kept if len(w)], strict=True))
    # Windows are float32.
    torch.testing.assert_close(total, signals, rtol=0, atol=1e-6)


def test_a_part_is_moved_to_where_it_is_looked_at_from():
    grid = TimeGrid.of_sizes(8000, 300, [[64, 32, 32, 64, 128], [128, 64, 64, 64]])
    which = (grid.cells.first >= 64) & (grid.cells.first < 192)
    signals = noise(2, 300)
    wanted = grid.overlap_add(
        [
            part * which[grid.order[group.frames], None]
            for part, group in zip(grid.windowed(grid.frame(signals)), grid.groups, strict=True)
        ]
    )
    # From sample 32, a fade before the first cell, to sample 288, a fade after the last.
    part = grid.part(which, 32, 256)
    found = part.overlap_add(part.windowed(part.frame(signals[:, 32:288])))
    torch.testing.assert_close(found, wanted[:, 32:288], rtol=0, atol=1e-7)  # float32 products of the same numbers
    assert not wanted[:, :32].any()
    assert not wanted[:, 288:].any()
    # Looked at from before the recording.
    early = grid.part(which, -10, 310)
    found = early.overlap_add(early.windowed(early.frame(torch.nn.functional.pad(signals, (10, 0)))))
    torch.testing.assert_close(found[:, 10:], wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("sizes", [(64, 64), (64, 16), (16, 64), (2, 128)])
def test_a_fade_is_as_long_as_the_shorter_cell(sizes):
    grid = TimeGrid.of_sizes(8000, sum(sizes), [sizes])
    windows = laid_out(grid, [group.windows for group in grid.groups])[:, 0]
    both = np.flatnonzero((windows > 0).all(0))
    half = min(sizes) // 2
    assert both.tolist() == list(range(sizes[0] - half, sizes[0] + half))
    bounded = TimeGrid.of_sizes(8000, sum(sizes), [sizes], longest_fade=5)
    windows = laid_out(bounded, [group.windows for group in bounded.groups])[:, 0]
    assert int((windows > 0).all(0).sum()) == 2 * min(half, 5)


def test_a_cell_alone_is_its_frame():
    grid = TimeGrid.of_sizes(8000, 2048, [[2048], [2048]])
    assert [group.length for group in grid.groups] == [2048]
    assert torch.equal(grid.groups[0].windows, torch.ones(2, 2048))
    assert grid.energy.tolist() == [2048, 2048]
    # Of N equal weights one sample apart the spread is sqrt((N^2 - 1) / 12); one float32 rounding.
    assert float(grid.spread[0]) == pytest.approx(math.sqrt((2048**2 - 1) / 12), rel=1e-7)


@given(
    rate=st.sampled_from([1000, 8000, 44100]),
    frame_s=st.floats(0.0005, 0.1),
    overlap=st.floats(0, 0.5),
    length=st.integers(1, 4000),
)
@example(rate=1000, frame_s=0.006, overlap=0.5, length=100)
@settings(deadline=None, max_examples=40)
def test_uniform_frames_have_the_length_and_overlap_asked_for(rate, frame_s, overlap, length):
    grid = TimeGrid.uniform(rate, 1, length, frame_s, overlap)
    wanted = max(4, 2 * round(frame_s * rate / 2))
    (hop,) = set(grid.cells.size.tolist())
    shared = wanted - hop
    # Half the overlap is rounded down to a sample.
    assert -1e-9 < overlap * wanted - shared < 2
    assert (grid.n_frames - 1) * hop < length <= grid.n_frames * hop
    if grid.n_frames > 1 and shared:
        assert set(grid.frames.length.tolist()) == {wanted}


def test_frame_length_means_the_same_time_at_every_sample_rate():
    for sample_rate in (8000, 44100, 96000):
        grid = TimeGrid.uniform(sample_rate, 1, sample_rate, 0.02)
        assert int(grid.frames.length[0]) % 2 == 0
        assert abs(int(grid.frames.length[0]) - 0.02 * sample_rate) <= 1  # the nearest even number
        assert grid.nyquist_hz == sample_rate / 2


def test_hann_window_at_half_overlap_is_the_textbook_one():
    grid = TimeGrid.uniform(8000, 1, 1000, 0.01, 0.5, "hann")
    textbook = [math.sin(math.pi * (n + 0.5) / 80) ** 2 for n in range(80)]
    # float32 of the same formula
    torch.testing.assert_close(grid.groups[0].windows[5], torch.tensor(textbook), rtol=1e-6, atol=0)


# At an edge without fades itself both cells sound or none, which is nobody's sample.
@given(grid=divided(), shift=st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=20)
def test_between_the_samples_windows_sum_to_one_as_well(grid, shift):
    at = torch.arange(grid.n_samples, dtype=torch.float64) + shift
    total = torch.zeros(grid.n_signals, grid.n_samples, dtype=torch.float64)
    for frame in range(grid.n_frames):
        inside = at - grid.start[frame]
        window = grid.window_at(slice(frame, frame + 1), inside)[0]
        total[grid.frames.signal[frame]] += window
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)  # float64 sines


TWO_OR_MORE = "a row for each signal, of cells of 2 samples or more"
TO_THE_END = "sizes of which the last reaches the signal's end, at 100 samples"
GIVEN = {"sample_rate": 8000, "n_signals": 1, "n_samples": 1000, "frame_s": 0.01, "overlap": 0.5}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_rate": 0},
        {"frame_s": 0.0},
        {"frame_s": -0.01},
        {"frame_s": math.nan},
        {"frame_s": math.inf},
        {"overlap": 0.51},
        {"overlap": -0.1},
        {"overlap": math.nan},
        {"n_samples": 0},
        {"n_samples": -1},
        {"n_signals": 0},
    ],
    ids=str,
)
def test_bad_arguments_are_refused_with_what_was_given(wrong):
    ((setting, value),) = wrong.items()
    with refused(setting=setting) as caught:
        TimeGrid.uniform(**(GIVEN | wrong))
    assert repr(caught.value.value) == repr(value)  # NaN is not equal to itself


@pytest.mark.parametrize(
    ("arguments", "setting", "value", "allowed"),
    [
        ((8000, 100, []), "sizes", [], TWO_OR_MORE),
        ((8000, 0, [[8]]), "n_samples", 0, "1 or more"),
        ((0, 100, [[100]]), "sample_rate", 0, "1 or more"),
        ((8000, 100, [[98, 0, 2]]), "sizes", [[98, 0, 2]], TWO_OR_MORE),
        ((8000, 100, [[100], []]), "sizes", [[100], []], TWO_OR_MORE),
        ((8000, 100, [[64, 32]]), "sizes", [64, 32], TO_THE_END),
        ((8000, 100, [[64, 64, 64]]), "sizes", [64, 64, 64], TO_THE_END),
        ((8000, 100, [[128], [64, 64], [64]]), "sizes", [64], TO_THE_END),
        ((8000, 100, [[100]], "han"), "window", "han", "hann, sine, triangle, gate"),
    ],
    ids=str,
)
def test_what_no_grid_can_be_is_refused(arguments, setting, value, allowed):
    with refused(setting=setting, value=value, allowed=allowed):
        TimeGrid.of_sizes(*arguments)


def test_the_refusal_of_cells_is_one_sentence():
    with refused() as caught:
        TimeGrid.of_sizes(8000, 100, [[64, 32]])
    assert str(caught.value) == f"sizes contains [64, 32], 96 samples in all; allowed: {TO_THE_END}"
