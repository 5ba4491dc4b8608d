"""Noise with levels over time and ERB bands as a module, for levels that another network predicts."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddaudio.errors import OptionError
from ddaudio.grid.erb import erb_number
from ddaudio.nn.uncompiled import uncompiled
from ddaudio.synthesis.noise import NoiseFrames

HIGHEST_HZ = 24000.0
"""There is no noise above this frequency."""
NEPER_DB = 10 / math.log(10)
"""Level in dB of a power of e."""
LARGEST_SEED = 2**64 - 1


@uncompiled
def synthesise_noise(
    levels_db: Tensor, sample_rate: int, n_samples: int, *, seed: int | Sequence[int] = 0, times_s: Tensor | None = None
) -> Tensor:
    """Return noise of given levels, ``[B, n_samples]``.

    The same synthesis as that of a fitted noise layer: random phases, and magnitudes from the levels, in overlapping frames of
    20 ms, see `ddaudio.synthesis.noise`. Between knots in time and between bands in ERB number the level is linear.

    Args:
        levels_db: dB re full scale squared per Hz, ``[B, bands, K]`` float32 or float64, whose type is that of the samples.
            Bands are evenly spaced in ERB number from 0 Hz to the Nyquist frequency, at most 24 kHz; 2 or more. White noise of
            variance v has the level ``10 log10(2 v / sample_rate)`` in all bands.
        sample_rate: samples per second, 1 or more.
        n_samples: samples to compute, 1 or more.
        seed: 0 to ``2^64 - 1``, for all sounds, which then differ in level only, or one for each sound. The same seed and levels
            give the same bits.
        times_s: rising times of the K knots in seconds, ``[K]`` (default: evenly spaced from 0 to ``n_samples / sample_rate``).
            Before the first and after the last knot levels are constant.

    Returns:
        Samples, differentiable by the levels.

    Raises:
        OptionError: shapes do not fit, or a value is out of range.

    Example:
        >>> noise = synthesise_noise(torch.full((1, 32, 2), -43.4), sample_rate=44100, n_samples=44100)
        >>> round(float(noise.var()), 1)  # -43.4 dB per Hz over 22,050 Hz is 1
        1.0

    """
    seeds = _checked(levels_db, sample_rate, n_samples, seed)
    frames = NoiseFrames.at(sample_rate)
    times = _times(levels_db, sample_rate, n_samples, times_s)
    highest_hz = min(HIGHEST_HZ, sample_rate / 2)
    bands = levels_db.shape[1]
    band = erb_number(frames.hz) * ((bands - 1) / float(erb_number(torch.tensor(highest_hz, dtype=torch.float64))))
    column, band_share = _between(band, bands)
    inside = frames.hz <= highest_hz * (1 + 1e-9)

    def power_of(levels: Tensor, times_s: Tensor) -> Tensor:
        """Interpolate levels ``[b, bands, K]`` to densities ``[b, F, bins]``."""
        row = torch.searchsorted(times, times_s).clamp(1, len(times) - 1) - 1
        share = ((times_s - times[row]) / (times[row + 1] - times[row])).clamp(0, 1)
        at_times = (levels[..., row] * (1 - share) + levels[..., row + 1] * share).mT
        at_bins = at_times[..., column] * (1 - band_share) + at_times[..., column + 1] * band_share
        return torch.where(inside, (at_bins / NEPER_DB).exp(), 0)

    def render(rows: slice, seed: int) -> Tensor:
        """Return the noise of some sounds."""
        own = levels_db[rows].double()
        return frames.render(lambda times_s, _: power_of(own, times_s), 0, n_samples, seed, dtype=levels_db.dtype)

    if len(set(seeds)) == 1:
        return render(slice(None), seeds[0])
    return torch.cat([render(slice(row, row + 1), own) for row, own in enumerate(seeds)])


def _checked(levels_db: Tensor, sample_rate: int, n_samples: int, seed: int | Sequence[int]) -> list[int]:
    """Return one seed for each sound, or raise `OptionError`."""
    for name, value in (("sample_rate", sample_rate), ("n_samples", n_samples)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise OptionError(setting=name, value=value, allowed="whole numbers, 1 or more")
    if levels_db.ndim != 3 or min(levels_db.shape[1:]) < 2 or not levels_db.dtype.is_floating_point:
        allowed = "floating-point [batch, bands, knots] with 2 bands and 2 knots or more"
        raise OptionError(f"levels_db is {levels_db.dtype} {list(levels_db.shape)}", allowed=allowed)
    if not bool(levels_db.isfinite().all()):
        bad = int((~levels_db.isfinite()).sum())
        raise OptionError(f"levels_db has {bad} values NaN or infinite", allowed="finite levels, such as -300 for silence")
    seeds = [seed] * len(levels_db) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(levels_db):
        raise OptionError(f"there are {len(seeds)} seeds for {len(levels_db)} sounds", allowed="one seed, or one for each sound")
    for own in seeds:
        if not 0 <= own <= LARGEST_SEED:
            raise OptionError(setting="seed", value=own, allowed="0 to 2^64 - 1")
    return seeds


def _times(levels_db: Tensor, sample_rate: int, n_samples: int, times_s: Tensor | None) -> Tensor:
    """Return the times of the knots, ``[K]`` float64, or raise `OptionError`."""
    n_knots = levels_db.shape[2]
    if times_s is None:
        return torch.linspace(0, n_samples / sample_rate, n_knots, dtype=torch.float64)
    times = times_s.double()
    if times.shape != (n_knots,):
        raise OptionError(f"times_s is {list(times.shape)}", allowed=f"[{n_knots}], one time for each knot of levels_db")
    if not bool(times.isfinite().all() & (times.diff() > 0).all()):
        raise OptionError("times_s does not rise", allowed="finite times, each after the one before it")
    return times


def _between(place: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the number of the left of two neighbours of n, and the share of the right one, for places 0 to ``n - 1``."""
    left = place.long().clamp(max=n - 2)
    return left, (place - left).clamp(max=1)


class NoiseSynth(nn.Module):
    """Noise for levels over time and ERB bands: the last layer of a network that predicts noise.

    It has no parameters; for what it computes see `synthesise_noise`.

    Args:
        sample_rate: samples per second, 1 or more.
        n_samples: samples of each sound, 1 or more.
        seed: seed of all sounds, 0 to ``2^64 - 1``, where none is given.

    Raises `OptionError` for a value out of range.

    Example:
        >>> synth = NoiseSynth(sample_rate=16000, n_samples=8000)
        >>> synth(torch.full((4, 24, 50), -80.0), seed=[1, 2, 3, 4]).shape  # 4 sounds, 24 bands, 50 knots
        torch.Size([4, 8000])

    """

    def __init__(self, sample_rate: int, n_samples: int, *, seed: int = 0) -> None:
        super().__init__()
        _checked(torch.zeros(1, 2, 2), sample_rate, n_samples, seed)
        self.sample_rate, self.n_samples, self.seed = sample_rate, n_samples, seed

    def forward(self, levels_db: Tensor, seed: int | Sequence[int] | None = None, times_s: Tensor | None = None) -> Tensor:
        """Return the sounds ``[B, n_samples]``; for arguments and errors see `synthesise_noise`."""
        own = self.seed if seed is None else seed
        return synthesise_noise(levels_db, self.sample_rate, self.n_samples, seed=own, times_s=times_s)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"sample_rate={self.sample_rate}, n_samples={self.n_samples}, seed={self.seed}"
