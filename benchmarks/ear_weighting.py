"""Whether waves should be fitted to a weighted recording, or to its tonal part, for a listener: measured, and left out."""

import math
from collections.abc import Callable
from statistics import mean, median

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.ear import excerpt
from benchmarks.results import SHORT_FOLDERS, recordings, table
from ddaudio import Recording, fit
from ddaudio.grid.erb import erb_number
from ddaudio.io.samples import collect
from ddaudio.metrics.erb_distance import erb_distance
from ddaudio.metrics.perceptual import zimtohrli_mos
from ddaudio.models.noise.fit import fit_noise

EMPHASIS = 0.9
WHITENING = 0.5
LEAST_GAIN = 1e-4
"""Weights are not below this when they are undone."""
WAVES = {"model": "sine", "max_parameters_per_sample": 0.02, "target_snr_db": 40.0, "seed": 0}
"""The waves of the default."""

Response = NDArray[np.float64]


def flat(_: Tensor, hz: Response, __: int) -> Response:
    """Return no weighting."""
    return np.ones_like(hz)


def pre_emphasis(_: Tensor, hz: Response, sample_rate: int) -> Response:
    """Return the response of ``x(n) - 0.9 x(n - 1)``, without its phase."""
    return np.abs(1 - EMPHASIS * np.exp(-2j * np.pi * hz / sample_rate))


def a_weighting(_: Tensor, hz: Response, __: int) -> Response:
    """Return A-weighting (IEC 61672-1), at least -40 dB."""
    return 10 ** (librosa.A_weighting(np.maximum(hz, 10.0), min_db=-40) / 20)


def whitening(samples: Tensor, hz: Response, _: int) -> Response:
    """Return the inverse fourth root of the mean power in bands of an ERB: levels fall half as steeply."""
    bands = erb_number(torch.from_numpy(hz)).numpy()
    power = np.abs(np.fft.rfft(samples[0].numpy())) ** 2
    number = np.round(bands).astype(int)
    density = np.bincount(number, power) / np.maximum(np.bincount(number), 1)
    level = np.log(np.maximum(density, density.max() * 1e-8))
    gain = np.exp(-WHITENING / 2 * np.interp(bands, np.arange(len(level)), level))
    return gain / gain.max()


WEIGHTINGS: dict[str, Callable[[Tensor, Response, int], Response]] = {
    "none": flat,
    f"pre-emphasis of {EMPHASIS:g}": pre_emphasis,
    "A-weighting": a_weighting,
    "half whitened": whitening,
}


def weighted_waves(recording: Recording, weighting: Callable[[Tensor, Response, int], Response]) -> tuple[Tensor, int]:
    """Fit waves to the weighted recording; return their estimate of the recording itself, and their parameters."""
    samples, n_samples = recording.samples[:, :], recording.n_samples
    hz = np.fft.rfftfreq(n_samples, 1 / recording.sample_rate)
    gain = weighting(samples, hz, recording.sample_rate)
    result = fit(Recording(_filtered(samples, gain), recording.sample_rate), **WAVES)
    return _filtered(result.waves[:, :], 1 / np.maximum(gain, LEAST_GAIN)), result.n_parameters


def tonal_waves(recording: Recording) -> tuple[Tensor, int]:
    """Fit waves to the harmonic part by median filters (Fitzgerald, 2010), as implemented by librosa."""
    tonal = librosa.effects.harmonic(recording.samples[0, :].numpy())
    padded = np.pad(tonal, (0, recording.n_samples - len(tonal)))
    result = fit(Recording(torch.from_numpy(padded)[None], recording.sample_rate), **WAVES)
    return result.waves[:, :], result.n_parameters


def _filtered(samples: Tensor, gain: Response) -> Tensor:
    spectrum = np.fft.rfft(samples.numpy(), axis=1) * gain
    return torch.from_numpy(np.fft.irfft(spectrum, samples.shape[1], axis=1)).float()


def run() -> tuple[str, list[str]]:
    """Measure all; return title and lines."""
    paths = recordings(*SHORT_FOLDERS)
    barks = [place for place, path in enumerate(paths) if path.parent.name == "barks"]
    fits = {name: lambda one, how=how: weighted_waves(one, how) for name, how in WEIGHTINGS.items()}
    fits["harmonic part alone"] = tonal_waves
    rows = []
    for name, fitted in fits.items():
        found = [_heard(excerpt(path), *fitted(excerpt(path))) for path in paths]
        erb, mos, snr = ([one[place] for one in found] for place in range(3))
        figures = [f"{median(erb):.2f} / {max(erb):.2f}", f"{mean(mos):.2f}; {mean(mos[place] for place in barks):.2f}"]
        rows.append([name, *figures, f"{mean(snr):.1f}", f"{mean(one[3] for one in found):.4f}"])
        print(rows[-1], flush=True)
    head = [
        "waves are fitted to the recording with",
        "ERB distance median / worst (dB)",
        "MOS mean; barks",
        "SNR of the waves (dB)",
    ]
    return "waves of weighted recordings, by ear", table([*head, "parameters per sample"], rows)


def _heard(recording: Recording, waves: Tensor, n_parameters: int) -> tuple[float, float, float, float]:
    """Return ERB distance, MOS, SNR of the waves and parameters per sample of waves with the noise that they leave."""
    target, rate = recording.samples[:, :], recording.sample_rate
    noise = fit_noise(target, waves, rate)
    sound = waves + collect(noise.pieces(rate))[:, :]
    left = float((target - waves).square().sum())
    distance_db = erb_distance(sound, target, rate).distance_db
    snr_db = 10 * math.log10(float(target.square().sum()) / left)
    return distance_db, zimtohrli_mos(sound, target, rate), snr_db, (n_parameters + noise.n_parameters()) / target.numel()
