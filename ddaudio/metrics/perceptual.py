"""Perceptual scores, by packages of the extra ``quality``."""

import torch
from torch import Tensor

from ddaudio.errors import PluginError

RATE = 48_000
"""Sample rate that Zimtohrli takes."""


def zimtohrli_mos(estimate: Tensor, target: Tensor, sample_rate: int) -> float:
    """Return the mean opinion score that Zimtohrli predicts, 1 (bad) to 5 (transparent), mean over channels.

    Zimtohrli (Google, 2024, github.com/google/zimtohrli) compares auditory spectrograms. The score of silence is 1.3 to 2.9,
    depending on the target: compare any score with those of controls.

    Args:
        estimate: ``[C, T]``, full scale 1.0; clipped beyond.
        target: of the same shape.
        sample_rate: samples per second; resampled to 48 kHz.

    Raises `PluginError` if the package ``zimtohrli`` is missing.
    """
    try:
        import zimtohrli  # type: ignore[import-untyped]  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise PluginError(f"zimtohrli cannot be imported: {error}", hint="pip install 'ddaudio[quality]'") from None
    from torchaudio.functional import resample  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import

    scorer = zimtohrli.Pyohrli()
    scores = []
    for pair in zip(target, estimate, strict=True):
        at_rate = [resample(one.float(), sample_rate, RATE) if sample_rate != RATE else one.float() for one in pair]
        wanted, given = (one.clamp(-1, 1).contiguous().numpy() for one in at_rate)
        scores.append(float(zimtohrli.mos_from_zimtohrli(scorer.distance(wanted, given))))
    return float(torch.tensor(scores).mean())
