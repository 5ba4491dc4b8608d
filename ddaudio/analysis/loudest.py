"""The stretch of a recording with most energy."""

import torch

from ddaudio.io.audio import Recording


def loudest(recording: Recording, n_samples: int) -> tuple[int, int]:
    """Return first sample and length of the stretch with most energy over all channels; ties go to the earliest."""
    length = min(n_samples, recording.n_samples)
    power = torch.as_tensor(recording.samples[:, :]).double().square().sum(0)
    energy = torch.nn.functional.pad(power.cumsum(0), (1, 0))
    return int((energy[length:] - energy[: len(energy) - length]).argmax()), length
