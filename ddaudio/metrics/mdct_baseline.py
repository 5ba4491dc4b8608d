"""The modified discrete cosine transform (MDCT) with its best k coefficients: the baseline of a fit.

An MDCT with hop N cuts a signal into frames of 2N samples, windows them, and turns each into N coefficients.
Neighbouring frames alias into each other, and the aliases cancel (Princen & Bradley 1986, "Analysis/synthesis filter
bank design based on time domain aliasing cancellation", IEEE Trans. ASSP 34(5)). With the sine window and the scale
used here the transform is orthonormal: it keeps energy, its inverse is its transpose, and among all choices of k
coefficients the k largest miss the least energy.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct  # type: ignore[import-untyped]

from ddaudio.io.samples import Samples, on_cpu
from ddaudio.io.statistics import sample_statistics
from ddaudio.metrics.histogram import MagnitudeHistogram

FRAME_SIZES = tuple(2**power for power in range(6, 15))
"""The hops N that the baseline tries, in samples: 64, 128, ..., 16384."""

_EXACT = 1e-13
"""Residual energy over signal energy (-130 dB) below which only the rounding of the float32 transform is left."""

EXACT_SAMPLES = 2**22
"""Largest number of samples over all channels for which all coefficients of a frame size are held in memory and sorted."""

_STREAMED_SAMPLES = 2**18
"""Number of samples over all channels transformed at a time in longer recordings."""

Array = NDArray[np.float32] | NDArray[np.float64]
ResidualEnergy = Callable[[int, int], float]
"""Function of hop N and count k to the residual energy of the best k coefficients."""


@dataclass(frozen=True)
class MdctBaseline:
    """Result of the MDCT with a given number of parameters; see `best_k_snr`."""

    snr_db: float | None
    """Signal-to-noise ratio in dB over all channels, at the best frame size; None where it is undefined."""
    frame_samples: int
    """The best hop N in samples, which is also the number of coefficients per frame; 0 if nothing is kept."""
    coefficients: int
    """Number of coefficients kept: half the number of parameters, or all of this frame size if there are fewer."""
    reason: str | None
    """Why ``snr_db`` is None; None where it is not."""


def frame_count(n_samples: int, frame_samples: int) -> int:
    """Return the number of frames that cover each of ``n_samples`` samples twice: ``ceil(n_samples / N) + 1`` at hop N."""
    return -(-n_samples // frame_samples) + 1


def mdct(signal: Array, frame_samples: int) -> Array:
    """Compute the orthonormal MDCT of a signal with a sine window.

    Frame f sees the 2N samples from ``(f - 1) N`` on. With ``w(n) = sin(pi (n + 1/2) / 2N)`` its coefficient k is
    ``sqrt(2 / N) sum_n w(n) s(n) cos(pi / N (n + 1/2 + N/2) (k + 1/2))``. Outside its samples the signal s is zero.

    Args:
        signal: Samples ``[..., T]``, ``T >= 1``; float32 stays float32, everything else is computed in float64.
        frame_samples: The hop N, an even count of samples, at least 2.

    Returns:
        Coefficients ``[..., F, N]`` with ``F = frame_count(T, N)`` and the energy of the signal.

    Raises:
        ValueError: The hop is odd or below 2, or the signal has no samples.

    Example:
        >>> samples = np.arange(10.0)
        >>> coefficients = mdct(samples, 4)
        >>> coefficients.shape
        (4, 4)
        >>> bool(np.isclose((coefficients**2).sum(), (samples**2).sum()))
        True

    """
    _check_frame(frame_samples)
    signal = _floating(signal)
    n_samples = signal.shape[-1]
    if n_samples < 1:
        raise ValueError(f"the signal has shape {signal.shape}: at least one sample is needed")
    n_blocks = frame_count(n_samples, frame_samples) + 1
    padded = np.zeros((*signal.shape[:-1], n_blocks * frame_samples), signal.dtype)
    padded[..., frame_samples : frame_samples + n_samples] = signal
    return _forward(padded.reshape(*signal.shape[:-1], n_blocks, frame_samples))


def _forward(blocks: Array) -> Array:
    """Return the coefficients ``[..., F, N]`` of the F frames over F + 1 blocks ``[..., F + 1, N]``, two for each."""
    # A windowed frame is four quarters (a, b, c, d). Its cosine sum over 2N samples equals the DCT-IV over N samples of
    # (-c_reversed - d, a - b_reversed): the cosines are odd about the end of b and even about the end of d.
    frame_samples = blocks.shape[-1]
    window, half = _sine_window(frame_samples, blocks.dtype), frame_samples // 2
    early = blocks[..., :-1, :] * window[:frame_samples]
    late = blocks[..., 1:, :] * window[frame_samples:]
    folded = np.empty_like(early)
    folded[..., :half] = -late[..., :half][..., ::-1] - late[..., half:]
    folded[..., half:] = early[..., :half] - early[..., half:][..., ::-1]
    return _dct4(folded)


def inverse_mdct(coefficients: Array, n_samples: int) -> Array:
    """Reconstruct a signal from its MDCT coefficients; the transpose of `mdct`.

    Args:
        coefficients: ``[..., F, N]``, as `mdct` returns them.
        n_samples: Length T of the signal, in samples; ``F == frame_count(T, N)``.

    Returns:
        Samples ``[..., T]``.

    Raises:
        ValueError: Hop, number of frames and length are inconsistent.

    Example:
        >>> inverse_mdct(mdct(np.arange(5.0), 4), 5).round(6).tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0]

    """
    coefficients = _floating(coefficients)
    n_frames, frame_samples = coefficients.shape[-2:]
    _check_frame(frame_samples)
    if n_samples < 1 or n_frames != frame_count(n_samples, frame_samples):
        raise ValueError(f"{n_frames} frames with hop {frame_samples} do not cover {n_samples} samples as mdct does")
    return _backward(coefficients)[..., frame_samples : frame_samples + n_samples]


def _backward(coefficients: Array) -> Array:
    """Return the samples ``[..., (F + 1) N]`` over which frames ``[..., F, N]`` reach; the transpose of `_forward`."""
    # The transpose of the fold: from (p, q) to the four quarters (q, -q_reversed, -p_reversed, -p).
    n_frames, frame_samples = coefficients.shape[-2:]
    folded, half = _dct4(coefficients), frame_samples // 2
    window = _sine_window(frame_samples, folded.dtype)
    first, second = folded[..., :half], folded[..., half:]
    blocks = np.zeros((*folded.shape[:-2], n_frames + 1, frame_samples), folded.dtype)
    blocks[..., :-1, :half] += second * window[:half]
    blocks[..., :-1, half:] -= second[..., ::-1] * window[half:frame_samples]
    blocks[..., 1:, :half] -= first[..., ::-1] * window[frame_samples:-half]
    blocks[..., 1:, half:] -= first * window[-half:]
    return blocks.reshape(*folded.shape[:-2], -1)


def best_k_snr(target: Samples | Array, n_parameters: int) -> MdctBaseline:
    """Return the best signal-to-noise ratio of an MDCT with ``n_parameters`` parameters, over all `FRAME_SIZES`.

    A coefficient takes two parameters, its value and its index, so the ``k = n_parameters // 2`` largest over all frames and
    channels are kept. The signal is reconstructed from them, and the error is measured within its T samples. (The energy of the
    dropped coefficients includes their contribution to the zeros around the signal, which would underestimate the baseline by
    up to half a decibel on short recordings.)

    Above `EXACT_SAMPLES` the recording is read block by block, once for each frame size, and only a histogram of its
    coefficients is kept: since the transform is orthonormal, the error is the energy of the dropped coefficients minus the
    contribution of the first and last frames outside the signal. Only the split of the histogram bin that contains the k-th
    coefficient is inexact: about 0.0001 dB.

    Args:
        target: Recording ``[C, T]``, full scale 1.0.
        n_parameters: The number of parameters, at least 0.

    Returns:
        The baseline at its best frame size (ties go to the shortest). Without coefficients the SNR is 0 dB. On digital
        silence, and if the residual is only rounding error, it is None, with the reason.

    Raises:
        ValueError: ``n_parameters`` is negative, or the recording is not ``[C, T]`` with at least one sample.

    """
    _check_target(target)
    if n_parameters < 0:
        raise ValueError(f"n_parameters is {n_parameters}: it must be at least 0")
    energy, residual_of = (_held if math.prod(target.shape) <= EXACT_SAMPLES else _streamed)(target)
    if energy == 0.0:
        return MdctBaseline(None, 0, 0, "the target is digital silence")
    count = n_parameters // 2
    if count == 0:
        return MdctBaseline(0.0, 0, 0, None)
    residuals: dict[int, float] = {}
    for size in FRAME_SIZES:
        residuals[size] = residual_of(size, count)
        if residuals[size] <= _EXACT * energy:
            return MdctBaseline(None, size, _kept(target, size, count), "exact: only rounding is left of the residual")
    best = min(residuals, key=residuals.__getitem__)
    return MdctBaseline(10.0 * math.log10(energy / residuals[best]), best, _kept(target, best, count), None)


def keep_largest(coefficients: Array, count: int) -> Array:
    """Return the coefficients with all but the ``count`` largest in absolute value set to zero.

    Args:
        coefficients: Any shape.
        count: Number of coefficients to keep, at least 0; ties go to the first.

    Returns:
        A new array of the same shape with at most ``count`` values that are not zero.

    """
    sizes = np.abs(coefficients).ravel()
    nonzero = sizes[sizes > 0.0]  # partitioning many equal values is slow, and recordings are padded with silence
    if count >= nonzero.size:
        return coefficients.copy()
    if count == 0:
        return np.zeros_like(coefficients)
    edge = np.partition(nonzero, nonzero.size - count)[nonzero.size - count]
    keep = sizes > edge
    keep[np.flatnonzero(sizes == edge)[: count - np.count_nonzero(keep)]] = True
    kept: Array = np.where(keep.reshape(coefficients.shape), coefficients, coefficients.dtype.type(0))
    return kept


def _kept(target: Samples | Array, frame_samples: int, count: int) -> int:
    """Return the number of coefficients kept: ``count``, or all if there are fewer."""
    channels, n_samples = target.shape
    available: int = channels * frame_count(n_samples, frame_samples) * frame_samples
    return min(count, available)


def _held(target: Samples | Array) -> tuple[float, ResidualEnergy]:
    """Return the energy of a recording in memory, relative to its squared peak, and its residual energy function."""
    part = target[:, :]
    samples = _floating(part.detach().cpu().numpy() if isinstance(part, torch.Tensor) else part)
    samples = samples / samples.dtype.type(float(np.abs(samples).max()) or 1.0)
    return _energy(samples), partial(_residual_energy, samples)


def _residual_energy(samples: Array, frame_samples: int, count: int) -> float:
    """Return the residual energy, within the signal, of its best ``count`` coefficients."""
    kept = keep_largest(mdct(samples, frame_samples), count)
    return _energy(samples - inverse_mdct(kept, samples.shape[-1]))


def _streamed(target: Samples | Array) -> tuple[float, ResidualEnergy]:
    """Return the same as `_held` for a recording that is read block by block."""
    signal: Samples = target if not isinstance(target, np.ndarray) else torch.from_numpy(target)
    found = sample_statistics(signal)
    peak = found.peak or 1.0
    return found.energy / peak**2, partial(_streamed_residual, signal, peak)


def _streamed_residual(signal: Samples, peak: float, frame_samples: int, count: int) -> float:
    """Return the energy of the dropped coefficients within the signal, relative to its squared peak."""
    histogram = MagnitudeHistogram()
    first: Array = np.empty((signal.shape[0], 0, frame_samples), np.float32)
    last = first
    for coefficients in _coefficients(signal, peak, frame_samples):
        histogram.add(coefficients)
        first = first if first.size else coefficients[:, :1].copy()
        last = np.concatenate([last, coefficients[:, -2:]], axis=1)[:, -2:]
    edge = histogram.edge_of(count)
    # The signal is surrounded by zeros, where the output of the kept coefficients is error that does not count. Only the first
    # frame extends before the signal, and only the last two extend beyond it.
    before, after = (_backward(np.where(np.abs(frames) > edge, frames, np.float32(0.0))) for frames in (first, last))
    n_frames = frame_count(signal.shape[1], frame_samples)
    end = signal.shape[1] - (n_frames - 3) * frame_samples
    beside = _energy(before[..., :frame_samples]) + _energy(after[..., end:])
    return max(0.0, histogram.energy_of_all_but(count) - beside)


def _coefficients(signal: Samples, peak: float, frame_samples: int) -> Iterator[Array]:
    """Yield the coefficients ``[C, frames, N]`` of a signal divided by its peak, in blocks of frames, each frame once."""
    channels, n_samples = signal.shape
    n_frames, step = frame_count(n_samples, frame_samples), max(1, _STREAMED_SAMPLES // (channels * frame_samples))
    for first in range(0, n_frames, step):
        start, stop = (first - 1) * frame_samples, min(first + step, n_frames) * frame_samples
        padded = np.zeros((channels, stop - start), np.float32)
        inside = slice(max(start, 0), min(stop, n_samples))
        padded[:, inside.start - start : inside.stop - start] = on_cpu(signal[:, inside]).numpy()
        padded /= np.float32(peak)
        yield _forward(padded.reshape(channels, -1, frame_samples))


def _energy(signal: Array) -> float:
    """Return the sum of squares by pairwise summation, accurate to 1e-6 even for float32."""
    return float(np.square(signal).sum(axis=-1).sum(dtype=np.float64))


def _dct4(folded: Array) -> Array:
    """Return the orthonormal DCT-IV along the last axis, which is its own inverse."""
    transformed: Array = dct(folded, type=4, norm="ortho", axis=-1)
    return transformed


def _sine_window(frame_samples: int, dtype: np.dtype[Any]) -> Array:
    """Return ``sin(pi (n + 1/2) / 2N)`` for ``n = 0 .. 2N - 1``: its squares at distance N add up to one."""
    window: Array = np.sin(np.pi * (np.arange(2 * frame_samples) + 0.5) / (2 * frame_samples)).astype(dtype)
    return window


def _floating(values: Array) -> Array:
    """Return float32 unchanged, and other types as float64."""
    return values if values.dtype == np.float32 else values.astype(np.float64, copy=False)


def _check_target(target: Samples | Array) -> None:
    """Raise ValueError unless the target is a recording ``[C, T]``."""
    if len(target.shape) != 2 or math.prod(target.shape) == 0:
        raise ValueError(f"the target has shape {tuple(target.shape)}: it must be [channels, samples], neither of them 0")


def _check_frame(frame_samples: int) -> None:
    """Raise ValueError for a hop that is odd or below 2."""
    if frame_samples < 2 or frame_samples % 2:
        raise ValueError(f"the hop is {frame_samples} samples: it must be even and at least 2")
