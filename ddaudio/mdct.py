"""The modified discrete cosine transform (MDCT) and its best k coefficients: the baseline that a fit is compared with.

An MDCT with hop N cuts a signal into frames of 2N samples, windows them, and turns each into N coefficients.
Neighbouring frames alias into each other, and the aliases cancel (Princen & Bradley 1986, "Analysis/synthesis filter
bank design based on time domain aliasing cancellation", IEEE Trans. ASSP 34(5)). With the sine window and the scale
used here the transform is orthonormal: it keeps energy, its inverse is its transpose, and among all choices of k
coefficients the k largest miss the least energy.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct  # type: ignore[import-untyped]

FRAME_SIZES = tuple(2**power for power in range(6, 15))
"""The hops N that the baseline tries, in samples: 64, 128, ..., 16384."""

_EXACT = 1e-13
"""Residual energy over signal energy (-130 dB) below which only the rounding of the float32 transform is left."""

Array = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class MdctBaseline:
    """What an MDCT reaches with a given count of numbers; see `best_k_snr`."""

    snr_db: float | None
    """Signal-to-noise ratio in dB over all channels, at the best frame size; None where it is undefined."""
    frame_samples: int
    """The best hop N, in samples, which is also the count of coefficients a frame; 0 where nothing is kept."""
    coefficients: int
    """How many coefficients are kept: half the numbers, or all there are at this frame size where that is fewer."""
    reason: str | None
    """Why ``snr_db`` is None; None where it is not."""


def frame_count(n_samples: int, frame_samples: int) -> int:
    """Return how many frames cover ``n_samples`` samples, each of them twice: ``ceil(n_samples / N) + 1`` at hop N."""
    return -(-n_samples // frame_samples) + 1


def mdct(signal: Array, frame_samples: int) -> Array:
    """Transform a signal into its orthonormal MDCT with a sine window.

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
    blocks = padded.reshape(*signal.shape[:-1], n_blocks, frame_samples)
    # A windowed frame is four quarters (a, b, c, d). Its cosine sum over 2N samples equals the DCT-IV over N samples of
    # (-c_reversed - d, a - b_reversed): the cosines are odd about the end of b and even about the end of d.
    window, half = _sine_window(frame_samples, signal.dtype), frame_samples // 2
    early = blocks[..., :-1, :] * window[:frame_samples]
    late = blocks[..., 1:, :] * window[frame_samples:]
    folded = np.empty_like(early)
    folded[..., :half] = -late[..., :half][..., ::-1] - late[..., half:]
    folded[..., half:] = early[..., :half] - early[..., half:][..., ::-1]
    return _dct4(folded)


def inverse_mdct(coefficients: Array, n_samples: int) -> Array:
    """Turn MDCT coefficients back into the signal they came from; the transpose of `mdct`.

    Args:
        coefficients: ``[..., F, N]``, as `mdct` returns them.
        n_samples: Length T of the signal, in samples; ``F == frame_count(T, N)``.

    Returns:
        Samples ``[..., T]``.

    Raises:
        ValueError: Hop, count of frames and length do not belong together.

    Example:
        >>> inverse_mdct(mdct(np.arange(5.0), 4), 5).round(6).tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0]

    """
    coefficients = _floating(coefficients)
    n_frames, frame_samples = coefficients.shape[-2:]
    _check_frame(frame_samples)
    if n_samples < 1 or n_frames != frame_count(n_samples, frame_samples):
        raise ValueError(f"{n_frames} frames with hop {frame_samples} do not cover {n_samples} samples as mdct does")
    # The transpose of the fold: from (p, q) to the four quarters (q, -q_reversed, -p_reversed, -p).
    folded, half = _dct4(coefficients), frame_samples // 2
    window = _sine_window(frame_samples, folded.dtype)
    first, second = folded[..., :half], folded[..., half:]
    blocks = np.zeros((*folded.shape[:-2], n_frames + 1, frame_samples), folded.dtype)
    blocks[..., :-1, :half] += second * window[:half]
    blocks[..., :-1, half:] -= second[..., ::-1] * window[half:frame_samples]
    blocks[..., 1:, :half] -= first[..., ::-1] * window[frame_samples:-half]
    blocks[..., 1:, half:] -= first * window[-half:]
    return blocks.reshape(*folded.shape[:-2], -1)[..., frame_samples : frame_samples + n_samples]


def best_k_snr(target: torch.Tensor | Array, numbers: int) -> MdctBaseline:
    """Return the best signal-to-noise ratio that an MDCT reaches with a count of numbers, over all `FRAME_SIZES`.

    A coefficient costs two numbers, its value and its index, so ``k = numbers // 2`` of them are kept: the k largest,
    pooled over frames and channels. The signal is made from them again and the error counted within its T samples.
    (The energy of the dropped coefficients also holds what they put into the zeros around the signal: it would show
    the baseline too low, by up to half a decibel on short recordings.)

    Args:
        target: Recording ``[C, T]``, full scale 1.0.
        numbers: The count of numbers to spend, at least 0.

    Returns:
        The baseline at its best frame size (the shortest of equals). Without a coefficient to keep the SNR is 0 dB. On
        digital silence, and where only rounding is left of the residual, it is None, with the reason.

    Raises:
        ValueError: ``numbers`` is negative, or the recording is not ``[C, T]`` with at least one sample.

    """
    samples = _as_samples(target)
    if numbers < 0:
        raise ValueError(f"numbers is {numbers}: it must be at least 0")
    peak = float(np.abs(samples).max())
    if peak == 0.0:
        return MdctBaseline(None, 0, 0, "the target is digital silence")
    samples = samples / samples.dtype.type(peak)
    energy, count = _energy(samples), numbers // 2
    if count == 0:
        return MdctBaseline(0.0, 0, 0, None)
    residuals: dict[int, float] = {}
    for size in FRAME_SIZES:
        residuals[size] = _residual_energy(samples, size, count)
        if residuals[size] <= _EXACT * energy:
            return MdctBaseline(None, size, _kept(samples, size, count), "exact: only rounding is left of the residual")
    best = min(residuals, key=residuals.__getitem__)
    return MdctBaseline(10.0 * math.log10(energy / residuals[best]), best, _kept(samples, best, count), None)


def keep_largest(coefficients: Array, count: int) -> Array:
    """Return the coefficients with all but the ``count`` largest in absolute value set to zero.

    Args:
        coefficients: Any shape.
        count: How many to keep, at least 0; of equals at the edge those that come first are kept.

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


def _kept(samples: Array, frame_samples: int, count: int) -> int:
    """Return the count of coefficients that are kept: all there are where they are fewer."""
    channels, n_samples = samples.shape
    available: int = channels * frame_count(n_samples, frame_samples) * frame_samples
    return min(count, available)


def _residual_energy(samples: Array, frame_samples: int, count: int) -> float:
    """Return the energy, within the signal, of what its best ``count`` coefficients miss."""
    kept = keep_largest(mdct(samples, frame_samples), count)
    return _energy(samples - inverse_mdct(kept, samples.shape[-1]))


def _energy(signal: Array) -> float:
    """Return the sum of squares, added up pairwise: good to 1e-6 even where the signal is float32."""
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
    """Return float32 as it is, and everything else as float64."""
    return values if values.dtype == np.float32 else values.astype(np.float64, copy=False)


def _as_samples(target: torch.Tensor | Array) -> Array:
    """Return a recording ``[C, T]`` as an array, checked."""
    samples = _floating(target.detach().cpu().numpy() if isinstance(target, torch.Tensor) else target)
    if samples.ndim != 2 or samples.size == 0:
        raise ValueError(f"the target has shape {samples.shape}: it must be [channels, samples], neither of them 0")
    return samples


def _check_frame(frame_samples: int) -> None:
    """Refuse a hop that cannot be folded."""
    if frame_samples < 2 or frame_samples % 2:
        raise ValueError(f"the hop is {frame_samples} samples: it must be even and at least 2")
