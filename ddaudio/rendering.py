"""Sound from a trained network: at its own sample rate or another one, whole or with its strongest partials only."""

import math

import torch
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.models import Network
from ddaudio.options import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE


def render(network: Network, sample_rate: int | None = None, partials: int | None = None) -> Tensor:
    """Return the network's sound, ``[n_signals, T]`` float32.

    Args:
        network: a trained network, such as `ddaudio.load_model` gives.
        sample_rate: Hz (default: that of the recording it was trained on). The model is evaluated at the other times,
            not resampled; partials at or above the new Nyquist frequency are left out. The length becomes
            ``ceil(T * sample_rate / own rate)``.
        partials: keep only this many partials over all frames, the strongest.

    Raises:
        OptionError: the rate is out of range, or ``partials`` is below 0.

    """
    if partials is not None:
        if isinstance(partials, bool) or not isinstance(partials, int) or partials < 0:
            raise OptionError(f"partials is {partials!r}; it must be a whole number, 0 or more")
        network = network.without_last(min(partials, network.ranked()))
    with torch.no_grad():
        if sample_rate is None or sample_rate == network.grid.sample_rate:
            return network.estimate()
        if (
            isinstance(sample_rate, bool)
            or not isinstance(sample_rate, int)
            or not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE
        ):
            raise OptionError(f"sample_rate is {sample_rate!r}; allowed is {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz")
        return _at_rate(network, sample_rate)


def _at_rate(network: Network, sample_rate: int) -> Tensor:
    """Evaluate frames and windows at the sample times of another rate, and overlap-add them.

    Frame ``f`` begins at ``s_f`` old samples, between two new ones: its first new sample is ``j_f = ceil(s_f r)`` with
    ``r`` the ratio of the rates, and new sample ``j_f + i`` sits at ``(j_f + i) / r - s_f`` old samples inside it.
    """
    grid = network.grid
    ratio = sample_rate / grid.sample_rate
    n_samples, length = math.ceil(grid.n_samples * ratio), math.ceil(grid.frame_length * ratio) + 1
    first = torch.ceil(grid.starts.double() * ratio - 1e-9).long()
    inside = (first[:, None] + torch.arange(length)).double() / ratio - grid.starts[:, None]
    window = grid.window_at(inside + 0.5).float()
    frames = network.frames_at(inside[:, 0] * ratio, length, ratio).reshape(network.n_signals, grid.n_frames, length)
    where = first[:, None] + torch.arange(length)
    seen = (where >= 0) & (where < n_samples)
    total = torch.zeros(network.n_signals, n_samples)
    weight = torch.zeros(n_samples, dtype=torch.float64).index_add(0, where[seen], window[seen].double()).float()
    total.index_add_(1, where[seen], (frames * window)[:, seen])
    return total / weight.clamp(min=1e-12)
