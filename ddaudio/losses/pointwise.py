"""Pointwise losses."""

from torch import Tensor
from torch.nn.functional import huber_loss

from ddaudio.losses.differences import Pointwise
from ddaudio.options import HUBER_DELTA


def mse(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each signal, ``[B]``."""
    return (estimate - target).square().mean(-1)


def mae(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of each signal, ``[B]``."""
    return (estimate - target).abs().mean(-1)


def huber(estimate: Tensor, target: Tensor, delta: float = HUBER_DELTA) -> Tensor:
    """Return the mean Huber error of each signal, ``[B]``.

    ``e^2 / 2`` where ``|e| <= delta``, ``delta (|e| - delta / 2)`` beyond, so that outliers contribute only linearly (Huber,
    1964, Robust estimation of a location parameter).
    """
    return huber_loss(estimate, target, reduction="none", delta=delta).mean(-1)


MSE = Pointwise(mse, "squared")
"""`mse`."""
MAE = Pointwise(mae, "absolute")
"""`mae`."""
