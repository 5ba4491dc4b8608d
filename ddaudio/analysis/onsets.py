"""Onsets of a recording, by librosa."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ddaudio.io.audio import Recording

HOP_S, FRAME_S = 0.005, 0.023
"""Time between two frames of the spectrogram, and about their length, in seconds."""
RANGE_DB = 60.0
"""Levels of bands this far below the loudest count as silence."""
LAST_SHARE = 0.1
SILENCE = 1e-20
FRAMES_AT_ONCE = 4096
RATE_OF_BANDS = 22_050
"""Sample rate from which on there are `MOST_BANDS` bands; below there are fewer, so that each contains a bin."""
MOST_BANDS, FEWEST_BANDS = 64, 8


def onset_times_s(recording: Recording) -> list[float]:
    """Return the times at which sounds begin, in seconds, rising; all channels are mixed to one.

    The peaks of spectral flux (Böck and Widmer, 2013, "Maximum filter vibrato suppression for onset detection", as implemented
    by `librosa.onset`, with its defaults for picking peaks). The import of librosa takes seconds the first time.

    Example:
        >>> import torch
        >>> clicks = torch.zeros(1, 16000).index_fill(1, torch.tensor([4000, 10000]), 1.0)
        >>> [round(time_s, 2) for time_s in onset_times_s(Recording(clicks, 16000))]
        [0.25, 0.62]

    """
    import librosa  # noqa: PLC0415 - slow to import

    rate = recording.sample_rate
    hop, n_fft = max(1, round(HOP_S * rate)), 1 << max(4, round(math.log2(FRAME_S * rate)))
    bands = min(MOST_BANDS, max(FEWEST_BANDS, MOST_BANDS * rate // RATE_OF_BANDS))
    rows = [
        librosa.feature.melspectrogram(y=part, sr=rate, n_fft=n_fft, hop_length=hop, center=False, n_mels=bands, norm=None)
        for part in _frames(recording, hop, n_fft)
    ]
    powers = np.concatenate(rows, 1)
    if not powers.max() > SILENCE:
        return []
    levels_db = 10 * np.log10(np.maximum(powers, SILENCE))
    # The recording begins from silence.
    levels_db = np.pad(np.maximum(levels_db - levels_db.max(), -RANGE_DB), ((0, 0), (1, 0)), constant_values=-RANGE_DB)
    envelope = librosa.onset.onset_strength(S=levels_db, sr=rate, hop_length=hop, n_fft=n_fft, center=False)
    found = librosa.onset.onset_detect(onset_envelope=envelope, sr=rate, hop_length=hop, units="time")
    # The flux rises as soon as an onset is in the last tenth of a frame, whose middle is the frame's time.
    times_s = np.clip(found - hop / rate + (0.5 - LAST_SHARE) * n_fft / rate, 0, (recording.n_samples - 1) / rate)
    return [float(time_s) for time_s in times_s]


def _frames(recording: Recording, hop: int, n_fft: int) -> Iterator[NDArray[np.float32]]:
    """Yield the mixed channels in parts whose frames follow one another, centred on multiples of the hop."""
    count, mean = -(-recording.n_samples // hop), float(recording.means.mean())
    for first in range(0, count, FRAMES_AT_ONCE):
        begin, end = first * hop - n_fft // 2, (min(count, first + FRAMES_AT_ONCE) - 1) * hop + n_fft // 2
        inside = recording.samples[:, max(0, begin) : min(recording.n_samples, end)].float().mean(0).numpy() - mean
        yield np.pad(inside, (max(0, -begin), max(0, end - recording.n_samples)))
