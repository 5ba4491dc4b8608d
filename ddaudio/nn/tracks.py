"""Tracks of sinusoids as a module: the sum of tracks whose controls another network predicts."""

import math

import torch
from torch import Tensor, nn

from ddaudio.errors import OptionError
from ddaudio.nn.uncompiled import uncompiled
from ddaudio.synthesis.tracks import Knots, render_tracks

BELOW_NYQUIST = 1 - 1e-6
"""Highest frequency that sounds, relative to Nyquist."""


@uncompiled
def synthesise_tracks(
    frequency_hz: Tensor,
    amplitude: Tensor,
    sample_rate: float,
    n_samples: int,
    *,
    phase: Tensor | None = None,
    times_s: Tensor | None = None,
    log_amplitude: bool = False,
) -> Tensor:
    """Return the sums of tracks, ``[B, n_samples]``.

    Between two knots the amplitude is linear. Without phases the frequency is linear too, and its integral is the phase, in
    closed form and in float64: exact however long the sound is. With phases, it is the cubic of McAulay and Quatieri (1986) that
    has the given phases and frequencies at the knots, see `ddaudio.synthesis.tracks`. Tracks are silent outside of their knots.

    Args:
        frequency_hz: ``[B, N, K]`` float32 or float64, for N tracks with K knots each, 2 or more. A knot of 0 Hz or less, or at
            the Nyquist frequency or above, is silent.
        amplitude: full scale, ``[B, N, K]``; its type is that of the samples.
        sample_rate: samples per second, above 0.
        n_samples: samples to compute, 2 or more.
        phase: radians at the knots, ``[B, N, K]``, or at the first knot of each track, ``[B, N, 1]`` (default: 0 there).
        times_s: rising times of the knots in seconds, ``[K]`` or ``[B, N, K]`` (default: even, from first to last sample).
        log_amplitude: whether amplitudes are linear in level between knots where both are above 0.

    Returns:
        Samples, differentiable once in all tensors.

    Raises:
        OptionError: shapes do not fit, a value is not finite, or times do not rise.

    Example:
        >>> frequency_hz = torch.tensor([[[440.0, 880.0, 440.0]]])  # one sound, one track, three knots
        >>> synthesise_tracks(frequency_hz, torch.ones(1, 1, 3), 16000, 8000).shape
        torch.Size([1, 8000])

    """
    _check(frequency_hz, amplitude, phase, sample_rate, n_samples)
    position = _positions(frequency_hz, sample_rate, n_samples, times_s)
    n_signals, n_tracks, n_knots = frequency_hz.shape
    radians = frequency_hz.double() * (2 * math.pi / sample_rate)
    sounds = (radians > 0) & (radians < math.pi)
    radians = radians.clamp(0, math.pi * BELOW_NYQUIST)
    if phase is None or phase.shape[2] == 1:
        steps = (radians[..., 1:] + radians[..., :-1]) * position.diff(dim=-1) / 2
        integral = torch.cat([torch.zeros_like(steps[..., :1]), steps.cumsum(-1)], -1)
        phase = integral if phase is None else integral + phase
    counts = torch.full((n_signals * n_tracks,), n_knots, device=amplitude.device)
    signal = torch.arange(n_signals, device=amplitude.device).repeat_interleave(n_tracks)
    values = (part.flatten() for part in (position, torch.where(sounds, amplitude, 0), radians, phase))
    return render_tracks(Knots(counts, *values), signal, (n_signals, n_samples), log_amplitude=log_amplitude)


def _check(frequency_hz: Tensor, amplitude: Tensor, phase: Tensor | None, sample_rate: float, n_samples: int) -> None:
    """Raise `OptionError` for shapes that do not fit and for values that are not allowed."""
    if not (math.isfinite(sample_rate) and sample_rate > 0):
        raise OptionError(setting="sample_rate", value=sample_rate, allowed="above 0")
    if n_samples < 2:
        raise OptionError(setting="n_samples", value=n_samples, allowed="2 or more")
    if frequency_hz.ndim != 3 or frequency_hz.shape[2] < 2:
        raise OptionError(f"frequency_hz is {list(frequency_hz.shape)}", allowed="[batch, tracks, knots] with 2 knots or more")
    shape, first = list(frequency_hz.shape), [*frequency_hz.shape[:2], 1]
    if list(amplitude.shape) != shape:
        raise OptionError(f"amplitude is {list(amplitude.shape)}", allowed=f"{shape}, as frequency_hz")
    if phase is not None and list(phase.shape) not in (shape, first):
        raise OptionError(f"phase is {list(phase.shape)}", allowed=f"{shape}, as frequency_hz, or {first}")
    for name, values in (("frequency_hz", frequency_hz), ("amplitude", amplitude), ("phase", phase)):
        if values is not None and not bool(values.isfinite().all()):
            raise OptionError(f"{name} has {int((~values.isfinite()).sum())} values NaN or infinite", allowed="finite values")


def _positions(like: Tensor, sample_rate: float, n_samples: int, times_s: Tensor | None) -> Tensor:
    """Return the positions of the knots in samples, ``[B, N, K]`` float64."""
    if times_s is None:
        position = torch.linspace(0, n_samples - 1, like.shape[2], dtype=torch.float64, device=like.device)
        return position.expand(like.shape)
    if times_s.shape not in (like.shape, like.shape[2:]):
        raise OptionError(f"times_s is {list(times_s.shape)}", allowed=f"{list(like.shape)} or {list(like.shape[2:])}")
    position = times_s.double() * sample_rate
    if not bool((position.isfinite().all()) & (position.diff(dim=-1) > 0).all()):
        raise OptionError("times_s does not rise", allowed="finite times, each after the one before it")
    if bool((position[..., -1] - position[..., 0] < 1).any()):
        raise OptionError("a track is shorter than two samples", allowed="1 sample or more from first to last knot")
    return position.expand(like.shape)


class TrackSynth(nn.Module):
    """Sums of tracks for controls in Hz and full scale: the last layer of a network that predicts tracks.

    It has no parameters; for what it computes see `synthesise_tracks`.

    Args:
        sample_rate: samples per second, above 0.
        n_samples: samples of each sound, 2 or more.
        log_amplitude: whether amplitudes are linear in level between knots where both are above 0.

    Raises `OptionError` for a value out of range.

    Example:
        >>> synth = TrackSynth(sample_rate=16000, n_samples=8000)
        >>> synth(torch.full((4, 10, 50), 440.0), torch.rand(4, 10, 50)).shape  # 4 sounds, 10 tracks, 50 knots
        torch.Size([4, 8000])

    """

    def __init__(self, sample_rate: float, n_samples: int, *, log_amplitude: bool = False) -> None:
        super().__init__()
        two_knots = torch.zeros(0, 1, 2)
        _check(two_knots, two_knots, None, sample_rate, n_samples)
        self.sample_rate, self.n_samples, self.log_amplitude = sample_rate, n_samples, log_amplitude

    def forward(
        self, frequency_hz: Tensor, amplitude: Tensor, phase: Tensor | None = None, times_s: Tensor | None = None
    ) -> Tensor:
        """Return the sounds ``[B, n_samples]``; for arguments and errors see `synthesise_tracks`."""
        return synthesise_tracks(
            frequency_hz,
            amplitude,
            self.sample_rate,
            self.n_samples,
            phase=phase,
            times_s=times_s,
            log_amplitude=self.log_amplitude,
        )

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"sample_rate={self.sample_rate:g}, n_samples={self.n_samples}, log_amplitude={self.log_amplitude}"
