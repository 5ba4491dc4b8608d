"""The time grid: no seam, no sample lost, and an adjoint that is one."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddaudio.errors import OptionError
from ddaudio.grid import TimeGrid

WINDOWS = ("hann", "sine", "triangle")
GRIDS = st.builds(
    TimeGrid,
    sample_rate=st.sampled_from([1000, 8000, 11025, 44100]),
    n_samples=st.integers(1, 5000),
    frame_s=st.floats(0.0005, 0.2),
    overlap=st.floats(0.01, 0.95),
    window=st.sampled_from(WINDOWS),
)
# The edges: one sample under a long frame, the shortest frame, frames that hardly overlap, a hop that divides nothing.
ONE_SAMPLE = TimeGrid(44100, 1, 0.2)
SHORTEST_FRAME = TimeGrid(1000, 17, 0.0005, 0.95)
HARDLY_OVERLAPPING = TimeGrid(8000, 5000, 0.01, 0.01, "triangle")
ODD_HOP = TimeGrid(11025, 4999, 0.0301, 0.61, "sine")


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def for_grids(test):
    """Run a test over drawn grids and the edges."""
    test = given(grid=GRIDS)(test)
    for grid in (ONE_SAMPLE, SHORTEST_FRAME, HARDLY_OVERLAPPING, ODD_HOP):
        test = example(grid=grid)(test)
    return settings(deadline=None, max_examples=60)(test)


@for_grids
def test_framing_windowing_and_overlap_adding_gives_the_signal_back(grid):
    signals = noise(2, grid.n_samples)
    again = grid.overlap_add(grid.frame(signals) * grid.windows)
    assert again.shape == signals.shape
    assert again.dtype == torch.float32
    # The promise is 1e-6 of the peak: at most some 20 float32 products, each rounded to 6e-8 of the part it adds.
    assert (again - signals).abs().max() <= 1e-6 * signals.abs().max()


@for_grids
def test_frames_are_slices_of_the_signal_at_their_starts(grid):
    signals = noise(2, grid.n_samples)
    frames = grid.frame(signals).reshape(2, grid.n_frames, grid.frame_length)
    margin = grid.frame_length
    silent = torch.zeros(2, margin)
    padded = torch.cat([silent, signals, silent], 1)
    for index, start in enumerate(grid.starts.tolist()):
        assert torch.equal(frames[:, index], padded[:, margin + start : margin + start + grid.frame_length])


@for_grids
def test_every_sample_lies_under_as_many_frames_as_in_the_middle(grid):
    starts, samples = grid.starts, torch.arange(grid.n_samples)
    covering = ((starts[:, None] <= samples) & (samples < starts[:, None] + grid.frame_length)).sum(0)
    fewest = grid.frame_length // grid.hop
    assert covering.min() >= fewest
    assert covering.max() <= fewest + 1
    # No frame is spent on nothing: each holds a sample.
    assert starts[0] + grid.frame_length > 0
    assert starts[-1] < grid.n_samples
    assert torch.equal(starts.diff(), torch.full((grid.n_frames - 1,), grid.hop))


@for_grids
def test_frame_adjoint_is_the_adjoint_of_windowed_overlap_add(grid):
    frames = noise(2 * grid.n_frames, grid.frame_length, dtype=torch.float64)
    signals = noise(2, grid.n_samples, seed=1, dtype=torch.float64)
    added, back = grid.overlap_add(frames * grid.windows.double()), grid.frame_adjoint(signals)
    assert back.dtype == torch.float64
    there, here = (added * signals).sum(), (frames * back).sum()
    # Sums of products in float64, in another order; the norms bound what the sums cancel from.
    assert abs(there - here) <= 1e-12 * (added.norm() * signals.norm() + frames.norm() * back.norm())


@for_grids
def test_times_are_sample_indices_over_the_sample_rate(grid):
    assert grid.times_s.shape == (grid.n_frames, grid.frame_length)
    assert grid.times_s.dtype == torch.float64
    for frame, offset in ((0, 0), (0, grid.lead), (grid.n_frames - 1, grid.frame_length - 1)):
        sample = frame * grid.hop + offset - (grid.frame_length - grid.hop)
        # One float64 division each: equal to the bit.
        assert grid.times_s[frame, offset].item() == sample / grid.sample_rate
    assert grid.times_s[0, grid.lead].item() == 0


@for_grids
def test_several_signals_are_treated_one_by_one(grid):
    signals, n_frames = noise(3, grid.n_samples), grid.n_frames
    frames = grid.frame(signals)
    added, back = grid.overlap_add(frames), grid.frame_adjoint(signals)
    owner = grid.signal_of_frame(3)
    assert owner.shape == (3 * n_frames,)
    for index in range(3):
        alone, rows = signals[index : index + 1], owner == index
        assert rows.sum() == n_frames
        assert torch.equal(frames[rows], grid.frame(alone))
        assert torch.equal(back[rows], grid.frame_adjoint(alone))
        # The same additions, maybe in another order: a few float32 roundings.
        torch.testing.assert_close(added[index], grid.overlap_add(frames[rows])[0], rtol=1e-6, atol=1e-6)


@for_grids
def test_window_sum_is_the_sum_of_the_windows_over_each_sample(grid):
    total = torch.zeros(grid.n_samples, dtype=torch.float64)
    for start in grid.starts.tolist():
        first, last = max(0, start), min(grid.n_samples, start + grid.frame_length)
        total[first:last] += grid.windows[first - start : last - start].double()
    assert (grid.windows > 0).all()
    # Rounded once to float32: half of 2^-23, relative.
    torch.testing.assert_close(grid.window_sum.double(), total, rtol=1e-7, atol=0)


@pytest.mark.parametrize("window", ["hann", "triangle"])
@pytest.mark.parametrize("overlap", [0.5, 0.25])
def test_up_to_half_overlap_the_crossfades_sum_to_one(window, overlap):
    # Frames of 80 samples; both overlaps fall on whole samples. sin^2 + cos^2, or a ramp and its rest, are one.
    grid = TimeGrid(8000, 1000, 0.01, overlap, window)
    torch.testing.assert_close(grid.window_sum, torch.ones(1000), rtol=0, atol=2e-7)  # two float32 windows, rounded


def test_sine_window_at_half_overlap_keeps_the_power_constant():
    grid = TimeGrid(8000, 1000, 0.01, 0.5, "sine")
    power = grid.windows[:40] ** 2 + grid.windows[40:] ** 2
    torch.testing.assert_close(power, torch.ones(40), rtol=0, atol=3e-7)  # squares of float32 windows


def test_hann_window_at_half_overlap_is_the_textbook_one():
    grid = TimeGrid(8000, 1000, 0.01, 0.5, "hann")
    textbook = [math.sin(math.pi * (n + 0.5) / 80) ** 2 for n in range(80)]
    torch.testing.assert_close(grid.windows, torch.tensor(textbook), rtol=1e-6, atol=0)  # float32 of the same formula
    edges = torch.tensor([-1.0, 0.0, 40.0, 80.0, 90.0])
    torch.testing.assert_close(grid.window_at(edges), torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]), rtol=0, atol=1e-7)


def test_frame_length_means_the_same_time_at_every_sample_rate():
    for sample_rate in (8000, 44100, 96000):
        grid = TimeGrid(sample_rate, sample_rate, 0.02)
        assert grid.frame_length % 2 == 0
        assert abs(grid.frame_length - 0.02 * sample_rate) <= 1  # the nearest even number
        assert grid.hop == grid.frame_length // 2
        assert grid.nyquist_hz == sample_rate / 2
        assert grid.bin_hz == sample_rate / grid.frame_length
    assert TimeGrid(1000, 10, 1e-9).frame_length == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_samples": 0},
        {"n_samples": -1},
        {"sample_rate": 0},
        {"frame_s": 0.0},
        {"frame_s": -0.01},
        {"frame_s": math.nan},
        {"overlap": 0.0},
        {"overlap": 1.0},
        {"overlap": -0.5},
        {"overlap": math.nan},
    ],
    ids=str,
)
def test_bad_arguments_are_refused_with_what_was_given(wrong):
    given_ = {"sample_rate": 8000, "n_samples": 1000, "frame_s": 0.01, "overlap": 0.5} | wrong
    with pytest.raises(OptionError) as caught:
        TimeGrid(**given_)
    assert str(next(iter(wrong.values()))) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_no_grid_can_be_is_refused():
    with pytest.raises(OptionError, match="inf s"):
        TimeGrid(8000, 100, float("inf"))
    with pytest.raises(OptionError, match="did you mean 'hann'"):
        TimeGrid(8000, 100, 0.01, window="han")
