"""Spectral flatness of a recording, a measure of how noise-like it is."""

import torch

from ddaudio.io.samples import Samples, block_length
from ddaudio.io.spectra import Frames, nearest_fft

FRAME_S = 0.046
"""Length of the frames, rounded to a power of two samples."""
TILT = 0.5
"""Power of the frequency that the power spectrum is multiplied by: halfway between white noise (0) and pink (1)."""
BAND_SHARE = 0.99
"""Share of the energy below the end of the band: bands emptied by a lossy coder would look tonal."""
LEAST_BINS = 32
"""Smallest number of bins in the band: a main lobe, four bins wide, would look flat in a band of its own width."""
_SILENT = 1e-300  # stands for a power of zero, whose logarithm would be infinite


def flatness(samples: Samples, sample_rate: int) -> float | None:
    """Return the spectral flatness of a recording (Gray and Markel, 1974, IEEE Trans. ASSP 22(3)).

    The flatness of a frame is the geometric over the arithmetic mean of its power spectrum, here of ``f^TILT |X(f)|^2`` in
    Hann frames with a hop of a half, from the first bin above 0 Hz to the end of the band. The mean over frames and channels
    is weighted by the arithmetic means, so it is ``sum geometric / sum arithmetic``.

    A bin of Gaussian noise has an exponential distribution, whose geometric mean is ``exp(-0.5772) = 0.56`` of its mean. The
    tilt over the band makes about 0.51 of that for white noise and 0.46 for pink. A tone has about 0, a click 0.91.

    Args:
        samples: ``[C, T]``; read once, block by block.
        sample_rate: samples per second.

    Returns:
        0 to 1; None if there is no energy above 0 Hz.

    """
    n_fft = nearest_fft(FRAME_S, sample_rate)
    hop, (n_channels, n_samples) = n_fft // 2, samples.shape
    window = torch.hann_window(n_fft, dtype=torch.float64)
    bins = torch.arange(1, hop + 1, dtype=torch.float64)[:, None]
    geometric, arithmetic, energy = (torch.zeros(hop, dtype=torch.float64) for _ in range(3))
    frames = Frames(n_fft, hop, -(-n_samples // hop) + 1, first_sample=-hop)
    for spectra in frames.spectra(samples, window, max(1, block_length(n_channels) // n_fft)):
        powers = spectra.abs().square()[:, 1:]
        energy += powers.sum((0, 2))
        powers *= bins**TILT
        # The end of the band is known only afterwards: row k has the means over the first k + 1 bins.
        geometric += (powers.clamp(min=_SILENT).log_().cumsum(1) / bins).exp_().sum((0, 2))
        arithmetic += (powers.cumsum(1) / bins).sum((0, 2))
    below = energy.cumsum(0)
    last = min(hop, max(LEAST_BINS, int((below < BAND_SHARE * below[-1]).sum()) + 1)) - 1
    return float(geometric[last] / arithmetic[last]) if float(arithmetic[last]) > _SILENT else None
