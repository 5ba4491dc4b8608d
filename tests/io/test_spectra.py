"""Short-time spectra in blocks are those of the whole signal, whatever the block, the edges and the place of the first frame."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddaudio.io.samples import Scaled
from ddaudio.io.spectra import Frames, nearest_fft


@settings(deadline=None)
@given(
    n_samples=st.integers(1, 200),
    n_fft=st.sampled_from([16, 32]),
    hop=st.integers(1, 40),
    first=st.integers(-40, 40),
    n_frames=st.integers(1, 12),
    at_a_time=st.integers(1, 12),
)
def test_frames_are_cut_where_they_say(n_samples: int, n_fft: int, hop: int, first: int, n_frames: int, at_a_time: int) -> None:
    """Against numpy's transform of each frame, cut out of a signal with silence around it."""
    signal = np.random.default_rng(n_samples).standard_normal((2, n_samples))
    margin = 40 + n_fft + hop * n_frames
    around = np.pad(signal, ((0, 0), (margin, margin)))
    window = np.hanning(n_fft)
    starts = [margin + first + frame * hop for frame in range(n_frames)]
    expected = np.stack([np.fft.rfft(around[:, start : start + n_fft] * window) for start in starts], 2)
    frames = Frames(n_fft, hop, n_frames, first)
    samples = Scaled(torch.from_numpy(signal).float(), 1.0)  # what is no tensor is read in slices
    found = torch.cat(list(frames.spectra(samples, torch.from_numpy(window), at_a_time)), 2)
    # Samples are float32, of a size of 1, and 32 at most are added up.
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=32 * 4 * 2.0**-24)


@settings(deadline=None)  # the first call of torch.stft may load libraries
@given(n_samples=st.integers(17, 300), hop=st.integers(1, 20), at_a_time=st.integers(1, 9))
def test_reflected_edges_are_those_of_torch(n_samples: int, hop: int, at_a_time: int) -> None:
    signal = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(n_samples)).double()
    window = torch.hann_window(20, dtype=torch.float64)
    expected = torch.stft(signal.float().double(), 32, hop, 20, window, return_complex=True)
    frames = Frames(32, hop, n_samples // hop + 1, first_sample=-16, edge="reflect")
    found = torch.cat(list(frames.spectra(signal, window, at_a_time)), 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)  # float64 sums of 20 values


@pytest.mark.parametrize(("frame_s", "rate", "expected"), [(0.046, 44_100, 2048), (0.046, 8000, 512), (0.001, 8000, 16)])
def test_lengths_are_powers_of_two(frame_s: float, rate: int, expected: int) -> None:
    assert nearest_fft(frame_s, rate) == expected
