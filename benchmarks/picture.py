"""The README's picture: ``python -m benchmarks.picture`` fits the sample bark and draws original, resynthesis, residual."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from ddaudio.fitting import fit

ROOT = Path(__file__).parents[1]
FLOOR_DB = -80


def main() -> None:
    """Draw waveforms above spectrograms, all three on one scale."""
    mpl.use("Agg")
    result = fit(ROOT / "recordings" / "bark.wav")
    recording = result.recording
    rate, duration_s = recording.sample_rate, recording.duration_s
    signals = {"original": recording.samples, "resynthesis": result.estimate, "residual": result.residual}
    figure, axes = plt.subplots(2, 3, figsize=(11, 4.6), sharex=True, sharey="row", height_ratios=(1, 2), layout="constrained")
    times_s = np.arange(recording.n_samples) / rate
    top = 20 * np.log10(np.abs(_spectrogram(recording.samples[0].numpy())).max())
    for column, (name, samples) in enumerate(signals.items()):
        axes[0, column].plot(times_s, samples[0].numpy(), linewidth=0.4, color="#1f4e79")
        axes[0, column].set_title(name if name != "residual" else f"residual (SNR {result.snr_db:.1f} dB)")
        level_db = 20 * np.log10(np.maximum(np.abs(_spectrogram(samples[0].numpy())), 1e-9)) - top
        image = axes[1, column].imshow(
            level_db, origin="lower", aspect="auto", extent=(0, duration_s, 0, rate / 2000), vmin=FLOOR_DB, vmax=0, cmap="magma"
        )
        axes[1, column].set(xlabel="time (s)", ylim=(0, 10))
    axes[0, 0].set_ylabel("full scale")
    axes[1, 0].set_ylabel("frequency (kHz)")
    figure.colorbar(image, ax=axes[1], label="dB below the loudest", shrink=0.9)
    figure.savefig(ROOT / "docs" / "bark.png", dpi=110)


def _spectrogram(samples: np.ndarray, length: int = 1024, hop: int = 128) -> np.ndarray:
    """Return the complex spectrogram ``[bins, frames]`` under a Hann window."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, length // 2), length)[::hop]
    return np.fft.rfft(frames * np.hanning(length)).T


main()
