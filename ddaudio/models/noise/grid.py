"""The nodes of a noise layer over time and ERB number, and the powers of signals around them."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.grid.erb import erb_number, evenly_spaced_hz
from ddaudio.io.samples import Samples

STEP_S = 0.010
"""Time between two nodes, in seconds."""
BANDS = ((12_000, 33), (4000, 17), (0, 9))
"""Nodes in frequency, ``2^p + 1``, from a sample rate on: at low rates more of them would have no bin of their own."""
HIGHEST_HZ = 24000.0
"""There is no noise above this frequency."""
FRAME_S = 0.020
"""Length of the frames whose powers are measured, in seconds."""
FRAMES_AT_ONCE = 2048
"""Frames whose spectra are computed at once."""
CHUNK_INTERVALS = 2048
"""Most intervals between nodes in a chunk, a power of two: chunks of 20 s are fitted one after the other."""


@dataclass(frozen=True)
class NoiseGrid:
    """Nodes over time and frequency: one every 10 ms and, from 0 Hz to Nyquist, every 1.3 ERB (at 44.1 kHz).

    Times count from the first sample: node i is at ``i STEP_S``. Time is divided into chunks of a power of two of intervals;
    the first node of a chunk is at the time of the last node of the chunk before it, with a level of its own.
    """

    sample_rate: int
    """Samples per second."""
    n_samples: int
    """Length of the signals, 1 or more."""

    @cached_property
    def n_intervals(self) -> int:
        """Intervals between nodes that the signals reach into, 1 or more."""
        return max(1, math.ceil(self.n_samples / (STEP_S * self.sample_rate)))

    @cached_property
    def chunk_intervals(self) -> int:
        """Intervals between the nodes of a chunk, a power of two."""
        return min(CHUNK_INTERVALS, 1 << math.ceil(math.log2(self.n_intervals)))

    @cached_property
    def n_chunks(self) -> int:
        """Chunks that the signals reach into, 1 or more."""
        return math.ceil(self.n_intervals / self.chunk_intervals)

    @property
    def rows(self) -> int:
        """Nodes in time of a chunk, ``2^p + 1``."""
        return self.chunk_intervals + 1

    def covered(self, chunk: int) -> int:
        """Return how many nodes in time of a chunk the signals reach, 2 or more."""
        return min(self.chunk_intervals, self.n_intervals - chunk * self.chunk_intervals) + 1

    @cached_property
    def bands(self) -> int:
        """Nodes in frequency."""
        return next(bands for lowest, bands in BANDS if self.sample_rate >= lowest)

    @cached_property
    def highest_hz(self) -> float:
        """Frequency of the last node."""
        return min(HIGHEST_HZ, self.sample_rate / 2)

    @cached_property
    def hz(self) -> Tensor:
        """Frequencies of the nodes, ``[bands]`` float64."""
        return evenly_spaced_hz(0, self.highest_hz, self.bands)

    def band_of(self, hz: Tensor) -> Tensor:
        """Return the position of frequencies among the nodes, 0 to ``bands - 1``, and more beyond the last node."""
        return erb_number(hz) * ((self.bands - 1) / float(erb_number(self.hz[-1])))

    @cached_property
    def widths_hz(self) -> Tensor:
        """Width of the band of each node, ``[bands]`` float64: its density times its width is its power."""
        edges = evenly_spaced_hz(0, self.highest_hz, 2 * self.bands - 1)[1::2]
        return torch.cat([torch.zeros(1), edges, self.hz[-1:]]).diff()

    @cached_property
    def frame_length(self) -> int:
        """Samples of a frame whose powers are measured, even."""
        return 2 * max(1, round(FRAME_S * self.sample_rate / 2))

    @cached_property
    def weights(self) -> Tensor:
        """Weights of the bins in the mean around each node, ``[K, bands]``: 0 at the neighbouring nodes; their sum is 1."""
        n_fft = 1 << math.ceil(math.log2(2 * self.frame_length))
        hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (self.sample_rate / n_fft)
        weights = (1 - (self.band_of(hz)[:, None] - torch.arange(self.bands)).abs()).clamp(min=0)
        # A node without a bin of its own takes the nearest.
        weights[(hz[:, None] - self.hz).abs().argmin(0), torch.arange(self.bands)] += 1e-6
        return weights / weights.sum(0)

    def frame_spectra(self, frames: Tensor) -> Tensor:
        """Return the spectra of frames ``[..., frame_length]``, ``[..., K]``: the square of a magnitude is a density per Hz."""
        window = torch.hann_window(self.frame_length, periodic=False, dtype=torch.float64)
        scale = math.sqrt(2 / (self.sample_rate * float(window.square().sum())))
        spectra: Tensor = torch.fft.rfft(frames * (window * scale), 2 * (self.weights.shape[0] - 1))
        return spectra

    def frame_powers(self, frames: Tensor) -> Tensor:
        """Return the density around each node of frames ``[..., frame_length]`` before they are windowed, ``[..., bands]``."""
        spectra = self.frame_spectra(frames)
        powers: Tensor = spectra.real.square() + spectra.imag.square()
        return powers @ self.weights

    def frames(self, signals: Samples, mean: Tensor, chunk: int) -> Tensor:
        """Return the frames around the nodes of a chunk, ``[C, covered, frame_length]`` float64, silent beyond the signals.

        Args:
            signals: ``[C, n_samples]``.
            mean: value of each channel that is subtracted, ``[C]``: noise has no constant offset.
            chunk: number of the chunk, 0 or more.

        """
        half = self.frame_length // 2
        nodes = torch.arange(self.covered(chunk), dtype=torch.float64) + chunk * self.chunk_intervals
        begins = (nodes * (STEP_S * self.sample_rate)).round().long() - half
        first, last = int(begins[0]), int(begins[-1]) + self.frame_length
        inside = signals[:, max(first, 0) : min(last, self.n_samples)].cpu().double() - mean[:, None]
        padded = pad(inside, (max(-first, 0), last - min(last, self.n_samples)))
        return padded.unfold(1, self.frame_length, 1)[:, begins - first]

    def densities(self, signals: Samples, mean: Tensor, chunk: int) -> Tensor:
        """Return the power of signals ``[C, T]`` around each node of a chunk, per Hz, ``[C, covered, bands]`` float64."""
        frames = self.frames(signals, mean, chunk)
        if not bool(frames.any()):  # silence costs nothing
            return frames.new_zeros(*frames.shape[:2], self.bands)
        rows = range(0, frames.shape[1], FRAMES_AT_ONCE)
        return torch.cat([self.frame_powers(frames[:, row : row + FRAMES_AT_ONCE]) for row in rows], 1)
