"""Losses by name."""

from collections.abc import Callable
from functools import partial

from ddaudio.errors import OptionError
from ddaudio.losses import differences, spectral
from ddaudio.losses.auraloss_adapter import Auraloss
from ddaudio.losses.base import Loss, Plain
from ddaudio.losses.differences import Pdl
from ddaudio.losses.pointwise import huber, mae, mse
from ddaudio.losses.spectral import Spectral
from ddaudio.options import HUBER_DELTA, Choice, parse_loss


def _pdl(choice: Choice, _: int | None) -> Loss:
    lags = [int(lag) for lag in choice.values] or choice.variants["lags"]
    return Pdl(lags, choice.variants["weights"], choice.variants["distance"])


def _huber(choice: Choice, _: int | None) -> Loss:
    return Plain(partial(huber, delta=choice.values[0] if choice.values else HUBER_DELTA))


def _mel(_: Choice, sample_rate: int | None) -> Loss:
    if sample_rate is None:
        raise OptionError("which needs the sample rate", setting="losses", value="mel", verb="names")
    return Spectral(spectral.mel_bands(sample_rate), spectral.convergence_and_log)


LOSSES: dict[str, Callable[[Choice, int | None], Loss]] = {
    "mse": lambda _, __: Plain(mse),
    "mae": lambda _, __: Plain(mae),
    "huber": _huber,
    "pdl": _pdl,
    "slope": lambda _, __: Plain(differences.slope),
    "first-difference": lambda _, __: Plain(differences.first_difference),
    "mss": lambda choice, _: spectral.PRESETS[choice.variants["preset"]],
    "mel": _mel,
    "delta-time": lambda _, __: spectral.DELTA_TIME,
    "delta-frequency": lambda _, __: spectral.DELTA_FREQUENCY,
    "phase": lambda _, __: spectral.PHASE,
    "axis": lambda _, __: spectral.AXIS,
    "auraloss": lambda choice, _: Auraloss(choice.variants["class"]),
}
"""How each kind of loss is made, of a name's choice and the sample rate."""


def make_loss(name: str, sample_rate: int | None = None) -> Loss:
    """Return the loss of a name such as ``pdl:all-pairs``; ``sample_rate`` in Hz is needed by ``mel`` alone.

    Raises `OptionError` for a name that `ddaudio.options.parse_loss` refuses, or without a rate that is needed.
    """
    choice = parse_loss(name)
    return LOSSES[choice.kind](choice, sample_rate)
