"""Adapter for losses of auraloss (Steinmetz and Reiss, 2020), which return one value per batch, to one value per signal."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.losses.base import Loss, StepInfo


class Auraloss(Loss):
    """A loss class of auraloss with its default settings, such as ``ESRLoss``; some of them have negative values.

    Signals shorter than its longest FFT are padded with zeros.
    """

    on_crops: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        import auraloss  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import, and seldom used

        kind = getattr(auraloss.time, name, None) or getattr(auraloss.freq, name)
        self.module: torch.nn.Module = kind()
        self._windowed = [part for part in self.module.modules() if isinstance(getattr(part, "window", None), Tensor)]
        self.least_samples = max((int(part.fft_size) for part in self._windowed), default=1)

    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:  # noqa: ARG002
        """Return the loss of each signal."""
        for part in self._windowed:
            part.window = part.window.to(estimate)
        room = (0, max(0, self.least_samples - estimate.shape[-1]))
        pairs = zip(pad(estimate, room), pad(prepared[0], room), strict=True)
        return torch.stack([self.module(found[None, None], wanted[None, None]).reshape(()) for found, wanted in pairs])
